// The emulation of the device, tested against what CUDA says and not against our kernels: shuffles and barriers, and what it finds in kernels that are wrong.
#if !defined(__SANITIZE_THREAD__)  // of g++, which cannot follow its fibers
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "bam/bam.hpp"
#include "bam/cuda/backend.hpp"
#include "bam/cuda/device_hopper.cuh"

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
Kernel<F> of(const F& f) {
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
  for (const int thread_off : {-1, 20}) {
    const std::string told = failure({1, 64, 64 * 16 + 2}, of([=] {
      std::uint32_t r[4];
      load_matrices<false>(r, shared<unsigned char>() + thread() * 16 + (thread() == 32 + thread_off ? 2 : 0));
    }));
    CHECK(told.find(thread_off < 0 ? "thread 31 loads is not aligned to 16 bytes" : "thread 52 loads is not aligned to 16 bytes") != std::string::npos);
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

// Each thread sums what its neighbour copied, tile after tile, through three stages of shared memory; collectives of the warp follow within a tile, as where tensor cores multiply: warps in step would never meet in a stage.
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
      for (int i = 0; i < 5; ++i) sync_warp();
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
  bool by_columns = false;  // neighbouring lanes copy one column of chunks, not a row
  BAM_DEVICE int place(int row, int chunk, bool read) const {  // in chunks of 16 bytes
    const int turn = swizzle == Swizzle::none ? 0 : (row + (read && swizzle == Swizzle::shifted_where_read ? 1 : 0)) % 8;
    return row * 8 + (chunk ^ turn);
  }
  BAM_DEVICE void operator()() const {
    Bf16* s = shared<Bf16>();
    for (int i = thread(); i < 16 * 8; i += warp_lanes) {
      const int row = by_columns ? i % 16 : i / 8, chunk = by_columns ? i / 16 : i % 8;
      copy_async(s + place(row, chunk, false) * 8, x + row * 64 + chunk * 8, true);
    }
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
    CHECK(found(Fault::no_barrier, copies) == 3);
  }
  CHECK(found(Fault::no_wait, Copies::late) == 3);
  CHECK(found(Fault::wait_off_by_one, Copies::late) == 3);
  CHECK(found(Fault::wait_off_by_one, Copies::early) == 0);  // why there are two modes
  CHECK(found(Fault::refilled_before_barrier, Copies::early) == 3);
}

TEST_CASE("emulator: a swizzle that differs between its sides shows in the values, none at all in the bank conflicts") {
  Restore restore;
  Random random(5);
  std::vector<Bf16> x(16 * 64 + 8);
  for (Bf16& e : x) e = to_bf16(static_cast<float>(math::normal(random)));
  auto run = [&](Swizzle swizzle, bool by_columns = false) {
    std::vector<std::uint32_t> y(4 * 32 * 4);
    const emulation::Counts before = emulation::counts();
    start({1, 32, 16 * 64 * 2}, Tile{x.data(), y.data(), swizzle, by_columns});
    CHECK(emulation::counts().matrix_loads - before.matrix_loads == 16);
    CHECK(emulation::counts().copy_phases - before.copy_phases == 16);
    return std::pair(y, emulation::counts().bank_conflicts - before.bank_conflicts);
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
  CHECK(run(Swizzle::right, true) == std::pair(wanted, std::int64_t{0}));
  CHECK(run(Swizzle::none, true).second == 32);  // and all of the four copies of four times eight lanes
}

namespace {

enum class HopperFault { none, no_full_wait, released_early, bytes_short, bytes_long, no_product_wait, wrong_parity, wrong_advance, one_warp_for_all };

// d (64, 128) = a (64, K) b (128, K)^T: a warpgroup multiplies what one thread of another has copied, through two stages.
struct HopperPipeline {
  static constexpr int stages = 2, a_bytes = 64 * 128, b_bytes = 128 * 128;
  TensorMap a, b;
  float* d;
  int steps;
  HopperFault fault;
  BAM_DEVICE void operator()() const {
    Barrier* const barriers = shared<Barrier>();
    unsigned char* const tiles = shared<unsigned char>() + 1024;
    if (thread() == 0) {
      for (int s = 0; s < stages; ++s) {
        init_barrier(&barriers[s], 1);
        init_barrier(&barriers[stages + s], warpgroup_threads / warp_lanes);
      }
      fence_barriers();
    }
    sync();
    if (thread() < warpgroup_threads) {
      for (int step = 0; step < steps && thread() == 0; ++step) {
        const int s = step % stages;
        wait_barrier(&barriers[stages + s], static_cast<unsigned>(step / stages + (fault == HopperFault::wrong_parity ? 0 : 1)) & 1u);
        arrive_expecting(&barriers[s], fault == HopperFault::bytes_short ? a_bytes : fault == HopperFault::bytes_long ? a_bytes + b_bytes + 128 : a_bytes + b_bytes);
        copy_tile(tiles + s * (a_bytes + b_bytes), a, 0, step * 64, &barriers[s]);
        copy_tile(tiles + s * (a_bytes + b_bytes) + a_bytes, b, 0, step * 64, &barriers[s]);
      }
    } else {
      const int t = thread() - warpgroup_threads;
      float sums[64] = {};
      for (int step = 0; step < steps; ++step) {
        const int s = step % stages;
        if (fault != HopperFault::no_full_wait) wait_barrier(&barriers[s], static_cast<unsigned>(step / stages) & 1u);
        const std::uint32_t tile = shared_address(tiles + s * (a_bytes + b_bytes));
        fence_products();
        for (int k = 0; k < 64; k += 16) {
          const auto at = static_cast<std::uint32_t>(fault == HopperFault::wrong_advance ? k : 2 * k);
          multiply<false, false>(sums, matrix_descriptor<false, 64>(tile + at), matrix_descriptor<false, 64>(tile + a_bytes + at));
        }
        commit_products();
        if (fault == HopperFault::released_early) {
          if (t % warp_lanes == 0) arrive(&barriers[stages + s]);
          wait_products<0>();
        } else {
          if (fault != HopperFault::no_product_wait) wait_products<0>();
          if (fault == HopperFault::one_warp_for_all ? t == 0 : t % warp_lanes == 0)
            for (int i = 0; i < (fault == HopperFault::one_warp_for_all ? warpgroup_threads / warp_lanes : 1); ++i) arrive(&barriers[stages + s]);
        }
      }
      for (int j = 0; j < 16; ++j)
        for (int i = 0; i < 4; ++i) d[(t / 32 * 16 + t % 32 / 4 + i / 2 * 8) * 128 + j * 8 + t % 4 * 2 + i % 2] = sums[4 * j + i];
    }
  }
};

}  // namespace

TEST_CASE("emulator: barriers that count bytes, copies of tiles and products of warpgroups, right and with planted faults") {
  Restore restore;
  using emulation::Copies;
  const int steps = 5, K = steps * 64 - 24;  // the last box reaches beyond the matrix
  const std::int64_t ld = K;
  Random random(6);
  std::vector<Bf16> a(static_cast<std::size_t>(64 * ld) + 8), b(static_cast<std::size_t>(128 * ld) + 8);
  for (auto* v : {&a, &b})
    for (Bf16& e : *v) e = to_bf16(static_cast<float>(math::normal(random)));
  std::vector<double> wanted;
  for (int i = 0; i < 64; ++i)
    for (int j = 0; j < 128; ++j) {
      double sum = 0;
      for (int k = 0; k < K; ++k) sum += static_cast<double>(to_float(a[static_cast<std::size_t>(i * ld + k)])) * static_cast<double>(to_float(b[static_cast<std::size_t>(j * ld + k)]));
      wanted.push_back(sum);
    }
  std::vector<float> d;
  auto run = [&](HopperFault fault) {
    d.assign(64 * 128, 0.0f);
    return failure({1, 2 * warpgroup_threads, 1024 + HopperPipeline::stages * (HopperPipeline::a_bytes + HopperPipeline::b_bytes)}, HopperPipeline{tensor_map(a.data(), 64, K, ld, 64), tensor_map(b.data(), 128, K, ld, 128), d.data(), steps, fault});
  };
  auto error = [&] {
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      difference += (static_cast<double>(d[i]) - wanted[i]) * (static_cast<double>(d[i]) - wanted[i]);
      norm += wanted[i] * wanted[i];
    }
    return difference == difference ? std::sqrt(difference / norm) : 1.0;
  };
  // In how many of the orders, of which the random one is tried eight times, a fault is told, or changes the values.
  auto found = [&](HopperFault fault, Copies copies) {
    int n = 0;
    for (Order order : {Order::forward, Order::backward, Order::random}) {
      emulation::options().order = order;
      emulation::options().copies = copies;
      bool seen = false;
      for (int times = order == Order::random ? 8 : 1; times > 0; --times) seen = run(fault) != "nothing" || error() > 1e-5 || seen;
      n += seen;
    }
    return n;
  };
  for (Copies copies : {Copies::early, Copies::late}) {
    CHECK(found(HopperFault::none, copies) == 0);
    CHECK(found(HopperFault::wrong_advance, copies) == 3);
    CHECK(found(HopperFault::wrong_parity, copies) == 3);
    CHECK(found(HopperFault::no_product_wait, copies) == 3);
    CHECK(found(HopperFault::bytes_long, copies) == 3);
  }
  CHECK(found(HopperFault::no_full_wait, Copies::late) == 3);
  CHECK(found(HopperFault::bytes_short, Copies::late) == 3);
  CHECK(found(HopperFault::released_early, Copies::late) >= 2);
  CHECK(found(HopperFault::one_warp_for_all, Copies::late) >= 2);  // the first warp is done, the others read on
  emulation::options().copies = Copies::late;
  CHECK(run(HopperFault::wrong_parity).find("threads wait for others that never come: thread") != std::string::npos);
  CHECK(run(HopperFault::no_product_wait).find("products that it never waited for") != std::string::npos);
}

TEST_CASE("emulator: what threads have copied is a product's after a fence of each, set when it has landed") {
  Restore restore;
  enum class Fence { right, none, before_the_wait, of_one_thread };
  Random random(9);
  std::vector<Bf16> x(192 * 64 + 8);  // 64 rows of the left operand, 128 of the right one
  for (Bf16& e : x) e = to_bf16(static_cast<float>(math::normal(random)));
  std::vector<float> d(64 * 128);
  auto run = [&](Fence fence) {
    const Bf16* const from = x.data();
    float* const to = d.data();
    return failure({1, 128, 1024 + 192 * 128}, of([=] {
      unsigned char* const tile = shared<unsigned char>() + 1024;
      const int t = thread();
      for (int n = t; n < 192 * 8; n += 128) copy_async(tile + swizzle_128(static_cast<std::uint32_t>(n * 16)), from + n * 8, true);
      commit_copies();
      if (fence == Fence::before_the_wait) fence_copies();
      wait_copies<0>();
      if (fence == Fence::right || (fence == Fence::of_one_thread && t == 0)) fence_copies();
      sync();
      float sums[64] = {};
      fence_products();
      for (std::uint32_t k = 0; k < 64; k += 16) multiply<false, false>(sums, matrix_descriptor<false, 64>(shared_address(tile) + 2 * k), matrix_descriptor<false, 64>(shared_address(tile) + 64 * 128 + 2 * k));
      commit_products();
      wait_products<0>();
      for (int j = 0; j < 16; ++j)
        for (int i = 0; i < 4; ++i) to[(t / 32 * 16 + t % 32 / 4 + i / 2 * 8) * 128 + j * 8 + t % 4 * 2 + i % 2] = sums[4 * j + i];
    }));
  };
  for (const emulation::Copies copies : {emulation::Copies::early, emulation::Copies::late}) {
    emulation::options().copies = copies;
    d.assign(d.size(), 0.0f);
    CHECK(run(Fence::right) == "nothing");
    for (std::size_t i = 0; i < 64; ++i)
      for (std::size_t j = 0; j < 128; ++j) {
        double sum = 0;
        for (std::size_t k = 0; k < 64; ++k) sum += static_cast<double>(to_float(x[i * 64 + k])) * static_cast<double>(to_float(x[(64 + j) * 64 + k]));
        CHECK(d[i * 128 + j] == doctest::Approx(sum).epsilon(1e-4));
      }
    for (const Fence fence : {Fence::none, Fence::before_the_wait, Fence::of_one_thread}) CHECK(run(fence).find("which has set no fence since") != std::string::npos);
  }
}

TEST_CASE("emulator: a product of a warpgroup whose left operand is in registers") {
  Restore restore;
  Random random(8);
  std::vector<Bf16> a(64 * 16), b(16 * 128);
  for (auto* v : {&a, &b})
    for (Bf16& e : *v) e = to_bf16(static_cast<float>(math::normal(random)));
  std::vector<float> d(64 * 128);
  const TensorMap map = tensor_map(b.data(), 16, 128, 128, 16);
  const Bf16* left = a.data();
  float* to = d.data();
  for (const emulation::Copies copies : {emulation::Copies::early, emulation::Copies::late}) {
    emulation::options().copies = copies;
    d.assign(d.size(), 0.0f);
    start({1, 128, 1024 + 2 * 16 * 128}, of([=] {
            Barrier* const ready = shared<Barrier>();
            unsigned char* const tile = shared<unsigned char>() + 1024;
            const int t = thread();
            if (t == 0) init_barrier(ready, 1);
            sync();
            if (t == 0) {
              arrive_expecting(ready, 2 * 16 * 128);
              copy_tile(tile, map, 0, 0, ready);
              copy_tile(tile + 16 * 128, map, 0, 64, ready);
            }
            wait_barrier(ready, 0);
            // PTX ISA, "WGMMA .m64nNk16 register fragment layout for matrix A": a0, a1 at the first row; a2, a3 eight further; a4 to a7 the same eight columns further.
            FragmentA fragment{};
            for (int i = 0; i < 8; ++i) {
              const int row = t / 32 * 16 + t % 32 / 4 + (i == 2 || i == 3 || i == 6 || i == 7 ? 8 : 0), column = t % 4 * 2 + i % 2 + (i < 4 ? 0 : 8);
              fragment.r[i / 2] |= static_cast<std::uint32_t>(left[row * 16 + column].bits) << i % 2 * 16;
            }
            float sums[64];
            for (float& x : sums) x = 1.0f;
            const std::uint64_t right = matrix_descriptor<true, 16>(shared_address(tile));
            fence_products();
            multiply<true>(sums, fragment, right);
            multiply<true>(sums, fragment, right);
            commit_products();
            fragment = {};  // has been read
            wait_products<0>();
            for (int j = 0; j < 16; ++j)
              for (int i = 0; i < 4; ++i) to[(t / 32 * 16 + t % 32 / 4 + i / 2 * 8) * 128 + j * 8 + t % 4 * 2 + i % 2] = sums[4 * j + i];
          }));
    for (std::size_t i = 0; i < 64; ++i)
      for (std::size_t j = 0; j < 128; ++j) {
        double sum = 1;
        for (std::size_t k = 0; k < 16; ++k) sum += 2 * static_cast<double>(to_float(a[i * 16 + k])) * static_cast<double>(to_float(b[k * 128 + j]));
        CHECK(d[i * 128 + j] == doctest::Approx(sum).epsilon(1e-5));
      }
  }
}

TEST_CASE("emulator: mma has its operands where PTX's tables of fragments say") {
  Restore restore;
  Random random(11);
  auto draw = [&](std::size_t n) {  // small integers: sums are exact
    std::vector<float> v(n);
    for (float& x : v) x = static_cast<float>(random.below(17)) - 8;
    return v;
  };
  const std::vector<float> a = draw(16 * 16), b = draw(16 * 8), c = draw(16 * 8);
  std::vector<float> got(16 * 8);
  const float *pa = a.data(), *pb = b.data(), *pc = c.data();
  float* to = got.data();
  for (Order order : {Order::forward, Order::backward, Order::random}) {
    emulation::options().order = order;
    got.assign(got.size(), 0.0f);
    start({1, 32, 0}, of([=] {
            // PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type".
            const int group = thread() >> 2, in_group = thread() % 4;
            FragmentA fa{};
            for (int i = 0; i < 8; ++i) {
              const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8, column = in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
              fa.r[i / 2] |= static_cast<std::uint32_t>(to_bf16(pa[row * 16 + column]).bits) << i % 2 * 16;
            }
            FragmentB fb{};
            for (int i = 0; i < 4; ++i) {
              const int row = in_group * 2 + (i & 1) + (i < 2 ? 0 : 8), column = group;
              fb.r[i / 2] |= static_cast<std::uint32_t>(to_bf16(pb[row * 8 + column]).bits) << i % 2 * 16;
            }
            FragmentC fc;
            auto at = [&](int i) { return (i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1); };
            for (int i = 0; i < 4; ++i) fc.v[i] = pc[at(i)];
            mma(fc, fa, fb);
            for (int i = 0; i < 4; ++i) to[at(i)] = fc.v[i];
          }));
    for (std::size_t i = 0; i < 16; ++i)
      for (std::size_t j = 0; j < 8; ++j) {
        float sum = c[i * 8 + j];
        for (std::size_t k = 0; k < 16; ++k) sum += a[i * 16 + k] * b[k * 8 + j];
        CHECK(got[i * 8 + j] == sum);
      }
  }
}

TEST_CASE("emulator: ldmatrix, plain and transposed, of rows that lie anywhere") {
  Restore restore;
  std::vector<std::uint16_t> x(32 * 8);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<std::uint16_t>(i);
  std::vector<std::uint32_t> plain(32 * 4), turned(32 * 4);
  const std::uint16_t* from = x.data();
  std::uint32_t *p = plain.data(), *t = turned.data();
  start({1, 32, 32 * 16}, of([=] {
          // Lane l has the address of row l % 8 of matrix l / 8, which lies in line 5 l + 3 of 32.
          std::uint16_t* const own = shared<std::uint16_t>() + (5 * thread() + 3) % 32 * 8;
          for (int i = 0; i < 8; ++i) own[i] = from[thread() * 8 + i];
          sync_warp();
          std::uint32_t r[4];
          load_matrices<false>(r, own);
          for (int i = 0; i < 4; ++i) p[thread() * 4 + i] = r[i];
          load_matrices<true>(r, own);
          for (int i = 0; i < 4; ++i) t[thread() * 4 + i] = r[i];
        }));
  for (std::uint32_t lane = 0; lane < 32; ++lane)
    for (std::uint32_t m = 0; m < 4; ++m) {
      auto element = [&](std::uint32_t row, std::uint32_t column) { return (m * 8 + row) * 8 + column; };
      const std::uint32_t i = lane / 4, j = lane % 4 * 2;
      CHECK(plain[lane * 4 + m] == (element(i, j) | element(i, j + 1) << 16));
      CHECK(turned[lane * 4 + m] == (element(j, i) | element(j + 1, i) << 16));
    }
}

TEST_CASE("emulator: two floats in a register, the first in its lower half, rounded to even") {
  CHECK(pack(1.0f, -2.0f) == 0xc0003f80u);
  CHECK(pack(1.0f + 0x1p-8f, 1.0f + 0x3p-8f) == 0x3f823f80u);
  CHECK(pack(1.0f + 0x1.02p-8f, 0.0f) == 0x00003f81u);
  CHECK(pack(3.4e38f, -__builtin_inff()) == 0xff807f80u);  // the first is nearer to what would be the next
}

TEST_CASE("emulator: groups of copies: empty ones count, what is in none is not waited for, what is not valid is 16 zeros") {
  Restore restore;
  alignas(16) static const int x[4] = {1, 2, 3, 4};
  for (const emulation::Copies copies : {emulation::Copies::early, emulation::Copies::late}) {
    emulation::options().copies = copies;
    const bool late = copies == emulation::Copies::late;
    std::vector<int> y(8 * 4);
    int* to = y.data();
    start({1, 32, 32 * 5 * 16}, of([=] {
            int(*const own)[4] = shared<int[4]>() + thread() * 5;
            auto look = [&](int moment, int first, int second) {
              if (thread() == 7) to[moment * 2] = own[first][3], to[moment * 2 + 1] = own[second][0];
            };
            copy_async(own[0], x, true);
            commit_copies();
            copy_async(own[1], x, true);
            commit_copies();
            wait_copies<1>();
            look(0, 0, 1);
            commit_copies();
            wait_copies<1>();  // the last group is empty
            look(1, 0, 1);
            for (int i = 0; i < 4; ++i) own[2][i] = own[3][i] = own[4][i] = 77;
            copy_async(own[3], x, false);
            wait_copies<0>();
            if (thread() == 7) to[4] = own[3][0], to[5] = own[2][3];
            commit_copies();
            wait_copies<0>();
            if (thread() == 7)
              for (int i = 0; i < 4; ++i) to[8 + i] = own[3][i];
            if (thread() == 7) to[12] = own[2][3], to[13] = own[4][0];
          }));
    CHECK(y[0] == 4);
    CHECK(y[1] == (late ? -1 : 1));
    CHECK(y[2] == 4);
    CHECK(y[3] == 1);
    CHECK(y[4] == (late ? -1 : 0));
    CHECK(y[5] == 77);
    for (std::size_t i = 8; i < 12; ++i) CHECK(y[i] == 0);
    CHECK(y[12] == 77);
    CHECK(y[13] == 77);
  }
}

TEST_CASE("emulator: descriptors of operands, bit by bit, and where they point") {
  // PTX ISA, "Matrix Descriptor": address / 16 in bits 0 to 13, leading byte offset / 16 from bit 16, stride byte offset / 16 from bit 32, 1 in bits 62 and 63 for the 128-byte swizzle.
  CHECK(matrix_descriptor<false, 64>(0x400) == 0x4000'0040'0001'0040);
  CHECK(matrix_descriptor<true, 64>(0x8000) == 0x4000'0040'0200'0800);
  CHECK(matrix_descriptor<true, 16>(0x3fff0) == 0x4000'0040'0080'3fff);
  // Eight lines of 128 bytes are a stride; of what runs along k in its lines, 64 rows are a leading offset. Chunks of 16 bytes change places with the line.
  CHECK(operand_address(0x4000'0040'0001'0040, false, 9, 3) == 0x400 + 0x400 + 0x80 + 0x10 + 6);
  CHECK(operand_address(0x4000'0040'0001'0040, false, 7, 15) == 0x400 + 7 * 0x80 + 6 * 0x10 + 14);
  CHECK(operand_address(0x4000'0040'0200'0800, true, 70, 9) == 0x8000 + 0x2000 + 0x400 + 0x80 + 0x10 + 12);
  CHECK(operand_address(0x4000'0040'0200'0800, true, 63, 0) == 0x8000 + 126);
}

TEST_CASE("emulator: a product of a warpgroup into 64 columns, of a left operand whose lines run along k, with what was there and without") {
  Restore restore;
  Random random(12);
  std::vector<Bf16> a(32 * 64), b(64 * 64);  // (k, row), (column, k)
  for (auto* v : {&a, &b})
    for (Bf16& e : *v) e = to_bf16(static_cast<float>(random.below(17)) - 8);
  const TensorMap left = tensor_map(a.data(), 32, 64, 64, 32), right = tensor_map(b.data(), 64, 64, 64, 64);
  std::vector<float> d(2 * 64 * 64);
  float* to = d.data();
  for (const emulation::Copies copies : {emulation::Copies::early, emulation::Copies::late}) {
    emulation::options().copies = copies;
    d.assign(d.size(), 0.0f);
    start({1, 128, 1024 + 96 * 128}, of([=] {
            Barrier* const ready = shared<Barrier>();
            unsigned char* const tile = shared<unsigned char>() + 1024;
            const int t = thread();
            if (t == 0) init_barrier(ready, 1);
            sync();
            if (t == 0) {
              arrive_expecting(ready, 96 * 128);
              copy_tile(tile, left, 0, 0, ready);
              copy_tile(tile + 32 * 128, right, 0, 0, ready);
            }
            wait_barrier(ready, 0);
            float sums[32], fresh[32];
            for (int i = 0; i < 32; ++i) sums[i] = fresh[i] = 5;
            const std::uint32_t at = shared_address(tile);
            fence_products();
            for (std::uint32_t k = 0; k < 32; k += 16) multiply<true, false>(sums, matrix_descriptor<true, 32>(at + k * 128), matrix_descriptor<false, 64>(at + 32 * 128 + 2 * k));
            multiply<true, false, false>(fresh, matrix_descriptor<true, 32>(at), matrix_descriptor<false, 64>(at + 32 * 128));
            commit_products();
            wait_products<0>();
            // PTX ISA, "WGMMA .m64nNk16 register fragment layout for accumulator matrix D".
            for (int i = 0; i < 32; ++i) {
              const int row = t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + t % 4 * 2 + i % 2;
              to[row * 64 + column] = sums[i];
              to[64 * 64 + row * 64 + column] = fresh[i];
            }
          }));
    for (std::size_t i = 0; i < 64; ++i)
      for (std::size_t j = 0; j < 64; ++j) {
        float sum = 0, both = 0;
        for (std::size_t k = 0; k < 32; ++k) {
          both += to_float(a[k * 64 + i]) * to_float(b[j * 64 + k]);
          if (k == 15) sum = both;
        }
        CHECK(d[i * 64 + j] == 5 + both);
        CHECK(d[64 * 64 + i * 64 + j] == sum);
      }
  }
}

TEST_CASE("emulator: a tile lies in shared memory as the 128-byte swizzle says, and a map of lines that are not aligned is refused") {
  Restore restore;
  std::vector<Bf16> x(16 * 72);
  for (std::size_t i = 0; i < x.size(); ++i) x[i].bits = static_cast<std::uint16_t>(i);
  std::vector<std::uint16_t> y(16 * 64);
  std::uint16_t* out = y.data();
  const TensorMap map = tensor_map(x.data(), 12, 70, 72, 16);  // 12 lines of 70 elements: the rest of the box is 0
  start({1, 128, 1024 + 16 * 128}, of([=] {
          Barrier* const b = shared<Barrier>();
          unsigned char* const tile = shared<unsigned char>() + 1024;
          if (thread() == 0) init_barrier(b, 1);
          sync();
          if (thread() == 0) {
            arrive_expecting(b, 16 * 128);
            copy_tile(tile, map, 1, 8, b);
          }
          wait_barrier(b, 0);
          for (int i = thread(); i < 16 * 64; i += 128) out[i] = reinterpret_cast<const std::uint16_t*>(tile)[i];
        }));
  for (int line = 0; line < 16; ++line)
    for (int j = 0; j < 64; ++j) {
      const bool inside = line + 1 < 12 && j + 8 < 70;
      const int chunk = j / 8 ^ line % 8;  // PTX ISA, "Swizzling modes"
      CHECK(y[static_cast<std::size_t>(line * 64 + chunk * 8 + j % 8)] == (inside ? (line + 1) * 72 + j + 8 : 0));
    }
  CHECK_THROWS_AS(tensor_map(x.data(), 12, 70, 70, 16), Error);
  CHECK_THROWS_AS(tensor_map(x.data() + 1, 12, 64, 72, 16), Error);
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
TEST_CASE("race: a matrix that lanes have written, loaded without sync_warp" * doctest::skip(true)) {
  std::vector<std::uint32_t> y(32);
  std::uint32_t* p = y.data();
  start({1, 32, 32 * 16}, of([=] {
          const int lane = thread();
          std::uint16_t* const row = shared<std::uint16_t>() + lane * 8;
          for (int i = 0; i < 8; ++i) row[i] = 1;
          std::uint32_t r[4];
          load_matrices<false>(r, row);
          p[lane] = r[0];
        }));
  CHECK(y[0] == 0x10001);
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
