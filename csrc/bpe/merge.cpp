#include "merge.h"

#include <algorithm>
#include <functional>
#include <limits>

namespace bpe {

namespace {

constexpr int32_t kNever = std::numeric_limits<int32_t>::max();
constexpr size_t kLanes = 8;  // places are looked through by so many

}  // namespace

void Word::ask(const PairTable& pairs, size_t left, size_t right) {
  questions_[asked_] = pairs.ask(symbols[left], symbols[right]);
  places_[asked_++] = static_cast<uint8_t>(left);
}

void Word::begin(const PairTable& pairs) {
  static_assert(kSymbolBits + kPlaceBits < 31);
  lanes_ = (count + kLanes - 1) / kLanes * kLanes;
  asked_ = 0;
  for (size_t i = 0; i < lanes_; ++i) {
    made_[i] = kNever;
    next_[i] = static_cast<uint8_t>(i + 1);
    before_[i + 1] = static_cast<uint8_t>(i);
  }
  for (size_t i = 0; i + 1 < count; ++i) ask(pairs, i, i + 1);
}

void Word::narrow(const PairTable& pairs) {
  for (size_t i = 0; i < asked_; ++i) pairs.narrow(questions_[i]);
}

void Word::settle(const PairTable& pairs) {
  for (size_t i = 0; i < asked_; ++i) {
    const Symbol made = pairs.answer(questions_[i]);
    const uint8_t place = places_[i];
    made_[place] = made == kNone ? kNever : static_cast<int32_t>(made << kPlaceBits | place);
  }
  asked_ = 0;
}

bool Word::merge(const PairTable& pairs) {
  int32_t least = kNever;
  for (size_t i = 0; i < lanes_; ++i) least = made_[i] < least ? made_[i] : least;
  if (least == kNever) return false;
  const size_t at = least & (kMost - 1), gone = next_[at], right = next_[gone];
  symbols[at] = static_cast<Symbol>(least >> kPlaceBits);
  made_[at] = made_[gone] = kNever;
  next_[at] = static_cast<uint8_t>(right);
  before_[right] = static_cast<uint8_t>(at);
  if (right < count) ask(pairs, at, right);
  if (at > 0) ask(pairs, before_[at], at);
  return true;
}

void Word::finish() {
  size_t left = 0;
  for (size_t at = 0; at < count; at = next_[at]) symbols[left++] = symbols[at];
  count = left;
}

void merge_words(Word* const* words, size_t count, const PairTable& pairs) {
  constexpr size_t kAtOnce = 16;
  Word* active[kAtOnce];
  for (size_t first = 0; first < count; first += kAtOnce) {
    size_t left = std::min(kAtOnce, count - first);
    std::copy(words + first, words + first + left, active);
    for (size_t i = 0; i < left; ++i) active[i]->begin(pairs);
    while (left > 0) {
      for (size_t i = 0; i < left; ++i) active[i]->narrow(pairs);
      for (size_t i = 0; i < left; ++i) active[i]->settle(pairs);
      size_t still = 0;
      for (size_t i = 0; i < left; ++i) {
        if (active[i]->merge(pairs)) active[still++] = active[i];
        else active[i]->finish();
      }
      left = still;
    }
  }
}

size_t Merger::merge(Symbol* symbols, size_t count, const PairTable& pairs) {
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
