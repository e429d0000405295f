// Python module steel_megatron._bpe_train: texts → counted pre-tokens → the merges of a byte-pair encoding.
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "counts.h"
#include "pretokens.h"
#include "trainer.h"

namespace py = pybind11;

namespace {

using bpe_train::Counter;
using bpe_train::Trainer;

// The UTF-8 of a Python text, which lives as long as the text.
std::pair<const char*, size_t> utf8(const py::handle& text) {
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (data == nullptr) throw py::error_already_set();
  return {data, static_cast<size_t>(size)};
}

void add_all(Counter& counter, const py::list& texts) {
  std::vector<std::pair<const char*, size_t>> all;
  for (const py::handle& text : texts) all.push_back(utf8(text));
  py::gil_scoped_release release;
  for (const auto& [data, size] : all) counter.add(data, size);
}

py::list pretokens(const py::str& text) {
  const auto [data, size] = utf8(text);
  const auto* begin = reinterpret_cast<const uint8_t*>(data);
  py::list found;
  for (bpe_train::Cutter cutter(begin, begin + size); !cutter.done();) {
    const uint8_t* end = cutter.next();
    found.append(py::str(reinterpret_cast<const char*>(begin), static_cast<size_t>(end - begin)));
    begin = end;
  }
  return found;
}

void train(Trainer& trainer, size_t tokens, const py::function& progress) {
  py::gil_scoped_release release;
  trainer.train(tokens, [&](size_t done) {
    py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    progress(done);
  });
}

std::vector<py::bytes> tokens_of(const Trainer& trainer) {
  std::vector<py::bytes> tokens;
  for (uint32_t id = 0; id < trainer.vocabulary().size(); ++id) tokens.emplace_back(trainer.vocabulary().content(id));
  return tokens;
}

}  // namespace

PYBIND11_MODULE(_bpe_train, module) {
  module.doc() = "Counting pre-tokens and learning merges in bounded memory";
  const auto long_call = py::call_guard<py::gil_scoped_release>();
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const bpe_train::FileError& error) {
      errno = error.code().value();
      PyErr_SetFromErrnoWithFilename(PyExc_OSError, error.path.c_str());
    }
  });

  py::class_<Counter>(module, "Counter")
      .def(py::init<const std::string&, uint64_t, size_t>(), py::arg("path"), py::arg("memory"), py::arg("sections"))
      .def("add", &add_all, py::arg("texts"))
      .def("finish", &Counter::finish, long_call);

  module.def("pretokens", &pretokens, py::arg("text"));
  module.def(
      "section_sizes",
      [](const std::vector<std::string>& paths) {
        std::vector<std::pair<uint64_t, uint64_t>> sizes;
        for (const auto& section : bpe_train::section_sizes(paths)) sizes.emplace_back(section.bytes, section.entries);
        return sizes;
      },
      py::arg("paths"), long_call);
  module.def(
      "merge_counts",
      [](const std::vector<std::string>& paths, uint64_t first, uint64_t last, uint64_t memory,
         const std::string& target) {
        const auto size = bpe_train::merge_counts(paths, first, last, memory, target);
        return std::pair(size.bytes, size.entries);
      },
      py::arg("paths"), py::arg("first"), py::arg("last"), py::arg("memory"), py::arg("target"), long_call);

  py::class_<bpe_train::Kept>(module, "Kept")
      .def_readonly("pretokens", &bpe_train::Kept::pretokens)
      .def_readonly("bytes", &bpe_train::Kept::bytes)
      .def_readonly("counted_pretokens", &bpe_train::Kept::counted_pretokens)
      .def_readonly("counted_bytes", &bpe_train::Kept::counted_bytes)
      .def_readonly("threshold", &bpe_train::Kept::threshold);
  py::class_<Trainer>(module, "Trainer")
      .def(py::init<const std::vector<std::string>&, const std::vector<uint32_t>&, uint64_t, uint64_t>(),
           py::arg("paths"), py::arg("byte_ids"), py::arg("text_memory"), py::arg("pair_memory"), long_call)
      .def("train", &train, py::arg("tokens"), py::arg("progress"))
      .def_property_readonly("kept", &Trainer::kept)
      .def_property_readonly("tokens", &tokens_of)
      .def_property_readonly("merges", &Trainer::merges);
}
