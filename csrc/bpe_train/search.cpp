// The search of the text for frequent pairs.
#include <algorithm>
#include <stdexcept>

#include "trainer.h"

namespace bpe_train {

namespace {

constexpr size_t kFetched = 32;  // pairs whose memory is fetched at a time
constexpr size_t kLeastCells = 1 << 10;
constexpr size_t kMostCells = size_t{1} << 26;
constexpr uint64_t kCellsPerPair = 8;   // of as many pairs of the threshold's count as the text has room for
constexpr int64_t kStep = 32;           // a search goes down to this part of the largest count
constexpr uint64_t kSmallText = 1 << 22;  // is searched once for all

// Levels of counts, 16 for each power of two: counts below 16 have a level each.
constexpr size_t kLevels = 16 * 30;

size_t level_of(uint32_t count) {
  if (count < 16) return count;
  const int bits = 31 - __builtin_clz(count);
  return static_cast<size_t>(bits - 3) * 16 + (count >> (bits - 4) & 15);
}

int64_t least_of(size_t level) {
  return level < 16 ? static_cast<int64_t>(level) : static_cast<int64_t>(16 + level % 16) << (level / 16 - 1);
}

}  // namespace

// The count that pre-tokens have at a place. `from` is the index of one before or at it, and is moved there.
int64_t Trainer::weight_at(uint64_t place, size_t& from) const {
  if (place >= weights_[from].end) {
    const auto found = std::upper_bound(weights_.begin() + static_cast<int64_t>(from), weights_.end(), place,
                                        [](uint64_t wanted, const Weight& weight) { return wanted < weight.end; });
    from = static_cast<size_t>(found - weights_.begin());
  }
  return weights_[from].count;
}

// Calls on_pair(place, pair, count of its pre-token) for all pairs of neighbours in the order of the text, and before that
// fetch(pair), so that what memory holds of the pair is on its way.
template <class Fetch, class OnPair>
void Trainer::each_pair(Fetch&& fetch, OnPair&& on_pair) const {
  struct Met {
    uint64_t place;
    Pair pair;
    int64_t weight;
  };
  Met met[kFetched];
  size_t count = 0, weight = 0;
  const auto flush = [&] {
    for (size_t i = 0; i < count; ++i) on_pair(met[i].place, met[i].pair, met[i].weight);
    count = 0;
  };
  uint64_t place = 0, end = 1;
  uint32_t left = kNoToken;
  while (end < text_.size() - 1) {
    const uint64_t next = text_.next(end);
    const uint32_t right = text_.id(vocabulary_, end, next);
    if (left != kNoToken && right != kNoToken) {
      met[count] = {place, pair_of(left, right), weight_at(place, weight)};
      fetch(met[count++].pair);
      if (count == kFetched) flush();
    }
    place = end;
    end = next;
    left = right;
  }
  flush();
}

// Adds up the counts of pairs in cells that several may share, so that a cell has at least the count of each. Returns
// the threshold to search with: 0 where there is no pair. More cells than memory caches hold would cost more time than
// pairs that are counted for nothing.
int64_t Trainer::sketch() {
  const uint64_t wanted = kCellsPerPair * total_weight_ / static_cast<uint64_t>(std::max<int64_t>(least_ / kStep, 1));
  size_t cells = kLeastCells;
  while (cells < wanted && 2 * cells <= std::min(kMostCells, most_places_) && cells < 2 * text_.size()) cells *= 2;
  sketch_mask_ = cells - 1;
  std::fill_n(&places_[0], cells, 0);
  total_weight_ = 0;
  const auto fetch = [&](Pair pair) { __builtin_prefetch(&places_[scattered(pair) & sketch_mask_], 1); };
  each_pair(fetch, [&](uint64_t, Pair pair, int64_t weight) {
    uint32_t& cell = places_[scattered(pair) & sketch_mask_];
    cell = static_cast<uint32_t>(std::min<uint64_t>(cell + static_cast<uint64_t>(weight), UINT32_MAX));
    total_weight_ += static_cast<uint64_t>(weight);
  });
  std::vector<size_t> counts(kLevels);
  for (size_t cell = 0; cell < cells; ++cell) ++counts[level_of(places_[cell])];
  size_t level = kLevels - 1;
  while (level > 0 && counts[level] == 0) --level;
  if (level == 0) return 0;
  top_level_ = level;
  if (text_.size() < kSmallText && text_.size() < PairTable::most(slots_)) return 1;
  const int64_t least = std::max<int64_t>(least_of(level) / kStep, 1);
  found_ = counts[level];
  while (level > 1 && least_of(level) > least && found_ + counts[level - 1] <= PairTable::most(slots_) / 2) {
    found_ += counts[--level];
  }
  return least_of(level);
}

// Counts the pairs whose cells have at least so much, with the left token below a limit. False where they are too many.
bool Trainer::count_pairs(int64_t least, uint32_t limit) {
  pairs_.reset(std::min(2 * found_, PairTable::most(slots_)));
  const auto cell = static_cast<uint32_t>(std::min<int64_t>(least, UINT32_MAX));
  bool room = true;
  const auto fetch = [&](Pair pair) { __builtin_prefetch(&places_[scattered(pair) & sketch_mask_]); };
  each_pair(fetch, [&](uint64_t, Pair pair, int64_t weight) {
    const bool wanted =
        places_[scattered(pair) & sketch_mask_] >= cell || (!revived_.empty() && revived_.count(pair) != 0);
    if (!room || !wanted || left_of(pair) >= limit) return;
    room = pairs_.make_room(1, slots_);
    if (!room) return;
    PairCount& entry = pairs_.of(pair);
    entry.count += weight;
    ++entry.places;
  });
  if (!room) return false;
  for (PairCount& entry : pairs_.slots()) {
    if (entry.pair == kNoPair) continue;
    const auto merged = merged_.find(entry.pair);
    if (merged != merged_.end()) entry.count += merged->second;
  }
  return true;
}

// Lists the places of the pairs in the table, from a count on that leaves half of the room for those to come. Returns that
// count, or 0 where the most frequent pair alone has too many places.
int64_t Trainer::list_places(int64_t least) {
  std::vector<PairCount> found;
  size_t total = 0;
  for (const PairCount& entry : pairs_.slots()) {
    if (entry.pair == kNoPair || entry.count < least) continue;
    found.push_back(entry);
    total += entry.places;
  }
  if (total > most_places_ / 2 || found.size() > PairTable::most(slots_) / 2) {
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.count > b.count; });
    size_t listed = 0;
    for (total = 0; listed < found.size() && listed < PairTable::most(slots_) / 2; ++listed) {
      if (total + found[listed].places > most_places_ / 2) break;
      total += found[listed].places;
    }
    least = found[listed].count + 1;  // of those with the count at which the room ends, none
    while (listed > 0 && found[listed - 1].count < least) --listed;
    if (listed == 0) return 0;
    found.resize(listed);
  }
  pairs_.reset(2 * found.size());
  used_places_ = 0;
  for (const PairCount& entry : found) {
    PairCount& slot = pairs_.of(entry.pair);
    slot.count = entry.count;
    slot.first = static_cast<uint32_t>(used_places_);
    used_places_ += entry.places;
    queue_.push_back({entry.count, entry.pair});
  }
  std::make_heap(queue_.begin(), queue_.end());
  const auto fetch = [&](Pair pair) { pairs_.prefetch(pair); };
  each_pair(fetch, [&](uint64_t place, Pair pair, int64_t) {
    if (PairCount* entry = pairs_.find(pair)) places_[entry->first + entry->places++] = static_cast<uint32_t>(place);
  });
  return least;
}

// Fills table, lists and queue with the most frequent pairs. False where there is no pair, or one that has more places
// than there is room for, which is `alone` then.
bool Trainer::search(Pair& alone) {
  search_ = false;
  queue_.clear();
  int64_t least = sketch();
  uint32_t limit = kNoToken;
  while (least > 0) {
    if (!count_pairs(least, limit)) {
      if (least < least_of(top_level_)) {
        least += std::max<int64_t>(least / 16, 1);
      } else if (limit > 1) {
        limit = std::min(limit, static_cast<uint32_t>(vocabulary_.size())) / 2;
      } else {
        throw std::length_error("more pairs than the memory has room for");
      }
      continue;
    }
    Candidate best{0, kNoPair};
    for (const PairCount& entry : pairs_.slots()) {
      if (entry.pair != kNoPair) best = std::max(best, Candidate{entry.count, entry.pair});
    }
    if (best.count < least) {  // the cells that reached the threshold were shared
      if (least == 1) break;
      least = std::max<int64_t>(least / 2, 1);
      continue;
    }
    least_ = list_places(least);
    if (least_ == 0) alone = best.pair;
    return least_ != 0;
  }
  return false;
}

}  // namespace bpe_train
