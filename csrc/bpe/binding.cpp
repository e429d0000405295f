// Python module steel_megatron._bpe: byte-pair encoding.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/instruction_set.h"
#include "encoder.h"
#include "jsonl/scan.h"
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
            size_t digits, bool whole_pieces, bool normal_form, const std::vector<py::bytes>& added)
      : vocabulary_(views(tokens), ids, whole_pieces),
        encoder_(vocabulary_, pattern == "words" ? bpe::Pattern::kWords : bpe::Pattern::kLines, digits),
        any_form_(!normal_form) {
    for (const py::bytes& token : added) added_.emplace_back(view(token));
  }

  py::tuple encode(const py::list& texts, const py::object& normalize, const py::object& reference) {
    ids_.size = 0;
    py::array_t<int64_t> lengths(static_cast<py::ssize_t>(texts.size()));
    int64_t* length = lengths.mutable_data();
    for (const py::handle& text : texts) {
      const size_t before = ids_.size;
      set_text(view(text));
      const Outcome outcome = encode_text(any_form_);
      if (outcome != Outcome::kDone)
        encode_otherwise(outcome, py::reinterpret_borrow<py::object>(text), normalize, reference);
      *length++ = static_cast<int64_t>(ids_.size - before);
    }
    return py::make_tuple(taken_ids(), lengths);
  }

  // None when a line needs a closer look.
  py::object encode_lines(const py::bytes& data, const std::vector<std::string>& keys, const std::string& reserved,
                          const std::optional<int32_t>& end, const py::object& normalize, const py::object& reference) {
    const std::string_view block = view(data);
    jsonl::Block found;
    bool good;
    {
      py::gil_scoped_release release;
      found = jsonl::scan_block(block.data(), block.size(), keys, reserved);
      good = all_good(found);
    }
    if (!good) return py::none();
    py::list by_key;
    for (size_t key = 0; key < keys.size(); ++key) {
      py::array_t<int64_t> lengths(static_cast<py::ssize_t>(found.lines.size()));
      int64_t *length = lengths.mutable_data(), bytes = 0;
      ids_.size = 0;
      {
        py::gil_scoped_release release;
        for (size_t i = key; i < found.texts.size(); i += keys.size()) {
          *length++ = encode_value(found.texts[i], end, normalize, reference, bytes);
        }
      }
      by_key.append(py::make_tuple(taken_ids(), lengths, bytes));
    }
    return py::make_tuple(by_key, found.blank_lines, found.line_count);
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

  static bool all_good(const jsonl::Block& block) {
    for (char good : block.good) {
      if (good == 0) return false;
    }
    for (const jsonl::Text& text : block.texts) {
      if (!jsonl::is_utf8(text.begin, text.end)) return false;
    }
    return true;
  }

  // Encodes a text of a line; returns how many ids it has. Called without Python's lock.
  int64_t encode_value(const jsonl::Text& text, const std::optional<int32_t>& end, const py::object& normalize,
                       const py::object& reference, int64_t& bytes) {
    const size_t before = ids_.size;
    if (text.escaped) {
      text_.clear();
      jsonl::unescape(text, text_);
      pad_text();
    } else {
      set_text({text.begin, static_cast<size_t>(text.end - text.begin)});
    }
    bytes += static_cast<int64_t>(size_);
    const Outcome outcome = encode_text(any_form_);
    if (outcome != Outcome::kDone) {
      py::gil_scoped_acquire acquire;
      encode_otherwise(outcome, py::str(text_.data(), size_), normalize, reference);
    }
    if (end && ids_.size > before) {  // as in Megatron, a document without a token stays empty
      ids_.reserve(1);
      ids_.data()[ids_.size++] = *end;
    }
    return static_cast<int64_t>(ids_.size - before);
  }

  void encode_otherwise(Outcome outcome, const py::object& text, const py::object& normalize,
                        const py::object& reference) {
    if (outcome == Outcome::kMayChange) {
      const py::object normal = normalize(text);
      set_text(view(normal));
      outcome = encode_text(true);
    }
    if (outcome == Outcome::kDone) return;
    const py::array_t<int32_t, py::array::c_style | py::array::forcecast> found = reference(text);
    const auto count = static_cast<size_t>(found.size());
    ids_.reserve(count);
    std::memcpy(ids_.data() + ids_.size, found.data(), count * sizeof(int32_t));
    ids_.size += count;
  }

  void set_text(std::string_view text) {
    text_.assign(text);
    pad_text();
  }
  void pad_text() {
    size_ = text_.size();
    text_.append(bpe::kPadding, '\0');
  }
  Outcome encode_text(bool any_form) {
    if (holds_added()) return Outcome::kInDoubt;
    return encoder_.encode(reinterpret_cast<const uint8_t*>(text_.data()), size_, any_form, ids_);
  }

  bool holds_added() const {
    const std::string_view text(text_.data(), size_);
    for (const std::string& token : added_) {
      if (text.find(token) != std::string_view::npos) return true;
    }
    return false;
  }

  py::array_t<int32_t> taken_ids() {
    py::array_t<int32_t> ids(static_cast<py::ssize_t>(ids_.size));
    if (ids_.size > 0) std::memcpy(ids.mutable_data(), ids_.data(), ids_.size * sizeof(int32_t));
    return ids;
  }

  bpe::Vocabulary vocabulary_;
  bpe::Encoder encoder_;
  bool any_form_;
  std::vector<std::string> added_;
  std::string text_;  // and kPadding bytes
  size_t size_ = 0;   // of the text
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
      .def(py::init<const std::vector<py::bytes>&, const std::vector<int32_t>&, const std::string&, size_t, bool, bool,
                    const std::vector<py::bytes>&>(),
           py::arg("tokens"), py::arg("ids"), py::arg("pattern"), py::arg("digits"), py::arg("whole_pieces"),
           py::arg("normal_form"), py::arg("added") = std::vector<py::bytes>())
      .def("encode", &PyEncoder::encode, py::arg("texts"), py::arg("normalize"), py::arg("reference"))
      .def("encode_lines", &PyEncoder::encode_lines, py::arg("data"), py::arg("keys"), py::arg("reserved"),
           py::arg("end"), py::arg("normalize"), py::arg("reference"))
      .def_property_readonly("merges", &PyEncoder::merges);
}
