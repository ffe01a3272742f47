// What the processor can do at most, measured: fp32 FMA from registers in one instruction set, on all threads of the pool. The best
// of many short rounds counts: other work can only make a round slower.
#pragma once
#include <algorithm>
#include <chrono>

#include "backend.hpp"
#include "parallel.hpp"

namespace bam::cpu {

namespace detail {
// Independent chains, enough to cover the latency of the instruction. base has no FMA: a multiplication and an addition.
#define BAM_FMA_LOOP(isa, features, bytes, chains, instruction)                                                         \
  __attribute__((target(features), noinline)) inline double fma_##isa(std::int64_t times) {                             \
    typedef float V __attribute__((vector_size(bytes)));                                                                \
    V c[chains] = {}, a = V{} + 0.5f, b = a;                                                                            \
    for (std::int64_t n = times; n > 0; --n)                                                                            \
      _Pragma("GCC unroll 24") for (int i = 0; i < chains; ++i) asm volatile(instruction : "+v"(c[i]) : "v"(a), "v"(b)); \
    return 2.0 * chains * (bytes / 4) * static_cast<double>(times);                                                     \
  }
BAM_FMA_LOOP(base, "sse2", 16, 12, "mulps %1, %0\n\taddps %2, %0")
BAM_FMA_LOOP(avx2, "avx2,fma", 32, 12, "vfmadd231ps %1, %2, %0")
BAM_FMA_LOOP(avx512, "avx512f", 64, 24, "vfmadd231ps %1, %2, %0")
#undef BAM_FMA_LOOP
}  // namespace detail

// Best rate of body(begin, end) over windows of [0, n), one after the other, `rounds` of them, each in pieces for the threads. `each`
// is the work of one index. Windows take less than a time slice, so that some are not interrupted.
template <class F>
double best_rate(double each, std::int64_t n, std::int64_t window, std::int64_t piece, int rounds, F body) {
  using Clock = std::chrono::steady_clock;
  double best = 0;
  std::int64_t at = 0;
  auto task = [&](std::int64_t i) { body(at + i * piece, at + (i + 1) * piece); };
  auto call = [](void* f, std::int64_t i, int) { (*static_cast<decltype(task)*>(f))(i); };
  for (int r = 0; r < rounds; ++r, at = at + 2 * window <= n ? at + window : 0) {
    auto start = Clock::now();
    pool().parallel(window / piece, call, &task);
    best = std::max(best, each * static_cast<double>(window) / std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

// FLOP/s of `rounds` rounds of about a millisecond each.
inline double peak_flops(Isa isa, int rounds) {
  auto fma = isa == Isa::avx512 ? detail::fma_avx512 : isa == Isa::avx2 ? detail::fma_avx2 : detail::fma_base;
  const std::int64_t tasks = 8 * pool().workers(), times = 1 << 15;
  return best_rate(fma(times), tasks, tasks, 1, rounds, [&](std::int64_t, std::int64_t) { fma(times); });
}

}  // namespace bam::cpu
