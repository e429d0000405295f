// Cross entropy on logits; see declarations.h.

namespace {

// The largest of those that are numbers, -inf if there are none.
template <class T>
float largest(const T* x, int64_t count) {
  float result = -INFINITY;
#pragma omp simd reduction(max : result)
  for (int64_t j = 0; j < count; ++j) {
    const float value = to_float(x[j]);
    result = value > result ? value : result;
  }
  return result;
}

template <class T>
bool any_missing(const T* x, int64_t count) {
  for (int64_t j = 0; j < count; ++j) {
    if (std::isnan(to_float(x[j]))) return true;
  }
  return false;
}

template <class T>
float log_sum_exp(const T* x, int64_t count) {
  const float top = largest(x, count);
  if (std::isinf(top)) return any_missing(x, count) ? NAN : top;  // else a missing number is in the sum
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < count; ++j) sum += exponential(to_float(x[j]) - top);
  return top + std::log(sum);
}

}  // namespace

void cross_entropy_forward(int64_t dtype, const void* logits, const void* labels, void* lse, void* target, int64_t rows,
                           int64_t columns, int64_t first, int64_t real, int64_t threads) {
  with_type(dtype, [=](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
      const T* x = static_cast<const T*>(logits) + row * columns;
      const int64_t label = static_cast<const int64_t*>(labels)[row] - first;
      static_cast<float*>(lse)[row] = log_sum_exp(x, real);
      static_cast<float*>(target)[row] = label >= 0 && label < real ? to_float(x[label]) : 0.0f;
    }
  });
}

void cross_entropy_backward(int64_t dtype, void* logits, const void* labels, const void* lse,
                            const void* probability_scale, const void* label_scale, int64_t rows, int64_t columns,
                            int64_t first, int64_t real, int64_t threads) {
  with_type(dtype, [=](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
      T* x = static_cast<T*>(logits) + row * columns;
      const int64_t label = static_cast<const int64_t*>(labels)[row] - first;
      const bool here = label >= 0 && label < real;
      const float partition = static_cast<const float*>(lse)[row];
      const float scale = static_cast<const float*>(probability_scale)[row];
      const float label_logit = here ? to_float(x[label]) : 0.0f;
      if (scale == 0.0f) {  // a masked token
        memset(x, 0, sizeof(T) * static_cast<size_t>(real));
      } else {
#pragma omp simd
        for (int64_t j = 0; j < real; ++j) x[j] = from_float<T>(exponential(to_float(x[j]) - partition) * scale);
      }
      if (here) {
        const float subtracted = static_cast<const float*>(label_scale)[row];
        x[label] = from_float<T>((scale == 0.0f ? 0.0f : exponential(label_logit - partition) * scale) - subtracted);
      }
      memset(x + real, 0, sizeof(T) * static_cast<size_t>(columns - real));
    }
  });
}
