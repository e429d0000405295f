// The kernels for avx2.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels.h"

#if STEEL_X86_SETS
#pragma GCC target("avx2,fma")
namespace avx2 {
#include "scalars.h"
#include "norm.h"
#include "activation.h"
#include "cross_entropy.h"
#include "optimizer.h"
#include "rope.h"
}  // namespace avx2
#endif
