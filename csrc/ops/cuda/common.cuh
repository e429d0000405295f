// What the CUDA kernels share: number types, 16-byte loads, sums over a block, launching.
//
// Plain CUDA without torch's headers. Launchers are extern "C", take raw device pointers and a stream, and return the
// CUDA error code of the launch (0: none). dtype: 0 fp32, 1 bf16, 2 fp16; arithmetic is fp32.
//
// A line "// PTX: registers <= N, loads 16, stores 16" above a kernel is checked by tests/ops/native/test_ptx.py: what
// sm_80 may take of a thread, and that versions for whole packs load and store 16 bytes at once. Nothing spills.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <type_traits>

// Launchers, so that the compiler compares each with the list of kernels.
#define CUDA_KERNEL(name, ...) extern "C" int name(__VA_ARGS__, cudaStream_t stream);
#include "declarations.h"

using bf16 = __nv_bfloat16;
using fp16 = __half;

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bf16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float to_float(fp16 value) { return __half2float(value); }

template <class T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ __forceinline__ fp16 from_float<fp16>(float value) {
  return __float2half_rn(value);
}

// N elements that are loaded and stored at once; N * sizeof(T) is 16 bytes, or N is 1.
template <class T, int N>
struct alignas(N * sizeof(T)) Pack {
  T values[N];
};

template <class T>
constexpr int kPack = 16 / static_cast<int>(sizeof(T));

template <class T, int N>
__device__ __forceinline__ void load(const T* from, float (&to)[N]) {
  const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = to_float(pack.values[i]);
}

// 4 bytes of T, rounded from fp32.
__device__ __forceinline__ unsigned word(const float* from, float) { return __float_as_uint(from[0]); }
__device__ __forceinline__ unsigned word(const float* from, bf16) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(from[0], from[1]);
  return static_cast<unsigned>(__bfloat16_as_ushort(pair.x)) | static_cast<unsigned>(__bfloat16_as_ushort(pair.y))
                                                                   << 16;
}
__device__ __forceinline__ unsigned word(const float* from, fp16) {
  const __half2 pair = __floats2half2_rn(from[0], from[1]);
  return static_cast<unsigned>(__half_as_ushort(pair.x)) | static_cast<unsigned>(__half_as_ushort(pair.y)) << 16;
}

// By one instruction of 16 or 8 bytes: where the compiler knows the members of a struct apart, it may store each by
// itself.
template <class T, int N>
__device__ __forceinline__ void store(T* to, const float (&from)[N]) {
  constexpr int kPerWord = 4 / static_cast<int>(sizeof(T));
  if constexpr (N == 1) {
    *to = from_float<T>(from[0]);
  } else if constexpr (N == 2 * kPerWord) {
    __stwb(reinterpret_cast<uint2*>(to), make_uint2(word(from, T{}), word(from + kPerWord, T{})));
  } else {
    static_assert(N == kPack<T>);
    const uint4 words = make_uint4(word(from, T{}), word(from + kPerWord, T{}), word(from + 2 * kPerWord, T{}),
                                   word(from + 3 * kPerWord, T{}));
    __stwb(reinterpret_cast<uint4*>(to), words);
  }
}

// N fp32 numbers, four at a time where there are so many.
template <int N>
__device__ __forceinline__ void load_table(const float* from, float (&to)[N]) {
  if constexpr (N == 1) {
    to[0] = *from;
  } else {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      to[i] = four.x, to[i + 1] = four.y, to[i + 2] = four.z, to[i + 3] = four.w;
    }
  }
}

// The sum over all threads of a block of whole warps, on every thread. shared holds 32 floats.
__device__ __forceinline__ float block_sum(float value, float* shared) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  __syncthreads();  // the sum before may still be read
  if (lane == 0) shared[warp] = value;
  __syncthreads();
  value = lane < warps ? shared[lane] : 0.0f;
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

__device__ __forceinline__ float block_max(float value, float* shared) {
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  __syncthreads();
  if (lane == 0) shared[warp] = value;
  __syncthreads();
  value = lane < warps ? shared[lane] : -INFINITY;
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

inline bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

// Calls function(T{}) with the type that dtype names.
template <class Function>
int with_type(int64_t dtype, Function function) {
  if (dtype == 0) function(float{});
  if (dtype == 1) function(bf16{});
  if (dtype == 2) function(fp16{});
  return static_cast<int>(cudaGetLastError());
}

// Calls function(std::integral_constant<int, N>) with N elements per access: a whole pack where all rows allow it.
template <int N>
struct Width {
  static constexpr int value = N;
};

template <class T, class Function>
void with_width(bool packs, Function function) {
  if (packs) {
    function(Width<kPack<T>>{});
  } else {
    function(Width<1>{});
  }
}

// Calls call(std::bool_constant) with the answer.
template <class Call>
void with_answer(bool answer, Call call) {
  if (answer) {
    call(std::true_type{});
  } else {
    call(std::false_type{});
  }
}

// Threads of a block that works on rows of so many accesses: whole warps, at most 1024.
inline int row_threads(int64_t accesses) {
  const int64_t threads = (accesses + 31) / 32 * 32;
  return static_cast<int>(threads < 32 ? 32 : threads > 1024 ? 1024 : threads);
}
