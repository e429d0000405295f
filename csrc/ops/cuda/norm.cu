// RMSNorm and LayerNorm (kCentred: with a mean); the arguments are those of declarations.h.
//
// kOnce: a thread has one access of a row at most, so that rows are read once and stay in registers.
#include "common.cuh"
#include "partials.cuh"

namespace {

constexpr int64_t kPartialRows = 512;  // as in ops/native/norm.py; not the number of processors, so sums never differ
constexpr int64_t kSharedBytes = 47 * 1024;  // of the 48 KB that a block has without asking for more
constexpr int kRowThreads = 1024, kWideThreads = 512;  // of a row that stays in registers; of wider ones, backward

template <bool kCentred>
__device__ __forceinline__ float centred(float x, float mean) {
  if constexpr (kCentred) return x - mean;
  return x;
}

// PTX: registers <= 40, loads 16, stores 16
template <class T, int N, bool kCentred, bool kOnce>
__global__ void __launch_bounds__(kRowThreads)
    forward(const T* x, const T* residual, const T* weight, const T* bias, T* y, T* sum, float* mean, float* rstd,
            int64_t hidden, float epsilon) {
  __shared__ float shared[32];
  const int64_t row = blockIdx.x, at = row * hidden;
  const int64_t first = static_cast<int64_t>(threadIdx.x) * N, step = static_cast<int64_t>(blockDim.x) * N;
  const float count = static_cast<float>(hidden);
  const T* in = x + at;
  float values[N], total = 0.0f;
  for (int64_t j = first; j < hidden; j += step) {
    load<T, N>(in + j, values);
    if (residual != nullptr) {
      float other[N];
      load<T, N>(residual + at + j, other);
#pragma unroll
      for (int i = 0; i < N; ++i) values[i] = to_float(from_float<T>(values[i] + other[i]));
      store<T, N>(sum + at + j, values);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) total += kCentred ? values[i] : values[i] * values[i];
  }
  total = block_sum(total, shared);
  if (residual != nullptr) in = sum + at;  // each thread reads what it wrote
  float middle = 0.0f, squares = total;
  if constexpr (kCentred) {
    middle = total / count;
    squares = 0.0f;
    for (int64_t j = first; j < hidden; j += step) {
      if constexpr (!kOnce) load<T, N>(in + j, values);
#pragma unroll
      for (int i = 0; i < N; ++i) squares += (values[i] - middle) * (values[i] - middle);
    }
    squares = block_sum(squares, shared);
  }
  const float scale = 1.0f / sqrtf(squares / count + epsilon);
  if (threadIdx.x == 0) {
    rstd[row] = scale;
    if constexpr (kCentred) mean[row] = middle;
  }
  for (int64_t j = first; j < hidden; j += step) {
    float weights[N];
    if constexpr (!kOnce) load<T, N>(in + j, values);
    load<T, N>(weight + j, weights);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = centred<kCentred>(values[i], middle) * scale * weights[i];
    if constexpr (kCentred) {
      float shifts[N];
      load<T, N>(bias + j, shifts);
#pragma unroll
      for (int i = 0; i < N; ++i) values[i] += shifts[i];
    }
    store<T, N>(y + at + j, values);
  }
}

__device__ __forceinline__ void warp_sums(float& first, float& second, bool both) {
  for (int offset = 16; offset > 0; offset /= 2) {
    first += __shfl_xor_sync(0xffffffffu, first, offset);
    if (both) second += __shfl_xor_sync(0xffffffffu, second, offset);
  }
}

// Sums of both over the block, divided by count; shared holds 64 floats.
template <bool kCentred>
__device__ __forceinline__ void block_means(float& product, float& total, float count, float* shared) {
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
  warp_sums(product, total, kCentred);
  __syncthreads();  // the sums before may still be read
  if (lane == 0) {
    shared[warp] = product;
    if constexpr (kCentred) shared[32 + warp] = total;
  }
  __syncthreads();
  product = lane < warps ? shared[lane] : 0.0f;
  if constexpr (kCentred) total = lane < warps ? shared[32 + lane] : 0.0f;
  warp_sums(product, total, kCentred);
  product /= count;
  if constexpr (kCentred) total /= count;
}

// One block per row block; each thread has the same columns of every row and their sums in registers. RMSNorm's next row
// is on its way while this one's sums are taken; LayerNorm has a second sum in these registers, and more blocks instead.
// PTX: registers <= 64, loads 16, stores 16
template <class T, int N, bool kCentred>
__global__ void __launch_bounds__(kRowThreads)
    backward_once(const T* grad, const T* grad_sum, const T* x, const T* weight, const float* mean, const float* rstd,
                  T* grad_x, float* partial, int64_t rows, int64_t hidden) {
  __shared__ float shared[64];
  const int64_t column = static_cast<int64_t>(threadIdx.x) * N, block = blockIdx.x, blocks = gridDim.x;
  const int64_t begin = block * rows / blocks, end = (block + 1) * rows / blocks;
  const bool here = column < hidden;
  // Packs stay as they are until they are used, which halves the registers.
  const Pack<T, N>* grad_packs = reinterpret_cast<const Pack<T, N>*>(grad + column);
  const Pack<T, N>* x_packs = reinterpret_cast<const Pack<T, N>*>(x + column);
  const int64_t stride = hidden / N;
  Pack<T, N> weights = {}, next_grad = {}, next_x = {};
  float weight_part[N] = {}, bias_part[N] = {};
  if (here) {
    weights = *reinterpret_cast<const Pack<T, N>*>(weight + column);
    if constexpr (!kCentred) {
      next_grad = grad_packs[begin * stride];
      next_x = x_packs[begin * stride];
    }
  }
  for (int64_t row = begin; row < end; ++row) {
    const float scale = rstd[row], middle = kCentred ? mean[row] : 0.0f;
    if constexpr (kCentred) {
      if (here) {
        next_grad = grad_packs[row * stride];
        next_x = x_packs[row * stride];
      }
    }
    const Pack<T, N> own_grad = next_grad, own_x = next_x;
    if (!kCentred && here && row + 1 < end) {
      next_grad = grad_packs[(row + 1) * stride];
      next_x = x_packs[(row + 1) * stride];
    }
    float product = 0.0f, total = 0.0f;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float g = to_float(own_grad.values[i]), scaled = g * to_float(weights.values[i]);
      const float n = centred<kCentred>(to_float(own_x.values[i]), middle) * scale;
      weight_part[i] += g * n;
      product += scaled * n;
      if constexpr (kCentred) {
        bias_part[i] += g;
        total += scaled;
      }
    }
    block_means<kCentred>(product, total, static_cast<float>(hidden), shared);
    if (!here) continue;
    float result[N], other[N] = {};
    const int64_t at = row * hidden + column;
    if (grad_sum != nullptr) load<T, N>(grad_sum + at, other);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float g = to_float(own_grad.values[i]) * to_float(weights.values[i]);
      const float n = centred<kCentred>(to_float(own_x.values[i]), middle) * scale;
      result[i] = scale * (g - n * product - (kCentred ? total : 0.0f)) + other[i];
    }
    store<T, N>(grad_x + at, result);
  }
  if (!here) return;
  float* part = partial + block * (kCentred ? 2 * hidden : hidden) + column;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    part[i] = weight_part[i];
    if constexpr (kCentred) part[hidden + i] = bias_part[i];
  }
}

