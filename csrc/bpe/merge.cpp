#include "merge.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace bpe {

namespace {

constexpr unsigned kPlaceBits = 6;
constexpr size_t kFew = 1 << kPlaceBits, kLanes = 8;

}  // namespace

size_t Merger::merge(Symbol* symbols, size_t count, const PairTable& pairs) {
  return count <= kFew ? merge_few(symbols, count, pairs) : merge_many(symbols, count, pairs);
}

size_t Merger::merge_few(Symbol* symbols, size_t count, const PairTable& pairs) {
  // By place of the left one: what a pair makes, and the place. Those that are gone make nothing.
  constexpr int32_t kNever = std::numeric_limits<int32_t>::max();
  static_assert(kSymbolBits + kPlaceBits < 31);
  int32_t made[kFew];
  uint8_t next[kFew + 1], before[kFew + 1];
  const auto lanes = (count + kLanes - 1) / kLanes * kLanes;
  const auto pair = [&](size_t left, size_t right) {
    const Symbol symbol = pairs.find(symbols[left], symbols[right]);
    return symbol == kNone ? kNever : static_cast<int32_t>(symbol << kPlaceBits | left);
  };
  for (size_t i = 0; i < lanes; ++i) {
    made[i] = i + 1 < count ? pair(i, i + 1) : kNever;
    next[i] = static_cast<uint8_t>(i + 1);
    before[i + 1] = static_cast<uint8_t>(i);
  }
  for (;;) {
    int32_t least = kNever;
    for (size_t i = 0; i < lanes; ++i) least = made[i] < least ? made[i] : least;
    if (least == kNever) break;
    const size_t at = least & ((1 << kPlaceBits) - 1), gone = next[at], right = next[gone];
    symbols[at] = static_cast<Symbol>(least >> kPlaceBits);
    made[gone] = kNever;
    next[at] = static_cast<uint8_t>(right);
    before[right] = static_cast<uint8_t>(at);
    made[at] = right < count ? pair(at, right) : kNever;
    if (at > 0) made[before[at]] = pair(before[at], at);
  }
  size_t left = 0;
  for (size_t at = 0; at < count; at = next[at]) symbols[left++] = symbols[at];
  return left;
}

size_t Merger::merge_many(Symbol* symbols, size_t count, const PairTable& pairs) {
  constexpr uint32_t kEnd = 0xFFFFFFFF;
  const auto higher = std::greater<uint64_t>();
  heap_.clear();
  made_.assign(count, kNone);
  next_.resize(count);
  before_.resize(count);
  const auto entry = [this](uint32_t at) { return uint64_t{made_[at]} << 32 | at; };
  for (uint32_t i = 0; i < count; ++i) {
    next_[i] = i + 1 < count ? i + 1 : kEnd;
    before_[i] = i - 1;  // kEnd for the first
    if (i + 1 < count) made_[i] = pairs.find(symbols[i], symbols[i + 1]);
    if (made_[i] != kNone) heap_.push_back(entry(i));
  }
  std::make_heap(heap_.begin(), heap_.end(), higher);
  const auto offer = [&](uint32_t at) {
    made_[at] = next_[at] == kEnd ? kNone : pairs.find(symbols[at], symbols[next_[at]]);
    if (made_[at] == kNone) return;
    heap_.push_back(entry(at));
    std::push_heap(heap_.begin(), heap_.end(), higher);
  };
  while (!heap_.empty()) {
    const auto at = static_cast<uint32_t>(heap_.front());
    const auto symbol = static_cast<Symbol>(heap_.front() >> 32);
    std::pop_heap(heap_.begin(), heap_.end(), higher);
    heap_.pop_back();
    if (made_[at] != symbol) continue;  // one of the two has merged with another since
    const uint32_t gone = next_[at];
    symbols[at] = symbol;
    made_[gone] = kNone;
    next_[at] = next_[gone];
    if (next_[at] != kEnd) before_[next_[at]] = at;
    offer(at);
    if (before_[at] != kEnd) offer(before_[at]);
  }
  size_t left = 0;
  for (uint32_t at = 0; at != kEnd; at = next_[at]) symbols[left++] = symbols[at];
  return left;
}

}  // namespace bpe
