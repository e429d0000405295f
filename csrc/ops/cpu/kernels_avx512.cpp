// The kernels for avx512.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <vector>

#include "kernels.h"

#if STEEL_X86_SETS
#include <immintrin.h>
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#define STEEL_VECTOR_BYTES 64
#define STEEL_BF16_DOT 0
namespace avx512 {
#define CPU_SOURCES
#include "declarations.h"
}  // namespace avx512
#endif
