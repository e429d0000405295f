#include "encoder.h"

#include <algorithm>
#include <cstring>

#include "unicode.h"

namespace bpe {

namespace {

constexpr ShortCache::Key mask(unsigned size) {
  constexpr uint64_t kAll = ~uint64_t{0};
  return {size >= 8 ? kAll : (uint64_t{1} << 8 * size) - 1, size <= 8 ? 0 : (uint64_t{1} << 8 * (size - 8)) - 1};
}

}  // namespace

const ShortCache::Key ShortCache::kMasks[16] = {mask(0),  mask(1),  mask(2),  mask(3), mask(4),  mask(5),
                                                mask(6),  mask(7),  mask(8),  mask(9), mask(10), mask(11),
                                                mask(12), mask(13), mask(14), mask(15)};

void Ids::grow(size_t least) {
  const size_t room = std::max(least, 2 * room_);
  std::unique_ptr<int32_t[]> data(new int32_t[room]);
  if (size > 0) std::memcpy(data.get(), data_.get(), size * sizeof(int32_t));
  data_ = std::move(data);
  room_ = room;
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
    add(text, count, ids);
  }
  return Outcome::kDone;
}

// The ids of the segments at starts_.
void Encoder::add(const uint8_t* text, size_t count, Ids& ids) {
  ids.reserve(starts_[count] - starts_[0] + ShortCache::kMostIds + 1);  // a byte gives one id at most
  int32_t* out = ids.data() + ids.size;
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* segment = text + starts_[i];
    const size_t size = starts_[i + 1] - starts_[i];
    if (size <= ShortCache::kMostBytes) {
      const ShortCache::Entry* known = short_.find(ShortCache::key_of(segment, size));
      if (known != nullptr) {
        std::memcpy(out, known->ids, sizeof(known->ids) + sizeof(known->count));  // the count will be overwritten
        out += known->count;
        continue;
      }
    }
    out = add_unknown(segment, size, out);
  }
  ids.size = static_cast<size_t>(out - ids.data());
}

int32_t* Encoder::add_unknown(const uint8_t* text, size_t size, int32_t* out) {
  const bool is_short = size <= ShortCache::kMostBytes;
  const Symbol token = vocabulary_.token(text, size);
  if (is_short && token != kNone) {
    *out = vocabulary_.id_of(token);
    short_.insert(ShortCache::key_of(text, size), out, 1);
    return out + 1;
  }
  LongCache::Entry* place = size <= LongCache::kMostBytes ? &long_.place(text, size) : nullptr;
  if (place != nullptr && LongCache::holds(*place, text, size)) {
    std::memcpy(out, place->ids, place->count * sizeof(int32_t));
    return out + place->count;
  }
  size_t count = 1;
  if (token != kNone) {
    *out = vocabulary_.id_of(token);
  } else {
    count = merge(text, size);
    for (size_t i = 0; i < count; ++i) out[i] = vocabulary_.id_of(symbols_[i]);
  }
  if (is_short && count <= ShortCache::kMostIds) {
    short_.insert(ShortCache::key_of(text, size), out, count);
  } else if (place != nullptr && count <= LongCache::kMostIds) {
    place->size = static_cast<uint32_t>(size);
    place->count = static_cast<uint32_t>(count);
    std::memcpy(place->text, text, size);
    std::memcpy(place->ids, out, count * sizeof(int32_t));
  }
  return out + count;
}

size_t Encoder::merge(const uint8_t* text, size_t size) {
  if (symbols_.size() < size) symbols_.resize(size);
  const size_t count = vocabulary_.first_symbols(text, size, symbols_.data());
  return merger_.merge(symbols_.data(), count, vocabulary_.pairs());
}

}  // namespace bpe
