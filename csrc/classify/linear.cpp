#include "linear.h"

#include <algorithm>
#include <stdexcept>

namespace classify {
namespace {

constexpr unsigned kLanes = 8;  // 16-bit weights that are added at once
constexpr unsigned kHeld = 1U << 15;  // features whose weights a 32-bit sum holds

typedef int16_t Weights [[gnu::vector_size(kLanes * 2)]];
typedef int32_t Sums [[gnu::vector_size(kLanes * 4)]];

}  // namespace

Linear::Linear(const Settings& settings, const std::vector<int16_t>& weights_BC, double scale,
               std::vector<double> bias_C)
    : settings_(settings), scale_(scale), bias_C_(std::move(bias_C)) {
  const size_t buckets = size_t{1} << settings.bits;
  const unsigned C = columns();
  if (C == 0 || weights_BC.size() != buckets * C) throw std::invalid_argument("weights do not fit their settings");
  stride_ = C == 1 ? 1 : (C + kLanes - 1) / kLanes * kLanes;
  weights_.resize(buckets * stride_);
  for (size_t b = 0; b < buckets; ++b) std::copy_n(&weights_BC[b * C], C, &weights_[b * stride_]);
}

void Linear::logits(const std::vector<uint32_t>& text, double* out_C) const {
  if (stride_ == 1) {
    sum_one(text, out_C);
  } else {
    sum_many(text, out_C);
  }
}

void Linear::sum_one(const std::vector<uint32_t>& text, double* out_C) const {
  int64_t sum = 0, features = 0;
  const int16_t* weights = weights_.data();
  each_feature(text, settings_, [&](uint32_t number) {
    sum += weights[number];
    ++features;
  });
  out_C[0] = bias_C_[0] + scale_ * static_cast<double>(sum) / static_cast<double>(features);
}

void Linear::sum_many(const std::vector<uint32_t>& text, double* out_C) const {
  const unsigned vectors = stride_ / kLanes;
  std::vector<Sums> sums(vectors);
  std::vector<int64_t> totals(stride_);
  int64_t features = 0;
  const auto flush = [&] {
    for (unsigned c = 0; c < stride_; ++c) totals[c] += sums[c / kLanes][c % kLanes];
    std::fill(sums.begin(), sums.end(), Sums{});
  };
  each_feature(text, settings_, [&](uint32_t number) {
    const int16_t* weights = &weights_[size_t{number} * stride_];
    for (unsigned v = 0; v < vectors; ++v) {
      Weights loaded;
      __builtin_memcpy(&loaded, weights + v * kLanes, sizeof loaded);
      sums[v] += __builtin_convertvector(loaded, Sums);
    }
    if (++features % kHeld == 0) flush();
  });
  flush();
  for (unsigned c = 0; c < columns(); ++c) {
    out_C[c] = bias_C_[c] + scale_ * static_cast<double>(totals[c]) / static_cast<double>(features);
  }
}

}  // namespace classify
