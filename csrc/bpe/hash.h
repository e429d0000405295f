// A hash of short texts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace bpe {

inline uint64_t mix(uint64_t value) {
  value *= 0x9E3779B97F4A7C15;
  return value ^ value >> 32;
}

inline uint64_t hash(const uint8_t* text, size_t size) {
  uint64_t state = mix(size + 1);
  for (; size >= 8; size -= 8, text += 8) {
    uint64_t word;
    std::memcpy(&word, text, 8);
    state = mix(state ^ word);
  }
  uint64_t word = 0;
  std::memcpy(&word, text, size);
  return mix(mix(state ^ word));
}

}  // namespace bpe
