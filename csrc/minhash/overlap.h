// Which documents hold a text of an evaluation set, by n-grams of units.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "units.h"

namespace minhash {

struct Found {
  uint32_t item;
  uint32_t hits, grams;  // distinct n-grams of the item in the document, and of the item
};

class Overlap {
 public:
  // A document holds an item when it has `share` of its distinct n-grams. N-grams of more than `common` items (the
  // wording of a kind of question) do not count; an item left with fewer than `fewest` is not looked for.
  Overlap(unsigned size, double share, uint32_t common, uint32_t fewest)
      : size_(size), share_(share), common_(common), fewest_(fewest) {}

  template <class Char>
  void add_item(const Char* text, size_t length) {
    each_gram(text, length, size_, [this](uint64_t gram) { postings_.emplace_back(gram, items_); });
    ++items_;
  }
  // After the last item. Returns how many distinct n-grams of each item count; 0 where it is not looked for.
  const std::vector<uint32_t>& finish();

  // The item with the largest share, the first of equals; false when there is none.
  template <class Char>
  bool find(const Char* text, size_t length, Found& best) {
    hits_.clear();
    each_gram(text, length, size_, [this](uint64_t gram) {
      if (filter_[gram >> 32 & filter_mask_]) look_up(gram);
    });
    return judge(best);
  }

 private:
  void look_up(uint64_t gram);
  bool judge(Found& best);

  unsigned size_;
  double share_;
  uint32_t common_, fewest_;
  uint32_t items_ = 0;
  std::vector<std::pair<uint64_t, uint32_t>> postings_;  // (n-gram, item), sorted
  std::vector<uint32_t> grams_;                          // of each item
  std::vector<uint64_t> slots_;                          // of distinct n-grams: 1 + where its postings start, or 0
  std::vector<bool> filter_{false};                      // most n-grams of a corpus end here
  uint64_t filter_mask_ = 0, slot_mask_ = 0;
  std::vector<uint64_t> hits_;    // starts of postings
  std::vector<uint32_t> counts_;  // of hits per item; zero between documents
  std::vector<uint32_t> touched_;
};

// Compiled in overlap.cpp for the three widths of characters of a Python string.
extern template void Overlap::add_item(const uint8_t*, size_t);
extern template void Overlap::add_item(const uint16_t*, size_t);
extern template void Overlap::add_item(const uint32_t*, size_t);
extern template bool Overlap::find(const uint8_t*, size_t, Found&);
extern template bool Overlap::find(const uint16_t*, size_t, Found&);
extern template bool Overlap::find(const uint32_t*, size_t, Found&);

}  // namespace minhash
