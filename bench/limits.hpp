// What the machine can do at most, measured: fp32 FMA from registers in one instruction set, and memory out of cache. All threads
// of the pool take part, and the best of several short rounds counts: other work can only make a round slower.
#pragma once
#include <unistd.h>

#include <algorithm>

#include "bam/cpu/peak.hpp"
#include "bam/tensor/kernel.hpp"
#include "bam/tensor/storage.hpp"

namespace bam::bench {

struct Limits {  // per second
  double fma = 0;                                // FLOP
  double read = 0, write = 0, copy = 0, triad = 0;  // bytes a program asks for; what a store fetches first is not counted
};

// One 64-byte line at a time. 16-byte registers suffice: memory is slower than they are.
template <class F>
void each_line(std::int64_t begin, std::int64_t end, F f) {
  for (std::int64_t i = begin; i < end; i += 16)
    for (int j = 0; j < 16; j += 4) f(i + j, j / 4);
}

inline Limits measure_limits(cpu::Isa isa) {
  Limits l;
  auto arithmetic = [&] { l.fma = std::max(l.fma, cpu::peak_flops(isa, 250)); };

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
    return cpu::best_rate(bytes, n, window, piece, static_cast<int>(8 * n / window), lines);
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
  l.read = cpu::best_rate(4, n, window, piece, static_cast<int>(8 * n / window), [=](std::int64_t begin, std::int64_t end) {
    __m128 sum[4] = {};
    each_line(begin, end, [&](std::int64_t i, int j) { sum[j] = _mm_add_ps(sum[j], _mm_load_ps(b + i)); });
    for (__m128& s : sum) asm volatile("" : "+x"(s));
  });
  arithmetic();
  return l;
}

}  // namespace bam::bench
