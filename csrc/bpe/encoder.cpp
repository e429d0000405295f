#include "encoder.h"

#include <algorithm>
#include <cstring>

#include "unicode.h"

namespace bpe {

namespace {

constexpr size_t kMostWords = 64;     // merged beside one another
constexpr uint32_t kMany = 1u << 31;  // in the count of a segment whose ids lie elsewhere

}  // namespace

void Ids::grow(size_t least) {
  const size_t room = std::max(least, 2 * room_);
  std::unique_ptr<int32_t[]> data(new int32_t[room]);
  if (size > 0) std::memcpy(data.get(), data_.get(), size * sizeof(int32_t));
  data_ = std::move(data);
  room_ = room;
}

Encoder::Encoder(const Vocabulary& vocabulary, Pattern pattern, size_t digits)
    : vocabulary_(vocabulary),
      scan_(scanner(pattern)),
      digits_(digits),
      starts_(kMostStarts + 1),
      keys_(kMostStarts),
      found_(kMostStarts),
      words_(kMostWords) {
  // The cache begins with the tokens themselves; the ones learnt first come last, so that they stay.
  for (Symbol symbol = vocabulary.size(); symbol-- > 0;) {
    const std::string_view token = vocabulary.bytes_of(symbol);
    if (token.size() > Key::kMostBytes) continue;
    FewIds ids;
    ids.ids[0] = vocabulary.id_of(symbol);
    ids.count = 1;
    uint8_t padded[16] = {};
    std::memcpy(padded, token.data(), token.size());
    short_.insert(Key::of(padded, token.size()), ids);
  }
}

Outcome Encoder::encode(const uint8_t* text, size_t size, bool any_form, Ids& ids) {
  Scan scan{text, size, vocabulary_.joined().bits(), digits_};
  const size_t before = ids.size;
  while (const size_t count = scan_(scan, starts_.data())) {
    if (scan.doubtful || (scan.seen & kInDoubt) != 0) {
      ids.size = before;
      return Outcome::kInDoubt;
    }
    if (!any_form && (scan.seen & kMayChange) != 0) {
      ids.size = before;
      return Outcome::kMayChange;
    }
    starts_[count] = static_cast<uint32_t>(scan.at);
    many_.clear();
    unknown_.clear();
    unmerged_.clear();
    find(text, count);
    look_up_unknown();
    merge_unknown();
    write(count, ids);
  }
  return Outcome::kDone;
}

// Takes from the cache of short segments what it has.
void Encoder::find(const uint8_t* text, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const size_t size = starts_[i + 1] - starts_[i];
    if (size > Key::kMostBytes) continue;
    keys_[i] = Key::of(text + starts_[i], size);
    short_.prefetch(keys_[i]);
  }
  for (size_t i = 0; i < count; ++i) {
    const size_t size = starts_[i + 1] - starts_[i];
    if (size <= Key::kMostBytes) {
      if (const FewIds* ids = short_.find(keys_[i])) {
        found_[i] = *ids;
        continue;
      }
      vocabulary_.prefetch(keys_[i]);
    }
    const uint8_t* segment = text + starts_[i];
    LongCache::Entry* entry = size <= LongCache::kMostBytes ? &long_.place(segment, size) : nullptr;
    if (entry != nullptr) prefetch(entry);
    unknown_.push_back({static_cast<uint32_t>(i), segment, size, entry});
  }
}

// Takes tokens from the vocabulary, and what was merged before.
void Encoder::look_up_unknown() {
  for (const Unknown& segment : unknown_) {
    const bool is_short = segment.size <= Key::kMostBytes;
    Symbol token = is_short ? vocabulary_.token(keys_[segment.place]) : kNone;
    if (token == kNone && segment.entry != nullptr && segment.entry->holds(segment.text, segment.size)) {
      const LongCache::Entry entry = *segment.entry;
      found(segment, entry.ids, entry.count);
      continue;
    }
    if (!is_short) token = vocabulary_.token(segment.text, segment.size);
    if (token == kNone) {
      unmerged_.push_back(segment);
    } else {
      const int32_t id = vocabulary_.id_of(token);
      found(segment, &id, 1);
    }
  }
}

void Encoder::merge_unknown() {
  for (size_t at = 0; at < unmerged_.size();) {
    word_list_.clear();
    const size_t first = at;
    for (; at < unmerged_.size() && word_list_.size() < kMostWords; ++at) {
      const Unknown& segment = unmerged_[at];
      if (segment.size > Word::kMost) {
        merge_long(segment);
        continue;
      }
      Word& word = words_[word_list_.size()];
      word.count = vocabulary_.first_symbols(segment.text, segment.size, word.symbols);
      word_list_.push_back(&word);
    }
    merge_words(word_list_.data(), word_list_.size(), vocabulary_.pairs());
    for (size_t i = first, word = 0; i < at; ++i) {
      if (unmerged_[i].size > Word::kMost) continue;
      int32_t ids[Word::kMost];
      const Word& merged = words_[word++];
      for (size_t k = 0; k < merged.count; ++k) ids[k] = vocabulary_.id_of(merged.symbols[k]);
      found(unmerged_[i], ids, merged.count);
    }
  }
}

void Encoder::merge_long(const Unknown& segment) {
  if (symbols_.size() < segment.size) symbols_.resize(segment.size);
  size_t count = vocabulary_.first_symbols(segment.text, segment.size, symbols_.data());
  count = merger_.merge(symbols_.data(), count, vocabulary_.pairs());
  for (size_t i = 0; i < count; ++i) symbols_[i] = static_cast<Symbol>(vocabulary_.id_of(symbols_[i]));
  found(segment, reinterpret_cast<const int32_t*>(symbols_.data()), count);
}

// Notes the ids of a segment, and remembers them.
void Encoder::found(const Unknown& segment, const int32_t* ids, size_t count) {
  FewIds& few = found_[segment.place];
  if (count <= FewIds::kMost) {
    std::memcpy(few.ids, ids, count * sizeof(int32_t));
    few.count = static_cast<uint32_t>(count);
    if (segment.size <= Key::kMostBytes) {
      if (short_.find(keys_[segment.place]) == nullptr) short_.insert(keys_[segment.place], few);
      return;
    }
  } else {
    few.ids[0] = static_cast<int32_t>(many_.size());
    few.count = kMany | static_cast<uint32_t>(count);
    many_.insert(many_.end(), ids, ids + count);
  }
  LongCache::Entry* entry = segment.entry;
  if (entry == nullptr || count > LongCache::kMostIds || entry->holds(segment.text, segment.size)) return;
  entry->size = static_cast<uint32_t>(segment.size);
  entry->count = static_cast<uint32_t>(count);
  std::memcpy(entry->text, segment.text, segment.size);
  std::memcpy(entry->ids, ids, count * sizeof(int32_t));
}

// Adds what was found, in the order of the segments.
void Encoder::write(size_t count, Ids& ids) {
  ids.reserve(many_.size() + count * FewIds::kMost + 1);
  int32_t* out = ids.data() + ids.size;
  for (size_t i = 0; i < count; ++i) {
    const FewIds& few = found_[i];
    if ((few.count & kMany) == 0) {
      std::memcpy(out, &few, sizeof(few));  // the count will be overwritten
      out += few.count;
    } else {
      const size_t size = few.count & ~kMany;
      std::memcpy(out, many_.data() + few.ids[0], size * sizeof(int32_t));
      out += size;
    }
  }
  ids.size = static_cast<size_t>(out - ids.data());
}

}  // namespace bpe
