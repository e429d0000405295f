// Reads an indexed dataset: opened in constant time, checked in depth on request.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "files.h"
#include "format.h"

namespace indexed {

using Range = std::pair<int64_t, int64_t>;

class Reader {
 public:
  // Maps prefix.idx and prefix.bin. Header, sizes, and first and last entries must agree, else FormatError.
  explicit Reader(const std::string& prefix);

  // Looks at every entry of the index; FormatError names the first that is wrong and its byte.
  void validate() const;

  int32_t length(uint64_t sequence) const { return load<int32_t>(at(lengths_at() + sequence * kLengthBytes)); }
  int64_t pointer(uint64_t sequence) const { return load<int64_t>(at(pointers_at() + sequence * kPointerBytes)); }
  int64_t boundary(uint64_t document) const { return load<int64_t>(at(boundaries_at() + document * kBoundaryBytes)); }

  // Token at which a sequence begins; for the number of sequences, where the tokens end. FormatError if the index
  // points outside the tokens there.
  int64_t sequence_start(uint64_t sequence) const;
  // Tokens [start, stop) of a sequence, and of the documents [first, last). std::out_of_range for what is not there.
  Range sequence_range(int64_t sequence) const;
  Range document_range(int64_t first, int64_t last) const;
  // Ascending tokens in [start, stop) at which documents begin; documents without tokens have none of their own.
  std::vector<int64_t> document_starts_between(int64_t start, int64_t stop) const;

  const DtypeInfo& dtype() const { return *dtype_; }
  uint64_t sequence_count() const { return sequence_count_; }
  uint64_t document_count() const { return boundary_count_ - 1; }
  uint64_t token_count() const { return bin_.size() / dtype_->bytes; }
  bool multimodal() const { return multimodal_; }
  const MappedFile& bin() const { return bin_; }
  const MappedFile& idx() const { return idx_; }
  const std::string& bin_path() const { return bin_path_; }
  const std::string& idx_path() const { return idx_path_; }

  uint64_t lengths_at() const { return kHeaderBytes; }
  uint64_t pointers_at() const { return lengths_at() + sequence_count_ * kLengthBytes; }
  uint64_t boundaries_at() const { return pointers_at() + sequence_count_ * kPointerBytes; }
  uint64_t modes_at() const { return boundaries_at() + boundary_count_ * kBoundaryBytes; }

 private:
  const char* at(uint64_t byte) const { return idx_.data() + byte; }
  int64_t document_start(uint64_t document) const;
  Range ordered(int64_t start, int64_t stop, uint64_t byte) const;
  void read_header();
  void check_ends() const;
  uint64_t bytes_of_tokens() const;
  [[noreturn]] void damaged(const std::string& what, uint64_t byte) const;

  std::string bin_path_;
  std::string idx_path_;
  MappedFile idx_;
  MappedFile bin_;
  const DtypeInfo* dtype_ = nullptr;
  uint64_t sequence_count_ = 0;
  uint64_t boundary_count_ = 0;
  bool multimodal_ = false;
};

}  // namespace indexed
