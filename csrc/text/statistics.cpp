#include "statistics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace text {
namespace {

constexpr uint64_t kBase = 0x9E3779B97F4A7C15ull;  // odd, of even bits: the multiplier of rolling hashes

uint64_t mixed(uint64_t x) {
  x ^= x >> 32;
  x *= 0xD6E8FEB86659FD93ull;
  x ^= x >> 32;
  x *= 0xD6E8FEB86659FD93ull;
  return x ^ (x >> 32);
}

// Counts of 64-bit hashes. Two n-grams of one text fall together once in 10^8 texts of a million characters.
class Counts {
 public:
  explicit Counts(uint64_t items) {
    uint64_t size = 16;
    while (size < 2 * items) size *= 2;
    mask_ = size - 1;
    if (slots_.size() < size) slots_.resize(size);
    std::fill_n(slots_.begin(), size, Slot{0, 0});
  }

  ~Counts() {
    if (slots_.size() > kKeptSlots) std::vector<Slot>().swap(slots_);
  }
  Counts(const Counts&) = delete;
  Counts& operator=(const Counts&) = delete;

  // How often the hash was added by now.
  uint64_t add(uint64_t hash) {
    hash += hash == 0;  // 0 marks a free slot
    for (uint64_t at = hash & mask_;; at = (at + 1) & mask_) {
      Slot& slot = slots_[at];
      if (slot.count == 0) {
        slot = {hash, 1};
        distinct_++;
        return 1;
      }
      if (slot.hash == hash) {
        repeated_ += ++slot.count == 2;
        return slot.count;
      }
    }
  }

  uint64_t distinct() const { return distinct_; }
  uint64_t repeated() const { return repeated_; }  // hashes seen more than once

  // Counts above one, in no order.
  std::vector<uint64_t> repeats() const {
    std::vector<uint64_t> counts;
    if (repeated_ == 0) return counts;
    for (uint64_t at = 0; at <= mask_; at++) {
      if (slots_[at].count > 1) counts.push_back(slots_[at].count);
    }
    return counts;
  }

 private:
  struct Slot {
    uint64_t hash;
    uint64_t count;
  };
  static constexpr size_t kKeptSlots = 1 << 20;
  static thread_local std::vector<Slot> slots_;  // kept between texts: making it anew costs more than counting
  uint64_t mask_, distinct_ = 0, repeated_ = 0;
};
thread_local std::vector<Counts::Slot> Counts::slots_;

uint64_t power(uint64_t n) {
  uint64_t product = 1;
  while (n--) product *= kBase;
  return product;
}

// Calls add with the hash of every n neighbouring values.
template <typename Value, typename Add>
void roll(const Value* values, uint64_t size, uint64_t n, Add add) {
  if (size < n) return;
  const uint64_t leaving = power(n - 1);
  uint64_t hash = 0;
  for (uint64_t i = 0; i < size; i++) {
    if (i >= n) hash -= values[i - n] * leaving;
    hash = hash * kBase + values[i];
    if (i + 1 >= n) add(mixed(hash));
  }
}

bool separates(char32_t c) { return c == U' ' || c == U'\n' || c == U'\t'; }

// Calls found with each word; lowered: what is special is told from the lower-case letter.
template <typename Found>
void each_word(View text, bool unspaced, bool lowered, Found found) {
  const auto special = [&](char32_t c) { return is(lowered ? lower[c] : c, kSpecial); };
  const auto trimmed = [&](View word) {
    size_t first = 0, last = word.size();
    while (first < last && special(word[first])) first++;
    while (last > first && special(word[last - 1])) last--;
    if (first < last) found(word.substr(first, last - first));
  };
  size_t start = 0;
  for (size_t i = 0; i <= text.size(); i++) {
    const bool alone = unspaced && i < text.size() && is(text[i], kCjk);
    if (i < text.size() && !separates(text[i]) && !alone) continue;
    if (start < i) trimmed(text.substr(start, i - start));
    if (alone) found(text.substr(i, 1));
    start = i + 1;
  }
}

// The words of a text as hashes of their lower-case letters, and where in all their characters each begins.
struct Words {
  std::vector<uint64_t> hashes;
  std::vector<uint64_t> starts{0};

  Words(View text, bool unspaced);
  uint64_t characters(size_t from, size_t count) const { return starts[from + count] - starts[from]; }
  double share(uint64_t characters_of) const {
    return std::min(1.0,
                    static_cast<double>(characters_of) / static_cast<double>(std::max<uint64_t>(starts.back(), 1)));
  }
};

uint64_t lower_hash(View word) {
  uint64_t hash = word.size();
  for (const char32_t c : word) hash = hash * kBase + lower[c];
  return mixed(hash);
}

Words::Words(View text, bool unspaced) {
  each_word(text, unspaced, true, [&](View word) {
    hashes.push_back(lower_hash(word));
    starts.push_back(starts.back() + word.size());
  });
}

}  // namespace

