#include "lines.h"

#include <unordered_set>

namespace text {
namespace {

constexpr View kSentenceEnds = U".!?…。！？．｡;；";
constexpr View kClosers = U"\"'”’」』）)】》〉］]｣";
constexpr View kBullets = U"•‣▪▫◦●○■□◆◇★☆※·∙*-–—>";

bool one_of(View set, char32_t c) { return set.find(c) != View::npos; }

// Half-width columns.
uint64_t width(View line) {
  uint64_t columns = 0;
  for (const char32_t c : line)
    columns += is(c, kCjk) || (c >= 0x3000 && c < 0x3040) || (c >= 0xFF01 && c <= 0xFF60) ? 2 : 1;
  return columns;
}

// Calls found with each line between line ends, blank ones too, and the place where it begins.
template <typename Found>
void each_line(View text, Found found) {
  size_t start = 0;
  for (size_t i = 0; i <= text.size(); i++) {
    if (i < text.size() && !is(text[i], kLineEnd)) continue;
    found(text.substr(start, i - start), start);
    start = i + 1;
  }
}

bool ends_sentence(View line) {
  size_t last = line.size();
  while (last > 0 && one_of(kClosers, line[last - 1])) last--;
  return last > 0 && one_of(kSentenceEnds, line[last - 1]);
}

bool breaks_off(View line) {
  return !line.empty() && (line.back() == U'…' || (line.size() >= 3 && line.substr(line.size() - 3) == U"..."));
}

bool is_bulleted(View line) {
  if (!one_of(kBullets, line.front())) return false;
  // A dash or a star may begin a number or an emphasis.
  return line.size() > 1 && (line.front() > 0x7F || is(line[1], kSpace));
}

uint64_t hash_of(View line) {
  uint64_t hash = line.size();
  for (const char32_t c : line) hash = (hash ^ c) * 0x9E3779B97F4A7C15ull + (hash >> 29);
  return hash ^ (hash >> 32);
}

}  // namespace

LineKinds line_kinds(View text, uint64_t brief) {
  LineKinds kinds_of{};
  each_line(text, [&](View whole, size_t) {
    const View line = stripped(whole);
    if (line.empty()) return;
    kinds_of.lines++;
    kinds_of.characters += line.size();
    kinds_of.ended += ends_sentence(line);
    kinds_of.brief += width(line) < brief;
    kinds_of.bulleted += is_bulleted(line);
    kinds_of.broken_off += breaks_off(line);
  });
  return kinds_of;
}

Repeated repeated_pieces(View text, bool paragraphs) {
  std::unordered_set<uint64_t> seen;
  uint64_t pieces = 0, characters = 0, again = 0, again_characters = 0, hash = 0, size = 0;
  const auto end_piece = [&] {
    if (size == 0) return;
    const bool repeated = !seen.insert(hash).second;
    pieces++, characters += size;
    again += repeated, again_characters += repeated ? size : 0;
    hash = size = 0;
  };
  each_line(text, [&](View whole, size_t) {
    const View line = stripped(whole);
    if (line.empty()) return end_piece();
    hash = hash * 31 + hash_of(line);
    size += line.size();
    if (!paragraphs) end_piece();
  });
  end_piece();
  const auto share = [](uint64_t part, uint64_t all) {
    return all ? static_cast<double>(part) / static_cast<double>(all) : 0.0;
  };
  return {share(again, pieces), share(again_characters, characters)};
}

String without_navigation(View text, uint64_t brief, uint64_t fewest) {
  String kept;
  kept.reserve(text.size());
  size_t run_from = 0, written = 0;  // places in the text
  uint64_t run = 0;
  bool removed = false;
  const auto end_run = [&](size_t at) {
    if (run >= fewest) {
      kept.append(text.substr(written, run_from - written));
      written = at;
      removed = true;
    }
    run = 0;
  };
  each_line(text, [&](View whole, size_t start) {
    const View line = stripped(whole);
    if (line.empty()) return;  // goes with what is around it
    if (width(line) < brief && !ends_sentence(line)) {
      if (run++ == 0) run_from = start;
    } else {
      end_run(start);
    }
  });
  end_run(text.size());
  kept.append(text.substr(written));
  return removed ? String(stripped(kept)) : kept;
}

}  // namespace text
