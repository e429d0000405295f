// RMSNorm; the arguments are those of declarations.h.
#include "common.cuh"

namespace {

constexpr int64_t kPartialRows = 256;  // as in ops/native/norm.py; not the number of processors, so sums never differ
constexpr int kSharedLimit = 48 * 1024;

template <class T, int N>
__global__ void __launch_bounds__(1024) forward(const T* x, const T* residual, const T* weight, T* y, T* sum,
                                                float* rstd, int64_t hidden, float epsilon) {
  __shared__ float shared[32];
  const int64_t at = static_cast<int64_t>(blockIdx.x) * hidden;
  const T* in = x + at;
  float squares = 0.0f;
  for (int64_t j = static_cast<int64_t>(threadIdx.x) * N; j < hidden; j += static_cast<int64_t>(blockDim.x) * N) {
    float values[N];
    load<T, N>(in + j, values);
    if (residual != nullptr) {
      float other[N];
      load<T, N>(residual + at + j, other);
#pragma unroll
      for (int i = 0; i < N; ++i) values[i] = to_float(from_float<T>(values[i] + other[i]));
      store<T, N>(sum + at + j, values);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) squares += values[i] * values[i];
  }
  const float scale = 1.0f / sqrtf(block_sum(squares, shared) / static_cast<float>(hidden) + epsilon);
  if (threadIdx.x == 0) rstd[blockIdx.x] = scale;
  if (residual != nullptr) in = sum + at;  // each thread reads what it wrote
  for (int64_t j = static_cast<int64_t>(threadIdx.x) * N; j < hidden; j += static_cast<int64_t>(blockDim.x) * N) {
    float values[N], weights[N];
    load<T, N>(in + j, values);
    load<T, N>(weight + j, weights);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = values[i] * scale * weights[i];
    store<T, N>(y + at + j, values);
  }
}

// One block per row block; each thread owns the same columns of every row, and their sums in shared memory.
template <class T, int N>
__global__ void __launch_bounds__(1024)
    backward(const T* grad, const T* grad_sum, const T* x, const T* weight, const float* rstd, T* grad_x,
             float* partial, int64_t rows, int64_t hidden) {
  __shared__ float shared[32];
  extern __shared__ float weight_part[];
  const int64_t first = static_cast<int64_t>(threadIdx.x) * N, step = static_cast<int64_t>(blockDim.x) * N;
  for (int64_t j = first; j < hidden; j += step) {
    for (int i = 0; i < N; ++i) weight_part[j + i] = 0.0f;
  }
  const int64_t block = blockIdx.x, blocks = gridDim.x;
  for (int64_t row = block * rows / blocks; row < (block + 1) * rows / blocks; ++row) {
    const int64_t at = row * hidden;
    const float scale = rstd[row];
    float product = 0.0f;
    for (int64_t j = first; j < hidden; j += step) {
      float g[N], values[N], weights[N];
      load<T, N>(grad + at + j, g);
      load<T, N>(x + at + j, values);
      load<T, N>(weight + j, weights);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float along = g[i] * (values[i] * scale);
        weight_part[j + i] += along;
        product += along * weights[i];
      }
    }
    const float mean = block_sum(product, shared) / static_cast<float>(hidden);
    for (int64_t j = first; j < hidden; j += step) {
      float g[N], values[N], weights[N];
      load<T, N>(grad + at + j, g);
      load<T, N>(x + at + j, values);
      load<T, N>(weight + j, weights);
#pragma unroll
      for (int i = 0; i < N; ++i) g[i] = scale * (g[i] * weights[i] - values[i] * scale * mean);
      if (grad_sum != nullptr) {
        float other[N];
        load<T, N>(grad_sum + at + j, other);
#pragma unroll
        for (int i = 0; i < N; ++i) g[i] += other[i];
      }
      store<T, N>(grad_x + at + j, g);
    }
  }
  for (int64_t j = first; j < hidden; j += step) {
    for (int i = 0; i < N; ++i) partial[block * hidden + j + i] = weight_part[j + i];
  }
}

__global__ void sum_partials(const float* partial, float* total, int64_t blocks, int64_t hidden) {
  const int64_t j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= hidden) return;
  float sum = 0.0f;
  for (int64_t block = 0; block < blocks; ++block) sum += partial[block * hidden + j];
  total[j] = sum;
}

}  // namespace

extern "C" int rms_norm_forward(int64_t dtype, const void* x, const void* residual, const void* weight, void* y,
                                void* sum, void* rstd, int64_t rows, int64_t hidden, double epsilon,
                                cudaStream_t stream) {
  if (rows == 0) return 0;
  return with_type(dtype, [=](auto type) {
    using T = decltype(type);
    const bool packs = hidden % kPack<T> == 0 && aligned(x) && aligned(residual) && aligned(weight);
    with_width<T>(packs, [=](auto width) {
      constexpr int N = decltype(width)::value;
      forward<T, N><<<static_cast<unsigned>(rows), static_cast<unsigned>(row_threads(hidden / N)), 0, stream>>>(
          static_cast<const T*>(x), static_cast<const T*>(residual), static_cast<const T*>(weight),
          static_cast<T*>(y), static_cast<T*>(sum), static_cast<float*>(rstd), hidden, static_cast<float>(epsilon));
    });
  });
}

extern "C" int rms_norm_backward(int64_t dtype, const void* grad, const void* grad_sum, const void* x,
                                 const void* weight, const void* rstd, void* grad_x, void* grad_weight, void* partial,
                                 int64_t rows, int64_t hidden, cudaStream_t stream) {
  if (hidden == 0) return 0;
  const int64_t bytes = hidden * static_cast<int64_t>(sizeof(float));
  if (bytes > kSharedLimit - 128) return static_cast<int>(cudaErrorInvalidValue);
  const int64_t blocks = rows < kPartialRows ? rows : kPartialRows;
  const int status = blocks == 0 ? 0 : with_type(dtype, [=](auto type) {
    using T = decltype(type);
    const bool packs =
        hidden % kPack<T> == 0 && aligned(grad) && aligned(grad_sum) && aligned(x) && aligned(weight);
    with_width<T>(packs, [=](auto width) {
      constexpr int N = decltype(width)::value;
      backward<T, N><<<static_cast<unsigned>(blocks), static_cast<unsigned>(row_threads(hidden / N)),
                       static_cast<size_t>(bytes), stream>>>(
          static_cast<const T*>(grad), static_cast<const T*>(grad_sum), static_cast<const T*>(x),
          static_cast<const T*>(weight), static_cast<const float*>(rstd), static_cast<T*>(grad_x),
          static_cast<float*>(partial), rows, hidden);
    });
  });
  if (status != 0) return status;
  sum_partials<<<static_cast<unsigned>((hidden + 127) / 128), 128, 0, stream>>>(
      static_cast<const float*>(partial), static_cast<float*>(grad_weight), blocks, hidden);
  return static_cast<int>(cudaGetLastError());
}
