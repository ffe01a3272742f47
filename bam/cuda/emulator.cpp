#include "emulator.hpp"

#include <sys/mman.h>

#include <boost/context/detail/fcontext.hpp>
#include <cstdlib>
#include <string>
#include <vector>

#include "../core/error.hpp"
#include "../core/random.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define BAM_FIBERS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BAM_FIBERS_ASAN 1
#endif
#endif
#ifdef BAM_FIBERS_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// As a check for races: clang's ThreadSanitizer, with this file compiled without it and with BAM_FIBERS_TSAN (scripts/racecheck.sh). A CUDA thread is a fiber of its own to it; only barriers and the
// begin and end of a launch order memory, so blocks are concurrent, and a shuffle orders nothing.
#ifdef BAM_FIBERS_TSAN
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __tsan_read_range(void* address, unsigned long size);
void __tsan_write_range(void* address, unsigned long size);
}
#endif

namespace bam::cuda::emulation {
namespace {

#ifdef BAM_FIBERS_TSAN
constexpr int fiber_count = 4096;  // rotated, so that the next blocks have others; the sanitizer has room for 8,128
void acquire(void* address) { __tsan_acquire(address); }
void release(void* address) { __tsan_release(address); }
void reads(const void* address, unsigned long size) { __tsan_read_range(const_cast<void*>(address), size); }
void writes(void* address, unsigned long size) { __tsan_write_range(address, size); }
#else
constexpr int fiber_count = 1024;
void acquire(void*) {}
void release(void*) {}
void reads(const void*, unsigned long) {}
void writes(void*, unsigned long) {}
#endif

namespace context = boost::context::detail;

constexpr int warp_lanes = 32, most_threads = 1024;
constexpr std::size_t stack_bytes = 128 * 1024;

enum class State : std::uint8_t { ready, in_sync, in_exchange, in_barrier, done };

struct Warp {
  std::uint64_t values[2][warp_lanes * 8] = {};  // two rounds: a lane is never more than one ahead
  int arrived = 0, line = 0;
  std::size_t bytes = 0;
  char order[2] = {};  // what a barrier of the warp orders memory by, two rounds
  // Of its lanes' copies to shared memory, eight lanes' n-th at a time: how many lanes have come, and the groups of four banks that they write.
  struct Phase {
    std::int64_t block = 0;  // the number of those that have begun
    int lanes = 0;
    unsigned banks = 0;
  };
  Phase copies[64][warp_lanes / 8] = {};  // by n modulo 64
};

struct Copy {
  void* to;
  const void* from;
  bool valid;
  std::int64_t group;
};
constexpr int most_copies = 64;  // of a thread, under way
constexpr int most_products = 64;  // of a thread, under way
struct TileMap {
  const char* base;
  std::int64_t rows, columns, ld;
  int box_rows;
};
struct TileCopy {
  unsigned char* to;
  TileMap map;
  std::int64_t row, column;
  std::uint64_t* barrier;
};
constexpr int most_tiles = 64;  // of a block, under way
// Who last copied to 16 bytes of shared memory by copy(), in which block, and after how many fences of its own.
struct Written {
  std::int64_t block = 0;
  std::int64_t fences = 0;
  int thread = 0;
};

struct Fiber {
  context::fcontext_t at = nullptr;
  char* stack = nullptr;
  State state = State::done;
  int line = 0;                      // of the collective it waits in
  std::uint64_t round = 0;           // of its warp's exchanges
  void* fake_stack = nullptr;        // AddressSanitizer's
  void* race = nullptr;              // ThreadSanitizer's
  Copy copies[most_copies];          // under way, in order
  int copying = 0;
  std::int64_t copies_begun = 0;
  std::int64_t group = 0;            // that the next copy belongs to
  std::int64_t fences = 0;           // of its copies
  Product products[most_products];
  int multiplying = 0;
  std::int64_t product_group = 0;
  const std::uint64_t* barrier = nullptr;  // that it waits for
};

struct Machine {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  unsigned char* shared_begin = nullptr;
  std::size_t shared_size = 0;
  std::vector<Written> written;                 // a chunk of 16 bytes each
  std::int64_t blocks = 0;                      // that have begun
  TileCopy tiles[most_tiles];
  int tiles_first = 0, tiles_copying = 0;
  context::fcontext_t scheduler = nullptr;
  void* scheduler_fake = nullptr;
  const void* scheduler_stack = nullptr;
  std::size_t scheduler_size = 0;
  void (*body)(const void*) = nullptr;
  const void* kernel = nullptr;
  int threads = 0, ready = 0, done = 0, arrived = 0, sync_line = 0;
  bool woken = false;                           // some that waited for a barrier can go on
  std::string failure;
  Random random{1};
  void* race = nullptr;                         // ThreadSanitizer's fiber of the scheduler
  int first = 0;                                // of the fibers that the block has
  std::uint64_t sync_round = 0;
  char begin = 0, end = 0, sync_order[2] = {};   // what memory is ordered by
};
Machine the_machine;
Machine& machine() { return the_machine; }
Fiber& fiber(int thread) { return machine().fibers[static_cast<std::size_t>(machine().first + thread)]; }

void start_switch([[maybe_unused]] void** save, [[maybe_unused]] const void* stack, [[maybe_unused]] std::size_t size) {
#ifdef BAM_FIBERS_ASAN
  __sanitizer_start_switch_fiber(save, stack, size);
#endif
}
void finish_switch([[maybe_unused]] void* saved, [[maybe_unused]] const void** stack, [[maybe_unused]] std::size_t* size) {
#ifdef BAM_FIBERS_ASAN
  __sanitizer_finish_switch_fiber(saved, stack, size);
#endif
}

// From a fiber back to the scheduler.
void yield() {
  Machine& m = machine();
  Fiber& f = fiber(running().thread);
  start_switch(&f.fake_stack, m.scheduler_stack, m.scheduler_size);
#ifdef BAM_FIBERS_TSAN
  __tsan_switch_to_fiber(m.race, 1);
#endif
  const context::transfer_t t = context::jump_fcontext(m.scheduler, nullptr);
  finish_switch(f.fake_stack, &m.scheduler_stack, &m.scheduler_size);
  m.scheduler = t.fctx;
}

// A fiber is kept: after a block's body it waits for the next one.
void fiber_main(context::transfer_t t) {
  Machine& m = machine();
  finish_switch(nullptr, &m.scheduler_stack, &m.scheduler_size);
  m.scheduler = t.fctx;
  for (;;) {
    acquire(&m.begin);
    m.body(m.kernel);
    release(&m.end);
    if (fiber(running().thread).multiplying > 0 && m.failure.empty()) m.failure = str("thread ", running().thread, " ends with products that it never waited for");
    if (fiber(running().thread).copying > 0 && m.failure.empty()) m.failure = str("thread ", running().thread, " ends with asynchronous copies that it never waited for");
    fiber(running().thread).state = State::done;
    ++m.done;
    --m.ready;
    yield();
  }
}

void new_fiber(Fiber& f) {
  if (!f.stack) {
    // A little apart, so that equal frames do not meet in one cache set.
    void* p = mmap(nullptr, stack_bytes + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) fail(ErrorKind::limit, "memory.exhausted", "emulator: no memory for the stack of a thread");
    static std::size_t turn = 0;
    f.stack = static_cast<char*>(p) + 64 * (turn++ % 61);
  }
#ifdef BAM_FIBERS_ASAN
  __asan_unpoison_memory_region(f.stack, stack_bytes);  // of frames that were given up
#endif
  f.at = context::make_fcontext(f.stack + stack_bytes, stack_bytes, fiber_main);
}

void resume(int i) {
  Machine& m = machine();
  Fiber& f = fiber(i);
  running().thread = i;
  start_switch(&m.scheduler_fake, f.stack, stack_bytes);
#ifdef BAM_FIBERS_TSAN
  __tsan_switch_to_fiber(f.race, 1);
#endif
  const context::transfer_t t = context::jump_fcontext(f.at, nullptr);
  finish_switch(m.scheduler_fake, nullptr, nullptr);
  f.at = t.fctx;
}

std::string listing() {
  Machine& m = machine();
  std::string text;
  auto what = [&](const Fiber& f) { return f.state == State::done ? std::string("ended") : str(f.state == State::in_sync ? "sync" : f.state == State::in_barrier ? "barrier" : "warp collective", " at line ", f.line); };
  for (int i = 0; i < m.threads;) {
    int end = i + 1;
    while (end < m.threads && what(fiber(end)) == what(fiber(i))) ++end;
    text += str(text.empty() ? "" : "; ", "threads ", i, " to ", end - 1, ": ", what(fiber(i)));
    i = end;
  }
  return text;
}

bool land_tile();

// The fibers of a block that failed are given up where they stand: a kernel owns nothing that would have to be freed.
void run_block() {
  Machine& m = machine();
  m.failure.clear();
  ++m.blocks;
  m.ready = m.threads;
  m.done = m.arrived = 0;
  if (fiber_count > most_threads) m.first = m.first + 2 * m.threads <= fiber_count ? m.first + m.threads : 0;
  for (Warp& w : m.warps) w.arrived = 0;
  for (int i = 0; i < m.threads; ++i) {
    Fiber& f = fiber(i);
    if (!f.stack) new_fiber(f);
    f.state = State::ready;
    f.round = 0;
    f.copying = 0;
    f.copies_begun = 0;
    f.group = 0;
    f.multiplying = 0;
    f.product_group = 0;
#ifdef BAM_FIBERS_TSAN
    if (!f.race) f.race = __tsan_create_fiber(1);
#endif
  }
  m.tiles_copying = 0;
  // Warps that move together hide a barrier that is missing: the first of all goes on as far as it can, before the others and again as soon as one wakes it, or, at random, any for 1 to 8192 steps. Backward,
  // positions count from the last thread.
  const Order order = options().order;
  const int warps = m.threads / warp_lanes;
  auto thread_at = [&](int position) { return order == Order::backward ? m.threads - 1 - position : position; };
  auto ready = [&](int warp, int lane) {  // the position of its next lane, from this one on, that can go on; -1: none
    for (int n = 0; n < warp_lanes; ++n)
      if (const int position = warp * warp_lanes + (lane + n) % warp_lanes; fiber(thread_at(position)).state == State::ready) return position;
    return -1;
  };
  auto below = [&](int n) { return static_cast<int>(m.random.below(static_cast<std::uint64_t>(n))); };
  while (m.done < m.threads && m.failure.empty()) {
    if (m.ready == 0) {
      if (land_tile()) continue;
      m.failure = str("threads wait for others that never come: ", listing());
      break;
    }
    int warp = order == Order::random ? below(warps) : 0, next;
    while ((next = ready(warp, 0)) < 0) warp = (warp + 1) % warps;
    m.woken = false;
    for (int steps = order == Order::random ? 1 << below(14) : -1; steps != 0 && next >= 0 && !m.woken && m.failure.empty(); --steps) {
      resume(thread_at(next));
      next = ready(warp, order == Order::random ? below(warp_lanes) : next % warp_lanes + 1);
    }
  }
  if (m.failure.empty() && m.tiles_copying > 0) m.failure = str(m.tiles_copying, " copies of tiles are under way when the block ends");
  if (m.failure.empty()) return;
  for (int i = 0; i < m.threads; ++i) new_fiber(fiber(i));
  fail(ErrorKind::internal, "emulator.kernel", "emulated kernel, block ", running().block, " of ", running().blocks, ", ", m.threads, " threads: ", m.failure);
}

}  // namespace

void* shared() { return machine().shared_begin; }

void sync(int line) {
  Machine& m = machine();
  Fiber& f = fiber(running().thread);
  if (m.arrived == 0) m.sync_line = line;
  if (m.sync_line != line && m.failure.empty()) m.failure = str("one barrier is reached at lines ", m.sync_line, " and ", line);
  f.line = line;
  char* const order = &m.sync_order[m.sync_round % 2];
  release(order);
  if (++m.arrived == m.threads) {
    m.arrived = 0;
    ++m.sync_round;
    m.woken = true;
    ++counts().syncs;
    for (int i = 0; i < m.threads; ++i)
      if (Fiber& other = fiber(i); other.state == State::in_sync) {
        other.state = State::ready;
        ++m.ready;
      }
    if (options().order != Order::forward) yield();  // else the last one goes on
  } else {
    f.state = State::in_sync;
    --m.ready;
    yield();
  }
  acquire(order);
}

const void* exchange(const void* value, std::size_t bytes, int line, bool orders_memory) {
  Machine& m = machine();
  const int self = running().thread, lane = self % warp_lanes;
  Fiber& f = fiber(self);
  Warp& w = m.warps[static_cast<std::size_t>(self / warp_lanes)];
  if (w.arrived == 0) w.line = line, w.bytes = bytes;
  if ((w.line != line || w.bytes != bytes) && m.failure.empty()) m.failure = str("a warp has lanes in collectives at lines ", w.line, " and ", line, " at once");
  f.line = line;
  char* const order = orders_memory ? &w.order[f.round % 2] : nullptr;
  if (order) release(order);
  unsigned char* values = reinterpret_cast<unsigned char*>(w.values[f.round++ % 2]);
  for (std::size_t i = 0; i < bytes; ++i) values[static_cast<std::size_t>(lane) * bytes + i] = static_cast<const unsigned char*>(value)[i];
  if (++w.arrived == warp_lanes) {
    w.arrived = 0;
    ++counts().exchanges;
    for (int i = self / warp_lanes * warp_lanes; i < (self / warp_lanes + 1) * warp_lanes; ++i)
      if (Fiber& other = fiber(i); other.state == State::in_exchange) {
        other.state = State::ready;
        ++m.ready;
      }
  } else {
    f.state = State::in_exchange;
    --m.ready;
    yield();
  }
  if (order) acquire(order);
  return values;
}

namespace {
void land(const Copy& c) {
  auto* to = static_cast<unsigned char*>(c.to);
  const auto* from = static_cast<const unsigned char*>(c.from);
  for (int i = 0; i < 16; ++i) to[i] = c.valid ? from[i] : 0;
}
Fiber& self() { return fiber(running().thread); }
// The chunk of shared memory at `p`; null: it lies elsewhere.
Written* chunk(const void* p) {
  Machine& m = machine();
  const auto at = static_cast<std::size_t>(static_cast<const unsigned char*>(p) - m.shared_begin) / 16;
  return at < m.written.size() ? &m.written[at] : nullptr;
}
void written_by_copy(const void* p) {
  if (Written* w = chunk(p)) *w = {machine().blocks, self().fences, running().thread};
}
}  // namespace

namespace {
unsigned bank_group(const void* p) { return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(p) / 16 % 8); }
}  // namespace
void copy(void* to, const void* from, bool valid) {
  Machine& m = machine();
  Fiber& f = self();
  if ((reinterpret_cast<std::uintptr_t>(to) % 16 || reinterpret_cast<std::uintptr_t>(from) % 16) && m.failure.empty()) m.failure = str("an asynchronous copy of thread ", running().thread, " is not aligned to 16 bytes");
  if (f.copying == most_copies && m.failure.empty()) m.failure = str("thread ", running().thread, " has more than ", most_copies, " asynchronous copies under way");
  if (!m.failure.empty()) return;
  Warp::Phase& phase = m.warps[static_cast<std::size_t>(running().thread / warp_lanes)].copies[f.copies_begun++ % 64][running().thread % warp_lanes / 8];
  if (phase.block != m.blocks) phase = {m.blocks};
  phase.banks |= 1u << bank_group(to);
  if (++phase.lanes == 8) {
    ++counts().copy_phases;
    counts().bank_conflicts += phase.banks != 0xff;
    phase = {};
  }
  const Copy c{to, from, valid, f.group};
  if (valid) reads(from, 16);
  writes(to, 16);
  if (options().copies == Copies::early) {
    land(c);
  } else {
    for (int i = 0; i < 16; ++i) static_cast<unsigned char*>(to)[i] = 0xff;
  }
  written_by_copy(to);
  f.copies[f.copying++] = c;
}
void commit_copies() { ++self().group; }
void wait_copies(int left) {
  Fiber& f = self();
  int landed = 0;
  while (landed < f.copying && f.copies[landed].group < f.group - left) {
    writes(f.copies[landed].to, 16);
    if (options().copies == Copies::late) land(f.copies[landed]);
    written_by_copy(f.copies[landed].to);
    ++landed;
  }
  for (int i = landed; i < f.copying; ++i) f.copies[i - landed] = f.copies[i];
  f.copying -= landed;
}
void fence_copies() { ++self().fences; }
namespace {
// A barrier's word: the parity of its phase, arrivals a phase, arrivals and bytes that are still to come.
struct Phase {
  std::int32_t bytes;
  std::uint16_t left;
  std::uint16_t count_and_parity;  // the count, twice, and the parity
};
Phase phase_of(const std::uint64_t* word) {
  Phase p;
  __builtin_memcpy(&p, word, sizeof p);
  return p;
}
void settle(std::uint64_t* word, Phase p) {
  Machine& m = machine();
  if (p.left == 0 && p.bytes == 0) {
    p.count_and_parity ^= 1;
    p.left = p.count_and_parity / 2;
    m.woken = true;
    for (int i = 0; i < m.threads; ++i)
      if (Fiber& f = fiber(i); f.state == State::in_barrier && f.barrier == word) {
        f.state = State::ready;
        ++m.ready;
      }
  }
  __builtin_memcpy(word, &p, sizeof p);
}
void complain(const std::string& text) {
  if (machine().failure.empty()) machine().failure = text;
}
void land(const TileCopy& c) {
  for (int r = 0; r < c.map.box_rows; ++r)
    for (int j = 0; j < 64; ++j) {
      const std::int64_t row = c.row + r, column = c.column + j;
      const bool inside = row >= 0 && row < c.map.rows && column >= 0 && column < c.map.columns;
      const auto at = static_cast<unsigned>(r * 128 + j * 2), place = at ^ (at >> 3 & 0x70);  // to is aligned to 1024
      for (unsigned k = 0; k < 2; ++k) c.to[place + k] = inside ? static_cast<unsigned char>(c.map.base[(row * c.map.ld + column) * 2 + k]) : 0;
    }
  for (int i = 0; i < c.map.box_rows * 128; i += 16) *chunk(c.to + i) = {};
  Phase p = phase_of(c.barrier);
  p.bytes -= c.map.box_rows * 128;
  settle(c.barrier, p);
}
// The oldest copy of a tile that is under way; whether there was one.
bool land_tile() {
  Machine& m = machine();
  if (m.tiles_copying == 0) return false;
  const TileCopy c = m.tiles[m.tiles_first];
  m.tiles_first = (m.tiles_first + 1) % most_tiles;
  --m.tiles_copying;
  land(c);
  return true;
}
}  // namespace