double ratio_of(View text, uint8_t kind) {
  uint64_t count = 0;
  for (const char32_t c : text) count += (kinds[c] & kind) != 0;
  return text.empty() ? 0.0 : static_cast<double>(count) / static_cast<double>(text.size());
}

Lines line_lengths(View text) {
  uint64_t lines = 0, longest = 0, start = 0;
  for (uint64_t i = 0; i < text.size(); i++) {
    if (!is(text[i], kLineEnd)) continue;
    longest = std::max(longest, i - start);
    lines++;
    if (text[i] == U'\r' && i + 1 < text.size() && text[i + 1] == U'\n') i++;
    start = i + 1;
  }
  if (start < text.size()) {
    longest = std::max<uint64_t>(longest, text.size() - start);
    lines++;
  }
  return {lines ? static_cast<double>(text.size()) / static_cast<double>(lines) : 0.0, longest};
}

double character_repetition(View text, uint64_t n) {
  if (text.size() < n) return 0.0;
  const uint64_t total = text.size() - n + 1;
  Counts counts(total);
  roll(text.data(), text.size(), n, [&](uint64_t hash) { counts.add(hash); });
  std::vector<uint64_t> repeats = counts.repeats();
  const uint64_t most =
      std::min(static_cast<uint64_t>(std::sqrt(static_cast<double>(counts.distinct()))), counts.repeated());
  if (most == 0) return 0.0;
  std::nth_element(repeats.begin(), repeats.begin() + static_cast<int64_t>(most - 1), repeats.end(), std::greater<>());
  uint64_t sum = 0;
  for (uint64_t i = 0; i < most; i++) sum += repeats[i];
  return static_cast<double>(sum) / static_cast<double>(total);
}

uint64_t count_words(View text, bool unspaced) {
  uint64_t count = 0;
  each_word(text, unspaced, false, [&](View) { count++; });
  return count;
}

double word_repetition(View text, uint64_t n, bool unspaced) {
  std::vector<uint64_t> words;
  each_word(text, unspaced, true, [&](View word) { words.push_back(lower_hash(word)); });
  if (words.size() < n) return 0.0;
  const uint64_t total = words.size() - n + 1;
  Counts counts(total);
  roll(words.data(), words.size(), n, [&](uint64_t hash) { counts.add(hash); });
  uint64_t sum = 0;
  for (const uint64_t count : counts.repeats()) sum += count;
  return static_cast<double>(sum) / static_cast<double>(total);
}

double top_ngram(View text, uint64_t n, bool unspaced) {
  const Words words(text, unspaced);
  if (words.hashes.size() < n) return 0.0;
  Counts counts(words.hashes.size());
  uint64_t at = 0, most = 1, top = 0;
  roll(words.hashes.data(), words.hashes.size(), n, [&](uint64_t hash) {
    const uint64_t count = counts.add(hash);
    if (count > most) most = count, top = at;
    at++;
  });
  return most == 1 ? 0.0 : words.share(most * words.characters(top, n));
}

double duplicate_ngrams(View text, uint64_t n, bool unspaced) {
  const Words words(text, unspaced);
  if (words.hashes.size() < n) return 0.0;
  std::vector<uint64_t> ngrams;
  ngrams.reserve(words.hashes.size());
  roll(words.hashes.data(), words.hashes.size(), n, [&](uint64_t hash) { ngrams.push_back(hash); });
  Counts counts(ngrams.size());
  uint64_t characters = 0;
  for (size_t i = 0; i < ngrams.size();) {
    const bool repeated = counts.add(ngrams[i]) > 1;
    if (repeated) characters += words.characters(i, n);
    i += repeated ? n : 1;
  }
  return words.share(characters);
}

uint64_t count_of(View text, View wanted) {
  return static_cast<uint64_t>(
      std::count_if(text.begin(), text.end(), [&](char32_t c) { return wanted.find(c) != View::npos; }));
}

uint64_t distinct_of(View text, View wanted) {
  std::vector<bool> there(wanted.size());
  uint64_t count = 0;
  for (const char32_t c : text) {
    const size_t at = wanted.find(c);
    if (at == View::npos || there[at]) continue;
    there[at] = true;
    if (++count == wanted.size()) break;
  }
  return count;
}

}  // namespace text
