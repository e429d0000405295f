// RoPE; the arguments are those of declarations.h.
#include "common.cuh"

namespace {

constexpr int kThreads = 256;

// One thread per pair of channels or copied channel; neighbours are neighbours in memory.
template <class T>
__global__ void __launch_bounds__(kThreads)
    rotate(const T* x, const float* cosine, const float* sine, T* y, int64_t count, int64_t length, int64_t heads,
           int64_t size, int64_t half, int64_t batch_stride, int64_t position_stride, int64_t head_stride,
           bool table_per_sample, float direction) {
  const int64_t per_head = size - half, step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t n = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; n < count; n += step) {
    const int64_t vector = n / per_head, i = n - vector * per_head;
    const int64_t row = vector / heads, head = vector - row * heads;
    const int64_t sample = row / length, position = row - sample * length;
    const T* in = x + sample * batch_stride + position * position_stride + head * head_stride;
    T* out = y + vector * size;
    if (i >= half) {
      out[i + half] = in[i + half];
      continue;
    }
    const int64_t at = ((table_per_sample ? sample : 0) * length + position) * half + i;
    const float first = to_float(in[i]), second = to_float(in[i + half]);
    const float c = cosine[at], s = sine[at] * direction;
    out[i] = from_float<T>(first * c - second * s);
    out[i + half] = from_float<T>(second * c + first * s);
  }
}

}  // namespace

extern "C" int rope(int64_t dtype, const void* x, const void* cosine, const void* sine, void* y, int64_t batch,
                    int64_t length, int64_t heads, int64_t size, int64_t half, int64_t batch_stride,
                    int64_t position_stride, int64_t head_stride, int64_t tables, double direction,
                    cudaStream_t stream) {
  const int64_t count = batch * length * heads * (size - half);
  if (count == 0) return 0;
  const int64_t blocks = (count + kThreads - 1) / kThreads;
  return with_type(dtype, [=](auto type) {
    using T = decltype(type);
    rotate<T><<<static_cast<unsigned>(blocks < 132 * 64 ? blocks : 132 * 64), kThreads, 0, stream>>>(
        static_cast<const T*>(x), static_cast<const float*>(cosine), static_cast<const float*>(sine),
        static_cast<T*>(y), count, length, heads, size, half, batch_stride, position_stride, head_stride, tables != 1,
        static_cast<float>(direction));
  });
}
