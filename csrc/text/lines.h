// What the lines of a web page are like. Blank lines are none; white space at both ends of a line does not count.
#pragma once

#include <cstdint>

#include "characters.h"

namespace text {

struct LineKinds {
  uint64_t lines;
  uint64_t characters;
  uint64_t
      ended;  // lines whose end is that of a sentence: a mark that ends one, perhaps before closing quotes or brackets
  uint64_t brief;  // lines of fewer characters than asked for, a full-width character being two
  uint64_t bulleted;  // begin as an item of a list
  uint64_t broken_off;  // end in an ellipsis
};
LineKinds line_kinds(View text, uint64_t brief);

struct Repeated {
  double pieces;  // share of the pieces that stand before in the text
  double characters;  // their share of the characters
};
// Of lines, or of paragraphs: what stands between blank lines.
Repeated repeated_pieces(View text, bool paragraphs);

// Without runs of at least `fewest` lines that lead to other pages: brief ones, without the end of a sentence.
String without_navigation(View text, uint64_t brief, uint64_t fewest);

}  // namespace text
