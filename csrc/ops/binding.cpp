// Python module steel_megatron._ops: the CPU kernels. Pointers are integers (Tensor.data_ptr()), 0 is no tensor; shapes
// and types are the caller's to check. Calls release the GIL.
#include <pybind11/pybind11.h>

#include <string>
#include <type_traits>

#include "kernels.h"

namespace py = pybind11;

namespace {

template <class A>
using Passed = std::conditional_t<std::is_pointer_v<A>, uintptr_t, A>;

template <class A>
A received(Passed<A> value) {
  if constexpr (std::is_pointer_v<A>) {
    return reinterpret_cast<A>(value);
  } else {
    return value;
  }
}

template <class... A>
void define(py::module_& module, const char* name, void (*kernel)(A...)) {
  module.def(
      name, [kernel](Passed<A>... values) { kernel(received<A>(values)...); },
      py::call_guard<py::gil_scoped_release>());
}

const char* instruction_set() {
#if STEEL_X86_SETS
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma")) {
    return __builtin_cpu_supports("avx512bf16") ? "avx512_bf16" : "avx512";
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
  return "base";
}

template <class Kernel>
Kernel pick(char set, Kernel base, Kernel avx2, Kernel avx512, Kernel avx512_bf16) {
  return set == 'b' ? base : set == '2' ? avx2 : set == '5' ? avx512 : avx512_bf16;
}

#if STEEL_X86_SETS
#define KERNEL(name) define(set, #name, pick(code, base::name, avx2::name, avx512::name, avx512_bf16::name))
#else
#define KERNEL(name) define(set, #name, base::name)
#endif

// Every set that the processor has is a submodule, so that each can be tested; the best one's name is an attribute.
void define_set(py::module_& module, const char* name, [[maybe_unused]] char code) {
  py::module_ set = module.def_submodule(name);
  KERNEL(norm_forward);
  KERNEL(norm_backward);
  KERNEL(activation_forward);
  KERNEL(activation_backward);
  KERNEL(cross_entropy_forward);
  KERNEL(cross_entropy_backward);
  KERNEL(adamw);
  KERNEL(sum_of_squares);
  KERNEL(embedding_gradient);
  KERNEL(rope);
  KERNEL(attention_forward);
  KERNEL(attention_backward);
}

}  // namespace

PYBIND11_MODULE(_ops, module) {
  const std::string best = instruction_set();
  define_set(module, "base", 'b');
  if (best != "base") define_set(module, "avx2", '2');
  if (best == "avx512" || best == "avx512_bf16") define_set(module, "avx512", '5');
  if (best == "avx512_bf16") define_set(module, "avx512_bf16", 'p');
  module.attr("best") = module.attr(best.c_str());
  module.attr("instruction_set") = best;
  module.attr("CHUNK") = kChunk;
}
