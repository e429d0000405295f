// AdamW and the sum of squares over many tensors in one launch; the arguments are those of declarations.h.
#include <type_traits>

#include "common.cuh"

namespace {

#include "rounding.h"

constexpr int kThreads = 256;
constexpr int64_t kChunk = 16384;  // as in kernels.h

struct AdamStep {
  const double* scale;  // on the device, so that the host need not know it; not a number: nothing is to change
  float decay, step_size, beta1, beta2, epsilon, root_correction2;
};

__device__ __forceinline__ float rounded(float value, uint32_t, float) { return value; }
__device__ __forceinline__ bf16 rounded(float value, uint32_t noise, bf16) {
  return __ushort_as_bfloat16(static_cast<unsigned short>(stochastic_half(__float_as_uint(value), noise)));
}

// M, V: types of the moments.
template <class T, class M, class V>
__global__ void __launch_bounds__(kThreads)
    adamw_chunks(const int64_t* table, const int64_t* chunks, AdamStep step, int64_t number) {
  const double exact_scale = *step.scale;
  if (isnan(exact_scale)) return;
  const float scale = static_cast<float>(exact_scale);
  const int64_t* row = table + 11 * chunks[2 * static_cast<int64_t>(blockIdx.x)];
  const int64_t first = chunks[2 * static_cast<int64_t>(blockIdx.x) + 1];
  const int64_t last = row[5] - first < kChunk ? row[5] : first + kChunk;
  T* parameter = reinterpret_cast<T*>(row[0]);
  float* master = reinterpret_cast<float*>(row[1]);
  const float* grad = reinterpret_cast<const float*>(row[2]);
  M* exp_avg = reinterpret_cast<M*>(row[3]);
  V* exp_avg_sq = reinterpret_cast<V*>(row[4]);
  const float decay = row[6] != 0 ? step.decay : 1.0f;
  constexpr bool exact = std::is_same_v<M, float> && std::is_same_v<V, float>;
  // Within a chunk, places fit in 32 bits, which divide several times faster than 64.
  const int64_t first_row = exact ? 0 : row[8] + first / row[10];
  const uint32_t columns = exact ? 1 : static_cast<uint32_t>(row[10]);
  const uint32_t first_column = exact ? 0 : static_cast<uint32_t>(first % row[10]);
  for (int64_t j = first + threadIdx.x; j < last; j += kThreads) {
    const float g = grad[j] * scale;
    const float m = step.beta1 * to_float(exp_avg[j]) + (1.0f - step.beta1) * g;
    const float v = step.beta2 * to_float(exp_avg_sq[j]) + (1.0f - step.beta2) * (g * g);
    const float value = master[j] * decay - step.step_size * m / (sqrtf(v) / step.root_correction2 + step.epsilon);
    uint32_t noise = 0;
    if constexpr (!exact) {
      const uint32_t place = first_column + static_cast<uint32_t>(j - first);
      const uint64_t random = row_key(row[7], number, first_row + place / columns);
      noise = random_bits(static_cast<uint32_t>(random), static_cast<uint32_t>(random >> 32),
                          static_cast<uint32_t>(row[9]) + place % columns);
    }
    exp_avg[j] = rounded(m, noise >> 16, M{});
    exp_avg_sq[j] = rounded(v, noise & 0xffffu, V{});
    master[j] = value;
    if (parameter != nullptr) parameter[j] = from_float<T>(value);
  }
}

// Calls function(T{}) with the type that dtype, fp32 or bf16, names.
template <class Function>
void with_moment(int64_t dtype, Function function) {
  if (dtype == 0) function(float{});
  if (dtype == 1) function(bf16{});
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

extern "C" int adamw(int64_t dtype, int64_t exp_avg_dtype, int64_t exp_avg_sq_dtype, const void* table,
                     const void* chunks, int64_t chunk_count, const void* scale, double lr, double beta1,
                     double beta2, double epsilon, double weight_decay, double correction1, double correction2,
                     int64_t number, cudaStream_t stream) {
  if (chunk_count == 0) return 0;
  const AdamStep step = {static_cast<const double*>(scale),
                         static_cast<float>(1.0 - lr * weight_decay),
                         static_cast<float>(lr / correction1),
                         static_cast<float>(beta1),
                         static_cast<float>(beta2),
                         static_cast<float>(epsilon),
                         static_cast<float>(sqrt(correction2))};
  return with_type(dtype, [=](auto type) {
    with_moment(exp_avg_dtype, [=](auto first_moment) {
      with_moment(exp_avg_sq_dtype, [=](auto second_moment) {
        using T = decltype(type);
        using M = decltype(first_moment);
        using V = decltype(second_moment);
        adamw_chunks<T, M, V><<<static_cast<unsigned>(chunk_count), kThreads, 0, stream>>>(
            static_cast<const int64_t*>(table), static_cast<const int64_t*>(chunks), step, number);
      });
    });
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
