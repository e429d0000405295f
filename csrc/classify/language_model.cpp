#include "language_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace classify {
namespace {

constexpr size_t kMostCharacters = 65'533;  // of a vocabulary
constexpr uint16_t kMost16 = 65'535;

}  // namespace

Vocabulary::Vocabulary(std::vector<uint32_t> characters) : characters_(std::move(characters)), of_bmp_(0x10000) {
  for (size_t i = 0; i < characters_.size(); ++i) {
    const auto token = static_cast<Token>(i + 2);
    if (characters_[i] < 0x10000) {
      of_bmp_[characters_[i]] = token;
    } else {
      of_others_[characters_[i]] = token;
    }
  }
  of_bmp_['\n'] = kLineEnd;
}

void Vocabulary::tokens_of(const std::vector<uint32_t>& text, unsigned order, std::vector<Token>& out) const {
  out.insert(out.end(), order - 1, kLineEnd);
  for (const uint32_t marked : text) {
    const uint32_t c = marked & kCodePoint;
    if (c < 0x10000) {
      out.push_back(of_bmp_[c]);
    } else {
      const auto found = of_others_.find(c);
      out.push_back(found == of_others_.end() ? kUnknown : found->second);
    }
  }
}

uint16_t kept_logarithm(double value) {
  return static_cast<uint16_t>(std::min<double>(std::max(0.0, std::round(-value * kPerUnit)), kMost16));
}

double LanguageModel::mean_log_probability(const std::vector<uint32_t>& text, std::vector<Token>& tokens) const {
  tokens.clear();
  vocabulary_.tokens_of(text, order_, tokens);
  uint64_t hashes[2][kLongest + 1];  // of the n-grams that end at this token, and at the one before
  unsigned longest = 0;  // of those before this token, the longest that is kept
  for (unsigned n = 1; n < order_; ++n) {
    const uint64_t shorter = n == 1 ? kNoTokens : hashes[0][n - 1];
    hashes[0][n] = longer_hash(shorter, kLineEnd);
    if (table_.find(hashes[0][n]) != nullptr) longest = n;
  }
  double sum = 0;
  for (size_t at = order_; at < tokens.size(); ++at) {
    const uint64_t* before = hashes[(at - order_) % 2];
    uint64_t* here = hashes[(at - order_ + 1) % 2];
    here[0] = kNoTokens;
    for (unsigned n = 1; n <= order_; ++n) here[n] = longer_hash(here[n - 1], tokens[at - n + 1]);
    unsigned n = std::min(longest + 1, order_);
    const Slot* slot = nullptr;
    for (; n >= 1; --n) {
      slot = table_.find(here[n]);
      if (slot != nullptr) break;
      if (n > 1) {
        const Slot* context = table_.find(before[n - 1]);
        if (context != nullptr) sum += logarithm(context->left);
      }
    }
    sum += slot != nullptr ? logarithm(slot->probability) : unseen_;
    longest = n;
  }
  const size_t characters = tokens.size() - order_;
  return characters == 0 ? 0.0 : sum / static_cast<double>(characters);
}

void LanguageModelTrainer::add(const std::vector<uint32_t>& text) {
  for (const uint32_t marked : text) texts_.push_back(marked & kCodePoint);
  ends_.push_back(texts_.size());
}

void LanguageModelTrainer::tokenise() {
  std::vector<uint32_t> counts(0x110000);
  for (const uint32_t c : texts_) ++counts[c];
  counts['\n'] = 0;
  for (uint32_t c = 0; c < counts.size(); ++c) {
    if (counts[c] != 0) characters_.push_back(c);
  }
  std::stable_sort(characters_.begin(), characters_.end(),
                   [&](uint32_t a, uint32_t b) { return counts[a] > counts[b]; });
  if (characters_.size() > kMostCharacters) characters_.resize(kMostCharacters);
  const Vocabulary vocabulary(characters_);
  tokens_.reserve(texts_.size() + ends_.size() * (order_ - 1));
  size_t start = 0;
  for (const size_t end : ends_) {
    vocabulary.tokens_of({texts_.begin() + static_cast<ptrdiff_t>(start), texts_.begin() + static_cast<ptrdiff_t>(end)},
                         order_, tokens_);
    token_ends_.push_back(tokens_.size());
    start = end;
  }
  std::vector<uint32_t>().swap(texts_);
  grams_.resize(order_ + 1);
}

