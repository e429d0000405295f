// Norms of query and key heads and RoPE in one pass; the arguments are those of declarations.h.
//
// A group of `lanes` threads, a power of two, works on a head. Its items are N pairs of channels that are turned
// against each other, or N channels that are not. kOnce: a thread has one item at most, which stays in its registers;
// else each is read again where it is needed.
#include "common.cuh"
#include "partials.cuh"

namespace {

constexpr unsigned kThreads = 128;
constexpr int64_t kPartialTokens = 1024;  // as in ops/native/qk_norm_rope.py; fixed, so that sums never differ

struct Shape {
  unsigned length, queries, keys, size, half, items, lanes;
  bool table_per_sample;
};

template <class T>
struct Gradient {
  const T* data;
  int64_t batch, position, head;
};

// Two runs of N channels of a head, the second only where they are a pair.
template <int N>
struct Item {
  float first[N], second[N];
};

// The same as it lies in memory, which takes half the registers where T has 16 bits.
template <class T, int N>
struct Packed {
  Pack<T, N> first, second;

  __device__ __forceinline__ float at_first(int i) const { return to_float(first.values[i]); }
  __device__ __forceinline__ float at_second(int i) const { return to_float(second.values[i]); }
};

struct Place {
  unsigned first, second, table;  // second and table: of pairs
  bool pair;
};

template <int N>
__device__ __forceinline__ Place place_of(unsigned item, const Shape& shape) {
  const unsigned turns = shape.half / N;
  if (item < turns) return {item * N, shape.half + item * N, item * N, true};
  return {2 * shape.half + (item - turns) * N, 0, 0, false};
}

template <class T, int N>
__device__ __forceinline__ void load_item(const T* head, const Place& place, Item<N>& item) {
  load<T, N>(head + place.first, item.first);
  if (place.pair) {
    load<T, N>(head + place.second, item.second);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) item.second[i] = 0.0f;
  }
}

template <class T, int N>
__device__ __forceinline__ Packed<T, N> packed_item(const T* head, const Place& place) {
  Packed<T, N> item = {};  // 0 bits are the number 0
  item.first = *reinterpret_cast<const Pack<T, N>*>(head + place.first);
  if (place.pair) item.second = *reinterpret_cast<const Pack<T, N>*>(head + place.second);
  return item;
}

template <class T, int N>
__device__ __forceinline__ void store_item(T* head, const Place& place, const Item<N>& item) {
  store<T, N>(head + place.first, item.first);
  if (place.pair) store<T, N>(head + place.second, item.second);
}

// direction: 1, or -1 to turn back.
template <int N>
__device__ __forceinline__ void turn(Item<N>& item, const Place& place, const float* cosine, const float* sine,
                                     float direction) {
  if (!place.pair) return;
  float c[N], s[N];
  load_table<N>(cosine + place.table, c);
  load_table<N>(sine + place.table, s);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float a = item.first[i], b = item.second[i], turned = s[i] * direction;
    item.first[i] = a * c[i] - b * turned;
    item.second[i] = b * c[i] + a * turned;
  }
}

