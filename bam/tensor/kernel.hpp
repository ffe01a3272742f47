// How the floors above reach the kernels: bam::kernel::gemm(args) runs the row on the threads of this process, bam::kernel::gemm(args, Device::cuda) on the GPU, where
// the pointers of args are the GPU's. With a profiler set, each call's time and floating-point operations are added up under the row's name.
#pragma once
#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

#include "../cpu/backend.hpp"
#include "../cpu/parallel.hpp"
#include "../kernels.hpp"
#include "cost.hpp"
#include "device.hpp"

namespace bam {

inline void set_threads(int n) { cpu::pool().resize(n); }
inline int threads() { return cpu::pool().workers(); }

struct Profile {
  struct Entry {
    std::int64_t calls = 0;
    double seconds = 0, flops = 0;
  };
  Entry rows[static_cast<int>(Row::count)];
  struct Call {
    Row row;
    Cost cost;  // nothing on a device, where it hangs on what lies there
    double seconds = 0;
  };
  bool list = false;  // also every call, in order
  std::vector<Call> calls;
};
// Null switches profiling off. One profile a process; the main thread launches.
inline Profile*& profile() {
  static Profile* value = nullptr;
  return value;
}

// How many kernels a device was told to run, by the main thread: a step on one device calls none of another.
inline std::int64_t& launches(Device d) {
  static std::int64_t values[2] = {};
  return values[static_cast<int>(d)];
}

// Another backend's kernels for the whole process, on host memory; null: the CPU's. For tests and benchmarks, never while a kernel runs.
inline const KernelTable*& kernels() {
  static const KernelTable* value = nullptr;
  return value;
}

namespace detail {
// The table and the Exec of a device.
inline std::pair<const KernelTable*, Exec> backend(Device d) {
#ifdef BAM_CUDA
  if (d == Device::cuda) return {&cuda::table, cuda::execution()};
#else
  require_device(d);
#endif
  return {kernels() ? kernels() : &cpu::table(), cpu::pool().exec()};
}
inline void synchronize([[maybe_unused]] Device d) {
#ifdef BAM_CUDA
  if (d == Device::cuda) cuda::synchronize();
#endif
}

template <class Args>
void launch(Row row, void (*KernelTable::*f)(const Exec&, const Args&), const Args& args, Device device) {
  const auto [table, exec] = backend(device);
  ++launches(device);
#if defined(BAM_CUDA) && __has_builtin(__builtin_clear_padding)
  if (device == Device::cuda) {
    Args plain = args;
    __builtin_clear_padding(&plain);
    cuda::check_arguments(&plain, sizeof plain);
  }
#endif
  Profile* p = profile();
  if (!p) return (table->*f)(exec, args);
  synchronize(device);
  auto start = std::chrono::steady_clock::now();
  (table->*f)(exec, args);
  synchronize(device);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  auto& entry = p->rows[static_cast<int>(row)];
  entry.seconds += seconds;
  ++entry.calls;
  Cost least = device == Device::cpu ? cost(row, args) : Cost{};
  entry.flops += least.flops;
  if (p->list) p->calls.push_back({row, std::move(least), seconds});
}
}  // namespace detail

namespace kernel {
#define BAM_ROW(name, Args) \
  inline void name(const Args& args, Device device = Device::cpu) { detail::launch(Row::name, &KernelTable::name, args, device); }
BAM_KERNELS(BAM_ROW)
#undef BAM_ROW
}  // namespace kernel

}  // namespace bam
