#include "signature.h"

#include <algorithm>
#include <cstring>

#include "common/instruction_set.h"

namespace minhash {
namespace {

constexpr unsigned kHalf = kPermutations / 2;

// Adding this makes the order of unsigned numbers that of signed ones, which every instruction set compares. It is in
// the offsets and the minima, so it costs nothing.
constexpr uint32_t kBias = 0x80000000;

struct Permutations {
  alignas(64) uint32_t factor[kPermutations];
  alignas(64) uint32_t offset[kPermutations];
  Permutations() {
    uint64_t state = 0x5EED0F5E7EE1ULL;  // signatures of different runs are comparable: never change it
    for (unsigned i = 0; i < kPermutations; ++i) {
      state += 0x9E3779B97F4A7C15ULL;
      const uint64_t random = mix64(state);
      factor[i] = static_cast<uint32_t>(random) | 1;
      offset[i] = static_cast<uint32_t>(random >> 32) + kBias;
    }
  }
};

const Permutations kPermutation;

template <int kBytes>
struct Vector {
  typedef int32_t Signed __attribute__((vector_size(kBytes)));
  typedef uint32_t Unsigned __attribute__((vector_size(kBytes)));
};

// kVectors vectors of permutations at a time, as many as the registers hold with their factors and offsets.
template <int kBytes, int kVectors>
[[gnu::always_inline]] inline void lower(const uint64_t* shingles, unsigned count, uint32_t* minima) {
  using Signed = typename Vector<kBytes>::Signed;
  using Unsigned = typename Vector<kBytes>::Unsigned;
  constexpr unsigned kWidth = kBytes / sizeof(uint32_t);
  static_assert(kHalf % (kVectors * kWidth) == 0, "a group of permutations takes the same half of a shingle");
  for (unsigned first = 0; first < kPermutations; first += kVectors * kWidth) {
    Unsigned factor[kVectors], offset[kVectors];
    Signed least[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      std::memcpy(&factor[v], kPermutation.factor + first + v * kWidth, kBytes);
      std::memcpy(&offset[v], kPermutation.offset + first + v * kWidth, kBytes);
      std::memcpy(&least[v], minima + first + v * kWidth, kBytes);
    }
    const unsigned shift = first < kHalf ? 32 : 0;
    for (unsigned i = 0; i < count; ++i) {
      const auto x = static_cast<uint32_t>(shingles[i] >> shift);
      for (int v = 0; v < kVectors; ++v) {
        const auto value = (Signed)(factor[v] * x + offset[v]);
        least[v] = value < least[v] ? value : least[v];
      }
    }
    for (int v = 0; v < kVectors; ++v) std::memcpy(minima + first + v * kWidth, &least[v], kBytes);
  }
}

void lower_base(const uint64_t* shingles, unsigned count, uint32_t* minima) { lower<16, 2>(shingles, count, minima); }
#if STEEL_X86_SETS
[[gnu::target("avx2")]] void lower_avx2(const uint64_t* shingles, unsigned count, uint32_t* minima) {
  lower<32, 4>(shingles, count, minima);
}
[[gnu::target("avx512f")]] void lower_avx512(const uint64_t* shingles, unsigned count, uint32_t* minima) {
  lower<64, 4>(shingles, count, minima);
}
#endif

using Lower = void (*)(const uint64_t* shingles, unsigned count, uint32_t* minima);
Lower lower_chosen = lower_base;

uint32_t mix32(uint32_t x) {
  x ^= x >> 16;
  x *= 0x85EBCA6BU;
  x ^= x >> 13;
  x *= 0xC2B2AE35U;
  return x ^ (x >> 16);
}

}  // namespace

void use([[maybe_unused]] steel::InstructionSet set) {
#if STEEL_X86_SETS
  if (set == steel::InstructionSet::kBase) lower_chosen = lower_base;
  if (set == steel::InstructionSet::kAvx2) lower_chosen = lower_avx2;
  if (set >= steel::InstructionSet::kAvx512) lower_chosen = lower_avx512;
#endif
}

Minima::Minima() { clear(); }

void Minima::clear() {
  held_ = 0;
  std::fill_n(minima_, kPermutations, ~uint32_t{0} + kBias);
}

void Minima::flush() {
  lower_chosen(buffer_, held_, minima_);
  held_ = 0;
}

void Minima::finish(uint16_t* signature) {
  flush();
  for (unsigned i = 0; i < kPermutations; ++i) {
    signature[i] = static_cast<uint16_t>(mix32(minima_[i] - kBias) >> 16);
  }
}

template uint64_t sign(const uint8_t*, size_t, Minima&, uint16_t*);
template uint64_t sign(const uint16_t*, size_t, Minima&, uint16_t*);
template uint64_t sign(const uint32_t*, size_t, Minima&, uint16_t*);
template void append_plain(const uint8_t*, size_t, std::vector<char>&);
template void append_plain(const uint16_t*, size_t, std::vector<char>&);
template void append_plain(const uint32_t*, size_t, std::vector<char>&);

}  // namespace minhash
