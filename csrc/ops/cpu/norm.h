// RMSNorm and LayerNorm (kCentred: with a mean); see declarations.h.

namespace {

template <bool kCentred, class T>
inline float centred(T x, float mean) {
  if constexpr (kCentred) return to_float(x) - mean;
  return to_float(x);
}

// The sum of a row where there is a mean to be taken, else that of its squares.
template <bool kCentred, class T>
float first_sum(const T* x, int64_t hidden) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < hidden; ++j) {
    const float value = to_float(x[j]);
    sum += kCentred ? value : value * value;
  }
  return sum;
}

// The same of x + residual, which goes to `total`.
template <bool kCentred, class T>
float add_row(const T* x, const T* residual, T* total, int64_t hidden) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < hidden; ++j) {
    total[j] = from_float<T>(to_float(x[j]) + to_float(residual[j]));
    const float value = to_float(total[j]);
    sum += kCentred ? value : value * value;
  }
  return sum;
}

template <class T>
float squared_distances(const T* x, float mean, int64_t hidden) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < hidden; ++j) sum += (to_float(x[j]) - mean) * (to_float(x[j]) - mean);
  return sum;
}

// Of a row with its first_sum. Returns 1 / sqrt(mean square + epsilon); the mean goes to `mean` where there is one.
template <bool kCentred, class T>
float norm_row(const T* x, float sum, const T* weight, const T* bias, T* y, float* mean, int64_t hidden,
               float epsilon) {
  const float count = static_cast<float>(hidden);
  float middle = 0.0f;
  if constexpr (kCentred) {
    *mean = middle = sum / count;
    sum = squared_distances(x, middle, hidden);
  }
  const float scale = 1.0f / std::sqrt(sum / count + epsilon);
#pragma omp simd
  for (int64_t j = 0; j < hidden; ++j) {
    const float value = centred<kCentred>(x[j], middle) * scale * to_float(weight[j]);
    if constexpr (kCentred) {
      y[j] = from_float<T>(value + to_float(bias[j]));
    } else {
      y[j] = from_float<T>(value);
    }
  }
  return scale;
}

// Adds to grad_weight, and for a LayerNorm to grad_bias.
template <bool kCentred, class T>
void norm_row_backward(const T* grad, const T* grad_sum, const T* x, const T* weight, float mean, float rstd, T* grad_x,
                       float* grad_weight, float* grad_bias, int64_t hidden) {
  float product = 0.0f, total = 0.0f;
#pragma omp simd reduction(+ : product, total)
  for (int64_t j = 0; j < hidden; ++j) {
    const float g = to_float(grad[j]), scaled = g * to_float(weight[j]);
    const float n = centred<kCentred>(x[j], mean) * rstd;
    grad_weight[j] += g * n;
    product += scaled * n;
    if constexpr (kCentred) {
      grad_bias[j] += g;
      total += scaled;
    }
  }
  const float along = product / static_cast<float>(hidden), shift = total / static_cast<float>(hidden);
  const auto own = [=](int64_t j) {
    const float inner = to_float(grad[j]) * to_float(weight[j]) - centred<kCentred>(x[j], mean) * rstd * along;
    if constexpr (kCentred) return rstd * (inner - shift);
    return rstd * inner;
  };
  if (grad_sum == nullptr) {
#pragma omp simd
    for (int64_t j = 0; j < hidden; ++j) grad_x[j] = from_float<T>(own(j));
  } else {
#pragma omp simd
    for (int64_t j = 0; j < hidden; ++j) grad_x[j] = from_float<T>(own(j) + to_float(grad_sum[j]));
  }
}

template <class T>
const T* at_or_null(const void* pointer, int64_t offset) {
  return pointer == nullptr ? nullptr : static_cast<const T*>(pointer) + offset;
}

// Calls call(std::bool_constant) with whether there is a mean.
template <class Call>
void with_centre(const void* mean, Call call) {
  if (mean != nullptr) {
    call(std::true_type{});
  } else {
    call(std::false_type{});
  }
}

}  // namespace

void norm_forward(int64_t dtype, const void* x, const void* residual, const void* weight, const void* bias, void* y,
                  void* sum, void* mean, void* rstd, int64_t rows, int64_t hidden, double epsilon, int64_t threads) {
  with_type(dtype, [=](auto type) {
    with_centre(mean, [=](auto centre) {
      using T = decltype(type);
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
      for (int64_t row = 0; row < rows; ++row) {
        constexpr bool kCentred = decltype(centre)::value;
        const T* in = static_cast<const T*>(x) + row * hidden;
        float first;
        if (residual == nullptr) {
          first = first_sum<kCentred>(in, hidden);
        } else {
          T* total = static_cast<T*>(sum) + row * hidden;
          first = add_row<kCentred>(in, static_cast<const T*>(residual) + row * hidden, total, hidden);
          in = total;
        }
        static_cast<float*>(rstd)[row] = norm_row<kCentred>(
            in, first, static_cast<const T*>(weight), static_cast<const T*>(bias), static_cast<T*>(y) + row * hidden,
            static_cast<float*>(mean) + row, hidden, static_cast<float>(epsilon));
      }
    });
  });
}

void norm_backward(int64_t dtype, const void* grad, const void* grad_sum, const void* x, const void* weight,
                   const void* mean, const void* rstd, void* grad_x, void* grad_weight, void* partial, int64_t rows,
                   int64_t hidden, int64_t threads) {
  // Sums over rows are taken in blocks that depend on the number of rows alone, then over blocks in order.
  const int64_t blocks = row_blocks(rows), width = mean == nullptr ? hidden : 2 * hidden;
  with_type(dtype, [=](auto type) {
    with_centre(mean, [=](auto centre) {
      using T = decltype(type);
      constexpr bool kCentred = decltype(centre)::value;
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
      for (int64_t block = 0; block < blocks; ++block) {
        float* part = static_cast<float*>(partial) + block * width;
        memset(part, 0, sizeof(float) * static_cast<size_t>(width));
        for (int64_t row = block * rows / blocks; row < (block + 1) * rows / blocks; ++row) {
          const int64_t at = row * hidden;
          norm_row_backward<kCentred>(
              static_cast<const T*>(grad) + at, at_or_null<T>(grad_sum, at), static_cast<const T*>(x) + at,
              static_cast<const T*>(weight), kCentred ? static_cast<const float*>(mean)[row] : 0.0f,
              static_cast<const float*>(rstd)[row], static_cast<T*>(grad_x) + at, part, part + hidden, hidden);
        }
      }
    });
  });
  float* total = static_cast<float*>(grad_weight);
  memset(total, 0, sizeof(float) * static_cast<size_t>(width));
  for (int64_t block = 0; block < blocks; ++block) {
    const float* part = static_cast<const float*>(partial) + block * width;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) total[j] += part[j];
  }
}
