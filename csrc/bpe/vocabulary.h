// A byte-pair vocabulary: tokens by rank, the pairs that make them, and what follows from both.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "boundaries.h"
#include "key.h"
#include "pages.h"
#include "pairs.h"

namespace bpe {

// Symbols are numbered so that the pair to merge first makes the lowest symbol: the 256 bytes, then longer tokens by rank.
class Vocabulary {
 public:
  // `tokens` by rank, the 256 bytes among them, with the id of each. A token that no merge makes is found only where a
  // whole piece is the token, and there only if `whole_pieces`. Throws std::invalid_argument for tokens that are none.
  Vocabulary(const std::vector<std::string_view>& tokens, const std::vector<int32_t>& ids, bool whole_pieces);

  const PairTable& pairs() const { return pairs_; }
  int32_t id_of(Symbol symbol) const { return ids_[symbol]; }

  // The token that a text is, if merging makes it of the text or the text is a whole piece; kNone for none. Short texts
  // by their keys.
  Symbol token(const uint8_t* text, size_t size) const;
  Symbol token(const Key& key) const;
  void prefetch(const Key& key) const;

  // All that `token` finds, and their bytes.
  Symbol size() const { return static_cast<Symbol>(ids_.size()); }
  std::string_view bytes_of(Symbol symbol) const {
    return {bytes_.data() + starts_[symbol], starts_[symbol + 1] - starts_[symbol]};
  }

  // The symbols that a segment begins with: bytes, and characters where nothing else can come of their bytes.
  size_t first_symbols(const uint8_t* text, size_t size, Symbol* symbols) const;

  // Pairs of characters that a merge may reach across.
  const CharPairs& joined() const { return joined_; }

  // Places among `tokens` of the two parts of each token that is made by a merge, and of the token.
  struct Merge {
    uint32_t left, right, made;
  };
  const std::vector<Merge>& merges() const { return merges_; }

 private:
  void add(std::string_view token, int32_t id);
  void insert_token(Symbol symbol);
  void find_boundaries(const std::vector<std::pair<Symbol, Symbol>>& splits, bool whole_only);

  PairTable pairs_;
  std::vector<int32_t> ids_;
  std::string bytes_;
  std::vector<uint32_t> starts_{0};
  Table<Key> keys_;            // open addressing: tokens of at most 15 bytes, and by the same places their symbols
  Table<Symbol> key_symbols_;  // kNone behind a key that is free
  unsigned key_bits_ = 10;
  Table<Symbol> slots_;        // open addressing: longer tokens
  Table<Symbol> chars_;  // by code point below 0x10000: the token that is this character
  CharPairs joined_;
  std::vector<Merge> merges_;
};

}  // namespace bpe
