// Between which two characters of a piece no merge can reach: there a piece is cut into segments that are encoded alone.
//
// Chinese has no blanks, so that a piece is a whole clause, which hardly ever comes twice; segments are one to four
// characters, and come again and again.
#pragma once

#include <cstdint>
#include "pages.h"

namespace bpe {

// Characters between which cuts are looked for: ASCII, general punctuation to the CJK ideographs, and full-width forms.
inline bool covered(uint32_t c) { return c < 0x80 || c - 0x2000 < 0x8000 || c - 0xFF00 < 0xF0; }

// A set of pairs of characters; may hold more than were put in.
class CharPairs {
 public:
  CharPairs() : bits_(kSize / 64, 0) {}
  void insert(uint32_t first, uint32_t second) {
    const uint32_t at = place(first, second);
    bits_[at / 64] |= uint64_t{1} << at % 64;
  }
  void insert_all() { bits_.assign(bits_.size(), ~uint64_t{0}); }
  bool may_hold(uint32_t first, uint32_t second) const { return holds(bits_.data(), first, second); }
  const uint64_t* bits() const { return bits_.data(); }

  static bool holds(const uint64_t* bits, uint32_t first, uint32_t second) {
    const uint32_t at = place(first, second);
    return bits[at / 64] >> at % 64 & 1;
  }

 private:
  static constexpr uint32_t kSizeBits = 20, kSize = 1u << kSizeBits;
  static uint32_t place(uint32_t first, uint32_t second) {
    return (first * 0x9E3779B1u + second * 0x85EBCA77u) >> (32 - kSizeBits);
  }
  Table<uint64_t> bits_;
};

}  // namespace bpe
