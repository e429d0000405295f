// From signatures to groups of documents: bands, buckets, candidate pairs, verified pairs, components.
//
// Documents have numbers below 2^32 in the order of their priority: the least number of a group is the one kept.
// A pair is one 64-bit number, the later document in the upper half, the earlier in the lower.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "signature.h"

namespace minhash {

#pragma pack(push, 1)
struct BandRecord {
  uint64_t key;  // of the band's number and its rows
  uint32_t document;
};
struct ExactRecord {
  uint64_t high, low;
  uint32_t document;
};
#pragma pack(pop)

constexpr size_t kNeighbours = 3;  // earlier documents of a bucket that one is paired with, besides the first

// The band records of documents first, first + 1, … of which active says which take part, ordered by partition of their
// key's upper half; counts gets the records of each partition.
std::vector<BandRecord> band_records(const uint16_t* signatures, const uint8_t* active, size_t documents,
                                     uint32_t first, uint32_t partitions, uint64_t* counts);

// The pairs of documents that share a bucket: each with the first and with the kNeighbours before it. Sorts the records.
std::vector<uint64_t> bucket_pairs(BandRecord* records, size_t count);

// Each later document of equal text with the first one, ordered. Sorts the records.
std::vector<uint64_t> exact_pairs(ExactRecord* records, size_t count);

// Makes each parent a document of the same group with a number not above its own.
void unite(uint32_t* parents, size_t documents, const uint64_t* pairs, size_t count);

// Afterwards each parent is the least number of its group.
void flatten(uint32_t* parents, size_t documents);

// Signatures in files, read one by one where they are wanted, so that memory does not grow with the corpus.
class SignatureFiles {
 public:
  // Document firsts[i] + n is the n-th of paths[i]; firsts ascend.
  SignatureFiles(std::vector<std::string> paths, std::vector<uint64_t> firsts);
  ~SignatureFiles();
  SignatureFiles(const SignatureFiles&) = delete;
  SignatureFiles& operator=(const SignatureFiles&) = delete;

  // Of each pair, how many of the kPermutations minima agree.
  std::vector<uint8_t> matches(const uint64_t* pairs, size_t count);

  // Takes away documents that are like one that stays: of each later document of the pairs, parents gets the first
  // earlier one that is its own parent; where none is, the parent of an earlier one, if `least` of the minima agree
  // with it. Pairs are those similar enough, ascending, of documents not below the ones of calls before.
  void fall(uint32_t* parents, size_t documents, const uint64_t* pairs, size_t count, unsigned least);

 private:
  unsigned agreeing(const uint16_t* signature, uint64_t document);
  void read(uint64_t document, uint16_t* signature);
  void close_all();
  std::vector<std::string> paths_;
  std::vector<uint64_t> firsts_;
  std::vector<int> files_;
  size_t open_ = 0;
};

}  // namespace minhash
