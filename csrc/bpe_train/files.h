// Buffered files of pre-tokens with their counts.
//
// A file is a sequence of segments. A segment begins with kMagic, the number of its sections, and for each the bytes and
// the entries it has (all 64 bits, little-endian); the sections follow. A section holds the entries of one range of
// hashes, ascending: count and size as variable-length numbers, then the bytes of the pre-token.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <system_error>
#include <vector>

namespace bpe_train {

constexpr uint64_t kMagic = 0x31544E55'4F434254ULL;  // "TBCOUNT1"
constexpr size_t kBufferBytes = 1 << 20;

// A file that the system refuses.
struct FileError : std::system_error {
  FileError(int code, std::string path) : std::system_error(code, std::generic_category()), path(std::move(path)) {}
  std::string path;
};

struct SectionSize {
  uint64_t bytes = 0, entries = 0;
};

class File {
 public:
  File(const std::string& path, const char* mode);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void write(const void* data, size_t size);
  void read(void* data, size_t size);  // throws where the file ends before
  bool at_end();
  void skip(uint64_t count);
  void close();  // throws where what was written does not reach the system

  void write_number(uint64_t value);
  uint64_t read_number();

 private:
  [[noreturn]] void fail(int code);
  std::string path_;
  std::FILE* file_;
  std::vector<char> buffer_;
};

// The sizes of a segment's sections, from its head; empty at the end of the file.
std::vector<SectionSize> read_head(File& file);
void write_head(File& file, const std::vector<SectionSize>& sections);

}  // namespace bpe_train
