// Races: two accesses to one byte, one of them a write, by threads that nothing orders.
//
// The objects are compiled with -fsanitize=thread, whose calls races.cpp answers. It knows what ThreadSanitizer's own
// library cannot: barriers of a block and of a warp, that blocks are never ordered, and that shared memory is the block's.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>

namespace emulator::races {

#if defined(EMULATOR_RACES)
void begin();                                       // of a launch
void run(unsigned thread, uint3 block, dim3 grid);  // this thread goes on
void barrier();                                     // all threads of the block have met
void warp_barrier(unsigned warp);                   // the lanes of a warp have
void shared(const void* memory, size_t bytes);      // is each block's own
void atomic(const void* address, size_t bytes);
const char* found();                                // the first race of the launch; null if there is none
#else
inline void begin() {}
inline void run(unsigned, uint3, dim3) {}
inline void barrier() {}
inline void warp_barrier(unsigned) {}
inline void shared(const void*, size_t) {}
inline void atomic(const void*, size_t) {}
inline const char* found() { return nullptr; }
#endif

}  // namespace emulator::races
