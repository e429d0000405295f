// The kernels for avx512.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels.h"

#if STEEL_X86_SETS
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
namespace avx512 {
#include "scalars.h"
#include "norm.h"
#include "activation.h"
#include "cross_entropy.h"
#include "optimizer.h"
#include "rope.h"
}  // namespace avx512
#endif