std::uint32_t shared_address(const void* p) {
  Machine& m = machine();
  const auto at = static_cast<std::size_t>(static_cast<const unsigned char*>(p) - m.shared_begin);
  if (at >= m.shared_size) complain(str("thread ", running().thread, " takes the address of what is not in the block's shared memory"));
  return static_cast<std::uint32_t>(at);
}
const void* at_shared(std::uint32_t address, std::uint32_t bytes) {
  static const std::uint64_t nothing = ~std::uint64_t{0};
  Machine& m = machine();
  if (address + bytes <= m.shared_size) {
    const Written& w = m.written[address / 16];
    if (w.block == m.blocks && w.fences == fiber(w.thread).fences) complain(str("a product of thread ", running().thread, " reads what thread ", w.thread, " has copied, which has set no fence since"));
    return m.shared_begin + address;
  }
  complain(str("a product of thread ", running().thread, " reads shared memory at ", address, ", the block has ", m.shared_size));
  return &nothing;
}
void init_barrier(std::uint64_t* barrier, int count) {
  if (count < 1 || count > 0x7fff || reinterpret_cast<std::uintptr_t>(barrier) % 8) complain(str("a barrier of ", count, " arrivals, or one that is not aligned to 8 bytes"));
  const Phase p{0, static_cast<std::uint16_t>(count), static_cast<std::uint16_t>(count * 2)};
  __builtin_memcpy(barrier, &p, sizeof p);
}
void arrive(std::uint64_t* barrier, int expected_bytes) {
  release(barrier);
  Phase p = phase_of(barrier);
  if (p.left == 0) return complain(str("thread ", running().thread, " arrives at a barrier that expects no more"));
  p.bytes += expected_bytes;
  --p.left;
  settle(barrier, p);
}
void wait_barrier(std::uint64_t* barrier, unsigned parity, int line) {
  Fiber& f = self();
  f.line = line;
  while ((phase_of(barrier).count_and_parity & 1u) == parity && machine().failure.empty()) {
    f.barrier = barrier;
    f.state = State::in_barrier;
    --machine().ready;
    yield();
  }
  acquire(barrier);
}
void describe_tile(unsigned char* map, const void* base, std::int64_t rows, std::int64_t columns, std::int64_t ld, int box_rows) {
  check(reinterpret_cast<std::uintptr_t>(base) % 16 == 0 && ld % 8 == 0 && box_rows >= 1 && box_rows <= 256 && rows > 0 && columns > 0, "emulator.map", "tensor map: ", rows, " x ", columns, " at a distance of ", ld, " in boxes of ", box_rows,
        "; wanted lines aligned to 16 bytes and boxes of at most 256 lines");
  const TileMap m{static_cast<const char*>(base), rows, columns, ld, box_rows};
  __builtin_memcpy(map, &m, sizeof m);
}
void copy_tile(void* to, const unsigned char* map, std::int64_t row, std::int64_t column, std::uint64_t* barrier) {
  Machine& m = machine();
  TileCopy c{static_cast<unsigned char*>(to), {}, row, column, barrier};
  __builtin_memcpy(&c.map, map, sizeof c.map);
  const std::uint32_t at = shared_address(to);
  if (at % 1024 || at + static_cast<std::uint32_t>(c.map.box_rows) * 128 > m.shared_size) complain(str("a tile at ", at, " of shared memory: wanted a multiple of 1024 and ", c.map.box_rows * 128, " bytes within the block's ", m.shared_size));
  if (m.tiles_copying == most_tiles) complain(str("more than ", most_tiles, " copies of tiles under way"));
  if (!m.failure.empty()) return;
  writes(to, static_cast<unsigned long>(c.map.box_rows) * 128);
  release(barrier);  // who waits for it sees the tile
  if (options().copies == Copies::early) return land(c);
  for (int i = 0; i < c.map.box_rows * 128; ++i) c.to[i] = 0xff;
  m.tiles[(m.tiles_first + m.tiles_copying++) % most_tiles] = c;
}
void multiply(Product& product) {
  Fiber& f = self();
  if (f.multiplying == most_products) return complain(str("thread ", running().thread, " has more than ", most_products, " products under way"));
  product.group = f.product_group;
  if (options().copies == Copies::early) product.make(product, running().thread % 128);
  f.products[f.multiplying++] = product;
  ++counts().products;
}
void commit_products() { ++self().product_group; }
void wait_products(int left) {
  Fiber& f = self();
  int done = 0;
  while (done < f.multiplying && f.products[done].group < f.product_group - left) {
    Product& p = f.products[done++];
    if (options().copies == Copies::late) p.make(p, running().thread % 128);
  }
  for (int i = done; i < f.multiplying; ++i) f.products[i - done] = f.products[i];
  f.multiplying -= done;
}
void count_conflicts(const void* const* rows, int matrices) {
  for (int i = 0; i < 8 * matrices; ++i)
    if (reinterpret_cast<std::uintptr_t>(rows[i]) % 16) complain(str("a row of a matrix that thread ", running().thread / warp_lanes * warp_lanes + i, " loads is not aligned to 16 bytes"));
  for (int phase = 0; phase < matrices; ++phase) {
    unsigned seen = 0;  // groups of four banks
    for (int i = 0; i < 8; ++i) seen |= 1u << bank_group(rows[phase * 8 + i]);
    ++counts().matrix_loads;
    counts().bank_conflicts += seen != 0xff;
  }
}

