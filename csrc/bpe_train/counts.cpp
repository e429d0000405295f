#include "counts.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "pretokens.h"

namespace bpe_train {

namespace {

constexpr size_t kLeastEntries = 1 << 10;

// The finaliser of MurmurHash3 (Austin Appleby, public domain).
uint64_t mixed(uint64_t x) {
  x ^= x >> 33;
  x *= 0xFF51AFD7ED558CCDULL;
  x ^= x >> 33;
  x *= 0xC4CEB9FE1A85EC53ULL;
  return x ^ (x >> 33);
}

size_t power_of_two_from(size_t least) {
  size_t power = 1;
  while (power < least) power *= 2;
  return power;
}

int bits_of(size_t power) {
  int bits = 0;
  while ((size_t{1} << bits) < power) ++bits;
  return bits;
}

// The range of hashes that one of 2^bits sections holds.
uint64_t first_hash(size_t section, int bits) { return bits == 0 ? 0 : static_cast<uint64_t>(section) << (64 - bits); }
uint64_t last_hash(size_t section, int bits) { return bits == 0 ? ~0ULL : first_hash(section, bits) + (~0ULL >> bits); }

size_t number_size(uint64_t value) {
  size_t size = 1;
  for (; value >= 0x80; value >>= 7) ++size;
  return size;
}

}  // namespace

uint64_t hash_of(const uint8_t* bytes, size_t size) {
  uint64_t hash = mixed(size + 0x9E3779B97F4A7C15ULL);
  for (; size >= 8; size -= 8, bytes += 8) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    hash = mixed(hash ^ word) + 0x9E3779B97F4A7C15ULL;
  }
  uint64_t word = 0;
  std::memcpy(&word, bytes, size);
  return mixed(hash ^ word);
}

void Table::Free::operator()(void* memory) const { std::free(memory); }

// Pre-tokens of Chinese have some 24 bytes, those of English 6. An entry takes 24 bytes and one to two places of 8 bytes
// in the index: two fifths of the memory are for the bytes.
Table::Table(uint64_t memory)
    : most_entries_(std::max<size_t>(memory / 72, kLeastEntries)),
      most_bytes_(std::max<size_t>(memory / 5 * 2, 2 * kLongest)),
      mask_(power_of_two_from(most_entries_ + most_entries_ / 4) - 1) {
  entries_.reserve(most_entries_);
  bytes_.reserve(most_bytes_);
  clear_index();
}

void Table::clear_index() {
  index_.reset();
  index_.reset(static_cast<uint64_t*>(std::calloc(mask_ + 1, sizeof(uint64_t))));  // pages come as they are touched
  if (index_ == nullptr) throw std::bad_alloc();
}

bool Table::add(uint64_t hash, const uint8_t* bytes, size_t size, uint64_t count) {
  const uint64_t tag = hash & 0xFFFFFFFF00000000ULL;
  size_t place = hash & mask_;
  for (;; place = (place + 1) & mask_) {
    const uint64_t slot = index_.get()[place];
    if (slot == 0) break;
    if ((slot & 0xFFFFFFFF00000000ULL) != tag) continue;
    Entry& entry = entries_[static_cast<uint32_t>(slot) - 1];
    if (entry.hash == hash && entry.size == size && std::memcmp(&bytes_[entry.offset], bytes, size) == 0) {
      entry.count += count;
      return true;
    }
  }
  if (entries_.size() == most_entries_ || bytes_.size() + size > most_bytes_) return false;
  Entry entry;
  entry.hash = hash;
  entry.count = count;
  entry.offset = bytes_.size() & 0xFFFFFFFFFF;
  entry.size = size & 0xFFFFFF;
  entries_.push_back(entry);
  bytes_.insert(bytes_.end(), bytes, bytes + size);
  index_.get()[place] = tag | entries_.size();
  return true;
}

