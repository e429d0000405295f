// The units that shingles are made of: one ideograph, or one word of a script that puts spaces between words.
#pragma once

#include <cstddef>
#include <cstdint>

namespace minhash {

enum class Kind : uint8_t {
  kLetter,     // part of a word
  kIdeograph,  // a unit of its own: scripts written without spaces
  kSign,       // punctuation and symbols: between units
  kSpace,      // white space: between units
  kInvisible,  // controls, zero-width characters, soft hyphens: as if they were not there
};

extern const Kind* const kBmpKinds;  // of U+0000 to U+FFFF
Kind astral_kind(uint32_t c);

extern const uint16_t* const kBmpSimplified;  // of U+0000 to U+FFFF; 0 where it is not below U+10000
uint32_t rare_simplified(uint32_t c);

// The simplified form of an ideograph, itself where it has none.
inline uint32_t simplified(uint32_t c) {
  if (c < 0x10000 && kBmpSimplified[c]) return kBmpSimplified[c];
  return rare_simplified(c);
}

inline Kind kind_of(uint32_t c) { return c < 0x10000 ? kBmpKinds[c] : astral_kind(c); }

// Full-width ASCII to ASCII; capitals of ASCII, Latin-1, Greek and Cyrillic to small letters.
inline uint32_t fold(uint32_t c) {
  if (c >= 0xFF01 && c <= 0xFF5E) c -= 0xFEE0;
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  if (c >= 0xC0 && c <= 0xDE && c != 0xD7) return c + 32;
  if (c >= 0x391 && c <= 0x3A9) return c + 32;
  if (c >= 0x410 && c <= 0x42F) return c + 32;
  if (c >= 0x400 && c <= 0x40F) return c + 80;
  return c;
}

// The finaliser of MurmurHash3 (Austin Appleby, public domain).
inline uint64_t mix64(uint64_t x) {
  x ^= x >> 33;
  x *= 0xFF51AFD7ED558CCDULL;
  x ^= x >> 33;
  x *= 0xC4CEB9FE1A85EC53ULL;
  return x ^ (x >> 33);
}

// Calls on_unit(hash) for each unit in order.
template <class Char, class OnUnit>
void each_unit(const Char* text, size_t length, OnUnit&& on_unit) {
  constexpr uint64_t kEmptyWord = 0x9E3779B97F4A7C15ULL;
  uint64_t word = kEmptyWord;
  for (size_t i = 0; i < length; ++i) {
    const uint32_t c = text[i];
    const Kind kind = kind_of(c);
    if (kind == Kind::kLetter) {
      word = (word ^ fold(c)) * 0x100000001B3ULL;
      continue;
    }
    if (kind == Kind::kInvisible) continue;
    if (word != kEmptyWord) {
      on_unit(mix64(word));
      word = kEmptyWord;
    }
    if (kind == Kind::kIdeograph) on_unit(mix64(simplified(c)));
  }
  if (word != kEmptyWord) on_unit(mix64(word));
}

// Calls on_gram(hash) for each run of `size` units. A polynomial over the units' hashes, modulo 2^64, rolled.
template <class Char, class OnGram>
void each_gram(const Char* text, size_t length, unsigned size, OnGram&& on_gram) {
  constexpr unsigned kLargest = 32;
  constexpr uint64_t kBase = 0xD1342543DE82EF95ULL;
  uint64_t last[kLargest] = {};
  uint64_t leaving = 1;  // kBase to the power of size
  for (unsigned i = 0; i < size; ++i) leaving *= kBase;
  uint64_t rolled = 0;
  unsigned at = 0;
  size_t seen = 0;
  each_unit(text, length, [&](uint64_t unit) {
    rolled = rolled * kBase + unit - last[at] * leaving;
    last[at] = unit;
    at = at + 1 == size ? 0 : at + 1;
    if (++seen >= size) on_gram(mix64(rolled));
  });
}

}  // namespace minhash
