// The merges of a vocabulary: (left, right) → the symbol that they make.
#pragma once

#include <cstdint>
#include "pages.h"

namespace bpe {

using Symbol = uint32_t;
constexpr Symbol kNone = 0xFFFFFFFF;
constexpr unsigned kSymbolBits = 21;

// Open addressing with linear probing, eight bytes a pair. Most pairs of a text make nothing: a table of bits, small
// enough to stay in the second-level cache, says so for all but a few of them.
class PairTable {
 public:
  explicit PairTable(size_t pairs) {
    size_t slots = 1024;
    while (2 * slots < 3 * pairs) slots *= 2;
    slots_.assign(slots, kFree);
    bits_.assign(slots / 8, 0);  // eight bits a slot
    slot_mask_ = slots - 1;
    bit_mask_ = slots * 8 - 1;
    bytes_.assign(1 << 16, kNone);
  }

  // The symbol of a pair, kNone when it does not merge.
  Symbol find(Symbol left, Symbol right) const {
    if ((left | right) < 256) return bytes_[left << 8 | right];
    const uint64_t key = key_of(left, right), hash = hash_of(key), bit = hash >> 40 & bit_mask_;
    if ((bits_[bit / 64] >> bit % 64 & 1) == 0) return kNone;
    for (uint64_t at = hash >> 20 & slot_mask_;; at = (at + 1) & slot_mask_) {
      const uint64_t slot = slots_[at];
      if (slot >> kSymbolBits == key) return static_cast<Symbol>(slot & kSymbolMask);
      if (slot == kFree) return kNone;
    }
  }

  void insert(Symbol left, Symbol right, Symbol made) {
    const uint64_t key = key_of(left, right), hash = hash_of(key), bit = hash >> 40 & bit_mask_;
    bits_[bit / 64] |= uint64_t{1} << bit % 64;
    uint64_t at = hash >> 20 & slot_mask_;
    while (slots_[at] != kFree) at = (at + 1) & slot_mask_;
    slots_[at] = key << kSymbolBits | made;
    if (left < 256 && right < 256) bytes_[left << 8 | right] = made;
  }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};
  static constexpr uint64_t kSymbolMask = (uint64_t{1} << kSymbolBits) - 1;

  static uint64_t key_of(Symbol left, Symbol right) { return uint64_t{left} << kSymbolBits | right; }
  static uint64_t hash_of(uint64_t key) {
    key = (key ^ key >> 23) * 0x9E3779B97F4A7C15;
    return key ^ key >> 32;
  }

  Table<uint64_t> slots_, bits_;
  Table<Symbol> bytes_;  // of two bytes: the symbol that they make
  uint64_t slot_mask_ = 0, bit_mask_ = 0;
};

}  // namespace bpe
