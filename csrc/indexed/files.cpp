#include "files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "format.h"

namespace indexed {

namespace {

constexpr uint64_t kBufferBytes = 4 << 20;
constexpr uint64_t kCopyBytes = 64 << 20;  // between two calls of progress

[[noreturn]] void fail(const std::string& what, const std::string& path) {
  const int code = errno;
  std::string fix;
  if (code == ENOSPC) fix = "free disk space";
  if (code == EACCES || code == EROFS) fix = "choose a folder that can be written to";
  if (code == ENOENT) fix = "check the path and that its folder exists";
  throw FormatError("cannot " + what + " " + path + ": " + std::strerror(code), "", fix);
}

}  // namespace

bool file_exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

void remove_if_there(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail("remove", path);
}

void rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) fail("rename " + from + " to", to);
}

void sync_folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
  const int descriptor = ::open(folder.c_str(), O_RDONLY);
  if (descriptor < 0) fail("open folder", folder);
  const int result = ::fsync(descriptor);
  ::close(descriptor);
  if (result != 0 && errno != EINVAL) fail("sync folder", folder);  // EINVAL: the file system has no such thing
}

FileWriter::FileWriter(std::string path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail("create", path_);
  buffer_.reserve(kBufferBytes);
}

FileWriter::~FileWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void FileWriter::write(const void* data, uint64_t bytes) {
  if (buffer_.size() + bytes > kBufferBytes) flush();
  if (bytes >= kBufferBytes) {
    write_all(static_cast<const char*>(data), bytes);
  } else {
    const char* begin = static_cast<const char*>(data);
    buffer_.insert(buffer_.end(), begin, begin + bytes);
  }
}

void FileWriter::copy_from(const std::string& source, uint64_t offset, uint64_t bytes, const Progress& progress) {
  flush();
  const int from = ::open(source.c_str(), O_RDONLY | O_CLOEXEC);
  if (from < 0) fail("open", source);
  std::vector<char> block;
  bool in_kernel = true;
  try {
    while (bytes > 0) {
      const uint64_t wanted = std::min(bytes, kCopyBytes);
      ssize_t done = -1;
      if (in_kernel) {
        auto position = static_cast<off_t>(offset);
        done = ::copy_file_range(from, &position, descriptor_, nullptr, wanted, 0);
        in_kernel = done > 0;  // other file systems, old kernels: through memory
      }
      if (!in_kernel) {
        block.resize(kBufferBytes);
        done = ::pread(from, block.data(), std::min<uint64_t>(wanted, block.size()), static_cast<off_t>(offset));
        if (done < 0) fail("read", source);
        if (done == 0) throw FormatError(source + " ends at byte " + std::to_string(offset) + " while it is copied");
        write_all(block.data(), static_cast<uint64_t>(done));
      }
      offset += static_cast<uint64_t>(done);
      bytes -= static_cast<uint64_t>(done);
      if (progress) progress(static_cast<uint64_t>(done));
    }
  } catch (...) {
    ::close(from);
    throw;
  }
  ::close(from);
}

void FileWriter::flush() {
  write_all(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void FileWriter::write_all(const char* data, uint64_t bytes) {
  while (bytes > 0) {
    const ssize_t done = ::write(descriptor_, data, bytes);
    if (done < 0) {
      if (errno == EINTR) continue;
      fail("write to", path_);
    }
    data += done;
    bytes -= static_cast<uint64_t>(done);
  }
}

void FileWriter::sync() {
  flush();
  if (::fsync(descriptor_) != 0) fail("sync", path_);
}

void FileWriter::close() {
  if (descriptor_ < 0) return;
  const int descriptor = descriptor_;
  descriptor_ = -1;
  if (::close(descriptor) != 0) fail("close", path_);
}

MappedFile::MappedFile(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail("open", path);
  struct stat info {};
  if (::fstat(descriptor, &info) != 0) {
    ::close(descriptor);
    fail("look at", path);
  }
  size_ = static_cast<uint64_t>(info.st_size);
  if (size_ > 0) {
    void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor, 0);
    if (address == MAP_FAILED) {
      ::close(descriptor);
      fail("map", path);
    }
    data_ = static_cast<const char*>(address);
  }
  ::close(descriptor);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

}  // namespace indexed
