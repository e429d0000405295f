// The numbers that filters compare with their thresholds, equal to data-juicer's.
#pragma once

#include <cstdint>
#include <utility>

#include "characters.h"

namespace text {

// Share of code points of a kind; 0 of an empty text.
double ratio_of(View text, uint8_t kind);

struct Lines {
  double average;   // code points of the text, line ends among them, per line
  uint64_t longest; // code points, without the line end
};
Lines line_lengths(View text);

// How much of the text its most frequent n-grams of characters make up: of D different n-grams, the min(sqrt(D), those
// seen more than once) most frequent ones, as a share of all.
double character_repetition(View text, uint64_t n);

// Words between spaces, tabs and line feeds, their special characters at both ends cut off; empty ones do not count.
// With unspaced, each character of a script written without spaces is a word by itself.
uint64_t count_words(View text, bool unspaced);

// Share of n-grams of lower-cased words that are seen more than once.
double word_repetition(View text, uint64_t n, bool unspaced);

// Share of the words' characters that the most frequent n-gram of words takes; at most 1. (Gopher: Rae et al., 2021,
// arXiv 2112.11446, table A1.)
double top_ngram(View text, uint64_t n, bool unspaced);

// Share of the words' characters that lie in n-grams of words which stand before in the text; those counted do not
// overlap. (Gopher, as above.)
double duplicate_ngrams(View text, uint64_t n, bool unspaced);

// How many characters are of those asked for.
uint64_t count_of(View text, View wanted);

// How many of the characters asked for occur.
uint64_t distinct_of(View text, View wanted);

}  // namespace text
