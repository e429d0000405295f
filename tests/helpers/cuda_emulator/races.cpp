// Answers the calls of -fsanitize=thread; see races.h. Built in where EMULATOR_RACES is defined.
#include "races.h"

#include "fibers.h"

#if defined(EMULATOR_RACES)
#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <unordered_map>
#include <vector>

namespace emulator::races {
namespace {

// Who accessed a byte last, and when: epochs count the barriers that the block, or the warp, has met.
struct Access {
  uint32_t block = 0;
  uint16_t thread = 0;
  uint16_t epoch = 0;
  uint16_t warp_epoch = 0;
  bool there = false, atomic = false, by_several = false;
};

struct Byte {
  Access read, write;
};

struct Range {
  uintptr_t begin, end;
  bool holds(uintptr_t address) const { return address >= begin && address < end; }
};

constexpr uintptr_t kPage = 4096;
std::unordered_map<uintptr_t, std::unique_ptr<std::array<Byte, kPage>>> pages;
std::array<Byte, kPage>* last_page = nullptr;
uintptr_t last_number = 0;
std::vector<Range> shared_memory;
Access now;
uint16_t warp_epochs[32];
bool active = false;
char text[256];

Byte& byte_at(uintptr_t address) {
  const uintptr_t number = address / kPage;
  if (last_page == nullptr || number != last_number) {
    auto& page = pages[number];
    if (page == nullptr) page = std::make_unique<std::array<Byte, kPage>>();
    last_page = page.get();
    last_number = number;
  }
  return (*last_page)[address % kPage];
}

// Whether something orders an access before the running thread's, or both are its own.
bool ordered(const Access& before, bool in_shared) {
  if (!before.there) return true;
  if (before.block != now.block) return in_shared;
  if (before.epoch != now.epoch) return true;
  if (before.by_several) return false;
  return before.thread == now.thread || (before.thread / 32 == now.thread / 32 && before.warp_epoch != now.warp_epoch);
}

void race(const char* what, const Access& before, uintptr_t address) {
  if (text[0] != '\0') return;
  std::snprintf(text, sizeof text, "a race: %s at %#zx, by thread %u of block %u%s and thread %u of block %u", what,
                static_cast<size_t>(address), before.thread, before.block, before.by_several ? " among others" : "",
                now.thread, now.block);
}

bool is_shared(uintptr_t address) {
  for (const Range& range : shared_memory) {
    if (range.holds(address)) return true;
  }
  return false;
}

// Threads do not look into each other's stacks.
bool on_own_stack(uintptr_t address) {
  const auto begin = reinterpret_cast<uintptr_t>(running_fiber->stack);
  return address >= begin && address < begin + kStack;
}

void access(const void* pointer, size_t bytes, bool writes, bool atomically) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  if (!active || on_own_stack(address)) return;
  const bool in_shared = is_shared(address);
  for (uintptr_t at = address; at < address + bytes; ++at) {
    Byte& byte = byte_at(at);
    if (!ordered(byte.write, in_shared) && !(atomically && byte.write.atomic)) {
      race(writes ? "two writes" : "a write, then a read", byte.write, at);
    }
    if (writes) {
      if (!ordered(byte.read, in_shared)) race("a read, then a write", byte.read, at);
      byte.write = now;
      byte.write.atomic = atomically;
    } else {
      const bool alone = ordered(byte.read, in_shared);
      byte.read = now;
      byte.read.by_several = !alone;
    }
  }
}

}  // namespace

void begin() {
  pages.clear();
  last_page = nullptr;
  shared_memory.clear();
  text[0] = '\0';
  now = {};
}

void run(unsigned thread, uint3 block, dim3 grid) {
  const uint32_t number = block.x + grid.x * (block.y + grid.y * block.z);
  if (!active || number != now.block) {
    now.epoch = 0;
    for (uint16_t& epoch : warp_epochs) epoch = 0;
  }
  active = true;
  now.there = true;
  now.block = number;
  now.thread = static_cast<uint16_t>(thread);
  now.warp_epoch = warp_epochs[thread / 32];
}

void barrier() { ++now.epoch; }

void warp_barrier(unsigned warp) { ++warp_epochs[warp]; }

void shared(const void* memory, size_t bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  shared_memory.push_back({begin, begin + bytes});
}

void atomic(const void* address, size_t bytes) { access(address, bytes, true, true); }

const char* found() {
  active = false;
  return text[0] == '\0' ? nullptr : text;
}

}  // namespace emulator::races

#define EMULATOR_ACCESS(name, bytes, writes) \
  extern "C" void __tsan_##name(void* address) { emulator::races::access(address, bytes, writes, false); }
EMULATOR_ACCESS(read1, 1, false)
EMULATOR_ACCESS(read2, 2, false)
EMULATOR_ACCESS(read4, 4, false)
EMULATOR_ACCESS(read8, 8, false)
EMULATOR_ACCESS(read16, 16, false)
EMULATOR_ACCESS(write1, 1, true)
EMULATOR_ACCESS(write2, 2, true)
EMULATOR_ACCESS(write4, 4, true)
EMULATOR_ACCESS(write8, 8, true)
EMULATOR_ACCESS(write16, 16, true)
EMULATOR_ACCESS(unaligned_read2, 2, false)
EMULATOR_ACCESS(unaligned_read4, 4, false)
EMULATOR_ACCESS(unaligned_read8, 8, false)
EMULATOR_ACCESS(unaligned_read16, 16, false)
EMULATOR_ACCESS(unaligned_write2, 2, true)
EMULATOR_ACCESS(unaligned_write4, 4, true)
EMULATOR_ACCESS(unaligned_write8, 8, true)
EMULATOR_ACCESS(unaligned_write16, 16, true)
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_read_range(void* address, size_t bytes) { emulator::races::access(address, bytes, false, false); }
void __tsan_write_range(void* address, size_t bytes) { emulator::races::access(address, bytes, true, false); }
// Of the guard of a launcher's static variable, which no kernel has.
unsigned char __tsan_atomic8_load(const volatile unsigned char* address, int) { return *address; }
}
#endif
