// The emulation of the device, tested against what CUDA says and not against our kernels: shuffles and barriers, and what it finds in kernels that are wrong.
#if !defined(__SANITIZE_THREAD__)  // of g++, which cannot follow its fibers
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "bam/bam.hpp"
#include "bam/cuda/backend.hpp"
#include "bam/cuda/device.cuh"

namespace bam::cuda {

using emulation::Order;

namespace {

struct Restore {
  emulation::Options before = emulation::options();
  ~Restore() { emulation::options() = before; }
};

template <class K>
void start(const Grid& grid, const K& kernel) {
  launch(Exec{}, grid, kernel);
}
template <class K>
std::string failure(const Grid& grid, const K& kernel) {
  try {
    start(grid, kernel);
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing";
}

// A kernel of a lambda.
template <class F>
struct Kernel {
  F f;
  BAM_DEVICE void operator()() const { f(); }
};
template <class F>
Kernel<F> of(F f) {
  return {f};
}

}  // namespace

TEST_CASE("emulator: threads, blocks, shuffles and barriers do what the hardware's do") {
  Restore restore;
  for (Order order : {Order::forward, Order::backward, Order::random}) {
    emulation::options().order = order;
    std::vector<int> seen(3 * 64), partner(64), lane(64), reversed(64);
    int *s = seen.data(), *p = partner.data(), *l = lane.data(), *r = reversed.data();
    start({3, 64, 0}, of([=] { s[block() * block_threads() + thread()] = static_cast<int>(1 + grid_blocks() * 100 + thread()); }));
    start({1, 64, 64 * sizeof(int)}, of([=] {
            const int t = thread();
            p[t] = shuffle_xor(t * 10, 5);
            l[t] = shuffle(t * 10, t % warp_lanes / 4);
            shared<int>()[t] = t;
            sync();
            r[t] = shared<int>()[63 - t];
          }));
    for (int b = 0; b < 3; ++b)
      for (int t = 0; t < 64; ++t) CHECK(seen[static_cast<std::size_t>(b * 64 + t)] == 301 + t);
    for (int t = 0; t < 64; ++t) {
      const auto i = static_cast<std::size_t>(t);
      CHECK(partner[i] == (t ^ 5) * 10);  // a warp's own lanes: 5 < 32 leaves the warp's number as it is
      CHECK(lane[i] == (t / 32 * 32 + t % 32 / 4) * 10);
      CHECK(reversed[i] == 63 - t);
    }
    // A double has eight bytes to hand over.
    std::vector<double> wide(32);
    double* w = wide.data();
    start({1, 32, 0}, of([=] { w[thread()] = sum_lanes(static_cast<double>(thread()) + 0.25); }));
    CHECK(wide[0] == 15 * 8 + 4.0);
    CHECK(wide[31] == 16 * 16 + 15 * 8 + 4.0);
  }
}

TEST_CASE("emulator: what is wrong in a kernel is found") {
  Restore restore;
  for (Order order : {Order::forward, Order::backward, Order::random}) {
    emulation::options().order = order;
    CHECK(failure({1, 64, 0}, of([] {
                    if (thread() < 40) sync();
                  })).find("threads 40 to 63: ended") != std::string::npos);
    CHECK(failure({1, 32, 0}, of([] {
                    if (thread() != 7) shuffle_xor(1, 1);
                  })).find("threads wait for others that never come") != std::string::npos);
    const auto two_shuffles = of([] {  // out here, for all of a macro's argument is one line
      if (thread() % 2) shuffle_xor(1, 1);
      else shuffle_xor(2, 1);
    });
    CHECK(failure({1, 32, 0}, two_shuffles).find("a warp has lanes in collectives at lines") != std::string::npos);
    const auto two_barriers = of([] {
      if (thread() < 32) sync();
      else sync();
    });
    CHECK(failure({1, 64, 0}, two_barriers).find("one barrier is reached at lines") != std::string::npos);
    // After a failure the next kernel finds whole threads.
    std::vector<int> y(64);
    int* p = y.data();
    CHECK(failure({1, 64, 0}, of([=] {
                    sync();
                    p[thread()] = 1;
                  })) == "nothing");
    CHECK(y == std::vector<int>(64, 1));
  }
  CHECK(failure({1, 48, 0}, of([] {})).find("whole warps") != std::string::npos);
  CHECK(failure({1, 2048, 0}, of([] {})).find("32 to 1024 threads") != std::string::npos);
  CHECK(failure({1, 32, 228 * 1024}, of([] {})).find("bytes of shared memory") != std::string::npos);
  CHECK(failure({std::int64_t{1} << 31, 32, 0}, of([] {})).find("the hardware takes") != std::string::npos);
}

TEST_CASE("emulator: a missing barrier and unwritten shared memory show in the values") {
  Restore restore;
  auto values = [](Order order, unsigned char fill, bool barrier) {
    emulation::options().order = order;
    emulation::options().fill = fill;
    std::vector<int> y(64);
    int* p = y.data();
    start({1, 64, 65 * sizeof(int)}, of([=] {
            shared<int>()[thread()] = thread();
            if (barrier) sync();
            p[thread()] = shared<int>()[(thread() + 1) % 64];
          }));
    return y;
  };
  const std::vector<int> right = values(Order::forward, 0xff, true);
  for (Order order : {Order::forward, Order::backward, Order::random})
    for (unsigned char fill : {static_cast<unsigned char>(0xff), static_cast<unsigned char>(0x55)}) {
      CHECK(values(order, fill, true) == right);
      CHECK(values(order, fill, false) != right);
    }
}

namespace {

// Planted faults: kernels of the kind that ours are, each right but for one line.
enum class Fault { none, no_wait, wait_off_by_one, no_barrier, refilled_before_barrier };

// Each thread sums what its neighbour copied, tile after tile, through three stages of shared memory.
struct Pipeline {
  static constexpr int stages = 3, threads = 64;
  const float* x;  // (tiles, threads, 4)
  float* y;        // (threads)
  int tiles;
  Fault fault;
  BAM_DEVICE float* stage(int tile, int t) const { return shared<float>() + (tile % stages * threads + t) * 4; }
  BAM_DEVICE void load(int tile) const {
    if (tile < tiles) copy_async(stage(tile, thread()), x + (tile * threads + thread()) * 4, true);
    commit_copies();
  }
  BAM_DEVICE void operator()() const {
    float total = 0;
    for (int i = 0; i + 1 < stages; ++i) load(i);
    for (int tile = 0; tile < tiles; ++tile) {
      if (fault == Fault::wait_off_by_one) wait_copies<2>();
      else if (fault != Fault::no_wait) wait_copies<1>();
      if (fault == Fault::refilled_before_barrier) load(tile + stages - 1);
      if (fault != Fault::no_barrier) sync();
      if (fault != Fault::refilled_before_barrier) load(tile + stages - 1);
      for (int i = 0; i < 4; ++i) total += static_cast<float>(tile + 1) * stage(tile, (thread() + 1) % threads)[i];
    }
    wait_copies<0>();
    y[thread()] = total;
  }
};

enum class Swizzle { right, shifted_where_read, none };
// A tile of 16 rows of 64 bf16 goes to shared memory and comes out of ldmatrix.
struct Tile {
  const Bf16* x;     // (16, 64)
  std::uint32_t* y;  // (4, 32, 4): what each lane got of each 16 x 16 part
  Swizzle swizzle;
  BAM_DEVICE int place(int row, int chunk, bool read) const {  // in chunks of 16 bytes
    const int turn = swizzle == Swizzle::none ? 0 : (row + (read && swizzle == Swizzle::shifted_where_read ? 1 : 0)) % 8;
    return row * 8 + (chunk ^ turn);
  }
  BAM_DEVICE void operator()() const {
    Bf16* s = shared<Bf16>();
    for (int i = thread(); i < 16 * 8; i += warp_lanes) copy_async(s + place(i / 8, i % 8, false) * 8, x + i * 8, true);
    commit_copies();
    wait_copies<0>();
    sync();
    for (int part = 0; part < 4; ++part) {
      const int lane = thread();
      std::uint32_t r[4];
      load_matrices<false>(r, s + place(lane % 16, part * 2 + lane / 16, true) * 8);
      for (int i = 0; i < 4; ++i) y[(part * warp_lanes + lane) * 4 + i] = r[i];
    }
  }
};

}  // namespace

TEST_CASE("emulator: planted faults of pipelines are found by values, each in the modes that can show it") {
  Restore restore;
  using emulation::Copies;
  const int tiles = 7;
  Random random(4);
  const std::vector<float> x = [&] {
    std::vector<float> v(tiles * Pipeline::threads * 4);
    for (float& e : v) e = static_cast<float>(math::normal(random));
    return v;
  }();
  auto values = [&](Fault fault) {
    std::vector<float> y(Pipeline::threads);
    start({1, Pipeline::threads, Pipeline::stages * Pipeline::threads * 16}, Pipeline{x.data(), y.data(), tiles, fault});
    return y;
  };
  const std::vector<float> right = values(Fault::none);
  // In how many of the orders a fault changes the values.
  auto found = [&](Fault fault, Copies copies) {
    int n = 0;
    for (Order order : {Order::forward, Order::backward, Order::random}) {
      emulation::options().order = order;
      emulation::options().copies = copies;
      const std::vector<float> y = values(fault);
      n += std::memcmp(y.data(), right.data(), y.size() * sizeof(float)) != 0;
    }
    return n;
  };
  for (Copies copies : {Copies::early, Copies::late}) {
    CHECK(found(Fault::none, copies) == 0);
    CHECK(found(Fault::no_barrier, copies) > 0);
  }
  CHECK(found(Fault::no_wait, Copies::late) == 3);
  CHECK(found(Fault::wait_off_by_one, Copies::late) == 3);
  CHECK(found(Fault::wait_off_by_one, Copies::early) == 0);  // why there are two modes
  CHECK(found(Fault::refilled_before_barrier, Copies::early) > 0);
}

TEST_CASE("emulator: a swizzle that differs between its sides shows in the values, none at all in the bank conflicts") {
  Restore restore;
  Random random(5);
  std::vector<Bf16> x(16 * 64 + 8);
  for (Bf16& e : x) e = to_bf16(static_cast<float>(math::normal(random)));
  auto run = [&](Swizzle swizzle) {
    std::vector<std::uint32_t> y(4 * 32 * 4);
    const std::int64_t before = emulation::counts().bank_conflicts;
    start({1, 32, 16 * 64 * 2}, Tile{x.data(), y.data(), swizzle});
    return std::pair(y, emulation::counts().bank_conflicts - before);
  };
  std::vector<std::uint32_t> wanted;
  for (int part = 0; part < 4; ++part)
    for (int lane = 0; lane < 32; ++lane)
      for (int m = 0; m < 4; ++m) {  // rows of matrices 0 and 2, 1 and 3 are 0 to 7 and 8 to 15; columns of 2 and 3 are eight further
        const int at = (lane / 4 + m % 2 * 8) * 64 + part * 16 + m / 2 * 8 + lane % 4 * 2;
        wanted.push_back(x[static_cast<std::size_t>(at)].bits | static_cast<std::uint32_t>(x[static_cast<std::size_t>(at + 1)].bits) << 16);
      }
  const auto [right, none] = run(Swizzle::right);
  CHECK(right == wanted);
  CHECK(none == 0);
  CHECK(run(Swizzle::shifted_where_read).first != wanted);
  const auto [plain, conflicts] = run(Swizzle::none);
  CHECK(plain == wanted);
  CHECK(conflicts == 16);  // all of the four loads of four matrices
}

#if defined(__SANITIZE_ADDRESS__)
TEST_CASE("emulator: a load predicate one too far is found by AddressSanitizer") {
  std::vector<float> x(4 * 32);
  auto read = [&](std::size_t n) {
    const float* p = x.data();
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      (void)!freopen("/dev/null", "w", stderr);
      start({1, 64, 64 * 16}, of([=] {
              copy_async(shared<float>() + thread() * 4, p + thread() * 4, static_cast<std::size_t>(thread()) < n);
              commit_copies();
              wait_copies<0>();
            }));
      _exit(0);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  };
  CHECK(read(32));
  CHECK_FALSE(read(33));
}
#endif

// For ThreadSanitizer alone (scripts/racecheck.sh): values in all orders are right.
TEST_CASE("race: an exchange through shared memory inside a warp without sync_warp" * doctest::skip(true)) {
  std::vector<int> y(32);
  int* p = y.data();
  start({1, 32, 32 * sizeof(int)}, of([=] {
          const int lane = thread();
          shared<int>()[lane] = lane;
          shuffle_xor(0, 1);  // all lanes have come, and memory is not ordered
          p[lane] = shared<int>()[lane ^ 1];
        }));
  CHECK(y[0] == 1);
}
TEST_CASE("race: two blocks write one address" * doctest::skip(true)) {
  std::vector<int> y(1);
  int* p = y.data();
  start({2, 32, 0}, of([=] {
          if (thread() == 0) *p = 1;
        }));
  CHECK(y[0] == 1);
}

TEST_CASE("emulator: each row of the contract starts kernels, and none of the CPU's is called") {
  Random random(3);
  const Tensor x = randn({5, 8}, random), w = randn({8, 8}, random);
  const std::int64_t before = emulation::counts().launches;
  kernels() = &cuda::table;
  Tape tape;
  const Tensor a = parameter(x.clone()), b = parameter(w.clone());
  tape.backward(sum(square(linear(a, b))));
  kernels() = nullptr;
  CHECK(emulation::counts().launches > before + 4);
#define BAM_ROW(name, Args) CHECK_MESSAGE(bool(cuda::table.name), #name);
  BAM_KERNELS(BAM_ROW)
#undef BAM_ROW
}

}  // namespace bam::cuda
#endif
