// AdamW and the sum of squares over many tensors; see declarations.h.

namespace {

struct AdamStep {
  float scale, decay, step_size, beta1, beta2, epsilon, root_correction2;
};

// Element by element, so that a tensor cut in pieces gets the same numbers.
template <class T>
void adamw_chunk(T* parameter, float* master, const float* grad, float* exp_avg, float* exp_avg_sq, int64_t count,
                 AdamStep step) {
  const float rest1 = 1.0f - step.beta1, rest2 = 1.0f - step.beta2;
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) {
    const float g = grad[j] * step.scale;
    const float m = step.beta1 * exp_avg[j] + rest1 * g;
    const float v = step.beta2 * exp_avg_sq[j] + rest2 * (g * g);
    exp_avg[j] = m;
    exp_avg_sq[j] = v;
    master[j] = master[j] * step.decay - step.step_size * m / (std::sqrt(v) / step.root_correction2 + step.epsilon);
  }
  if (parameter == nullptr) return;
#pragma omp simd
  for (int64_t j = 0; j < count; ++j) parameter[j] = from_float<T>(master[j]);
}

}  // namespace

void adamw(int64_t dtype, const void* table, const void* chunks, int64_t chunk_count, double scale, double lr,
           double beta1, double beta2, double epsilon, double weight_decay, double correction1, double correction2,
           int64_t threads) {
  const int64_t* rows = static_cast<const int64_t*>(table);
  const int64_t* places = static_cast<const int64_t*>(chunks);
  with_type(dtype, [=](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
    for (int64_t chunk = 0; chunk < chunk_count; ++chunk) {
      const int64_t* row = rows + 7 * places[2 * chunk];
      const int64_t first = places[2 * chunk + 1];
      const int64_t count = row[5] - first < kChunk ? row[5] - first : kChunk;
      const AdamStep step = {static_cast<float>(scale),
                             row[6] ? static_cast<float>(1.0 - lr * weight_decay) : 1.0f,
                             static_cast<float>(lr / correction1),
                             static_cast<float>(beta1),
                             static_cast<float>(beta2),
                             static_cast<float>(epsilon),
                             static_cast<float>(std::sqrt(correction2))};
      T* parameter = row[0] == 0 ? nullptr : reinterpret_cast<T*>(row[0]) + first;
      adamw_chunk(parameter, reinterpret_cast<float*>(row[1]) + first, reinterpret_cast<const float*>(row[2]) + first,
                  reinterpret_cast<float*>(row[3]) + first, reinterpret_cast<float*>(row[4]) + first, count, step);
    }
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
