#include "pairs.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <tuple>

namespace minhash {
namespace {

constexpr size_t kOpenFiles = 256;

uint64_t pair_of(uint32_t later, uint32_t earlier) { return static_cast<uint64_t>(later) << 32 | earlier; }

uint32_t partition_of(uint64_t key, uint32_t partitions) {
  return static_cast<uint32_t>((key >> 32) * partitions >> 32);
}

uint64_t band_key(const uint16_t* rows, unsigned band) {
  uint64_t halves[2];
  static_assert(kRows * sizeof(uint16_t) == sizeof halves, "a band is two 64-bit words");
  std::memcpy(halves, rows, sizeof halves);
  return mix64(mix64(halves[0] + band) * 0x9E3779B97F4A7C15ULL + halves[1]);
}

uint32_t root(uint32_t* parents, uint32_t document) {
  while (parents[document] != document) {
    parents[document] = parents[parents[document]];
    document = parents[document];
  }
  return document;
}

}  // namespace

std::vector<BandRecord> band_records(const uint16_t* signatures, const uint8_t* active, size_t documents,
                                     uint32_t first, uint32_t partitions, uint64_t* counts) {
  std::vector<BandRecord> records;
  records.reserve(documents * kBands);
  std::fill_n(counts, partitions, uint64_t{0});
  for (size_t i = 0; i < documents; ++i) {
    if (!active[i]) continue;
    for (unsigned band = 0; band < kBands; ++band) {
      const uint64_t key = band_key(signatures + i * kPermutations + band * kRows, band);
      records.push_back({key, static_cast<uint32_t>(first + i)});
      ++counts[partition_of(key, partitions)];
    }
  }
  std::vector<uint64_t> next(partitions, 0);
  for (uint32_t p = 1; p < partitions; ++p) next[p] = next[p - 1] + counts[p - 1];
  std::vector<BandRecord> ordered(records.size());
  for (const BandRecord& record : records) ordered[next[partition_of(record.key, partitions)]++] = record;
  return ordered;
}

std::vector<uint64_t> bucket_pairs(BandRecord* records, size_t count) {
  std::sort(records, records + count, [](const BandRecord& x, const BandRecord& y) {
    return x.key != y.key ? x.key < y.key : x.document < y.document;
  });
  std::vector<uint64_t> pairs;
  size_t start = 0;
  for (size_t i = 1; i < count; ++i) {
    if (records[i].key != records[start].key) {
      start = i;
      continue;
    }
    const uint32_t document = records[i].document;
    const size_t nearest = i - start > kNeighbours ? i - kNeighbours : start + 1;
    pairs.push_back(pair_of(document, records[start].document));
    for (size_t j = nearest; j < i; ++j) pairs.push_back(pair_of(document, records[j].document));
  }
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  return pairs;
}

std::vector<uint64_t> exact_pairs(ExactRecord* records, size_t count) {
  std::sort(records, records + count, [](const ExactRecord& x, const ExactRecord& y) {
    if (x.high != y.high) return x.high < y.high;
    return x.low != y.low ? x.low < y.low : x.document < y.document;
  });
  std::vector<uint64_t> pairs;
  size_t start = 0;
  for (size_t i = 1; i < count; ++i) {
    if (records[i].high == records[start].high && records[i].low == records[start].low) {
      pairs.push_back(pair_of(records[i].document, records[start].document));
    } else {
      start = i;
    }
  }
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}

void unite(uint32_t* parents, size_t documents, const uint64_t* pairs, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const auto later = static_cast<uint32_t>(pairs[i] >> 32), earlier = static_cast<uint32_t>(pairs[i]);
    if (later >= documents || earlier >= documents) throw std::out_of_range("a pair names no document");
    const uint32_t x = root(parents, later), y = root(parents, earlier);
    parents[std::max(x, y)] = std::min(x, y);
  }
}

