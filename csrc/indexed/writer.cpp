#include "writer.h"

#include <limits>
#include <numeric>

#include "convert.h"
#include "reader.h"

namespace indexed {

namespace {

constexpr int64_t kLongest = std::numeric_limits<int32_t>::max();

std::string part(const std::string& prefix, const char* name) { return prefix + "." + name + ".partial"; }

// Without a file the values are only checked.
void check_or_write_any(FileWriter* file, const TokenView& tokens, const DtypeInfo& target) {
  const auto is = [&tokens](char kind, uint64_t bytes) { return tokens.kind == kind && tokens.bytes == bytes; };
  const void* data = tokens.data;
  const uint64_t count = tokens.count;
  if (is('i', 4)) return check_or_write_as(file, static_cast<const int32_t*>(data), count, target);
  if (is('i', 8)) return check_or_write_as(file, static_cast<const int64_t*>(data), count, target);
  if (is('u', 2)) return check_or_write_as(file, static_cast<const uint16_t*>(data), count, target);
  if (is('u', 1)) return check_or_write_as(file, static_cast<const uint8_t*>(data), count, target);
  if (is('i', 1)) return check_or_write_as(file, static_cast<const int8_t*>(data), count, target);
  if (is('i', 2)) return check_or_write_as(file, static_cast<const int16_t*>(data), count, target);
  if (is('u', 4)) return check_or_write_as(file, static_cast<const uint32_t*>(data), count, target);
  if (is('u', 8)) return check_or_write_as(file, static_cast<const uint64_t*>(data), count, target);
  if (is('f', 4)) return check_or_write_as(file, static_cast<const float*>(data), count, target);
  if (is('f', 8)) return check_or_write_as(file, static_cast<const double*>(data), count, target);
  throw FormatError("token ids of numpy type " + std::string(1, tokens.kind) + std::to_string(tokens.bytes),
                    "ids are integers, or 4- or 8-byte floats for a dataset of floats");
}

void check_lengths(const TokenView& tokens, const int64_t* lengths, uint64_t count) {
  uint64_t total = 0;
  for (uint64_t i = 0; i < count; ++i) {
    if (lengths[i] < 0 || lengths[i] > kLongest) {
      throw FormatError("sequence " + std::to_string(i) + " of " + std::to_string(lengths[i]) + " tokens",
                        "a sequence has 0 to 2,147,483,647 tokens", "divide the document into sequences");
    }
    total += static_cast<uint64_t>(lengths[i]);
  }
  if (total != tokens.count) {
    throw FormatError("lengths of " + std::to_string(total) + " tokens with " + std::to_string(tokens.count) + " ids",
                      "the lengths add up to the number of ids");
  }
}

}  // namespace

Writer::Writer(const std::string& prefix, const std::string& dtype)
    : prefix_(prefix),
      dtype_(dtype_by_name(dtype)),
      bin_(std::make_unique<FileWriter>(part(prefix, "bin"))),
      lengths_(std::make_unique<FileWriter>(part(prefix, "lengths"))),
      boundaries_(std::make_unique<FileWriter>(part(prefix, "documents"))) {
  boundaries_->put<int64_t>(0);
}

Writer::~Writer() {
  try {
    abort();
  } catch (const FormatError&) {  // a destructor has nobody to tell; the leftovers have no final name
  }
}

void Writer::need_open() const {
  if (closed()) {
    throw FormatError("the writer of " + prefix_ + " is closed", "nothing is added after finish or abort");
  }
  if (broken_) {
    throw FormatError("an earlier call failed while it wrote " + prefix_, "a dataset is written without a gap",
                      "abort, and write it again");
  }
}

void Writer::need_between_documents(const char* what) const {
  need_open();
  if (open_sequences_ > 0) {
    throw FormatError("a document of " + prefix_ + " is open", std::string("end_document comes before ") + what);
  }
}

void Writer::add_sequences(const TokenView& tokens, const int64_t* lengths, uint64_t count) {
  need_open();
  check(tokens, lengths, count);
  broken_ = true;  // until all of it is written
  put_tokens(tokens);
  for (uint64_t i = 0; i < count; ++i) put_length(lengths[i]);
  open_sequences_ += count;
  broken_ = false;
}

void Writer::end_document() {
  need_open();
  broken_ = true;
  put_boundary();
  open_sequences_ = 0;
  broken_ = false;
}

void Writer::add_document(const TokenView& tokens) {
  const auto length = static_cast<int64_t>(tokens.count);
  add_documents(tokens, &length, 1);
}

void Writer::add_documents(const TokenView& tokens, const int64_t* lengths, uint64_t count) {
  need_between_documents("whole documents");
  check(tokens, lengths, count);
  broken_ = true;
  put_tokens(tokens);
  for (uint64_t i = 0; i < count; ++i) {
    if (lengths[i] > 0) put_length(lengths[i]);
    put_boundary();
  }
  broken_ = false;
}

void Writer::append_dataset(const std::string& prefix, const Progress& progress) {
  need_between_documents("whole datasets");
  const Reader other(prefix);
  if (other.dtype().code != dtype_.code) {
    throw FormatError(prefix + " holds " + other.dtype().name + ", " + prefix_ + " is written as " + dtype_.name,
                      "datasets that are joined have one token type",
                      "tokenise one of them again with the other's type");
  }
  if (other.multimodal()) {
    throw FormatError(prefix + " is multimodal (it has a mode per sequence)", "only text datasets are joined");
  }
  other.validate();
  broken_ = true;
  bin_->copy_from(other.bin_path(), 0, other.bin().size(), progress);
  lengths_->copy_from(other.idx_path(), other.lengths_at(), other.sequence_count() * kLengthBytes, Progress());
  for (uint64_t i = 1; i <= other.document_count(); ++i) {
    if (i % kDropEntries == 0) other.idx().drop();
    boundaries_->put<int64_t>(static_cast<int64_t>(sequences_) + other.boundary(i));
  }
  sequences_ += other.sequence_count();
  documents_ += other.document_count();
  tokens_ += other.token_count();
  broken_ = false;
}

void Writer::check(const TokenView& tokens, const int64_t* lengths, uint64_t count) const {
  check_lengths(tokens, lengths, count);
  check_or_write_any(nullptr, tokens, dtype_);
}

void Writer::put_tokens(const TokenView& tokens) {
  check_or_write_any(bin_.get(), tokens, dtype_);
  tokens_ += tokens.count;
}

void Writer::put_length(int64_t length) {
  lengths_->put<int32_t>(static_cast<int32_t>(length));
  ++sequences_;
}

void Writer::put_boundary() {
  boundaries_->put<int64_t>(static_cast<int64_t>(sequences_));
  ++documents_;
}

void Writer::finish() {
  need_between_documents("finish");
  broken_ = true;
  bin_->sync();
  lengths_->flush();
  boundaries_->flush();
  // Held until the end: the lock on a file goes with its writer.
  const std::unique_ptr<FileWriter> index = write_index();
  remove_if_there(lengths_->path());
  remove_if_there(boundaries_->path());
  // Order matters for a kill in between: never a new file beside an old one, and .idx, which makes a dataset, last.
  remove_if_there(prefix_ + ".idx");
  sync_folder_of(prefix_);
  rename_file(bin_->path(), prefix_ + ".bin");
  sync_folder_of(prefix_);
  rename_file(index->path(), prefix_ + ".idx");
  sync_folder_of(prefix_);
  close();
}

std::unique_ptr<FileWriter> Writer::write_index() const {
  auto index = std::make_unique<FileWriter>(part(prefix_, "idx"));
  index->write(kMagic, sizeof(kMagic));
  index->put<uint64_t>(kVersion);
  index->put<uint8_t>(static_cast<uint8_t>(dtype_.code));
  index->put<uint64_t>(sequences_);
  index->put<uint64_t>(documents_ + 1);
  index->copy_from(lengths_->path(), 0, sequences_ * kLengthBytes, Progress());
  const MappedFile lengths(lengths_->path());
  int64_t pointer = 0;
  for (uint64_t i = 0; i < sequences_; ++i) {
    if (i % kDropEntries == 0) lengths.drop();
    index->put<int64_t>(pointer);
    pointer += int64_t{load<int32_t>(lengths.data() + i * kLengthBytes)} * static_cast<int64_t>(dtype_.bytes);
  }
  index->copy_from(boundaries_->path(), 0, (documents_ + 1) * kBoundaryBytes, Progress());
  index->sync();
  return index;
}

void Writer::abort() {
  if (closed()) return;
  for (const char* name : {"idx", "documents", "lengths", "bin"}) remove_if_there(part(prefix_, name));
  close();  // after the names are gone, so that no other writer is at them
}

void Writer::close() {
  bin_.reset();
  lengths_.reset();
  boundaries_.reset();
}

}  // namespace indexed
