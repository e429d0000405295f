// Byte-pair encoding of one segment: neighbours merge, the pair that makes the lowest symbol first, leftmost among equals.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pairs.h"

namespace bpe {

// Holds the memory that merging needs.
class Merger {
 public:
  // Merges symbols in place; returns how many are left. O(n log n); a plain scan where they are few.
  size_t merge(Symbol* symbols, size_t count, const PairTable& pairs);

 private:
  size_t merge_few(Symbol* symbols, size_t count, const PairTable& pairs);
  size_t merge_many(Symbol* symbols, size_t count, const PairTable& pairs);

  std::vector<uint64_t> heap_;  // made symbol << 32 | place of the left one
  std::vector<uint32_t> next_, before_;  // places of the neighbours
  std::vector<Symbol> made_;  // by the place of the left one
};

}  // namespace bpe
