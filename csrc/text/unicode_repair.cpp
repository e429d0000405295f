#include "unicode_repair.h"

namespace text {
namespace {

// Code points of the Basic Multilingual Plane, and the last entry for all above.
enum Role : uint8_t {
  kPlain = 0,
  kSuspect = 1,      // may be part of wrongly decoded text if another suspect is beside it
  kQuoteMark = 2,    // with kSuspect: harmless beside another such
  kAlways = 4,       // its line is always handed out
  kChanges = 8,      // another width, quotation mark or line end
  kUncomposed = 16,  // text with it may not be in NFC
};

struct Roles {
  uint8_t of[0x10000];

  void mark(uint32_t first, uint32_t last, uint8_t role) {
    for (uint32_t c = first; c <= last; c++) of[c] |= role;
  }

  Roles() : of{} {
    mark(0x300, 0xFFFF, kUncomposed);
    for (const auto& [first, last] : {std::pair{0x2010, 0x2120},
                                      {0x3000, 0x3098},
                                      {0x309B, 0x30FF},
                                      {0x3400, 0x4DBF},
                                      {0x4E00, 0x9FFF},
                                      {0xAC00, 0xD7A3},
                                      {0xFF01, 0xFF60}}) {
      for (int c = first; c <= last; c++) of[c] = kPlain;
    }
    for (const auto& [first, last] : {std::pair{0x80, 0x24F},
                                      {0x2C6, 0x2DD},
                                      {0x370, 0x4FF},
                                      {0x2010, 0x203A},
                                      {0x2044, 0x2044},
                                      {0x20A0, 0x20BF},
                                      {0x2100, 0x214F},
                                      {0x2200, 0x22FF},
                                      {0x2310, 0x2310},
                                      {0x2500, 0x25FF},
                                      {0xF8FF, 0xF8FF},
                                      {0xFFFD, 0xFFFD}}) {
      mark(first, last, kSuspect);
    }
    for (const int c : {0xA0,   0xA1,   0xA9,   0xAB,   0xAD,   0xAE,   0xB4,   0xB7,   0xBB,   0xBF,
                        0x2DD,  0x384,  0x385,  0x2013, 0x2014, 0x2015, 0x2018, 0x2019, 0x201A, 0x201C,
                        0x201D, 0x201E, 0x2022, 0x2026, 0x2039, 0x203A, 0x2122, 0xF8FF}) {
      of[c] |= kQuoteMark;
    }
    // Control characters and marks that ftfy takes out; entities; letters that alone are enough; ligatures; what
    // changes into one of these; what joins with a letter before it.
    for (const auto& [first, last] : {std::pair{0x0, 0x8},
                                      {0xB, 0xB},
                                      {0xE, 0x1F},
                                      {'&', '&'},
                                      {0x7F, 0x9F},
                                      {0xC2, 0xC3},
                                      {0x132, 0x133},
                                      {0x149, 0x149},
                                      {0x152, 0x153},
                                      {0x1C4, 0x1CC},
                                      {0x1F1, 0x1F3},
                                      {0x300, 0x36F},
                                      {0x206A, 0x206F},
                                      {0xD800, 0xDFFF},
                                      {0xFB00, 0xFB06},
                                      {0xFEFF, 0xFEFF},
                                      {0xFF06, 0xFF06},
                                      {0xFF61, 0xFFFC}}) {
      mark(first, last, kAlways);
    }
    for (const auto& [first, last] : {std::pair{0xD, 0xD},
                                      {0x2BC, 0x2BC},
                                      {0x2018, 0x201F},
                                      {0x2028, 0x2029},
                                      {0x3000, 0x3000},
                                      {0xFF01, 0xFF60}}) {
      mark(first, last, kChanges);
    }
    of[0x2000] |= kUncomposed;
    of[0x2001] |= kUncomposed;
  }
};

const Roles roles;

constexpr size_t kLongestLine = 1000000;  // ftfy cuts longer ones

bool doubtful(uint8_t before, uint8_t here) {
  return (here & kAlways) || ((before & here & kSuspect) && !(before & here & kQuoteMark));
}

}  // namespace

bool suspicious(char32_t c) { return c < 0x10000 && (roles.of[c] & (kSuspect | kAlways)); }

Repaired repair(View text, const RepairLine& others) {
  Repaired result{{}, true};
  result.text.reserve(text.size());
  bool markup = false;
  for (size_t start = 0; start < text.size();) {
    size_t stop = text.find(U'\n', start);
    stop = stop == View::npos ? text.size() : stop + 1;
    const View line = text.substr(start, stop - start);
    start = stop;
    uint8_t before = kPlain, all = kPlain;
    bool doubt = line.size() >= kLongestLine;
    for (const char32_t c : line) {
      const uint8_t role = c < 0x10000 ? roles.of[c] : static_cast<uint8_t>(kUncomposed);
      doubt |= doubtful(before, role);
      all |= role;
      before = role;
    }
    markup = markup || line.find(U'<') != View::npos;
    if (doubt) {
      result.text += others(line, !markup);
      continue;
    }
    if (all & kUncomposed) result.composed = false;
    if (!(all & kChanges)) {
      result.text += line;
      continue;
    }
    for (size_t i = 0; i < line.size(); i++) {
      const char32_t c = line[i];
      if (c >= 0x10000 || !(roles.of[c] & kChanges)) {
        result.text.push_back(c);
      } else if (c == U'\r') {
        result.text.push_back(U'\n');
        if (i + 1 < line.size() && line[i + 1] == U'\n') i++;
      } else if (c == 0x2028 || c == 0x2029) {
        result.text.push_back(U'\n');
      } else if (c == 0x3000) {
        result.text.push_back(U' ');
      } else if (c >= 0xFF01 && c <= 0xFF5E) {
        result.text.push_back(c - 0xFEE0);
      } else if (c == 0xFF5F || c == 0xFF60) {
        result.text.push_back(c - 0xFF5F + 0x2985);
      } else {
        result.text.push_back(c >= 0x201C ? U'"' : U'\'');
      }
    }
  }
  return result;
}

}  // namespace text
