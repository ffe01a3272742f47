// What the machine can do at most, measured: fp32 FMA from registers in one instruction set, and memory out of cache. All threads
// of the pool take part, and the best of several short rounds counts: other work can only make a round slower.
#pragma once
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "bam/tensor/kernel.hpp"
#include "bam/tensor/storage.hpp"

namespace bam::bench {

struct Limits {  // per second
  double fma = 0;                                // FLOP
  double read = 0, write = 0, copy = 0, triad = 0;  // bytes a program asks for; what a store fetches first is not counted
};

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

// One 64-byte line at a time. 16-byte registers suffice: memory is slower than they are.
template <class F>
void each_line(std::int64_t begin, std::int64_t end, F f) {
  for (std::int64_t i = begin; i < end; i += 16)
    for (int j = 0; j < 16; j += 4) f(i + j, j / 4);
}

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
    cpu::pool().parallel(window / piece, call, &task);
    best = std::max(best, each * static_cast<double>(window) / std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

inline Limits measure_limits(cpu::Isa isa) {
  Limits l;
  auto fma = isa == cpu::Isa::avx512 ? fma_avx512 : isa == cpu::Isa::avx2 ? fma_avx2 : fma_base;
  const std::int64_t tasks = 8 * threads(), times = 1 << 15;
  auto arithmetic = [&] { l.fma = std::max(l.fma, best_rate(fma(times), tasks, tasks, 1, 250, [&](std::int64_t, std::int64_t) { fma(times); })); };

  // Three arrays, together at least 384 MiB and four times the last level cache.
  const std::int64_t n = std::max<std::int64_t>(128 << 20, 4 * sysconf(_SC_LEVEL3_CACHE_SIZE) / 3) >> 24 << 22;
  const std::int64_t window = 1 << 22, piece = 1 << 17;
  Storage sa(4 * n), sb(4 * n), sc(4 * n);
  float *a = static_cast<float*>(sa.data()), *b = static_cast<float*>(sb.data()), *c = static_cast<float*>(sc.data());
  const __m128 k = _mm_set1_ps(0.5f);
  auto rate = [&](double bytes, auto body) {
    auto lines = [&](std::int64_t begin, std::int64_t end) {
      each_line(begin, end, body);
      _mm_sfence();
    };
    return best_rate(bytes, n, window, piece, static_cast<int>(8 * n / window), lines);
  };
  arithmetic();  // and again below: a quiet moment is enough
  for (float* x : {a, b, c}) rate(4, [=](std::int64_t i, int) { _mm_store_ps(x + i, k); });  // pages are there from now on
  arithmetic();
  // Stores past the cache or through it, or in place: whichever this machine does better.
  l.write = std::max(rate(4, [=](std::int64_t i, int) { _mm_stream_ps(a + i, k); }), rate(4, [=](std::int64_t i, int) { _mm_store_ps(a + i, k); }));
  l.copy = std::max({rate(8, [=](std::int64_t i, int) { _mm_stream_ps(a + i, _mm_load_ps(b + i)); }),
                     rate(8, [=](std::int64_t i, int) { _mm_store_ps(a + i, _mm_load_ps(b + i)); }),
                     rate(8, [=](std::int64_t i, int) { _mm_store_ps(a + i, _mm_mul_ps(k, _mm_load_ps(a + i))); })});
  arithmetic();
  l.triad = std::max(rate(12, [=](std::int64_t i, int) { _mm_stream_ps(a + i, _mm_add_ps(_mm_load_ps(b + i), _mm_mul_ps(k, _mm_load_ps(c + i)))); }),
                     rate(12, [=](std::int64_t i, int) { _mm_store_ps(a + i, _mm_add_ps(_mm_load_ps(b + i), _mm_mul_ps(k, _mm_load_ps(c + i)))); }));
  l.read = best_rate(4, n, window, piece, static_cast<int>(8 * n / window), [=](std::int64_t begin, std::int64_t end) {
    __m128 sum[4] = {};
    each_line(begin, end, [&](std::int64_t i, int j) { sum[j] = _mm_add_ps(sum[j], _mm_load_ps(b + i)); });
    for (__m128& s : sum) asm volatile("" : "+x"(s));
  });
  arithmetic();
  return l;
}

}  // namespace bam::bench
