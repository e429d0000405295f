// Pairs of neighbouring tokens with what is known of them.
#pragma once

#include <cstdint>
#include <vector>

namespace bpe_train {

using Pair = uint64_t;  // the left token's id, then the right one's: pairs are in the order of their ids
constexpr Pair kNoPair = ~0ULL;

inline Pair pair_of(uint32_t left, uint32_t right) { return static_cast<Pair>(left) << 32 | right; }
inline uint32_t left_of(Pair pair) { return static_cast<uint32_t>(pair >> 32); }
inline uint32_t right_of(Pair pair) { return static_cast<uint32_t>(pair); }

// The multiplier of Fibonacci hashing (Knuth, The Art of Computer Programming, volume 3).
inline uint64_t scattered(Pair pair) {
  pair = (pair ^ pair >> 29) * 0x9E3779B97F4A7C15ULL;
  return pair ^ pair >> 32;
}

struct PairCount {
  Pair pair = kNoPair;
  int64_t count = 0;
  uint32_t first = 0, places = 0;  // of its list of places in the text
};

// A hash table, which grows when it is told to.
class PairTable {
 public:
  // Empties the table and gives it room for so many pairs.
  void reset(size_t pairs) {
    size_t slots = kLeastSlots;
    while (most(slots) < pairs) slots *= 2;
    slots_.assign(slots, PairCount());
    used_ = 0;
  }

  // Room for so many more; what find() and of() have returned is no longer where it was. False where that is more slots
  // than it may have.
  bool make_room(size_t pairs, size_t most_slots) {
    if (most(slots_.size()) >= used_ + pairs) return true;
    if (most(most_slots) < used_ + pairs) return false;
    std::vector<PairCount> before;
    before.swap(slots_);
    const size_t used = used_;
    reset(used + pairs);
    for (const PairCount& entry : before) {
      if (entry.pair != kNoPair) of(entry.pair) = entry;
    }
    return true;
  }

  PairCount* find(Pair pair) {
    for (size_t at = scattered(pair) & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].pair == pair) return &slots_[at];
      if (slots_[at].pair == kNoPair) return nullptr;
    }
  }

  // The slot of a pair, which may be new: then there is room for it.
  PairCount& of(Pair pair) {
    size_t at = scattered(pair) & (slots_.size() - 1);
    while (slots_[at].pair != pair && slots_[at].pair != kNoPair) at = (at + 1) & (slots_.size() - 1);
    if (slots_[at].pair == kNoPair) {
      slots_[at].pair = pair;
      ++used_;
    }
    return slots_[at];
  }

  void prefetch(Pair pair) const { __builtin_prefetch(&slots_[scattered(pair) & (slots_.size() - 1)]); }

  size_t used() const { return used_; }
  std::vector<PairCount>& slots() { return slots_; }

  static constexpr size_t kLeastSlots = 1 << 12;
  static size_t most(size_t slots) { return slots / 8 * 5; }

 private:
  std::vector<PairCount> slots_;
  size_t used_ = 0;
};

}  // namespace bpe_train
