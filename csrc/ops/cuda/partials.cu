#include "partials.cuh"

namespace {

// A warp reads 32 neighbouring columns of a row; 32 warps take turns over the rows, then their sums are added in order.
__global__ void __launch_bounds__(1024)
    sum_partials(const float* partial, float* total, int64_t blocks, int64_t width) {
  __shared__ float shared[32][33];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * 32 + threadIdx.x;
  float sum = 0.0f;
  if (column < width) {
    for (int64_t block = threadIdx.y; block < blocks; block += 32) sum += partial[block * width + column];
  }
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= width) return;
  for (int lane = 1; lane < 32; ++lane) sum += shared[lane][threadIdx.x];
  total[column] = sum;
}

}  // namespace

int add_partials(const float* partial, float* total, int64_t blocks, int64_t width, cudaStream_t stream) {
  sum_partials<<<static_cast<unsigned>((width + 31) / 32), dim3(32, 32), 0, stream>>>(partial, total, blocks, width);
  return static_cast<int>(cudaGetLastError());
}
