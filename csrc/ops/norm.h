// RMSNorm; see declarations.h.

namespace {

template <class T>
float sum_of_squares(const T* x, int64_t hidden) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < hidden; ++j) {
    const float value = to_float(x[j]);
    sum += value * value;
  }
  return sum;
}

template <class T>
void rms_norm_rows(const T* x, const T* residual, const T* weight, T* y, T* sum, float* rstd, int64_t rows,
                   int64_t hidden, float epsilon, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const T* in = x + row * hidden;
    T* out = y + row * hidden;
    if (residual != nullptr) {
      const T* other = residual + row * hidden;
      T* total = sum + row * hidden;
#pragma omp simd
      for (int64_t j = 0; j < hidden; ++j) total[j] = from_float<T>(to_float(in[j]) + to_float(other[j]));
      in = total;
    }
    const float scale = 1.0f / std::sqrt(sum_of_squares(in, hidden) / static_cast<float>(hidden) + epsilon);
    rstd[row] = scale;
#pragma omp simd
    for (int64_t j = 0; j < hidden; ++j) out[j] = from_float<T>(to_float(in[j]) * scale * to_float(weight[j]));
  }
}

template <class T>
void rms_norm_row_backward(const T* grad, const T* grad_sum, const T* x, const T* weight, float rstd, T* grad_x,
                           float* grad_weight, int64_t hidden) {
  float product = 0.0f;
#pragma omp simd reduction(+ : product)
  for (int64_t j = 0; j < hidden; ++j) {
    const float along = to_float(grad[j]) * (to_float(x[j]) * rstd);
    grad_weight[j] += along;
    product += along * to_float(weight[j]);
  }
  const float mean = product / static_cast<float>(hidden);
  if (grad_sum == nullptr) {
#pragma omp simd
    for (int64_t j = 0; j < hidden; ++j) {
      grad_x[j] = from_float<T>(rstd * (to_float(grad[j]) * to_float(weight[j]) - to_float(x[j]) * rstd * mean));
    }
  } else {
#pragma omp simd
    for (int64_t j = 0; j < hidden; ++j) {
      const float own = rstd * (to_float(grad[j]) * to_float(weight[j]) - to_float(x[j]) * rstd * mean);
      grad_x[j] = from_float<T>(own + to_float(grad_sum[j]));
    }
  }
}

}  // namespace

void rms_norm_forward(int64_t dtype, const void* x, const void* residual, const void* weight, void* y, void* sum,
                      void* rstd, int64_t rows, int64_t hidden, double epsilon, int64_t threads) {
  with_type(dtype, [=](auto type) {
    using T = decltype(type);
    rms_norm_rows(static_cast<const T*>(x), static_cast<const T*>(residual), static_cast<const T*>(weight),
                  static_cast<T*>(y), static_cast<T*>(sum), static_cast<float*>(rstd), rows, hidden,
                  static_cast<float>(epsilon), static_cast<int>(threads));
  });
}

void rms_norm_backward(int64_t dtype, const void* grad, const void* grad_sum, const void* x, const void* weight,
                       const void* rstd, void* grad_x, void* grad_weight, void* partial, int64_t rows, int64_t hidden,
                       int64_t threads) {
  // Sums over rows are taken in blocks that depend on the number of rows alone, then over blocks in order.
  const int64_t blocks = row_blocks(rows);
  with_type(dtype, [=](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      float* weight_part = static_cast<float*>(partial) + block * hidden;
      memset(weight_part, 0, sizeof(float) * static_cast<size_t>(hidden));
      for (int64_t row = block * rows / blocks; row < (block + 1) * rows / blocks; ++row) {
        const int64_t at = row * hidden;
        rms_norm_row_backward(static_cast<const T*>(grad) + at,
                              grad_sum == nullptr ? nullptr : static_cast<const T*>(grad_sum) + at,
                              static_cast<const T*>(x) + at, static_cast<const T*>(weight),
                              static_cast<const float*>(rstd)[row], static_cast<T*>(grad_x) + at, weight_part, hidden);
      }
    }
  });
  float* total = static_cast<float*>(grad_weight);
  memset(total, 0, sizeof(float) * static_cast<size_t>(hidden));
  for (int64_t block = 0; block < blocks; ++block) {
    const float* weight_part = static_cast<const float*>(partial) + block * hidden;
#pragma omp simd
    for (int64_t j = 0; j < hidden; ++j) total[j] += weight_part[j];
  }
}
