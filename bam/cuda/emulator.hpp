// Runs CUDA kernels on the CPU, for tests: one fiber per thread of a block, block after block. A collective waits for its warp or block, which must all come by the
// same operation at the same source line. Found and reported as Error(internal): threads that wait for others which have ended or are at another place, shared memory
// or a block beyond the hardware's. Orders of threads and what unwritten shared memory holds are options, for a right kernel has the same bits under all of them.
// Only floor 0 is above this; the fibers are Boost.Context's and live in emulator.cpp.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace bam::cuda::emulation {

// When an asynchronous copy lands: at its start, or as late as at the wait for it, with 0xff in its place until then. The first finds a stage refilled while it is read, the second a wait too few.
enum class Copies : std::uint8_t { early, late };
enum class Order : std::uint8_t { forward, backward, random };  // of the threads: always the first warp that can go on, or the last; random: any for a burst of steps, blocks in a random order
// How what two branches were told is run when they are joined: only what a branch itself was told is in order.
enum class Branches : std::uint8_t { first, second, alternating };  // the one wholly before the other, or in turns
struct Options {
  Order order = Order::forward;
  unsigned char fill = 0xff;      // of shared memory before a block writes it
  Copies copies = Copies::late;
  Branches branches = Branches::alternating;
  std::uint64_t seed = 1;         // of the random order
  int multiprocessors = 3;        // that the emulated device says it has
  std::int64_t shared_limit = 227 * 1024;
  std::int64_t device_bytes = std::int64_t{1} << 36;  // of memory that the device says it has
  bool warpgroups = true;         // that it is of compute capability 9.0
};
inline Options options_of_process;
inline Options& options() { return options_of_process; }

// What all kernels of this process have run: blocks and collectives.
struct Counts {
  std::int64_t launches = 0, blocks = 0, syncs = 0, exchanges = 0;
  std::int64_t joins = 0;  // of branches that both had something to run
  std::int64_t products = 0;  // of warpgroups, each counted by its threads
  std::int64_t matrix_loads = 0, copy_phases = 0;  // of 16 bytes each by eight lanes: of ldmatrix, and of asynchronous copies to shared memory
  std::int64_t bank_conflicts = 0;                 // those of both in which two meet in a bank
};
inline Counts counts_of_process;
inline Counts& counts() { return counts_of_process; }

// Launches of each kernel, by the name of its type; of those whose names have `part` in them.
inline std::map<std::string, std::int64_t> launches_of_process;
inline std::map<std::string, std::int64_t>& launches() { return launches_of_process; }
inline std::int64_t launches_of(std::string_view part) {
  std::int64_t n = 0;
  for (const auto& [name, times] : launches())
    if (name.find(part) != std::string::npos) n += times;
  return n;
}

struct Place {
  int thread = 0, threads = 0;
  std::int64_t block = 0, blocks = 0;
};
inline Place place;  // of the thread that runs
inline Place& running() { return place; }

// While one lives, the device's memory can be read and written (emulated_device.cpp): during launches and copies.
struct Reach {
  Reach();
  ~Reach();
  Reach(const Reach&) = delete;
  Reach& operator=(const Reach&) = delete;
};

// f(offset, address) for each word of an args struct that is an address of this process's memory. The bytes between its members are 0.
template <class F>
void each_address(const void* args, std::size_t bytes, F f) {
  for (std::size_t at = 0; at + sizeof(std::uintptr_t) <= bytes; at += sizeof(std::uintptr_t)) {
    std::uintptr_t word;
    std::memcpy(&word, static_cast<const char*>(args) + at, sizeof word);
    if (word < std::uintptr_t{1} << 40 || word >= std::uintptr_t{1} << 47) continue;
    unsigned char resident = 0;
    if (mincore(reinterpret_cast<void*>(word / 4096 * 4096), 1, &resident) != 0) continue;  // two small numbers side by side, and nothing lies there
    f(at, reinterpret_cast<const void*>(word));
  }
}

// Whether launches are not run at once (emulated_device.cpp): they are recorded, or wait for the join of two branches. What puts one there.
bool waiting();
void wait(std::function<void()> launch);
void run(std::int64_t blocks, int threads, std::int64_t shared_bytes, void (*body)(const void*), const void* kernel);

// Called by kernels.
void sync(int line);
// Hands `bytes` (up to 64) in and gets the 32 values of the warp once all lanes have; valid until the lane's next but one collective. Whether what lanes wrote before is seen by all after it: a barrier's alone is.
const void* exchange(const void* value, std::size_t bytes, int line, bool orders_memory = false);
void* shared();
// An asynchronous copy of 16 bytes to shared memory, or of 16 zeros; its group; the wait until at most `left` groups are under way.
void copy(void* to, const void* from, bool valid);
void commit_copies();
void wait_copies(int left);

// What only compute capability 9.0 has (device_hopper.cuh). The address of shared memory within its window, and what lies there: Error(internal) beyond the block's.
std::uint32_t shared_address(const void* p);
const void* at_shared(std::uint32_t address, std::uint32_t bytes);
// Of the caller's copies that have landed: from here on products may read them, Error(internal) before.
void fence_copies();
// A barrier: arrivals and bytes of its phase.
void init_barrier(std::uint64_t* barrier, int count);
void arrive(std::uint64_t* barrier, int expected_bytes);
void wait_barrier(std::uint64_t* barrier, unsigned parity, int line);
// A tile: 64 columns of bf16 by box_rows lines, swizzled, from a matrix that `map` (128 bytes) describes. Early, it lands at once; late, when nothing else can go on.
void describe_tile(unsigned char* map, const void* base, std::int64_t rows, std::int64_t columns, std::int64_t ld, int box_rows);
void copy_tile(void* to, const unsigned char* map, std::int64_t row, std::int64_t column, std::uint64_t* barrier);
// A thread's part of a product of its warpgroup: its sums, the descriptors of both operands or, of the first, its two rows, and how it is made.
struct Product {
  float* d = nullptr;
  std::uint64_t a = 0, b = 0;
  void (*make)(Product& product, int thread) = nullptr;
  std::int64_t group = 0;
  float rows[2][16] = {};
};
// Made now or, late, at the wait for its group.
void multiply(Product& product);
void commit_products();
void wait_products(int left);

// Counts the conflicts of a warp's row addresses, eight at a time. Error(internal): one is not aligned to 16 bytes.
void count_conflicts(const void* const* rows, int matrices);

}  // namespace bam::cuda::emulation
