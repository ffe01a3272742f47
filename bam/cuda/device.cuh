// All that is special about the device, under names of its own: thread indices, shared memory, barriers, shuffles, and launch(), which starts a kernel.
// nvcc sees the instructions. g++ and clang++ see twins that run the same kernel source on the CPU, one fiber per CUDA thread (emulator.hpp). No other file of this
// folder may ask which compiler or architecture it is (tests/headers.sh looks).
//
// Rules for a kernel. It is a struct of plain values with BAM_DEVICE void operator()() const. Blocks are one-dimensional, of whole warps. Collectives (sync,
// sync_warp, shuffles) are reached by all threads of the block or warp: predicate, never return early. Shuffles order no memory, barriers do. Shared memory is one
// struct or array, shared<T>(), as large as the kernel's shared_bytes.
#pragma once

#if defined(__CUDACC__)
#define BAM_INLINE __host__ __device__ __forceinline__
#define BAM_DEVICE __device__ __forceinline__
#define BAM_UNROLL _Pragma("unroll")
#else
#define BAM_DEVICE inline __attribute__((always_inline))
#define BAM_UNROLL  // what it makes constant, g++ need not
#endif

#include <cstdint>
#include <type_traits>

#include "../core/bf16.hpp"
#include "../kernels.hpp"

#if defined(__CUDACC__)
#include "runtime.cuh"
#else
#include <cmath>
#include <typeinfo>

#include "emulator.hpp"
#endif

