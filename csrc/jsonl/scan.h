// One line of JSON → where the values of the wanted keys lie. Only what is certainly good is taken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace jsonl {

// Bytes between the quotes of a JSON string.
struct Text {
  const char* begin = nullptr;  // nullptr: the key is absent
  const char* end = nullptr;
  bool escaped = false;  // holds a backslash
};

// Finds the keys of an object on one line.
class Scanner {
 public:
  // `reserved` is a key whose presence makes a line one for a closer look.
  Scanner(std::vector<std::string> keys, std::string reserved);

  // True when [begin, end) is one JSON object in UTF-8 that every parser takes, each key is there with a string, and the
  // reserved key is not there; then texts()[i] is the value of key i, the last one where a key is given twice. UTF-8 is
  // not checked within the found values, which is left to their decoder. False means "perhaps not", never "no".
  bool scan(const char* begin, const char* end);
  const std::vector<Text>& texts() const { return texts_; }

 private:
  bool value(int depth);
  bool object(int depth);
  bool array(int depth);
  bool member(int depth);
  bool string(Text& text);
  bool skipped_string();
  bool number();
  bool word(const char* expected);
  void skip_blanks();
  bool wanted(const Text& name, size_t& index, bool& reserved);

  std::vector<std::string> keys_;
  std::string reserved_;
  std::vector<Text> texts_;
  std::string name_;  // of the last key that was escaped
  const char* at_ = nullptr;
  const char* end_ = nullptr;
};

// Where a line lies in a block, and its number from 1 on.
struct Line {
  int64_t number, start, stop;
};

// The lines of a block that are not blank, which of them are surely good, and the texts of their keys (line by line).
struct Block {
  std::vector<Line> lines;
  std::vector<char> good;
  std::vector<Text> texts;
  int64_t blank_lines = 0;
  int64_t line_count = 0;
};
Block scan_block(const char* data, size_t size, const std::vector<std::string>& keys, const std::string& reserved);

// Appends the text without its escapes, which scan() has found right.
void unescape(const Text& text, std::string& out);

bool is_utf8(const char* begin, const char* end);

}  // namespace jsonl
