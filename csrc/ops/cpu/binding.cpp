// Python module steel_megatron._ops: the CPU kernels. Pointers are integers (Tensor.data_ptr()), 0 is no tensor; shapes
// and types are the caller's to check. Calls release the GIL.
#include <pybind11/pybind11.h>

#include <type_traits>

#include "kernels.h"

namespace py = pybind11;
using steel::InstructionSet;

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

template <class Kernel>
Kernel pick(InstructionSet set, Kernel base, Kernel avx2, Kernel avx512, Kernel avx512_bf16) {
  const Kernel kernels[] = {base, avx2, avx512, avx512_bf16};
  return kernels[static_cast<int>(set)];
}

#if STEEL_X86_SETS
#define VARIANT(name) pick(set, base::name, avx2::name, avx512::name, avx512_bf16::name)
#else
#define VARIANT(name) base::name
#endif

void define_set(py::module_ module, [[maybe_unused]] InstructionSet set) {
#define CPU_KERNEL(name, ...) define(module, #name, VARIANT(name));
#include "declarations.h"
}

// A line "name(parameters)" per kernel, for those who call them.
constexpr const char* kSignatures =
#define CPU_KERNEL(name, ...) #name "(" #__VA_ARGS__ ")\n"
#include "declarations.h"
    ;

}  // namespace

// Every set up to the widest is a submodule, so that each can be tested; `best` is the chosen one.
PYBIND11_MODULE(_ops, module) {
  const InstructionSet chosen = steel::chosen_set();
  for (int i = 0; i <= static_cast<int>(steel::widest_set()); ++i) {
    const auto set = static_cast<InstructionSet>(i);
    define_set(module.def_submodule(steel::name_of(set)), set);
  }
  module.attr("best") = module.attr(steel::name_of(chosen));
  module.attr("instruction_set") = steel::name_of(chosen);
  module.attr("SIGNATURES") = kSignatures;
  module.attr("CHUNK") = kChunk;
}
