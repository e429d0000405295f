#include "units.h"

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <utility>
#include <vector>

#include "simplified_table.h"

namespace minhash {
namespace {

struct Range {
  uint32_t first, last;
};

void mark(std::vector<Kind>& kinds, Kind kind, std::initializer_list<Range> ranges) {
  for (const Range& range : ranges)
    for (uint32_t c = range.first; c <= range.last; ++c) kinds[c] = kind;
}

// By Unicode's blocks; what is named nowhere counts as a letter.
std::vector<Kind> bmp_kinds() {
  std::vector<Kind> kinds(0x10000, Kind::kLetter);
  mark(kinds, Kind::kInvisible,
       {{0x00, 0x08},
        {0x0E, 0x1F},
        {0x7F, 0x84},
        {0x86, 0x9F},
        {0xAD, 0xAD},
        {0x200B, 0x200F},
        {0x202A, 0x202E},
        {0x2060, 0x206F},
        {0xD800, 0xDFFF},
        {0xFE00, 0xFE0F},
        {0xFEFF, 0xFEFF},
        {0xFFF0, 0xFFFB}});
  mark(kinds, Kind::kSpace,
       {{0x09, 0x0D},
        {0x20, 0x20},
        {0x85, 0x85},
        {0xA0, 0xA0},
        {0x1680, 0x1680},
        {0x2000, 0x200A},
        {0x2028, 0x2029},
        {0x202F, 0x202F},
        {0x205F, 0x205F},
        {0x3000, 0x3000}});
  mark(kinds, Kind::kSign,
       {{0x21, 0x2F},     {0x3A, 0x40},     {0x5B, 0x60},     {0x7B, 0x7E},     {0xA1, 0xA9},     {0xAB, 0xAC},
        {0xAE, 0xB1},     {0xB4, 0xB4},     {0xB6, 0xB8},     {0xBB, 0xBB},     {0xBF, 0xBF},     {0xD7, 0xD7},
        {0xF7, 0xF7},     {0x2010, 0x2027}, {0x2030, 0x205E}, {0x20A0, 0x20CF}, {0x2190, 0x245F}, {0x2500, 0x2BFF},
        {0x2E00, 0x2E7F}, {0x3001, 0x3004}, {0x3008, 0x3020}, {0x3030, 0x3030}, {0x303D, 0x303F}, {0x30FB, 0x30FB},
        {0xFE10, 0xFE1F}, {0xFE30, 0xFE6F}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF20}, {0xFF3B, 0xFF40}, {0xFF5B, 0xFF65},
        {0xFFE0, 0xFFEF}, {0xFFFC, 0xFFFF}});
  mark(kinds, Kind::kIdeograph,
       {{0x0E01, 0x0E5B},
        {0x0E80, 0x0EFF},
        {0x1000, 0x109F},
        {0x1780, 0x17FF},
        {0x2E80, 0x2FDF},
        {0x3005, 0x3007},
        {0x3021, 0x302F},
        {0x3031, 0x303C},
        {0x3040, 0x30FA},
        {0x30FC, 0x312F},
        {0x31A0, 0x31FF},
        {0x3400, 0x4DBF},
        {0x4E00, 0x9FFF},
        {0xF900, 0xFAFF},
        {0xFF66, 0xFF9D}});
  return kinds;
}

constexpr size_t kSimplifiedCount = std::size(kTraditional) - 1;
static_assert(std::size(kSimplified) - 1 == kSimplifiedCount, "each traditional character has its simplified form");

std::vector<uint16_t> bmp_simplified() {
  std::vector<uint16_t> table(0x10000);
  for (uint32_t c = 0; c < 0x10000; ++c) table[c] = static_cast<uint16_t>(c);
  for (size_t i = 0; i < kSimplifiedCount; ++i) {
    if (kTraditional[i] < 0x10000) table[kTraditional[i]] = kSimplified[i] < 0x10000 ? kSimplified[i] : 0;
  }
  return table;
}

const std::vector<Kind> kinds = bmp_kinds();
const std::vector<uint16_t> simplified_forms = bmp_simplified();

}  // namespace

const Kind* const kBmpKinds = kinds.data();
const uint16_t* const kBmpSimplified = simplified_forms.data();

uint32_t rare_simplified(uint32_t c) {
  const char32_t* const end = kTraditional + kSimplifiedCount;
  const char32_t* const at = std::lower_bound(kTraditional, end, c);  // the tool writes them in order
  return at != end && *at == c ? kSimplified[at - kTraditional] : c;
}

Kind astral_kind(uint32_t c) {
  if (c >= 0x20000 && c <= 0x3FFFD) return Kind::kIdeograph;
  if (c >= 0x1F000 && c <= 0x1FAFF) return Kind::kSign;
  if (c >= 0xE0000) return Kind::kInvisible;
  return Kind::kLetter;
}

}  // namespace minhash
