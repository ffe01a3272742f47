// The emulated device: memory of its own that only launches and copies reach, so that host code which touches a tensor of the device crashes here as it would there.
#include <sys/mman.h>

#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "backend.hpp"
#include "emulator.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define BAM_POISON_GAPS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BAM_POISON_GAPS 1
#endif
#endif
#ifdef BAM_POISON_GAPS
#include <sanitizer/asan_interface.h>
#endif

namespace bam::cuda {

struct Recording {
  std::vector<std::function<void()>> steps;
  std::int64_t scratches = 0;
};

namespace {

constexpr std::int64_t page = 2 << 20, alignment = 256, gap = 256, address_space = std::int64_t{1} << 36;

struct Memory {
  char* begin = nullptr;
  std::int64_t used = 0;
  int open = 0;  // how many Reach live
  std::int64_t blocks = 0, scratch_blocks = 0;
  void* scratch = nullptr;
  std::int64_t scratch_bytes = 0, scratches = 0;  // scratches: how often it was moved
  std::shared_ptr<Recording> recording;            // under way

  void reserve() {
    if (begin) return;
    void* p = mmap(nullptr, static_cast<std::size_t>(address_space), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) fail(ErrorKind::limit, "memory.exhausted", "emulated device: no address space for its memory");
    begin = reinterpret_cast<char*>((reinterpret_cast<std::uintptr_t>(p) + page - 1) / page * page);
    madvise(begin, static_cast<std::size_t>(address_space - page), MADV_HUGEPAGE);  // opened and closed around each launch: the fewer pages, the better
  }
  std::size_t pages() const { return static_cast<std::size_t>((used + page - 1) / page * page); }
  void protect(int what) {
    if (used && mprotect(begin, pages(), what) != 0) fail(ErrorKind::limit, "memory.exhausted", "emulated device: its memory cannot be opened");
  }
};
Memory& memory() {
  static Memory value;
  return value;
}

bool inside(const void* p) { return static_cast<const char*>(p) >= memory().begin && static_cast<const char*>(p) < memory().begin + memory().used; }

void* grow_scratch(void*, int, std::size_t bytes) {
  Memory& m = memory();
  if (static_cast<std::int64_t>(bytes) > m.scratch_bytes) {
    if (m.recording) fail(ErrorKind::internal, "emulator.recording", "emulated device: a recording wants ", bytes, " bytes of scratch, more than ran before it");
    m.scratch = allocate(static_cast<std::int64_t>(bytes));
    if (!m.scratch) fail(ErrorKind::limit, "memory.exhausted", "emulated device: no memory for ", bytes, " bytes of scratch; lower micro_batch or context");
    m.scratch_bytes = static_cast<std::int64_t>(bytes);
    ++m.scratches;
    ++m.scratch_blocks;
  }
  return m.scratch;
}

}  // namespace

namespace emulation {
Reach::Reach() {
  if (memory().open++ == 0) memory().protect(PROT_READ | PROT_WRITE);
}
Reach::~Reach() {
  if (--memory().open == 0) memory().protect(PROT_NONE);
}
}  // namespace emulation

std::string unavailable() { return ""; }
std::string describe() { return "EMULATED on the CPU, one fiber per CUDA thread: the results of the kernels, nothing of their speed"; }
bool emulated() { return true; }
std::int64_t memory_available() { return emulation::options().device_bytes - memory().used; }
Exec execution() {
  Exec exec;
  exec.scratch = grow_scratch;
  return exec;
}

// There are gaps between blocks, which AddressSanitizer knows. An address is used again only when there is no block left.
void* allocate(std::int64_t bytes) {
  Memory& m = memory();
  m.reserve();
  const std::int64_t at = (m.used + gap + alignment - 1) / alignment * alignment;
  if (at + bytes + gap > emulation::options().device_bytes || at + bytes + gap > address_space - page) return nullptr;
  m.used = at + bytes + gap;
  ++m.blocks;
  emulation::Reach reach;
#ifdef BAM_POISON_GAPS
  __asan_poison_memory_region(m.begin + at - gap, static_cast<std::size_t>(bytes + 2 * gap));
  __asan_unpoison_memory_region(m.begin + at, static_cast<std::size_t>(bytes));
#endif
  std::memset(m.begin + at, 0xff, static_cast<std::size_t>(bytes));
  return m.begin + at;
}
void release(void*) {
  Memory& m = memory();
  if (m.recording) fail(ErrorKind::internal, "emulator.recording", "emulated device: memory is given back while a recording is made");
  if (--m.blocks > m.scratch_blocks) return;
  madvise(m.begin, m.pages(), MADV_DONTNEED);
  Memory again;
  again.begin = m.begin;
  again.open = m.open;
  again.scratches = m.scratches + 1;
  m = again;
}

void copy(Way way, void* to, std::int64_t to_pitch, const void* from, std::int64_t from_pitch, std::int64_t width, std::int64_t rows) {
  if (memory().recording) {
    if (way != Way::within) fail(ErrorKind::internal, "emulator.recording", "emulated device: a copy to or from the host while a recording is made");
    return memory().recording->steps.push_back([=] { copy(way, to, to_pitch, from, from_pitch, width, rows); });
  }
  check(inside(to) == (way != Way::to_host) && inside(from) == (way != Way::to_device), "emulator.copy", "emulated device: a copy goes another way than it says");
  emulation::Reach reach;
  for (std::int64_t r = 0; r < rows; ++r) std::memcpy(static_cast<char*>(to) + r * to_pitch, static_cast<const char*>(from) + r * from_pitch, static_cast<std::size_t>(width));
}
void synchronize() {
  if (memory().recording) fail(ErrorKind::internal, "emulator.recording", "emulated device: a wait while a recording is made");
}

void begin_recording() { memory().recording = std::make_shared<Recording>(); }
std::shared_ptr<Recording> end_recording() {
  memory().recording->scratches = memory().scratches;
  return std::exchange(memory().recording, nullptr);
}
void abandon_recording() { memory().recording = nullptr; }
bool replay(const Recording& what) {
  if (what.scratches != memory().scratches) return false;
  for (const auto& step : what.steps) step();
  return true;
}
void library_gemm(const Exec&, const GemmArgs&) { fail(ErrorKind::limit, "cuda.cublaslt", "BAM_CUDA_LIBRARY=cublaslt: the emulation runs no library; leave BAM_CUDA_LIBRARY out"); }

namespace emulation {
bool recording() { return memory().recording != nullptr; }
void record(std::function<void()> launch) { memory().recording->steps.push_back(std::move(launch)); }
}  // namespace emulation

Range::Range(const char*) {}
Range::~Range() {}

// Whatever is an address of this process's memory must be one of the device's.
void check_arguments(const void* args, std::size_t bytes) {
  emulation::each_address(args, bytes, [](std::size_t at, const void* p) {
    if (!inside(p)) fail(ErrorKind::internal, "emulator.pointer", "emulated launch: the pointer at byte ", at, " of the arguments is not of the device's memory");
  });
}

}  // namespace bam::cuda
