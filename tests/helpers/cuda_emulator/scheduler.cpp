// The scheduler: CUDA threads as fibers on one CPU thread.
//
// A CUDA thread runs until it waits for others or ends. A fiber that has run one to its end takes the next, so that only
// threads that wait cost a switch. The order of threads, after each wait anew, and of blocks comes from a seed.
#include "scheduler.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "fibers.h"
#include "races.h"


namespace emulator {

Place here;

namespace {

constexpr unsigned kMostThreads = 1024, kWarp = 32;
constexpr size_t kMostShared = 48 * 1024;
constexpr unsigned char kPoison = 0xff;

enum class State { kFresh, kReady, kAtBarrier, kAtWarp, kEnded };

struct Thread {
  State state = State::kEnded;
  Fiber* fiber = nullptr;
  unsigned number = 0;
  uint3 place = {};
  const char* file = "";  // where it waits, and for whom
  int line = 0;
  unsigned mask = 0;
  uint64_t value = 0;
  bool orders_memory = false;
};

// What the lanes that were last let go on have given. All of them read it before others are let go on.
struct Warp {
  uint64_t values[kWarp];
};

struct Shared {
  void* memory = nullptr;
  size_t bytes = 0;
};

std::mutex one_launch;
std::vector<Thread> threads(kMostThreads);
std::vector<Warp> warps(kMostThreads / kWarp);
std::vector<Fiber*> idle_fibers;
Thread* running = nullptr;
std::vector<unsigned> order;  // of the threads of a block
size_t order_at = 0;
unsigned thread_count = 0;

void (*body_of_launch)(const void*);
const void* call_of_launch;
const char* kernel = "";
std::map<const void*, Shared> static_memory;
Shared dynamic_memory;

unsigned long seed = 0;
std::mt19937_64 random_numbers;
std::string failure;
bool failed = false;
cudaError_t error = cudaSuccess;
void take(Thread& thread) {
  running = &thread;
  here.thread = thread.place;
  races::run(thread.number, here.block, here.grid_size);
}

// The next thread of the turn that can run; null at its end.
Thread* next_thread() {
  while (order_at < thread_count) {
    Thread& thread = threads[order[order_at]];
    if (thread.state == State::kFresh || thread.state == State::kReady) return &thread;
    ++order_at;
  }
  return nullptr;
}

// What a fiber does: fresh threads, one after the other, until the turn has something else for it.
void run_fresh_threads() {
  for (;;) {
    for (Thread* next = next_thread(); next != nullptr && next->state == State::kFresh; next = next_thread()) {
      ++order_at;
      take(*next);
      next->fiber = running_fiber;
      body_of_launch(call_of_launch);
      next->state = State::kEnded;
    }
    idle_fibers.push_back(running_fiber);
    switch_to_scheduler();
  }
}

// Runs every thread that can run once, until it waits or ends.
void run_turn() {
  order_at = 0;
  for (Thread* next = next_thread(); next != nullptr && !failed; next = next_thread()) {
    Fiber* fiber = next->fiber;
    if (next->state == State::kReady) {
      ++order_at;
      take(*next);
    } else if (idle_fibers.empty()) {
      fiber = new_fiber(run_fresh_threads);
    } else {
      fiber = idle_fibers.back();
      idle_fibers.pop_back();
    }
    switch_to(fiber);
  }
}

void report(const char* what, const char* file, int line) {
  if (failed) return;
  failed = true;
  char place[256];
  std::snprintf(place, sizeof place, ", block (%u, %u, %u), thread (%u, %u, %u)", here.block.x, here.block.y,
                here.block.z, here.thread.x, here.thread.y, here.thread.z);
  failure = std::string(kernel) + ": " + what;
  if (line > 0) failure += std::string(" at ") + file + ":" + std::to_string(line) + place;
  error = cudaErrorLaunchFailure;
}

void report(const char* what, const Thread& thread) {
  here.thread = thread.place;
  report(what, thread.file, thread.line);
}

// Lets the lanes of a warp go on that wait for one another, once all are there.
bool release_warp(unsigned warp) {
  Thread* lanes = &threads[warp * kWarp];
  const unsigned count = std::min(kWarp, thread_count - warp * kWarp);
  bool released = false;
  for (unsigned i = 0; i < count; ++i) {
    if (lanes[i].state != State::kAtWarp) continue;
    const Thread& first = lanes[i];
    const unsigned mask = first.mask;
    bool complete = true;
    for (unsigned j = 0; j < kWarp && !failed; ++j) {
      if (!(mask >> j & 1u)) continue;
      if (j >= count) report("a mask names a lane that the block does not have", first);
      else if (lanes[j].state == State::kEnded) report("a mask names a lane that has ended", first);
      else if (lanes[j].state == State::kAtBarrier) report("a lane of the mask waits at __syncthreads", first);
      else if (lanes[j].state != State::kAtWarp) complete = false;
      else if (lanes[j].mask != mask || lanes[j].line != first.line) report("lanes of a mask meet at different calls", first);
    }
    if (failed) return false;
    if (!complete) continue;
    for (unsigned j = 0; j < count; ++j) {
      if (!(mask >> j & 1u)) continue;
      lanes[j].state = State::kReady;
      warps[warp].values[j] = lanes[j].value;
    }
    if (first.orders_memory) races::warp_barrier(warp);
    released = true;
  }
  return released;
}

// Lets all threads go on that wait at a barrier, once none can do anything else.
bool release_barrier() {
  const Thread* first = nullptr;
  for (unsigned i = 0; i < thread_count; ++i) {
    Thread& thread = threads[i];
    if (thread.state == State::kAtWarp) return report("lanes of the mask never come", thread), false;
    if (thread.state != State::kAtBarrier) continue;
    if (first == nullptr) first = &thread;
    if (thread.line != first->line) return report("threads of the block wait at different barriers", thread), false;
    thread.state = State::kReady;
  }
  if (first != nullptr) races::barrier();
  return first != nullptr;
}

void run_block() {
  for (auto& [key, shared] : static_memory) std::memset(shared.memory, kPoison, shared.bytes);
  if (dynamic_memory.memory != nullptr) std::memset(dynamic_memory.memory, kPoison, dynamic_memory.bytes);
  const dim3 size = here.block_size;
  for (unsigned i = 0; i < thread_count; ++i) {
    threads[i] = {State::kFresh, nullptr, i, {i % size.x, i / size.x % size.y, i / (size.x * size.y)}, "", 0, 0, 0, false};
  }
  bool more = true;
  while (more && !failed) {
    if (seed > 1) std::shuffle(order.begin(), order.end(), random_numbers);
    run_turn();
    bool released = false;
    for (unsigned warp = 0; warp * kWarp < thread_count && !failed; ++warp) released |= release_warp(warp);
    more = !failed && (released || release_barrier());
  }
}

std::vector<uint64_t> numbers(uint64_t count) {
  std::vector<uint64_t> result(count);
  std::iota(result.begin(), result.end(), uint64_t{0});
  if (seed == 1) std::reverse(result.begin(), result.end());
  if (seed > 1) std::shuffle(result.begin(), result.end(), random_numbers);
  return result;
}

// A failed launch leaves threads that wait for ever: their fibers are given up.
void forget_waiting_threads() {
  for (unsigned i = 0; i < thread_count; ++i) {
    if (threads[i].fiber != nullptr && threads[i].state != State::kEnded) threads[i].fiber = nullptr;
  }
}

void wait(State state, const char* file, int line, unsigned mask) {
  running->state = state;
  running->file = file;
  running->line = line;
  running->mask = mask;
  switch_to_scheduler();
}

}  // namespace

void fail(const char* what, const char* file, int line) {
  report(what, file, line);
  switch_to_scheduler();
  std::abort();  // nothing of a failed launch is run again
}

void block_barrier(const char* file, int line) { wait(State::kAtBarrier, file, line, 0); }

unsigned lane() { return running->number % kWarp; }

const uint64_t* warp_gather(unsigned mask, uint64_t value, bool orders_memory, const char* file, int line) {
  if (!(mask >> lane() & 1u)) fail("a lane that the mask does not name takes part", file, line);
  running->value = value;
  running->orders_memory = orders_memory;
  wait(State::kAtWarp, file, line, mask);
  return warps[running->number / kWarp].values;
}

void* static_shared(const void* key, size_t bytes) {
  Shared& shared = static_memory[key];
  if (shared.memory == nullptr) {
    shared = {std::malloc(bytes), bytes};
    std::memset(shared.memory, kPoison, bytes);
    races::shared(shared.memory, bytes);
    size_t all = dynamic_memory.bytes;
    for (const auto& [other, its] : static_memory) all += its.bytes;
    if (all > kMostShared) fail("more than 48 KB of shared memory", __FILE__, __LINE__);
  }
  return shared.memory;
}

void* dynamic_shared() { return dynamic_memory.memory; }

void check_launch_bounds(unsigned most, const char* file, int line) {
  if (thread_count > most) fail("more threads than __launch_bounds__ says", file, line);
}

void atomic_access(const void* address, size_t bytes) { races::atomic(address, bytes); }

cudaError_t take_error() {
  const cudaError_t found = error;
  error = cudaSuccess;
  return found;
}

void Launch::run(void (*body)(const void*), const void* call) const {
  const std::lock_guard<std::mutex> alone(one_launch);
  const uint64_t block_threads = uint64_t{block_.x} * block_.y * block_.z;
  const uint64_t blocks = uint64_t{grid_.x} * grid_.y * grid_.z;
  if (blocks == 0 || block_threads == 0 || grid_.x > INT32_MAX || grid_.y > 65535 || grid_.z > 65535 ||
      block_threads > kMostThreads || block_.z > 64 || bytes_ > kMostShared) {
    error = cudaErrorInvalidConfiguration;
    return;
  }
  if (failed) return;  // until the failure has been read
  kernel = name_;
  body_of_launch = body;
  call_of_launch = call;
  here.block_size = block_;
  here.grid_size = grid_;
  thread_count = static_cast<unsigned>(block_threads);
  random_numbers.seed(seed);
  const std::vector<uint64_t> own = numbers(block_threads);
  order.assign(own.begin(), own.end());
  races::begin();
  dynamic_memory = {bytes_ == 0 ? nullptr : std::malloc(bytes_), bytes_};
  if (bytes_ != 0) races::shared(dynamic_memory.memory, bytes_);
  for (const uint64_t n : numbers(blocks)) {
    if (failed) break;
    here.block = {static_cast<unsigned>(n % grid_.x), static_cast<unsigned>(n / grid_.x % grid_.y),
                  static_cast<unsigned>(n / grid_.x / grid_.y)};
    run_block();
    if (const char* race = races::found()) report(race, "", 0);
  }
  forget_waiting_threads();
  for (auto& [key, shared] : static_memory) std::free(shared.memory);
  static_memory.clear();
  std::free(dynamic_memory.memory);
  dynamic_memory = {};
}

}  // namespace emulator

// For the Python side. 0: threads and blocks in order, 1: the other way, more: shuffled.
extern "C" void emulator_seed(unsigned long seed) { emulator::seed = seed; }

// What the last launches did wrong, once; empty if nothing.
extern "C" const char* emulator_failure() {
  static std::string last;
  last = emulator::failure;
  emulator::failure.clear();
  emulator::failed = false;
  emulator::error = cudaSuccess;
  return last.c_str();
}

#if defined(EMULATOR_CHECKS)
// The objects are compiled with -fsanitize=alignment,bounds; this is what they call, in place of the sanitizer's library.
namespace {
struct SourceLocation {
  const char* file;
  uint32_t line, column;
};
}  // namespace
extern "C" void __ubsan_handle_type_mismatch_v1(const SourceLocation* where, uintptr_t) {
  emulator::fail("an access at an address that is not aligned to its size", where->file, static_cast<int>(where->line));
}
extern "C" void __ubsan_handle_out_of_bounds(const SourceLocation* where, uintptr_t) {
  emulator::fail("an index outside its array", where->file, static_cast<int>(where->line));
}
#endif
