// The emulated device: memory of its own that only launches and copies reach, so that host code which touches a tensor of the device crashes here as it would there.
#include <sys/mman.h>

#include <cstring>
#include <deque>
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
  struct Step {
    std::function<void()> run;  // none: the step enters a branch
    int branch = 0;
  };
  std::vector<Step> steps;
  std::int64_t scratches = 0;
};

namespace {

constexpr std::int64_t page = 2 << 20, alignment = 256, gap = 256, address_space = std::int64_t{1} << 36;

struct Memory {
  char* begin = nullptr;
  std::int64_t used = 0;
  int open = 0;  // how many Reach live
  std::int64_t blocks = 0, scratch_blocks = 0;
  struct Scratch {
    void* p = nullptr;
    std::int64_t bytes = 0;
  } scratch[2];                 // branch 2 has its own
  std::int64_t scratches = 0;   // how often scratch was moved
  std::shared_ptr<Recording> recording;  // under way
  int branch = 0;
  std::deque<std::function<void()>> queues[2];  // what branches 1 and 2 were told

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
  Memory::Scratch& s = m.scratch[m.branch == 2];
  if (static_cast<std::int64_t>(bytes) > s.bytes) {
    if (m.recording) fail(ErrorKind::internal, "emulator.recording", "emulated device: a recording wants ", bytes, " bytes of scratch, more than ran before it");
    s.p = allocate(static_cast<std::int64_t>(bytes));
    if (!s.p) fail(ErrorKind::limit, "memory.exhausted", "emulated device: no memory for ", bytes, " bytes of scratch; lower micro_batch or context");
    s.bytes = static_cast<std::int64_t>(bytes);
    ++m.scratches;
    ++m.scratch_blocks;
  }
  return s.p;
}

void run_next(int queue) {
  auto& q = memory().queues[queue];
  const auto next = std::move(q.front());
  q.pop_front();
  next();
}
void issue(std::function<void()> what) {
  Memory& m = memory();
  if (m.recording) m.recording->steps.push_back({std::move(what), 0});
  else if (m.branch) m.queues[m.branch - 1].push_back(std::move(what));
  else what();
}
// Runs what the branches wait with.
void join() {
  using emulation::Branches;
  auto& [first, second] = memory().queues;
  struct Cleared {  // whatever happens
    ~Cleared() {
      for (auto& q : memory().queues) q.clear();
    }
  } cleared;
  if (!first.empty() && !second.empty()) ++emulation::counts().joins;
  const Branches order = emulation::options().branches;
  while (!first.empty() || !second.empty()) {
    const bool by_turns = order == Branches::alternating && !first.empty() && !second.empty();
    if (by_turns) run_next(0), run_next(1);
    else run_next(order == Branches::first ? (first.empty() ? 1 : 0) : (second.empty() ? 0 : 1));
  }
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
  m.used = m.blocks = m.scratch_blocks = 0;
  m.scratch[0] = m.scratch[1] = {};
  ++m.scratches;
}

void copy(Way way, void* to, std::int64_t to_pitch, const void* from, std::int64_t from_pitch, std::int64_t width, std::int64_t rows) {
  if (way != Way::within) {
    if (memory().recording) fail(ErrorKind::internal, "emulator.recording", "emulated device: a copy to or from the host while a recording is made");
    synchronize();
  }
  check(inside(to) == (way != Way::to_host) && inside(from) == (way != Way::to_device), "emulator.copy", "emulated device: a copy goes another way than it says");
  const auto run = [=] {
    emulation::Reach reach;
    for (std::int64_t r = 0; r < rows; ++r) std::memcpy(static_cast<char*>(to) + r * to_pitch, static_cast<const char*>(from) + r * from_pitch, static_cast<std::size_t>(width));
  };
  if (way == Way::within) issue(run);
  else run();
}
void synchronize() {
  Memory& m = memory();
  if (m.recording) fail(ErrorKind::internal, "emulator.recording", "emulated device: a wait while a recording is made");
  while (m.branch && !m.queues[m.branch - 1].empty()) run_next(m.branch - 1);
}
void enter_branch(int branch) {
  Memory& m = memory();
  m.branch = branch;
  if (m.recording) m.recording->steps.push_back({nullptr, branch});
  else if (branch == 0) join();
}

void begin_recording() { memory().recording = std::make_shared<Recording>(); }
std::shared_ptr<Recording> end_recording() {
  memory().recording->scratches = memory().scratches;
  return std::exchange(memory().recording, nullptr);
}
void abandon_recording() { memory().recording = nullptr; }
bool replay(const Recording& what) {
  if (what.scratches != memory().scratches) return false;
  for (const Recording::Step& step : what.steps)
    if (step.run) issue(step.run);
    else enter_branch(step.branch);
  return true;
}
void library_gemm(const Exec&, const GemmArgs&) { fail(ErrorKind::limit, "cuda.cublaslt", "BAM_CUDA_LIBRARY=cublaslt: the emulation runs no library; leave BAM_CUDA_LIBRARY out"); }

namespace emulation {
bool waiting() { return memory().recording || memory().branch; }
void wait(std::function<void()> launch) { issue(std::move(launch)); }
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
