// Memory for large tables, in huge pages where the system gives them: a table is read at random places, and looking up the
// page takes longer than the read.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace bpe {

template <class T>
struct PageAllocator {
  using value_type = T;

  PageAllocator() = default;
  template <class U>
  PageAllocator(const PageAllocator<U>&) {}  // NOLINT: containers convert allocators

  T* allocate(size_t count) {
    constexpr size_t kPage = size_t{2} << 20;
    const size_t align = count * sizeof(T) >= kPage / 2 ? kPage : 64;
    const size_t bytes = (count * sizeof(T) + align - 1) / align * align;
    void* memory = std::aligned_alloc(align, bytes);
    if (memory == nullptr) throw std::bad_alloc();
#ifdef __linux__
    if (align == kPage) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t) { std::free(memory); }

  template <class U>
  bool operator==(const PageAllocator<U>&) const {
    return true;
  }
  template <class U>
  bool operator!=(const PageAllocator<U>&) const {
    return false;
  }
};

template <class T>
using Table = std::vector<T, PageAllocator<T>>;

}  // namespace bpe
