// A language model over characters: n-grams with interpolated modified Kneser-Ney smoothing (Chen and Goodman, 1999), kept
// in a hash table of 8 bytes per n-gram.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "ngrams.h"

namespace classify {

constexpr unsigned kLongest = 8;  // characters of an n-gram
constexpr unsigned kPerUnit = 2048;  // steps of a logarithm that is kept in 16 bits, down to -32

using Token = uint16_t;
constexpr Token kUnknown = 0;  // characters outside the vocabulary
constexpr Token kLineEnd = 1;

// The characters of a vocabulary are the tokens 2, 3, ….
class Vocabulary {
 public:
  explicit Vocabulary(std::vector<uint32_t> characters);

  const std::vector<uint32_t>& characters() const { return characters_; }
  size_t size() const { return characters_.size() + 2; }
  // A normalised text as tokens, behind `order` - 1 line ends.
  void tokens_of(const std::vector<uint32_t>& text, unsigned order, std::vector<Token>& out) const;

 private:
  std::vector<uint32_t> characters_;
  std::vector<Token> of_bmp_;
  std::unordered_map<uint32_t, Token> of_others_;
};

// What is kept of an n-gram: 32 bits of its hash, and two logarithms, of its probability behind its first n - 1 characters
// and of what is left for n-grams that are not kept behind all of them.
struct Slot {
  uint32_t mark;  // 0: free
  uint16_t probability, left;
};

inline double logarithm(uint16_t kept) { return -static_cast<double>(kept) / kPerUnit; }
uint16_t kept_logarithm(double value);

// The hash of an n-gram from that of its last n - 1 tokens, and the token before them; kNoTokens before the first.
constexpr uint64_t kNoTokens = 0x2545F4914F6CDD1DULL;
inline uint64_t longer_hash(uint64_t hash, Token before) {
  return minhash::mix64((hash ^ before) * 0x9E3779B97F4A7C15ULL);
}

class SlotTable {
 public:
  // `slots` is a power of two, with room to spare. It belongs to the caller.
  SlotTable(const Slot* slots, size_t count) : slots_(slots), mask_(count - 1) {}

  const Slot* find(uint64_t hash) const {
    const uint32_t mark = mark_of(hash);
    for (size_t at = hash & mask_;; at = (at + 1) & mask_) {
      if (slots_[at].mark == mark) return &slots_[at];
      if (slots_[at].mark == 0) return nullptr;
    }
  }
  static uint32_t mark_of(uint64_t hash) { return static_cast<uint32_t>(hash >> 32) | 1; }

 private:
  const Slot* slots_;
  size_t mask_;
};

class LanguageModel {
 public:
  LanguageModel(Vocabulary vocabulary, unsigned order, double unseen, uint64_t characters, const Slot* slots,
                size_t count)
      : vocabulary_(std::move(vocabulary)),
        order_(order),
        unseen_(unseen),
        characters_(characters),
        table_(slots, count) {}

  uint64_t characters() const { return characters_; }
  // The mean logarithm of the probability of a character, line ends among them.
  double mean_log_probability(const std::vector<uint32_t>& text, std::vector<Token>& buffer) const;

 private:
  Vocabulary vocabulary_;
  unsigned order_;
  double unseen_;  // logarithm of the probability of a character that is nowhere
  uint64_t characters_;
  SlotTable table_;
};

// Counts n-grams and makes the table.
class LanguageModelTrainer {
 public:
  // N-grams of three and more characters are kept if they are seen `least_count` times, or are part of one that is kept.
  LanguageModelTrainer(unsigned order, unsigned least_count) : order_(order), least_count_(least_count) {}

  void add(const std::vector<uint32_t>& text);
  // `on_order` is told of each order that is counted, and of each that is estimated.
  template <class OnOrder>
  void finish(OnOrder&& on_order) {
    tokenise();
    for (unsigned n = order_; n >= 1; --n) {
      count(n);
      on_order();
    }
    for (unsigned n = order_; n >= 2; --n) keep(n);
    for (unsigned n = 1; n <= order_; ++n) {
      estimate(n);
      on_order();
    }
    fill();
  }

  const std::vector<uint32_t>& characters() const { return characters_; }
  const std::vector<Slot>& slots() const { return slots_; }
  const std::vector<uint64_t>& kept() const { return kept_; }  // n-grams per order, from 1 on
  double unseen() const { return unseen_; }
  // Calls on_gram(tokens, probability, left) with the logarithms of each n-gram of an order that is kept.
  template <class OnGram>
  void each_gram(unsigned n, OnGram&& on_gram) const {
    std::vector<Token> tokens(n);
    for (const Gram& gram : grams_[n]) {
      if (!gram.kept) continue;
      for (unsigned i = 0; i < n; ++i) tokens[i] = static_cast<Token>(gram.key >> 16 * (n - 1 - i));
      on_gram(tokens, gram.probability, gram.left);
    }
  }

 private:
  using Key = unsigned __int128;  // tokens, 16 bits each, the last one lowest
  struct Gram {
    Key key;
    uint32_t count;
    float probability, left;  // logarithms
    bool kept;
  };

  void tokenise();
  void count(unsigned n);
  void keep(unsigned n);
  void estimate(unsigned n);
  void fill();
  void take_sorted(unsigned n, std::vector<Key>& keys);
  Gram& find(unsigned n, Key key);

  unsigned order_, least_count_;
  std::vector<uint32_t> texts_;  // one behind the other
  std::vector<size_t> ends_;
  std::vector<uint32_t> characters_;
  std::vector<Token> tokens_;  // of all texts, each behind line ends
  std::vector<size_t> token_ends_;
  std::vector<std::vector<Gram>> grams_;  // per order, from 1 on, sorted by key
  std::vector<Slot> slots_;
  std::vector<uint64_t> kept_;
  double unseen_ = 0;
};

}  // namespace classify