// Rows of any length. The sums of a thread's columns are in shared memory, those of neighbouring threads side by side, or
// where they do not fit (in_place) at once in their row of `partial`.
// PTX: registers <= 64, loads 16, stores 16
template <class T, int N, bool kCentred>
__global__ void __launch_bounds__(kWideThreads, 1)
    backward(const T* grad, const T* grad_sum, const T* x, const T* weight, const float* mean, const float* rstd,
             T* grad_x, float* partial, int64_t rows, int64_t hidden, bool in_place) {
  __shared__ float shared[64];
  extern __shared__ float sums[];
  const int64_t first = static_cast<int64_t>(threadIdx.x) * N, step = static_cast<int64_t>(blockDim.x) * N;
  const int64_t block = blockIdx.x, blocks = gridDim.x;
  float* row_of_partial = partial + block * (kCentred ? 2 * hidden : hidden);
  float* weight_part = in_place ? row_of_partial : sums;
  float* bias_part = weight_part + hidden;
  const auto place = [&](int64_t j, int i) { return in_place ? j + i : j / N + i * (hidden / N); };
  for (int64_t j = first; j < hidden; j += step) {
    for (int i = 0; i < N; ++i) {
      weight_part[place(j, i)] = 0.0f;
      if constexpr (kCentred) bias_part[place(j, i)] = 0.0f;
    }
  }
  for (int64_t row = block * rows / blocks; row < (block + 1) * rows / blocks; ++row) {
    const int64_t at = row * hidden;
    const float scale = rstd[row], middle = kCentred ? mean[row] : 0.0f;
    float g[N], n[N], weights[N], product = 0.0f, total = 0.0f;
    const auto read = [&](int64_t j) {
      load<T, N>(grad + at + j, g);
      load<T, N>(x + at + j, n);
      load<T, N>(weight + j, weights);
#pragma unroll
      for (int i = 0; i < N; ++i) n[i] = centred<kCentred>(n[i], middle) * scale;
    };
    for (int64_t j = first; j < hidden; j += step) {
      read(j);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        weight_part[place(j, i)] += g[i] * n[i];
        product += g[i] * n[i] * weights[i];
        if constexpr (kCentred) {
          bias_part[place(j, i)] += g[i];
          total += g[i] * weights[i];
        }
      }
    }
    block_means<kCentred>(product, total, static_cast<float>(hidden), shared);
    for (int64_t j = first; j < hidden; j += step) {
      read(j);
      float other[N] = {};
      if (grad_sum != nullptr) load<T, N>(grad_sum + at + j, other);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        g[i] = scale * (g[i] * weights[i] - n[i] * product - (kCentred ? total : 0.0f)) + other[i];
      }
      store<T, N>(grad_x + at + j, g);
    }
  }
  if (in_place) return;
  for (int64_t j = first; j < hidden; j += step) {
    for (int i = 0; i < N; ++i) {
      row_of_partial[j + i] = weight_part[place(j, i)];
      if constexpr (kCentred) row_of_partial[hidden + j + i] = bias_part[place(j, i)];
    }
  }
}

