// Python module steel_megatron._jsonl: a block of JSON lines → the texts of the wanted keys.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "scan.h"

namespace py = pybind11;

namespace {

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
  jsonl::Block found;
  {
    py::gil_scoped_release release;
    found = jsonl::scan_block(begin, static_cast<size_t>(size), keys, reserved);
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
  static_assert(sizeof(jsonl::Line) == 3 * sizeof(int64_t));
  py::array_t<int64_t> lines({static_cast<py::ssize_t>(found.lines.size()), py::ssize_t{3}},
                             found.lines.empty() ? nullptr : &found.lines[0].number);
  return py::make_tuple(lists, odd, lines, found.blank_lines, found.line_count);
}

}  // namespace

PYBIND11_MODULE(_jsonl, module) {
  module.doc() = "Texts of wanted keys out of blocks of JSON lines";
  module.def("extract", &extract, py::arg("data"), py::arg("keys"), py::arg("reserved") = "");
}
