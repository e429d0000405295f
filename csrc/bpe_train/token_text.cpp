#include "token_text.h"

#include <cstring>
#include <stdexcept>

namespace bpe_train {

Vocabulary::Vocabulary(const std::vector<uint32_t>& byte_ids) : contents_(256), pair_ids_(1 << 16, kNoToken) {
  if (byte_ids.size() != 256) throw std::invalid_argument("there are 256 bytes");
  for (uint32_t byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = byte_ids[byte];
    contents_.at(byte_ids[byte]).assign(1, static_cast<char>(byte));
    ids_[contents_[byte_ids[byte]]] = byte_ids[byte];
  }
}

uint32_t Vocabulary::add(const std::string& content) {
  const auto [found, is_new] = ids_.try_emplace(content, static_cast<uint32_t>(contents_.size()));
  if (is_new) {
    if (contents_.size() >= kNoToken) throw std::length_error("a vocabulary has at most 2^24 tokens");
    contents_.push_back(content);
    if (content.size() == 2) {
      pair_ids_[static_cast<uint8_t>(content[0]) << 8 | static_cast<uint8_t>(content[1])] = found->second;
    }
  }
  return found->second;
}

TokenText::TokenText(uint64_t size) : size_(size + 2), bytes_(size_ + 2, kBetween), starts_(size_ / 64 + 2) {
  if (size > kLargestText) throw std::length_error("a text has at most 4 GiB");
  for (const uint64_t place : {uint64_t{0}, size_ - 1, size_}) starts_[place >> 6] |= uint64_t{1} << (place & 63);
}

uint64_t TokenText::put(uint64_t place, const uint8_t* bytes, size_t size) {
  std::memcpy(&bytes_[place], bytes, size);
  for (uint64_t at = place; at <= place + size; ++at) starts_[at >> 6] |= uint64_t{1} << (at & 63);
  return place + size + 1;
}

}  // namespace bpe_train