// Of the longest n-grams, how often each is there; of shorter ones, before how many different tokens.
void LanguageModelTrainer::count(unsigned n) {
  const Key mask = (Key{1} << 16 * n) - 1;
  std::vector<Key> keys;
  if (n == order_) {
    keys.reserve(tokens_.size());
    size_t start = 0;
    for (const size_t end : token_ends_) {
      Key key = 0;
      for (size_t at = start; at < end; ++at) {
        key = (key << 16 | tokens_[at]) & mask;
        if (at - start + 1 >= n) keys.push_back(key);
      }
      start = end;
    }
    std::vector<Token>().swap(tokens_);
  } else {
    keys.reserve(grams_[n + 1].size());
    for (const Gram& gram : grams_[n + 1]) keys.push_back(gram.key & mask);
  }
  take_sorted(n, keys);
}

void LanguageModelTrainer::take_sorted(unsigned n, std::vector<Key>& keys) {
  std::sort(keys.begin(), keys.end());
  size_t different = 0;
  for (size_t i = 0; i < keys.size(); ++i) different += i == 0 || keys[i] != keys[i - 1];
  std::vector<Gram>& grams = grams_[n];
  grams.reserve(different);
  for (size_t i = 0; i < keys.size(); ++i) {
    if (i == 0 || keys[i] != keys[i - 1]) grams.push_back({keys[i], 0, 0, 0, n < 3});
    ++grams.back().count;
  }
  if (n >= 3) {
    for (Gram& gram : grams) gram.kept = gram.count >= least_count_;
  }
}

LanguageModelTrainer::Gram& LanguageModelTrainer::find(unsigned n, Key key) {
  return *std::lower_bound(grams_[n].begin(), grams_[n].end(), key,
                           [](const Gram& gram, Key wanted) { return gram.key < wanted; });
}

// What is kept of an order keeps its first and its last n - 1 tokens.
void LanguageModelTrainer::keep(unsigned n) {
  const Key mask = (Key{1} << 16 * (n - 1)) - 1;
  for (const Gram& gram : grams_[n]) {
    if (!gram.kept) continue;
    find(n - 1, gram.key & mask).kept = true;
    find(n - 1, gram.key >> 16).kept = true;
  }
}

void LanguageModelTrainer::estimate(unsigned n) {
  std::vector<Gram>& grams = grams_[n];
  double seen[5] = {};  // n-grams that are counted so often
  for (const Gram& gram : grams) {
    if (gram.count <= 4) ++seen[gram.count];
  }
  double discounts[4] = {0, 0.5, 1.0, 1.5};
  const bool enough = seen[1] > 0 && seen[2] > 0 && seen[3] > 0 && seen[4] > 0;
  const double y = enough ? seen[1] / (seen[1] + 2 * seen[2]) : 0;
  for (int c = 1; enough && c <= 3; ++c) {
    const double discount = c - (c + 1) * y * seen[c + 1] / seen[c];
    if (discount > 0 && discount <= c) discounts[c] = discount;
  }
  const auto left_of = [&](const Gram& gram) { return gram.count - discounts[std::min<uint32_t>(gram.count, 3)]; };
  const Key mask = n == 1 ? 0 : (Key{1} << 16 * (n - 1)) - 1;
  const double even = -std::log(static_cast<double>(characters_.size() + 2));
  for (size_t first = 0, last = 0; first < grams.size(); first = last) {
    double all = 0, kept = 0;
    for (; last < grams.size() && grams[last].key >> 16 == grams[first].key >> 16; ++last) {
      all += grams[last].count;
      if (grams[last].kept) kept += left_of(grams[last]);
    }
    const double left = std::max(1 - kept / all, 1e-9);  // for those that are not kept
    for (size_t i = first; i < last; ++i) {
      if (!grams[i].kept) continue;
      const double shorter = n == 1 ? even : find(n - 1, grams[i].key & mask).probability;
      grams[i].probability = static_cast<float>(std::log(left_of(grams[i]) / all + left * std::exp(shorter)));
    }
    if (n == 1) {
      unseen_ = std::log(left) + even;
    } else {
      find(n - 1, grams[first].key >> 16).left = static_cast<float>(std::log(left));
    }
  }
}

void LanguageModelTrainer::fill() {
  size_t all = 0;
  for (unsigned n = 1; n <= order_; ++n) {
    kept_.push_back(static_cast<uint64_t>(
        std::count_if(grams_[n].begin(), grams_[n].end(), [](const Gram& gram) { return gram.kept; })));
    all += kept_.back();
  }
  size_t size = 16;
  while (size < all + all / 2) size *= 2;
  slots_.resize(size);
  for (unsigned n = 1; n <= order_; ++n) {
    each_gram(n, [&](const std::vector<Token>& tokens, float probability, float left) {
      uint64_t hash = kNoTokens;
      for (unsigned i = n; i > 0; --i) hash = longer_hash(hash, tokens[i - 1]);
      size_t at = hash & (size - 1);
      while (slots_[at].mark != 0) at = (at + 1) & (size - 1);
      slots_[at] = {SlotTable::mark_of(hash), kept_logarithm(probability), kept_logarithm(left)};
    });
  }
}

}  // namespace classify
