#include "unicode.h"

#include <cstring>

#include "unicode_doubts.h"

namespace bpe {

uint8_t classes[kCodePoints];

namespace {

template <size_t N>
void mark(const steel::CharacterRange (&ranges)[N], uint8_t kind) {
  for (const auto& range : ranges) {
    for (uint32_t c = range.first; c <= range.last; ++c) classes[c] = kind;
  }
}

template <size_t N>
void add(const steel::CharacterRange (&ranges)[N], uint8_t bit) {
  for (const auto& range : ranges) {
    for (uint32_t c = range.first; c <= range.last; ++c) classes[c] |= bit;
  }
}

}  // namespace

void make_classes() {
  std::memset(classes, kOther, sizeof(classes));
  mark(steel::kLetterRanges, kLetter);
  mark(steel::kNumberRanges, kNumber);
  mark(steel::kBlankRanges, kSpace);
  add(kDoubtful, kInDoubt);
  add(kUnsettled, kMayChange);
}

}  // namespace bpe
