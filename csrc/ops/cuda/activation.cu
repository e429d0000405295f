// Activations, plain and gated; the arguments are those of declarations.h.
#include "common.cuh"

namespace {

// Its error of two units in the last place is below the rounding to bf16 and fp16.
__device__ __forceinline__ float exp_of(float x) { return __expf(x); }

#define STEEL_INLINE static __device__ __forceinline__
#include "activations.h"

constexpr int kThreads = 256;

// Blocks follow one another along the rows, `tiles` of them in each; a thread does one access.
// PTX: registers <= 32, loads 16, stores 16
template <class T, int N, class F>
__global__ void __launch_bounds__(kThreads) forward(const T* x, T* y, int64_t width, unsigned tiles, bool gated) {
  const int64_t row = blockIdx.x / tiles;
  const int64_t j = (static_cast<int64_t>(blockIdx.x % tiles) * blockDim.x + threadIdx.x) * N;
  if (j >= width) return;
  const T* in = x + row * (gated ? 2 * width : width) + j;
  float values[N];
  load<T, N>(in, values);
#pragma unroll
  for (int i = 0; i < N; ++i) values[i] = F::at(values[i]).value;
  if (gated) {
    float up[N];
    load<T, N>(in + width, up);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] *= up[i];
  }
  store<T, N>(y + row * width + j, values);
}

// PTX: registers <= 40, loads 16, stores 16
template <class T, int N, class F>
__global__ void __launch_bounds__(kThreads)
    backward(const T* grad, const T* x, T* grad_x, int64_t width, unsigned tiles, bool gated) {
  const int64_t row = blockIdx.x / tiles;
  const int64_t j = (static_cast<int64_t>(blockIdx.x % tiles) * blockDim.x + threadIdx.x) * N;
  if (j >= width) return;
  const int64_t at = row * (gated ? 2 * width : width) + j;
  float values[N], d[N];
  load<T, N>(x + at, values);
  load<T, N>(grad + row * width + j, d);
  if (gated) {
    float up[N];
    load<T, N>(x + at + width, up);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const Point point = F::at(values[i]);
      values[i] = d[i] * up[i] * point.slope;
      up[i] = d[i] * point.value;
    }
    store<T, N>(grad_x + at + width, up);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = d[i] * F::at(values[i]).slope;
  }
  store<T, N>(grad_x + at, values);
}

// How rows of so many accesses are cut: blocks per row, and threads that share the row out evenly.
struct Cut {
  unsigned tiles, blocks, threads;
};

// Blocks beyond what a grid holds are 0, which the launch refuses.
Cut cut(int64_t rows, int64_t accesses) {
  const int64_t tiles = (accesses + kThreads - 1) / kThreads;
  const int64_t threads = ((accesses + tiles - 1) / tiles + 31) / 32 * 32;
  const int64_t blocks = rows * tiles <= INT32_MAX ? rows * tiles : 0;
  return {static_cast<unsigned>(tiles), static_cast<unsigned>(blocks), static_cast<unsigned>(threads)};
}

}  // namespace

extern "C" int activation_forward(int64_t dtype, const void* x, void* y, int64_t function, int64_t gated, int64_t rows,
                                  int64_t width, cudaStream_t stream) {
  if (rows * width == 0) return 0;
  return with_type(dtype, [=](auto type) {
    with_function(function, [=](auto chosen) {
      using T = decltype(type);
      with_width<T>(width % kPack<T> == 0 && aligned(x) && aligned(y), [=](auto elements) {
        constexpr int N = decltype(elements)::value;
        const Cut c = cut(rows, width / N);
        forward<T, N, decltype(chosen)><<<c.blocks, c.threads, 0, stream>>>(
            static_cast<const T*>(x), static_cast<T*>(y), width, c.tiles, gated != 0);
      });
    });
  });
}

extern "C" int activation_backward(int64_t dtype, const void* grad, const void* x, void* grad_x, int64_t function,
                                   int64_t gated, int64_t rows, int64_t width, cudaStream_t stream) {
  if (rows * width == 0) return 0;
  return with_type(dtype, [=](auto type) {
    with_function(function, [=](auto chosen) {
      using T = decltype(type);
      with_width<T>(width % kPack<T> == 0 && aligned(grad) && aligned(x) && aligned(grad_x), [=](auto elements) {
        constexpr int N = decltype(elements)::value;
        const Cut c = cut(rows, width / N);
        backward<T, N, decltype(chosen)><<<c.blocks, c.threads, 0, stream>>>(
            static_cast<const T*>(grad), static_cast<const T*>(x), static_cast<T*>(grad_x), width, c.tiles, gated != 0);
      });
    });
  });
}
