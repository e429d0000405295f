// Segments that were encoded before, and their ids. Bounded; what a set has no room for is forgotten.
#pragma once

#include <cstdint>
#include <cstring>

#include "hash.h"
#include "pages.h"

namespace bpe {

// Segments of at most 15 bytes and three ids: two to a cache line, which is a set. The ids lie in the order in which they
// are written out, so that a find is two comparisons and one copy of 16 bytes.
class ShortCache {
 public:
  static constexpr size_t kMostBytes = 15, kMostIds = 3;

  struct Key {
    uint64_t low, high;
  };
  struct alignas(32) Entry {
    Key key{0, 0};  // no segment is empty
    int32_t ids[kMostIds] = {};
    uint32_t count = 0;
  };

  ShortCache() : entries_(2 << kSetBits) {}

  // The key of the segment at `text`; 16 bytes can be read there.
  static Key key_of(const uint8_t* text, size_t size) {
    Key key;
    std::memcpy(&key.low, text, 8);
    std::memcpy(&key.high, text + 8, 8);
    key.low &= kMasks[size].low;
    key.high = (key.high & kMasks[size].high) | uint64_t{size} << 56;
    return key;
  }

  // The entry of a key; nullptr when it is not there.
  const Entry* find(const Key& key) const {
    const Entry* first = entries_.data() + 2 * set_of(key);
    const bool is_second = same(first[1].key, key);
    return same(first[is_second].key, key) ? first + is_second : nullptr;
  }

  void insert(const Key& key, const int32_t* ids, size_t count) {
    Entry* first = entries_.data() + 2 * set_of(key);
    first[1] = first[0];
    first->key = key;
    std::memcpy(first->ids, ids, count * sizeof(int32_t));
    first->count = static_cast<uint32_t>(count);
  }

 private:
  static constexpr unsigned kSetBits = 15;

  static bool same(const Key& a, const Key& b) { return ((a.low ^ b.low) | (a.high ^ b.high)) == 0; }
  static uint64_t set_of(const Key& key) {
    return (key.low * 0x9E3779B97F4A7C15 ^ key.high * 0xC2B2AE3D27D4EB4F) >> (64 - kSetBits);
  }

  static const Key kMasks[16];  // by size
  Table<Entry> entries_;
};

// Longer segments, and those of more ids.
class LongCache {
 public:
  static constexpr size_t kMostBytes = 64, kMostIds = 14;

  struct Entry {
    uint32_t size = 0, count = 0;
    uint8_t text[kMostBytes];
    int32_t ids[kMostIds];
  };

  LongCache() : entries_(size_t{1} << kBits) {}

  // The entry of a segment, or the one that it takes the place of; its size then tells.
  Entry& place(const uint8_t* text, size_t size) { return entries_[hash(text, size) >> (64 - kBits)]; }
  static bool holds(const Entry& entry, const uint8_t* text, size_t size) {
    return entry.size == size && std::memcmp(entry.text, text, size) == 0;
  }

 private:
  static constexpr unsigned kBits = 12;
  Table<Entry> entries_;
};

}  // namespace bpe
