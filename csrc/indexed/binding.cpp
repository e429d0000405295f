// Python module steel_megatron._indexed: the reader and writer over numpy arrays.
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "lost_pages.h"
#include "reader.h"
#include "writer.h"

namespace py = pybind11;
using indexed::FormatError;
using indexed::Reader;
using indexed::TokenView;
using indexed::Writer;

namespace {

using Lengths = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;

// One-dimensional, without gaps, bytes in the machine's order.
py::array plain(const py::array& array) {
  if (array.ndim() != 1) {
    throw FormatError("token ids in " + std::to_string(array.ndim()) + " dimensions", "they are one-dimensional");
  }
  const bool swapped = array.dtype().byteorder() == '>';
  return py::array::ensure(swapped ? py::array(array.attr("astype")(array.dtype().attr("newbyteorder")("="))) : array,
                           py::array::c_style);
}

TokenView view_of(const py::array& array) {
  return {array.data(), static_cast<uint64_t>(array.size()), array.dtype().kind(),
          static_cast<uint64_t>(array.itemsize())};
}

py::array_t<uint8_t> bytes_of(const py::object& owner, const indexed::MappedFile& file) {
  const auto* data = reinterpret_cast<const uint8_t*>(file.data());
  auto array = py::array_t<uint8_t>(static_cast<py::ssize_t>(file.size()), data, owner);  // owner keeps the mapping
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

indexed::Progress with_gil(const py::object& callback) {
  if (callback.is_none()) return {};
  return [&callback](uint64_t bytes) {
    py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    callback(bytes);
  };
}

}  // namespace

namespace {

// Documents in another order; `lengths` are those of the documents as they lie.
py::array gather(const py::array& tokens, const Lengths& lengths, const Lengths& order) {
  const py::array kept = plain(tokens);
  const auto count = static_cast<size_t>(lengths.size());
  std::vector<int64_t> starts(count + 1, 0);
  for (size_t i = 0; i < count; ++i) starts[i + 1] = starts[i] + lengths.data()[i];
  if (starts[count] != kept.size() || order.size() != lengths.size()) {
    throw FormatError(
        "documents of " + std::to_string(starts[count]) + " tokens with " + std::to_string(kept.size()) + " ids",
        "the lengths add up to the number of ids, and the order has every document");
  }
  py::array out(kept.dtype(), kept.size());
  const auto item = static_cast<size_t>(kept.itemsize());
  const auto* from = static_cast<const char*>(kept.data());
  auto* to = static_cast<char*>(out.mutable_data());
  py::gil_scoped_release release;
  for (size_t i = 0; i < count; ++i) {
    const auto document = static_cast<size_t>(order.data()[i]);
    if (document >= count) throw FormatError("document " + std::to_string(document), "the order has every document");
    const size_t bytes = static_cast<size_t>(lengths.data()[document]) * item;
    std::memcpy(to, from + static_cast<size_t>(starts[document]) * item, bytes);
    to += bytes;
  }
  return out;
}

}  // namespace

PYBIND11_MODULE(_indexed, module) {
  module.doc() = "Reader and writer of Megatron's .bin/.idx datasets";
  module.def("guard_thread", &indexed::guard_thread, py::arg("on"));
  module.def("lost_pages", &indexed::lost_pages);
  module.def("gather", &gather, py::arg("tokens"), py::arg("lengths"), py::arg("order"));

  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const FormatError& error) {
      const py::object type = py::module_::import("steel_megatron.config").attr("DataError");
      PyErr_SetObject(type.ptr(), type(error.what(), error.rule, error.fix).ptr());
    }
  });

  py::class_<Writer>(module, "Writer")
      .def(py::init<const std::string&, const std::string&>(), py::arg("prefix"), py::arg("dtype"))
      .def(
          "add_sequences",
          [](Writer& self, const py::array& tokens, const Lengths& lengths) {
            const py::array kept = plain(tokens);
            const TokenView view = view_of(kept);
            py::gil_scoped_release release;
            self.add_sequences(view, lengths.data(), static_cast<uint64_t>(lengths.size()));
          },
          py::arg("tokens"), py::arg("lengths"))
      .def("end_document", &Writer::end_document)
      .def(
          "add_document",
          [](Writer& self, const py::array& tokens) {
            const py::array kept = plain(tokens);
            const TokenView view = view_of(kept);
            py::gil_scoped_release release;
            self.add_document(view);
          },
          py::arg("tokens"))
      .def(
          "add_documents",
          [](Writer& self, const py::array& tokens, const Lengths& lengths) {
            const py::array kept = plain(tokens);
            const TokenView view = view_of(kept);
            py::gil_scoped_release release;
            self.add_documents(view, lengths.data(), static_cast<uint64_t>(lengths.size()));
          },
          py::arg("tokens"), py::arg("lengths"))
      .def(
          "append_dataset",
          [](Writer& self, const std::string& prefix, const py::object& progress) {
            const auto callback = with_gil(progress);
            py::gil_scoped_release release;
            self.append_dataset(prefix, callback);
          },
          py::arg("prefix"), py::arg("progress") = py::none())
      .def("finish", &Writer::finish, py::call_guard<py::gil_scoped_release>())
      .def("abort", &Writer::abort)
      .def_property_readonly("closed", &Writer::closed)
      .def_property_readonly("sequence_count", &Writer::sequence_count)
      .def_property_readonly("document_count", &Writer::document_count)
      .def_property_readonly("token_count", &Writer::token_count);

  py::class_<indexed::MappedFile>(module, "MappedFile")
      .def(py::init<const std::string&>(), py::arg("path"))
      .def_property_readonly(
          "bytes", [](const py::object& self) { return bytes_of(self, self.cast<const indexed::MappedFile&>()); })
      .def_property_readonly("damaged", &indexed::MappedFile::damaged);

  py::class_<Reader>(module, "Reader")
      .def(py::init<const std::string&>(), py::arg("prefix"))
      .def("validate", &Reader::validate, py::call_guard<py::gil_scoped_release>())
      .def("sequence_range", &Reader::sequence_range)
      .def("document_range", &Reader::document_range)
      .def("document_starts_between",
           [](const Reader& self, int64_t start, int64_t stop) {
             const auto starts = self.document_starts_between(start, stop);
             return py::array_t<int64_t>(static_cast<py::ssize_t>(starts.size()), starts.data());
           })
      .def_property_readonly("dtype", [](const Reader& self) { return self.dtype().name; })
      .def_property_readonly("sequence_count", &Reader::sequence_count)
      .def_property_readonly("document_count", &Reader::document_count)
      .def_property_readonly("token_count", &Reader::token_count)
      .def_property_readonly("multimodal", &Reader::multimodal)
      .def_property_readonly("damaged",
                             [](const Reader& self) {
                               std::vector<std::string> paths;
                               if (self.idx().damaged()) paths.push_back(self.idx_path());
                               if (self.bin().damaged()) paths.push_back(self.bin_path());
                               return paths;
                             })
      .def_property_readonly("lengths_at", &Reader::lengths_at)
      .def_property_readonly("pointers_at", &Reader::pointers_at)
      .def_property_readonly("boundaries_at", &Reader::boundaries_at)
      .def_property_readonly("modes_at", &Reader::modes_at)
      .def_property_readonly("bin_bytes",
                             [](const py::object& self) { return bytes_of(self, self.cast<const Reader&>().bin()); })
      .def_property_readonly("idx_bytes",
                             [](const py::object& self) { return bytes_of(self, self.cast<const Reader&>().idx()); });
}
