#include "overlap.h"

#include <algorithm>

namespace minhash {
namespace {

constexpr uint64_t kFilterBits = 16;  // per n-gram

uint64_t power_of_two(uint64_t least) {
  uint64_t size = 64;
  while (size < least) size *= 2;
  return size;
}

}  // namespace

const std::vector<uint32_t>& Overlap::finish() {
  std::sort(postings_.begin(), postings_.end());
  postings_.erase(std::unique(postings_.begin(), postings_.end()), postings_.end());
  grams_.assign(items_, 0);
  counts_.assign(items_, 0);
  std::vector<std::pair<uint64_t, uint32_t>> telling;
  for (size_t start = 0, stop; start < postings_.size(); start = stop) {
    for (stop = start; stop < postings_.size() && postings_[stop].first == postings_[start].first;) ++stop;
    if (stop - start > common_) continue;
    telling.insert(telling.end(), postings_.begin() + start, postings_.begin() + stop);
    for (size_t i = start; i < stop; ++i) ++grams_[postings_[i].second];
  }
  postings_ = std::move(telling);
  for (uint32_t& count : grams_)
    if (count < fewest_) count = 0;
  slot_mask_ = power_of_two(2 * postings_.size()) - 1;
  filter_mask_ = power_of_two(kFilterBits * postings_.size()) - 1;
  slots_.assign(slot_mask_ + 1, 0);
  filter_.assign(filter_mask_ + 1, false);
  for (size_t i = 0; i < postings_.size(); ++i) {
    const uint64_t gram = postings_[i].first;
    if (i > 0 && postings_[i - 1].first == gram) continue;
    uint64_t at = gram & slot_mask_;
    while (slots_[at]) at = (at + 1) & slot_mask_;
    slots_[at] = i + 1;
    filter_[gram >> 32 & filter_mask_] = true;
  }
  return grams_;
}

void Overlap::look_up(uint64_t gram) {
  for (uint64_t at = gram & slot_mask_; slots_[at]; at = (at + 1) & slot_mask_) {
    if (postings_[slots_[at] - 1].first == gram) {
      hits_.push_back(slots_[at] - 1);
      return;
    }
  }
}

bool Overlap::judge(Found& best) {
  if (hits_.size() < fewest_ * share_) return false;
  std::sort(hits_.begin(), hits_.end());
  hits_.erase(std::unique(hits_.begin(), hits_.end()), hits_.end());
  for (const uint64_t start : hits_) {
    for (size_t i = start; i < postings_.size() && postings_[i].first == postings_[start].first; ++i) {
      const uint32_t item = postings_[i].second;
      if (grams_[item] && counts_[item]++ == 0) touched_.push_back(item);
    }
  }
  std::sort(touched_.begin(), touched_.end());
  bool found = false;
  for (const uint32_t item : touched_) {
    const uint32_t hits = counts_[item];
    counts_[item] = 0;
    if (hits < share_ * grams_[item]) continue;
    if (!found || uint64_t{hits} * best.grams > uint64_t{best.hits} * grams_[item]) best = {item, hits, grams_[item]};
    found = true;
  }
  touched_.clear();
  return found;
}

template void Overlap::add_item(const uint8_t*, size_t);
template void Overlap::add_item(const uint16_t*, size_t);
template void Overlap::add_item(const uint32_t*, size_t);
template bool Overlap::find(const uint8_t*, size_t, Found&);
template bool Overlap::find(const uint16_t*, size_t, Found&);
template bool Overlap::find(const uint32_t*, size_t, Found&);

}  // namespace minhash
