// Python module steel_megatron._classify. Long calls release the GIL; texts are read where Python holds them.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <string>
#include <vector>

#include "common/python_text.h"
#include "jsonl/scan.h"
#include "language_model.h"
#include "linear.h"
#include "trainer.h"

namespace py = pybind11;
using namespace classify;

namespace {

template <class Value>
using Array = py::array_t<Value, py::array::c_style>;

const std::vector<uint32_t>& normalise(const Text& text, uint64_t characters, Normalised& normalised) {
  const size_t length = std::min<size_t>(text.length, characters);
  const auto add = [&](const auto* data) {
    for (size_t i = 0; i < length; ++i) normalised.add(data[i]);
  };
  normalised.begin(length);
  if (text.width == 1) add(static_cast<const uint8_t*>(text.data));
  else if (text.width == 2) add(static_cast<const uint16_t*>(text.data));
  else add(static_cast<const uint32_t*>(text.data));
  return normalised.end();
}

// Of UTF-8 that is known to be right.
const std::vector<uint32_t>& normalise(const char* begin, const char* end, uint64_t characters,
                                       Normalised& normalised) {
  const auto* at = reinterpret_cast<const unsigned char*>(begin);
  const auto* stop = reinterpret_cast<const unsigned char*>(end);
  normalised.begin(std::min<size_t>(static_cast<size_t>(stop - at), characters));
  for (; at < stop && characters > 0; --characters) {
    uint32_t c = *at++;
    if (c >= 0x80) {
      const unsigned more = c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
      c &= 0x3FU >> more;
      for (unsigned i = 0; i < more; ++i) c = c << 6 | (*at++ & 0x3FU);
    }
    normalised.add(c);
  }
  return normalised.end();
}

// What Python's bytes.strip() takes away.
bool blank(const char* at, const char* end) {
  while (at < end && (*at == ' ' || (*at >= '\t' && *at <= '\r'))) ++at;
  return at == end;
}

using Models = std::vector<const Linear*>;

// The logits of each model behind one another, for a text that `normalised_to` gives of so many characters.
template <class NormaliseTo>
void score(const Models& models, NormaliseTo&& normalised_to, double* out) {
  const std::vector<uint32_t>* text = nullptr;
  uint64_t characters = 0;
  for (const Linear* model : models) {
    if (text == nullptr || model->settings().characters != characters) {
      characters = model->settings().characters;
      text = &normalised_to(characters);
    }
    model->logits(*text, out);
    out += model->columns();
  }
}

size_t columns_of(const Models& models) {
  size_t columns = 0;
  for (const Linear* model : models) columns += model->columns();
  return columns;
}

Array<double> score_texts(const Models& models, const py::list& list) {
  const std::vector<Text> texts = texts_of(list);
  const size_t columns = columns_of(models);
  Array<double> scores({static_cast<py::ssize_t>(texts.size()), static_cast<py::ssize_t>(columns)});
  double* out = scores.mutable_data();
  const py::gil_scoped_release release;
  Normalised normalised;
  for (const Text& text : texts) {
    score(models, [&](uint64_t characters) -> auto& { return normalise(text, characters, normalised); }, out);
    out += columns;
  }
  return scores;
}

struct Line {
  int64_t start, stop, good;
};

py::tuple score_lines(const Models& models, const py::bytes& block, const std::string& key) {
  char* data = nullptr;
  Py_ssize_t size = 0;
  if (PyBytes_AsStringAndSize(block.ptr(), &data, &size) != 0) throw py::error_already_set();
  const size_t columns = columns_of(models);
  std::vector<Line> lines;
  std::vector<double> scores;
  {
    const py::gil_scoped_release release;
    jsonl::Scanner scanner({key}, "");
    Normalised normalised;
    std::string unescaped;
    const char* end = data + size;
    for (const char* at = data; at < end;) {
      const auto* feed = static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(end - at)));
      const char* stop = feed == nullptr ? end : feed;
      if (!blank(at, stop)) {
        jsonl::Text text;
        if (scanner.scan(at, stop)) text = scanner.texts()[0];
        if (text.escaped) {
          unescaped.clear();
          jsonl::unescape(text, unescaped);
          text = {unescaped.data(), unescaped.data() + unescaped.size(), false};
        }
        const bool good = text.begin != nullptr && jsonl::is_utf8(text.begin, text.end);
        lines.push_back({at - data, stop - data, good ? 1 : 0});
        scores.resize(lines.size() * columns);
        if (good) {
          score(
              models,
              [&](uint64_t characters) -> auto& { return normalise(text.begin, text.end, characters, normalised); },
              &scores[scores.size() - columns]);
        }
      }
      at = feed == nullptr ? end : feed + 1;
    }
  }
  const auto rows = static_cast<py::ssize_t>(lines.size());
  static_assert(sizeof(Line) == 3 * sizeof(int64_t));
  return py::make_tuple(Array<double>({rows, static_cast<py::ssize_t>(columns)}, scores.data()),
                        Array<int64_t>({rows, py::ssize_t{3}}, lines.empty() ? nullptr : &lines[0].start));
}

