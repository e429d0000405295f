// Which instruction set the compiled parts use: the best that the processor has, or the one that the environment variable
// STEEL_CPU_CAPABILITY names, if the processor has it, else its widest. Read once, when a module is loaded.
#pragma once

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

// Where functions for several x86 instruction sets are compiled into one binary. Clang does not pass a target on to the
// functions that it makes of parallel loops, and has the base set only.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define STEEL_X86_SETS 1
#else
#define STEEL_X86_SETS 0
#endif

namespace steel {

enum class InstructionSet { kBase, kAvx2, kAvx512, kAvx512Bf16 };

constexpr const char* kInstructionSets[] = {"base", "avx2", "avx512", "avx512_bf16"};

inline const char* name_of(InstructionSet set) { return kInstructionSets[static_cast<int>(set)]; }

// The widest set of this processor (and operating system) among those compiled.
inline InstructionSet processor_set() {
#if STEEL_X86_SETS
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return InstructionSet::kBase;
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!wide) return InstructionSet::kAvx2;
  return __builtin_cpu_supports("avx512bf16") ? InstructionSet::kAvx512Bf16 : InstructionSet::kAvx512;
#else
  return InstructionSet::kBase;
#endif
}

// Intel's dot products of bf16 numbers take twice as long as its fused multiply-adds, so that rounding to bf16 is for
// nothing: attention runs at 62 GFLOP/s with them and at 95 without on a core of Sapphire Rapids.
inline bool has_slow_dot_products() {
#if STEEL_X86_SETS
  return __builtin_cpu_is("intel");
#else
  return false;
#endif
}

// The widest set that may be used: STEEL_CPU_CAPABILITY's, or the processor's. Throws std::invalid_argument for a name
// that is none.
inline InstructionSet widest_set() {
  const InstructionSet most = processor_set();
  const char* named = std::getenv("STEEL_CPU_CAPABILITY");
  if (named == nullptr || *named == '\0') return most;
  for (int i = 0; i < 4; ++i) {
    if (std::strcmp(named, kInstructionSets[i]) != 0) continue;
    const auto set = static_cast<InstructionSet>(i);
    return set < most ? set : most;
  }
  throw std::invalid_argument("STEEL_CPU_CAPABILITY=" + std::string(named) +
                              "\n  rule: it is base, avx2, avx512 or avx512_bf16"
                              "\n  fix:  unset it for the widest set of this processor");
}

// The set that is used: the widest, or a narrower one that is faster unless the widest was asked for by its name.
inline InstructionSet chosen_set() {
  const InstructionSet widest = widest_set();
  const char* named = std::getenv("STEEL_CPU_CAPABILITY");
  const bool asked = named != nullptr && *named != '\0';
  return widest == InstructionSet::kAvx512Bf16 && !asked && has_slow_dot_products() ? InstructionSet::kAvx512 : widest;
}

}  // namespace steel
