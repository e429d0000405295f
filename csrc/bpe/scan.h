// Pre-tokenising: a text cut into pieces as a tokenizer's regular expression cuts it, and pieces into segments.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bpe {

// The regular expressions that are known, by what they do.
enum class Pattern {
  kWords,  // GPT-2's: a blank before a word belongs to it
  kLines,  // Qwen's, Llama 3's and cl100k_base's: line ends by themselves, digits in groups of at most 1 or 3
};

// Bytes behind a text that are read; they are 0.
constexpr size_t kPadding = 64;

// Where a text is being cut.
struct Scan {
  const uint8_t* text;
  size_t size;
  const uint64_t* joined;  // pairs of characters that are not cut apart (CharPairs)
  size_t digits;           // most digits of a piece, of Pattern::kLines
  size_t at = 0;           // where the next segment begins
  int inside = -1;         // the kind of characters whose run is not at its end; -1 between pieces
  uint8_t seen = 0;        // all classes met, ORed
  bool doubtful = false;   // a place that libraries see differently
};

// Writes where the next segments begin and returns how many; all but the last end where the next begins, the last at
// scan.at. There are none when the text is at its end.
using ScanFunction = size_t (*)(Scan& scan, uint32_t* starts);
constexpr size_t kMostStarts = 1024;

// The function of the widest instruction set.
ScanFunction scanner(Pattern pattern);

}  // namespace bpe
