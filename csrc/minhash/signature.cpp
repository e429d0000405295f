#include "signature.h"

#include <algorithm>
#include <cstring>

// One binary for every machine: the loader takes the widest version that the processor has.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define BEST_VERSION __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define BEST_VERSION
#endif

namespace minhash {
namespace {

typedef uint32_t Lanes __attribute__((vector_size(64)));
constexpr unsigned kWidth = sizeof(Lanes) / sizeof(uint32_t);
constexpr unsigned kHalf = kPermutations / 2;

struct Permutations {
  alignas(64) uint32_t factor[kPermutations];
  alignas(64) uint32_t offset[kPermutations];
  Permutations() {
    uint64_t state = 0x5EED0F5E7EE1ULL;  // signatures of different runs are comparable: never change it
    for (unsigned i = 0; i < kPermutations; ++i) {
      state += 0x9E3779B97F4A7C15ULL;
      const uint64_t random = mix64(state);
      factor[i] = static_cast<uint32_t>(random) | 1;
      offset[i] = static_cast<uint32_t>(random >> 32);
    }
  }
};

const Permutations kPermutation;

// Two vectors of permutations at a time: they fit the registers of AVX2 as well as those of AVX-512.
BEST_VERSION void lower(const uint64_t* shingles, unsigned count, const uint32_t* factors, const uint32_t* offsets,
                        uint32_t* minima) {
  for (unsigned first = 0; first < kPermutations; first += 2 * kWidth) {
    Lanes a0, a1, b0, b1, m0, m1;
    std::memcpy(&a0, factors + first, sizeof a0);
    std::memcpy(&a1, factors + first + kWidth, sizeof a1);
    std::memcpy(&b0, offsets + first, sizeof b0);
    std::memcpy(&b1, offsets + first + kWidth, sizeof b1);
    std::memcpy(&m0, minima + first, sizeof m0);
    std::memcpy(&m1, minima + first + kWidth, sizeof m1);
    const unsigned shift = first < kHalf ? 32 : 0;
    for (unsigned i = 0; i < count; ++i) {
      const uint32_t x = static_cast<uint32_t>(shingles[i] >> shift);
      const Lanes v0 = a0 * x + b0;
      const Lanes v1 = a1 * x + b1;
      m0 = v0 < m0 ? v0 : m0;
      m1 = v1 < m1 ? v1 : m1;
    }
    std::memcpy(minima + first, &m0, sizeof m0);
    std::memcpy(minima + first + kWidth, &m1, sizeof m1);
  }
}

uint32_t mix32(uint32_t x) {
  x ^= x >> 16;
  x *= 0x85EBCA6BU;
  x ^= x >> 13;
  x *= 0xC2B2AE35U;
  return x ^ (x >> 16);
}

}  // namespace

Minima::Minima() { clear(); }

void Minima::clear() {
  held_ = 0;
  std::fill_n(minima_, kPermutations, ~uint32_t{0});
}

void Minima::flush() {
  lower(buffer_, held_, kPermutation.factor, kPermutation.offset, minima_);
  held_ = 0;
}

void Minima::finish(uint16_t* signature) {
  flush();
  for (unsigned i = 0; i < kPermutations; ++i) signature[i] = static_cast<uint16_t>(mix32(minima_[i]) >> 16);
}

}  // namespace minhash
