// Files: a buffered writer that survives being killed at any point, and a read-only mapping.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace indexed {

struct Mapping;  // of lost_pages.h

// Called with the number of bytes done since the last call.
using Progress = std::function<void(uint64_t)>;

void remove_if_there(const std::string& path);
void rename_file(const std::string& from, const std::string& to);
// Makes the names in the file's folder survive a power cut.
void sync_folder_of(const std::string& path);

// Appends to a new file through a buffer. Errors are FormatErrors that name the path.
class FileWriter {
 public:
  // What a killed process left at the path is overwritten; what another process is writing is refused.
  explicit FileWriter(std::string path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(const void* data, uint64_t bytes);
  template <typename T>
  void put(T value) {
    write(&value, sizeof(T));
  }
  // Appends bytes [offset, offset + bytes) of another file, inside the kernel where it can; holes stay holes.
  void copy_from(const std::string& source, uint64_t offset, uint64_t bytes, const Progress& progress);
  void flush();  // empties the buffer, so that the file can be read
  void sync();   // and waits until the disk has it

  const std::string& path() const { return path_; }

 private:
  void write_all(const char* data, uint64_t bytes);
  void skip(uint64_t bytes);
  bool lock() const;

  std::string path_;
  int descriptor_ = -1;
  std::vector<char> buffer_;
};

constexpr uint64_t kDropEntries = 1 << 20;  // a loop over a mapped index calls drop() after so many

// A whole file mapped read-only; an empty one has no address. What is cut off it later is lost: see lost_pages.h.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const char* data() const { return data_; }
  uint64_t size() const { return size_; }
  // Whether a guarded thread has missed a part of it.
  bool damaged() const;
  // Gives back the memory of the pages read so far; they are read again when needed.
  void drop() const;

 private:
  const char* data_ = nullptr;
  uint64_t size_ = 0;
  Mapping* watched_ = nullptr;
};

}  // namespace indexed
