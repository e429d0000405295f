#include "characters.h"

#include "special_characters.h"

namespace text {

uint8_t kinds[0x110000];
char32_t lower[0x110000];

namespace {

constexpr Range kBlanks[] = {{0x9, 0x9},       {0x20, 0x20},     {0x84, 0x84},     {0xA0, 0xA0},    {0x2000, 0x200D},
                             {0x202F, 0x202F}, {0x205F, 0x2060}, {0x3000, 0x3000}, {0xFFFC, 0xFFFC}};
constexpr Range kLineEnds[] = {{0xA, 0xD}, {0x1C, 0x1E}, {0x85, 0x85}, {0x2028, 0x2029}};
constexpr Range kUnspaced[] = {{0x3005, 0x3007}, {0x3041, 0x3096},   {0x30A1, 0x30FA},  {0x3105, 0x312F},
                               {0x31F0, 0x31FF}, {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},  {0xF900, 0xFAFF},
                               {0xFF66, 0xFF9D}, {0x20000, 0x2FA1F}, {0x30000, 0x323AF}};

template <size_t N>
void mark(const Range (&ranges)[N], uint8_t kind) {
  for (const Range& range : ranges) {
    for (uint32_t c = range.first; c <= range.last; c++) kinds[c] |= kind;
  }
}

}  // namespace

void mark_characters() {
  mark(kSpecialCharacters, kSpecial);
  mark(kBlanks, kBlank);
  mark(kLineEnds, kLineEnd);
  mark(kUnspaced, kCjk);
}

View stripped(View text) {
  size_t first = 0, last = text.size();
  while (first < last && is(text[first], kSpace)) first++;
  while (last > first && is(text[last - 1], kSpace)) last--;
  return text.substr(first, last - first);
}

}  // namespace text
