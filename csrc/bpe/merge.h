// Byte-pair encoding of segments: neighbours merge, the pair that makes the lowest symbol first, leftmost among equals.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pairs.h"

namespace bpe {

// A segment of few symbols while it is merged.
class Word {
 public:
  static constexpr unsigned kPlaceBits = 6;
  static constexpr size_t kMost = size_t{1} << kPlaceBits;

  Symbol symbols[kMost];
  size_t count = 0;

  // One merge in steps, so that the memory that several words read comes at the same time: `begin` or `merge`, which ask
  // about the pairs that are new, `narrow`, `settle`. `merge` says false when there was none left to do.
  void begin(const PairTable& pairs);
  bool merge(const PairTable& pairs);
  void narrow(const PairTable& pairs);
  void settle(const PairTable& pairs);

  // Puts the symbols that are left one behind the other.
  void finish();

 private:
  void ask(const PairTable& pairs, size_t left, size_t right);

  // By place of the left one: what a pair makes << kPlaceBits | the place. Those that are gone make nothing.
  int32_t made_[kMost];
  uint8_t next_[kMost + 1], before_[kMost + 1];
  size_t lanes_ = 0;
  PairTable::Question questions_[kMost];
  uint8_t places_[kMost];
  size_t asked_ = 0;
};

// Merges words beside one another.
void merge_words(Word* const* words, size_t count, const PairTable& pairs);

// Any number of symbols, in O(n log n); holds the memory that this needs.
class Merger {
 public:
  // Merges symbols in place; returns how many are left.
  size_t merge(Symbol* symbols, size_t count, const PairTable& pairs);

 private:
  std::vector<uint64_t> heap_;  // made symbol << 32 | place of the left one
  std::vector<uint32_t> next_, before_;  // places of the neighbours
  std::vector<Symbol> made_;  // by the place of the left one
};

}  // namespace bpe
