// The embedding's gradient; the arguments are those of declarations.h. partial: fp32, (parts, 2, hidden).
//
// The sorted ids are cut into parts of kPart. A run of equal ids within one part is added to its row at once. Of a run
// that reaches over several parts each part keeps its sum, and a second kernel adds these up, in order: no element is
// written by two blocks, and the order of addition is fixed.
#include "common.cuh"

namespace {

constexpr int kPart = 32;  // as PART in steel_megatron/ops/embedding.py
constexpr int kThreads = 128;

__device__ __forceinline__ bool counts(int64_t id, int64_t vocabulary) { return id >= 0 && id < vocabulary; }

template <class A, int N>
__device__ __forceinline__ void add_to(A* row, const float (&sum)[N]) {
  constexpr int W = N == 1 ? 1 : kPack<A>;
#pragma unroll
  for (int k = 0; k < N; k += W) {
    float values[W];
    load<A, W>(row + k, values);
#pragma unroll
    for (int i = 0; i < W; ++i) values[i] += sum[k + i];
    store<A, W>(row + k, values);
  }
}

// A block: a part and kThreads * N columns. Slot 0 of partial is the sum of the run that comes from the part before,
// slot 1 that of the run that starts here and goes on.
// PTX: registers <= 40, loads 16, stores 16
template <class T, class A, int N>
__global__ void __launch_bounds__(kThreads)
    sum_parts(A* target, const T* grad, const int64_t* ids, const int64_t* order, float* partial, int64_t tokens,
              int64_t vocabulary, int64_t hidden) {
  const int64_t part = blockIdx.x, first = part * kPart;
  const int64_t last = tokens - first < kPart ? tokens : first + kPart;
  const int64_t column = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * N;
  if (column >= hidden) return;
  for (int64_t t = first; t < last;) {
    const int64_t id = ids[t];
    int64_t stop = t + 1;
    while (stop < last && ids[stop] == id) ++stop;
    if (counts(id, vocabulary)) {
      float sum[N] = {};
      for (int64_t i = t; i < stop; ++i) {
        float values[N];
        load<T, N>(grad + order[i] * hidden + column, values);
#pragma unroll
        for (int k = 0; k < N; ++k) sum[k] += values[k];
      }
      const bool before = t == first && t > 0 && ids[t - 1] == id;
      const bool after = stop == last && stop < tokens && ids[stop] == id;
      if (before || after) {
        float* slot = partial + (2 * part + (before ? 0 : 1)) * hidden + column;
#pragma unroll
        for (int k = 0; k < N; ++k) slot[k] = sum[k];
      } else {
        add_to<A, N>(target + id * hidden + column, sum);
      }
    }
    t = stop;
  }
}

// A block: the run that starts in a part and goes on, if there is one.
// PTX: registers <= 16
template <class A>
__global__ void __launch_bounds__(kThreads) join_parts(A* target, const int64_t* ids, const float* partial,
                                                       int64_t tokens, int64_t vocabulary, int64_t hidden) {
  const int64_t part = blockIdx.x, first = part * kPart, next = first + kPart;
  if (next >= tokens) return;
  const int64_t id = ids[next];
  const bool starts_here = ids[next - 1] == id && (first == 0 || ids[first - 1] != id);
  const int64_t column = static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x;
  if (!starts_here || !counts(id, vocabulary) || column >= hidden) return;
  float sum = partial[(2 * part + 1) * hidden + column];
  for (int64_t t = next; t < tokens && ids[t] == id; t += kPart) sum += partial[2 * (t / kPart) * hidden + column];
  A* element = target + id * hidden + column;
  *element = from_float<A>(to_float(*element) + sum);
}

template <class T, class A>
void run(A* target, const void* grad, const void* ids, const void* order, void* partial, int64_t tokens,
         int64_t vocabulary, int64_t hidden, cudaStream_t stream) {
  const int64_t* sorted = static_cast<const int64_t*>(ids);
  float* sums = static_cast<float*>(partial);
  const unsigned parts = static_cast<unsigned>((tokens + kPart - 1) / kPart);
  with_width<T>(hidden % kPack<T> == 0 && aligned(grad) && aligned(target), [=](auto width) {
    constexpr int N = decltype(width)::value;
    const dim3 grid(parts, static_cast<unsigned>((hidden + kThreads * N - 1) / (kThreads * N)));
    sum_parts<T, A, N><<<grid, kThreads, 0, stream>>>(target, static_cast<const T*>(grad), sorted,
                                                      static_cast<const int64_t*>(order), sums, tokens, vocabulary,
                                                      hidden);
  });
  const dim3 grid(parts, static_cast<unsigned>((hidden + kThreads - 1) / kThreads));
  join_parts<A><<<grid, kThreads, 0, stream>>>(target, sorted, sums, tokens, vocabulary, hidden);
}

}  // namespace

extern "C" int embedding_gradient(int64_t dtype, int64_t target_dtype, void* target, const void* grad, const void* ids,
                                  const void* order, void* partial, int64_t tokens, int64_t vocabulary, int64_t hidden,
                                  cudaStream_t stream) {
  if (tokens == 0 || hidden == 0) return 0;
  return with_type(dtype, [=](auto type) {
    using T = decltype(type);
    if (target_dtype == 0) {
      run<T>(static_cast<float*>(target), grad, ids, order, partial, tokens, vocabulary, hidden, stream);
    } else {
      run<T>(static_cast<T*>(target), grad, ids, order, partial, tokens, vocabulary, hidden, stream);
    }
  });
}
