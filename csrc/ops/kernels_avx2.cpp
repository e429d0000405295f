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
#include "scalars.h"
#include "norm.h"
#include "activation.h"
#include "cross_entropy.h"
#include "rounding.h"
#include "optimizer.h"
#include "embedding.h"
#include "rope.h"
#include "qk_norm_rope.h"
#include "tiles.h"
#include "attention_bands.h"
#include "attention.h"
#include "few_tokens.h"
}  // namespace avx2
#endif
