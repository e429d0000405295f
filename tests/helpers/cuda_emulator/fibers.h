// Fibers: stacks of their own on one CPU thread, of which one runs at a time.
#pragma once
#include <cstddef>

namespace emulator {

constexpr size_t kStack = size_t{1} << 18;

struct Fiber {
  char* stack = nullptr;  // its lowest byte; a page below it may not be touched
  void* top = nullptr;    // of what lies on the stack while the fiber does not run
  void (*body)() = nullptr;
  void* fake_stack = nullptr;  // AddressSanitizer's
};

extern Fiber* running_fiber;

// A fiber that will run body, which never returns.
Fiber* new_fiber(void (*body)());

// From the scheduler to a fiber, until that switches back.
void switch_to(Fiber* fiber);
void switch_to_scheduler();

}  // namespace emulator
