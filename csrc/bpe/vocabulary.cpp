#include "vocabulary.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "hash.h"
#include "merge.h"
#include "unicode.h"

namespace bpe {

namespace {

constexpr Key mask(unsigned size) {
  constexpr uint64_t kAll = ~uint64_t{0};
  Key key;
  key.low = size >= 8 ? kAll : (uint64_t{1} << 8 * size) - 1;
  key.high = size <= 8 ? 0 : (uint64_t{1} << 8 * (size - 8)) - 1;
  return key;
}

constexpr uint32_t kBytes = 256, kPlane = 0x10000;
constexpr size_t kMostPairs = 1 << 22;  // of characters, beyond which nothing is cut

const uint8_t* bytes(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

// UTF-8 of the covered characters beyond ASCII.
struct Covered {
  std::vector<uint32_t> points;
  static std::string utf8(uint32_t c) {
    return {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)),
            static_cast<char>(0x80 | (c & 0x3F))};
  }
};

bool starts_with(std::string_view text, std::string_view part) { return text.substr(0, part.size()) == part; }
bool ends_with(std::string_view text, std::string_view part) {
  return text.size() >= part.size() && text.substr(text.size() - part.size()) == part;
}

// Covered characters that a text behind (or before) a border between characters may be the rest (or beginning) of: the
// one that it ends (begins) with when that is whole. None where no text has such bytes at a border.
std::vector<uint32_t> chars_at_end(std::string_view left) {
  size_t more = 0;
  while (more < left.size() && continuation(static_cast<uint8_t>(left[left.size() - 1 - more]))) ++more;
  std::vector<uint32_t> found;
  if (more == left.size()) {
    for (uint32_t c = 0x800; c < kPlane; ++c) {
      if (covered(c) && ends_with(Covered::utf8(c), left)) found.push_back(c);
    }
    return found;
  }
  const auto* lead = bytes(left) + left.size() - 1 - more;
  uint32_t size;
  if (char_bytes(*lead) != more + 1) return found;
  const uint32_t c = decode(lead, size);
  if (covered(c)) found.push_back(c);
  return found;
}

std::vector<uint32_t> chars_at_begin(std::string_view right) {
  std::vector<uint32_t> found;
  uint32_t size;
  if (right.size() < char_bytes(static_cast<uint8_t>(right[0]))) {
    for (uint32_t c = 0x800; c < kPlane; ++c) {
      if (covered(c) && starts_with(Covered::utf8(c), right)) found.push_back(c);
    }
    return found;
  }
  const uint32_t c = decode(bytes(right), size);
  if (covered(c)) found.push_back(c);
  return found;
}

bool partial_end(std::string_view left) {
  return std::all_of(left.begin(), left.end(), [](char byte) { return continuation(static_cast<uint8_t>(byte)); });
}
bool partial_begin(std::string_view right) { return right.size() < char_bytes(static_cast<uint8_t>(right[0])); }
// The key of a text behind which nothing can be read.
Key key_of(const uint8_t* text, size_t size) {
  uint8_t padded[16] = {};
  std::memcpy(padded, text, size);
  return Key::of(padded, size);
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char byte) { return static_cast<uint8_t>(byte) < 0x80; });
}

}  // namespace

const Key Key::kMasks[16] = {mask(0), mask(1), mask(2),  mask(3),  mask(4),  mask(5),  mask(6),  mask(7),
                             mask(8), mask(9), mask(10), mask(11), mask(12), mask(13), mask(14), mask(15)};

Vocabulary::Vocabulary(const std::vector<std::string_view>& tokens, const std::vector<int32_t>& ids, bool whole_pieces)
    : pairs_(tokens.size()), chars_(kPlane, kNone) {
  if (tokens.size() + kBytes >= size_t{1} << kSymbolBits) throw std::invalid_argument("more tokens than 2,096,896");
  std::vector<uint32_t> places(kBytes, kNone);  // by symbol
  for (uint32_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].empty()) throw std::invalid_argument("an empty token");
    if (tokens[i].size() == 1) places[static_cast<uint8_t>(tokens[i][0])] = i;
  }
  for (uint32_t byte = 0; byte < kBytes; ++byte) {
    if (places[byte] == kNone) throw std::invalid_argument("a byte has no token");
    add(tokens[places[byte]], ids[places[byte]]);
  }
  size_t slots = 1024;
  const auto is_long = [](std::string_view token) { return token.size() > Key::kMostBytes; };
  while (slots < 2 * static_cast<size_t>(std::count_if(tokens.begin(), tokens.end(), is_long))) slots *= 2;
  while ((size_t{1} << key_bits_) * 2 < 3 * tokens.size()) ++key_bits_;
  keys_.resize(size_t{1} << key_bits_);
  key_symbols_.assign(keys_.size(), kNone);
  slots_.assign(slots, kNone);
  for (Symbol byte = 0; byte < kBytes; ++byte) insert_token(byte);
  // The pair of a token is what the token comes to when only lower tokens merge: when its rank is reached in a text,
  // its bytes are in these two parts, or one reaches over its edge and the token cannot arise there.
  Merger merger;
  std::vector<Symbol> parts;
  std::vector<std::pair<Symbol, Symbol>> splits(kBytes, {kNone, kNone});
  std::vector<uint32_t> unmade;
  for (uint32_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].size() == 1) continue;
    parts.assign(bytes(tokens[i]), bytes(tokens[i]) + tokens[i].size());
    if (merger.merge(parts.data(), parts.size(), pairs_) != 2) {
      unmade.push_back(i);
      continue;
    }
    const auto made = static_cast<Symbol>(ids_.size());
    add(tokens[i], ids[i]);
    insert_token(made);
    pairs_.insert(parts[0], parts[1], made);
    splits.emplace_back(parts[0], parts[1]);
    places.push_back(i);
    merges_.push_back({places[parts[0]], places[parts[1]], i});
  }
  bool whole_only = false;
  for (uint32_t i : unmade) {
    if (!whole_pieces || token(bytes(tokens[i]), tokens[i].size()) != kNone) continue;
    const auto symbol = static_cast<Symbol>(ids_.size());
    add(tokens[i], ids[i]);
    insert_token(symbol);
    whole_only = whole_only || !is_ascii(tokens[i]);
  }
  find_boundaries(splits, whole_only);
}

