// Elementary functions of our own, float and double: libm differs between machines and between compile time and run
// time. Only sqrt and fma come from the hardware.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "random.hpp"

#if defined(__clang__) && defined(__FAST_MATH__)
#error "bam: clang's -ffast-math changes results and cannot be switched off for our kernels; compile this file without it"
#endif

#ifndef BAM_INLINE  // cuda/device.cuh has another
#define BAM_INLINE inline __attribute__((always_inline))
#endif

// Contraction of a * b + c is the compiler's choice by default; here it is ours.
#if defined(__clang__)
#pragma clang fp contract(off)
#else
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off", "no-fast-math")
#endif

namespace bam::math {

// float as a V of formulas.inl
BAM_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
BAM_INLINE float maximum(float a, float b) { return a > b ? a : b; }
BAM_INLINE float minimum(float a, float b) { return a < b ? a : b; }
BAM_INLINE float abs(float a) { return __builtin_fabsf(a); }
BAM_INLINE float sqrt(float a) { return std::sqrt(a); }
BAM_INLINE float select(bool m, float a, float b) { return m ? a : b; }
BAM_INLINE float exponent_scale(float t) {
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(t) + 127u) << 23);
}
BAM_INLINE float split(float x, float& m) {
  std::uint32_t b = std::bit_cast<std::uint32_t>(x) - 0x3f3504f3u;
  m = std::bit_cast<float>((b & 0x7fffffu) + 0x3f3504f3u);
  return static_cast<float>(static_cast<std::int32_t>(b) >> 23);
}
#include "formulas.inl"

// double, for tables, schedules and initialisation on the host: within a few ulp on the ranges these need.
inline double exp(double x) {
  if (!(x > -745.0)) return x != x ? x : 0.0;
  if (x > 709.7) return std::numeric_limits<double>::infinity();
  double n = __builtin_floor(x * 1.4426950408889634 + 0.5);
  double r = __builtin_fma(n, -6.93147180369123816490e-01, x);
  r = __builtin_fma(n, -1.90821492927058770002e-10, r);
  double p = 1.0 / 6227020800.0;
  constexpr double c[] = {1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0,
                          1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0};
  for (double k : c) p = __builtin_fma(p, r, k);
  auto half = static_cast<std::int64_t>(n) / 2, rest = static_cast<std::int64_t>(n) - half;
  auto power = [](std::int64_t k) { return std::bit_cast<double>(static_cast<std::uint64_t>(k + 1023) << 52); };
  return p * power(half) * power(rest);
}

inline double log(double x) {
  if (!(x > 0)) return x == 0 ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  if (x == std::numeric_limits<double>::infinity()) return x;
  double e = 0;
  if (x < 0x1p-1022) {
    x *= 0x1p54;
    e = -54;
  }
  auto b = std::bit_cast<std::uint64_t>(x) - 0x3fe6a09e667f3bcdull;
  e += static_cast<double>(static_cast<std::int64_t>(b) >> 52);
  double m = std::bit_cast<double>((b & 0xfffffffffffffull) + 0x3fe6a09e667f3bcdull);
  double s = (m - 1) / (m + 1), z = s * s, p = 0;
  for (int k = 23; k >= 3; k -= 2) p = __builtin_fma(p, z, 1.0 / k);
  double t = __builtin_fma(s * z, p, s) * 2;
  return __builtin_fma(e, 6.93147180369123816490e-01, __builtin_fma(e, 1.90821492927058770002e-10, t));
}

inline double pow(double x, double y) { return exp(y * log(x)); }  // x > 0

struct SinCos {
  double sin, cos;
};
BAM_INLINE SinCos sincos(double x) {  // |x| up to about 1e6
  double n = __builtin_floor(x * 0.63661977236758134308 + 0.5);
  double r = __builtin_fma(n, -1.57079632679489655800e+00, x);
  r = __builtin_fma(n, -6.12323399573676603587e-17, r);
  double z = r * r, s = 0, c = 0;
  constexpr double sc[] = {1.0 / 355687428096000.0, -1.0 / 1307674368000.0, 1.0 / 6227020800.0, -1.0 / 39916800.0,
                           1.0 / 362880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0};
  constexpr double cc[] = {1.0 / 20922789888000.0, -1.0 / 87178291200.0, 1.0 / 479001600.0, -1.0 / 3628800.0,
                           1.0 / 40320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5};
  for (double k : sc) s = __builtin_fma(s, z, k);
  for (double k : cc) c = __builtin_fma(c, z, k);
  s = __builtin_fma(s * z, r, r);
  c = __builtin_fma(c, z, 1.0);
  switch (static_cast<int>(n - 4 * __builtin_floor(n * 0.25))) {  // n mod 4, for every n
    case 0: return {s, c};
    case 1: return {c, -s};
    case 2: return {-s, -c};
    default: return {-c, s};
  }
}
inline double cos(double x) { return sincos(x).cos; }

// Standard normal by Box-Muller from two uniforms of the generator.
inline double normal(Random& random) {
  double u = 1.0 - random.uniform(), v = random.uniform();
  return std::sqrt(-2.0 * log(u)) * cos(6.283185307179586477 * v);
}

}  // namespace bam::math

#if !defined(__clang__)
#pragma GCC pop_options
#endif