void Table::write(File& file, size_t sections) {
  index_.reset();
  std::sort(entries_.begin(), entries_.end(), [this](const Entry& a, const Entry& b) {
    if (a.hash != b.hash) return a.hash < b.hash;
    if (a.size != b.size) return a.size < b.size;
    return std::memcmp(&bytes_[a.offset], &bytes_[b.offset], a.size) < 0;
  });
  const int bits = bits_of(sections);
  std::vector<SectionSize> sizes(sections);
  for (const Entry& entry : entries_) {
    SectionSize& of = sizes[bits == 0 ? 0 : entry.hash >> (64 - bits)];
    of.bytes += number_size(entry.count) + number_size(entry.size) + entry.size;
    ++of.entries;
  }
  write_head(file, sizes);
  for (const Entry& entry : entries_) {
    file.write_number(entry.count);
    file.write_number(entry.size);
    file.write(&bytes_[entry.offset], entry.size);
  }
  entries_.clear();
  bytes_.clear();
  clear_index();
}

Counter::Counter(const std::string& path, uint64_t memory, size_t sections)
    : table_(memory), file_(path, "wb"), sections_(sections) {
  if (sections == 0 || (sections & (sections - 1)) != 0) throw std::invalid_argument("sections: no power of two");
}

void Counter::add(const char* text, size_t size) {
  const auto* begin = reinterpret_cast<const uint8_t*>(text);
  const uint8_t* end = begin + size;
  for (Cutter cutter(begin, end); !cutter.done();) {
    const uint8_t* stop = cutter.next();
    while (static_cast<size_t>(stop - begin) > kLongest) {
      const uint8_t* cut = begin + kLongest;
      while ((*cut & 0xC0) == 0x80) --cut;
      count(begin, static_cast<size_t>(cut - begin));
      begin = cut;
    }
    count(begin, static_cast<size_t>(stop - begin));
    begin = stop;
  }
}

void Counter::count(const uint8_t* bytes, size_t size) {
  const uint64_t hash = hash_of(bytes, size);
  if (table_.add(hash, bytes, size, 1)) return;
  table_.write(file_, sections_);
  table_.add(hash, bytes, size, 1);
}

void Counter::finish() {
  if (!table_.empty()) table_.write(file_, sections_);
  file_.close();
}

std::vector<SectionSize> section_sizes(const std::vector<std::string>& paths) {
  std::vector<SectionSize> sum;
  for (const std::string& path : paths) {
    File file(path, "rb");
    for (;;) {
      const std::vector<SectionSize> sizes = read_head(file);
      if (sizes.empty()) break;
      sum.resize(std::max(sum.size(), sizes.size()));
      uint64_t bytes = 0;
      for (size_t i = 0; i < sizes.size(); ++i) {
        sum[i].bytes += sizes[i].bytes;
        sum[i].entries += sizes[i].entries;
        bytes += sizes[i].bytes;
      }
      file.skip(bytes);
    }
  }
  return sum;
}

SectionSize merge_counts(const std::vector<std::string>& paths, uint64_t first, uint64_t last, uint64_t memory,
                         const std::string& target) {
  Table table(memory);
  std::vector<uint8_t> bytes(kLongest);
  for (const std::string& path : paths) {
    File file(path, "rb");
    for (;;) {
      const std::vector<SectionSize> sizes = read_head(file);
      if (sizes.empty()) break;
      const int bits = bits_of(sizes.size());
      uint64_t skipped = 0;
      for (size_t section = 0; section < sizes.size(); ++section) {
        if (last_hash(section, bits) < first || first_hash(section, bits) > last) {
          skipped += sizes[section].bytes;
          continue;
        }
        file.skip(skipped);
        skipped = 0;
        for (uint64_t i = 0; i < sizes[section].entries; ++i) {
          const uint64_t count = file.read_number(), size = file.read_number();
          if (size > kLongest) throw std::runtime_error("no file of counted pre-tokens");
          file.read(bytes.data(), size);
          const uint64_t hash = hash_of(bytes.data(), size);
          if (hash < first || hash > last) continue;
          if (!table.add(hash, bytes.data(), size, count))
            throw std::length_error("too many pre-tokens for the memory");
        }
      }
      file.skip(skipped);
    }
  }
  File file(target, "wb");
  table.write(file, 1);
  file.close();
  return section_sizes({target}).at(0);
}

}  // namespace bpe_train
