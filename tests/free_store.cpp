// C++'s free store as memory that can be lent to a GPU: blocks of powers of two, carved from pages that are mapped once and kept. What is new before begin_free_store() is malloc's, told apart by its address.
// With BAM_TEST_FREE_STORE in the environment it begins at once and lends to nobody: on the emulation that shows which pointers a GPU would not reach.
// Not for a program under a sanitizer, whose own operator new finds more.
#include "free_store.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>

namespace bam::test {
namespace {

constexpr std::size_t chunk_bytes = std::size_t{4} << 20, page_bytes = 4096, least = 16;

struct Chunk {  // of blocks of one size
  std::uintptr_t begin, end;
  std::size_t block;
};
struct Free {
  Free* next;
};
std::mutex mutex;  // of all that follows; nothing here has a constructor that must run
Chunk chunks[1 << 14];  // by address
std::size_t chunk_count = 0;
Free* free_blocks[64] = {};  // by the power of two
bool (*lend_pages)(void*, std::size_t) = nullptr;
thread_local bool lending = false;  // what is new then is malloc's

const Chunk* chunk_of(const void* p) {
  const auto at = reinterpret_cast<std::uintptr_t>(p);
  const Chunk* const after = std::upper_bound(chunks, chunks + chunk_count, at, [](std::uintptr_t x, const Chunk& c) { return x < c.begin; });
  return after != chunks && at < after[-1].end ? after - 1 : nullptr;
}

void* take(std::size_t bytes, std::size_t alignment) {
  if (!lend_pages || lending) {
    void* const p = alignment <= least ? std::malloc(bytes ? bytes : 1) : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    return p ? p : throw std::bad_alloc();
  }
  if (bytes > PTRDIFF_MAX || alignment > page_bytes) throw std::bad_alloc();
  const std::size_t block = std::bit_ceil(std::max({bytes, alignment, least}));
  Free*& free = free_blocks[std::countr_zero(block)];
  auto pop = [&]() -> void* {
    Free* const first = free;
    if (first) free = first->next;
    return first;
  };
  {
    const std::lock_guard lock(mutex);
    if (void* p = pop()) return p;
  }
  const std::size_t size = std::max(block, chunk_bytes);
  void* const pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw std::bad_alloc();
  madvise(pages, size, MADV_DONTFORK);  // a child that shared them could part this process from what the GPU holds
  lending = true;
  const bool lent = lend_pages(pages, size);
  lending = false;
  const std::lock_guard lock(mutex);
  if (!lent || chunk_count == std::size(chunks)) throw std::bad_alloc();
  const Chunk made{reinterpret_cast<std::uintptr_t>(pages), reinterpret_cast<std::uintptr_t>(pages) + size, block};
  Chunk* const place = std::upper_bound(chunks, chunks + chunk_count, made.begin, [](std::uintptr_t x, const Chunk& c) { return x < c.begin; });
  std::move_backward(place, chunks + chunk_count, chunks + chunk_count + 1);
  *place = made;
  ++chunk_count;
  for (std::size_t at = size; at > 0; at -= block) {
    char* const p = static_cast<char*>(pages) + at - block;
    free = ::new (p) Free{free};
  }
  return pop();
}

void give(void* p) noexcept {
  if (!p) return;
  const std::lock_guard lock(mutex);
  const Chunk* const chunk = chunk_of(p);
  if (!chunk) return std::free(p);
  Free*& free = free_blocks[std::countr_zero(chunk->block)];
  free = ::new (p) Free{free};
}

const bool begun = std::getenv("BAM_TEST_FREE_STORE") && (begin_free_store([](void*, std::size_t) { return true; }), true);

}  // namespace

void begin_free_store(bool (*lend)(void* begin, std::size_t bytes)) {
  lend_pages = lend;
  reachable = [](const void* p) {
    const std::lock_guard lock(mutex);
    return chunk_of(p) != nullptr;
  };
}

}  // namespace bam::test

// The others, of arrays and nothrow, call these.
void* operator new(std::size_t bytes) { return bam::test::take(bytes, 1); }
void* operator new(std::size_t bytes, std::align_val_t alignment) { return bam::test::take(bytes, static_cast<std::size_t>(alignment)); }
void operator delete(void* p) noexcept { bam::test::give(p); }
void operator delete(void* p, std::size_t) noexcept { bam::test::give(p); }
void operator delete(void* p, std::align_val_t) noexcept { bam::test::give(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { bam::test::give(p); }
