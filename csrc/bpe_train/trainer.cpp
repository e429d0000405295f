#include "trainer.h"

#include <algorithm>
#include <stdexcept>

namespace bpe_train {

namespace {

constexpr uint64_t kLeastMemory = 1 << 18;
constexpr size_t kLeastPlaces = 1 << 12, kSmall = 1 << 20;
constexpr double kTableShare = 0.4;  // of the memory beside the text; the rest is for lists of places
constexpr size_t kSlotBytes = sizeof(PairCount) * 13 / 8 + 16;  // with its copy in a search and its candidate
constexpr uint32_t kAhead = 16;  // places whose text is fetched before it is looked at
constexpr size_t kTold = 64;                                    // tokens between two calls of a progress

}  // namespace

Trainer::Trainer(const std::vector<std::string>& paths, const std::vector<uint32_t>& byte_ids, uint64_t text_memory,
                 uint64_t pair_memory)
    : vocabulary_(byte_ids) {
  load(paths, text_memory);
  const auto room = static_cast<double>(std::max(pair_memory, kLeastMemory));
  slots_ = PairTable::kLeastSlots;
  while (slots_ < 4 * text_.size() && static_cast<double>(2 * slots_ * kSlotBytes) <= room * kTableShare) slots_ *= 2;
  const auto most = static_cast<size_t>((room - static_cast<double>(slots_ * kSlotBytes)) / sizeof(uint32_t));
  // A text has a place for every byte at first, and lists leave half of the room free.
  const size_t wanted = 2 * text_.size() + kLeastPlaces + kSmall;
  most_places_ = std::clamp<size_t>(most, kLeastPlaces, std::min<size_t>(wanted, kNoPlace));
  places_.reset(new uint32_t[most_places_]);  // pages come as they are touched
  queue_.reserve(PairTable::most(slots_));
}

void Trainer::train(size_t tokens, const std::function<void(size_t)>& progress) {
  left_changes_.resize(std::max(tokens, vocabulary_.size()) + 1);
  right_changes_.resize(left_changes_.size());
  size_t told = 0;
  while (vocabulary_.size() < tokens) {
    const size_t before = merges_.size();
    if (search_) {
      Pair alone = kNoPair;
      if (!search(alone)) {
        if (alone == kNoPair) break;
        merge(alone, false);
      }
      progress(told = vocabulary_.size());  // a search takes its time
    }
    if (!search_) {
      const Pair pair = next_pair();
      if (pair != kNoPair) {
        merge(pair, true);
      } else if (least_ > 1) {
        search_ = true;
        continue;
      } else {
        break;
      }
    }
    if (merges_.size() > before && vocabulary_.size() >= told + kTold) progress(told = vocabulary_.size());
  }
}

// The pair to be merged next, of those in the table.
Pair Trainer::next_pair() {
  while (!queue_.empty()) {
    std::pop_heap(queue_.begin(), queue_.end());
    Candidate& top = queue_.back();
    const int64_t count = pairs_.find(top.pair)->count;
    if (count == top.count) {
      const Pair pair = top.pair;
      queue_.pop_back();
      return pair;
    }
    if (count < least_) {
      queue_.pop_back();
    } else {
      top.count = count;
      std::push_heap(queue_.begin(), queue_.end());
    }
  }
  return kNoPair;
}

// Makes a token of a pair wherever it stands: at its listed places, or, where it has none, all over the text.
void Trainer::merge(Pair pair, bool listed) {
  left_ = left_of(pair);
  right_ = right_of(pair);
  const size_t known = vocabulary_.size();
  made_ = vocabulary_.add(vocabulary_.content(left_) + vocabulary_.content(right_));
  const bool again = vocabulary_.size() == known;
  merges_.push_back(pair);
  size_t weight = 0;
  const auto try_at = [&](uint64_t place) {
    if (!text_.is_start(place)) return false;
    const uint64_t middle = text_.next(place);
    if (text_.id(vocabulary_, place, middle) != left_) return false;
    const uint64_t end = text_.next(middle);
    if (text_.id(vocabulary_, middle, end) != right_) return false;
    merge_at(place, middle, end, weight);
    return true;
  };
  PairCount& entry = *pairs_.find(pair);
  uint32_t merged = 0;
  if (listed) {
    for (uint32_t i = 0; i < entry.places; ++i) {
      if (i + kAhead < entry.places) text_.prefetch(places_[entry.first + i + kAhead]);
      const uint32_t place = places_[entry.first + i];
      if (try_at(place)) places_[entry.first + merged++] = place;
    }
  } else {
    for (uint64_t place = 1; place < text_.size() - 1; place = text_.next(place)) try_at(place);
  }
  const uint32_t first = entry.first;
  entry.places = 0;
  if (left_ == right_) entry.count -= right_changes_[right_].gone;
  merged_[pair] = entry.count;
  if (again) {
    for (const uint32_t id : left_touched_) revive(pair_of(id, made_));
    for (const uint32_t id : right_touched_) revive(pair_of(made_, id));
  }
  search_ = !listed || (again && least_ > 1) || !update_counts(again);
  if (!search_) list_made(first, merged, again);
  for (const uint32_t id : left_touched_) left_changes_[id] = Change();
  for (const uint32_t id : right_touched_) right_changes_[id] = Change();
  left_touched_.clear();
  right_touched_.clear();
}

// Merges one place and notes what that does to the pairs on both sides. The tokens on the left are merged already.
void Trainer::merge_at(uint64_t place, uint64_t middle, uint64_t end, size_t& weight) {
  const int64_t count = weight_at(place, weight);
  const auto note = [count](std::vector<Change>& changes, std::vector<uint32_t>& touched, uint32_t neighbour) {
    if (neighbour == kNoToken) return;
    Change& change = changes[neighbour];
    if (change.made == 0) touched.push_back(neighbour);
    change.gone += count;
    change.made += count;
    ++change.places;
  };
  note(left_changes_, left_touched_, text_.id(vocabulary_, text_.before(place), place));
  note(right_changes_, right_touched_, text_.id(vocabulary_, end, text_.next(end)));
  text_.merge(place, middle, end, made_);
}

// Brings the changes of a merge to the table. False where it, or the room for places, is full.
bool Trainer::update_counts(bool again) {
  if (!pairs_.make_room(left_touched_.size() + right_touched_.size(), slots_)) return false;
  // In a run such as abab the right neighbour a of the first ab is merged next.
  const bool overlaps = left_changes_[made_].gone > 0 && !again;
  for (const uint32_t id : left_touched_) {
    Change change = left_changes_[id];
    if (id == made_) {
      change.made += right_changes_[id].made;
      change.places = (again ? 2 : 1) * change.places + right_changes_[id].places;
    }
    if (!add_pair(pair_of(id, made_), change, again, left_changes_[id].cursor)) return false;
  }
  for (const uint32_t id : right_touched_) {
    Change change = right_changes_[id];
    if (id == made_ && left_changes_[id].made > 0) continue;
    if (id == left_ && overlaps) change.made -= left_changes_[made_].gone;
    if (!add_pair(pair_of(made_, id), change, again, right_changes_[id].cursor)) return false;
  }
  for (const uint32_t id : left_touched_) {
    if (id != made_ || !overlaps) change_count(pair_of(id, left_), left_changes_[id].gone);
  }
  for (const uint32_t id : right_touched_) {
    if (left_ != right_ || id != right_) change_count(pair_of(right_, id), right_changes_[id].gone);
  }
  return true;
}

void Trainer::revive(Pair pair) {
  if (merged_.count(pair) != 0) revived_.insert(pair);
}

void Trainer::change_count(Pair pair, int64_t less) {
  if (PairCount* entry = pairs_.find(pair)) entry->count -= less;
}

// Adds a pair with the made token, and sets where its places are listed. False where there is no room for them.
bool Trainer::add_pair(Pair pair, const Change& change, bool again, uint32_t& cursor) {
  PairCount* known = again ? pairs_.find(pair) : nullptr;
  const auto merged = again && known == nullptr ? merged_.find(pair) : merged_.end();
  const int64_t before = known != nullptr ? known->count : merged != merged_.end() ? merged->second : 0;
  if (before + change.made < std::max<int64_t>(least_, 1)) {
    if (known != nullptr) known->count += change.made;
    return true;
  }
  const size_t listed = known != nullptr ? known->places : 0;
  if (most_places_ - used_places_ < listed + change.places) return false;
  PairCount& entry = pairs_.of(pair);
  std::copy_n(&places_[entry.first], listed, &places_[used_places_]);
  entry.count = before + change.made;
  entry.first = static_cast<uint32_t>(used_places_);
  cursor = static_cast<uint32_t>(used_places_ + listed);
  used_places_ += listed + change.places;
  queue_.push_back({entry.count, pair});
  std::push_heap(queue_.begin(), queue_.end());
  return true;
}

// Lists the places of the pairs that a merge has made. `first`: of the list of its places, `merged` of which are left.
void Trainer::list_made(uint32_t first, uint32_t merged, bool again) {
  for (uint32_t i = 0; i < merged; ++i) {
    if (i + kAhead < merged) text_.prefetch(places_[first + i + kAhead]);
    const uint64_t place = places_[first + i], end = text_.next(place);
    const uint64_t before = text_.before(place);
    const uint32_t left = text_.id(vocabulary_, before, place);
    if (left != kNoToken && left_changes_[left].cursor != kNoPlace) {
      places_[left_changes_[left].cursor++] = static_cast<uint32_t>(before);
    }
    const uint32_t right = text_.id(vocabulary_, end, text_.next(end));
    if (right == kNoToken || (right == made_ && !again)) continue;
    const bool both = right == made_ && left_changes_[right].cursor != kNoPlace;
    uint32_t& cursor = both ? left_changes_[right].cursor : right_changes_[right].cursor;
    if (cursor != kNoPlace) places_[cursor++] = static_cast<uint32_t>(place);
  }
  const auto finish = [&](Pair pair, uint32_t cursor) {
    if (cursor == kNoPlace) return;
    PairCount& entry = *pairs_.find(pair);
    entry.places = cursor - entry.first;
    if (again) std::sort(&places_[entry.first], &places_[entry.first] + entry.places);
  };
  for (const uint32_t id : left_touched_) finish(pair_of(id, made_), left_changes_[id].cursor);
  for (const uint32_t id : right_touched_) finish(pair_of(made_, id), right_changes_[id].cursor);
}

std::vector<std::pair<uint32_t, uint32_t>> Trainer::merges() const {
  std::unordered_map<Pair, size_t> last;
  for (size_t i = 0; i < merges_.size(); ++i) last[merges_[i]] = i;
  std::vector<std::pair<uint32_t, uint32_t>> merges;
  for (size_t i = 0; i < merges_.size(); ++i) {
    if (last[merges_[i]] == i) merges.emplace_back(left_of(merges_[i]), right_of(merges_[i]));
  }
  return merges;
}

}  // namespace bpe_train
