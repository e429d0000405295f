#include "scan.h"

#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace jsonl {

namespace {

constexpr int kDeepest = 100;  // levels of nesting; deeper lines are left to the slower parser

// The first byte that is a quote, a backslash or a control character.
const char* plain_end(const char* at, const char* end) {
#ifdef __SSE2__
  const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1f);
  for (; end - at >= 16; at += 16) {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(block, control), block);
    const __m128i found =
        _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(block, quote), _mm_cmpeq_epi8(block, backslash)), low);
    const int mask = _mm_movemask_epi8(found);
    if (mask != 0) return at + __builtin_ctz(static_cast<unsigned>(mask));
  }
#endif
  while (at < end && *at != '"' && *at != '\\' && static_cast<unsigned char>(*at) >= 0x20) ++at;
  return at;
}

// Value of four hexadecimal digits; -1 when they are not.
int hex4(const char* at, const char* end) {
  if (end - at < 4) return -1;
  int value = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = at[i];
    int digit;
    if (c >= '0' && c <= '9') digit = c - '0';
    else if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
    else if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
    else return -1;
    value = value * 16 + digit;
  }
  return value;
}

bool high_surrogate(int unit) { return unit >= 0xd800 && unit < 0xdc00; }
bool low_surrogate(int unit) { return unit >= 0xdc00 && unit < 0xe000; }

// Behind a good escape that begins at the backslash; nullptr for a bad one and for half a surrogate pair.
const char* after_escape(const char* at, const char* end) {
  if (end - at < 2) return nullptr;
  if (at[1] != 'u') return std::strchr("\"\\/bfnrt", at[1]) != nullptr && at[1] != '\0' ? at + 2 : nullptr;
  const int unit = hex4(at + 2, end);
  if (unit < 0 || low_surrogate(unit)) return nullptr;
  if (!high_surrogate(unit)) return at + 6;
  if (end - at < 8 || at[6] != '\\' || at[7] != 'u' || !low_surrogate(hex4(at + 8, end))) return nullptr;
  return at + 12;
}

void put_utf8(uint32_t point, std::string& out) {
  const auto put = [&out](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (point < 0x80) return put(point);
  if (point < 0x800) {
    put(0xc0 | point >> 6);
  } else {
    if (point < 0x10000) {
      put(0xe0 | point >> 12);
    } else {
      put(0xf0 | point >> 18);
      put(0x80 | (point >> 12 & 0x3f));
    }
    put(0x80 | (point >> 6 & 0x3f));
  }
  put(0x80 | (point & 0x3f));
}

}  // namespace

bool is_utf8(const char* begin, const char* end) {
  const auto* at = reinterpret_cast<const unsigned char*>(begin);
  const auto* stop = reinterpret_cast<const unsigned char*>(end);
  while (at < stop) {
    if (stop - at >= 8) {
      uint64_t block;
      std::memcpy(&block, at, 8);
      if ((block & 0x8080808080808080u) == 0) {
        at += 8;
        continue;
      }
    }
    const unsigned lead = *at;
    int more;
    unsigned least = 0x80, most = 0xbf;  // of the second byte
    if (lead < 0x80) more = 0;
    else if (lead < 0xc2) return false;
    else if (lead < 0xe0) more = 1;
    else if (lead < 0xf0) {
      more = 2;
      if (lead == 0xe0) least = 0xa0;
      if (lead == 0xed) most = 0x9f;
    } else if (lead < 0xf5) {
      more = 3;
      if (lead == 0xf0) least = 0x90;
      if (lead == 0xf4) most = 0x8f;
    } else return false;
    if (stop - at <= more) return false;
    if (more > 0 && (at[1] < least || at[1] > most)) return false;
    for (int i = 2; i <= more; ++i) {
      if ((at[i] & 0xc0) != 0x80) return false;
    }
    at += more + 1;
  }
  return true;
}

void unescape(const Text& text, std::string& out) {
  const char* at = text.begin;
  while (at < text.end) {
    const auto* backslash = static_cast<const char*>(std::memchr(at, '\\', static_cast<size_t>(text.end - at)));
    if (backslash == nullptr) break;
    out.append(at, backslash);
    at = backslash + 2;
    switch (backslash[1]) {
      case 'b': out.push_back('\b'); break;
      case 'f': out.push_back('\f'); break;
      case 'n': out.push_back('\n'); break;
      case 'r': out.push_back('\r'); break;
      case 't': out.push_back('\t'); break;
      case 'u': {
        auto point = static_cast<uint32_t>(hex4(at, text.end));
        at += 4;
        if (high_surrogate(static_cast<int>(point))) {
          point = 0x10000 + ((point - 0xd800) << 10) + (static_cast<uint32_t>(hex4(at + 2, text.end)) - 0xdc00);
          at += 6;
        }
        put_utf8(point, out);
        break;
      }
      default: out.push_back(backslash[1]);
    }
  }
  out.append(at, text.end);
}

Scanner::Scanner(std::vector<std::string> keys, std::string reserved)
    : keys_(std::move(keys)), reserved_(std::move(reserved)), texts_(keys_.size()) {}

bool Scanner::scan(const char* begin, const char* end) {
  at_ = begin;
  end_ = end;
  texts_.assign(keys_.size(), Text());
  skip_blanks();
  if (at_ == end_ || *at_ != '{' || !object(0)) return false;
  skip_blanks();
  if (at_ != end_) return false;
  for (const Text& text : texts_) {
    if (text.begin == nullptr) return false;
  }
  return true;
}

