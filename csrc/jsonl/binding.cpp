// Python module steel_megatron._jsonl: a block of JSON lines → the texts of the wanted keys.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <string>
#include <vector>

#include "scan.h"

namespace py = pybind11;

namespace {

struct Line {
  int64_t number, start, stop;
};

// What Python's bytes.strip() takes away.
bool blank(const char* at, const char* end) {
  while (at < end && (*at == ' ' || (*at >= '\t' && *at <= '\r'))) ++at;
  return at == end;
}

// The lines of a block, and for those surely good the texts of each key (line by line).
struct Found {
  std::vector<Line> lines;
  std::vector<char> good;
  std::vector<jsonl::Text> texts;
  int64_t blank_lines = 0;
  int64_t line_count = 0;
};

Found find(const char* data, size_t size, const std::vector<std::string>& keys, const std::string& reserved) {
  Found found;
  jsonl::Scanner scanner(keys, reserved);
  const char* end = data + size;
  for (const char* at = data; at < end;) {
    const auto* feed = static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(end - at)));
    const char* stop = feed == nullptr ? end : feed;
    ++found.line_count;
    if (blank(at, stop)) {
      ++found.blank_lines;
    } else {
      const bool good = scanner.scan(at, stop);
      found.lines.push_back({found.line_count, at - data, stop - data});
      found.good.push_back(static_cast<char>(good));
      found.texts.insert(found.texts.end(), scanner.texts().begin(), scanner.texts().end());
    }
    at = feed == nullptr ? end : feed + 1;
  }
  return found;
}

// A Python text, or a null object where the bytes are not UTF-8.
py::object decoded(const jsonl::Text& text, std::string& buffer) {
  const char* begin = text.begin;
  auto size = text.end - text.begin;
  if (text.escaped) {
    buffer.clear();
    jsonl::unescape(text, buffer);
    begin = buffer.data();
    size = static_cast<std::ptrdiff_t>(buffer.size());
  }
  PyObject* object = PyUnicode_DecodeUTF8(begin, size, nullptr);
  if (object == nullptr) {
    if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) throw py::error_already_set();
    PyErr_Clear();
  }
  return py::reinterpret_steal<py::object>(object);
}

py::tuple extract(const py::bytes& data, const std::vector<std::string>& keys, const std::string& reserved) {
  char* begin = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(data.ptr(), &begin, &size) != 0) throw py::error_already_set();
  Found found;
  {
    py::gil_scoped_release release;
    found = find(begin, static_cast<size_t>(size), keys, reserved);
  }
  std::vector<py::list> texts;
  for (size_t key = 0; key < keys.size(); ++key) texts.emplace_back(found.lines.size());
  py::list odd;
  std::string buffer;
  std::vector<py::object> row(keys.size());
  for (size_t i = 0; i < found.lines.size(); ++i) {
    bool good = found.good[i] != 0;
    for (size_t key = 0; key < keys.size() && good; ++key) {
      row[key] = decoded(found.texts[i * keys.size() + key], buffer);
      good = row[key].ptr() != nullptr;
    }
    for (size_t key = 0; key < keys.size(); ++key) {
      PyList_SET_ITEM(texts[key].ptr(), static_cast<Py_ssize_t>(i), (good ? row[key] : py::none()).release().ptr());
    }
    if (!good) odd.append(py::int_(i));
  }
  py::list lists;
  for (const auto& list : texts) lists.append(list);
  static_assert(sizeof(Line) == 3 * sizeof(int64_t));
  py::array_t<int64_t> lines({static_cast<py::ssize_t>(found.lines.size()), py::ssize_t{3}},
                             found.lines.empty() ? nullptr : &found.lines[0].number);
  return py::make_tuple(lists, odd, lines, found.blank_lines, found.line_count);
}

}  // namespace

PYBIND11_MODULE(_jsonl, module) {
  module.doc() = "Texts of wanted keys out of blocks of JSON lines";
  module.def("extract", &extract, py::arg("data"), py::arg("keys"), py::arg("reserved") = "");
}
