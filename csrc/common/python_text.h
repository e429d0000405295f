// The characters of Python strings, read where Python holds them.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <vector>

namespace py = pybind11;

// The characters of a Python string: 1, 2 or 4 bytes each.
struct Text {
  const void* data;
  size_t length;
  int width;
};

inline Text text_of(py::handle object) {
  if (!PyUnicode_Check(object.ptr())) throw py::type_error("a text is a str");
  if (PyUnicode_READY(object.ptr()) != 0) throw py::error_already_set();
  return {PyUnicode_DATA(object.ptr()), static_cast<size_t>(PyUnicode_GET_LENGTH(object.ptr())),
          static_cast<int>(PyUnicode_KIND(object.ptr()))};
}

inline std::vector<Text> texts_of(const py::list& list) {
  std::vector<Text> texts;
  texts.reserve(list.size());
  for (const py::handle item : list) texts.push_back(text_of(item));
  return texts;
}
