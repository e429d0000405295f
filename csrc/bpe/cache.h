// Segments that were encoded before, and their ids. Bounded; what a set has no room for is forgotten.
#pragma once

#include <cstdint>
#include <cstring>

#include "hash.h"
#include "key.h"
#include "pages.h"

namespace bpe {

// The ids of a segment, up to three of them; what is written out is all 16 bytes.
struct FewIds {
  static constexpr size_t kMost = 3;
  int32_t ids[kMost] = {};
  uint32_t count = 0;
};

// Segments of at most 15 bytes and three ids: two to a cache line, which is a set.
class ShortCache {
 public:
  ShortCache() : entries_(size_t{2} << kSetBits) {}

  void prefetch(const Key& key) const { bpe::prefetch(set_of(key)); }

  // The ids of a key; nullptr when it is not there.
  const FewIds* find(const Key& key) const {
    const Entry* first = set_of(key);
    const bool is_second = first[1].key == key;
    return first[is_second].key == key ? &first[is_second].ids : nullptr;
  }

  void insert(const Key& key, const FewIds& ids) {
    Entry* first = entries_.data() + (set_of(key) - entries_.data());
    first[1] = first[0];
    *first = {key, ids};
  }

 private:
  static constexpr unsigned kSetBits = 17;
  struct alignas(32) Entry {
    Key key;
    FewIds ids;
  };

  const Entry* set_of(const Key& key) const { return entries_.data() + 2 * (key.hash() >> (64 - kSetBits)); }

  Table<Entry> entries_;
};

// Longer segments, and those of more ids.
class LongCache {
 public:
  static constexpr size_t kMostBytes = 96, kMostIds = 14;

  struct Entry {
    uint32_t size = 0, count = 0;
    uint8_t text[kMostBytes];
    int32_t ids[kMostIds];

    bool holds(const uint8_t* other, size_t other_size) const {
      return size == other_size && std::memcmp(text, other, size) == 0;
    }
  };

  LongCache() : entries_(size_t{1} << kBits) {}

  // The entry of a segment, or the one that it takes the place of.
  Entry& place(const uint8_t* text, size_t size) { return entries_[hash(text, size) >> (64 - kBits)]; }

 private:
  static constexpr unsigned kBits = 13;
  Table<Entry> entries_;
};

}  // namespace bpe
