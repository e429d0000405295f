// The C++ parts without Python: reads calls from stdin, writes their results to stdout. For processors that Python and
// torch are not here for, under an emulator.
//
// A message is a sequence of items, each a number of bytes (int64) and the bytes; a call is its name and its arguments.
// The first answer is the name of the instruction set that was chosen.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "indexed/reader.h"
#include "indexed/writer.h"
#include "jsonl/scan.h"
#include "minhash/overlap.h"
#include "minhash/pairs.h"
#include "ops/cpu/kernels.h"
#include "text/edits.h"
#include "text/statistics.h"
#include "text/unicode_repair.h"

namespace {

using Bytes = std::vector<char>;

void read_exactly(void* to, size_t size) {
  if (std::fread(to, 1, size, stdin) != size) std::exit(3);
}

bool next(Bytes& item) {
  int64_t size;
  if (std::fread(&size, 1, sizeof size, stdin) != sizeof size) return false;
  item.resize(static_cast<size_t>(size));
  read_exactly(item.data(), item.size());
  return true;
}

Bytes item() {
  Bytes read;
  if (!next(read)) std::exit(3);
  return read;
}

template <class Value>
Value number() {
  Value value;
  const Bytes read = item();
  if (read.size() != sizeof value) std::exit(4);
  std::memcpy(&value, read.data(), sizeof value);
  return value;
}

template <class Value>
std::vector<Value> values() {
  const Bytes read = item();
  std::vector<Value> out(read.size() / sizeof(Value));
  std::memcpy(out.data(), read.data(), out.size() * sizeof(Value));
  return out;
}

std::string string() {
  const Bytes read = item();
  return {read.begin(), read.end()};
}

void put(const void* data, size_t size) {
  const auto count = static_cast<int64_t>(size);
  std::fwrite(&count, sizeof count, 1, stdout);
  std::fwrite(data, 1, size, stdout);
}

template <class Value>
void put(const std::vector<Value>& values) {
  put(values.data(), values.size() * sizeof(Value));
}
template <class Value>
void put_number(Value value) {
  put(&value, sizeof value);
}
void put(const std::string& value) { put(value.data(), value.size()); }
void put(text::View value) { put(value.data(), value.size() * sizeof(char32_t)); }

// Memory of one call: buffers in the order of its pointers. A buffer of addresses holds, in place of each, the number
// of a further buffer.
class Buffers {
 public:
  explicit Buffers(std::vector<Bytes> data) : data_(std::move(data)) {
    for (const Bytes& bytes : data_) {
      // On a cache line, and at its end bytes that nobody owns.
      auto* memory = static_cast<char*>(std::aligned_alloc(64, (bytes.size() + 127) / 64 * 64));
      std::memcpy(memory, bytes.data(), bytes.size());
      memory_.push_back(memory);
    }
  }
  ~Buffers() {
    for (char* memory : memory_) std::free(memory);
  }
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;

  void* at(size_t number) { return memory_[number]; }
  void relocate(size_t table, size_t columns, size_t addresses) {
    auto* rows = static_cast<int64_t*>(at(table));
    for (size_t i = 0; i < data_[table].size() / sizeof(int64_t); ++i) {
      if (i % columns < addresses && rows[i] >= 0) {
        rows[i] = static_cast<int64_t>(reinterpret_cast<intptr_t>(at(static_cast<size_t>(rows[i]))));
      } else if (rows[i] < 0) {
        rows[i] = 0;
      }
    }
  }
  void put_all() const {
    for (size_t i = 0; i < data_.size(); ++i) put(memory_[i], data_[i].size());
  }

