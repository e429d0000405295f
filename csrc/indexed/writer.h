// Writes an indexed dataset in constant memory; until finish() has returned, no file has its final name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "files.h"
#include "format.h"

namespace indexed {

// Tokens of one array as they come from numpy.
struct TokenView {
  const void* data;
  uint64_t count;
  char kind;       // numpy's: 'i', 'u' or 'f'
  uint64_t bytes;  // of one token
};

class Writer {
 public:
  // Writes to prefix.*.partial; a leftover of a killed run is overwritten, another writer at work is refused.
  Writer(const std::string& prefix, const std::string& dtype);
  ~Writer();  // aborts if not finished

  // Sequences of the open document, one after the other. FormatError names an id that the type cannot hold; then
  // nothing of this call has been written.
  void add_sequences(const TokenView& tokens, const int64_t* lengths, uint64_t count);
  void end_document();
  // One document of one sequence; without tokens, of none.
  void add_document(const TokenView& tokens);
  // Documents of one sequence each; one of length 0 is a document without sequences.
  void add_documents(const TokenView& tokens, const int64_t* lengths, uint64_t count);
  // All documents of another dataset of the same type, whose index is checked first.
  void append_dataset(const std::string& prefix, const Progress& progress);

  void finish();
  void abort();

  bool closed() const { return bin_ == nullptr; }  // by finish or abort
  uint64_t sequence_count() const { return sequences_; }
  uint64_t document_count() const { return documents_; }
  uint64_t token_count() const { return tokens_; }

 private:
  void need_open() const;
  void need_between_documents(const char* what) const;
  void check(const TokenView& tokens, const int64_t* lengths, uint64_t count) const;
  void put_tokens(const TokenView& tokens);
  void put_length(int64_t length);
  void put_boundary();
  std::unique_ptr<FileWriter> write_index() const;
  void close();

  std::string prefix_;
  const DtypeInfo& dtype_;
  std::unique_ptr<FileWriter> bin_;
  std::unique_ptr<FileWriter> lengths_;     // int32 each
  std::unique_ptr<FileWriter> boundaries_;  // int64 each
  uint64_t sequences_ = 0;
  uint64_t documents_ = 0;
  uint64_t tokens_ = 0;
  uint64_t open_sequences_ = 0;  // of the document that has not ended
  bool broken_ = false;          // a call did not come to its end, so the files do not agree
};

}  // namespace indexed
