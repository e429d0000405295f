// What a classifier sees of a text: hashed n-grams of characters, and hashed words of scripts that put spaces between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "minhash/units.h"

namespace classify {

constexpr unsigned kMostOrder = 4;  // characters of the longest n-gram
constexpr unsigned kMostBits = 24;  // of a feature's number

struct Settings {
  unsigned bits;  // features are numbered below 2^bits
  unsigned order;  // n-grams of 1 to `order` characters
  bool words;  // also words, and pairs of words that stand side by side
  uint64_t characters;  // that are read of a text, from its beginning
};

// A normalised character: its code point and two marks.
constexpr uint32_t kOfWord = 1U << 31;  // part of a word
constexpr uint32_t kBetween = 1U << 30;  // words on both sides of it are no pair
constexpr uint32_t kCodePoint = kBetween - 1;

inline bool ends_line(uint32_t c) { return (c >= 0x0A && c <= 0x0D) || c == 0x85 || c == 0x2028 || c == 0x2029; }

// What a character becomes: itself with its marks, or one of these.
constexpr uint32_t kNothing = 0, kSpace = 1, kLineFeed = 2, kLastOfThese = 2;

inline uint32_t normalised(uint32_t c) {
  using minhash::Kind;
  const Kind kind = minhash::kind_of(c);
  if (kind == Kind::kInvisible) return kNothing;
  if (kind == Kind::kSpace) return ends_line(c) ? kLineFeed : kSpace;
  c = minhash::fold(c);
  if (c >= '0' && c <= '9') c = '0';
  return c | (kind == Kind::kLetter ? kOfWord : kind == Kind::kIdeograph ? kBetween : 0);
}

// `normalised` of the characters of a byte.
struct AsciiTable {
  uint32_t of[0x80];
  AsciiTable() {
    for (uint32_t c = 0; c < 0x80; ++c) of[c] = normalised(c);
  }
};

// Normalises a text character by character: full-width forms and capitals folded, digits as 0, invisible characters left
// out, a run of white space as one line feed (where it ends a line) or one space. Begins and ends with a line feed.
class Normalised {
 public:
  // Of a text of at most so many characters.
  void begin(size_t most) {
    static const AsciiTable ascii;
    ascii_ = ascii.of;
    held_.resize(most + 2);
    end_ = held_.data();
    *end_++ = kLineEnd;
    space_ = kNothing;
  }

  void add(uint32_t c) {
    const uint32_t found = c < 0x80 ? ascii_[c] : normalised(c);
    if (found > kLastOfThese) {
      if (space_ != kNothing) put_space();
      *end_++ = found;
    } else if (found > space_) {
      space_ = found;
    }
  }

  const std::vector<uint32_t>& end() {
    space_ = kLineFeed;
    put_space();
    held_.resize(static_cast<size_t>(end_ - held_.data()));
    return held_;
  }

 private:
  static constexpr uint32_t kLineEnd = '\n' | kBetween;

  void put_space() {
    if (end_[-1] != kLineEnd) *end_++ = space_ == kLineFeed ? kLineEnd : ' ';
    space_ = kNothing;
  }

  const uint32_t* ascii_ = nullptr;
  std::vector<uint32_t> held_;
  uint32_t* end_ = nullptr;
  uint32_t space_ = kNothing;  // the run of white space that is open
};

constexpr uint32_t kMultiplier = 0x9E3779B1U;
constexpr uint32_t kNoCharacter = 0x85EBCA6BU;  // the hash of n-grams before their first character
constexpr uint32_t kNoWord = 0x27D4EB2FU;
constexpr uint32_t kNoPair = 0x165667B1U;

// The number of a feature: the upper bits of a product that all bits of its hash reach.
inline uint32_t number_of(uint32_t hash, unsigned shift) { return ((hash ^ hash >> 15) * 0xC2B2AE3DU) >> shift; }

// Calls on_feature(number) for each feature of a normalised text, as often as it is there. The hash of an n-gram is a
// polynomial over its characters modulo 2^32, which those of one character more grow out of.
template <unsigned Order, bool Words, class OnFeature>
void each_feature(const std::vector<uint32_t>& text, unsigned shift, OnFeature&& on_feature) {
  uint32_t one = kNoCharacter, two = kNoCharacter, three = kNoCharacter;  // hashes that end at the character before
  uint32_t word = kNoWord, before = 0;
  for (const uint32_t marked : text) {
    const uint32_t c = marked & kCodePoint;
    const uint32_t four = three * kMultiplier + c;
    three = two * kMultiplier + c;
    two = one * kMultiplier + c;
    one = kNoCharacter * kMultiplier + c;
    on_feature(number_of(one, shift));
    if (Order > 1) on_feature(number_of(two, shift));
    if (Order > 2) on_feature(number_of(three, shift));
    if (Order > 3) on_feature(number_of(four, shift));
    if (!Words) continue;
    if (marked & kOfWord) {
      word = (word ^ c) * 0x01000193U;
      continue;
    }
    if (word != kNoWord) {
      on_feature(number_of(word, shift));
      if (before != 0) on_feature(number_of((before ^ kNoPair) * kMultiplier + word, shift));
      before = word;
      word = kNoWord;
    }
    if (marked & kBetween) before = 0;
  }
}

// The same for settings that are known when it runs.
template <class OnFeature>
void each_feature(const std::vector<uint32_t>& text, const Settings& settings, OnFeature&& on_feature) {
  const unsigned shift = 32 - settings.bits;
  const auto of_order = [&](auto words) {
    switch (settings.order) {
      case 1: return each_feature<1, words>(text, shift, on_feature);
      case 2: return each_feature<2, words>(text, shift, on_feature);
      case 3: return each_feature<3, words>(text, shift, on_feature);
      default: return each_feature<4, words>(text, shift, on_feature);
    }
  };
  settings.words ? of_order(std::true_type()) : of_order(std::false_type());
}

}  // namespace classify