// The sum over a group; every thread of the warp takes part.
__device__ __forceinline__ float group_sum(float value, unsigned lanes) {
  for (unsigned offset = lanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// PTX: registers <= 56, loads 16, stores 16
template <class T, int N, bool kOnce>
__global__ void __launch_bounds__(kThreads)
    forward(const T* x, const T* query_weight, const T* key_weight, const float* cosine, const float* sine, T* y,
            float* rstd, Shape shape, unsigned rows, float epsilon) {
  const unsigned lane = threadIdx.x % shape.lanes, heads = shape.queries + shape.keys;
  const unsigned row = blockIdx.x * (kThreads / shape.lanes) + threadIdx.x / shape.lanes;
  const bool here = row < rows;
  const unsigned token = row / heads, head = row - token * heads;
  const T* in = x + (static_cast<int64_t>(token) * (heads + shape.keys) + head) * shape.size;
  Item<N> item;
  float squares = 0.0f;
  for (unsigned number = here ? lane : shape.items; number < shape.items; number += shape.lanes) {
    load_item<T, N>(in, place_of<N>(number, shape), item);
#pragma unroll
    for (int i = 0; i < N; ++i) squares += item.first[i] * item.first[i] + item.second[i] * item.second[i];
  }
  const float scale = 1.0f / sqrtf(group_sum(squares, shape.lanes) / static_cast<float>(shape.size) + epsilon);
  if (!here) return;
  if (lane == 0) rstd[row] = scale;
  const int64_t table = static_cast<int64_t>(shape.table_per_sample ? token : token % shape.length) * shape.half;
  const T* weight = head < shape.queries ? query_weight : key_weight;
  for (unsigned number = lane; number < shape.items; number += shape.lanes) {
    const Place place = place_of<N>(number, shape);
    Item<N> weights;
    if constexpr (!kOnce) load_item<T, N>(in, place, item);
    load_item<T, N>(weight, place, weights);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      item.first[i] *= scale * weights.first[i];
      item.second[i] *= scale * weights.second[i];
    }
    turn<N>(item, place, cosine + table, sine + table, 1.0f);
    store_item<T, N>(y + static_cast<int64_t>(row) * shape.size, place, item);
  }
}

// The heads of queries or of keys of a block's tokens; their sums go to `sums` (size), in the order of the tokens.
template <class T, int N, bool kOnce>
__device__ __forceinline__ void heads_backward(const Gradient<T>& grad, const T* x, const T* weight, const float* rstd,
                                               const float* cosine, const float* sine, T* grad_x, float* sums,
                                               float* shared, const Shape& shape, unsigned first_head, unsigned count,
                                               unsigned begin, unsigned end) {
  const unsigned lane = threadIdx.x % shape.lanes, group = threadIdx.x / shape.lanes;
  const unsigned groups = blockDim.x / shape.lanes, heads = shape.queries + shape.keys;
  Item<N> part = {};
  if constexpr (!kOnce) {
    for (unsigned channel = lane; channel < shape.size; channel += shape.lanes) sums[channel] = 0.0f;
    __syncwarp();
  }
  for (unsigned first = begin * count; first < end * count; first += groups) {
    const unsigned row = first + group;
    const bool here = row < end * count;
    const unsigned token = row / count, head = row - token * count;
    const unsigned sample = token / shape.length, position = token - sample * shape.length;
    const int64_t at = (static_cast<int64_t>(token) * (heads + shape.keys) + first_head + head) * shape.size;
    const int64_t table = static_cast<int64_t>(shape.table_per_sample ? token : position) * shape.half;
    const T* own = grad.data + sample * grad.batch + position * grad.position + head * grad.head;
    const float scale = here ? rstd[static_cast<int64_t>(token) * heads + first_head + head] : 0.0f;
    // The gradient, turned back and times the weight, and what the norm read.
    Item<N> g;
    Packed<T, N> in;
    const auto read = [&](const Place& place) {
      in = packed_item<T, N>(x + at, place);
      load_item<T, N>(own, place, g);
      turn<N>(g, place, cosine + table, sine + table, -1.0f);
    };
    const auto scale_by_weights = [&](const Place& place) {
      const Packed<T, N> weights = packed_item<T, N>(weight, place);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        g.first[i] *= weights.at_first(i);
        g.second[i] *= weights.at_second(i);
      }
    };
    float product = 0.0f;
    for (unsigned number = here ? lane : shape.items; number < shape.items; number += shape.lanes) {
      const Place place = place_of<N>(number, shape);
      read(place);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const float first = g.first[i] * (in.at_first(i) * scale), second = g.second[i] * (in.at_second(i) * scale);
        if constexpr (kOnce) {
          part.first[i] += first;
          part.second[i] += second;
        } else {
          sums[place.first + i] += first;
          if (place.pair) sums[place.second + i] += second;
        }
      }
      scale_by_weights(place);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        product += g.first[i] * (in.at_first(i) * scale) + g.second[i] * (in.at_second(i) * scale);
      }
    }
    product = group_sum(product, shape.lanes) / static_cast<float>(shape.size);
    for (unsigned number = here ? lane : shape.items; number < shape.items; number += shape.lanes) {
      const Place place = place_of<N>(number, shape);
      if constexpr (!kOnce) {
        read(place);
        scale_by_weights(place);
      }
#pragma unroll
      for (int i = 0; i < N; ++i) {
        g.first[i] = scale * (g.first[i] - in.at_first(i) * scale * product);
        g.second[i] = scale * (g.second[i] - in.at_second(i) * scale * product);
      }
      store_item<T, N>(grad_x + at, place, g);
    }
  }
  if constexpr (kOnce) {
    __syncthreads();  // the sums before may still be read
    if (lane < shape.items) {
      const Place place = place_of<N>(lane, shape);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        shared[group * shape.size + place.first + i] = part.first[i];
        if (place.pair) shared[group * shape.size + place.second + i] = part.second[i];
      }
    }
    __syncthreads();
    for (unsigned channel = threadIdx.x; channel < shape.size; channel += blockDim.x) {
      float sum = 0.0f;
      for (unsigned other = 0; other < groups; ++other) sum += shared[other * shape.size + channel];
      sums[channel] = sum;
    }
  }
}

