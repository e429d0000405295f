// The merges of a vocabulary: (left, right) → the symbol that they make.
#pragma once

#include <cstdint>

#include "key.h"
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
    bytes_.assign(1 << 16, kNone);
    slot_mask_ = slots - 1;
    bit_mask_ = slots * 8 - 1;
  }

  // Finds in three steps, each of which has the memory that the next one reads brought into the cache.
  struct Question {
    uint64_t key = kFree, hash = 0;
    Symbol known = kNone;
  };
  Question ask(Symbol left, Symbol right) const {
    Question question;
    if ((left | right) < 256) {
      question.known = bytes_[left << 8 | right];
    } else {
      question.key = key_of(left, right);
      question.hash = hash_of(question.key);
      prefetch(&bits_[word_of(question.hash)]);
    }
    return question;
  }
  void narrow(Question& question) const {
    if (question.key == kFree) return;
    if ((bits_[word_of(question.hash)] >> bit_of(question.hash) & 1) != 0) prefetch(&slots_[slot_of(question.hash)]);
    else question.key = kFree;
  }
  Symbol answer(const Question& question) const {
    if (question.key == kFree) return question.known;
    for (uint64_t at = slot_of(question.hash);; at = (at + 1) & slot_mask_) {
      const uint64_t slot = slots_[at];
      if (slot >> kSymbolBits == question.key) return static_cast<Symbol>(slot & kSymbolMask);
      if (slot == kFree) return kNone;
    }
  }

  // The symbol of a pair, kNone when it does not merge.
  Symbol find(Symbol left, Symbol right) const {
    Question question = ask(left, right);
    narrow(question);
    return answer(question);
  }

  void insert(Symbol left, Symbol right, Symbol made) {
    if ((left | right) < 256) {
      bytes_[left << 8 | right] = made;
      return;
    }
    const uint64_t key = key_of(left, right), hash = hash_of(key);
    bits_[word_of(hash)] |= uint64_t{1} << bit_of(hash);
    uint64_t at = slot_of(hash);
    while (slots_[at] != kFree) at = (at + 1) & slot_mask_;
    slots_[at] = key << kSymbolBits | made;
  }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};
  static constexpr uint64_t kSymbolMask = (uint64_t{1} << kSymbolBits) - 1;

  static uint64_t key_of(Symbol left, Symbol right) { return uint64_t{left} << kSymbolBits | right; }
  static uint64_t hash_of(uint64_t key) {
    key = (key ^ key >> 23) * 0x9E3779B97F4A7C15;
    return key ^ key >> 32;
  }

  uint64_t slot_of(uint64_t hash) const { return hash >> 20 & slot_mask_; }
  uint64_t word_of(uint64_t hash) const { return (hash >> 40 & bit_mask_) / 64; }
  static unsigned bit_of(uint64_t hash) { return hash >> 40 & 63; }

  Table<uint64_t> slots_, bits_;
  Table<Symbol> bytes_;  // of two bytes, where merging begins
  uint64_t slot_mask_ = 0, bit_mask_ = 0;
};

}  // namespace bpe
