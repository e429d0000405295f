// The scanners by instruction set.
#pragma once

#include "common/instruction_set.h"
#include "scan.h"

namespace bpe {

namespace base {
ScanFunction scanner(Pattern pattern);
}
#if STEEL_X86_SETS
namespace avx2 {
ScanFunction scanner(Pattern pattern);
}
#endif

}  // namespace bpe
