#include "reader.h"

#include <algorithm>

namespace indexed {

namespace {

constexpr const char* kFix = "make the dataset again, or copy it again if this is a copy";

std::string text(int64_t number) { return std::to_string(number); }
std::string text(uint64_t number) { return std::to_string(number); }

}  // namespace

Reader::Reader(const std::string& prefix)
    : bin_path_(prefix + ".bin"), idx_path_(prefix + ".idx"), idx_(idx_path_), bin_(bin_path_) {
  read_header();
  check_ends();
}

void Reader::damaged(const std::string& what, uint64_t byte) const {
  throw FormatError(idx_path_ + ", byte " + text(byte) + ": " + what, "", kFix);
}

void Reader::read_header() {
  if (idx_.size() < kHeaderBytes + kBoundaryBytes) {
    throw FormatError(idx_path_ + " has " + text(idx_.size()) + " bytes",
                      "an index has a header of 34 bytes and at least one document boundary", kFix);
  }
  if (std::memcmp(at(0), kMagic, sizeof(kMagic)) != 0) {
    throw FormatError(idx_path_ + " does not begin with MMIDIDX",
                      "it is the index of Megatron's MMapIndexedDataset",
                      "check the path; older Megatron formats are converted by Megatron's own tools");
  }
  const auto version = load<uint64_t>(at(kVersionAt));
  if (version != kVersion) damaged("version " + text(version) + ", expected 1", kVersionAt);
  const auto code = load<uint8_t>(at(kDtypeAt));
  dtype_ = dtype_by_code(code);
  if (dtype_ == nullptr) damaged("token type " + text(uint64_t{code}) + ", expected 1 to 8", kDtypeAt);
  sequence_count_ = load<uint64_t>(at(kSequenceCountAt));
  boundary_count_ = load<uint64_t>(at(kDocumentCountAt));
  // Counts that could overflow the sum below are wrong anyway: each entry takes bytes of the file.
  if (sequence_count_ > idx_.size()) damaged(text(sequence_count_) + " sequences in a file of " + text(idx_.size()) + " bytes", kSequenceCountAt);
  if (boundary_count_ > idx_.size()) damaged(text(boundary_count_) + " document boundaries in a file of " + text(idx_.size()) + " bytes", kDocumentCountAt);
  if (boundary_count_ == 0) damaged("no document boundary, expected one more than documents", kDocumentCountAt);
  const uint64_t expected = modes_at();
  multimodal_ = sequence_count_ > 0 && idx_.size() == expected + sequence_count_;
  if (idx_.size() != expected && !multimodal_) {
    throw FormatError(idx_path_ + " has " + text(idx_.size()) + " bytes, expected " + text(expected) + " for " +
                          text(sequence_count_) + " sequences and " + text(boundary_count_ - 1) + " documents",
                      idx_.size() < expected ? "the file is cut off" : "the file has more than its header says", kFix);
  }
}

void Reader::check_ends() const {
  if (boundary(0) != 0) damaged("the first document begins at sequence " + text(boundary(0)) + ", expected 0", boundaries_at());
  const auto last = boundary(boundary_count_ - 1);
  if (last != static_cast<int64_t>(sequence_count_)) {
    damaged("the last document ends at sequence " + text(last) + ", expected " + text(sequence_count_),
            boundaries_at() + (boundary_count_ - 1) * kBoundaryBytes);
  }
  uint64_t bytes = 0;
  if (sequence_count_ > 0) {
    if (pointer(0) != 0) damaged("the first sequence begins at byte " + text(pointer(0)) + " of .bin, expected 0", pointers_at());
    const uint64_t sequence = sequence_count_ - 1;
    if (length(sequence) < 0) damaged("the last sequence has " + text(int64_t{length(sequence)}) + " tokens", lengths_at() + sequence * kLengthBytes);
    if (pointer(sequence) < 0) damaged("the last sequence begins at byte " + text(pointer(sequence)) + " of .bin", pointers_at() + sequence * kPointerBytes);
    bytes = static_cast<uint64_t>(pointer(sequence)) + static_cast<uint64_t>(length(sequence)) * dtype_->bytes;
  }
  if (bin_.size() != bytes) {
    throw FormatError(bin_path_ + " has " + text(bin_.size()) + " bytes, the index tells of " + text(bytes),
                      bin_.size() < bytes ? "the file is cut off, or the two do not belong together"
                                          : "the two do not belong together",
                      kFix);
  }
}

void Reader::validate() const {
  int64_t expected = 0;
  for (uint64_t i = 0; i < sequence_count_; ++i) {
    if (length(i) < 0) damaged("sequence " + text(i) + " has " + text(int64_t{length(i)}) + " tokens", lengths_at() + i * kLengthBytes);
    if (pointer(i) != expected) {
      damaged("sequence " + text(i) + " begins at byte " + text(pointer(i)) + " of .bin, expected " + text(expected),
              pointers_at() + i * kPointerBytes);
    }
    expected += static_cast<int64_t>(length(i)) * static_cast<int64_t>(dtype_->bytes);
  }
  for (uint64_t i = 1; i < boundary_count_; ++i) {
    if (boundary(i) < boundary(i - 1) || boundary(i) > static_cast<int64_t>(sequence_count_)) {
      damaged("document " + text(i) + " begins at sequence " + text(boundary(i)) + ", expected " + text(boundary(i - 1)) +
                  " to " + text(sequence_count_),
              boundaries_at() + i * kBoundaryBytes);
    }
  }
}

int64_t Reader::sequence_start(uint64_t sequence) const {
  if (sequence > sequence_count_) throw FormatError("sequence " + text(sequence) + " of " + text(sequence_count_));
  if (sequence == sequence_count_) return static_cast<int64_t>(token_count());
  return pointer(sequence) / static_cast<int64_t>(dtype_->bytes);
}

std::vector<int64_t> Reader::document_starts_between(int64_t start, int64_t stop) const {
  uint64_t low = 0;
  uint64_t high = sequence_count_;
  while (low < high) {  // first sequence that begins at start or later
    const uint64_t middle = low + (high - low) / 2;
    if (sequence_start(middle) < start) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  uint64_t document = 0;
  uint64_t end = boundary_count_ - 1;  // the last boundary is an end, not a start
  while (document < end) {             // first document that begins at that sequence or later
    const uint64_t middle = document + (end - document) / 2;
    if (boundary(middle) < static_cast<int64_t>(low)) {
      document = middle + 1;
    } else {
      end = middle;
    }
  }
  std::vector<int64_t> starts;
  for (; document + 1 < boundary_count_; ++document) {
    if (boundary(document) >= static_cast<int64_t>(sequence_count_)) break;
    const int64_t token = sequence_start(static_cast<uint64_t>(boundary(document)));
    if (token >= stop) break;
    if (starts.empty() || starts.back() != token) starts.push_back(token);
  }
  return starts;
}

}  // namespace indexed