unsigned threads_of(int64_t accesses, int64_t most) {
  const int64_t threads = (accesses + 31) / 32 * 32;
  return static_cast<unsigned>(threads < 32 ? 32 : threads > most ? most : threads);
}

}  // namespace

extern "C" int norm_forward(int64_t dtype, const void* x, const void* residual, const void* weight, const void* bias,
                            void* y, void* sum, void* mean, void* rstd, int64_t rows, int64_t hidden, double epsilon,
                            cudaStream_t stream) {
  if (rows == 0) return 0;
  if (rows > INT32_MAX) return static_cast<int>(cudaErrorInvalidValue);
  return with_type(dtype, [=](auto type) {
    using T = decltype(type);
    const bool packs = hidden % kPack<T> == 0 && aligned(x) && aligned(residual) && aligned(weight) && aligned(bias) &&
                       aligned(y) && aligned(sum);
    with_width<T>(packs, [=](auto width) {
      constexpr int N = decltype(width)::value;
      with_answer(mean != nullptr, [=](auto centre) {
        with_answer(hidden / N <= kRowThreads, [=](auto once) {
          forward<T, N, decltype(centre)::value, decltype(once)::value>
              <<<static_cast<unsigned>(rows), threads_of(hidden / N, kRowThreads), 0, stream>>>(
                  static_cast<const T*>(x), static_cast<const T*>(residual), static_cast<const T*>(weight),
                  static_cast<const T*>(bias), static_cast<T*>(y), static_cast<T*>(sum), static_cast<float*>(mean),
                  static_cast<float*>(rstd), hidden, static_cast<float>(epsilon));
        });
      });
    });
  });
}

extern "C" int norm_backward(int64_t dtype, const void* grad, const void* grad_sum, const void* x, const void* weight,
                             const void* mean, const void* rstd, void* grad_x, void* grad_weight, void* partial,
                             int64_t rows, int64_t hidden, cudaStream_t stream) {
  if (hidden == 0) return 0;
  const int64_t blocks = rows < kPartialRows ? rows : kPartialRows, columns = mean == nullptr ? hidden : 2 * hidden;
  const int status = blocks == 0 ? 0 : with_type(dtype, [=](auto type) {
    using T = decltype(type);
    const bool packs = hidden % kPack<T> == 0 && aligned(grad) && aligned(grad_sum) && aligned(x) && aligned(weight) &&
                       aligned(grad_x);
    with_width<T>(packs, [=](auto width) {
      constexpr int N = decltype(width)::value;
      with_answer(mean != nullptr, [=](auto centre) {
        constexpr bool kCentred = decltype(centre)::value;
        const T* inputs[] = {static_cast<const T*>(grad), static_cast<const T*>(grad_sum), static_cast<const T*>(x),
                             static_cast<const T*>(weight)};
        const float* middles = static_cast<const float*>(mean);
        const float* scales = static_cast<const float*>(rstd);
        const unsigned grid = static_cast<unsigned>(blocks);
        const bool once = hidden / N <= kRowThreads;
        const unsigned threads = threads_of(hidden / N, once ? kRowThreads : kWideThreads);
        if (once) {
          backward_once<T, N, kCentred><<<grid, threads, 0, stream>>>(inputs[0], inputs[1], inputs[2], inputs[3],
                                                                      middles, scales, static_cast<T*>(grad_x),
                                                                      static_cast<float*>(partial), rows, hidden);
        } else {
          const int64_t bytes = columns * static_cast<int64_t>(sizeof(float));
          const bool in_place = bytes > kSharedBytes;
          backward<T, N, kCentred><<<grid, threads, in_place ? 0 : static_cast<size_t>(bytes), stream>>>(
              inputs[0], inputs[1], inputs[2], inputs[3], middles, scales, static_cast<T*>(grad_x),
              static_cast<float*>(partial), rows, hidden, in_place);
        }
      });
    });
  });
  if (status != 0) return status;
  return add_partials(static_cast<const float*>(partial), static_cast<float*>(grad_weight), blocks, columns, stream);
}
