// SwiGLU; the arguments are those of declarations.h.
#include "common.cuh"

namespace {

constexpr int kThreads = 256;

template <class T, int N>
__global__ void __launch_bounds__(kThreads) forward(const T* gate_up, T* y, int64_t rows, int64_t width) {
  const int64_t per_row = width / N, count = rows * per_row;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t n = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; n < count; n += step) {
    const int64_t row = n / per_row, j = (n - row * per_row) * N;
    const T* gate = gate_up + row * 2 * width + j;
    float g[N], u[N];
    load<T, N>(gate, g);
    load<T, N>(gate + width, u);
#pragma unroll
    for (int i = 0; i < N; ++i) g[i] = g[i] / (1.0f + __expf(-g[i])) * u[i];
    store<T, N>(y + row * width + j, g);
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    backward(const T* grad, const T* gate_up, T* grad_gate_up, int64_t rows, int64_t width) {
  const int64_t per_row = width / N, count = rows * per_row;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t n = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; n < count; n += step) {
    const int64_t row = n / per_row, j = (n - row * per_row) * N, at = row * 2 * width + j;
    float g[N], u[N], d[N];
    load<T, N>(gate_up + at, g);
    load<T, N>(gate_up + at + width, u);
    load<T, N>(grad + row * width + j, d);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float sigmoid = 1.0f / (1.0f + __expf(-g[i]));
      const float grad_up = d[i] * g[i] * sigmoid;
      g[i] = d[i] * u[i] * sigmoid * (1.0f + g[i] * (1.0f - sigmoid));
      u[i] = grad_up;
    }
    store<T, N>(grad_gate_up + at, g);
    store<T, N>(grad_gate_up + at + width, u);
  }
}

// Enough blocks to fill any card; the rest is a loop.
unsigned grid(int64_t accesses) {
  const int64_t blocks = (accesses + kThreads - 1) / kThreads;
  return static_cast<unsigned>(blocks < 132 * 64 ? blocks : 132 * 64);
}

}  // namespace

extern "C" int swiglu_forward(int64_t dtype, const void* gate_up, void* y, int64_t rows, int64_t width,
                              cudaStream_t stream) {
  if (rows * width == 0) return 0;
  return with_type(dtype, [=](auto type) {
    using T = decltype(type);
    with_width<T>(width % kPack<T> == 0 && aligned(gate_up), [=](auto elements) {
      constexpr int N = decltype(elements)::value;
      forward<T, N><<<grid(rows * (width / N)), kThreads, 0, stream>>>(static_cast<const T*>(gate_up),
                                                                      static_cast<T*>(y), rows, width);
    });
  });
}

extern "C" int swiglu_backward(int64_t dtype, const void* grad, const void* gate_up, void* grad_gate_up, int64_t rows,
                               int64_t width, cudaStream_t stream) {
  if (rows * width == 0) return 0;
  return with_type(dtype, [=](auto type) {
    using T = decltype(type);
    with_width<T>(width % kPack<T> == 0 && aligned(gate_up) && aligned(grad), [=](auto elements) {
      constexpr int N = decltype(elements)::value;
      backward<T, N><<<grid(rows * (width / N)), kThreads, 0, stream>>>(
          static_cast<const T*>(grad), static_cast<const T*>(gate_up), static_cast<T*>(grad_gate_up), rows, width);
    });
  });
}
