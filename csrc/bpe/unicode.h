// What the pre-tokenizers' regular expressions and NFC make of a code point.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bpe {

constexpr uint32_t kCodePoints = 0x110000;

// The low two bits of a class; every code point is of one kind.
enum Kind : uint8_t { kLetter, kNumber, kSpace, kOther };
constexpr uint8_t kKindBits = 3;
constexpr uint8_t kInDoubt = 4;    // libraries, or their next Unicode version, may see another kind
constexpr uint8_t kMayChange = 8;  // NFC may change it or a neighbour

extern uint8_t classes[kCodePoints];

// Fills `classes`; called once, when the module is loaded.
void make_classes();

inline bool continuation(uint8_t byte) { return (byte & 0xC0) == 0x80; }

// Bytes of the character that a lead byte begins.
inline uint32_t char_bytes(uint8_t lead) { return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4; }

// The character at a place in UTF-8, and its size.
inline uint32_t decode(const uint8_t* at, uint32_t& bytes) {
  const uint32_t lead = at[0];
  if (lead < 0x80) return bytes = 1, lead;
  if (lead < 0xE0) return bytes = 2, (lead & 0x1F) << 6 | (at[1] & 0x3F);
  if (lead < 0xF0) return bytes = 3, (lead & 0x0F) << 12 | (at[1] & 0x3F) << 6 | (at[2] & 0x3F);
  bytes = 4;
  return (lead & 0x07) << 18 | (at[1] & 0x3F) << 12 | (at[2] & 0x3F) << 6 | (at[3] & 0x3F);
}

}  // namespace bpe
