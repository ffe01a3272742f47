// What this machine has: processor, memory, GPU; and how fast a GEMM runs.
#pragma once
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "bam/cpu/backend.hpp"
#include "bam/cpu/parallel.hpp"

namespace bam::app {

// The value of the first line "key : value" of a /proc file; "" when there is none.
inline std::string proc_value(const char* path, std::string_view key) {
  std::string found;
  std::FILE* f = std::fopen(path, "r");
  if (!f) return found;
  char line[4096];
  while (found.empty() && std::fgets(line, sizeof line, f)) {
    std::string_view s(line);
    if (!s.starts_with(key)) continue;
    std::size_t colon = s.find(':');
    if (colon == s.npos) continue;
    s.remove_prefix(colon + 1);
    while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
    while (!s.empty() && (s.back() == '\n' || s.back() == ' ')) s.remove_suffix(1);
    found = s;
  }
  std::fclose(f);
  return found;
}

inline std::int64_t memory_bytes() {
  return static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::int64_t>(sysconf(_SC_PAGESIZE));
}

// "" when CUDA can be used, else what was looked for and is not there.
inline std::string cuda_missing() {
#ifndef BAM_CUDA
  return "this build has no CUDA backend";
#else
  if (access("/dev/nvidiactl", F_OK) != 0) return "no /dev/nvidiactl, so no NVIDIA driver";
  return "";
#endif
}

// C = A B of size n on one instruction set.
inline void gemm_on(cpu::Isa isa, std::int64_t M, std::int64_t N, std::int64_t K, const float* A, const float* B, float* C) {
  GemmArgs a;
  a.M = M, a.N = N, a.K = K;
  a.A = A, a.lda = K, a.B = B, a.ldb = N, a.C = C, a.ldc = N;
  cpu::table(isa).gemm(cpu::pool().exec(), a);
}

// FLOP/s of a 512 x 1024 x 1024 GEMM on all threads: the best of what a fifth of a second allows.
inline double measured_rate() {
  const std::int64_t M = 512, N = 1024, K = 1024;
  std::vector<float> a(static_cast<std::size_t>(M * K), 0.5f), b(static_cast<std::size_t>(K * N), 0.25f), c(static_cast<std::size_t>(M * N));
  using Clock = std::chrono::steady_clock;
  double best = 0;
  for (auto start = Clock::now(); Clock::now() - start < std::chrono::milliseconds(200);) {
    auto t = Clock::now();
    gemm_on(cpu::isa(), M, N, K, a.data(), b.data(), c.data());
    double seconds = std::chrono::duration<double>(Clock::now() - t).count();
    best = std::max(best, 2.0 * static_cast<double>(M * N * K) / seconds);
  }
  return best;
}

}  // namespace bam::app
