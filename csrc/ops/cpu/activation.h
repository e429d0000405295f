// Activations, plain and gated; see declarations.h.

static inline float exp_of(float x) { return bounded_exponential(x); }

#define STEEL_INLINE static inline
#include "activations.h"
#undef STEEL_INLINE

namespace {

constexpr int64_t kPiece = 4096;  // elements of a row that a thread takes at a time

template <class F, class T>
void activate(const T* x, const T* up, T* y, int64_t count) {
  if (up == nullptr) {
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) y[j] = from_float<T>(F::at(to_float(x[j])).value);
  } else {
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) y[j] = from_float<T>(F::at(to_float(x[j])).value * to_float(up[j]));
  }
}

template <class F, class T>
void activate_backward(const T* grad, const T* x, const T* up, T* grad_x, T* grad_up, int64_t count) {
  if (up == nullptr) {
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      grad_x[j] = from_float<T>(to_float(grad[j]) * F::at(to_float(x[j])).slope);
    }
  } else {
#pragma omp simd
    for (int64_t j = 0; j < count; ++j) {
      const Point point = F::at(to_float(x[j]));
      const float d = to_float(grad[j]);
      grad_up[j] = from_float<T>(d * point.value);
      grad_x[j] = from_float<T>(d * to_float(up[j]) * point.slope);
    }
  }
}

// Calls work(row, first, count) for every piece of every row.
template <class Work>
void over_pieces(int64_t rows, int64_t width, int64_t threads, Work work) {
  const int64_t pieces = (width + kPiece - 1) / kPiece;
#pragma omp parallel for num_threads(static_cast<int>(threads)) schedule(static)
  for (int64_t n = 0; n < rows * pieces; ++n) {
    const int64_t row = n / pieces, first = (n - row * pieces) * kPiece;
    work(row, first, width - first < kPiece ? width - first : kPiece);
  }
}

}  // namespace

void activation_forward(int64_t dtype, const void* x, void* y, int64_t function, int64_t gated, int64_t rows,
                        int64_t width, int64_t threads) {
  with_type(dtype, [=](auto type) {
    with_function(function, [=](auto chosen) {
      using T = decltype(type);
      over_pieces(rows, width, threads, [=](int64_t row, int64_t first, int64_t count) {
        const T* in = static_cast<const T*>(x) + row * (gated ? 2 * width : width) + first;
        T* out = static_cast<T*>(y) + row * width + first;
        activate<decltype(chosen)>(in, gated ? in + width : nullptr, out, count);
      });
    });
  });
}

void activation_backward(int64_t dtype, const void* grad, const void* x, void* grad_x, int64_t function, int64_t gated,
                         int64_t rows, int64_t width, int64_t threads) {
  with_type(dtype, [=](auto type) {
    with_function(function, [=](auto chosen) {
      using T = decltype(type);
      over_pieces(rows, width, threads, [=](int64_t row, int64_t first, int64_t count) {
        const int64_t at = row * (gated ? 2 * width : width) + first;
        const T* in = static_cast<const T*>(x) + at;
        T* out = static_cast<T*>(grad_x) + at;
        activate_backward<decltype(chosen)>(static_cast<const T*>(grad) + row * width + first, in,
                                            gated ? in + width : nullptr, out, out + width, count);
      });
    });
  });
}
