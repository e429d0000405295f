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
#define CPU_SOURCES
#include "declarations.h"
}  // namespace base
