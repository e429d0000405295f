#include "pretokens.h"

#include <vector>

namespace bpe_train {

namespace {

template <size_t kCount>
void mark(std::vector<uint8_t>& classes, const steel::CharacterRange (&ranges)[kCount], uint8_t as) {
  for (const steel::CharacterRange& range : ranges) {
    for (uint32_t code = range.first; code <= range.last; ++code) classes[code] = as;
  }
}

const uint8_t* classes() {
  static std::vector<uint8_t> all(0x110000, steel::kOther);
  mark(all, steel::kLetterRanges, steel::kLetter);
  mark(all, steel::kNumberRanges, steel::kNumber);
  mark(all, steel::kBlankRanges, steel::kBlank);
  return all.data();
}

}  // namespace

const uint8_t* const kClasses = classes();

}  // namespace bpe_train
