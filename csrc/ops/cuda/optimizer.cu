// AdamW and the sum of squares over many tensors in one launch; the arguments are those of declarations.h.
#include <type_traits>

#include "common.cuh"

namespace {

#include "rounding.h"

constexpr int kThreads = 256;
constexpr int64_t kChunk = 16384;  // as in kernels.h

constexpr int kElements = 4;  // that a thread loads at once

// Whether so many can be loaded at once.
template <class T>
__device__ __forceinline__ bool fits_packs(const T* tensor) {
  return reinterpret_cast<uintptr_t>(tensor) % (kElements * sizeof(T)) == 0;
}

struct AdamStep {
  const double* scale;  // on the device, so that the host need not know it; not a number: nothing is to change
  float decay, step_size, beta1, beta2, epsilon, inverse_root2;  // 1 / root of the second correction
};

// Row and column in the whole tensor of a block's element, and the key of its row.
struct RandomPlace {
  uint64_t of_step, key;
  int64_t first_row;
  uint32_t first_column, columns, row, column;

  // table_row: as declarations.h has it. Within a chunk, places fit in 32 bits, which divide several times faster.
  __device__ __forceinline__ RandomPlace(const int64_t* table_row, int64_t first, int64_t number)
      : of_step(step_key(table_row[7], number)),
        key(0),
        first_row(table_row[8] + first / table_row[10]),
        first_column(static_cast<uint32_t>(table_row[9])),
        columns(static_cast<uint32_t>(table_row[10])),
        row(0),
        column(0) {}

  __device__ __forceinline__ void seek(uint32_t place) {
    row = place / columns;
    column = place - row * columns;
    key = row_key(of_step, first_row + row);
  }

  __device__ __forceinline__ uint32_t bits(uint32_t after) const {
    return random_bits(static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32), first_column + column + after);
  }

  // Of N elements from `place` on. Rarely do they lie in more than one row.
  template <int N>
  __device__ __forceinline__ void fill(uint32_t place, uint32_t (&noise)[N]) {
    seek(place);
    if (column + N <= columns) {
#pragma unroll
      for (int i = 0; i < N; ++i) noise[i] = bits(static_cast<uint32_t>(i));
    } else {
#pragma unroll 1
      for (int i = 1; i <= N; ++i) {
        // Moved up by one each time, so that no element is addressed by a variable.
        const uint32_t own = bits(0);
#pragma unroll
        for (int k = 0; k + 1 < N; ++k) noise[k] = noise[k + 1];
        noise[N - 1] = own;
        seek(place + static_cast<uint32_t>(i));
      }
    }
  }
};

// Moments in bf16: rounded by the half of the noise that begins at bit `shift`, and stored by one instruction.
template <class T, int N>
__device__ __forceinline__ void store_moment(T* to, const float (&values)[N], const uint32_t (&noise)[N],
                                             uint32_t shift) {
  if constexpr (std::is_same_v<T, float>) {
    store<float, N>(to, values);
  } else {
    uint32_t halves[N];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      halves[i] = stochastic_half(__float_as_uint(values[i]), noise[i] >> shift & 0xffffu);
    }
    if constexpr (N == 1) {
      *to = __ushort_as_bfloat16(static_cast<unsigned short>(halves[0]));
    } else {
      static_assert(N == 4);
      __stwb(reinterpret_cast<uint2*>(to), make_uint2(halves[0] | halves[1] << 16, halves[2] | halves[3] << 16));
    }
  }
}

template <class T, class M, class V>
struct Tensors {
  T* parameter;
  float* master;
  const float* grad;
  M* exp_avg;
  V* exp_avg_sq;
};

