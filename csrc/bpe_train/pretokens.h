// A text cut into pre-tokens as Qwen's pattern cuts it, in one pass without backtracking:
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/unicode_classes.h"

namespace bpe_train {

extern const uint8_t* const kClasses;  // of every code point

struct Character {
  uint32_t code;
  uint32_t size;  // bytes
};

// The character at the beginning of valid UTF-8.
inline Character character_at(const uint8_t* at) {
  const uint32_t lead = at[0];
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (at[1] & 0x3Fu), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu), 3};
  return {(lead & 0x07) << 18 | (at[1] & 0x3Fu) << 12 | (at[2] & 0x3Fu) << 6 | (at[3] & 0x3Fu), 4};
}

class Cutter {
 public:
  Cutter(const uint8_t* begin, const uint8_t* end) : at_(begin), end_(end) {}

  bool done() const { return at_ == end_; }

  // The end of the pre-token that begins here; the next one begins there.
  const uint8_t* next() {
    const Character first = character_at(at_);
    const uint8_t* behind = at_ + first.size;
    switch (kClasses[first.code]) {
      case steel::kLetter: return at_ = behind_run(behind, steel::kLetter);
      case steel::kNumber: return at_ = behind;
      case steel::kBlank:
        if (!is_line_end(first.code) && class_at(behind) == steel::kLetter) {
          return at_ = behind_run(behind, steel::kLetter);
        }
        if (first.code == ' ' && class_at(behind) == steel::kOther) return at_ = behind_signs(behind);
        return at_ = behind_blanks();
      default:
        if (first.code == '\'') {
          if (const size_t size = contraction(behind)) return at_ = behind + size;
        }
        if (class_at(behind) == steel::kLetter) return at_ = behind_run(behind, steel::kLetter);
        return at_ = behind_signs(behind);
    }
  }

 private:
  static bool is_line_end(uint32_t code) { return code == '\r' || code == '\n'; }

  // kNone behind the end.
  static constexpr uint8_t kNone = 0xFF;
  uint8_t class_at(const uint8_t* at) const { return at < end_ ? kClasses[character_at(at).code] : kNone; }

  const uint8_t* behind_run(const uint8_t* at, uint8_t of) const {
    while (at < end_) {
      const Character character = character_at(at);
      if (kClasses[character.code] != of) break;
      at += character.size;
    }
    return at;
  }

  const uint8_t* behind_signs(const uint8_t* at) const {
    at = behind_run(at, steel::kOther);
    while (at < end_ && is_line_end(*at)) ++at;
    return at;
  }

  // Behind the last line end of a run of blanks; without one, before the blank that the next word takes.
  const uint8_t* behind_blanks() const {
    const uint8_t *at = at_, *line_end = nullptr, *last = at_;
    while (at < end_) {
      const Character character = character_at(at);
      if (kClasses[character.code] != steel::kBlank) break;
      last = at;
      at += character.size;
      if (is_line_end(character.code)) line_end = at;
    }
    if (line_end != nullptr) return line_end;
    return at == end_ || last == at_ ? at : last;
  }

  // Bytes of an English ending behind an apostrophe, such as the s of "it's"; 0 where there is none.
  size_t contraction(const uint8_t* at) const {
    const auto left = static_cast<size_t>(end_ - at);
    if (left == 0) return 0;
    const auto small = [&](size_t i) { return at[i] >= 'A' && at[i] <= 'Z' ? at[i] + 32 : at[i]; };
    const int first = small(0), second = left > 1 ? small(1) : 0;
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return 1;
    if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l')) return 2;
    return left > 1 && at[0] == 0xC5 && at[1] == 0xBF ? 2 : 0;  // the long s, a small letter of S
  }

  const uint8_t* at_;
  const uint8_t* end_;
};

}  // namespace bpe_train
