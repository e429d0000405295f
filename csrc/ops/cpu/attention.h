// Causal attention within documents, without the matrix of scores (Dao, 2023); see declarations.h.
//
// Scores are made transposed, keys by queries, so that the softmax runs along whole vectors of queries: a tile of
// kBlock keys by kBlock queries at a time, and of those below the diagonal none. On the diagonal kBand queries at a time
// meet the keys up to their band's end (attention_bands.h). Documents are cut into blocks of tokens from their
// beginnings on; rows of a last block that are not there are 0 and are not written.

namespace {

struct Heads {
  const void* x;
  int64_t count, token_stride, head_stride;
};

struct TokenBlock {
  int64_t token, count, number;  // first token, tokens, place among the blocks of its document
};

// Factors that live as long as a call, on whole cache lines.
template <class F>
class Space {
 public:
  explicit Space(int64_t count) : data_(static_cast<F*>(::operator new(bytes(count), std::align_val_t{64}))) {}
  Space(const Space&) = delete;
  Space& operator=(const Space&) = delete;
  ~Space() { ::operator delete(data_, std::align_val_t{64}); }
  F* at(int64_t index) { return data_ + index; }
  const F* at(int64_t index) const { return data_ + index; }

 private:
  static size_t bytes(int64_t count) { return sizeof(F) * static_cast<size_t>(count); }
  F* data_;
};

inline std::vector<TokenBlock> token_blocks(const int32_t* starts, int64_t documents) {
  std::vector<TokenBlock> blocks;
  for (int64_t document = 0; document < documents; ++document) {
    const int64_t start = starts[document], length = starts[document + 1] - start;
    for (int64_t at = 0; at < length; at += kBlock) {
      blocks.push_back({start + at, length - at < kBlock ? length - at : kBlock, at / kBlock});
    }
  }
  return blocks;
}

// Channels of a head in tiles: whole vectors of every instruction set, and whole tiles of rows.
inline int64_t padded(int64_t size) { return (size + 15) / 16 * 16; }

// One kind of head (keys, values) as tiles, [head][block] of kBlock * width: as rows, and turned to channels by tokens.
template <class T, class F>
void gather_heads(const Heads& heads, const std::vector<TokenBlock>& blocks, int64_t size, F* rows, F* turned,
                  int threads) {
  const int64_t width = padded(size), count = static_cast<int64_t>(blocks.size()), tile = kBlock * width;
#pragma omp parallel num_threads(threads)
  {
    Space<F> own(tile);
    Space<float> space(tile);
#pragma omp for schedule(static)
    for (int64_t item = 0; item < heads.count * count; ++item) {
      const TokenBlock& block = blocks[static_cast<size_t>(item % count)];
      const T* x = static_cast<const T*>(heads.x) + block.token * heads.token_stride + item / count * heads.head_stride;
      F* to = rows == nullptr ? own.at(0) : rows + item * tile;
      gather_rows(x, heads.token_stride, block.count, size, to, width);
      if (turned != nullptr) transpose_factors(to, width, turned + item * tile, space.at(0));
    }
  }
}

// Writes channels by tokens, (width, kBlock) fp32, as `count` rows of a tensor; column i is multiplied by scale[i].
template <class T>
void write_turned(const float* from, const float* scale, float* space, T* to, int64_t stride, int64_t count,
                  int64_t size) {
  const int64_t width = padded(size);
  transpose(from, width, kBlock, space);
  for (int64_t i = 0; i < count; ++i) {
#pragma omp simd
    for (int64_t d = 0; d < size; ++d) to[i * stride + d] = from_float<T>(space[i * width + d] * scale[i]);
  }
}

// One block of queries of one head: softmax over blocks of keys with a running maximum.
template <class F>
struct ForwardTile {
  explicit ForwardTile(int64_t width)
      : rows(kBlock * width),
        queries(kBlock * width),
        output(kBlock * width),
        scores(kBlock * kBlock),
        factors(kBlock * kBlock),
        pairs(kBlock * kBlock) {}

