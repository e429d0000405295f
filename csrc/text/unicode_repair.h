// ftfy's repairs that most lines need, done here; lines that may need its other ones are handed out.
#pragma once

#include <functional>
#include <utility>

#include "characters.h"

namespace text {

// Repairs one line (with its line feed): line, and whether entities such as &amp; are unescaped.
using RepairLine = std::function<String(View line, bool unescape)>;

struct Repaired {
  String text;
  bool composed;  // surely in NFC
};

// Widths, quotation marks and line ends as ftfy.fix_text writes them. Lines that may hold broken encodings, entities,
// ligatures or control characters go through others.
Repaired repair(View text, const RepairLine& others);

// Characters of which two side by side may be text that was decoded wrongly; a superset of ftfy's.
bool suspicious(char32_t c);

}  // namespace text