// One block per run of tokens: its query heads, its key heads, and the gradients of its values, which are copied.
// PTX: registers <= 96, loads 16, stores 16
template <class T, int N, bool kOnce>
__global__ void __launch_bounds__(kThreads, kOnce ? 5 : 1)
    backward(Gradient<T> query, Gradient<T> key, Gradient<T> value, const T* x, const T* query_weight,
             const T* key_weight, const float* rstd, const float* cosine, const float* sine, T* grad_x, float* partial,
             unsigned tokens, Shape shape) {
  __shared__ float shared[kOnce ? 2 * kThreads * N : 1];  // groups * size at most
  const uint64_t block = blockIdx.x, blocks = gridDim.x;
  const unsigned begin = static_cast<unsigned>(block * tokens / blocks);
  const unsigned end = static_cast<unsigned>((block + 1) * tokens / blocks);
  float* sums = partial + block * 2 * shape.size;
  heads_backward<T, N, kOnce>(query, x, query_weight, rstd, cosine, sine, grad_x, sums, shared, shape, 0, shape.queries,
                              begin, end);
  heads_backward<T, N, kOnce>(key, x, key_weight, rstd, cosine, sine, grad_x, sums + shape.size, shared, shape,
                              shape.queries, shape.keys, begin, end);
  const unsigned packs = shape.size / N, per_token = shape.keys * packs, heads = shape.queries + 2 * shape.keys;
  for (unsigned i = threadIdx.x; i < (end - begin) * per_token; i += blockDim.x) {
    const unsigned token = begin + i / per_token, rest = i % per_token, head = rest / packs;
    const unsigned sample = token / shape.length, position = token - sample * shape.length, channel = rest % packs * N;
    const T* from = value.data + sample * value.batch + position * value.position + head * value.head + channel;
    T* to = grad_x + (static_cast<int64_t>(token) * heads + shape.queries + shape.keys + head) * shape.size + channel;
    *reinterpret_cast<Pack<T, N>*>(to) = *reinterpret_cast<const Pack<T, N>*>(from);
  }
}

// The smallest power of two with a thread for each item, at most a warp.
unsigned lanes_for(int64_t items) {
  unsigned lanes = 1;
  while (lanes < 32 && lanes < items) lanes *= 2;
  return lanes;
}

Shape shape_of(int64_t length, int64_t queries, int64_t keys, int64_t size, int64_t half, int64_t tables,
               int64_t width) {
  const int64_t items = (half + size - 2 * half) / width;
  return {static_cast<unsigned>(length),
          static_cast<unsigned>(queries),
          static_cast<unsigned>(keys),
          static_cast<unsigned>(size),
          static_cast<unsigned>(half),
          static_cast<unsigned>(items),
          lanes_for(items),
          tables != 1};
}

}  // namespace

