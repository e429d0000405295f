// A linear layer for a few tokens: each row of the weight is read once from memory and widened in registers; see
// declarations.h. A token's sums do not depend on the other tokens.

namespace {

typedef uint16_t half_words __attribute__((vector_size(STEEL_VECTOR_BYTES / 2)));
typedef uint32_t words __attribute__((vector_size(STEEL_VECTOR_BYTES)));

inline vec widened(const float* from) { return load(from); }

template <class T>
inline words widened_bits(const T* from) {
  half_words bits;
  memcpy(&bits, from, sizeof bits);
  return __builtin_convertvector(bits, words);
}

inline vec widened(const bf16* from) { return (vec)(widened_bits(from) << 16); }

// Every processor with FMA has F16C as well.
#if STEEL_VECTOR_BYTES == 64
inline vec widened(const fp16* from) {
  return (vec)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
#elif STEEL_VECTOR_BYTES == 32
inline vec widened(const fp16* from) {
  return (vec)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
#else
// As to_float in scalars.h.
inline vec widened(const fp16* from) {
  const words bits = widened_bits(from), magnitude = (bits & 0x7fffu) << 13;
  const words finite = (words)((vec)magnitude * 0x1p112f);
  const words chosen = magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : finite;
  return (vec)(chosen | (bits & 0x8000u) << 16);
}
#endif

constexpr int kTokens = 4;  // at a time
constexpr int kRows = 2;    // of the weight at a time

// sums[row][token] of kRows rows of the weight and kCount tokens in fp32.
template <int kCount, class T>
inline void few_dots(const T* const* rows, const float* x, int64_t features, float (*sums)[kTokens]) {
  vec total[kRows][kCount] = {};
  int64_t j = 0;
  for (; j + kLanes <= features; j += kLanes) {
    vec w[kRows];
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) w[r] = widened(rows[r] + j);
#pragma GCC unroll 4
    for (int t = 0; t < kCount; ++t) {
      const vec token = load(x + t * features + j);
#pragma GCC unroll 2
      for (int r = 0; r < kRows; ++r) total[r][t] += w[r] * token;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kCount; ++t) {
      float sum = 0.0f;
      for (int64_t lane = 0; lane < kLanes; ++lane) sum += total[r][t][lane];
      for (int64_t i = j; i < features; ++i) sum += to_float(rows[r][i]) * x[t * features + i];
      sums[r][t] = sum;
    }
  }
}

template <class T>
inline void few_dots(int64_t count, const T* const* rows, const float* x, int64_t features, float (*sums)[kTokens]) {
  if (count >= 4) return few_dots<4>(rows, x, features, sums);
  if (count == 3) return few_dots<3>(rows, x, features, sums);
  if (count == 2) return few_dots<2>(rows, x, features, sums);
  few_dots<1>(rows, x, features, sums);
}

}  // namespace

void few_tokens_linear(int64_t dtype, const void* x, const void* weight, const void* bias, void* y, int64_t tokens,
                       int64_t rows, int64_t features, int64_t threads) {
  with_type(dtype, [&](auto type) {
    using T = decltype(type);
    std::vector<float> wide(static_cast<size_t>(tokens * features));
    const T* from = static_cast<const T*>(x);
    for (int64_t i = 0; i < tokens * features; ++i) wide[static_cast<size_t>(i)] = to_float(from[i]);
    const float* wide_x = wide.data();
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
    for (int64_t row = 0; row < rows; row += kRows) {
      const int64_t there = rows - row < kRows ? rows - row : kRows;
      const T* own[kRows];
      for (int64_t r = 0; r < kRows; ++r) {
        own[r] = static_cast<const T*>(weight) + (row + (r < there ? r : 0)) * features;
      }
      for (int64_t token = 0; token < tokens; token += kTokens) {
        const int64_t count = tokens - token < kTokens ? tokens - token : kTokens;
        float sums[kRows][kTokens];
        few_dots(count, own, wide_x + token * features, features, sums);
        for (int64_t r = 0; r < there; ++r) {
          const float add = bias == nullptr ? 0.0f : to_float(static_cast<const T*>(bias)[row + r]);
          for (int64_t t = 0; t < count; ++t) {
            static_cast<T*>(y)[(token + t) * rows + row + r] = from_float<T>(sums[r][t] + add);
          }
        }
      }
    }
  });
}
