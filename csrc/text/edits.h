// Changes of a text, equal to data-juicer's but where a comment says so.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "characters.h"

namespace text {

// Chinese and other punctuation written in ASCII. data-juicer makes a full-width 1 a quotation mark; here it is a 1.
String punctuation_in_ascii(View text);

// No white space at the ends, every blank character a space; blanks in kept stay.
String blanks_as_spaces(View text, View kept);

String without_characters(View text, View removed);

// Each sentence once; of those shorter than shortest, all.
String without_repeated_sentences(View text, bool lowercase, bool ignore_special, uint64_t shortest);

// Without the first /* */ comment if it says copyright; in a text without such a comment, without the block of //, #
// and -- lines at its head if it says copyright or license. data-juicer cuts that block whatever it says, and so
// includes, pragmas, shebangs and headings of Markdown.
String without_copyright(View text);

enum class Pattern { kEmail, kLink, kAddress };
using Span = std::pair<size_t, size_t>;

// Stretches that may hold a match of the default expression of an operation; none of its matches reaches out of one.
std::vector<Span> candidates(View text, Pattern pattern);

String with_replaced(View text, const std::vector<std::pair<Span, String>>& replacements);

}  // namespace text