namespace bam::cuda {

inline constexpr int warp_lanes = 32;

// What a lane holds of the operands of mma m16n8k16 (PTX ISA, "Matrix fragments for mma.m16n8k16"), g = lane / 4, t = lane % 4, pairs of bf16 in a register, the lower half first:
// a: (row, k) = (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8); b: (k, column) = (2t, g), (2t + 8, g); c: (row, column) = (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
struct FragmentA {
  std::uint32_t r[4];
};
struct FragmentB {
  std::uint32_t r[2];
};
struct FragmentC {
  float v[4];
};

// A grid: blocks of `threads`, a multiple of 32. A block's shared memory is what its kernel says (a constant, shared_bytes), unless the grid says otherwise, for a kernel whose need depends on its arguments.
struct Grid {
  std::int64_t blocks = 0;
  int threads = 128;
  std::int64_t shared_bytes = 0;
};
template <class K>
inline constexpr std::int64_t shared_bytes_of = [] {
  if constexpr (requires { K::shared_bytes; }) return std::int64_t{K::shared_bytes};
  else return std::int64_t{0};
}();

#if defined(__CUDACC__)

BAM_DEVICE int thread() { return static_cast<int>(threadIdx.x); }
BAM_DEVICE int block_threads() { return static_cast<int>(blockDim.x); }
BAM_DEVICE std::int64_t block() { return static_cast<std::int64_t>(blockIdx.x); }
BAM_DEVICE std::int64_t grid_blocks() { return static_cast<std::int64_t>(gridDim.x); }
BAM_DEVICE void sync() { __syncthreads(); }
BAM_DEVICE void sync_warp() { __syncwarp(); }
// The value of the lane whose number differs from the caller's by `mask`, in bits.
template <class T>
BAM_DEVICE T shuffle_xor(T x, int mask) {
  return __shfl_xor_sync(0xffffffffu, x, mask);
}
// The value of a lane.
template <class T>
BAM_DEVICE T shuffle(T x, int lane) {
  return __shfl_sync(0xffffffffu, x, lane);
}
// Starts a copy of 16 bytes to shared memory, or of 16 zeros where it is not valid; `from` is a valid address all the same.
BAM_DEVICE void copy_async(void* to, const void* from, bool valid) {
  const auto at = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
BAM_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most `left` of the caller's groups are under way; others see what has landed after the next barrier.
template <int left>
BAM_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
}
// Four 8 x 8 matrices of 16-bit elements: lane l gives the address of row l % 8 of matrix l / 8, and gets of each matrix the elements (l / 4, 2 (l % 4)) and the next in the row, or, transposed,
// (2 (l % 4), l / 4) and the next in the column.
template <bool transposed>
BAM_DEVICE void load_matrices(std::uint32_t (&r)[4], const void* row) {
  const auto at = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (transposed) asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
  else asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
// c (16, 8) += a (16, 16) b (16, 8), bf16 into float.
BAM_DEVICE void mma(FragmentC& c, const FragmentA& a, const FragmentB& b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c.v[0]), "+f"(c.v[1]), "+f"(c.v[2]), "+f"(c.v[3])
               : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1]));
}
// 2^x to a few units in the last place, and 0 for what is not normal: the unit for it.
BAM_DEVICE float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// 1 / x to a unit in the last place.
BAM_DEVICE float reciprocal_fast(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// The larger one; of a number and a NaN the number.
BAM_DEVICE float larger(float x, float y) { return fmaxf(x, y); }
// Both rounded to bf16, the first in the lower half.
BAM_DEVICE std::uint32_t pack(float low, float high) {
  std::uint32_t y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
template <class T>
BAM_DEVICE T* shared() {
  extern __shared__ __align__(128) unsigned char shared_bytes[];
  return reinterpret_cast<T*>(shared_bytes);
}
// Its shared memory is part of a kernel's name, for profilers and the table of scripts/cuda_compile.sh: ptxas does not know of it.
template <class K, std::int64_t shared_bytes>
__global__ void entry(const __grid_constant__ K kernel) {
  kernel();
}
// Of a kernel that says how many threads its blocks have (most_threads) and how many of them a multiprocessor is to hold at once (resident_blocks).
template <class K, std::int64_t shared_bytes>
__global__ void __launch_bounds__(K::most_threads, K::resident_blocks) bounded_entry(const __grid_constant__ K kernel) {
  kernel();
}
template <class K>
void launch(const Exec& exec, Grid grid, const K& kernel) {
  if (grid.blocks <= 0) return;
  const std::int64_t bytes = grid.shared_bytes ? grid.shared_bytes : shared_bytes_of<K>;
  auto start = [&](auto entry_of) {
    before_launch(reinterpret_cast<const void*>(entry_of), grid.blocks, bytes);
    entry_of<<<static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.threads), static_cast<std::size_t>(bytes), stream_of(exec)>>>(kernel);
  };
  if constexpr (requires { K::most_threads; }) start(bounded_entry<K, shared_bytes_of<K>>);
  else start(entry<K, shared_bytes_of<K>>);
  check_launch();
}

#else

BAM_DEVICE int thread() { return emulation::running().thread; }
BAM_DEVICE int block_threads() { return emulation::running().threads; }
BAM_DEVICE std::int64_t block() { return emulation::running().block; }
BAM_DEVICE std::int64_t grid_blocks() { return emulation::running().blocks; }
BAM_DEVICE void sync(int line = __builtin_LINE()) { emulation::sync(line); }
BAM_DEVICE void sync_warp(int line = __builtin_LINE()) { emulation::exchange(nullptr, 0, line, true); }
template <class T>
BAM_DEVICE T shuffle_xor(T x, int mask, int line = __builtin_LINE()) {
  return static_cast<const T*>(emulation::exchange(&x, sizeof x, line))[(emulation::running().thread % warp_lanes) ^ mask];
}
template <class T>
BAM_DEVICE T shuffle(T x, int lane, int line = __builtin_LINE()) {
  return static_cast<const T*>(emulation::exchange(&x, sizeof x, line))[lane];
}
template <class T>
BAM_DEVICE T* shared() {
  return static_cast<T*>(emulation::shared());
}
BAM_DEVICE void copy_async(void* to, const void* from, bool valid) { emulation::copy(to, from, valid); }
BAM_DEVICE void commit_copies() { emulation::commit_copies(); }
template <int left>
BAM_DEVICE void wait_copies() {
  emulation::wait_copies(left);
}
template <bool transposed>
BAM_DEVICE void load_matrices(std::uint32_t (&r)[4], const void* row, int line = __builtin_LINE()) {
  const void* const* rows = static_cast<const void* const*>(emulation::exchange(&row, sizeof row, line));
  const int lane = emulation::running().thread % warp_lanes;
  if (lane == 0) emulation::count_conflicts(rows, 4);
  for (int m = 0; m < 4; ++m) {
    auto element = [&](int i, int j) { return static_cast<std::uint32_t>(static_cast<const Bf16*>(rows[m * 8 + i])[j].bits); };
    const int i = lane / 4, j = lane % 4 * 2;
    r[m] = transposed ? element(j, i) | element(j + 1, i) << 16 : element(i, j) | element(i, j + 1) << 16;
  }
  emulation::exchange(nullptr, 0, line);  // no lane goes on and overwrites what another still reads
}
// Products are exact and summed in double; the hardware's order is its own, so that results agree to rounding.
BAM_DEVICE void mma(FragmentC& c, const FragmentA& a, const FragmentB& b, int line = __builtin_LINE()) {
  struct Both {
    FragmentA a;
    FragmentB b;
  };
  const Both own{a, b};
  const Both* all = static_cast<const Both*>(emulation::exchange(&own, sizeof own, line));
  auto half = [](std::uint32_t r, int which) { return static_cast<double>(to_float({static_cast<std::uint16_t>(which ? r >> 16 : r)})); };
  const int lane = emulation::running().thread % warp_lanes;
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    double sum = static_cast<double>(c.v[i]);
    for (int k = 0; k < 16; ++k)
      sum += half(all[row % 8 * 4 + k % 8 / 2].a.r[row / 8 + k / 8 * 2], k % 2) * half(all[column * 4 + k % 8 / 2].b.r[k / 8], k % 2);
    c.v[i] = static_cast<float>(sum);
  }
}
BAM_DEVICE float larger(float x, float y) { return std::fmax(x, y); }
BAM_DEVICE std::uint32_t pack(float low, float high) { return to_bf16(low).bits | static_cast<std::uint32_t>(to_bf16(high).bits) << 16; }
BAM_DEVICE float exp2_fast(float x) { return x < -126.0f ? 0.0f : std::exp2(x); }
BAM_DEVICE float reciprocal_fast(float x) { return 1.0f / x; }
inline int multiprocessors() { return emulation::options().multiprocessors; }
template <class K>
void launch(const Exec&, Grid grid, const K& kernel) {
  auto start = [grid](const K& k) {
    static std::int64_t& times = emulation::launches()[typeid(K).name()];
    times += grid.blocks > 0;
    emulation::run(grid.blocks, grid.threads, grid.shared_bytes ? grid.shared_bytes : shared_bytes_of<K>, [](const void* p) { (*static_cast<const K*>(p))(); }, &k);
  };
  if (emulation::waiting()) emulation::wait([start, kernel] { start(kernel); });
  else start(kernel);
}

