// The CPU backend: one source, three instruction sets, chosen at run time. Each kernel header is read three times, inside
// its own namespace and target region, so no compiler flag is needed and nothing inline leaks between instruction sets.
// BAM_ISA=base|avx2|avx512 in the environment forces one. base is exact and slow: the oracle, not a product.
#pragma once
// g++ 12 warns falsely of its own AVX-512 intrinsics.
#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <type_traits>

#include "../core/bf16.hpp"
#include "../core/error.hpp"
#include "../core/math.hpp"
#include "../core/random.hpp"
#include "../kernels.hpp"

namespace bam::cpu {
enum class Isa { base, avx2, avx512 };
#ifdef BAM_COMPILED
namespace base { extern const KernelTable table; }
namespace avx2 { extern const KernelTable table; }
namespace avx512 { extern const KernelTable table; }
#endif
}  // namespace bam::cpu

#ifndef BAM_COMPILED
#define BAM_LEVEL 0
#include "isa.inl"
#undef BAM_LEVEL
#define BAM_LEVEL 1
#include "isa.inl"
#undef BAM_LEVEL
#define BAM_LEVEL 2
#include "isa.inl"
#undef BAM_LEVEL
#endif  // BAM_COMPILED

namespace bam::cpu {

inline bool supported(Isa isa) {
  switch (isa) {
    case Isa::base: return true;
    case Isa::avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && supported(Isa::avx2);
  }
  return false;
}
inline const char* name_of(Isa isa) { return isa == Isa::base ? "base" : isa == Isa::avx2 ? "avx2" : "avx512"; }
inline const KernelTable& table(Isa isa) {
  return isa == Isa::base ? base::table : isa == Isa::avx2 ? avx2::table : avx512::table;
}

namespace detail {
inline Isa choose() {
  const char* wish = std::getenv("BAM_ISA");
  for (Isa isa : {Isa::avx512, Isa::avx2, Isa::base}) {
    if (wish && *wish ? std::string_view(wish) != name_of(isa) : !supported(isa)) continue;
    if (!supported(isa))
      fail(ErrorKind::limit, "isa.absent", "BAM_ISA: this processor has no ", wish, "; unset it or set base");
    return isa;
  }
  fail(ErrorKind::usage, "isa.unknown", "BAM_ISA: wanted base, avx2 or avx512, got '", printable(wish), "'");
}
inline Isa& current() {
  static Isa isa = choose();
  return isa;
}
}  // namespace detail

inline Isa isa() { return detail::current(); }
// Switches the whole process; for tests and benchmarks, never while a kernel runs.
inline void use(Isa isa) {
  check(supported(isa), "isa.absent", "this processor has no ", name_of(isa));
  detail::current() = isa;
}
inline const KernelTable& table() { return table(isa()); }

}  // namespace bam::cpu
