// SwiGLU; see declarations.h.

void swiglu_forward(int64_t dtype, const void* gate_up, void* y, int64_t rows, int64_t width, int64_t threads) {
  with_type(dtype, [=](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
      const T* gate = static_cast<const T*>(gate_up) + row * 2 * width;
      const T* up = gate + width;
      T* out = static_cast<T*>(y) + row * width;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) {
        const float g = to_float(gate[j]);
        out[j] = from_float<T>(g / (1.0f + exponential(-g)) * to_float(up[j]));
      }
    }
  });
}

void swiglu_backward(int64_t dtype, const void* grad, const void* gate_up, void* grad_gate_up, int64_t rows,
                     int64_t width, int64_t threads) {
  with_type(dtype, [=](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
      const T* gate = static_cast<const T*>(gate_up) + row * 2 * width;
      const T* up = gate + width;
      const T* in = static_cast<const T*>(grad) + row * width;
      T* grad_gate = static_cast<T*>(grad_gate_up) + row * 2 * width;
      T* grad_up = grad_gate + width;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) {
        const float g = to_float(gate[j]);
        const float d = to_float(in[j]);
        const float sigmoid = 1.0f / (1.0f + exponential(-g));
        grad_up[j] = from_float<T>(d * g * sigmoid);
        grad_gate[j] = from_float<T>(d * to_float(up[j]) * sigmoid * (1.0f + g * (1.0f - sigmoid)));
      }
    }
  });
}
