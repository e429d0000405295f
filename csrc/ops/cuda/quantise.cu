// Tensors rounded to 8-bit floating point with one scale: the largest magnitude, then rows and their transpose in one
// pass; the arguments are those of declarations.h.
#include <cuda_fp8.h>

#include "common.cuh"

namespace {

constexpr int kThreads = 256;
constexpr int kTile = 128;               // rows and columns of a block's tile
constexpr int kPatchRows = 4;            // of a thread's patch: four bytes of a column are a word of the transpose
constexpr int kPatchColumns = 8;         // 8 bytes of a row
constexpr int kPitch = kTile / 4 + 1;    // words of a column in shared memory; odd, so that columns differ in banks
constexpr int kMaximumBlocks = 132 * 8;  // of the reduction: each adds a few atomics

// The bits of |x| as an unsigned number grow with |x|, and NaN lies above infinity.
// PTX: registers <= 32, loads 16
template <class T, int N>
__global__ void __launch_bounds__(kThreads) largest(const T* x, unsigned* amax, int64_t accesses) {
  unsigned found = 0;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < accesses; i += step) {
    float values[N];
    load<T, N>(x + i * N, values);
#pragma unroll
    for (int j = 0; j < N; ++j) found = max(found, __float_as_uint(values[j]) & 0x7fffffffu);
  }
  found = __reduce_max_sync(0xffffffffu, found);
  if (threadIdx.x % 32 == 0) atomicMax(amax, found);
}

// Byte `byte` of each of four words, the first word's lowest.
__device__ __forceinline__ unsigned column(const unsigned (&words)[kPatchRows], unsigned byte) {
  const unsigned low = __byte_perm(words[0], words[1], byte | (byte + 4) << 4);
  const unsigned high = __byte_perm(words[2], words[3], byte | (byte + 4) << 4);
  return __byte_perm(low, high, 0x5410);
}

// A block rounds a tile. A warp's threads lie 4 side by side and 8 one below the other: they read whole 64-byte pieces
// of rows, and their words of the transpose fall into 32 banks. by_row or by_column may be null. rows is a multiple of
// kPatchRows, columns of kPatchColumns.
// PTX: registers <= 40, loads 16
template <class T, __nv_fp8_interpretation_t kFormat>
__global__ void __launch_bounds__(kThreads)
    round_tile(const T* x, const float* amax, float largest_value, float smallest_amax, uint8_t* by_row,
               uint8_t* by_column, float* scale, int64_t rows, int64_t columns, unsigned column_tiles) {
  __shared__ unsigned transposed[kTile * kPitch];
  const float given = *amax;
  const float bound = given < smallest_amax ? smallest_amax : given;  // NaN stays
  const float factor = largest_value / bound;
  if (blockIdx.x == 0 && threadIdx.x == 0) *scale = bound / largest_value;
  const int64_t first_row = static_cast<int64_t>(blockIdx.x / column_tiles) * kTile;
  const int64_t first_column = static_cast<int64_t>(blockIdx.x % column_tiles) * kTile;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  // The tile is 4 × 4 areas of 32 rows × 32 columns; each of the 8 warps rounds two.
  for (int area = warp; area < 16; area += kThreads / 32) {
    const int r = area / 4 * 32 + lane / 4 * kPatchRows, c = area % 4 * 32 + lane % 4 * kPatchColumns;
    if (first_row + r >= rows || first_column + c >= columns) continue;
    unsigned low[kPatchRows], high[kPatchRows];  // columns 0 to 3 and 4 to 7 of each row
#pragma unroll
    for (int k = 0; k < kPatchRows; ++k) {
      const int64_t at = (first_row + r + k) * columns + first_column + c;
      float values[kPatchColumns];
      if constexpr (kPack<T> == kPatchColumns) {
        load<T, kPatchColumns>(x + at, values);
      } else {
        float part[kPack<T>];
#pragma unroll
        for (int j = 0; j < kPatchColumns; j += kPack<T>) {
          load<T, kPack<T>>(x + at + j, part);
#pragma unroll
          for (int i = 0; i < kPack<T>; ++i) values[j + i] = part[i];
        }
      }
      unsigned pairs[kPatchColumns / 2];
#pragma unroll
      for (int j = 0; j < kPatchColumns / 2; ++j) {
        const float2 pair = make_float2(values[2 * j] * factor, values[2 * j + 1] * factor);
        pairs[j] = __nv_cvt_float2_to_fp8x2(pair, __NV_SATFINITE, kFormat);
      }
      low[k] = pairs[0] | pairs[1] << 16;
      high[k] = pairs[2] | pairs[3] << 16;
      if (by_row != nullptr) *reinterpret_cast<uint2*>(by_row + at) = make_uint2(low[k], high[k]);
    }
    if (by_column != nullptr) {
      unsigned* to = transposed + c * kPitch + r / 4;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        to[j * kPitch] = column(low, j);
        to[(j + 4) * kPitch] = column(high, j);
      }
    }
  }
  if (by_column == nullptr) return;  // all threads of the block alike
  __syncthreads();
  const int64_t row = first_row + lane * 4;
  if (row >= rows) return;
  for (int c = warp; c < kTile && first_column + c < columns; c += kThreads / 32) {
    *reinterpret_cast<unsigned*>(by_column + (first_column + c) * rows + row) = transposed[c * kPitch + lane];
  }
}

}  // namespace

extern "C" int largest_magnitude(int64_t dtype, const void* x, void* amax, int64_t count, cudaStream_t stream) {
  if (count == 0) return 0;
  return with_type(dtype, [=](auto type) {
    using T = decltype(type);
    with_width<T>(count % kPack<T> == 0 && aligned(x), [=](auto elements) {
      constexpr int N = decltype(elements)::value;
      const int64_t accesses = count / N, blocks = (accesses + kThreads - 1) / kThreads;
      largest<T, N><<<static_cast<unsigned>(blocks < kMaximumBlocks ? blocks : kMaximumBlocks), kThreads, 0, stream>>>(
          static_cast<const T*>(x), static_cast<unsigned*>(amax), accesses);
    });
  });
}

extern "C" int quantise(int64_t dtype, const void* x, const void* amax, double largest_value, double smallest_amax,
                        int64_t e5m2, void* by_row, void* by_column, void* scale, int64_t rows, int64_t columns,
                        cudaStream_t stream) {
  const int64_t column_tiles = (columns + kTile - 1) / kTile, tiles = (rows + kTile - 1) / kTile * column_tiles;
  if (tiles == 0) return 0;
  if (!aligned(x) || !aligned(by_row) || !aligned(by_column)) return static_cast<int>(cudaErrorMisalignedAddress);
  const unsigned blocks = tiles <= INT32_MAX ? static_cast<unsigned>(tiles) : 0;  // 0 is refused by the launch
  return with_type(dtype, [=](auto type) {
    using T = decltype(type);
    auto* kernel = e5m2 != 0 ? round_tile<T, __NV_E5M2> : round_tile<T, __NV_E4M3>;
    kernel<<<blocks, kThreads, 0, stream>>>(
        static_cast<const T*>(x), static_cast<const float*>(amax), static_cast<float>(largest_value),
        static_cast<float>(smallest_amax), static_cast<uint8_t*>(by_row), static_cast<uint8_t*>(by_column),
        static_cast<float*>(scale), rows, columns, static_cast<unsigned>(column_tiles));
  });
}