extern "C" int qk_norm_rope_forward(int64_t dtype, const void* x, const void* query_weight, const void* key_weight,
                                    const void* cosine, const void* sine, void* y, void* rstd, int64_t batch,
                                    int64_t length, int64_t queries, int64_t keys, int64_t size, int64_t half,
                                    int64_t tables, double epsilon, cudaStream_t stream) {
  const int64_t rows = batch * length * (queries + keys);
  if (rows == 0) return 0;
  if (rows > INT32_MAX) return static_cast<int>(cudaErrorInvalidValue);
  return with_type(dtype, [=](auto type) {
    using T = decltype(type);
    const bool packs = (size | half) % kPack<T> == 0 && aligned(x) && aligned(query_weight) && aligned(key_weight) &&
                       aligned(y) && aligned(cosine) && aligned(sine);
    with_width<T>(packs, [=](auto width) {
      constexpr int N = decltype(width)::value;
      const Shape shape = shape_of(length, queries, keys, size, half, tables, N);
      with_answer(shape.items <= shape.lanes, [=](auto once) {
        const int64_t groups = kThreads / shape.lanes;
        forward<T, N, decltype(once)::value>
            <<<static_cast<unsigned>((rows + groups - 1) / groups), kThreads, 0, stream>>>(
                static_cast<const T*>(x), static_cast<const T*>(query_weight), static_cast<const T*>(key_weight),
                static_cast<const float*>(cosine), static_cast<const float*>(sine), static_cast<T*>(y),
                static_cast<float*>(rstd), shape, static_cast<unsigned>(rows), static_cast<float>(epsilon));
      });
    });
  });
}

extern "C" int qk_norm_rope_backward(int64_t dtype, const void* grad_query, const void* grad_key,
                                     const void* grad_value, const void* x, const void* query_weight,
                                     const void* key_weight, const void* rstd, const void* cosine, const void* sine,
                                     void* grad_x, void* grad_weights, void* partial, int64_t batch, int64_t length,
                                     int64_t queries, int64_t keys, int64_t size, int64_t half, int64_t query_batch,
                                     int64_t query_position, int64_t query_head, int64_t key_batch,
                                     int64_t key_position, int64_t key_head, int64_t value_batch,
                                     int64_t value_position, int64_t value_head, int64_t tables, cudaStream_t stream) {
  const int64_t tokens = batch * length;
  if (tokens == 0 || size == 0) return 0;
  if (tokens * (queries + 2 * keys) > INT32_MAX) return static_cast<int>(cudaErrorInvalidValue);
  const int64_t blocks = tokens < kPartialTokens ? tokens : kPartialTokens;
  const int status = with_type(dtype, [=](auto type) {
    using T = decltype(type);
    const int64_t offsets = size | half | query_batch | query_position | query_head | key_batch | key_position |
                            key_head | value_batch | value_position | value_head;
    const bool packs = offsets % kPack<T> == 0 && aligned(grad_query) && aligned(grad_key) && aligned(grad_value) &&
                       aligned(x) && aligned(query_weight) && aligned(key_weight) && aligned(grad_x) &&
                       aligned(cosine) && aligned(sine);
    with_width<T>(packs, [=](auto width) {
      constexpr int N = decltype(width)::value;
      const Shape shape = shape_of(length, queries, keys, size, half, tables, N);
      with_answer(shape.items <= shape.lanes, [=](auto once) {
        constexpr bool kOnce = decltype(once)::value;
        const Gradient<T> query = {static_cast<const T*>(grad_query), query_batch, query_position, query_head};
        const Gradient<T> key = {static_cast<const T*>(grad_key), key_batch, key_position, key_head};
        const Gradient<T> value = {static_cast<const T*>(grad_value), value_batch, value_position, value_head};
        // Heads too wide for registers: one warp, which adds to its own row of `partial`.
        backward<T, N, kOnce><<<static_cast<unsigned>(blocks), kOnce ? kThreads : 32u, 0, stream>>>(
            query, key, value, static_cast<const T*>(x), static_cast<const T*>(query_weight),
            static_cast<const T*>(key_weight), static_cast<const float*>(rstd), static_cast<const float*>(cosine),
            static_cast<const float*>(sine), static_cast<T*>(grad_x), static_cast<float*>(partial),
            static_cast<unsigned>(tokens), shape);
      });
    });
  });
  if (status != 0) return status;
  return add_partials(static_cast<const float*>(partial), static_cast<float*>(grad_weights), blocks, 2 * size, stream);
}
