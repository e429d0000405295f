#include "reader.h"

#include <algorithm>
#include <stdexcept>

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
    throw FormatError(idx_path_ + " does not begin with MMIDIDX", "it is the index of Megatron's MMapIndexedDataset",
                      "check the path; older Megatron formats are converted by Megatron's own tools");
  }
  const auto version = load<uint64_t>(at(kVersionAt));
  if (version != kVersion) damaged("version " + text(version) + ", expected 1", kVersionAt);
  const auto code = load<uint8_t>(at(kDtypeAt));
  dtype_ = dtype_by_code(code);
  if (dtype_ == nullptr) damaged("token type " + text(uint64_t{code}) + ", expected 1 to 8 or 24", kDtypeAt);
  sequence_count_ = load<uint64_t>(at(kSequenceCountAt));
  boundary_count_ = load<uint64_t>(at(kDocumentCountAt));
  // Counts that could overflow the sum below are wrong anyway: each entry takes bytes of the file.
  const auto too_many = [this](uint64_t count, const char* what, uint64_t byte) {
    if (count > idx_.size()) damaged(text(count) + what + " in a file of " + text(idx_.size()) + " bytes", byte);
  };
  too_many(sequence_count_, " sequences", kSequenceCountAt);
  too_many(boundary_count_, " document boundaries", kDocumentCountAt);
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
  if (boundary(0) != 0) {
    damaged("the first document begins at sequence " + text(boundary(0)) + ", expected 0", boundaries_at());
  }
  const auto last = boundary(boundary_count_ - 1);
  if (last != static_cast<int64_t>(sequence_count_)) {
    damaged("the last document ends at sequence " + text(last) + ", expected " + text(sequence_count_),
            boundaries_at() + (boundary_count_ - 1) * kBoundaryBytes);
  }
  const uint64_t bytes = bytes_of_tokens();
  if (bin_.size() != bytes) {
    throw FormatError(bin_path_ + " has " + text(bin_.size()) + " bytes, expected " + text(bytes) + " by its index",
                      bin_.size() < bytes ? "the file is cut off, or the two do not belong together"
                                          : "the two do not belong together",
                      kFix);
  }
}

uint64_t Reader::bytes_of_tokens() const {
  if (sequence_count_ == 0) return 0;
  if (pointer(0) != 0) {
    damaged("the first sequence begins at byte " + text(pointer(0)) + " of .bin, expected 0", pointers_at());
  }
  const uint64_t last = sequence_count_ - 1;
  if (length(last) < 0) {
    damaged("the last sequence has " + text(int64_t{length(last)}) + " tokens", lengths_at() + last * kLengthBytes);
  }
  if (pointer(last) < 0) {
    damaged("the last sequence begins at byte " + text(pointer(last)) + " of .bin",
            pointers_at() + last * kPointerBytes);
  }
  return static_cast<uint64_t>(pointer(last)) + static_cast<uint64_t>(length(last)) * dtype_->bytes;
}

void Reader::validate() const {
  int64_t expected = 0;
  for (uint64_t i = 0; i < sequence_count_; ++i) {
    if (i % kDropEntries == 0) idx_.drop();
    if (length(i) < 0) {
      damaged("sequence " + text(i) + " has " + text(int64_t{length(i)}) + " tokens", lengths_at() + i * kLengthBytes);
    }
    if (pointer(i) != expected) {
      damaged("sequence " + text(i) + " begins at byte " + text(pointer(i)) + " of .bin, expected " + text(expected),
              pointers_at() + i * kPointerBytes);
    }
    expected += static_cast<int64_t>(length(i)) * static_cast<int64_t>(dtype_->bytes);
  }
  for (uint64_t i = 1; i < boundary_count_; ++i) {
    if (i % kDropEntries == 0) idx_.drop();
    if (boundary(i) < boundary(i - 1) || boundary(i) > static_cast<int64_t>(sequence_count_)) {
      damaged("document " + text(i) + " begins at sequence " + text(boundary(i)) + ", expected " +
                  text(boundary(i - 1)) + " to " + text(sequence_count_),
              boundaries_at() + i * kBoundaryBytes);
    }
  }
}

int64_t Reader::sequence_start(uint64_t sequence) const {
  if (sequence == sequence_count_) return static_cast<int64_t>(token_count());
  const int64_t byte = pointer(sequence);
  const auto size = static_cast<int64_t>(dtype_->bytes);
  if (byte < 0 || byte > static_cast<int64_t>(bin_.size()) || byte % size != 0) {
    damaged("sequence " + text(sequence) + " begins at byte " + text(byte) + " of .bin, expected a multiple of " +
                text(size) + " up to " + text(bin_.size()),
            pointers_at() + sequence * kPointerBytes);
  }
  return byte / size;
}

int64_t Reader::document_start(uint64_t document) const {
  const int64_t sequence = boundary(document);
  if (sequence < 0 || sequence > static_cast<int64_t>(sequence_count_)) {
    damaged("document " + text(document) + " begins at sequence " + text(sequence) + ", expected 0 to " +
                text(sequence_count_),
            boundaries_at() + document * kBoundaryBytes);
  }
  return sequence_start(static_cast<uint64_t>(sequence));
}

Range Reader::ordered(int64_t start, int64_t stop, uint64_t byte) const {
  if (start > stop) damaged("it begins at token " + text(start) + " and ends at token " + text(stop), byte);
  return {start, stop};
}

Range Reader::sequence_range(int64_t sequence) const {
  if (sequence < 0 || static_cast<uint64_t>(sequence) >= sequence_count_) {
    throw std::out_of_range("sequence " + text(sequence) + " of " + text(sequence_count_));
  }
  const auto number = static_cast<uint64_t>(sequence);
  return ordered(sequence_start(number), sequence_start(number + 1), pointers_at() + number * kPointerBytes);
}

Range Reader::document_range(int64_t first, int64_t last) const {
  if (first < 0 || last < first || static_cast<uint64_t>(last) >= boundary_count_) {
    throw std::out_of_range("documents " + text(first) + " up to " + text(last) + " of " + text(document_count()));
  }
  const auto number = static_cast<uint64_t>(first);
  return ordered(document_start(number), document_start(static_cast<uint64_t>(last)),
                 boundaries_at() + number * kBoundaryBytes);
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
    const int64_t token = document_start(document);
    if (token >= stop) break;
    if (token == static_cast<int64_t>(token_count())) break;  // documents without tokens, at the end
    const int64_t expected = starts.empty() ? start : starts.back();
    if (token < expected) {
      damaged("document " + text(document) + " begins at token " + text(token) + ", expected " + text(expected) +
                  " or more",
              boundaries_at() + document * kBoundaryBytes);
    }
    if (starts.empty() || starts.back() != token) starts.push_back(token);
  }
  return starts;
}

}  // namespace indexed