// N neighbouring elements.
template <class T, class M, class V, int N>
__device__ __forceinline__ void adamw_elements(const Tensors<T, M, V>& t, int64_t j, const AdamStep& step, float scale,
                                               float decay, const uint32_t (&noise)[N]) {
  float g[N], m[N], v[N], value[N];
  load<float, N>(t.grad + j, g);
  load<float, N>(t.master + j, value);
  load<M, N>(t.exp_avg + j, m);
  load<V, N>(t.exp_avg_sq + j, v);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    g[i] *= scale;
    m[i] = step.beta1 * m[i] + (1.0f - step.beta1) * g[i];
    v[i] = step.beta2 * v[i] + (1.0f - step.beta2) * (g[i] * g[i]);
    value[i] = value[i] * decay - step.step_size * m[i] / (sqrtf(v[i]) * step.inverse_root2 + step.epsilon);
  }
  store_moment<M, N>(t.exp_avg + j, m, noise, 16);
  store_moment<V, N>(t.exp_avg_sq + j, v, noise, 0);
  store<float, N>(t.master + j, value);
  if (t.parameter != nullptr) store<T, N>(t.parameter + j, value);
}

// M, V: types of the moments.
// PTX: registers <= 64, stores 16
template <class T, class M, class V>
__global__ void __launch_bounds__(kThreads)
    adamw_chunks(const int64_t* table, const int64_t* chunks, AdamStep step, int64_t number) {
  const double exact_scale = *step.scale;
  if (isnan(exact_scale)) return;
  const float scale = static_cast<float>(exact_scale);
  const int64_t* row = table + 11 * chunks[2 * static_cast<int64_t>(blockIdx.x)];
  const int64_t first = chunks[2 * static_cast<int64_t>(blockIdx.x) + 1];
  const int64_t last = row[5] - first < kChunk ? row[5] : first + kChunk;
  const Tensors<T, M, V> tensors = {reinterpret_cast<T*>(row[0]), reinterpret_cast<float*>(row[1]),
                                    reinterpret_cast<const float*>(row[2]), reinterpret_cast<M*>(row[3]),
                                    reinterpret_cast<V*>(row[4])};
  const float decay = row[6] != 0 ? step.decay : 1.0f;
  constexpr bool exact = std::is_same_v<M, float> && std::is_same_v<V, float>;
  const auto run = [&](int64_t begin, int64_t end, auto width) {
    constexpr int N = decltype(width)::value;
    if constexpr (exact) {
      const uint32_t none[N] = {};
      for (int64_t j = begin + static_cast<int64_t>(threadIdx.x) * N; j < end; j += kThreads * N) {
        adamw_elements<T, M, V, N>(tensors, j, step, scale, decay, none);
      }
    } else {
      // `first` may lie within a row of this block.
      const uint32_t offset = static_cast<uint32_t>(first % row[10]);
      RandomPlace place(row, first, number);
      for (int64_t j = begin + static_cast<int64_t>(threadIdx.x) * N; j < end; j += kThreads * N) {
        uint32_t noise[N];
        place.fill<N>(offset + static_cast<uint32_t>(j - first), noise);
        adamw_elements<T, M, V, N>(tensors, j, step, scale, decay, noise);
      }
    }
  };
  // A chunk begins at a multiple of what is loaded at once if the tensor does.
  const bool packs = fits_packs(tensors.parameter) && fits_packs(tensors.master) && fits_packs(tensors.grad) &&
                     fits_packs(tensors.exp_avg) && fits_packs(tensors.exp_avg_sq);
  const int64_t whole = packs ? first + (last - first) / kElements * kElements : first;
  run(first, whole, Width<kElements>{});
  run(whole, last, Width<1>{});
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

__global__ void __launch_bounds__(kThreads)
    square_chunks(const int64_t* table, const int64_t* chunks, double* partial) {
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
                     const void* chunks, int64_t chunk_count, const void* scale, double lr, double beta1, double beta2,
                     double epsilon, double weight_decay, double correction1, double correction2, int64_t number,
                     cudaStream_t stream) {
  if (chunk_count == 0) return 0;
  const AdamStep step = {static_cast<const double*>(scale),
                         static_cast<float>(1.0 - lr * weight_decay),
                         static_cast<float>(lr / correction1),
                         static_cast<float>(beta1),
                         static_cast<float>(beta2),
                         static_cast<float>(epsilon),
                         static_cast<float>(1.0 / sqrt(correction2))};
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
