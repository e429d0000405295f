// Python module steel_megatron._bpe: byte-pair encoding.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/instruction_set.h"
#include "encoder.h"
#include "unicode.h"
#include "vocabulary.h"

namespace py = pybind11;

namespace {

using bpe::Outcome;

std::string_view view(const py::handle& text) {
  if (PyBytes_Check(text.ptr()))
    return {PyBytes_AS_STRING(text.ptr()), static_cast<size_t>(PyBytes_GET_SIZE(text.ptr()))};
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (data == nullptr) throw py::error_already_set();
  return {data, static_cast<size_t>(size)};
}

class PyEncoder {
 public:
  PyEncoder(const std::vector<py::bytes>& tokens, const std::vector<int32_t>& ids, const std::string& pattern,
            size_t digits, bool whole_pieces, bool normal_form)
      : vocabulary_(views(tokens), ids, whole_pieces),
        encoder_(vocabulary_, pattern == "words" ? bpe::Pattern::kWords : bpe::Pattern::kLines, digits),
        any_form_(!normal_form) {}

  py::tuple encode(const py::list& texts, const py::object& normalize, const py::object& reference) {
    ids_.size = 0;
    py::array_t<int64_t> lengths(static_cast<py::ssize_t>(texts.size()));
    int64_t* length = lengths.mutable_data();
    for (const py::handle& text : texts) {
      const size_t before = ids_.size;
      Outcome outcome = encode_one(view(text), any_form_);
      if (outcome == Outcome::kMayChange) {
        const py::object normal = normalize(text);
        outcome = encode_one(view(normal), true);
      }
      if (outcome != Outcome::kDone) {
        const py::array_t<int32_t, py::array::c_style | py::array::forcecast> found = reference(text);
        const auto count = static_cast<size_t>(found.size());
        ids_.reserve(count);
        std::memcpy(ids_.data() + ids_.size, found.data(), count * sizeof(int32_t));
        ids_.size += count;
      }
      *length++ = static_cast<int64_t>(ids_.size - before);
    }
    py::array_t<int32_t> ids(static_cast<py::ssize_t>(ids_.size));
    std::memcpy(ids.mutable_data(), ids_.data(), ids_.size * sizeof(int32_t));
    return py::make_tuple(ids, lengths);
  }

  py::array_t<uint32_t> merges() const {
    const auto& merges = vocabulary_.merges();
    static_assert(sizeof(bpe::Vocabulary::Merge) == 3 * sizeof(uint32_t));
    return py::array_t<uint32_t>({static_cast<py::ssize_t>(merges.size()), py::ssize_t{3}},
                                 merges.empty() ? nullptr : &merges[0].left);
  }

 private:
  static std::vector<std::string_view> views(const std::vector<py::bytes>& tokens) {
    std::vector<std::string_view> result;
    result.reserve(tokens.size());
    for (const py::bytes& token : tokens) result.push_back(view(token));
    return result;
  }

  Outcome encode_one(std::string_view text, bool any_form) {
    if (buffer_.size() < text.size() + bpe::kPadding) buffer_.resize(2 * text.size() + bpe::kPadding);
    std::memcpy(buffer_.data(), text.data(), text.size());
    std::memset(buffer_.data() + text.size(), 0, bpe::kPadding);
    return encoder_.encode(buffer_.data(), text.size(), any_form, ids_);
  }

  bpe::Vocabulary vocabulary_;
  bpe::Encoder encoder_;
  bool any_form_;
  std::vector<uint8_t> buffer_;
  bpe::Ids ids_;
};

}  // namespace

PYBIND11_MODULE(_bpe, module) {
  module.doc() = "Byte-pair encoding";
  bpe::make_classes();
  const auto set = steel::chosen_set();
  module.attr("instruction_set") =
      steel::name_of(set < steel::InstructionSet::kAvx2 ? set : steel::InstructionSet::kAvx2);
  py::class_<PyEncoder>(module, "Encoder")
      .def(py::init<const std::vector<py::bytes>&, const std::vector<int32_t>&, const std::string&, size_t, bool,
                    bool>(),
           py::arg("tokens"), py::arg("ids"), py::arg("pattern"), py::arg("digits"), py::arg("whole_pieces"),
           py::arg("normal_form"))
      .def("encode", &PyEncoder::encode, py::arg("texts"), py::arg("normalize"), py::arg("reference"))
      .def_property_readonly("merges", &PyEncoder::merges);
}