void run(std::int64_t blocks, int threads, std::int64_t shared_bytes, void (*body)(const void*), const void* kernel) {
  Machine& m = machine();
  if (blocks <= 0) return;
  check(threads > 0 && threads <= most_threads && threads % warp_lanes == 0, "emulator.threads", "emulated launch: wanted 32 to 1024 threads in whole warps, got ", threads);
  check(blocks <= 0x7fffffff, "emulator.blocks", "emulated launch: ", blocks, " blocks, the hardware takes 2147483647");
  check(shared_bytes >= 0 && shared_bytes <= options().shared_limit, "emulator.shared", "emulated launch: ", shared_bytes, " bytes of shared memory, a block has ", options().shared_limit);
  if (m.fibers.empty()) {
    m.fibers.resize(fiber_count);
    m.warps.resize(most_threads / warp_lanes);
  }
  m.body = body;
  m.kernel = kernel;
  m.threads = threads;
  const Reach reach;
  ++counts().launches;
  m.random = Random(options().seed, static_cast<std::uint32_t>(counts().launches));
  place.threads = threads;
  place.blocks = blocks;
  std::uint64_t step = 1;  // of a walk over all blocks
  if (options().order == Order::random && blocks > 2) {
    auto common = [](std::uint64_t a, std::uint64_t b) {
      while (b) std::swap(a %= b, b);
      return a;
    };
    do step = 1 + m.random.below(static_cast<std::uint64_t>(blocks) - 1);
    while (common(step, static_cast<std::uint64_t>(blocks)) != 1);
  }
#ifdef BAM_FIBERS_TSAN
  m.race = __tsan_get_current_fiber();
#endif
  // A block has shared memory of its own, of the size that was asked for, so that the sanitizers see what is beyond it; a launch that is waited for frees it.
  struct Memory {
    void* first = nullptr;
    Memory* next = nullptr;
    ~Memory() {
      std::free(first);
      delete next;
    }
  } memory;
  for (std::int64_t b = 0; b < blocks; ++b) {
    const auto n = static_cast<std::uint64_t>(blocks), at = static_cast<std::uint64_t>(b) * step % n;
    place.block = options().order == Order::backward ? blocks - 1 - b : static_cast<std::int64_t>(at);
    const auto size = static_cast<std::size_t>(shared_bytes);
#ifdef BAM_FIBERS_TSAN
    memory.next = new Memory{memory.first, memory.next};
    memory.first = nullptr;
#endif
    std::free(memory.first);
    memory.first = nullptr;
    if (posix_memalign(&memory.first, 1024, size) != 0) fail(ErrorKind::limit, "memory.exhausted", "emulator: no memory for a block");
    m.shared_begin = static_cast<unsigned char*>(memory.first);
    m.shared_size = size;
    m.written.resize(std::max(m.written.size(), size / 16 + 1));
    const unsigned char fill = options().fill;
    unsigned char* const bytes = m.shared_begin;
    for (std::size_t i = 0; i < size; ++i) bytes[i] = fill;
    ++counts().blocks;
    release(&m.begin);
    run_block();
  }
  acquire(&m.end);
}

}  // namespace bam::cuda::emulation
