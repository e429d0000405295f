#include "files.h"

#include <cerrno>

namespace bpe_train {

File::File(const std::string& path, const char* mode)
    : path_(path), file_(std::fopen(path.c_str(), mode)), buffer_(kBufferBytes) {
  if (file_ == nullptr) fail(errno);
  std::setvbuf(file_, buffer_.data(), _IOFBF, buffer_.size());
}

File::~File() {
  if (file_ != nullptr) std::fclose(file_);
}

void File::fail(int code) { throw FileError(code == 0 ? EIO : code, path_); }

void File::write(const void* data, size_t size) {
  if (std::fwrite(data, 1, size, file_) != size) fail(errno);
}

void File::read(void* data, size_t size) {
  if (std::fread(data, 1, size, file_) != size) fail(std::ferror(file_) != 0 ? errno : EIO);
}

bool File::at_end() {
  const int next = std::getc(file_);
  if (next == EOF) {
    if (std::ferror(file_) != 0) fail(errno);
    return true;
  }
  std::ungetc(next, file_);
  return false;
}

void File::skip(uint64_t count) {
  if (count != 0 && fseeko(file_, static_cast<off_t>(count), SEEK_CUR) != 0) fail(errno);
}

void File::close() {
  std::FILE* file = file_;
  file_ = nullptr;
  if (std::fclose(file) != 0) fail(errno);
}

void File::write_number(uint64_t value) {
  uint8_t bytes[10];
  size_t size = 0;
  for (; value >= 0x80; value >>= 7) bytes[size++] = static_cast<uint8_t>(value | 0x80);
  bytes[size++] = static_cast<uint8_t>(value);
  write(bytes, size);
}

uint64_t File::read_number() {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const int byte = getc_unlocked(file_);
    if (byte == EOF || shift > 63) fail(EIO);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
}

std::vector<SectionSize> read_head(File& file) {
  if (file.at_end()) return {};
  uint64_t start[2];
  file.read(start, sizeof start);
  if (start[0] != kMagic) throw std::runtime_error("no file of counted pre-tokens");
  std::vector<SectionSize> sections(start[1]);
  file.read(sections.data(), sections.size() * sizeof(SectionSize));
  return sections;
}

void write_head(File& file, const std::vector<SectionSize>& sections) {
  const uint64_t start[2] = {kMagic, sections.size()};
  file.write(start, sizeof start);
  file.write(sections.data(), sections.size() * sizeof(SectionSize));
}

}  // namespace bpe_train
