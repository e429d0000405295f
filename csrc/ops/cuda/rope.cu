// RoPE; the arguments are those of declarations.h.
#include "common.cuh"

namespace {

constexpr int kThreads = 256;

struct Strides {
  int64_t batch, position, head;
};

// A thread turns N pairs of channels of a head, or copies N channels that are not turned (copies per head). Blocks
// follow one another along the tokens, `tiles` of them for each. x and y may be the same.
// PTX: registers <= 32, loads 16, stores 16
template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    rotate(const T* x, const float* cosine, const float* sine, T* y, unsigned tiles, unsigned length, int64_t heads,
           unsigned half, unsigned copies, Strides x_strides, Strides y_strides, bool table_per_sample,
           float direction) {
  const unsigned row = blockIdx.x / tiles, sample = row / length, position = row - sample * length;
  const unsigned turns = half / N, per_head = turns + copies;
  const int64_t item = static_cast<int64_t>(blockIdx.x % tiles) * kThreads + threadIdx.x;
  if (item >= heads * per_head) return;
  const unsigned head = static_cast<unsigned>(item) / per_head, i = static_cast<unsigned>(item) - head * per_head;
  const T* in = x + sample * x_strides.batch + position * x_strides.position + head * x_strides.head;
  T* out = y + sample * y_strides.batch + position * y_strides.position + head * y_strides.head;
  if (i >= turns) {
    const int64_t at = 2 * static_cast<int64_t>(half) + static_cast<int64_t>(i - turns) * N;
    *reinterpret_cast<Pack<T, N>*>(out + at) = *reinterpret_cast<const Pack<T, N>*>(in + at);
    return;
  }
  const int64_t at = static_cast<int64_t>(table_per_sample ? row : position) * half + i * N;
  float first[N], second[N], c[N], s[N];
  load<T, N>(in + i * N, first);
  load<T, N>(in + half + i * N, second);
  load_table<N>(cosine + at, c);
  load_table<N>(sine + at, s);
#pragma unroll
  for (int k = 0; k < N; ++k) {
    const float a = first[k], b = second[k], turn = s[k] * direction;
    first[k] = a * c[k] - b * turn;
    second[k] = b * c[k] + a * turn;
  }
  store<T, N>(out + i * N, first);
  store<T, N>(out + half + i * N, second);
}

}  // namespace

extern "C" int rope(int64_t dtype, const void* x, const void* cosine, const void* sine, void* y, int64_t batch,
                    int64_t length, int64_t heads, int64_t size, int64_t half, int64_t x_batch, int64_t x_position,
                    int64_t x_head, int64_t y_batch, int64_t y_position, int64_t y_head, int64_t tables,
                    double direction, cudaStream_t stream) {
  const int64_t rest = x == y ? 0 : size - 2 * half;
  if (batch * length * heads * (half + rest) == 0) return 0;
  return with_type(dtype, [=](auto type) {
    using T = decltype(type);
    constexpr int64_t kWhole = kPack<T>;
    const int64_t offsets = half | size | x_batch | x_position | x_head | y_batch | y_position | y_head;
    const bool packs = offsets % kWhole == 0 && aligned(x) && aligned(y) && aligned(cosine) && aligned(sine);
    with_width<T>(packs, [=](auto width) {
      constexpr int N = decltype(width)::value;
      const int64_t tiles = (heads * (half + rest) / N + kThreads - 1) / kThreads, blocks = batch * length * tiles;
      // Blocks beyond what a grid holds are 0, which the launch refuses.
      rotate<T, N><<<blocks <= INT32_MAX ? static_cast<unsigned>(blocks) : 0u, kThreads, 0, stream>>>(
          static_cast<const T*>(x), static_cast<const float*>(cosine), static_cast<const float*>(sine),
          static_cast<T*>(y), static_cast<unsigned>(tiles), static_cast<unsigned>(length), heads,
          static_cast<unsigned>(half), static_cast<unsigned>(rest / N), Strides{x_batch, x_position, x_head},
          Strides{y_batch, y_position, y_head}, tables != 1, static_cast<float>(direction));
    });
  });
}