void Vocabulary::add(std::string_view token, int32_t id) {
  bytes_ += token;
  starts_.push_back(static_cast<uint32_t>(bytes_.size()));
  ids_.push_back(id);
}

void Vocabulary::insert_token(Symbol symbol) {
  const std::string_view text = bytes_of(symbol);
  if (text.size() <= Key::kMostBytes) {
    const Key key = key_of(bytes(text), text.size());
    size_t at = key.hash() >> (64 - key_bits_);
    while (key_symbols_[at] != kNone) at = (at + 1) & (keys_.size() - 1);
    keys_[at] = key;
    key_symbols_[at] = symbol;
    return;
  }
  uint64_t at = hash(bytes(text), text.size()) & (slots_.size() - 1);
  while (slots_[at] != kNone) at = (at + 1) & (slots_.size() - 1);
  slots_[at] = symbol;
}

void Vocabulary::prefetch(const Key& key) const {
  const size_t at = key.hash() >> (64 - key_bits_);
  bpe::prefetch(&keys_[at]);
  bpe::prefetch(&key_symbols_[at]);
}

Symbol Vocabulary::token(const Key& key) const {
  for (size_t at = key.hash() >> (64 - key_bits_);; at = (at + 1) & (keys_.size() - 1)) {
    if (keys_[at] == key || keys_[at].high == 0) return key_symbols_[at];
  }
}

Symbol Vocabulary::token(const uint8_t* text, size_t size) const {
  if (size <= Key::kMostBytes) return token(key_of(text, size));
  const std::string_view wanted(reinterpret_cast<const char*>(text), size);
  for (uint64_t at = hash(text, size) & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
    if (slots_[at] == kNone || bytes_of(slots_[at]) == wanted) return slots_[at];
  }
}

// For each merge across a border of characters: which characters may stand on both sides of the border.
void Vocabulary::find_boundaries(const std::vector<std::pair<Symbol, Symbol>>& splits, bool whole_only) {
  size_t inserted = 0;
  for (Symbol made = kBytes; made < splits.size(); ++made) {
    const std::string_view left = bytes_of(splits[made].first), right = bytes_of(splits[made].second);
    if (continuation(static_cast<uint8_t>(right[0]))) continue;
    if (static_cast<uint8_t>(left.back()) < 0x80 && static_cast<uint8_t>(right[0]) < 0x80) continue;
    const bool partial = partial_end(left) || partial_begin(right);
    const std::vector<uint32_t> before = chars_at_end(left), behind = chars_at_begin(right);
    inserted += before.size() * behind.size();
    if (inserted > kMostPairs) break;
    for (uint32_t first : before) {
      for (uint32_t second : behind) joined_.insert(first, second, partial);
    }
  }
  if (whole_only || inserted > kMostPairs) joined_.insert_all(inserted > kMostPairs);
  for (uint32_t c = 0x800; c < kPlane; ++c) {
    if (!covered(c)) continue;
    const std::string text = Covered::utf8(c);
    const Symbol symbol = token(bytes(text), text.size());
    if (symbol < splits.size()) chars_[c] = symbol;  // not one that no merge makes
  }
}

size_t Vocabulary::first_symbols(const uint8_t* text, size_t size, Symbol* symbols) const {
  size_t count = 0;
  bool free_before = true;  // no merge reaches across the border before this character with a part of one
  for (size_t at = 0; at < size;) {
    uint32_t bytes;
    const uint32_t c = decode(text + at, bytes);
    bool free_behind = true;
    if (at + bytes < size) {
      uint32_t more;
      const uint32_t next = decode(text + at + bytes, more);
      free_behind = covered(c) && covered(next) && !joined_.partly_joined(c, next);
    }
    if (free_before && free_behind && c < kPlane && chars_[c] != kNone) {
      symbols[count++] = chars_[c];
    } else {
      for (uint32_t i = 0; i < bytes; ++i) symbols[count++] = text[at + i];
    }
    free_before = free_behind;
    at += bytes;
  }
  return count;
}

}  // namespace bpe