  // Adds a block of keys and values. scale: to exponents of 2. `diagonal`: the queries' own block, where only earlier
  // keys count.
  void add(const F* keys, const F* values, int64_t width, float scale, bool diagonal) {
    float* s = scores.at(0);
    multiply_scores(keys, queries.at(0), s, width, diagonal);
    float fade[kBlock];
    for (int64_t i = 0; i < kBlock; i += kBand) {
      band_weights(s + i, diagonal ? i + kBand : kBlock, scale, diagonal, top + i, sum + i, fade + i);
    }
    for (int64_t d = 0; d < width; ++d) {
      float* out = output.at(d * kBlock);
      for (int64_t i = 0; i < kBlock; i += kLanes) store(out + i, load(out + i) * load(fade + i));
    }
    const F* weights = rounded(s, factors.at(0), kBlock * kBlock);
    add_over_keys(values, stacked(weights, pairs.at(0), kBlock, kBlock), output.at(0), width, diagonal);
  }

  template <class T>
  void begin(const T* x, int64_t stride, int64_t count, int64_t size, int64_t width) {
    gather_rows(x, stride, count, size, rows.at(0), width);
    transpose(reinterpret_cast<const float*>(rows.at(0)), kBlock, width / kGroup<F>, queries.at(0));
    memset(output.at(0), 0, sizeof(float) * static_cast<size_t>(kBlock * width));
    for (int64_t i = 0; i < kBlock; ++i) top[i] = -INFINITY, sum[i] = 0.0f;
  }

  Space<F> rows;
  Space<float> queries, output, scores;
  Space<F> factors;
  Space<float> pairs;
  float top[kBlock], sum[kBlock];
};

template <class T, class F>
void attention_forward_as(const Heads& q, const Heads& k, const Heads& v, T* y, float* lse, const int32_t* starts,
                          int64_t documents, int64_t size, float scale, int threads) {
  const std::vector<TokenBlock> blocks = token_blocks(starts, documents);
  const int64_t count = static_cast<int64_t>(blocks.size()), width = padded(size), tile = kBlock * width;
  const int64_t tokens = starts[documents], group = q.count / k.count;
  Space<F> keys(k.count * count * tile), values(k.count * count * tile);
  gather_heads<T, F>(k, blocks, size, keys.at(0), nullptr, threads);
  gather_heads<T, F>(v, blocks, size, nullptr, values.at(0), threads);
#pragma omp parallel num_threads(threads)
  {
    ForwardTile<F> own(width);
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < q.count * count; ++item) {
      const int64_t head = item / count, place = count - 1 - item % count;  // later blocks have more to do
      const TokenBlock& block = blocks[static_cast<size_t>(place)];
      const T* x = static_cast<const T*>(q.x) + block.token * q.token_stride + head * q.head_stride;
      own.begin(x, q.token_stride, block.count, size, width);
      const int64_t first = head / group * count + place - block.number;
      for (int64_t other = 0; other <= block.number; ++other) {
        const int64_t at = (first + other) * tile;
        own.add(keys.at(at), values.at(at), width, scale * kLog2E, other == block.number);
      }
      float inverse[kBlock];
      for (int64_t i = 0; i < kBlock; ++i) inverse[i] = 1.0f / own.sum[i];
      T* to = y + (block.token * q.count + head) * size;
      write_turned(own.output.at(0), inverse, own.queries.at(0), to, q.count * size, block.count, size);
      for (int64_t i = 0; i < block.count; ++i) {
        lse[head * tokens + block.token + i] = own.top[i] / kLog2E + std::log(own.sum[i]);
      }
    }
  }
}

template <class T>
float dot(const T* a, const T* b, int64_t count) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < count; ++j) sum += to_float(a[j]) * to_float(b[j]);
  return sum;
}

// The gradients of one block of queries of one head, block of keys by block of keys.
template <class F>
struct BackwardTile {
  explicit BackwardTile(int64_t width)
      : rows(kBlock * width),
        grads(kBlock * width),
        row_pairs(kBlock * width),
        grad_pairs(kBlock * width),
        turned_rows(kBlock * width),
        turned_grads(kBlock * width),
        grad_query(kBlock * width),
        scores(kBlock * kBlock),
        slopes(kBlock * kBlock),
        factors(kBlock * kBlock),
        pairs(kBlock * kBlock) {}

