// A trained linear classifier: weights as whole numbers, whose sums are exact in any order and on any processor.
#pragma once

#include <cstdint>
#include <vector>

#include "ngrams.h"

namespace classify {

// B buckets, C columns: one for two classes (of the second), else one per class.
class Linear {
 public:
  Linear(const Settings& settings, const std::vector<int16_t>& weights_BC, double scale, std::vector<double> bias_C);

  unsigned columns() const { return static_cast<unsigned>(bias_C_.size()); }
  const Settings& settings() const { return settings_; }
  // bias + scale * the mean of the weights of all features, per column.
  void logits(const std::vector<uint32_t>& text, double* out_C) const;

 private:
  void sum_one(const std::vector<uint32_t>& text, double* out_C) const;
  void sum_many(const std::vector<uint32_t>& text, double* out_C) const;

  Settings settings_;
  unsigned stride_;  // columns and zeros up to whole vectors
  std::vector<int16_t> weights_;
  double scale_;
  std::vector<double> bias_C_;
};

}  // namespace classify