#endif

// What row kernels share: sixteen lanes a row, in the order of the CPU's sixteen, so that sums have its bits.
inline constexpr int row_lanes = 16, row_threads = 128;
struct RowLane {
  std::int64_t row;
  int lane;
  bool on;  // the row is one
};
BAM_DEVICE RowLane row_lane(std::int64_t rows) {
  const std::int64_t row = (block() * block_threads() + thread()) / row_lanes;
  return {row < rows ? row : 0, thread() % row_lanes, row < rows};
}
inline Grid row_grid(std::int64_t rows) { return {(rows * row_lanes + row_threads - 1) / row_threads, row_threads, 0}; }
inline Grid flat_grid(std::int64_t n) { return {(n + row_threads - 1) / row_threads, row_threads, 0}; }
BAM_DEVICE std::int64_t flat_index() { return block() * block_threads() + thread(); }

// The fixed tree over 16 lanes: 8 + 8, 4 + 4, 2 + 2, 1 + 1. Every lane gets the sum.
template <class T>
BAM_DEVICE T sum_lanes(T x) {
  for (int h = 8; h > 0; h /= 2) x = x + shuffle_xor(x, h);
  return x;
}
// Over a whole block of at most 1024 threads, with shared<T>() of one T a warp: an order that hangs on nothing but the block's size. Reached by all threads, who all get the result.
template <class T, class F>
BAM_DEVICE T reduce_block(T x, F f) {
  for (int h = warp_lanes / 2; h > 0; h /= 2) x = f(x, shuffle_xor(x, h));
  T* each = shared<T>();
  if (thread() % warp_lanes == 0) each[thread() / warp_lanes] = x;
  sync();
  x = each[0];
  for (int w = 1; w < block_threads() / warp_lanes; ++w) x = f(x, each[w]);
  sync();
  return x;
}
// Sum of x over the threads before the caller, of a block of `threads`, with `space` of one T a thread, which is in use until the next barrier. Reached by all threads. Integers alone: the order is not the threads'.
template <int threads, class T>
BAM_DEVICE T scan_block(T x, T* space) {
  static_assert(std::is_integral_v<T>);
  const int t = thread();
  space[t] = x;
  sync();
  for (int d = 1; d < threads; d *= 2) {
    const T add = t >= d ? space[t - d] : T{0};
    sync();
    space[t] += add;
    sync();
  }
  return space[t] - x;
}
inline constexpr int reduce_threads = 256;
template <class T>
inline constexpr std::int64_t reduce_bytes = reduce_threads / warp_lanes * sizeof(T);

