// Products of small matrices that stay in the caches, with fp32 sums; attention.h is made of them.
//
// C (rows, columns) = A (rows, depth) B (depth, columns). Factors are floats, or pairs of bf16 numbers where the
// processor multiplies those: a unit is four bytes, one float or two bf16 that are neighbours along the depth.
// A is row-major, a row holding its units one after the other. B is (depth in units, columns) of units.
// Included once per instruction set, inside a namespace, so there is no include guard.

namespace {

constexpr int64_t kBlock = 64;  // tokens of a tile
constexpr int64_t kBand = 32;   // columns of a tile whose softmax is made at once

typedef float vec __attribute__((vector_size(STEEL_VECTOR_BYTES)));
constexpr int64_t kLanes = STEEL_VECTOR_BYTES / 4;
// Rows times two vectors of sums, within the registers: with AVX2 12 of 16 hide an addition's latency, and 8 do not.
constexpr int kTileRows = STEEL_VECTOR_BYTES == 64 ? 8 : STEEL_VECTOR_BYTES == 32 ? 6 : 4;

template <class F>
constexpr int64_t kGroup = 4 / static_cast<int64_t>(sizeof(F));  // factors in a unit

inline vec load(const float* from) {
  vec value;
  memcpy(&value, from, sizeof value);
  return value;
}

inline void store(float* to, vec value) { memcpy(to, &value, sizeof value); }

// The larger of each lane; b's where one is NaN.
inline vec larger(vec a, vec b) {
#if STEEL_VECTOR_BYTES == 64
  return (vec)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b);  // GCC warns of what the plain one leaves undefined
#elif STEEL_VECTOR_BYTES == 32
  return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}

// 2^x with a relative error below 3e-7 for x in [-126, 127]; 2^-126 below, NaN for NaN.
inline vec power_of_two(vec x) {
  typedef int32_t lanes __attribute__((vector_size(STEEL_VECTOR_BYTES)));
  x = larger(vec{} - 126.0f, x);
  const vec shifted = x + 12582912.0f;  // 1.5 * 2^23: the integer sits in the low bits
  const vec r = x - (shifted - 12582912.0f);
  vec p = r * 1.3264727e-3f + 9.6715129e-3f;
  p = p * r + 5.5507337e-2f;
  p = p * r + 2.4022242e-1f;
  p = p * r + 6.9314698e-1f;
  p = p * r + 1.0f;
  return p * (vec)(((lanes)shifted << 23) + 0x3f800000);
}

// sum += the unit at `left`, in every lane, times the units at `right`.
inline void multiply_add(vec& sum, const float* left, vec right) { sum += *left * right; }

#if STEEL_BF16_DOT
inline void multiply_add(vec& sum, const bf16* left, vec right) {
  int32_t pair;
  memcpy(&pair, left, sizeof pair);
  sum = (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)right);
}
#endif

// kRows rows and kVectors vectors of columns of C.
template <int kRows, int kVectors, class F>
inline void multiply_tile(const F* a, int64_t a_stride, const float* b, int64_t stride, int64_t units, float* c,
                          bool add) {
  vec sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sum[r][v] = add ? load(c + r * stride + v * kLanes) : vec{};
  }
  for (int64_t k = 0; k < units; ++k) {
    vec right[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) right[v] = load(b + k * stride + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) multiply_add(sum[r][v], a + r * a_stride + k * kGroup<F>, right[v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) store(c + r * stride + v * kLanes, sum[r][v]);
  }
}

// All rows of kVectors vectors of columns: by kTileRows, and by four where those do not divide what is left.
template <int kVectors, class F>
inline void multiply_columns(const F* a, int64_t a_stride, const float* b, int64_t stride, int64_t units, float* c,
                             int64_t rows, bool add) {
  int64_t row = 0;
  while (row < rows) {
    const F* left = a + row * a_stride;
    float* to = c + row * stride;
    if (kTileRows == 4 || rows - row == 4 || (kTileRows == 6 && rows - row == 8)) {
      multiply_tile<4, kVectors>(left, a_stride, b, stride, units, to, add);
      row += 4;
    } else {
      multiply_tile<kTileRows, kVectors>(left, a_stride, b, stride, units, to, add);
      row += kTileRows;
    }
  }
}

