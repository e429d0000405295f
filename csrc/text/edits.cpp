#include "edits.h"

#include <algorithm>
#include <unordered_set>

namespace text {
namespace {

View ascii_of(char32_t c) {
  switch (c) {
    case U'，':
    case U'、': return U",";
    case U'。': return U".";
    case U'．': return U". ";
    case U'„':
    case U'”':
    case U'“':
    case U'«':
    case U'»':
    case U'」':
    case U'「':
    case U'《':
    case U'》': return U"\"";
    case U'´':
    case U'’': return U"'";
    case U'∶':
    case U'：': return U":";
    case U'；': return U";";
    case U'？': return U"?";
    case U'！': return U"!";
    case U'（': return U"(";
    case U'）': return U")";
    case U'–':
    case U'━':
    case U'►': return U"-";
    case U'—': return U" - ";
    case U'～': return U"~";
    case U'…': return U"...";
    case U'〈': return U"<";
    case U'〉': return U">";
    case U'【': return U"[";
    case U'】': return U"]";
    case U'％': return U"%";
    case U'１': return U"1";
    default: return {};
  }
}

bool ends_sentence(char32_t c) { return c == U'.' || c == U'。' || c == U'!' || c == U'！' || c == U'？' || c == U'?'; }
bool closes_quote(char32_t c) { return c == U'’' || c == U'”'; }

// Cuts behind each match of length width where a character follows that closes no quotation; that character cannot
// begin the next match.
template <typename Matches>
String cut(View text, size_t width, Matches matches) {
  String out;
  out.reserve(text.size() + text.size() / 16);
  size_t i = 0;
  while (i < text.size()) {
    if (i + width < text.size() && matches(i) && !closes_quote(text[i + width])) {
      out.append(text.substr(i, width)).append(U"\n").push_back(text[i + width]);
      i += width + 1;
    } else {
      out.push_back(text[i++]);
    }
  }
  return out;
}

// A line with line feeds between its sentences: behind full stops, behind two ellipses, behind closed quotations.
String sentences_of(View line) {
  const String stops = cut(line, 1, [&](size_t i) { return ends_sentence(line[i]); });
  const String dots = cut(stops, 2, [&](size_t i) { return stops[i] == U'…' && stops[i + 1] == U'…'; });
  return cut(dots, 2, [&](size_t i) {
    const char32_t c = dots[i];  // the digits and braces are in data-juicer's expression too
    return (ends_sentence(c) || c == U'…' || c == U'{' || c == U'}' || c == U'6' || c == U'2') &&
           closes_quote(dots[i + 1]);
  });
}

bool counts(char32_t c) {
  return (c < 128 && (letter(c) || digit(c))) || (c >= 0x4E00 && c <= 0x9FA5) || c == U'\n' || c == U'\t' || c == U' ';
}

bool says(View text, View lowered_word) {
  const auto same = [](char32_t a, char32_t b) { return lower[a] == b; };
  return std::search(text.begin(), text.end(), lowered_word.begin(), lowered_word.end(), same) != text.end();
}

bool starts(View text, View head) { return text.substr(0, head.size()) == head; }

// A line that is a directive, a shebang or a heading, not a comment.
bool means_something(View line) {
  if (starts(line, U"#!")) return true;
  if (starts(line, U"##")) return !says(line, U"copyright");
  for (const View word : {View(U"#include"), View(U"#define"), View(U"#pragma"), View(U"#if"), View(U"#ifdef"),
                          View(U"#ifndef"), View(U"#undef"), View(U"#import"), View(U"#region"), View(U"#error")}) {
    if (starts(line, word) && (line.size() == word.size() || !is(line[word.size()], kWord))) return true;
  }
  return false;
}

View line_at(View text, size_t start) { return text.substr(start, text.find(U'\n', start) - start); }

// The first stretch that /* and */ enclose; empty at the end of the text if there is none.
Span first_comment(View text) {
  const size_t open = text.find(U"/*");
  if (open == View::npos) return {text.size(), text.size()};
  const size_t close = text.find(U"*/", open + 2);
  return close == View::npos ? Span{text.size(), text.size()} : Span{open, close + 2};
}

// Runs of characters of a kind that hold enough of what a match needs.
template <typename Belongs, typename Enough>
std::vector<Span> runs(View text, Belongs belongs, Enough enough) {
  std::vector<Span> found;
  size_t start = 0;
  for (size_t i = 0; i <= text.size(); i++) {
    if (i < text.size() && belongs(text[i])) continue;
    if (start < i && enough(text.substr(start, i - start))) found.emplace_back(start, i);
    start = i + 1;
  }
  return found;
}

// ASCII letters, and the two that fold to them where case is ignored.
bool any_letter(char32_t c) { return (c < 128 && letter(c)) || c == 0x17F || c == 0x212A; }

bool may_hold_link(View word) {
  for (size_t i = 1; i + 1 < word.size(); i++) {
    const char32_t before = word[i - 1], c = word[i], after = word[i + 1];
    if (c == U':' && (is(before, kWord) || before == U'-')) {
      if (after == U'/' || after == U'%' || digit(after) || any_letter(after)) return true;
    } else if (c == U'w' || c == U'W') {
      if ((before | 32) == U'w' && (after | 32) == U'w') return true;
    } else if (c == U'/') {
      size_t letters = 0;
      while (letters < i && any_letter(word[i - 1 - letters])) letters++;
      if (letters >= 2 && letters < i && word[i - 1 - letters] == U'.') return true;
    }
  }
  return false;
}

}  // namespace

String punctuation_in_ascii(View text) {
  String out;
  out.reserve(text.size() + text.size() / 8);
  for (const char32_t c : text) {
    const View written = c < 0x80 ? View() : ascii_of(c);
    if (written.empty()) {
      out.push_back(c);
    } else {
      out.append(written);
    }
  }
  return out;
}

String blanks_as_spaces(View text, View kept) {
  String out(stripped(text));
  for (char32_t& c : out) {
    if (is(c, kBlank) && kept.find(c) == View::npos) c = U' ';
  }
  return out;
}

String without_characters(View text, View removed) {
  String out;
  out.reserve(text.size());
  for (const char32_t c : text) {
    if (removed.find(c) == View::npos) out.push_back(c);
  }
  return out;
}

String without_repeated_sentences(View text, bool lowercase, bool ignore_special, uint64_t shortest) {
  String out, compared;
  out.reserve(text.size());
  std::unordered_set<String> seen;
  for (size_t start = 0; start <= text.size();) {
    const View line = line_at(text, start);
    if (start > 0) out.push_back(U'\n');
    const String sentences = line.empty() ? String() : sentences_of(line);
    for (size_t at = 0; at < sentences.size() || (at == 0 && !line.empty());) {
      const View sentence = line_at(sentences, at);
      at += sentence.size() + 1;
      compared.clear();
      for (const char32_t c : stripped(sentence)) {
        const char32_t letter = lowercase ? lower[c] : c;
        if (!ignore_special || counts(letter)) compared.push_back(letter);
      }
      if (compared.size() < shortest || seen.insert(compared).second) out.append(sentence);
    }
    start += line.size() + 1;
  }
  return out;
}

String without_copyright(View text) {
  const auto [open, close] = first_comment(text);
  if (open < close) {
    String out(text);
    if (says(text.substr(open, close - open), U"copyright")) out.erase(open, close - open);
    return out;
  }
  size_t end = 0;
  while (end < text.size()) {
    const View line = line_at(text, end);
    const bool comment = starts(line, U"//") || starts(line, U"#") || starts(line, U"--") || line.empty();
    if (!comment || means_something(line)) break;
    end = std::min(end + line.size() + 1, text.size());
  }
  const View block = text.substr(0, end);
  return String(says(block, U"copyright") || says(block, U"license") ? text.substr(end) : text);
}

std::vector<Span> candidates(View text, Pattern pattern) {
  switch (pattern) {
    case Pattern::kEmail:
      return runs(
          text,
          [](char32_t c) {
            return c < 128 && (letter(c) || digit(c) || c == U'.' || c == U'-' || c == U'+' || c == U'_' || c == U'@');
          },
          [](View run) { return run.find(U'@') != View::npos && run.find(U'.') != View::npos; });
    case Pattern::kAddress:
      return runs(
          text,
          [](char32_t c) {
            return c == U'.' || c == U':' || is(c, kDecimal) || (c < 128 && letter(c) && (c | 32) <= U'f');
          },
          [](View run) {
            return std::count(run.begin(), run.end(), U'.') >= 3 || std::count(run.begin(), run.end(), U':') >= 7;
          });
    case Pattern::kLink: break;
  }
  return runs(text, [](char32_t c) { return !is(c, kSpace); }, may_hold_link);
}

String with_replaced(View text, const std::vector<std::pair<Span, String>>& replacements) {
  String out;
  out.reserve(text.size());
  size_t at = 0;
  for (const auto& [span, written] : replacements) {
    out.append(text.substr(at, span.first - at)).append(written);
    at = span.second;
  }
  return out.append(text.substr(at));
}

}  // namespace text
