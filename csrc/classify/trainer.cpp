#include "trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace classify {
namespace {

// Steele, Lea and Flood, 2014 (SplitMix).
uint64_t next_random(uint64_t& state) {
  state += 0x9E3779B97F4A7C15ULL;
  return minhash::mix64(state);
}

constexpr float kFirstSquare = 1e-8F;

}  // namespace

Trainer::Trainer(const Settings& settings, unsigned classes)
    : settings_(settings),
      classes_(classes),
      counts_B_(size_t{1} << settings.bits),
      weights_BC_((size_t{1} << settings.bits) * columns()),
      squares_BC_(weights_BC_.size(), kFirstSquare),
      bias_C_(columns()),
      bias_squares_C_(columns(), kFirstSquare) {}

void Trainer::add(const std::vector<uint32_t>& text, uint32_t label) {
  const size_t first = entries_.size();
  uint32_t features = 0;
  each_feature(text, settings_, [&](uint32_t number) {
    if (counts_B_[number]++ == 0) entries_.push_back({number, 0});
    ++features;
  });
  for (size_t i = first; i < entries_.size(); ++i) entries_[i].count = std::exchange(counts_B_[entries_[i].number], 0);
  documents_.push_back({first, entries_.size(), label, features});
}

std::vector<float> Trainer::class_shares() const {
  std::vector<size_t> texts(classes_);
  for (const Document& document : documents_) ++texts[document.label];
  std::vector<float> shares(classes_);
  for (unsigned c = 0; c < classes_; ++c) {
    if (texts[c] != 0) shares[c] = static_cast<float>(documents_.size()) / static_cast<float>(texts[c] * classes_);
  }
  return shares;
}

void Trainer::shuffle(uint64_t& random) {
  for (size_t i = documents_.size(); i > 1; --i) std::swap(documents_[i - 1], documents_[next_random(random) % i]);
}

void Trainer::logits(const Document& document, std::vector<float>& out_C) const {
  const unsigned C = columns();
  const float share = 1.0F / static_cast<float>(document.features);
  std::fill(out_C.begin(), out_C.end(), 0.0F);
  for (size_t i = document.first; i < document.last; ++i) {
    const float value = static_cast<float>(entries_[i].count) * share;
    const float* weights = &weights_BC_[size_t{entries_[i].number} * C];
    for (unsigned c = 0; c < C; ++c) out_C[c] += weights[c] * value;
  }
  for (unsigned c = 0; c < C; ++c) out_C[c] += bias_C_[c];
}

double Trainer::pass(float rate, const std::vector<float>& shares) {
  const unsigned C = columns();
  std::vector<float> out(C);
  double loss = 0;
  const auto step = [rate](float& weight, float& squares, float gradient) {
    squares += gradient * gradient;
    weight -= rate * gradient / std::sqrt(squares);
  };
  for (const Document& document : documents_) {
    logits(document, out);
    const float weight = shares[document.label];
    if (C == 1) {
      const float probability = 1.0F / (1.0F + std::exp(-out[0]));
      loss -= weight * std::log(std::max(document.label == 1 ? probability : 1.0F - probability, 1e-12F));
      out[0] = weight * (probability - (document.label == 1 ? 1.0F : 0.0F));
    } else {
      const float most = *std::max_element(out.begin(), out.end());
      float sum = 0;
      for (float& value : out) sum += value = std::exp(value - most);
      for (float& value : out) value /= sum;
      loss -= weight * std::log(std::max(out[document.label], 1e-12F));
      out[document.label] -= 1.0F;
      for (float& value : out) value *= weight;
    }
    const float share = 1.0F / static_cast<float>(document.features);
    for (size_t i = document.first; i < document.last; ++i) {
      const float value = static_cast<float>(entries_[i].count) * share;
      const size_t at = size_t{entries_[i].number} * C;
      for (unsigned c = 0; c < C; ++c) step(weights_BC_[at + c], squares_BC_[at + c], out[c] * value);
    }
    for (unsigned c = 0; c < C; ++c) step(bias_C_[c], bias_squares_C_[c], out[c]);
  }
  return documents_.empty() ? 0 : loss / static_cast<double>(documents_.size());
}

}  // namespace classify
