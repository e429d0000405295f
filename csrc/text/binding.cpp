// Python module steel_megatron._text: a text that is changed in place and measured, without a Python string in between.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>

#include "characters.h"
#include "edits.h"
#include "lines.h"
#include "statistics.h"
#include "unicode_repair.h"

namespace py = pybind11;

namespace {

using text::String;
using text::View;

String read(const py::str& given) {
  PyObject* string = given.ptr();
  const auto size = static_cast<size_t>(PyUnicode_GET_LENGTH(string));
  String out(size, U'\0');
  if (PyUnicode_AsUCS4(string, reinterpret_cast<Py_UCS4*>(out.data()), PyUnicode_GET_LENGTH(string), 0) == nullptr) {
    throw py::error_already_set();
  }
  return out;
}

py::str written(View view) {
  PyObject* string = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, view.data(), static_cast<Py_ssize_t>(view.size()));
  if (string == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(string);
}

text::Pattern pattern_of(const std::string& name) {
  if (name == "email") return text::Pattern::kEmail;
  if (name == "link") return text::Pattern::kLink;
  if (name == "address") return text::Pattern::kAddress;
  throw std::invalid_argument("no pattern " + name);
}

// Fills the tables from the interpreter's own.
void load_characters() {
  for (uint32_t c = 0; c < 0x110000; c++) {
    const bool alphanumeric = Py_UNICODE_ISALNUM(c);
    text::kinds[c] = static_cast<uint8_t>(
        (alphanumeric ? text::kAlphanumeric : 0) | (Py_UNICODE_ISSPACE(c) ? text::kSpace : 0) |
        (Py_UNICODE_ISDECIMAL(c) ? text::kDecimal : 0) | (alphanumeric || c == '_' ? text::kWord : 0));
    text::lower[c] = Py_UNICODE_TOLOWER(c);
  }
  text::mark_characters();
}

// Characters to look for, however many.
struct CharacterSet {
  std::vector<bool> has;

  explicit CharacterSet(const py::str& given) : has(0x110000) {
    for (const char32_t c : read(given)) has[c] = true;
  }
};

struct Text {
  String characters;

  bool has_any(const py::str& wanted) const { return characters.find_first_of(read(wanted)) != String::npos; }

  // Each candidate is replaced by what the function makes of it.
  void replace(const std::string& pattern, const py::function& function) {
    std::vector<std::pair<text::Span, String>> replacements;
    for (const text::Span& span : text::candidates(characters, pattern_of(pattern))) {
      const View found = View(characters).substr(span.first, span.second - span.first);
      String changed = read(py::str(function(written(found))));
      if (changed != found) replacements.emplace_back(span, std::move(changed));
    }
    if (!replacements.empty()) characters = text::with_replaced(characters, replacements);
  }

  // Each line with a character of the set is replaced by what the function makes of it.
  void replace_lines(const CharacterSet& wanted, const py::function& function) {
    std::vector<std::pair<text::Span, String>> replacements;
    for (size_t start = 0; start < characters.size();) {
      size_t stop = start;
      bool found = false;
      for (; stop < characters.size() && characters[stop] != U'\n'; stop++) found |= wanted.has[characters[stop]];
      if (found) {
        const View line = View(characters).substr(start, stop - start);
        replacements.emplace_back(text::Span{start, stop}, read(py::str(function(written(line)))));
      }
      start = stop + 1;
    }
    if (!replacements.empty()) characters = text::with_replaced(characters, replacements);
  }

  bool repair(const py::function& others) {
    text::Repaired repaired = text::repair(
        characters, [&](View line, bool unescape) { return read(py::str(others(written(line), unescape))); });
    characters = std::move(repaired.text);
    return repaired.composed;
  }
};

}  // namespace

