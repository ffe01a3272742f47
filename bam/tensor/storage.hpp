// Storage and the caching allocators behind it, one a device. Freed blocks are kept and reused, and returned to the system only where it has no more: fresh
// pages cost more than the arithmetic on them. On the CPU blocks of 2 MiB and more lie on huge pages.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "device.hpp"

namespace bam {

struct AllocatorStats {
  std::int64_t in_use = 0;    // bytes in live tensors (rounded to 64)
  std::int64_t peak = 0;      // largest in_use since reset_peak, with what is released and kept for a branch
  std::int64_t reserved = 0;  // bytes taken from the system
};

class Allocator {
 public:
  static Allocator& get(Device d = Device::cpu) {
    static Allocator* const* const values = [] {
      static Allocator* two[] = {new Allocator(Device::cpu), new Allocator(Device::cuda)};  // outlive every static tensor
#ifdef BAM_CUDA
      cuda::give_back = [] { return get(Device::cuda).trim(); };
#endif
      return two;
    }();
    return *values[static_cast<int>(d)];
  }

  // Error(limit): the device has no more.
  void* allocate(std::int64_t bytes) {
    std::int64_t size = rounded(bytes);
    std::lock_guard lock(mutex_);
    auto count = [&] {
      stats_.in_use += size;
      stats_.peak = std::max(stats_.peak, stats_.in_use + held_bytes_);
    };
    // A kept block up to a quarter larger will do.
    for (Kept* free : {branch_ ? &held_[branch_][inside_] : nullptr, &kept(inside_)}) {
      if (!free) continue;
      auto it = free->lower_bound(size);
      if (it == free->end() || it->first > size + size / 4) continue;
      void* p = it->second.back();
      it->second.pop_back();
      sizes_[p] = {it->first, size, inside_, made_in()};
      if (free != &kept(inside_)) held_bytes_ -= it->first;
      if (it->second.empty()) free->erase(it);
      count();
      return p;
    }
    void* p = fresh(size);
    if (!p && inside_ == 0) {
      while (!arenas_.empty()) dissolve_one(arenas_.begin()->first);
      if (give_back()) p = fresh(size);
    }
    if (!p) fail(ErrorKind::limit, "memory.exhausted", "wanted ", bytes, " bytes on ", name_of(device_), " beside ", stats_.in_use, " in use, there are no more; lower micro_batch or context", branch_ ? ", or set BAM_CUDA_BRANCHES=off" : "");
    count();
    stats_.reserved += size;
    sizes_[p] = {size, size, inside_, made_in()};
    return p;
  }
  void release(void* p) {
    std::lock_guard lock(mutex_);
    auto it = sizes_.find(p);
    stats_.in_use -= it->second.counted;
    // While there are branches, the other one may still read what was not made in this one.
    Kept& to = branch_ == 0 ? kept(it->second.arena) : held_[it->second.made_in == made_in() ? branch_ : 0][it->second.arena];
    to[it->second.block].push_back(p);
    if (branch_) held_bytes_ += it->second.block;
    sizes_.erase(it);
  }
  // From now on tensors are made and released in a branch (branch.hpp), 1 or 2; 0: in none, and what was released in one is everybody's again. What a branch made and released is given again to that branch alone.
  void enter_branch(int branch) {
    std::lock_guard lock(mutex_);
    if (branch_ == 0) ++forks_;
    branch_ = branch;
    if (branch != 0) return;
    for (auto& by_arena : held_) {
      for (auto& [arena, blocks] : by_arena) add(kept(arena), blocks);
      by_arena.clear();
    }
    held_bytes_ = 0;
  }
  // An arena: memory that what is recorded (graph.hpp) uses, and that no tensor gets that is made outside, whether or not it is in use. It is dissolved, and its memory is everybody's again, by who made it, or when there
  // is no other memory left. Its number is not 0.
  int make_arena() {
    std::lock_guard lock(mutex_);
    arenas_[++last_arena_];
    return last_arena_;
  }
  bool has_arena(int arena) {
    std::lock_guard lock(mutex_);
    return arenas_.contains(arena);
  }
  // From now on tensors are made inside the arena; 0: inside none.
  void enter_arena(int arena) {
    std::lock_guard lock(mutex_);
    inside_ = arena;
  }
  void dissolve_arena(int arena) {
    std::lock_guard lock(mutex_);
    dissolve_one(arena);
  }
  // Returns the memory that no tensor has to the system; whether there was any.
  bool trim() {
    std::lock_guard lock(mutex_);
    return give_back();
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
  using Kept = std::map<std::int64_t, std::vector<void*>>;  // free blocks by size
  Kept& kept(int arena) {
    auto it = arenas_.find(arena);
    return it == arenas_.end() ? free_ : it->second;
  }
  void dissolve_one(int arena) {
    auto node = arenas_.extract(arena);
    if (!node.empty()) add(free_, node.mapped());
  }
  static void add(Kept& to, const Kept& from) {
    for (const auto& [size, blocks] : from) to[size].insert(to[size].end(), blocks.begin(), blocks.end());
  }
  std::int64_t made_in() const { return branch_ ? 2 * forks_ + branch_ : 0; }
  static constexpr std::int64_t huge = 2 << 20;
  static std::int64_t rounded(std::int64_t bytes) {
    if (bytes <= 0) return 64;
    return bytes >= huge ? (bytes + 65535) / 65536 * 65536 : (bytes + 63) / 64 * 64;
  }
  explicit Allocator(Device d) : device_(d) {}
  void* fresh(std::int64_t size) {
    if (device_ != Device::cpu) return detail::device_allocate(device_, size);
    auto n = static_cast<std::size_t>(size);
    if (size < huge) return ::operator new(n, std::align_val_t{64}, std::nothrow);
    void* p = mmap(nullptr, n + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    auto at = (reinterpret_cast<std::uintptr_t>(p) + huge - 1) / huge * huge;  // the unaligned ends cost address space only
    madvise(reinterpret_cast<void*>(at), n, MADV_HUGEPAGE);
    return reinterpret_cast<void*>(at);
  }
  // Whether there was any.
  bool give_back() {
    const bool any = !free_.empty();
    for (auto& [size, blocks] : free_)
      while (!blocks.empty()) {
        void* const p = blocks.back();
        blocks.pop_back();  // whatever happens, it is not handed out again
        if (device_ != Device::cpu) detail::device_release(p);
        else if (size < huge) ::operator delete(p, std::align_val_t{64});
        else munmap(p, static_cast<std::size_t>(size));
        stats_.reserved -= size;
      }
    free_.clear();
    return any;
  }

  struct Sizes {
    std::int64_t block, counted;
    int arena;
    std::int64_t made_in;  // which branch of which fork; 0: none
  };
  const Device device_;
  std::mutex mutex_;
  Kept free_;
  std::map<int, Kept> arenas_;
  int last_arena_ = 0, inside_ = 0;
  int branch_ = 0;
  std::int64_t forks_ = 0, held_bytes_ = 0;
  std::map<int, Kept> held_[3];  // released while there are branches, by arena: what the other branch may read, and each branch's own
  std::map<void*, Sizes> sizes_;
  AllocatorStats stats_;
};

class Storage {
 public:
  explicit Storage(std::int64_t bytes, Device d = Device::cpu) : data_(Allocator::get(d).allocate(bytes)), bytes_(bytes), device_(d) {}
  ~Storage() { Allocator::get(device_).release(data_); }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  void* data() { return data_; }
  std::int64_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  std::uint64_t version = 0;  // counts the times that somebody asked to write here

 private:
  void* data_;
  std::int64_t bytes_;
  Device device_;
};

}  // namespace bam
