// Segments of at most 15 bytes as two numbers, which are compared at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace bpe {

struct Key {
  static constexpr size_t kMostBytes = 15;

  // Of the segment at `text`, where 16 bytes can be read.
  static Key of(const uint8_t* text, size_t size) {
    Key key;
    std::memcpy(&key.low, text, 8);
    std::memcpy(&key.high, text + 8, 8);
    key.low &= kMasks[size].low;
    key.high = (key.high & kMasks[size].high) | uint64_t{size} << 56;
    return key;
  }

  bool operator==(const Key& other) const { return ((low ^ other.low) | (high ^ other.high)) == 0; }
  uint64_t hash() const { return low * 0x9E3779B97F4A7C15 ^ high * 0xC2B2AE3D27D4EB4F; }  // its upper bits are good

  uint64_t low = 0, high = 0;  // no segment is empty, so this is none

 private:
  static const Key kMasks[16];  // by size
};

inline void prefetch(const void* at) { __builtin_prefetch(at); }

}  // namespace bpe
