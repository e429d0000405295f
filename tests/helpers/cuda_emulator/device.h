// What device code sees when g++ compiles it: the toolkit's headers with their host paths, and in place of what only
// nvcc knows the emulator's. Included in front of every rewritten .cu file.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "scheduler.h"

#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __forceinline__
#define __global__ static
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define threadIdx (emulator::here.thread)
#define blockIdx (emulator::here.block)
#define blockDim (emulator::here.block_size)
#define gridDim (emulator::here.grid_size)
#define warpSize 32
#define cudaGetLastError emulator::take_error

// Rewritten: extern __shared__ T name[]; and __shared__ T name[N];
#define EMULATOR_STATIC_SHARED(type, name, size)                                                               \
  static const char emulator_key_of_##name = 0;                                                                \
  typedef type emulator_type_of_##name size;                                                                   \
  auto& name = *static_cast<emulator_type_of_##name*>(                                                         \
      emulator::static_shared(&emulator_key_of_##name, sizeof(emulator_type_of_##name)))
#define EMULATOR_LAUNCH_BOUNDS(most, ...) emulator::check_launch_bounds(most, __FILE__, __LINE__);

#define __syncthreads() emulator::block_barrier(__FILE__, __LINE__)
#define __syncwarp(...) emulator::warp_gather(emulator::whole_warp(__VA_ARGS__), 0, true, __FILE__, __LINE__)

#define __shfl_sync(mask, value, ...) emulator::shuffle(mask, value, emulator::From{}, __FILE__, __LINE__, __VA_ARGS__)
#define __shfl_xor_sync(mask, value, ...) emulator::shuffle(mask, value, emulator::Xor{}, __FILE__, __LINE__, __VA_ARGS__)
#define __shfl_up_sync(mask, value, ...) emulator::shuffle(mask, value, emulator::Up{}, __FILE__, __LINE__, __VA_ARGS__)
#define __shfl_down_sync(mask, value, ...) \
  emulator::shuffle(mask, value, emulator::Down{}, __FILE__, __LINE__, __VA_ARGS__)
#define __reduce_add_sync(mask, value) \
  emulator::reduce(mask, value, [](auto a, auto b) { return a + b; }, __FILE__, __LINE__)
#define __reduce_max_sync(mask, value) \
  emulator::reduce(mask, value, [](auto a, auto b) { return a < b ? b : a; }, __FILE__, __LINE__)
#define __reduce_min_sync(mask, value) \
  emulator::reduce(mask, value, [](auto a, auto b) { return b < a ? b : a; }, __FILE__, __LINE__)
#define __ballot_sync(mask, predicate) emulator::ballot(mask, predicate, __FILE__, __LINE__)
#define __any_sync(mask, predicate) (__ballot_sync(mask, predicate) != 0)
#define __all_sync(mask, predicate) (__ballot_sync(mask, !(predicate)) == 0)

namespace emulator {

inline unsigned whole_warp(unsigned mask = 0xffffffffu) { return mask; }

// The lane that a lane reads, of `width` lanes that exchange among themselves.
struct From {
  static int source(int lane, int from, int width) { return lane / width * width + from % width; }
};
struct Xor {
  static int source(int lane, int mask, int width) {
    const int from = lane ^ mask;
    return from < lane / width * width + width ? from : lane;
  }
};
struct Up {
  static int source(int lane, int delta, int width) { return lane % width < delta ? lane : lane - delta; }
};
struct Down {
  static int source(int lane, int delta, int width) { return lane % width + delta < width ? lane + delta : lane; }
};

template <class T, class Rule>
T shuffle(unsigned mask, T value, Rule, const char* file, int line, int operand, int width = 32) {
  const uint64_t* values = warp_gather(mask, to_bits(value), false, file, line);
  const int source = Rule::source(static_cast<int>(lane()), operand, width);
  if (!(mask >> source & 1u)) fail("a shuffle reads a lane that is not in its mask", file, line);
  return from_bits<T>(values[source]);
}

template <class T, class Operation>
T reduce(unsigned mask, T value, Operation operation, const char* file, int line) {
  static_assert(std::is_integral_v<T> && sizeof(T) == 4);
  const uint64_t* values = warp_gather(mask, to_bits(value), false, file, line);
  T result = value;  // the lane's own twice does not change a maximum; a sum begins with the first lane's
  bool first = true;
  for (int i = 0; i < 32; ++i) {
    if (!(mask >> i & 1u)) continue;
    result = first ? from_bits<T>(values[i]) : static_cast<T>(operation(result, from_bits<T>(values[i])));
    first = false;
  }
  return result;
}

inline unsigned ballot(unsigned mask, bool predicate, const char* file, int line) {
  const uint64_t* values = warp_gather(mask, predicate, false, file, line);
  unsigned result = 0;
  for (int i = 0; i < 32; ++i) {
    if (mask >> i & 1u) result |= static_cast<unsigned>(values[i] & 1u) << i;
  }
  return result;
}

// Atomic as CUDA threads run one at a time; only the race detector has to be told.
template <class T, class Operation>
__attribute__((no_sanitize("thread"))) T atomic(T* address, Operation operation) {
  atomic_access(address, sizeof(T));
  const T before = *address;
  *address = operation(before);
  return before;
}

// The device's is 2^(x log2 e) with results below the normal numbers taken for 0; its own error of two units in the last
// place is not imitated.
inline float fast_exp(float x) {
  const float result = std::exp2(x * 1.4426950408889634f);
  return std::fabs(result) < 1.17549435e-38f ? 0.0f : result;
}

}  // namespace emulator

template <class T>
T atomicAdd(T* address, T value) {
  return emulator::atomic(address, [=](T before) { return before + value; });
}
template <class T>
T atomicMax(T* address, T value) {
  return emulator::atomic(address, [=](T before) { return std::max(before, value); });
}
template <class T>
T atomicMin(T* address, T value) {
  return emulator::atomic(address, [=](T before) { return std::min(before, value); });
}

#define __expf emulator::fast_exp
#define __logf std::log
#define __fdividef(x, y) ((x) / (y))
#define __ldg(address) (*(address))
#define __ldcs(address) (*(address))
#define __stcs(address, value) (void)(*(address) = (value))
#define __stwb(address, value) (void)(*(address) = (value))
#define __float_as_uint(x) emulator::from_bits<unsigned>(emulator::to_bits<float>(x))
#define __float_as_int(x) emulator::from_bits<int>(emulator::to_bits<float>(x))
#define __uint_as_float(x) emulator::from_bits<float>(emulator::to_bits<unsigned>(x))
#define __int_as_float(x) emulator::from_bits<float>(emulator::to_bits<int>(x))
using std::isinf;
using std::isnan;
using std::max;
using std::min;
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

// Byte i of the result is the one of (x, y), x's lowest first, that the i-th hexadecimal digit of `selector` names.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = static_cast<uint64_t>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned digit = selector >> (4 * i) & 0xfu;
    unsigned byte = static_cast<unsigned>(bytes >> (8 * (digit & 7u))) & 0xffu;
    if (digit & 8u) byte = byte & 0x80u ? 0xffu : 0u;
    result |= byte << (8 * i);
  }
  return result;
}
