// The kernels for the instruction set that the compiler assumes.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace base {
#include "scalars.h"
#include "norm.h"
#include "activation.h"
#include "cross_entropy.h"
#include "optimizer.h"
#include "rope.h"
}  // namespace base