  template <class T>
  void begin(const T* x, int64_t x_stride, const T* grad, const T* y, int64_t y_stride, const float* partition,
             int64_t count, int64_t size, int64_t width) {
    gather_rows(x, x_stride, count, size, rows.at(0), width);
    gather_rows(grad, y_stride, count, size, grads.at(0), width);
    transpose(reinterpret_cast<const float*>(rows.at(0)), kBlock, width / kGroup<F>, turned_rows.at(0));
    transpose(reinterpret_cast<const float*>(grads.at(0)), kBlock, width / kGroup<F>, turned_grads.at(0));
    queries = stacked(rows.at(0), row_pairs.at(0), kBlock, width);
    output_grads = stacked(grads.at(0), grad_pairs.at(0), kBlock, width);
    memset(grad_query.at(0), 0, sizeof(float) * static_cast<size_t>(kBlock * width));
    for (int64_t i = 0; i < kBlock; ++i) {
      lse[i] = i < count ? partition[i] * kLog2E : 0.0f;
      delta[i] = i < count ? dot(grad + i * y_stride, y + i * y_stride, size) : 0.0f;
    }
  }

  void add(const F* keys, const F* turned_keys, const F* values, float* grad_keys, float* grad_values, int64_t width,
           float scale, bool diagonal) {
    float *s = scores.at(0), *g = slopes.at(0);
    multiply_scores(keys, turned_rows.at(0), s, width, diagonal);
    multiply_scores(values, turned_grads.at(0), g, width, diagonal);
    for (int64_t i = 0; i < kBlock; i += kBand) {
      band_slopes(s + i, g + i, diagonal ? i + kBand : kBlock, scale, diagonal, lse + i, delta + i);
    }
    add_over_queries(rounded(s, factors.at(0), kBlock * kBlock), output_grads, grad_values, width, diagonal);
    const F* slope = rounded(g, factors.at(0), kBlock * kBlock);
    add_over_queries(slope, queries, grad_keys, width, diagonal);
    add_over_keys(turned_keys, stacked(slope, pairs.at(0), kBlock, kBlock), grad_query.at(0), width, diagonal);
  }

  Space<F> rows, grads;
  Space<float> row_pairs, grad_pairs, turned_rows, turned_grads, grad_query, scores, slopes;
  Space<F> factors;
  Space<float> pairs;
  const float *queries = nullptr, *output_grads = nullptr;
  float lse[kBlock], delta[kBlock];
};

// Sums the parts' tiles and writes them as rows of a tensor (tokens, heads, size).
template <class T>
void write_heads(Space<float>& tiles, int64_t parts, int64_t heads, const std::vector<TokenBlock>& blocks, T* to,
                 int64_t size, int threads) {
  const int64_t count = static_cast<int64_t>(blocks.size()), width = padded(size), tile = kBlock * width;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t item = 0; item < heads * count; ++item) {
    const TokenBlock& block = blocks[static_cast<size_t>(item % count)];
    float* sum = tiles.at(item * tile);
    for (int64_t part = 1; part < parts; ++part) {
      const float* more = tiles.at((part * heads * count + item) * tile);
      for (int64_t i = 0; i < tile; i += kLanes) store(sum + i, load(sum + i) + load(more + i));
    }
    for (int64_t row = 0; row < block.count; ++row) {
      T* out = to + ((block.token + row) * heads + item / count) * size;
#pragma omp simd
      for (int64_t d = 0; d < size; ++d) out[d] = from_float<T>(sum[row * width + d]);
    }
  }
}

