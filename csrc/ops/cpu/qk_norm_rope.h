// Norms of query and key heads and RoPE in one pass; see declarations.h.

namespace {

// A head's norm, then its rotation; rounded once. Returns 1 / sqrt(mean square + epsilon).
template <class T>
float normalise_and_turn(const T* x, const T* weight, const float* cosine, const float* sine, T* y, int64_t size,
                         int64_t half, float epsilon) {
  float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < size; ++i) squares += to_float(x[i]) * to_float(x[i]);
  const float scale = 1.0f / std::sqrt(squares / static_cast<float>(size) + epsilon);
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float first = to_float(x[i]) * scale * to_float(weight[i]);
    const float second = to_float(x[i + half]) * scale * to_float(weight[i + half]);
    y[i] = from_float<T>(first * cosine[i] - second * sine[i]);
    y[i + half] = from_float<T>(second * cosine[i] + first * sine[i]);
  }
#pragma omp simd
  for (int64_t i = 2 * half; i < size; ++i) y[i] = from_float<T>(to_float(x[i]) * scale * to_float(weight[i]));
  return scale;
}

// Turns the gradient back into `turned` (size), then the norm's backward pass; adds to grad_weight.
template <class T>
void turn_back_and_normalise(const T* grad, const T* x, const T* weight, const float* cosine, const float* sine,
                             float scale, T* grad_x, float* grad_weight, float* turned, int64_t size, int64_t half) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float first = to_float(grad[i]), second = to_float(grad[i + half]);
    turned[i] = first * cosine[i] + second * sine[i];
    turned[i + half] = second * cosine[i] - first * sine[i];
  }
#pragma omp simd
  for (int64_t i = 2 * half; i < size; ++i) turned[i] = to_float(grad[i]);
  float product = 0.0f;
#pragma omp simd reduction(+ : product)
  for (int64_t i = 0; i < size; ++i) {
    const float n = to_float(x[i]) * scale;
    grad_weight[i] += turned[i] * n;
    product += turned[i] * to_float(weight[i]) * n;
  }
  const float along = product / static_cast<float>(size);
#pragma omp simd
  for (int64_t i = 0; i < size; ++i) {
    grad_x[i] = from_float<T>(scale * (turned[i] * to_float(weight[i]) - to_float(x[i]) * scale * along));
  }
}

}  // namespace

void qk_norm_rope_forward(int64_t dtype, const void* x, const void* query_weight, const void* key_weight,
                          const void* cosine, const void* sine, void* y, void* rstd, int64_t batch, int64_t length,
                          int64_t queries, int64_t keys, int64_t size, int64_t half, int64_t tables, double epsilon,
                          int64_t threads) {
  with_type(dtype, [=](auto type) {
    using T = decltype(type);
    const int64_t heads = queries + keys;
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
    for (int64_t token = 0; token < batch * length; ++token) {
      const int64_t table = (tables == 1 ? token % length : token) * half;
      const T* in = static_cast<const T*>(x) + token * (heads + keys) * size;
      for (int64_t head = 0; head < heads; ++head) {
        static_cast<float*>(rstd)[token * heads + head] = normalise_and_turn(
            in + head * size, static_cast<const T*>(head < queries ? query_weight : key_weight),
            static_cast<const float*>(cosine) + table, static_cast<const float*>(sine) + table,
            static_cast<T*>(y) + (token * heads + head) * size, size, half, static_cast<float>(epsilon));
      }
    }
  });
}

void qk_norm_rope_backward(int64_t dtype, const void* grad_query, const void* grad_key, const void* grad_value,
                           const void* x, const void* query_weight, const void* key_weight, const void* rstd,
                           const void* cosine, const void* sine, void* grad_x, void* grad_weights, void* partial,
                           int64_t batch, int64_t length, int64_t queries, int64_t keys, int64_t size, int64_t half,
                           int64_t query_batch, int64_t query_position, int64_t query_head, int64_t key_batch,
                           int64_t key_position, int64_t key_head, int64_t value_batch, int64_t value_position,
                           int64_t value_head, int64_t tables, int64_t threads) {
  const int64_t tokens = batch * length, blocks = row_blocks(tokens), heads = queries + keys;
  with_type(dtype, [=](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      float* sums = static_cast<float*>(partial) + block * 2 * size;
      memset(sums, 0, sizeof(float) * static_cast<size_t>(2 * size));
      std::vector<float> turned(static_cast<size_t>(size));
      for (int64_t token = block * tokens / blocks; token < (block + 1) * tokens / blocks; ++token) {
        const int64_t sample = token / length, position = token - sample * length;
        const int64_t table = (tables == 1 ? position : token) * half, at = token * (heads + keys) * size;
        const T* in = static_cast<const T*>(x) + at;
        T* out = static_cast<T*>(grad_x) + at;
        const T* query = static_cast<const T*>(grad_query) + sample * query_batch + position * query_position;
        const T* key = static_cast<const T*>(grad_key) + sample * key_batch + position * key_position;
        const T* value = static_cast<const T*>(grad_value) + sample * value_batch + position * value_position;
        for (int64_t head = 0; head < heads; ++head) {
          const bool of_key = head >= queries;
          turn_back_and_normalise(of_key ? key + (head - queries) * key_head : query + head * query_head,
                                  in + head * size, static_cast<const T*>(of_key ? key_weight : query_weight),
                                  static_cast<const float*>(cosine) + table, static_cast<const float*>(sine) + table,
                                  static_cast<const float*>(rstd)[token * heads + head], out + head * size,
                                  sums + (of_key ? size : 0), turned.data(), size, half);
        }
        for (int64_t head = 0; head < keys; ++head) {
          memcpy(out + (heads + head) * size, value + head * value_head, sizeof(T) * static_cast<size_t>(size));
        }
      }
    }
  });
  float* total = static_cast<float*>(grad_weights);
  memset(total, 0, sizeof(float) * static_cast<size_t>(2 * size));
  for (int64_t block = 0; block < blocks; ++block) {
    const float* sums = static_cast<const float*>(partial) + block * 2 * size;
#pragma omp simd
    for (int64_t i = 0; i < 2 * size; ++i) total[i] += sums[i];
  }
}