// The largest, by the comparisons of the CPU's.
BAM_DEVICE float max_lanes(float x) {
  for (int h = 8; h > 0; h /= 2) {
    const float other = shuffle_xor(x, h);
    x = thread() & h ? math::maximum(x, other) : math::maximum(other, x);
  }
  return x;
}
BAM_DEVICE const float* f32(const void* p) { return static_cast<const float*>(p); }
BAM_DEVICE float* f32(void* p) { return static_cast<float*>(p); }
BAM_DEVICE float value(float x) { return x; }
BAM_DEVICE float value(Bf16 x) { return to_float(x); }
BAM_DEVICE void set(float& to, float x) { to = x; }
BAM_DEVICE void set(Bf16& to, float x) { to = to_bf16(x); }
// At an address that is a multiple of 4.
BAM_DEVICE void set_pair(Bf16* to, float first, float second) {
  struct alignas(4) Pair {
    Bf16 first, second;
  };
  const std::uint32_t both = pack(first, second);
  *reinterpret_cast<Pair*>(to) = {{static_cast<std::uint16_t>(both)}, {static_cast<std::uint16_t>(both >> 16)}};
}
// As bf16 holds them.
BAM_DEVICE void round_two(float (&x)[2]) {
  const std::uint32_t both = pack(x[0], x[1]);
  x[0] = value(Bf16{static_cast<std::uint16_t>(both)});
  x[1] = value(Bf16{static_cast<std::uint16_t>(both >> 16)});
}
// Writes x, or adds it to what is there.
template <class T>
BAM_DEVICE void put(T* p, float x, bool add) {
  set(*p, add ? value(*p) + x : x);
}
// V elements that one load and one store take, or two where they are wider than 16 bytes. Elementwise kernels take `few` a thread where lines allow it: one element a thread leaves too few bytes under
// way, and costs a division each.
inline constexpr int few = 8;
template <class T, int V>
struct alignas(V * sizeof(T) < 16 ? V * sizeof(T) : 16) Few {
  T v[V];
};
template <int V, class T>
BAM_DEVICE void load_few(const T* p, float (&x)[V]) {
  const Few<T, V> all = *reinterpret_cast<const Few<T, V>*>(p);
  BAM_UNROLL
  for (int i = 0; i < V; ++i) x[i] = value(all.v[i]);
}
template <int V, class T>
BAM_DEVICE void store_few(T* p, float (&x)[V], bool add) {
  Few<T, V>* const to = reinterpret_cast<Few<T, V>*>(p);
  if (add) {
    const Few<T, V> before = *to;
    BAM_UNROLL
    for (int i = 0; i < V; ++i) x[i] = value(before.v[i]) + x[i];
  }
  if constexpr (V > 1 && sizeof(T) == 2) {
    Few<std::uint32_t, V / 2> pairs;
    BAM_UNROLL
    for (int i = 0; i < V; i += 2) pairs.v[i / 2] = pack(x[i], x[i + 1]);
    *to = __builtin_bit_cast(Few<T, V>, pairs);
  } else {
    Few<T, V> all;
    BAM_UNROLL
    for (int i = 0; i < V; ++i) set(all.v[i], x[i]);
    *to = all;
  }
}
// What bf16 cannot tell from math::exp and math::sigmoid.
BAM_DEVICE float exp_fast(float x) { return exp2_fast(1.44269504f * x); }
BAM_DEVICE float sigmoid_fast(float x) { return reciprocal_fast(1.0f + exp_fast(0.0f - x)); }
// Lines of `line` elements, ld apart, that begin at multiples of 16 bytes and are made of whole groups of 8.
inline bool aligned_lines(const void* p, std::int64_t ld, std::int64_t line) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0 && ld % 8 == 0 && line % 8 == 0; }
// f with how many elements a thread takes, as a constant: few, or one.
template <class F>
void with_width(bool aligned, F f) {
  if (aligned) f(std::integral_constant<int, few>{});
  else f(std::integral_constant<int, 1>{});
}
// f(T{}) with the type that d names: a kernel for each.
template <class F>
void with_type(DType d, F f) {
  if (d == DType::bf16) f(Bf16{});
  else f(0.0f);
}
BAM_INLINE std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
BAM_INLINE std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
BAM_INLINE std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

}  // namespace bam::cuda