Array<uint32_t> features(const py::str& text, const Settings& settings) {
  Normalised normalised;
  std::vector<uint32_t> numbers;
  each_feature(normalise(text_of(text), settings.characters, normalised), settings,
               [&](uint32_t number) { numbers.push_back(number); });
  return Array<uint32_t>(static_cast<py::ssize_t>(numbers.size()), numbers.data());
}

class PyTrainer : public Trainer {
 public:
  PyTrainer(const Settings& settings, unsigned classes)
      : Trainer(settings, classes), characters_(settings.characters) {}

  void add_texts(const py::list& list, uint32_t label) {
    const std::vector<Text> texts = texts_of(list);
    const py::gil_scoped_release release;
    for (const Text& text : texts) add(normalise(text, characters_, normalised_), label);
  }

  // The weights, (buckets, columns), and the biases; `on_epoch` is called with the epoch and its mean loss.
  py::tuple train_all(unsigned epochs, float rate, uint64_t seed, const py::function& on_epoch) {
    {
      const py::gil_scoped_release release;
      train({epochs, rate, seed}, [&](unsigned epoch, double loss) {
        const py::gil_scoped_acquire acquire;
        on_epoch(epoch, loss);
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
        return true;
      });
    }
    const auto C = static_cast<py::ssize_t>(columns());
    const auto B = static_cast<py::ssize_t>(weights_BC().size()) / C;
    return py::make_tuple(Array<float>({B, C}, weights_BC().data()), Array<float>(C, bias_C().data()));
  }

 private:
  uint64_t characters_;
  Normalised normalised_;
};

class PyLanguageModelTrainer : public LanguageModelTrainer {
 public:
  PyLanguageModelTrainer(unsigned order, unsigned least_count, uint64_t characters)
      : LanguageModelTrainer(order, least_count), characters_(characters) {
    if (order < 2 || order > kLongest || least_count < 1) throw py::value_error("the order is 2 to 8");
  }

  void add_texts(const py::list& list) {
    const std::vector<Text> texts = texts_of(list);
    const py::gil_scoped_release release;
    for (const Text& text : texts) add(normalise(text, characters_, normalised_));
  }

  void finish_all(const py::function& on_order) {
    const py::gil_scoped_release release;
    finish([&] {
      const py::gil_scoped_acquire acquire;
      on_order();
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    });
  }

  // Tokens, probability and what is left, as natural logarithms, of each n-gram of an order that is kept.
  py::tuple grams(unsigned n) const {
    const auto count = static_cast<py::ssize_t>(kept().at(n - 1));
    Array<uint16_t> tokens({count, static_cast<py::ssize_t>(n)});
    Array<float> logarithms({count, py::ssize_t{2}});
    uint16_t* token = tokens.mutable_data();
    float* out = logarithms.mutable_data();
    each_gram(n, [&](const std::vector<Token>& of_gram, float probability, float left) {
      token = std::copy(of_gram.begin(), of_gram.end(), token);
      *out++ = probability;
      *out++ = left;
    });
    return py::make_tuple(tokens, logarithms);
  }

 private:
  uint64_t characters_;
  Normalised normalised_;
};

// A language model over slots that Python holds, perhaps in a mapped file.
class PyLanguageModel {
 public:
  PyLanguageModel(const Array<uint32_t>& characters, unsigned order, double unseen, uint64_t limit,
                  Array<uint64_t> slots)
      : slots_(std::move(slots)),
        model_(Vocabulary({characters.data(), characters.data() + characters.size()}), order, unseen, limit,
               reinterpret_cast<const Slot*>(slots_.data()), static_cast<size_t>(slots_.size())) {
    const auto size = static_cast<size_t>(slots_.size());
    if (order < 2 || order > kLongest || size < 2 || (size & (size - 1)) != 0) {
      throw py::value_error("the order is 2 to 8, and the slots are a power of two");
    }
  }

