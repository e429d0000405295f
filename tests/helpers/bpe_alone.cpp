// The encoder of csrc/bpe without Python, for sanitizers: a vocabulary and texts in, the ids of each text out.
// Arguments: a file of tokens, a file of texts (each a length of four bytes and the bytes), the pattern, most digits.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "encoder.h"
#include "unicode.h"

static std::vector<std::string> items_of(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::string content((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::vector<std::string> items;
  for (size_t at = 0; at < content.size();) {
    uint32_t size;
    std::memcpy(&size, content.data() + at, 4);
    items.push_back(content.substr(at + 4, size));
    at += 4 + size;
  }
  return items;
}

int main(int, char** arguments) {
  bpe::make_classes();
  const std::vector<std::string> tokens = items_of(arguments[1]);
  std::vector<int32_t> ids(tokens.size());
  std::iota(ids.begin(), ids.end(), 0);
  const bpe::Vocabulary vocabulary(std::vector<std::string_view>(tokens.begin(), tokens.end()), ids, true);
  const bool words = std::strcmp(arguments[3], "words") == 0;
  bpe::Encoder encoder(vocabulary, words ? bpe::Pattern::kWords : bpe::Pattern::kLines, std::stoul(arguments[4]));
  for (const std::string& text : items_of(arguments[2])) {
    std::vector<uint8_t> padded(text.begin(), text.end());  // as long as it has to be, so that a read beyond is seen
    padded.resize(text.size() + bpe::kPadding);
    bpe::Ids found;
    const auto outcome = encoder.encode(padded.data(), text.size(), true, found);
    std::printf("%s", outcome == bpe::Outcome::kDone ? "" : "doubt");
    for (size_t i = 0; i < found.size; ++i) std::printf("%d ", found.data()[i]);
    std::printf("\n");
  }
}
