// One set of CPU kernels per instruction set; the binding takes the best one that the processor has.
#pragma once
#include <cstdint>

#include "common/instruction_set.h"

// Rows are summed in this many blocks, whatever the number of threads.
inline int64_t row_blocks(int64_t rows) { return rows < 64 ? rows : 64; }

// Elements of a tensor that are worked on at once by kernels over many tensors.
constexpr int64_t kChunk = 16384;

// Attention's backward pass divides groups of heads as well where documents and heads give fewer pieces of work.
constexpr int64_t kFewItems = 16;

namespace base {
#define CPU_KERNEL(name, ...) void name(__VA_ARGS__, int64_t threads);
#include "declarations.h"
}  // namespace base
#if STEEL_X86_SETS
namespace avx2 {
#define CPU_KERNEL(name, ...) void name(__VA_ARGS__, int64_t threads);
#include "declarations.h"
}  // namespace avx2
namespace avx512 {
#define CPU_KERNEL(name, ...) void name(__VA_ARGS__, int64_t threads);
#include "declarations.h"
}  // namespace avx512
// Only what multiplies differs from avx512.
namespace avx512_bf16 {
using namespace avx512;
decltype(avx512::attention_forward) attention_forward;
decltype(avx512::attention_backward) attention_backward;
}  // namespace avx512_bf16
#endif
