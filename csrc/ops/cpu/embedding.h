// The embedding's gradient; see declarations.h.

namespace {

constexpr int64_t kColumns = 512;  // that are summed at once, in the nearest cache

template <class T, class A>
void add_rows(A* target, const T* grad, const int64_t* order, int64_t count, int64_t hidden, int64_t columns) {
  const T* row = grad + order[0] * hidden;
  if (count == 1) {  // most tokens
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) target[j] = from_float<A>(to_float(target[j]) + to_float(row[j]));
    return;
  }
  float sum[kColumns];
#pragma omp simd
  for (int64_t j = 0; j < columns; ++j) sum[j] = to_float(row[j]);
  for (int64_t i = 1; i < count; ++i) {
    row = grad + order[i] * hidden;
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) sum[j] += to_float(row[j]);
  }
#pragma omp simd
  for (int64_t j = 0; j < columns; ++j) target[j] = from_float<A>(to_float(target[j]) + sum[j]);
}

// Where each run of equal ids that has a row begins, and the end of the last. There are no more than the ids that
// differ.
inline std::vector<int64_t> id_runs(const int64_t* ids, int64_t tokens, int64_t vocabulary) {
  std::vector<int64_t> starts;
  starts.reserve(static_cast<size_t>(tokens) + 1);
  int64_t t = 0;
  while (t < tokens && ids[t] < 0) ++t;
  for (; t < tokens && ids[t] < vocabulary; ++t) {
    if (starts.empty() || ids[t] != ids[t - 1]) starts.push_back(t);
  }
  starts.push_back(t);
  return starts;
}

template <class T, class A>
void embedding_gradient_of(A* target, const T* grad, const int64_t* ids, const int64_t* order, int64_t tokens,
                           int64_t vocabulary, int64_t hidden, int64_t threads) {
  const std::vector<int64_t> starts = id_runs(ids, tokens, vocabulary);
  const int64_t blocks = (hidden + kColumns - 1) / kColumns;
  const int64_t items = (static_cast<int64_t>(starts.size()) - 1) * blocks;
  // Frequent ids take longer. Who sums an element does not change the sum.
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(dynamic, 16)
  for (int64_t item = 0; item < items; ++item) {
    const int64_t start = starts[item / blocks], stop = starts[item / blocks + 1];
    const int64_t first = item % blocks * kColumns;
    const int64_t columns = hidden - first < kColumns ? hidden - first : kColumns;
    add_rows(target + ids[start] * hidden + first, grad + first, order + start, stop - start, hidden, columns);
  }
}

}  // namespace

void embedding_gradient(int64_t dtype, int64_t target_dtype, void* target, const void* grad, const void* ids,
                        const void* order, void*, int64_t tokens, int64_t vocabulary, int64_t hidden, int64_t threads) {
  with_type(dtype, [=](auto type) {
    using T = decltype(type);
    const T* values = static_cast<const T*>(grad);
    const int64_t *sorted = static_cast<const int64_t*>(ids), *places = static_cast<const int64_t*>(order);
    if (target_dtype == 0) {
      embedding_gradient_of(static_cast<float*>(target), values, sorted, places, tokens, vocabulary, hidden, threads);
    } else {
      embedding_gradient_of(static_cast<T*>(target), values, sorted, places, tokens, vocabulary, hidden, threads);
    }
  });
}
