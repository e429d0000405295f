#include "lost_pages.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>

namespace indexed {

struct Mapping {
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};  // 0: not in use
  std::atomic<bool> damaged{false};
  std::string path;
  Mapping* next = nullptr;
};

namespace {

std::atomic<Mapping*> first{nullptr};
std::atomic<uint64_t> lost{0};
std::mutex changes;
struct sigaction previous{};
uintptr_t page_bytes = 0;
thread_local bool guarded __attribute__((tls_model("initial-exec"))) = false;

void say(const char* text) {
  const ssize_t done = ::write(STDERR_FILENO, text, std::strlen(text));
  (void)done;
}

[[noreturn]] void end_with_name(const Mapping& mapping) {
  say("error: ");
  say(mapping.path.c_str());
  say(" was cut off or taken away while it was read\n"
      "  rule: a file that is in use stays as it is\n"
      "  fix:  bring the file back and give the command again\n");
  ::_exit(2);
}

void pass_on(int number, siginfo_t* info, void* context) {
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(number, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(number);
  } else {
    ::signal(number, SIG_DFL);  // the access is made again, and ends the process as it would have
  }
}

// Calls nothing but system calls: it may interrupt anything.
void on_fault(int number, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Mapping* mapping = first.load(); mapping != nullptr; mapping = mapping->next) {
    if (address < mapping->begin.load() || address >= mapping->end.load()) continue;
    if (!guarded) end_with_name(*mapping);
    void* page = reinterpret_cast<void*>(address & ~(page_bytes - 1));
    if (::mmap(page, page_bytes, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
      end_with_name(*mapping);
    }
    mapping->damaged.store(true);
    lost.fetch_add(1);
    return;
  }
  pass_on(number, info, context);
}

void install() {
  page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  struct sigaction action{};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, &previous);
}

}  // namespace

Mapping* watch_mapping(const char* data, uint64_t bytes, const std::string& path) {
  const std::lock_guard<std::mutex> lock(changes);
  if (page_bytes == 0) install();
  Mapping* mapping = first.load();
  while (mapping != nullptr && mapping->end.load() != 0) mapping = mapping->next;
  const bool fresh = mapping == nullptr;
  if (fresh) mapping = new Mapping();
  mapping->path = path;
  mapping->damaged.store(false);
  mapping->begin.store(reinterpret_cast<uintptr_t>(data));
  mapping->end.store(reinterpret_cast<uintptr_t>(data) + bytes);
  if (fresh) {
    mapping->next = first.load();
    first.store(mapping);
  }
  return mapping;
}

void forget_mapping(Mapping* mapping) {
  const std::lock_guard<std::mutex> lock(changes);
  mapping->end.store(0);
}

void guard_thread(bool on) { guarded = on; }

uint64_t lost_pages() { return lost.load(); }

bool damaged(const Mapping* mapping) { return mapping->damaged.load(); }

}  // namespace indexed
