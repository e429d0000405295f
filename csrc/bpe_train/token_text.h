// Pre-tokens one behind the other as tokens, in little more than the bytes of their text.
//
// A bit per byte says where tokens begin. A token of one or two bytes is its bytes, a longer one has its id in the first
// three. A byte that no UTF-8 has stands between pre-tokens.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace bpe_train {

constexpr uint8_t kBetween = 0xFF;
constexpr uint32_t kNoToken = 0xFFFFFF;  // also the id of what stands between pre-tokens
constexpr uint64_t kLargestText = 0xFFFFFF00;

// Tokens by id and by content. Tokens of one content have one id.
class Vocabulary {
 public:
  // `byte_ids`: the ids of the 256 bytes.
  explicit Vocabulary(const std::vector<uint32_t>& byte_ids);

  size_t size() const { return contents_.size(); }
  const std::string& content(uint32_t id) const { return contents_[id]; }
  uint32_t of_byte(uint8_t byte) const { return byte_ids_[byte]; }
  uint32_t of_pair(uint8_t first, uint8_t second) const { return pair_ids_[first << 8 | second]; }

  // The id of a content, which may be a new one.
  uint32_t add(const std::string& content);

 private:
  std::vector<std::string> contents_;
  std::unordered_map<std::string, uint32_t> ids_;
  uint32_t byte_ids_[256];
  std::vector<uint32_t> pair_ids_;  // of contents of two bytes
};

class TokenText {
 public:
  // Room for so many bytes, those between pre-tokens included.
  explicit TokenText(uint64_t size);

  static uint64_t memory(uint64_t size) { return size + size / 8 + 64; }
  uint64_t size() const { return size_; }

  // Writes a pre-token at a place; returns the place behind it and the byte that ends it.
  uint64_t put(uint64_t place, const uint8_t* bytes, size_t size);

  bool is_start(uint64_t place) const { return (starts_[place >> 6] >> (place & 63) & 1) != 0; }
  uint64_t next(uint64_t place) const {
    ++place;
    size_t word = place >> 6;
    uint64_t bits = starts_[word] >> (place & 63);
    if (bits != 0) return place + static_cast<uint64_t>(__builtin_ctzll(bits));
    do ++word;
    while (starts_[word] == 0);
    return word * 64 + static_cast<uint64_t>(__builtin_ctzll(starts_[word]));
  }
  uint64_t before(uint64_t place) const {
    --place;
    size_t word = place >> 6;
    uint64_t bits = starts_[word] << (63 - (place & 63));
    if (bits != 0) return place - static_cast<uint64_t>(__builtin_clzll(bits));
    do --word;
    while (starts_[word] == 0);
    return word * 64 + 63 - static_cast<uint64_t>(__builtin_clzll(starts_[word]));
  }

  void prefetch(uint64_t place) const {
    __builtin_prefetch(&bytes_[place]);
    __builtin_prefetch(&starts_[place >> 6]);
  }

  // The id of the token that begins at a place and ends before another.
  uint32_t id(const Vocabulary& vocabulary, uint64_t place, uint64_t end) const {
    const uint8_t* at = &bytes_[place];
    switch (end - place) {
      case 1: return *at == kBetween ? kNoToken : vocabulary.of_byte(*at);
      case 2: return vocabulary.of_pair(at[0], at[1]);
      default: return at[0] | static_cast<uint32_t>(at[1]) << 8 | static_cast<uint32_t>(at[2]) << 16;
    }
  }

  // Makes one token of [place, end), in which another begins at `middle`.
  void merge(uint64_t place, uint64_t middle, uint64_t end, uint32_t id) {
    starts_[middle >> 6] &= ~(uint64_t{1} << (middle & 63));
    if (end - place < 3) return;
    bytes_[place] = static_cast<uint8_t>(id);
    bytes_[place + 1] = static_cast<uint8_t>(id >> 8);
    bytes_[place + 2] = static_cast<uint8_t>(id >> 16);
  }

 private:
  uint64_t size_;
  std::vector<uint8_t> bytes_;
  std::vector<uint64_t> starts_;
};

}  // namespace bpe_train
