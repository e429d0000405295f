// The pre-tokens that a trainer has room for.
#include <algorithm>
#include <map>
#include <stdexcept>

#include "counts.h"
#include "trainer.h"

namespace bpe_train {

namespace {

constexpr uint64_t kMostThreshold = 1 << 16;
constexpr double kExpected = 0.98;  // of the room: how much is drawn varies a little

template <class OnEntry>
void each_entry(const std::vector<std::string>& paths, OnEntry&& on_entry) {
  std::vector<uint8_t> bytes(kLongest);
  for (const std::string& path : paths) {
    File file(path, "rb");
    for (;;) {
      const std::vector<SectionSize> sections = read_head(file);
      if (sections.empty()) break;
      for (const SectionSize& section : sections) {
        for (uint64_t i = 0; i < section.entries; ++i) {
          const uint64_t count = file.read_number(), size = file.read_number();
          if (size > kLongest) throw std::runtime_error("no file of counted pre-tokens");
          file.read(bytes.data(), size);
          on_entry(count, bytes.data(), size);
        }
      }
    }
  }
}

}  // namespace

// Threshold sampling (Duffield, Lund and Thorup, 2005): of the pre-tokens that occur less often than the threshold,
// each is kept with probability count / threshold, as its hash decides, and then counts as often as the threshold says.
// So every pair is expected to count what it counts in the whole text.
void Trainer::choose_threshold(const std::vector<std::string>& paths, uint64_t room) {
  std::vector<uint64_t> sizes(kMostThreshold + 1);  // by count; those above are together
  each_entry(paths, [&](uint64_t count, const uint8_t*, size_t size) {
    sizes[std::min(count, kMostThreshold)] += size + 1;
    ++kept_.counted_pretokens;
    kept_.counted_bytes += size;
  });
  double rest = 0, drawn = 0;  // bytes of those from the threshold on, and bytes times counts of those below
  for (const uint64_t size : sizes) rest += static_cast<double>(size);
  uint64_t& threshold = kept_.threshold;
  for (threshold = 1; threshold < kMostThreshold; ++threshold) {
    const double expected = rest + drawn / static_cast<double>(threshold);
    if (expected <= static_cast<double>(room) * (threshold == 1 ? 1.0 : kExpected)) break;
    rest -= static_cast<double>(sizes[threshold]);
    drawn += static_cast<double>(sizes[threshold]) * static_cast<double>(threshold);
  }
}

void Trainer::load(const std::vector<std::string>& paths, uint64_t memory) {
  choose_threshold(paths, std::min(memory / 9 * 8, kLargestText));
  const uint64_t threshold = kept_.threshold;
  const auto each_kept = [&](auto&& on_kept) {
    each_entry(paths, [&](uint64_t count, const uint8_t* bytes, size_t size) {
      if (count < threshold) {
        const auto scaled = static_cast<unsigned __int128>(hash_of(bytes, size)) * threshold;
        if (static_cast<uint64_t>(scaled >> 64) >= count) return;
      }
      on_kept(std::max(count, threshold), bytes, size);
    });
  };
  std::map<uint64_t, uint64_t, std::greater<>> places;  // count → bytes, then where the next pre-token of it goes
  uint64_t total = 0;
  each_kept([&](uint64_t count, const uint8_t*, size_t size) {
    places[count] += size + 1;
    total += size + 1;
    ++kept_.pretokens;
    kept_.bytes += size;
  });
  if (total > kLargestText) throw std::length_error("the kept pre-tokens have more than 4 GiB");
  text_ = TokenText(total);
  uint64_t place = 1;
  for (auto& [count, size] : places) {
    const uint64_t begin = place;
    place += size;
    size = begin;
    weights_.push_back({place, static_cast<int64_t>(count)});
  }
  each_kept([&](uint64_t count, const uint8_t* bytes, size_t size) {
    uint64_t& next = places[count];
    next = text_.put(next, bytes, size);
  });
}

}  // namespace bpe_train
