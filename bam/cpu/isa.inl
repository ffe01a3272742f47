// Reads the kernels for the instruction set BAM_LEVEL (0 base, 1 AVX2, 2 AVX-512), inside its namespace and target
// region. Contraction of a * b + c is off whatever the flags of the file around it.
#if defined(__clang__)
#pragma clang fp contract(off)
#else
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off", "no-fast-math")
#endif

#if BAM_LEVEL == 0
namespace bam::cpu::base {
#include "kernels.inl"
}
#elif BAM_LEVEL == 1
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
namespace bam::cpu::avx2 {
#include "kernels.inl"
}
#else
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#endif
namespace bam::cpu::avx512 {
#include "kernels.inl"
}
#endif

#if !defined(__clang__)
#pragma GCC pop_options
#elif BAM_LEVEL != 0
#pragma clang attribute pop
#endif
