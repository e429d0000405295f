#include "files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "format.h"
#include "lost_pages.h"

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

// A file that is copied from.
class InputFile {
 public:
  explicit InputFile(std::string path) : path_(std::move(path)) {
    descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor_ < 0) fail("open", path_);
  }
  ~InputFile() { ::close(descriptor_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  int descriptor() const { return descriptor_; }

  // Bytes read; 0 at the end of the file.
  uint64_t read(char* data, uint64_t bytes, uint64_t offset) const {
    for (;;) {
      const ssize_t done = ::pread(descriptor_, data, bytes, static_cast<off_t>(offset));
      if (done >= 0) return static_cast<uint64_t>(done);
      if (errno != EINTR) fail("read", path_);
    }
  }

  // Bytes of [offset, offset + bytes) before the first that take room on the disk; 0 where the system cannot tell.
  uint64_t hole_at(uint64_t offset, uint64_t bytes) const {
    const off_t data = ::lseek(descriptor_, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0) return errno == ENXIO && offset + bytes <= size() ? bytes : 0;  // ENXIO: a hole up to the end
    return std::min(static_cast<uint64_t>(data) - offset, bytes);
  }

 private:
  uint64_t size() const {
    struct stat info{};
    return ::fstat(descriptor_, &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
  }

  std::string path_;
  int descriptor_;
};

// Bytes copied; 0 where it does not work: two file systems, an old kernel.
uint64_t copy_in_kernel(int from, uint64_t offset, int to, uint64_t bytes) {
#ifdef __linux__
  auto position = static_cast<off_t>(offset);
  const ssize_t done = ::copy_file_range(from, &position, to, nullptr, bytes, 0);
  return done > 0 ? static_cast<uint64_t>(done) : 0;
#else
  (void)from, (void)offset, (void)to, (void)bytes;
  return 0;
#endif
}

}  // namespace

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
  for (;;) {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail("create", path_);
    try {
      if (lock()) break;
    } catch (...) {
      ::close(descriptor_);
      throw;
    }
    ::close(descriptor_);
  }
  if (::ftruncate(descriptor_, 0) != 0) {
    ::close(descriptor_);
    fail("empty", path_);
  }
  buffer_.reserve(kBufferBytes);
}

// False when the file was renamed or removed by its former writer between open and lock: then open again.
bool FileWriter::lock() const {
  struct flock whole{};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(descriptor_, F_SETLK, &whole) != 0) {
    if (errno == EACCES || errno == EAGAIN) {
      throw FormatError(path_ + " is being written by another process", "one process writes a dataset",
                        "wait for it, or choose another prefix");
    }
    return true;  // a file system without locks
  }
  struct stat opened{};
  struct stat named{};
  return ::fstat(descriptor_, &opened) == 0 && ::stat(path_.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
         opened.st_dev == named.st_dev;
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
  const InputFile from(source);
  std::vector<char> block;
  bool in_kernel = true;
  while (bytes > 0) {
    const uint64_t hole = from.hole_at(offset, bytes);
    uint64_t done = hole;
    if (hole > 0) {
      skip(hole);
    } else {
      const uint64_t wanted = std::min(bytes, kCopyBytes);
      if (in_kernel) done = copy_in_kernel(from.descriptor(), offset, descriptor_, wanted);
      in_kernel = done > 0;
      if (!in_kernel) {
        block.resize(kBufferBytes);
        done = from.read(block.data(), std::min<uint64_t>(wanted, block.size()), offset);
        if (done == 0) throw FormatError(source + " ends at byte " + std::to_string(offset) + " while it is copied");
        write_all(block.data(), done);
      }
    }
    offset += done;
    bytes -= done;
    if (progress) progress(done);
  }
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

void FileWriter::skip(uint64_t bytes) {
  const off_t end = ::lseek(descriptor_, static_cast<off_t>(bytes), SEEK_CUR);
  if (end < 0 || ::ftruncate(descriptor_, end) != 0) fail("extend", path_);
}

void FileWriter::sync() {
  flush();
  if (::fsync(descriptor_) != 0) fail("sync", path_);
}

MappedFile::MappedFile(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail("open", path);
  struct stat info{};
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
    watched_ = watch_mapping(data_, size_, path);
  }
  ::close(descriptor);
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  forget_mapping(watched_);
  ::munmap(const_cast<char*>(data_), size_);
}

bool MappedFile::damaged() const { return watched_ != nullptr && indexed::damaged(watched_); }

void MappedFile::drop() const {
  if (data_ != nullptr) ::madvise(const_cast<char*>(data_), size_, MADV_DONTNEED);
}

}  // namespace indexed
