// The kernels for the instruction set that the compiler assumes.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <vector>

#include "kernels.h"

#define STEEL_VECTOR_BYTES 16
#define STEEL_BF16_DOT 0

namespace base {
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
}  // namespace base
