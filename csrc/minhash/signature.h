// MinHash signatures of documents, and the text by which documents are compared exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/instruction_set.h"
#include "units.h"

namespace minhash {

constexpr unsigned kPermutations = 128;
constexpr unsigned kBands = 16;
constexpr unsigned kRows = 8;  // kBands * kRows == kPermutations
constexpr unsigned kShingle = 5;  // units

// Takes the kernel of an instruction set that the processor has, from now on. Before, it is that of every processor.
void use(steel::InstructionSet set);

// The least value of each permutation over a stream of shingles.
//
// Permutation i of shingle h is a_i * x + b_i modulo 2^32 with a_i odd; x is the upper half of h for the first half of the
// permutations and the lower half for the rest, so that two documents of one shingle agree by accident once in 2^64.
class Minima {
 public:
  Minima();
  void clear();
  void add(uint64_t shingle) {
    buffer_[held_++] = shingle;
    if (held_ == kBuffer) flush();
  }
  // 16 bits of each minimum: enough to compare by, half the room on disk.
  void finish(uint16_t* signature);

 private:
  static constexpr unsigned kBuffer = 1024;
  void flush();
  unsigned held_ = 0;
  uint64_t buffer_[kBuffer];
  alignas(64) uint32_t minima_[kPermutations];
};

// The signature of a text; returns its number of shingles, repeated ones counted each time. All ones where it has none.
template <class Char>
uint64_t sign(const Char* text, size_t length, Minima& minima, uint16_t* signature) {
  uint64_t count = 0;
  minima.clear();
  each_gram(text, length, kShingle, [&](uint64_t gram) {
    ++count;
    minima.add(gram);
  });
  minima.finish(signature);
  return count;
}

// Writes a character in UTF-8; returns the end.
inline char* put_utf8(uint32_t c, char* out) {
  if (c < 0x80) {
    *out++ = static_cast<char>(c);
  } else if (c < 0x800) {
    *out++ = static_cast<char>(0xC0 | c >> 6);
    *out++ = static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    *out++ = static_cast<char>(0xE0 | c >> 12);
    *out++ = static_cast<char>(0x80 | (c >> 6 & 0x3F));
    *out++ = static_cast<char>(0x80 | (c & 0x3F));
  } else {
    *out++ = static_cast<char>(0xF0 | c >> 18);
    *out++ = static_cast<char>(0x80 | (c >> 12 & 0x3F));
    *out++ = static_cast<char>(0x80 | (c >> 6 & 0x3F));
    *out++ = static_cast<char>(0x80 | (c & 0x3F));
  }
  return out;
}

// Appends the text in UTF-8: runs of white space as one space, none at the ends, invisible characters left out.
template <class Char>
void append_plain(const Char* text, size_t length, std::vector<char>& out) {
  constexpr size_t kMostBytes = sizeof(Char) == 4 ? 4 : sizeof(Char) + 1;  // of a character, which may be a space
  const size_t before = out.size();
  out.resize(before + kMostBytes * length);
  char* const start = out.data() + before;
  char* end = start;
  bool space = false;
  for (size_t i = 0; i < length; ++i) {
    const uint32_t c = text[i];
    const Kind kind = kind_of(c);
    if (kind == Kind::kInvisible) continue;
    if (kind == Kind::kSpace) {
      space = end > start;
      continue;
    }
    if (space) *end++ = ' ';
    space = false;
    end = put_utf8(c, end);
  }
  out.resize(before + (end - start));
}

// Compiled in signature.cpp for the three widths of characters of a Python string.
extern template uint64_t sign(const uint8_t*, size_t, Minima&, uint16_t*);
extern template uint64_t sign(const uint16_t*, size_t, Minima&, uint16_t*);
extern template uint64_t sign(const uint32_t*, size_t, Minima&, uint16_t*);
extern template void append_plain(const uint8_t*, size_t, std::vector<char>&);
extern template void append_plain(const uint16_t*, size_t, std::vector<char>&);
extern template void append_plain(const uint32_t*, size_t, std::vector<char>&);

}  // namespace minhash
