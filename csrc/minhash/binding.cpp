// Python module steel_megatron._minhash. Long calls release the GIL; texts are read where Python holds them.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>

#include "common/python_text.h"
#include "overlap.h"
#include "pairs.h"

namespace py = pybind11;
using namespace minhash;

namespace {

template <class Value>
using Array = py::array_t<Value, py::array::c_style>;

template <class Call>
auto on(const Text& text, Call&& call) {
  if (text.width == 1) return call(static_cast<const uint8_t*>(text.data), text.length);
  if (text.width == 2) return call(static_cast<const uint16_t*>(text.data), text.length);
  return call(static_cast<const uint32_t*>(text.data), text.length);
}

// An array that owns the vector, without a copy.
template <class Value>
Array<Value> array_of(std::vector<Value>&& values) {
  auto owned = std::make_unique<std::vector<Value>>(std::move(values));
  auto* vector = owned.release();
  const py::capsule owner(vector, [](void* pointer) { delete static_cast<std::vector<Value>*>(pointer); });
  return Array<Value>(static_cast<py::ssize_t>(vector->size()), vector->data(), owner);
}

py::tuple signatures(const py::list& list) {
  const std::vector<Text> texts = texts_of(list);
  const auto count = static_cast<py::ssize_t>(texts.size());
  Array<uint16_t> signed_DP({count, static_cast<py::ssize_t>(kPermutations)});
  Array<uint64_t> shingles_D(count);
  uint16_t* signature = signed_DP.mutable_data();
  uint64_t* shingles = shingles_D.mutable_data();
  {
    const py::gil_scoped_release release;
    Minima minima;
    for (const Text& text : texts) {
      *shingles++ = on(text, [&](auto* data, size_t length) { return sign(data, length, minima, signature); });
      signature += kPermutations;
    }
  }
  return py::make_tuple(signed_DP, shingles_D);
}

py::tuple plain_texts(const py::list& list) {
  const std::vector<Text> texts = texts_of(list);
  std::vector<char> bytes;
  std::vector<int64_t> ends;
  {
    const py::gil_scoped_release release;
    for (const Text& text : texts) {
      on(text, [&](auto* data, size_t length) { append_plain(data, length, bytes); });
      ends.push_back(static_cast<int64_t>(bytes.size()));
    }
  }
  return py::make_tuple(array_of(std::move(bytes)), array_of(std::move(ends)));
}

Array<uint64_t> grams(const py::str& given, unsigned size) {
  std::vector<uint64_t> found;
  on(text_of(given),
     [&](auto* data, size_t length) { each_gram(data, length, size, [&](uint64_t gram) { found.push_back(gram); }); });
  return array_of(std::move(found));
}

// Records travel as bytes; numpy sees them as structures.
template <class Record>
std::pair<Record*, size_t> records_of(Array<uint8_t>& bytes) {
  if (bytes.size() % sizeof(Record) != 0) throw py::value_error("not a whole number of records");
  return {reinterpret_cast<Record*>(bytes.mutable_data()), static_cast<size_t>(bytes.size()) / sizeof(Record)};
}

py::tuple band_records_of(const Array<uint16_t>& signed_DP, const Array<uint8_t>& active_D, uint32_t first,
                          uint32_t partitions) {
  if (signed_DP.ndim() != 2 || signed_DP.shape(1) != kPermutations || signed_DP.shape(0) != active_D.size()) {
    throw py::value_error("a document has one signature and one mark");
  }
  std::vector<uint64_t> counts(partitions);
  std::vector<BandRecord> records;
  {
    const py::gil_scoped_release release;
    records = band_records(signed_DP.data(), active_D.data(), static_cast<size_t>(active_D.size()), first, partitions,
                           counts.data());
  }
  const auto size = static_cast<py::ssize_t>(records.size() * sizeof(BandRecord));
  Array<uint8_t> bytes(size, reinterpret_cast<const uint8_t*>(records.data()));
  return py::make_tuple(bytes, array_of(std::move(counts)));
}

class PyOverlap : public Overlap {
 public:
  using Overlap::Overlap;
  py::list find_all(const py::list& list) {
    const std::vector<Text> texts = texts_of(list);
    std::vector<std::pair<size_t, Found>> found;
    {
      const py::gil_scoped_release release;
      for (size_t i = 0; i < texts.size(); ++i) {
        Found best{};
        if (on(texts[i], [&](auto* data, size_t length) { return find(data, length, best); })) {
          found.emplace_back(i, best);
        }
      }
    }
    py::list result;
    for (const auto& [i, best] : found) result.append(py::make_tuple(i, best.item, best.hits, best.grams));
    return result;
  }
};

}  // namespace

