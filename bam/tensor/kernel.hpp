// How the floors above reach the kernels: bam::kernel::gemm(args) runs the row on the threads of this process, bam::kernel::gemm(args, Device::cuda) on the GPU, where
// the pointers of args are the GPU's. With a profiler set, each call's time and floating-point operations are added up under the row's name.
#pragma once
#include <chrono>
#include <cstdint>
#include <utility>

#include "../cpu/backend.hpp"
#include "../cpu/parallel.hpp"
#include "../kernels.hpp"
#include "device.hpp"

namespace bam {

inline void set_threads(int n) { cpu::pool().resize(n); }
inline int threads() { return cpu::pool().workers(); }

enum class Row : int {
#define BAM_ROW(name, Args) name,
  BAM_KERNELS(BAM_ROW)
#undef BAM_ROW
      count
};
inline const char* name_of(Row row) {
  static constexpr const char* names[] = {
#define BAM_ROW(name, Args) #name,
      BAM_KERNELS(BAM_ROW)
#undef BAM_ROW
  };
  return names[static_cast<int>(row)];
}

struct Profile {
  struct Entry {
    std::int64_t calls = 0;
    double seconds = 0, flops = 0;
  };
  Entry rows[static_cast<int>(Row::count)];
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
template <class Args>
double flops(Row, const Args&) {
  return 0;
}
inline double flops(Row, const GemmArgs& a) {
  return 2.0 * static_cast<double>(a.batch) * static_cast<double>(a.M) * static_cast<double>(a.N) * static_cast<double>(a.K);
}
inline double flops(Row, const GroupedGemmArgs& a) {
  double rows = static_cast<double>(a.offsets[a.experts]);
  return 2.0 * rows * static_cast<double>(a.N) * static_cast<double>(a.weights ? a.M : a.K);
}
inline double flops(Row row, const AttentionArgs& a) {  // causal counted at half
  double pairs = 0;
  for (std::int64_t s = 0; s < a.segments; ++s) {
    double q = static_cast<double>(a.segment[s].q_length), k = static_cast<double>(a.segment[s].k_length);
    pairs += a.causal ? q * (k - q / 2) : q * k;
  }
  return (row == Row::attention_forward ? 4.0 : 10.0) * pairs * static_cast<double>(a.heads * a.head_dim);
}

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
  auto& entry = p->rows[static_cast<int>(row)];
  entry.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (device == Device::cpu) entry.flops += flops(row, args);  // they hang on what the args point to
  ++entry.calls;
}
}  // namespace detail

namespace kernel {
#define BAM_ROW(name, Args) \
  inline void name(const Args& args, Device device = Device::cpu) { detail::launch(Row::name, &KernelTable::name, args, device); }
BAM_KERNELS(BAM_ROW)
#undef BAM_ROW
}  // namespace kernel

}  // namespace bam
