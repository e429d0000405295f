// Kernels with a planted fault each, which `fault` switches on; test_faults.py says how each is caught.
#include <type_traits>

#include "common.cuh"

namespace {

constexpr int kThreads = 96;  // three warps

// y = x backwards, in pieces of kThreads, through shared memory.
template <bool kFault>
__global__ void __launch_bounds__(kThreads) missing_barrier(const float* x, float* y, int64_t) {
  __shared__ float piece[kThreads];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads;
  piece[threadIdx.x] = x[first + threadIdx.x];
  if constexpr (!kFault) __syncthreads();
  y[first + threadIdx.x] = piece[kThreads - 1 - threadIdx.x];
}

template <bool kFault>
__global__ void __launch_bounds__(kThreads) short_tail(const float* x, float* y, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count - (kFault ? 1 : 0)) y[i] = x[i];
}

// y = the sum of each warp's x; without the fault by lanes that are all there.
template <bool kFault>
__global__ void __launch_bounds__(kThreads) ended_lane(const float* x, float* y, int64_t) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (kFault && threadIdx.x == kThreads - 1) return;
  float sum = x[i];
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  y[i] = sum;
}

// y = the sum of the block's x; with the fault from places of shared memory that no warp has written.
template <bool kFault>
__global__ void __launch_bounds__(kThreads) stale_shared(const float* x, float* y, int64_t) {
  __shared__ float shared[32];
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  float sum = x[i];
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = sum;
  __syncthreads();
  sum = kFault || threadIdx.x % 32 < kThreads / 32 ? shared[threadIdx.x % 32] : 0.0f;
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  y[i] = sum;
}

template <bool kFault>
__global__ void __launch_bounds__(kThreads) different_shuffles(const float* x, float* y, int64_t) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  float other;
  if (kFault && threadIdx.x % 32 < 16) {
    other = __shfl_xor_sync(0xffffffffu, x[i], 1);
  } else {
    other = __shfl_xor_sync(0xffffffffu, x[i], 1);
  }
  y[i] = other;
}

template <bool kFault>
__global__ void __launch_bounds__(kThreads) foreign_lane(const float* x, float* y, int64_t) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const unsigned half = threadIdx.x % 32 < 16 ? 0x0000ffffu : 0xffff0000u;
  y[i] = __shfl_xor_sync(half, x[i], kFault ? 16 : 8);
}

template <bool kFault>
__global__ void __launch_bounds__(kThreads) unaligned(const float* x, float* y, int64_t) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 4;
  float values[4];
  load<float, 4>(x + i + (kFault ? 1 : 0), values);
  store<float, 4>(y + i, values);
}

template <bool kFault>
__global__ void __launch_bounds__(kThreads) outside_shared(const float* x, float* y, int64_t) {
  __shared__ float piece[kThreads];
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  piece[threadIdx.x + (kFault ? 1 : 0)] = x[i];
  __syncthreads();
  y[i] = piece[threadIdx.x];
}

template <bool kFault>
__global__ void __launch_bounds__(kThreads) outside_global(const float* x, float* y, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  y[i] = x[kFault && i == count - 1 ? count : i];
}

template <bool kFault>
__global__ void __launch_bounds__(kThreads) divergent_barrier(const float* x, float* y, int64_t) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (kFault && threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[i] = x[i];
}

template <bool kFault>
__global__ void __launch_bounds__(kFault ? kThreads - 32 : kThreads) launch_bounds(const float* x, float* y, int64_t) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  y[i] = x[i];
}

// y = 1; with the fault each thread reads what its neighbour writes.
template <bool kFault>
__global__ void __launch_bounds__(kThreads) racing_blocks(const float*, float* y, int64_t) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const float before = kFault && i > 0 ? y[i - 1] : 0.0f;
  y[i] = before == 1.0f ? 1.0f : 1.0f - 0.0f * before;
}

template <class Kernel>
int run(Kernel kernel, const float* x, float* y, int64_t count, int64_t blocks) {
  kernel<<<static_cast<unsigned>(blocks), kThreads>>>(x, y, count);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace

#define EXAMPLE(name)                                                                                        \
  extern "C" int name##_example(int64_t fault, const float* x, float* y, int64_t count, int64_t blocks) {    \
    return run(fault != 0 ? name<true> : name<false>, x, y, count, blocks);                                  \
  }
EXAMPLE(missing_barrier)
EXAMPLE(short_tail)
EXAMPLE(ended_lane)
EXAMPLE(stale_shared)
EXAMPLE(different_shuffles)
EXAMPLE(foreign_lane)
EXAMPLE(unaligned)
EXAMPLE(outside_shared)
EXAMPLE(outside_global)
EXAMPLE(divergent_barrier)
EXAMPLE(launch_bounds)
EXAMPLE(racing_blocks)