void flatten(uint32_t* parents, size_t documents) {
  for (size_t i = 0; i < documents; ++i) parents[i] = parents[parents[i]];  // parents[i] <= i, so it is flat by now
}

SignatureFiles::SignatureFiles(std::vector<std::string> paths, std::vector<uint64_t> firsts)
    : paths_(std::move(paths)), firsts_(std::move(firsts)), files_(paths_.size(), -1) {
  if (paths_.empty() || paths_.size() != firsts_.size() || !std::is_sorted(firsts_.begin(), firsts_.end())) {
    throw std::invalid_argument("each file of signatures has a first document, ascending");
  }
}

SignatureFiles::~SignatureFiles() { close_all(); }

void SignatureFiles::close_all() {
  for (int& file : files_) {
    if (file >= 0) ::close(file);
    file = -1;
  }
  open_ = 0;
}

void SignatureFiles::read(uint64_t document, uint16_t* signature) {
  // The last of equal firsts: those before it are empty files.
  const size_t at = std::upper_bound(firsts_.begin(), firsts_.end(), document) - firsts_.begin() - 1;
  if (files_[at] < 0) {
    if (open_ == kOpenFiles) close_all();
    files_[at] = ::open(paths_[at].c_str(), O_RDONLY | O_CLOEXEC);
    if (files_[at] < 0) throw std::runtime_error("cannot open " + paths_[at] + ": " + std::strerror(errno));
    ++open_;
  }
  constexpr size_t kBytes = kPermutations * sizeof(uint16_t);
  const auto offset = static_cast<off_t>((document - firsts_[at]) * kBytes);
  ssize_t got;
  do {
    got = ::pread(files_[at], signature, kBytes, offset);
  } while (got < 0 && errno == EINTR);
  if (got != static_cast<ssize_t>(kBytes)) throw std::runtime_error(paths_[at] + " ends too early");
}

unsigned SignatureFiles::agreeing(const uint16_t* signature, uint64_t document) {
  uint16_t other[kPermutations];
  read(document, other);
  unsigned equal = 0;
  for (unsigned p = 0; p < kPermutations; ++p) equal += signature[p] == other[p];
  return equal;
}

std::vector<uint8_t> SignatureFiles::matches(const uint64_t* pairs, size_t count) {
  std::vector<uint8_t> found(count);
  uint16_t later[kPermutations];
  uint64_t held = ~uint64_t{0};
  for (size_t i = 0; i < count; ++i) {
    if (pairs[i] >> 32 != held) {
      held = pairs[i] >> 32;
      read(held, later);
    }
    found[i] = static_cast<uint8_t>(agreeing(later, pairs[i] & 0xFFFFFFFF));
  }
  return found;
}

void SignatureFiles::fall(uint32_t* parents, size_t documents, const uint64_t* pairs, size_t count, unsigned least) {
  uint16_t signature[kPermutations];
  std::vector<uint32_t> tried;
  for (size_t start = 0, stop; start < count; start = stop) {
    const uint64_t later = pairs[start] >> 32;
    if (later >= documents) throw std::out_of_range("a pair names no document");
    for (stop = start; stop < count && pairs[stop] >> 32 == later;) ++stop;
    const auto kept = std::find_if(pairs + start, pairs + stop, [&](uint64_t pair) {
      const auto earlier = static_cast<uint32_t>(pair);
      return parents[earlier] == earlier;
    });
    if (kept != pairs + stop) {
      parents[later] = static_cast<uint32_t>(*kept);
      continue;
    }
    tried.clear();
    for (size_t i = start; i < stop; ++i) tried.push_back(parents[static_cast<uint32_t>(pairs[i])]);
    std::sort(tried.begin(), tried.end());
    tried.erase(std::unique(tried.begin(), tried.end()), tried.end());
    read(later, signature);
    const auto like =
        std::find_if(tried.begin(), tried.end(), [&](uint32_t other) { return agreeing(signature, other) >= least; });
    if (like != tried.end()) parents[later] = *like;
  }
}

}  // namespace minhash