  Array<double> mean_log_probabilities(const py::list& list) const {
    const std::vector<Text> texts = texts_of(list);
    Array<double> found(static_cast<py::ssize_t>(texts.size()));
    double* out = found.mutable_data();
    const py::gil_scoped_release release;
    Normalised normalised;
    std::vector<Token> buffer;
    for (const Text& text : texts) {
      *out++ = model_.mean_log_probability(normalise(text, model_.characters(), normalised), buffer);
    }
    return found;
  }

 private:
  Array<uint64_t> slots_;
  LanguageModel model_;
};

Settings settings_of(unsigned bits, unsigned order, bool words, uint64_t characters) {
  if (bits < 1 || bits > kMostBits || order < 1 || order > kMostOrder || characters < 1) {
    throw py::value_error("bits are 1 to 24, the order is 1 to 4, and a text is read from its beginning");
  }
  return {bits, order, words, characters};
}

}  // namespace

PYBIND11_MODULE(_classify, module) {
  module.doc() = "Linear classifiers of texts over hashed n-grams";
  module.attr("MOST_BITS") = kMostBits;
  module.attr("MOST_ORDER") = kMostOrder;

  py::class_<Settings>(module, "Settings")
      .def(py::init(&settings_of), py::arg("bits"), py::arg("order"), py::arg("words"), py::arg("characters"));
  module.def("features", &features, py::arg("text"), py::arg("settings"));

  py::class_<Linear>(module, "Linear")
      .def(
          py::init([](const Settings& settings, const Array<int16_t>& weights, double scale, std::vector<double> bias) {
            const auto size = static_cast<size_t>(weights.size());
            return Linear(settings, {weights.data(), weights.data() + size}, scale, std::move(bias));
          }),
          py::arg("settings"), py::arg("weights"), py::arg("scale"), py::arg("bias"));
  module.def("score_texts", &score_texts, py::arg("models"), py::arg("texts"));
  module.def("score_lines", &score_lines, py::arg("models"), py::arg("block"), py::arg("key"));

  py::class_<PyTrainer>(module, "Trainer")
      .def(py::init<const Settings&, unsigned>(), py::arg("settings"), py::arg("classes"))
      .def("add", &PyTrainer::add_texts, py::arg("texts"), py::arg("label"))
      .def("train", &PyTrainer::train_all, py::arg("epochs"), py::arg("rate"), py::arg("seed"), py::arg("on_epoch"));

  static_assert(sizeof(Slot) == sizeof(uint64_t));
  py::class_<PyLanguageModelTrainer>(module, "LanguageModelTrainer")
      .def(py::init<unsigned, unsigned, uint64_t>(), py::arg("order"), py::arg("least_count"), py::arg("characters"))
      .def("add", &PyLanguageModelTrainer::add_texts, py::arg("texts"))
      .def("finish", &PyLanguageModelTrainer::finish_all, py::arg("on_order"))
      .def("grams", &PyLanguageModelTrainer::grams, py::arg("n"))
      .def_property_readonly("kept", &PyLanguageModelTrainer::kept)
      .def_property_readonly("unseen", &PyLanguageModelTrainer::unseen)
      .def_property_readonly("characters",
                             [](const PyLanguageModelTrainer& self) {
                               const std::vector<uint32_t>& all = self.characters();
                               return Array<uint32_t>(static_cast<py::ssize_t>(all.size()), all.data());
                             })
      .def_property_readonly("slots", [](const PyLanguageModelTrainer& self) {
        const auto* slots = reinterpret_cast<const uint64_t*>(self.slots().data());
        return Array<uint64_t>(static_cast<py::ssize_t>(self.slots().size()), slots);
      });
  py::class_<PyLanguageModel>(module, "LanguageModel")
      .def(py::init<const Array<uint32_t>&, unsigned, double, uint64_t, Array<uint64_t>>(), py::arg("characters"),
           py::arg("order"), py::arg("unseen"), py::arg("limit"), py::arg("slots"))
      .def("mean_log_probabilities", &PyLanguageModel::mean_log_probabilities, py::arg("texts"));
}
