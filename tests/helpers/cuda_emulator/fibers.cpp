#include "fibers.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the registers that a function must keep on the stack, whose end goes to *save, and goes on with another's.
extern "C" void emulator_switch(void** save, void* load);
asm(R"(
.text
.globl emulator_switch
.type emulator_switch, @function
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

namespace emulator {

Fiber* running_fiber = nullptr;

namespace {

constexpr size_t kGuard = 4096;
Fiber scheduler;
#if defined(__SANITIZE_ADDRESS__)
const void* scheduler_bottom = nullptr;
size_t scheduler_size = 0;
#endif

void switch_fibers(Fiber* from, Fiber* to) {
  running_fiber = to;
#if defined(__SANITIZE_ADDRESS__)
  const bool home = to == &scheduler;
  __sanitizer_start_switch_fiber(&from->fake_stack, home ? scheduler_bottom : to->stack, home ? scheduler_size : kStack);
#endif
  emulator_switch(&from->top, to->top);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
#endif
}

void begin() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size);
#endif
  running_fiber->body();
  std::abort();  // it never returns
}

}  // namespace

Fiber* new_fiber(void (*body)()) {
  void* memory = mmap(nullptr, kStack + kGuard, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kGuard, PROT_NONE) != 0) {
    std::perror("the emulator's stacks");
    std::abort();
  }
  Fiber* fiber = new Fiber;
  fiber->stack = static_cast<char*>(memory) + kGuard;
  fiber->body = body;
  void** top = reinterpret_cast<void**>(fiber->stack + kStack);
  *--top = nullptr;  // the address that begin() would return to, which also aligns the stack
  *--top = reinterpret_cast<void*>(&begin);
  fiber->top = top - 6;  // the registers that emulator_switch takes from there
  return fiber;
}

void switch_to(Fiber* fiber) { switch_fibers(&scheduler, fiber); }

void switch_to_scheduler() { switch_fibers(running_fiber, &scheduler); }

}  // namespace emulator
