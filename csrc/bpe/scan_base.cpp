// The scanner of the base set of the processor.
#include "scan.h"

#include <cstring>

#include "boundaries.h"
#include "common/instruction_set.h"
#include "scan_sets.h"
#include "unicode.h"

#ifdef __SSE2__
#include <emmintrin.h>
#define STEEL_BLOCK 16
#else
#define STEEL_BLOCK 0
#endif

namespace bpe {
namespace base {

#include "scan_body.h"

ScanFunction scanner(Pattern pattern) {
  return pattern == Pattern::kWords ? scan_with<Pattern::kWords> : scan_with<Pattern::kLines>;
}

}  // namespace base

ScanFunction scanner(Pattern pattern) {
#if STEEL_X86_SETS
  if (steel::chosen_set() >= steel::InstructionSet::kAvx2) return avx2::scanner(pattern);
#endif
  return base::scanner(pattern);
}

}  // namespace bpe
