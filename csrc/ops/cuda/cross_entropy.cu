// Cross entropy on logits; the arguments are those of declarations.h.
#include "common.cuh"

namespace {

constexpr int kThreads = 512;

// Largest value so far, and the sum of exp relative to it. A NaN is never the largest, but makes the sum one.
struct Running {
  float top = -INFINITY;
  float sum = 0.0f;

  template <int N>
  __device__ __forceinline__ void add(const float (&values)[N]) {
    float largest = values[0];
#pragma unroll
    for (int i = 1; i < N; ++i) largest = fmaxf(largest, values[i]);
    if (largest > top) {
      sum *= __expf(top - largest);
      top = largest;
    }
    const float base = top == -INFINITY ? 0.0f : top;  // -inf - -inf is no number
#pragma unroll
    for (int i = 0; i < N; ++i) sum += __expf(values[i] - base);
  }
};

// One block per row; the row is read once.
// PTX: registers <= 32, loads 16
template <class T, int N>
__global__ void __launch_bounds__(kThreads) forward(const T* logits, const int64_t* labels, float* lse, float* target,
                                                    int64_t columns, int64_t first, int64_t real) {
  __shared__ float shared[32];
  const T* x = logits + static_cast<int64_t>(blockIdx.x) * columns;
  const int64_t packed = real / N * N;
  Running running;
  for (int64_t j = static_cast<int64_t>(threadIdx.x) * N; j < packed; j += static_cast<int64_t>(kThreads) * N) {
    float values[N];
    load<T, N>(x + j, values);
    running.add(values);
  }
  for (int64_t j = packed + threadIdx.x; j < real; j += kThreads) {
    const float value[1] = {to_float(x[j])};
    running.add(value);
  }
  const float top = block_max(running.top, shared);
  const float sum = block_sum(running.top == -INFINITY ? running.sum : running.sum * __expf(running.top - top), shared);
  if (threadIdx.x == 0) {
    const int64_t label = labels[blockIdx.x] - first;
    lse[blockIdx.x] = top + (top == -INFINITY ? sum : logf(sum));
    target[blockIdx.x] = label >= 0 && label < real ? to_float(x[label]) : 0.0f;
  }
}

// PTX: registers <= 32, loads 16, stores 16
template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    backward(T* logits, const int64_t* labels, const float* lse, const float* probability_scale,
             const float* label_scale, int64_t columns, int64_t first, int64_t real) {
  T* x = logits + static_cast<int64_t>(blockIdx.x) * columns;
  const int64_t label = labels[blockIdx.x] - first;
  const float partition = lse[blockIdx.x], scale = probability_scale[blockIdx.x], taken = label_scale[blockIdx.x];
  const int64_t packed = real / N * N;
  for (int64_t j = static_cast<int64_t>(threadIdx.x) * N; j < packed; j += static_cast<int64_t>(kThreads) * N) {
    float values[N];
    load<T, N>(x + j, values);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      values[i] = scale == 0.0f ? 0.0f : __expf(values[i] - partition) * scale;
      if (j + i == label) values[i] -= taken;
    }
    store<T, N>(x + j, values);
  }
  for (int64_t j = packed + threadIdx.x; j < columns; j += kThreads) {
    float value = j < real && scale != 0.0f ? __expf(to_float(x[j]) - partition) * scale : 0.0f;
    if (j == label && j < real) value -= taken;
    x[j] = from_float<T>(value);
  }
}

}  // namespace

extern "C" int cross_entropy_forward(int64_t dtype, const void* logits, const void* labels, void* lse, void* target,
                                     int64_t rows, int64_t columns, int64_t first, int64_t real, cudaStream_t stream) {
  if (rows == 0) return 0;
  return with_type(dtype, [=](auto type) {
    using T = decltype(type);
    with_width<T>(columns % kPack<T> == 0 && aligned(logits), [=](auto width) {
      constexpr int N = decltype(width)::value;
      forward<T, N><<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(
          static_cast<const T*>(logits), static_cast<const int64_t*>(labels), static_cast<float*>(lse),
          static_cast<float*>(target), columns, first, real);
    });
  });
}

extern "C" int cross_entropy_backward(int64_t dtype, void* logits, const void* labels, const void* lse,
                                      const void* probability_scale, const void* label_scale, int64_t rows,
                                      int64_t columns, int64_t first, int64_t real, cudaStream_t stream) {
  if (rows == 0) return 0;
  return with_type(dtype, [=](auto type) {
    using T = decltype(type);
    with_width<T>(columns % kPack<T> == 0 && aligned(logits), [=](auto width) {
      constexpr int N = decltype(width)::value;
      backward<T, N><<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(
          static_cast<T*>(logits), static_cast<const int64_t*>(labels), static_cast<const float*>(lse),
          static_cast<const float*>(probability_scale), static_cast<const float*>(label_scale), columns, first, real);
    });
  });
}
