// Attention on one tile of keys by queries: products with it, softmax, and softmax's gradient, band by band of kBand
// queries; see attention.h.

namespace {

constexpr float kLog2E = 1.44269504f;

// Keys by queries = A B, a tile; on the diagonal without what lies below all bands.
template <class F>
void multiply_scores(const F* a, const float* b, float* c, int64_t width, bool diagonal) {
  const int64_t rows = diagonal ? kBand : kBlock;
  for (int64_t at = 0; at < kBlock; at += rows) {
    multiply(a + at * width, width, b + at, c + at * kBlock + at, kBlock, rows, kBlock - at, width, false);
  }
}

// C (width, queries) += A (width, keys) times a tile of keys by queries; on the diagonal as above.
template <class F>
void add_over_keys(const F* a, const float* tile, float* c, int64_t width, bool diagonal) {
  const int64_t columns = diagonal ? kBand : kBlock;
  for (int64_t at = 0; at < kBlock; at += columns) {
    multiply(a, kBlock, tile + at, c + at, kBlock, width, columns, at + columns, true);
  }
}

// C (keys, width) += a tile of keys by queries times B (queries, width); on the diagonal as above.
template <class F>
void add_over_queries(const F* tile, const float* b, float* c, int64_t width, bool diagonal) {
  const int64_t rows = diagonal ? kBand : kBlock;
  for (int64_t at = 0; at < kBlock; at += rows) {
    multiply(tile + at * kBlock + at, kBlock, b + at / kGroup<F> * width, c + at * width, width, rows, width,
             kBlock - at, true);
  }
}

constexpr int kBandVectors = kBand / kLanes;

// Lanes of a band's vector v whose query sees key `row` of the band keep their value.
inline vec seen(vec value, int64_t row, int v, float otherwise) {
  typedef int32_t lanes __attribute__((vector_size(STEEL_VECTOR_BYTES)));
  lanes query;
  for (int i = 0; i < kLanes; ++i) query[i] = i;
  return query + static_cast<int32_t>(v * kLanes) >= static_cast<int32_t>(row) ? value : vec{} + otherwise;
}

// Scores of a band of queries with `keys` keys, of which the last kBand are the queries' own if `diagonal`, become
// weights by a running maximum. scale: to exponents of 2. fade: what has been summed so far is to be multiplied by.
inline void band_weights(float* scores, int64_t keys, float scale, bool diagonal, float* top, float* sum, float* fade) {
  vec most[kBandVectors], total[kBandVectors];
  const int64_t past = diagonal ? keys - kBand : keys;
#pragma GCC unroll 8
  for (int v = 0; v < kBandVectors; ++v) most[v] = vec{} - INFINITY;
  for (int64_t j = 0; j < past; ++j) {
#pragma GCC unroll 8
    for (int v = 0; v < kBandVectors; ++v) most[v] = larger(load(scores + j * kBlock + v * kLanes), most[v]);
  }
  for (int64_t j = past; j < keys; ++j) {
#pragma GCC unroll 8
    for (int v = 0; v < kBandVectors; ++v) {
      float* at = scores + j * kBlock + v * kLanes;
      const vec score = seen(load(at), j - past, v, -INFINITY);
      store(at, score);
      most[v] = larger(score, most[v]);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kBandVectors; ++v) {
    const vec before = load(top + v * kLanes), faded = power_of_two(before - larger(most[v] * scale, before));
    most[v] = larger(most[v] * scale, before);
    store(top + v * kLanes, most[v]);
    store(fade + v * kLanes, faded);
    total[v] = load(sum + v * kLanes) * faded;
  }
  for (int64_t j = 0; j < past; ++j) {
#pragma GCC unroll 8
    for (int v = 0; v < kBandVectors; ++v) {
      float* at = scores + j * kBlock + v * kLanes;
      const vec weight = power_of_two(load(at) * scale - most[v]);
      store(at, weight);
      total[v] += weight;
    }
  }
  for (int64_t j = past; j < keys; ++j) {
#pragma GCC unroll 8
    for (int v = 0; v < kBandVectors; ++v) {
      float* at = scores + j * kBlock + v * kLanes;
      const vec weight = seen(power_of_two(load(at) * scale - most[v]), j - past, v, 0.0f);
      store(at, weight);
      total[v] += weight;
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kBandVectors; ++v) store(sum + v * kLanes, total[v]);
}

// Scores of a band of queries become weights, and the weights' gradients those of the scores; as band_weights.
inline void band_slopes(float* __restrict scores, float* __restrict slopes, int64_t keys, float scale, bool diagonal,
                        const float* lse, const float* delta) {
  const int64_t past = diagonal ? keys - kBand : keys;
  for (int64_t j = 0; j < keys; ++j) {
#pragma GCC unroll 8
    for (int v = 0; v < kBandVectors; ++v) {
      const int64_t at = j * kBlock + v * kLanes;
      vec weight = power_of_two(load(scores + at) * (scale * kLog2E) - load(lse + v * kLanes));
      if (j >= past) weight = seen(weight, j - past, v, 0.0f);
      store(scores + at, weight);
      // Where the weight is 0 the score may be anything, also infinite.
      vec slope = weight * (load(slopes + at) - load(delta + v * kLanes)) * scale;
      if (j >= past) slope = seen(slope, j - past, v, 0.0f);
      store(slopes + at, slope);
    }
  }
}

}  // namespace
