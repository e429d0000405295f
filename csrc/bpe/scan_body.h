// The scanner of one instruction set. Included once for each of them, in a namespace of its own; STEEL_BLOCK is the bytes
// of its vectors, 0 for none.

// How many letters behind an apostrophe make a contraction with it.
template <Pattern kPattern>
inline unsigned contracted(const uint8_t* behind) {
  const uint8_t fold = kPattern == Pattern::kLines ? 0x20 : 0;
  const uint8_t first = behind[0] | fold;
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 1;
  const uint8_t second = behind[1] | fold;
  return ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l') ? 2 : 0;
}

#if STEEL_BLOCK
#include "scan_blocks.h"
#endif

constexpr uint32_t kNoChar = 0xFFFFFFFF;  // not covered, so nothing is cut behind it
constexpr uint32_t kIdeographs = 0x4E00, kLastIdeograph = 0x9FEF;  // letters in all Unicode versions of today

template <Pattern kPattern>
class Scanner {
 public:
  Scanner(Scan& scan, uint32_t* starts) : scan_(scan), end_(scan.text + scan.size), starts_(starts) {}

  size_t scan() {
    const uint8_t* at = scan_.text + scan_.at;
    bool room = true;
    if (scan_.inside >= 0 && at < end_) {
      push(at);
      room = scan_.inside == kLetter ? run<kLetter>(at, kNoChar) : rest(at, kNoChar);
    }
    while (room && at < end_ && count_ + 64 < kMostStarts) {
      if (!block(at)) room = piece(at);
    }
    scan_.inside = room ? -1 : scan_.inside;
    scan_.at = static_cast<size_t>(at - scan_.text);
    return count_;
  }

 private:
  void push(const uint8_t* at) { starts_[count_++] = static_cast<uint32_t>(at - scan_.text); }

  Kind kind_of(uint32_t c) {
    const uint8_t found = classes[c];
    scan_.seen |= found;
    return static_cast<Kind>(found & kKindBits);
  }

  Kind kind_at(const uint8_t* at, uint32_t& c, uint32_t& bytes) {
    c = decode(at, bytes);
    return kind_of(c);
  }

  // The pieces of a block of ASCII, except the last; false when there is no such block, or one piece fills it.
  bool block(const uint8_t*& at) {
#if STEEL_BLOCK
    uint64_t first;
    std::memcpy(&first, at, 8);
    if ((first & 0x8080808080808080u) != 0) return false;
    const Masks masks = masks_of(at);
    auto size = static_cast<unsigned>(end_ - at < 64 ? end_ - at : 64);
    if (masks.beyond != 0) {
      const auto ascii = static_cast<unsigned>(__builtin_ctzll(masks.beyond));
      size = ascii < size ? ascii : size;
    }
    uint64_t begins = piece_starts<kPattern>(at, scan_.digits, masks, size);
    const auto last = static_cast<unsigned>(63 - __builtin_clzll(begins));
    begins ^= uint64_t{1} << last;
    const auto offset = static_cast<uint32_t>(at - scan_.text);
    for (; begins != 0; begins &= begins - 1)
      starts_[count_++] = offset + static_cast<uint32_t>(__builtin_ctzll(begins));
    at += last;
    return last != 0;
#else
    (void)at;
    return false;
#endif
  }

  // Goes behind characters of one kind; cuts where the vocabulary allows. False when there is no room for more starts:
  // then the run goes on at `at`.
  template <Kind kKind>
  bool run(const uint8_t*& at, uint32_t before) {
    for (;;) {
      if constexpr (kKind == kLetter) {
        bool cuttable = covered(before);
        for (;;) {
          const uint32_t c = (at[0] & 0x0Fu) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu);
          if ((at[0] & 0xF0) != 0xE0 || c - kIdeographs > kLastIdeograph - kIdeographs) break;
          starts_[count_] = static_cast<uint32_t>(at - scan_.text);
          count_ += cuttable && !CharPairs::joined(scan_.joined, before, c);
          if (count_ == kMostStarts) return full(kKind);
          cuttable = true;
          before = c;
          at += 3;
        }
      }
      if (at >= end_) return true;
      uint32_t c, bytes;
      if (kind_at(at, c, bytes) != kKind) return true;
      if ((c | before) >= 0x80 && covered(c) && covered(before) && !CharPairs::joined(scan_.joined, before, c)) {
        push(at);
        if (count_ == kMostStarts) return full(kKind);
      }
      before = c;
      at += bytes;
    }
  }

  // Takes back the last start: the segment is the first of the next call.
  bool full(Kind kind) {
    --count_;
    scan_.inside = kind;
    return false;
  }

  // Signs, and with kLines the line ends behind them.
  bool rest(const uint8_t*& at, uint32_t before) {
    if (!run<kOther>(at, before)) return false;
    if constexpr (kPattern == Pattern::kLines) {
      while (at < end_ && (*at == '\n' || *at == '\r')) ++at;
    }
    return true;
  }

  // One piece, character by character.
  bool piece(const uint8_t*& at) {
    push(at);
    uint32_t c, bytes, next = 0, more = 0;
    const Kind kind = kind_at(at, c, bytes);
    if (c == '\'' && contraction(at)) return true;
    if (kind == kLetter) return run<kLetter>(at, kNoChar);
    const uint8_t* behind = at + bytes;
    const Kind second = behind < end_ ? kind_at(behind, next, more) : kSpace;
    if constexpr (kPattern == Pattern::kLines) {
      if (second == kLetter && kind != kNumber && c != '\n' && c != '\r') return run<kLetter>(at = behind, c);
      if (kind == kNumber) return numbers(at, scan_.digits);
      if (kind == kOther) return rest(at, kNoChar);
      if (c == ' ' && second == kOther) return rest(at = behind, c);
    } else {
      if (kind == kOther) return rest(at, kNoChar);
      if (kind == kNumber) return numbers(at, scan_.size);
      if (c == ' ' && second == kLetter) return run<kLetter>(at = behind, c);
      if (c == ' ' && second == kOther) return rest(at = behind, c);
      if (c == ' ' && second == kNumber) return numbers(at = behind, scan_.size);
    }
    return white(at);
  }

  bool contraction(const uint8_t*& at) {
    if (kPattern == Pattern::kLines && at[1] == 0xC5 && at[2] == 0xBF) scan_.doubtful = true;  // ſ, a kind of s
    const unsigned letters = contracted<kPattern>(at + 1);
    if (letters == 0) return false;
    at += 1 + letters;
    return true;
  }

  bool numbers(const uint8_t*& at, size_t most) {
    uint32_t c, bytes;
    for (size_t i = 0; i < most && at < end_ && kind_at(at, c, bytes) == kNumber; ++i) at += bytes;
    return true;
  }

  // White space: with kLines to the last line end of the run; else but for the last character, unless the text ends.
  bool white(const uint8_t*& at) {
    const uint8_t *last = at, *behind_line = nullptr, *place = at;
    uint32_t c, bytes;
    while (place < end_ && kind_at(place, c, bytes) == kSpace) {
      last = place;
      place += bytes;
      if (c == '\n' || c == '\r') behind_line = place;
    }
    if (kPattern == Pattern::kLines && behind_line != nullptr) at = behind_line;
    else at = place == end_ || last == at ? place : last;
    return true;
  }

  Scan& scan_;
  const uint8_t* end_;
  uint32_t* starts_;
  size_t count_ = 0;
};

template <Pattern kPattern>
size_t scan_with(Scan& scan, uint32_t* starts) {
  return Scanner<kPattern>(scan, starts).scan();
}
