// Training of linear classifiers: logistic regression by AdaGrad (Duchi, Hazan and Singer, 2011), one text at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "ngrams.h"

namespace classify {

struct Steps {
  unsigned epochs;
  float rate;
  uint64_t seed;  // of the order of texts
};

// Texts are held as the numbers of their different features and how often each is there. B buckets, C columns of weights:
// one for two classes (of the second), else one per class.
class Trainer {
 public:
  Trainer(const Settings& settings, unsigned classes);

  unsigned columns() const { return classes_ == 2 ? 1 : classes_; }
  void add(const std::vector<uint32_t>& text, uint32_t label);
  // Passes over all texts. Each class weighs as much as any other, however many texts it has. `on_epoch` ends the
  // training by returning false.
  template <class OnEpoch>
  void train(const Steps& steps, OnEpoch&& on_epoch) {
    const std::vector<float> shares = class_shares();
    uint64_t random = steps.seed;
    for (unsigned epoch = 0; epoch < steps.epochs; ++epoch) {
      shuffle(random);
      const double loss = pass(steps.rate, shares);
      if (!on_epoch(epoch, loss)) return;
    }
  }

  const std::vector<float>& weights_BC() const { return weights_BC_; }
  const std::vector<float>& bias_C() const { return bias_C_; }

 private:
  struct Entry {
    uint32_t number, count;
  };
  struct Document {
    size_t first, last;  // entries
    uint32_t label, features;
  };

  std::vector<float> class_shares() const;
  void shuffle(uint64_t& random);
  double pass(float rate, const std::vector<float>& shares);
  void logits(const Document& document, std::vector<float>& out_C) const;

  Settings settings_;
  unsigned classes_;
  std::vector<uint32_t> counts_B_;  // of the text that is being added
  std::vector<Entry> entries_;
  std::vector<Document> documents_;
  std::vector<float> weights_BC_, squares_BC_;  // squares: the sum of each gradient's squares
  std::vector<float> bias_C_, bias_squares_C_;
};

}  // namespace classify