template <class T, class F>
void attention_backward_as(const Heads& q, const Heads& k, const Heads& v, const T* grad, const T* y, const float* lse,
                           T* grad_q, T* grad_k, T* grad_v, const int32_t* starts, int64_t documents, int64_t size,
                           float scale, int threads) {
  const std::vector<TokenBlock> blocks = token_blocks(starts, documents);
  const int64_t count = static_cast<int64_t>(blocks.size()), width = padded(size), tile = kBlock * width;
  const int64_t tokens = starts[documents], group = q.count / k.count;
  // A document's keys and values of one head are summed by one thread, over that head's group of query heads or, where
  // that leaves few things to do at once, a part of it.
  const int64_t parts = documents * k.count < kFewItems ? group : 1;
  std::vector<int64_t> first_blocks;
  for (int64_t place = 0; place < count; ++place) {
    if (blocks[static_cast<size_t>(place)].number == 0) first_blocks.push_back(place);
  }
  first_blocks.push_back(count);
  const int64_t filled = static_cast<int64_t>(first_blocks.size()) - 1;  // documents with tokens
  Space<F> keys(k.count * count * tile), turned_keys(k.count * count * tile), values(k.count * count * tile);
  gather_heads<T, F>(k, blocks, size, keys.at(0), turned_keys.at(0), threads);
  gather_heads<T, F>(v, blocks, size, values.at(0), static_cast<F*>(nullptr), threads);
  Space<float> grad_keys(parts * k.count * count * tile), grad_values(parts * k.count * count * tile);
#pragma omp parallel num_threads(threads)
  {
    BackwardTile<F> own(width);
    float ones[kBlock];
    for (int64_t i = 0; i < kBlock; ++i) ones[i] = 1.0f;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < parts * k.count * filled; ++item) {
      const int64_t part_head = item / filled, head = part_head % k.count, part = part_head / k.count;
      const int64_t begin = first_blocks[static_cast<size_t>(item % filled)];
      const int64_t end = first_blocks[static_cast<size_t>(item % filled + 1)];
      const size_t bytes = sizeof(float) * static_cast<size_t>((end - begin) * tile);
      memset(grad_keys.at((part_head * count + begin) * tile), 0, bytes);
      memset(grad_values.at((part_head * count + begin) * tile), 0, bytes);
      for (int64_t place = begin; place < end; ++place) {
        const TokenBlock& block = blocks[static_cast<size_t>(place)];
        for (int64_t n = head * group + part * group / parts; n < head * group + (part + 1) * group / parts; ++n) {
          const T* x = static_cast<const T*>(q.x) + block.token * q.token_stride + n * q.head_stride;
          const int64_t at = (block.token * q.count + n) * size;
          own.begin(x, q.token_stride, grad + at, y + at, q.count * size, lse + n * tokens + block.token, block.count,
                    size, width);
          for (int64_t other = begin; other <= place; ++other) {
            const int64_t key_tile = (head * count + other) * tile, sum_tile = (part_head * count + other) * tile;
            own.add(keys.at(key_tile), turned_keys.at(key_tile), values.at(key_tile), grad_keys.at(sum_tile),
                    grad_values.at(sum_tile), width, scale, other == place);
          }
          write_turned(own.grad_query.at(0), ones, own.turned_rows.at(0), grad_q + at, q.count * size, block.count,
                       size);
        }
      }
    }
  }
  write_heads(grad_keys, parts, k.count, blocks, grad_k, size, threads);
  write_heads(grad_values, parts, k.count, blocks, grad_v, size, threads);
}

#if STEEL_BF16_DOT
template <class T>
using Factor = std::conditional_t<std::is_same_v<T, bf16>, bf16, float>;
#else
template <class T>
using Factor = float;
#endif

}  // namespace

void attention_forward(int64_t dtype, const void* q, const void* k, const void* v, void* y, void* lse,
                       const void* starts, int64_t documents, int64_t heads, int64_t kv_heads, int64_t size,
                       int64_t q_token, int64_t q_head, int64_t k_token, int64_t k_head, int64_t v_token,
                       int64_t v_head, double scale, int64_t threads) {
  with_type(dtype, [=](auto type) {
    using T = decltype(type);
    attention_forward_as<T, Factor<T>>({q, heads, q_token, q_head}, {k, kv_heads, k_token, k_head},
                                       {v, kv_heads, v_token, v_head}, static_cast<T*>(y), static_cast<float*>(lse),
                                       static_cast<const int32_t*>(starts), documents, size, static_cast<float>(scale),
                                       static_cast<int>(threads));
  });
}

void attention_backward(int64_t dtype, const void* grad, const void* q, const void* k, const void* v, const void* y,
                        const void* lse, void* grad_q, void* grad_k, void* grad_v, const void* starts,
                        int64_t documents, int64_t heads, int64_t kv_heads, int64_t size, int64_t q_token,
                        int64_t q_head, int64_t k_token, int64_t k_head, int64_t v_token, int64_t v_head, double scale,
                        int64_t threads) {
  with_type(dtype, [=](auto type) {
    using T = decltype(type);
    attention_backward_as<T, Factor<T>>(
        {q, heads, q_token, q_head}, {k, kv_heads, k_token, k_head}, {v, kv_heads, v_token, v_head},
        static_cast<const T*>(grad), static_cast<const T*>(y), static_cast<const float*>(lse), static_cast<T*>(grad_q),
        static_cast<T*>(grad_k), static_cast<T*>(grad_v), static_cast<const int32_t*>(starts), documents, size,
        static_cast<float>(scale), static_cast<int>(threads));
  });
}
