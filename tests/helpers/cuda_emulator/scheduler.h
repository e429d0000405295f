// Runs the threads of a CUDA grid on one CPU thread: blocks one after another, each CUDA thread of a block until it waits.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace emulator {

// Where the running CUDA thread is: threadIdx, blockIdx, blockDim, gridDim.
struct Place {
  uint3 thread, block;
  dim3 block_size, grid_size;
};
extern Place here;

// Ends the launch with a message that names kernel, block, thread and line; the first one of a launch counts.
[[noreturn]] void fail(const char* what, const char* file, int line);

// __syncthreads: returns once all threads of the block that have not ended are at a barrier; fails unless it is this one.
void block_barrier(const char* file, int line);

// What the 32 lanes of a warp gave, once all lanes of `mask` have called this at the same line. Fails where a lane of the
// mask does not exist, has ended, or waits elsewhere, and where the calling lane is not in the mask.
const uint64_t* warp_gather(unsigned mask, uint64_t value, bool orders_memory, const char* file, int line);
unsigned lane();

// Shared memory of the running block, filled with ones (NaN in every floating type) when the block begins. Static memory
// is known by its declaration: `key`.
void* static_shared(const void* key, size_t bytes);
void* dynamic_shared();

// Fails where the block has more threads than __launch_bounds__ promised.
void check_launch_bounds(unsigned most, const char* file, int line);

// Tells the race detector of an atomic access; does nothing where it was not built in.
void atomic_access(const void* address, size_t bytes);

cudaError_t take_error();  // cudaGetLastError

// A launch: kernel<<<grid, block, bytes, stream>>>(…) becomes Launch("kernel", grid, block, bytes, stream)(kernel, …).
class Launch {
 public:
  Launch(const char* name, dim3 grid, dim3 block, size_t bytes = 0, cudaStream_t = nullptr)
      : name_(name), grid_(grid), block_(block), bytes_(bytes) {}

  template <class... P, class... A>
  void operator()(void (*kernel)(P...), A&&... arguments) const {
    const auto body = [&] { kernel(static_cast<P>(arguments)...); };
    run([](const void* call) { (*static_cast<const decltype(body)*>(call))(); }, &body);
  }

 private:
  void run(void (*body)(const void*), const void* call) const;

  const char* name_;
  dim3 grid_, block_;
  size_t bytes_;
};

template <class T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <class T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace emulator
