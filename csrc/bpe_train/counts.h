// Counting pre-tokens in bounded memory: a table that is written to a file, in the order of hashes, when it is full.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "files.h"

namespace bpe_train {

// A longer pre-token is cut, between characters.
constexpr size_t kLongest = 1 << 16;

uint64_t hash_of(const uint8_t* bytes, size_t size);

// Byte strings with their counts.
class Table {
 public:
  // `memory`: bytes that it may take.
  explicit Table(uint64_t memory);

  // False where there is no room for one that is not in it yet.
  bool add(uint64_t hash, const uint8_t* bytes, size_t size, uint64_t count);

  // Writes a segment of so many sections, a power of two, and empties the table.
  void write(File& file, size_t sections);
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    uint64_t hash, count;
    uint64_t offset : 40, size : 24;
  };
  struct Free {
    void operator()(void* memory) const;
  };
  void clear_index();

  size_t most_entries_, most_bytes_, mask_;
  std::vector<Entry> entries_;
  std::vector<uint8_t> bytes_;
  std::unique_ptr<uint64_t, Free> index_;  // 32 bits of a hash, then the entry's number + 1; 0: free
};

// Counts the pre-tokens of texts into a file.
class Counter {
 public:
  Counter(const std::string& path, uint64_t memory, size_t sections);
  void add(const char* text, size_t size);
  void finish();

 private:
  void count(const uint8_t* bytes, size_t size);

  Table table_;
  File file_;
  size_t sections_;
};

// What the segments of files hold by section, in sum.
std::vector<SectionSize> section_sizes(const std::vector<std::string>& paths);

// Writes a segment with the counts of all files for hashes from `first` to `last`. Returns what it holds.
// Throws std::length_error where they take more than `memory` bytes.
SectionSize merge_counts(const std::vector<std::string>& paths, uint64_t first, uint64_t last, uint64_t memory,
                         const std::string& target);

}  // namespace bpe_train
