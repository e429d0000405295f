// The kernels for avx512 with products of bf16 numbers: those that multiply.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <vector>

#include "kernels.h"

#if STEEL_X86_SETS
#include <immintrin.h>
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,prefer-vector-width=512")
#define STEEL_VECTOR_BYTES 64
#define STEEL_BF16_DOT 1
namespace avx512_bf16 {
#include "scalars.h"
#include "tiles.h"
#include "attention_bands.h"
#include "attention.h"
}  // namespace avx512_bf16
#endif
