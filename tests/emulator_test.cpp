// The emulation of the device, tested against what CUDA says and not against our kernels: shuffles and barriers, and what it finds in kernels that are wrong.
#if !defined(__SANITIZE_THREAD__)  // of g++, which cannot follow its fibers
#include <doctest/doctest.h>

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
