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

// Pairs of characters that a merge may reach across; may say so of more pairs than there are.
class CharPairs {
 public:
  CharPairs() : bits_(2 * kSize / 64, 0) {}

  // `partial`: a merge that takes a part of one of the two characters.
  void insert(uint32_t first, uint32_t second, bool partial) {
    const uint32_t at = place(first, second);
    bits_[at / 64 * 2] |= uint64_t{1} << at % 64;
    if (partial) bits_[at / 64 * 2 + 1] |= uint64_t{1} << at % 64;
  }
  // All pairs are joined, and with `partial` in any way.
  void insert_all(bool partial) {
    for (size_t i = 0; i < bits_.size(); ++i) bits_[i] |= partial || i % 2 == 0 ? ~uint64_t{0} : 0;
  }
  bool partly_joined(uint32_t first, uint32_t second) const {
    const uint32_t at = place(first, second);
    return bits_[at / 64 * 2 + 1] >> at % 64 & 1;
  }

  // Whether a pair is joined, by the content of such a table.
  static bool joined(const uint64_t* bits, uint32_t first, uint32_t second) {
    const uint32_t at = place(first, second);
    return bits[at / 64 * 2] >> at % 64 & 1;
  }
  const uint64_t* bits() const { return bits_.data(); }

 private:
  static constexpr uint32_t kSizeBits = 20, kSize = 1u << kSizeBits;
  static uint32_t place(uint32_t first, uint32_t second) {
    return (first * 0x9E3779B1u + second * 0x85EBCA77u) >> (32 - kSizeBits);
  }
  Table<uint64_t> bits_;
};

}  // namespace bpe