void Scanner::skip_blanks() {
  while (at_ < end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\r' || *at_ == '\n')) ++at_;
}

bool Scanner::value(int depth) {
  if (depth > kDeepest || at_ == end_) return false;
  switch (*at_) {
    case '{': return object(depth);
    case '[': return array(depth);
    case '"': return skipped_string();
    case 't': return word("true");
    case 'f': return word("false");
    case 'n': return word("null");
    default: return number();
  }
}

bool Scanner::object(int depth) {
  ++at_;
  skip_blanks();
  if (at_ < end_ && *at_ == '}') {
    ++at_;
    return true;
  }
  for (;;) {
    if (!member(depth)) return false;
    skip_blanks();
    if (at_ == end_) return false;
    const char mark = *at_++;
    if (mark == '}') return true;
    if (mark != ',') return false;
    skip_blanks();
  }
}

bool Scanner::member(int depth) {
  Text name;
  if (!string(name) || !is_utf8(name.begin, name.end)) return false;
  skip_blanks();
  if (at_ == end_ || *at_ != ':') return false;
  ++at_;
  skip_blanks();
  if (depth > 0) return value(depth + 1);
  size_t index = 0;
  bool reserved = false;
  if (!wanted(name, index, reserved)) return !reserved && value(depth + 1);
  Text& text = texts_[index];
  if (text.begin != nullptr && !is_utf8(text.begin, text.end)) return false;  // the value that is overruled
  return at_ < end_ && *at_ == '"' && string(text);
}

bool Scanner::wanted(const Text& name, size_t& index, bool& reserved) {
  const char* begin = name.begin;
  auto size = static_cast<size_t>(name.end - name.begin);
  if (name.escaped) {
    name_.clear();
    unescape(name, name_);
    begin = name_.data();
    size = name_.size();
  }
  const auto same = [begin, size](const std::string& key) {
    return key.size() == size && std::memcmp(key.data(), begin, size) == 0;
  };
  reserved = same(reserved_);
  for (index = 0; index < keys_.size(); ++index) {
    if (same(keys_[index])) return true;
  }
  return false;
}

bool Scanner::array(int depth) {
  ++at_;
  skip_blanks();
  if (at_ < end_ && *at_ == ']') {
    ++at_;
    return true;
  }
  for (;;) {
    if (!value(depth + 1)) return false;
    skip_blanks();
    if (at_ == end_) return false;
    const char mark = *at_++;
    if (mark == ']') return true;
    if (mark != ',') return false;
    skip_blanks();
  }
}

bool Scanner::string(Text& text) {
  if (at_ == end_ || *at_ != '"') return false;
  text = Text{++at_, nullptr, false};
  for (;;) {
    at_ = plain_end(at_, end_);
    if (at_ == end_) return false;
    if (*at_ == '"') {
      text.end = at_++;
      return true;
    }
    if (*at_ != '\\') return false;
    text.escaped = true;
    at_ = after_escape(at_, end_);
    if (at_ == nullptr) {
      at_ = end_;
      return false;
    }
  }
}

bool Scanner::skipped_string() {
  Text text;
  return string(text) && is_utf8(text.begin, text.end);
}

bool Scanner::number() {
  const auto digits = [this] {
    const char* start = at_;
    while (at_ < end_ && *at_ >= '0' && *at_ <= '9') ++at_;
    return at_ > start;
  };
  if (at_ < end_ && *at_ == '-') ++at_;
  const char* whole = at_;
  if (!digits() || (*whole == '0' && at_ - whole > 1)) return false;
  // Python refuses whole numbers of thousands of digits, orjson does not: leave them to the two of them.
  if (at_ - whole > 300) return false;
  if (at_ < end_ && *at_ == '.') {
    ++at_;
    if (!digits()) return false;
  }
  if (at_ < end_ && (*at_ == 'e' || *at_ == 'E')) {
    ++at_;
    if (at_ < end_ && (*at_ == '+' || *at_ == '-')) ++at_;
    if (!digits()) return false;
  }
  return true;
}

bool Scanner::word(const char* expected) {
  const size_t size = std::strlen(expected);
  if (static_cast<size_t>(end_ - at_) < size || std::memcmp(at_, expected, size) != 0) return false;
  at_ += size;
  return true;
}

namespace {

// What Python's bytes.strip() takes away.
bool blank(const char* at, const char* end) {
  while (at < end && (*at == ' ' || (*at >= '\t' && *at <= '\r'))) ++at;
  return at == end;
}

}  // namespace

Block scan_block(const char* data, size_t size, const std::vector<std::string>& keys, const std::string& reserved) {
  Block found;
  Scanner scanner(keys, reserved);
  const char* end = data + size;
  for (const char* at = data; at < end;) {
    const auto* feed = static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(end - at)));
    const char* stop = feed == nullptr ? end : feed;
    ++found.line_count;
    if (blank(at, stop)) {
      ++found.blank_lines;
    } else {
      const bool good = scanner.scan(at, stop);
      found.lines.push_back({found.line_count, at - data, stop - data});
      found.good.push_back(static_cast<char>(good));
      found.texts.insert(found.texts.end(), scanner.texts().begin(), scanner.texts().end());
    }
    at = feed == nullptr ? end : feed + 1;
  }
  return found;
}

}  // namespace jsonl
