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
//
// Tables do not fit into a processor's own caches, and a read of main memory takes as long as the rest of a segment. So
// every step is done for a thousand segments before the next, and asks for the memory that the next one reads.
class Encoder {
 public:
  Encoder(const Vocabulary& vocabulary, Pattern pattern, size_t digits);

  // Adds the ids of a text in UTF-8, behind which kPadding bytes are 0. Nothing is added unless the outcome is kDone.
  Outcome encode(const uint8_t* text, size_t size, bool any_form, Ids& ids);

 private:
  // A segment that the cache of short ones did not have.
  struct Unknown {
    uint32_t place;  // among the segments
    const uint8_t* text;
    size_t size;
    LongCache::Entry* entry;  // nullptr for segments that it does not take
  };

  void find(const uint8_t* text, size_t count);
  void look_up_unknown();
  void merge_unknown();
  void merge_long(const Unknown& segment);
  void found(const Unknown& segment, const int32_t* ids, size_t count);
  void write(size_t count, Ids& ids);

  const Vocabulary& vocabulary_;
  ScanFunction scan_;
  size_t digits_;
  ShortCache short_;
  LongCache long_;
  // By segment. More ids than fit lie in many_; ids[0] then says where.
  std::vector<uint32_t> starts_;
  std::vector<Key> keys_;
  std::vector<FewIds> found_;
  std::vector<int32_t> many_;
  std::vector<Unknown> unknown_, unmerged_;
  std::vector<Word> words_;
  std::vector<Word*> word_list_;
  std::vector<Symbol> symbols_;
  Merger merger_;
};

}  // namespace bpe
