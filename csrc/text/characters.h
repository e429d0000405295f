// What a code point is, as Python's str methods and data-juicer's lists say it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace text {

using String = std::u32string;
using View = std::u32string_view;

enum Kind : uint8_t {
  kAlphanumeric = 1,  // str.isalnum
  kSpace = 2,         // str.isspace
  kLineEnd = 4,       // where str.splitlines cuts
  kSpecial = 8,       // data-juicer's special characters
  kBlank = 16,        // what data-juicer turns into spaces
  kDecimal = 32,      // \d
  kWord = 64,         // \w
  kCjk = 128,         // written without spaces: ideographs, kana, bopomofo
};

// Adds the lists to `kinds`, which has what str's methods say by then; called once, when the module is loaded.
void mark_characters();

extern uint8_t kinds[0x110000];
extern char32_t lower[0x110000];  // one code point each; the two of U+0130 are lower's caller's affair

inline bool is(char32_t c, uint8_t kind) { return c < 0x110000 && (kinds[c] & kind); }
inline bool letter(char32_t c) { return (c | 32) - U'a' < 26u; }
inline bool digit(char32_t c) { return c - U'0' < 10u; }

// The text without white space at its ends, as str.strip gives it.
View stripped(View text);

}  // namespace text