PYBIND11_MODULE(_minhash, module) {
  module.doc() = "MinHash signatures, their bands and pairs, and n-gram overlap";
  const steel::InstructionSet chosen = steel::chosen_set();
  use(chosen);
  module.attr("instruction_set") = steel::name_of(chosen);
  module.attr("PERMUTATIONS") = kPermutations;
  module.attr("BANDS") = kBands;
  module.attr("ROWS") = kRows;
  module.attr("SHINGLE") = kShingle;
  module.def("signatures", &signatures, py::arg("texts"));
  module.def("simplified", &simplified, py::arg("character"));
  module.def("plain_texts", &plain_texts, py::arg("texts"));
  module.def("grams", &grams, py::arg("text"), py::arg("size"));
  module.def("band_records", &band_records_of, py::arg("signatures"), py::arg("active"), py::arg("first"),
             py::arg("partitions"));
  module.def(
      "bucket_pairs",
      [](Array<uint8_t>& bytes) {
        const auto [records, count] = records_of<BandRecord>(bytes);
        const auto call = [records = records, count = count] {
          const py::gil_scoped_release release;
          return bucket_pairs(records, count);
        };
        return array_of(call());
      },
      py::arg("records").noconvert());
  module.def(
      "exact_pairs",
      [](Array<uint8_t>& bytes) {
        const auto [records, count] = records_of<ExactRecord>(bytes);
        const auto call = [records = records, count = count] {
          const py::gil_scoped_release release;
          return exact_pairs(records, count);
        };
        return array_of(call());
      },
      py::arg("records").noconvert());
  module.def(
      "unite",
      [](Array<uint32_t>& parents, const Array<uint64_t>& pairs) {
        auto* data = parents.mutable_data();
        const py::gil_scoped_release release;
        unite(data, static_cast<size_t>(parents.size()), pairs.data(), static_cast<size_t>(pairs.size()));
      },
      py::arg("parents").noconvert(), py::arg("pairs"));
  module.def(
      "flatten",
      [](Array<uint32_t>& parents) {
        auto* data = parents.mutable_data();
        const py::gil_scoped_release release;
        flatten(data, static_cast<size_t>(parents.size()));
      },
      py::arg("parents").noconvert());

  py::class_<SignatureFiles>(module, "SignatureFiles")
      .def(py::init<std::vector<std::string>, std::vector<uint64_t>>(), py::arg("paths"), py::arg("firsts"))
      .def(
          "matches",
          [](SignatureFiles& self, const Array<uint64_t>& pairs) {
            const auto call = [&] {
              const py::gil_scoped_release release;
              return self.matches(pairs.data(), static_cast<size_t>(pairs.size()));
            };
            return array_of(call());
          },
          py::arg("pairs"))
      .def(
          "fall",
          [](SignatureFiles& self, Array<uint32_t>& parents, const Array<uint64_t>& pairs, unsigned least) {
            auto* data = parents.mutable_data();
            const py::gil_scoped_release release;
            self.fall(data, static_cast<size_t>(parents.size()), pairs.data(), static_cast<size_t>(pairs.size()),
                      least);
          },
          py::arg("parents").noconvert(), py::arg("pairs"), py::arg("least"));

  py::class_<PyOverlap>(module, "Overlap")
      .def(py::init<unsigned, double, uint32_t, uint32_t>(), py::arg("size"), py::arg("share"), py::arg("common"),
           py::arg("fewest"))
      .def(
          "add_item",
          [](PyOverlap& self, const py::str& item) {
            on(text_of(item), [&](auto* data, size_t length) { self.add_item(data, length); });
          },
          py::arg("text"))
      .def("finish", &PyOverlap::finish)
      .def("find", &PyOverlap::find_all, py::arg("texts"));
}
