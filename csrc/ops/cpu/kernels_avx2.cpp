// The kernels for avx2.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <vector>

#include "kernels.h"

#if STEEL_X86_SETS
#include <immintrin.h>
#pragma GCC target("avx2,fma,f16c")
#define STEEL_VECTOR_BYTES 32
#define STEEL_BF16_DOT 0
namespace avx2 {
#define CPU_SOURCES
#include "declarations.h"
}  // namespace avx2
#endif
