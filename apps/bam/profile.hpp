// What the machine can do, and where a run's time went.
#pragma once
#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "bam/tensor/kernel.hpp"
#include "output.hpp"

namespace bam::app {

// fp32 FLOP/s of a GEMM whose operands stay in cache, on all threads: the practical limit here. Best of a few runs.
inline double peak_flops() {
  constexpr std::int64_t m = 480, n = 768, k = 384;
  std::vector<float> a(m * k, 0.5f), b(k * n, 0.25f), c(m * n);
  GemmArgs g;
  g.M = m;
  g.N = n;
  g.K = k;
  g.A = a.data();
  g.lda = k;
  g.B = b.data();
  g.ldb = n;
  g.C = c.data();
  g.ldc = n;
  double best = 1e30;
  for (int i = 0; i < 8; ++i) {
    auto start = std::chrono::steady_clock::now();
    cpu::table().gemm(cpu::pool().exec(), g);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return 2.0 * m * n * k / best;
}

// Bytes that a process may still take: the smaller of the system's and, where one is set, the control group's.
inline std::int64_t memory_available() {
  std::int64_t bytes = INT64_MAX;
  std::ifstream info("/proc/meminfo");
  for (std::string key; info >> key;) {
    std::int64_t value = 0;
    if (key == "MemAvailable:" && info >> value) bytes = value * 1024;
    std::getline(info, key);
  }
  std::ifstream limit_file("/sys/fs/cgroup/memory.max"), used_file("/sys/fs/cgroup/memory.current");
  std::int64_t limit = 0, used = 0;
  if (limit_file >> limit && used_file >> used) bytes = std::min(bytes, limit - used);
  return bytes;
}

inline std::string profile_table(const Profile& profile, double wall, double limit) {
  Table table;
  table.add({"kernel", "calls", "seconds", "of run", "GFLOP/s", "of limit"});
  std::vector<int> order;
  double total = 0;
  for (int i = 0; i < static_cast<int>(Row::count); ++i) {
    if (profile.rows[i].calls) order.push_back(i);
    total += profile.rows[i].seconds;
  }
  std::sort(order.begin(), order.end(), [&](int a, int b) { return profile.rows[a].seconds > profile.rows[b].seconds; });
  for (int i : order) {
    const auto& e = profile.rows[i];
    double rate = e.flops / e.seconds;
    table.add({name_of(static_cast<Row>(i)), str(e.calls), fmt::format("{:.3f}", e.seconds), fmt::format("{:.1f}%", 100 * e.seconds / wall),
               e.flops > 0 ? fmt::format("{:.0f}", rate / 1e9) : "-", e.flops > 0 ? fmt::format("{:.0f}%", 100 * rate / limit) : "-"});
  }
  table.add({"outside kernels", "", fmt::format("{:.3f}", wall - total), fmt::format("{:.1f}%", 100 * (wall - total) / wall), "", ""});
  return table.text();
}

}  // namespace bam::app
