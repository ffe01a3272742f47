// Storage and the caching allocator behind it. Freed blocks are kept and reused, never returned to the system: fresh
// pages cost more than the arithmetic on them. Blocks of 2 MiB and more lie on huge pages.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "../core/error.hpp"

namespace bam {

struct AllocatorStats {
  std::int64_t in_use = 0;    // bytes in live tensors (rounded to 64)
  std::int64_t peak = 0;      // largest in_use since reset_peak
  std::int64_t reserved = 0;  // bytes taken from the system
};

class Allocator {
 public:
  static Allocator& get() {
    static Allocator* value = new Allocator;  // outlives every static tensor
    return *value;
  }

  // Throws Error(limit) when the system refuses.
  void* allocate(std::int64_t bytes) {
    std::int64_t size = rounded(bytes);
    std::lock_guard lock(mutex_);
    stats_.in_use += size;
    if (stats_.in_use > stats_.peak) stats_.peak = stats_.in_use;
    // A kept block up to a quarter larger will do.
    auto it = free_.lower_bound(size);
    if (it != free_.end() && it->first <= size + size / 4) {
      void* p = it->second.back();
      it->second.pop_back();
      sizes_[p] = {it->first, size};
      if (it->second.empty()) free_.erase(it);
      return p;
    }
    void* p = fresh(size);
    if (!p) {
      stats_.in_use -= size;
      fail(ErrorKind::limit, "memory.exhausted", "allocate: wanted ", bytes, " bytes beside ", stats_.in_use,
           " in use, the system has no more; lower micro_batch or context");
    }
    stats_.reserved += size;
    sizes_[p] = {size, size};
    return p;
  }
  void release(void* p) {
    std::lock_guard lock(mutex_);
    auto it = sizes_.find(p);
    stats_.in_use -= it->second.counted;
    free_[it->second.block].push_back(p);
    sizes_.erase(it);
  }
  AllocatorStats stats() {
    std::lock_guard lock(mutex_);
    return stats_;
  }
  void reset_peak() {
    std::lock_guard lock(mutex_);
    stats_.peak = stats_.in_use;
  }

 private:
  static constexpr std::int64_t huge = 2 << 20;
  static std::int64_t rounded(std::int64_t bytes) {
    if (bytes <= 0) return 64;
    return bytes >= huge ? (bytes + 65535) / 65536 * 65536 : (bytes + 63) / 64 * 64;
  }
  static void* fresh(std::int64_t size) {
    auto n = static_cast<std::size_t>(size);
    if (size < huge) return ::operator new(n, std::align_val_t{64}, std::nothrow);
    std::size_t span = n + huge;  // the unaligned ends cost address space only
    void* p = mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    auto at = (reinterpret_cast<std::uintptr_t>(p) + huge - 1) / huge * huge;
    madvise(reinterpret_cast<void*>(at), n, MADV_HUGEPAGE);
    return reinterpret_cast<void*>(at);
  }

  struct Sizes {
    std::int64_t block, counted;
  };
  std::mutex mutex_;
  std::map<std::int64_t, std::vector<void*>> free_;
  std::map<void*, Sizes> sizes_;
  AllocatorStats stats_;
};

class Storage {
 public:
  explicit Storage(std::int64_t bytes) : data_(Allocator::get().allocate(bytes)), bytes_(bytes) {}
  ~Storage() { Allocator::get().release(data_); }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  void* data() { return data_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  void* data_;
  std::int64_t bytes_;
};

}  // namespace bam