 private:
  std::vector<Bytes> data_;
  std::vector<char*> memory_;
};

template <class A>
A argument(Buffers& buffers) {
  if constexpr (std::is_pointer_v<A>) {
    const auto place = number<int64_t>();
    return place < 0 ? nullptr : buffers.at(static_cast<size_t>(place));
  } else {
    return number<A>();
  }
}

template <class... A>
void call(void (*kernel)(A...)) {
  std::vector<Bytes> data(static_cast<size_t>(number<int64_t>()));
  for (Bytes& bytes : data) bytes = item();
  Buffers buffers(std::move(data));
  const std::vector<int64_t> table = values<int64_t>();  // which buffer, its columns, and how many are addresses
  if (!table.empty()) buffers.relocate(static_cast<size_t>(table[0]), static_cast<size_t>(table[1]), static_cast<size_t>(table[2]));
  std::apply(kernel, std::tuple<A...>{argument<A>(buffers)...});
  buffers.put_all();
}

#if STEEL_X86_SETS
template <class Kernel>
Kernel variant(const std::string& set, Kernel base, Kernel avx2, Kernel avx512, Kernel avx512_bf16) {
  return set == "base" ? base : set == "avx2" ? avx2 : set == "avx512" ? avx512 : avx512_bf16;
}
#define VARIANT(kernel) variant(set, base::kernel, avx2::kernel, avx512::kernel, avx512_bf16::kernel)
#else
#define VARIANT(kernel) base::kernel
#endif

bool kernel([[maybe_unused]] const std::string& set, const std::string& name) {
#define CPU_KERNEL(kernel, ...) \
  if (name == #kernel) return call(VARIANT(kernel)), true;
#include "ops/declarations.h"
  return false;
}

void minhash_of_texts() {
  const auto size = number<int64_t>();
  minhash::Overlap overlap(5, 0.5, 100, 2);
  minhash::Minima minima;
  std::vector<uint16_t> signatures;
  std::vector<std::vector<uint32_t>> texts;
  for (int64_t i = 0; i < size; ++i) {
    texts.push_back(values<uint32_t>());
    uint16_t signature[minhash::kPermutations];
    minhash::sign(texts.back().data(), texts.back().size(), minima, signature);
    signatures.insert(signatures.end(), signature, signature + minhash::kPermutations);
  }
  put(signatures);
  std::vector<char> plain;
  for (const auto& text : texts) minhash::append_plain(text.data(), text.size(), plain);
  put(plain);
  overlap.add_item(texts.back().data(), texts.back().size());
  put(overlap.finish());
  std::vector<uint32_t> found;
  for (const auto& text : texts) {
    minhash::Found best{};
    if (overlap.find(text.data(), text.size(), best)) found.insert(found.end(), {best.item, best.hits, best.grams});
  }
  put(found);
  const std::vector<uint8_t> active(texts.size(), 1);
  uint64_t counts[4];
  auto records = minhash::band_records(signatures.data(), active.data(), texts.size(), 7, 4, counts);
  put(records);
  put(minhash::bucket_pairs(records.data(), records.size()));
}

void statistics_and_edits() {
  const std::vector<char32_t> read = values<char32_t>();
  const text::View text(read.data(), read.size());
  const text::Lines lines = text::line_lengths(text);
  put(std::vector<double>{text::ratio_of(text, text::kAlphanumeric), text::ratio_of(text, text::kSpecial), lines.average,
                          static_cast<double>(lines.longest), text::character_repetition(text, 10),
                          static_cast<double>(text::count_words(text, true)), text::word_repetition(text, 3, true)});
  put(text::punctuation_in_ascii(text));
  put(text::blanks_as_spaces(text, U""));
  put(text::without_repeated_sentences(text, true, true, 2));
  put(text::without_copyright(text));
  put(text::repair(text, [](text::View line, bool) { return text::String(line); }).text);
}

void json_lines() {
  jsonl::Scanner scanner({"text"}, "");
  for (auto lines = number<int64_t>(); lines > 0; --lines) {
    const Bytes line = item();
    std::string found = "bad";
    if (scanner.scan(line.data(), line.data() + line.size())) {
      found = "good ";
      jsonl::unescape(scanner.texts()[0], found);
    }
    put(found);
  }
}

void indexed_dataset() {
  const std::string prefix = string();
  const std::vector<int64_t> ids = values<int64_t>(), lengths = values<int64_t>();
  indexed::Writer writer(prefix, "uint16");
  writer.add_documents({ids.data(), ids.size(), 'i', sizeof(int64_t)}, lengths.data(), lengths.size());
  writer.finish();
  const indexed::Reader reader(prefix);
  reader.validate();
  put_number(static_cast<int64_t>(reader.token_count()));
  std::string error;
  try {
    const int64_t wrong[] = {70000};
    indexed::Writer(prefix + "_wrong", "uint16").add_document({wrong, 1, 'i', sizeof(int64_t)});
  } catch (const indexed::FormatError& caught) {
    error = caught.what();
  }
  put(error);
}

}  // namespace

int main() {
  const steel::InstructionSet chosen = steel::chosen_set();
  minhash::use(chosen);
  const std::string set = steel::name_of(chosen);
  put(set);
  const std::vector<uint8_t> kinds = values<uint8_t>();
  const std::vector<char32_t> lower = values<char32_t>();
  std::copy(kinds.begin(), kinds.end(), text::kinds);
  std::copy(lower.begin(), lower.end(), text::lower);
  text::mark_characters();
  Bytes read;
  while (next(read)) {
    const std::string name(read.begin(), read.end());
    if (name == "minhash") {
      minhash_of_texts();
    } else if (name == "text") {
      statistics_and_edits();
    } else if (name == "jsonl") {
      json_lines();
    } else if (name == "indexed") {
      indexed_dataset();
    } else if (!kernel(set, name)) {
      std::fprintf(stderr, "no part %s\n", name.c_str());
      return 5;
    }
  }
  return 0;
}
