// AdamW and the sum of squares over many tensors; see declarations.h.

namespace {

struct AdamStep {
  float scale, decay, step_size, beta1, beta2, epsilon, root_correction2;
};

inline float rounded(float value, uint32_t, float) { return value; }
inline bf16 rounded(float value, uint32_t noise, bf16) {
  return {static_cast<uint16_t>(stochastic_half(bits_of(value), noise))};
}

// Element by element, so that a tensor cut in pieces gets the same numbers. M, V: of the moments.
template <class T, class M, class V>
void adamw_run(T* parameter, float* master, const float* grad, M* exp_avg, V* exp_avg_sq, int64_t count, AdamStep step,
               uint64_t random, uint32_t column) {
  const float rest1 = 1.0f - step.beta1, rest2 = 1.0f - step.beta2;
  const uint32_t low = static_cast<uint32_t>(random), high = static_cast<uint32_t>(random >> 32);
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) {
    const float g = grad[j] * step.scale;
    const float m = step.beta1 * to_float(exp_avg[j]) + rest1 * g;
    const float v = step.beta2 * to_float(exp_avg_sq[j]) + rest2 * (g * g);
    const uint32_t noise = random_bits(low, high, column + static_cast<uint32_t>(j));
    exp_avg[j] = rounded(m, noise >> 16, M{});
    exp_avg_sq[j] = rounded(v, noise & 0xffffu, V{});
    master[j] = master[j] * step.decay - step.step_size * m / (std::sqrt(v) / step.root_correction2 + step.epsilon);
  }
  if (parameter == nullptr) return;
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) parameter[j] = from_float<T>(master[j]);
}

// A chunk of the tensor that a row of the table describes.
template <class T, class M, class V>
void adamw_chunk(const int64_t* row, int64_t first, AdamStep step, int64_t number) {
  T* parameter = reinterpret_cast<T*>(row[0]);
  float* master = reinterpret_cast<float*>(row[1]);
  const float* grad = reinterpret_cast<const float*>(row[2]);
  M* exp_avg = reinterpret_cast<M*>(row[3]);
  V* exp_avg_sq = reinterpret_cast<V*>(row[4]);
  const int64_t last = row[5] - first < kChunk ? row[5] : first + kChunk;
  constexpr bool exact = std::is_same_v<M, float> && std::is_same_v<V, float>;
  const uint64_t of_step = exact ? 0 : step_key(row[7], number);
  for (int64_t j = first; j < last;) {
    const int64_t own_row = exact ? 0 : j / row[10], column = exact ? 0 : j % row[10];
    const int64_t rest = exact ? last - j : row[10] - column;
    const int64_t count = rest < last - j ? rest : last - j;
    const uint64_t random = exact ? 0 : row_key(of_step, row[8] + own_row);
    adamw_run(parameter == nullptr ? nullptr : parameter + j, master + j, grad + j, exp_avg + j, exp_avg_sq + j, count,
              step, random, static_cast<uint32_t>(row[9] + column));
    j += count;
  }
}

// Calls function(T{}) with the type that dtype, fp32 or bf16, names.
template <class Function>
void with_moment(int64_t dtype, Function function) {
  if (dtype == 0) function(float{});
  if (dtype == 1) function(bf16{});
}

}  // namespace

void adamw(int64_t dtype, int64_t exp_avg_dtype, int64_t exp_avg_sq_dtype, const void* table, const void* chunks,
           int64_t chunk_count, const void* scale, double lr, double beta1, double beta2, double epsilon,
           double weight_decay, double correction1, double correction2, int64_t number, int64_t threads) {
  const double exact_scale = *static_cast<const double*>(scale);
  if (std::isnan(exact_scale)) return;
  const int64_t* rows = static_cast<const int64_t*>(table);
  const int64_t* places = static_cast<const int64_t*>(chunks);
  const AdamStep plain = {static_cast<float>(exact_scale),
                          1.0f,
                          static_cast<float>(lr / correction1),
                          static_cast<float>(beta1),
                          static_cast<float>(beta2),
                          static_cast<float>(epsilon),
                          static_cast<float>(std::sqrt(correction2))};
  with_type(dtype, [=](auto type) {
    with_moment(exp_avg_dtype, [=](auto first_moment) {
      with_moment(exp_avg_sq_dtype, [=](auto second_moment) {
        using T = decltype(type);
        using M = decltype(first_moment);
        using V = decltype(second_moment);
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
        for (int64_t chunk = 0; chunk < chunk_count; ++chunk) {
          const int64_t* row = rows + 11 * places[2 * chunk];
          AdamStep step = plain;
          if (row[6]) step.decay = static_cast<float>(1.0 - lr * weight_decay);
          adamw_chunk<T, M, V>(row, places[2 * chunk + 1], step, number);
        }
      });
    });
  });
}

void sum_of_squares(int64_t, const void* table, const void* chunks, int64_t chunk_count, void* partial, void* total,
                    int64_t threads) {
  const int64_t* rows = static_cast<const int64_t*>(table);
  const int64_t* places = static_cast<const int64_t*>(chunks);
  double* sums = static_cast<double*>(partial);
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
  for (int64_t chunk = 0; chunk < chunk_count; ++chunk) {
    const int64_t* row = rows + 2 * places[2 * chunk];
    const int64_t first = places[2 * chunk + 1];
    const int64_t count = row[1] - first < kChunk ? row[1] - first : kChunk;
    const float* x = reinterpret_cast<const float*>(row[0]) + first;
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < count; ++j) sum += static_cast<double>(x[j]) * static_cast<double>(x[j]);
    sums[chunk] = sum;
  }
  double sum = 0.0;
  for (int64_t chunk = 0; chunk < chunk_count; ++chunk) sum += sums[chunk];
  *static_cast<double*>(total) = sum;
}
