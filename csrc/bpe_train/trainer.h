// Learning the merges of a byte-pair encoding (Sennrich et al., 2016) from counted pre-tokens, in bounded memory.
//
// The most frequent pair of neighbouring tokens becomes a token, again and again; of equal ones that of the smaller ids.
// A pair's count only falls once it is there. So those below a threshold need no look until all above it are done: the
// places of the others alone are listed, and the text is searched anew with a lower threshold when they are used up.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "pair_table.h"
#include "token_text.h"

namespace bpe_train {

// What was kept of the pre-tokens that were counted.
struct Kept {
  uint64_t pretokens = 0, bytes = 0;  // that are distinct
  uint64_t counted_pretokens = 0, counted_bytes = 0;  // the same of all
  uint64_t threshold = 1;  // those that are counted less often stand for others like them; 1: all are kept
};

constexpr uint32_t kNoPlace = ~0U;

class Trainer {
 public:
  // Args:
  //   paths: files of merge_counts().
  //   text_memory: bytes for pre-tokens; where they have no room, some of the rare ones are drawn.
  //   pair_memory: bytes for pairs and their places; what is learned does not depend on it.
  Trainer(const std::vector<std::string>& paths, const std::vector<uint32_t>& byte_ids, uint64_t text_memory,
          uint64_t pair_memory);

  // Learns until there are so many tokens, or no pair is left. `progress` is told the number of tokens now and then.
  void train(size_t tokens, const std::function<void(size_t)>& progress);

  const Kept& kept() const { return kept_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  // In the order of rank. A pair that was merged again has its last rank.
  std::vector<std::pair<uint32_t, uint32_t>> merges() const;

 private:
  struct Candidate {
    int64_t count;
    Pair pair;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : pair > other.pair;
    }
  };
  // What a merge does to the counts of a token's pairs, as the left or right neighbour of the merged.
  struct Change {
    int64_t gone = 0, made = 0;
    uint32_t places = 0;
    uint32_t cursor = kNoPlace;  // where the next place of the made pair is listed
  };
  // The places in the text at which pre-tokens of a count end.
  struct Weight {
    uint64_t end;
    int64_t count;
  };

  void load(const std::vector<std::string>& paths, uint64_t memory);
  void choose_threshold(const std::vector<std::string>& paths, uint64_t room);
  int64_t weight_at(uint64_t place, size_t& from) const;

  bool search(Pair& alone);
  int64_t sketch();
  bool count_pairs(int64_t least, uint32_t limit);
  int64_t list_places(int64_t least);
  template <class Fetch, class OnPair>
  void each_pair(Fetch&& fetch, OnPair&& on_pair) const;

  Pair next_pair();
  void merge(Pair pair, bool listed);
  void merge_at(uint64_t place, uint64_t middle, uint64_t end, size_t& weight);
  bool update_counts(bool again);
  bool add_pair(Pair pair, const Change& change, bool again, uint32_t& cursor);
  void list_made(uint32_t first, uint32_t merged, bool again);
  void revive(Pair pair);
  void change_count(Pair pair, int64_t less);

  Vocabulary vocabulary_;
  TokenText text_{0};
  std::vector<Weight> weights_;
  Kept kept_;

  PairTable pairs_;
  size_t slots_ = 0;  // of the table
  std::unique_ptr<uint32_t[]> places_;  // the lists of places one behind the other; the cells of a search before
  size_t most_places_ = 0, used_places_ = 0;
  std::vector<Candidate> queue_;  // a heap; counts may have fallen since
  std::vector<Pair> merges_;
  std::unordered_map<Pair, int64_t> merged_;  // pairs that were merged, with the counts that they keep
  int64_t least_ = 0;  // pairs of at least this count are in the table
  bool search_ = true;  // the text must be searched before the next merge
  std::unordered_set<Pair> revived_;  // merged pairs that are there again, since a token was made from another pair
  uint64_t sketch_mask_ = 0;
  size_t top_level_ = 0, found_ = 0;  // of the cells: the highest level, and how many reach the threshold
  uint64_t total_weight_ = 0;  // of all pairs, in the last search

  // Of the merge that is at work.
  uint32_t left_ = 0, right_ = 0, made_ = 0;
  std::vector<Change> left_changes_, right_changes_;  // by neighbour
  std::vector<uint32_t> left_touched_, right_touched_;
};

}  // namespace bpe_train