// C = A B, or C += A B. rows and columns are multiples of 16; a_stride is the row length of A in factors, stride that of
// B in units and of C.
template <class F>
void multiply(const F* a, int64_t a_stride, const float* b, float* c, int64_t stride, int64_t rows, int64_t columns,
              int64_t depth, bool add) {
  const int64_t units = depth / kGroup<F>;
  int64_t column = 0;
  for (; column + 2 * kLanes <= columns; column += 2 * kLanes) {
    multiply_columns<2>(a, a_stride, b + column, stride, units, c + column, rows, add);
  }
  for (; column < columns; column += kLanes) {
    multiply_columns<1>(a, a_stride, b + column, stride, units, c + column, rows, add);
  }
}

// Rows of a tensor as factors: kBlock rows of `width`, of which count rows of `size` are there and the rest is 0.
template <class T, class F>
void gather_rows(const T* from, int64_t stride, int64_t count, int64_t size, F* to, int64_t width) {
  if (count < kBlock || size < width) memset(to, 0, sizeof(F) * static_cast<size_t>(kBlock * width));
  for (int64_t row = 0; row < count; ++row) {
    const T* x = from + row * stride;
    F* y = to + row * width;
    if constexpr (std::is_same_v<T, F>) {
      memcpy(y, x, sizeof(F) * static_cast<size_t>(size));
    } else {
#pragma omp simd
      for (int64_t j = 0; j < size; ++j) y[j] = from_float<F>(to_float(x[j]));
    }
  }
}

// What `count` fp32 numbers are as factors: themselves, or rounded into `space`.
inline const float* rounded(const float* from, float*, int64_t) { return from; }

#if STEEL_BF16_DOT
inline const bf16* rounded(const float* from, bf16* space, int64_t count) {
  for (int64_t j = 0; j < count; j += 32) {
    const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + j + 16), _mm512_loadu_ps(from + j));
    memcpy(space + j, &both, sizeof both);
  }
  return space;
}
#endif

// Row-major (rows, width) factors as a right factor B whose depth are the rows: themselves, or pairs made in `space`.
inline const float* stacked(const float* from, float*, int64_t, int64_t) { return from; }

inline const float* stacked(const bf16* from, float* space, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; row += 2) {
    const bf16* first = from + row * width;
    uint32_t* to = reinterpret_cast<uint32_t*>(space) + row / 2 * width;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) {
      to[j] = static_cast<uint32_t>(first[j].bits) | static_cast<uint32_t>(first[j + width].bits) << 16;
    }
  }
  return space;
}

// Four of the eight lanes of two vectors.
#ifdef __clang__
#define STEEL_SHUFFLE(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
typedef int32_t places __attribute__((vector_size(16)));
#define STEEL_SHUFFLE(x, y, ...) __builtin_shuffle(x, y, places{__VA_ARGS__})
#endif

// (rows, columns) units to (columns, rows); both are multiples of 4.
inline void transpose(const float* from, int64_t rows, int64_t columns, float* to) {
  typedef float four __attribute__((vector_size(16)));
  for (int64_t row = 0; row < rows; row += 4) {
    for (int64_t column = 0; column < columns; column += 4) {
      four x[4], y[4];
      for (int64_t i = 0; i < 4; ++i) memcpy(&x[i], from + (row + i) * columns + column, sizeof x[i]);
      for (int64_t i = 0; i < 2; ++i) {
        y[i] = STEEL_SHUFFLE(x[2 * i], x[2 * i + 1], 0, 4, 1, 5);
        y[i + 2] = STEEL_SHUFFLE(x[2 * i], x[2 * i + 1], 2, 6, 3, 7);
      }
      for (int64_t i = 0; i < 2; ++i) {
        x[2 * i] = STEEL_SHUFFLE(y[2 * i], y[2 * i + 1], 0, 1, 4, 5);
        x[2 * i + 1] = STEEL_SHUFFLE(y[2 * i], y[2 * i + 1], 2, 3, 6, 7);
      }
      for (int64_t i = 0; i < 4; ++i) memcpy(to + (column + i) * rows + row, &x[i], sizeof x[i]);
    }
  }
}

// Row-major (kBlock, width) factors turned into row-major (width, kBlock).
template <class F>
void transpose_factors(const F* from, int64_t width, F* to, float* space) {
  const float* units = stacked(from, space, kBlock, width);
  transpose(units, kBlock / kGroup<F>, width, reinterpret_cast<float*>(to));
}
#undef STEEL_SHUFFLE

}  // namespace
