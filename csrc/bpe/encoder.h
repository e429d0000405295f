// Texts → ids.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cache.h"
#include "merge.h"
#include "scan.h"
#include "vocabulary.h"

namespace bpe {

// Ids one after the other, in memory that grows.
class Ids {
 public:
  // Room for `more` behind those that are there.
  void reserve(size_t more) {
    if (size + more > room_) grow(size + more);
  }
  int32_t* data() { return data_.get(); }

  size_t size = 0;

 private:
  void grow(size_t least);
  std::unique_ptr<int32_t[]> data_;
  size_t room_ = 0;
};

// Why a text was not encoded.
enum class Outcome {
  kDone,
  kInDoubt,    // it holds a character whose class depends on a library's version
  kMayChange,  // NFC may change it
};

// For one thread. What it remembers of earlier texts changes its speed, never the ids.
class Encoder {
 public:
  Encoder(const Vocabulary& vocabulary, Pattern pattern, size_t digits)
      : vocabulary_(vocabulary), scan_(scanner(pattern)), digits_(digits), starts_(kMostStarts + 1) {}

  // Adds the ids of a text in UTF-8, behind which kPadding bytes are 0. Nothing is added unless the outcome is kDone.
  Outcome encode(const uint8_t* text, size_t size, bool any_form, Ids& ids);

 private:
  void add(const uint8_t* text, size_t count, Ids& ids);
  int32_t* add_unknown(const uint8_t* text, size_t size, int32_t* out);
  size_t merge(const uint8_t* text, size_t size);

  const Vocabulary& vocabulary_;
  ScanFunction scan_;
  size_t digits_;
  std::vector<uint32_t> starts_;
  std::vector<Symbol> symbols_;
  Merger merger_;
  ShortCache short_;
  LongCache long_;
};

}  // namespace bpe