PYBIND11_MODULE(_text, module) {
  module.doc() = "Statistics and normalisation of texts";
  load_characters();
  const auto long_call = py::call_guard<py::gil_scoped_release>();

  py::class_<CharacterSet>(module, "CharacterSet").def(py::init<const py::str&>(), py::arg("characters"));

  py::class_<Text>(module, "Text")
      .def(py::init([](const py::str& given) { return Text{read(given)}; }), py::arg("text"))
      .def("__str__", [](const Text& self) { return written(self.characters); })
      .def("__len__", [](const Text& self) { return self.characters.size(); })
      .def(
          "set", [](Text& self, const py::str& given) { self.characters = read(given); }, py::arg("text"))
      .def("has_any", &Text::has_any, py::arg("characters"))
      .def("replace", &Text::replace, py::arg("pattern"), py::arg("function"))
      .def("replace_lines", &Text::replace_lines, py::arg("wanted"), py::arg("function"))
      .def("repair", &Text::repair, py::arg("others"))
      .def(
          "punctuation_in_ascii", [](Text& self) { self.characters = text::punctuation_in_ascii(self.characters); },
          long_call)
      .def(
          "blanks_as_spaces",
          [](Text& self, const py::str& kept) {
            self.characters = text::blanks_as_spaces(self.characters, read(kept));
          },
          py::arg("kept") = "")
      .def(
          "remove_characters",
          [](Text& self, const py::str& removed) {
            self.characters = text::without_characters(self.characters, read(removed));
          },
          py::arg("removed"))
      .def(
          "remove_repeated_sentences",
          [](Text& self, bool lowercase, bool ignore_special, uint64_t shortest) {
            self.characters = text::without_repeated_sentences(self.characters, lowercase, ignore_special, shortest);
          },
          py::arg("lowercase"), py::arg("ignore_special"), py::arg("shortest"), long_call)
      .def(
          "remove_copyright", [](Text& self) { self.characters = text::without_copyright(self.characters); }, long_call)
      .def(
          "alphanumeric_ratio", [](const Text& self) { return text::ratio_of(self.characters, text::kAlphanumeric); },
          long_call)
      .def(
          "special_ratio", [](const Text& self) { return text::ratio_of(self.characters, text::kSpecial); }, long_call)
      .def(
          "line_lengths",
          [](const Text& self) {
            const text::Lines lines = text::line_lengths(self.characters);
            return std::pair(lines.average, lines.longest);
          },
          long_call)
      .def(
          "character_repetition",
          [](const Text& self, uint64_t n) { return text::character_repetition(self.characters, n); }, py::arg("n"),
          long_call)
      .def(
          "count_words", [](const Text& self, bool unspaced) { return text::count_words(self.characters, unspaced); },
          py::arg("unspaced") = false, long_call)
      .def(
          "word_repetition",
          [](const Text& self, uint64_t n, bool unspaced) {
            return text::word_repetition(self.characters, n, unspaced);
          },
          py::arg("n"), py::arg("unspaced") = false, long_call)
      .def(
          "top_ngram",
          [](const Text& self, uint64_t n, bool unspaced) { return text::top_ngram(self.characters, n, unspaced); },
          py::arg("n"), py::arg("unspaced") = false, long_call)
      .def(
          "duplicate_ngrams",
          [](const Text& self, uint64_t n, bool unspaced) {
            return text::duplicate_ngrams(self.characters, n, unspaced);
          },
          py::arg("n"), py::arg("unspaced") = false, long_call)
      .def(
          "count_of",
          [](const Text& self, const py::str& wanted) { return text::count_of(self.characters, read(wanted)); },
          py::arg("wanted"))
      .def(
          "distinct_of",
          [](const Text& self, const py::str& wanted) { return text::distinct_of(self.characters, read(wanted)); },
          py::arg("wanted"))
      .def(
          "line_kinds",
          [](const Text& self, uint64_t brief) {
            const text::LineKinds kinds = text::line_kinds(self.characters, brief);
            return std::vector<uint64_t>{kinds.lines, kinds.characters, kinds.ended,
                                         kinds.brief, kinds.bulleted,   kinds.broken_off};
          },
          py::arg("brief") = 0, long_call)
      .def(
          "repeated_pieces",
          [](const Text& self, bool paragraphs) {
            const text::Repeated repeated = text::repeated_pieces(self.characters, paragraphs);
            return std::pair(repeated.pieces, repeated.characters);
          },
          py::arg("paragraphs"), long_call)
      .def(
          "remove_navigation",
          [](Text& self, uint64_t brief, uint64_t fewest) {
            self.characters = text::without_navigation(self.characters, brief, fewest);
          },
          py::arg("brief"), py::arg("fewest"), long_call);

  module.def("suspicious", [](uint32_t c) { return text::suspicious(c); }, py::arg("character"));
}
