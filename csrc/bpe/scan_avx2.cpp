// The scanner for AVX2; every processor that has AVX2 has BMI1 and BMI2.
#include "scan.h"

#include <cstring>

#include "boundaries.h"
#include "common/instruction_set.h"
#include "scan_sets.h"
#include "unicode.h"

#if STEEL_X86_SETS
#include <immintrin.h>
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt")
#define STEEL_BLOCK 32

namespace bpe {
namespace avx2 {

#include "scan_body.h"

ScanFunction scanner(Pattern pattern) {
  return pattern == Pattern::kWords ? scan_with<Pattern::kWords> : scan_with<Pattern::kLines>;
}

}  // namespace avx2
}  // namespace bpe
#endif
