// RoPE; see declarations.h.

namespace {

template <class T>
void rope_head(const T* x, const float* cosine, const float* sine, T* y, int64_t size, int64_t half, float direction) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float first = to_float(x[i]), second = to_float(x[i + half]);
    const float c = cosine[i], s = sine[i] * direction;
    y[i] = from_float<T>(first * c - second * s);
    y[i + half] = from_float<T>(second * c + first * s);
  }
  if (y != x) memcpy(y + 2 * half, x + 2 * half, sizeof(T) * static_cast<size_t>(size - 2 * half));
}

}  // namespace

void rope(int64_t dtype, const void* x, const void* cosine, const void* sine, void* y, int64_t batch, int64_t length,
          int64_t heads, int64_t size, int64_t half, int64_t x_batch, int64_t x_position, int64_t x_head,
          int64_t y_batch, int64_t y_position, int64_t y_head, int64_t tables, double direction, int64_t threads) {
  with_type(dtype, [=](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
    for (int64_t row = 0; row < batch * length; ++row) {
      const int64_t sample = row / length, position = row - sample * length;
      const int64_t table = ((tables == 1 ? 0 : sample) * length + position) * half;
      const T* in = static_cast<const T*>(x) + sample * x_batch + position * x_position;
      T* out = static_cast<T*>(y) + sample * y_batch + position * y_position;
      for (int64_t head = 0; head < heads; ++head) {
        rope_head(in + head * x_head, static_cast<const float*>(cosine) + table,
                  static_cast<const float*>(sine) + table, out + head * y_head, size, half,
                  static_cast<float>(direction));
      }
    }
  });
}
