// AdamW and the sum of squares over many tensors in one launch; the arguments are those of declarations.h.
#include "common.cuh"

namespace {

constexpr int kThreads = 256;
constexpr int64_t kChunk = 16384;  // as in kernels.h

struct AdamStep {
  const double* scale;  // on the device, so that the host need not know it; not a number: nothing is to change
  float decay, step_size, beta1, beta2, epsilon, root_correction2;
};

template <class T>
__global__ void __launch_bounds__(kThreads) adamw_chunks(const int64_t* table, const int64_t* chunks, AdamStep step) {
  const double exact_scale = *step.scale;
  if (isnan(exact_scale)) return;
  const float scale = static_cast<float>(exact_scale);
  const int64_t* row = table + 7 * chunks[2 * static_cast<int64_t>(blockIdx.x)];
  const int64_t first = chunks[2 * static_cast<int64_t>(blockIdx.x) + 1];
  const int64_t last = row[5] - first < kChunk ? row[5] : first + kChunk;
  T* parameter = reinterpret_cast<T*>(row[0]);
  float* master = reinterpret_cast<float*>(row[1]);
  const float* grad = reinterpret_cast<const float*>(row[2]);
  float* exp_avg = reinterpret_cast<float*>(row[3]);
  float* exp_avg_sq = reinterpret_cast<float*>(row[4]);
  const float decay = row[6] != 0 ? step.decay : 1.0f;
  for (int64_t j = first + threadIdx.x; j < last; j += kThreads) {
    const float g = grad[j] * scale;
    const float m = step.beta1 * exp_avg[j] + (1.0f - step.beta1) * g;
    const float v = step.beta2 * exp_avg_sq[j] + (1.0f - step.beta2) * (g * g);
    const float value = master[j] * decay - step.step_size * m / (sqrtf(v) / step.root_correction2 + step.epsilon);
    exp_avg[j] = m;
    exp_avg_sq[j] = v;
    master[j] = value;
    if (parameter != nullptr) parameter[j] = from_float<T>(value);
  }
}

__device__ __forceinline__ double warp_sum(double value) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

__device__ __forceinline__ double block_sum_fp64(double value, double* shared) {
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  return warp_sum(threadIdx.x % 32 < kThreads / 32 ? shared[threadIdx.x % 32] : 0.0);
}

__global__ void __launch_bounds__(kThreads) square_chunks(const int64_t* table, const int64_t* chunks, double* partial) {
  __shared__ double shared[kThreads / 32];
  const int64_t* row = table + 2 * chunks[2 * static_cast<int64_t>(blockIdx.x)];
  const int64_t first = chunks[2 * static_cast<int64_t>(blockIdx.x) + 1];
  const int64_t last = row[1] - first < kChunk ? row[1] : first + kChunk;
  const float* x = reinterpret_cast<const float*>(row[0]);
  double sum = 0.0;
  for (int64_t j = first + threadIdx.x; j < last; j += kThreads) {
    sum += static_cast<double>(x[j]) * static_cast<double>(x[j]);
  }
  sum = block_sum_fp64(sum, shared);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) sum_partials(const double* partial, int64_t count, double* total) {
  __shared__ double shared[kThreads / 32];
  double sum = 0.0;
  for (int64_t j = threadIdx.x; j < count; j += kThreads) sum += partial[j];
  sum = block_sum_fp64(sum, shared);
  if (threadIdx.x == 0) *total = sum;
}

}  // namespace

extern "C" int adamw(int64_t dtype, const void* table, const void* chunks, int64_t chunk_count,
                     const double* scale, double lr, double beta1, double beta2, double epsilon, double weight_decay, double correction1,
                     double correction2, cudaStream_t stream) {
  if (chunk_count == 0) return 0;
  const AdamStep step = {scale,
                         static_cast<float>(1.0 - lr * weight_decay),
                         static_cast<float>(lr / correction1),
                         static_cast<float>(beta1),
                         static_cast<float>(beta2),
                         static_cast<float>(epsilon),
                         static_cast<float>(sqrt(correction2))};
  return with_type(dtype, [=](auto type) {
    using T = decltype(type);
    adamw_chunks<T><<<static_cast<unsigned>(chunk_count), kThreads, 0, stream>>>(
        static_cast<const int64_t*>(table), static_cast<const int64_t*>(chunks), step);
  });
}

extern "C" int sum_of_squares(int64_t, const void* table, const void* chunks, int64_t chunk_count, void* partial,
                              void* total, cudaStream_t stream) {
  if (chunk_count > 0) {
    square_chunks<<<static_cast<unsigned>(chunk_count), kThreads, 0, stream>>>(
        static_cast<const int64_t*>(table), static_cast<const int64_t*>(chunks), static_cast<double*>(partial));
  }
  sum_partials<<<1, kThreads, 0, stream>>>(static_cast<const double*>(partial), chunk_count,
                                           static_cast<double*>(total));
  return static_cast<int>(cudaGetLastError());
}
