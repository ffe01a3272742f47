// All that is special about the device, under names of its own: thread indices, shared memory, barriers, shuffles, and launch(), which starts a kernel.
// nvcc sees the instructions. g++ and clang++ see twins that run the same kernel source on the CPU, one fiber per CUDA thread (emulator.hpp). No other file of this
// folder may ask which compiler or architecture it is (tests/headers.sh looks).
//
// Rules for a kernel. It is a struct of plain values with BAM_DEVICE void operator()() const. Blocks are one-dimensional, of whole warps. Collectives (sync,
// sync_warp, shuffles) are reached by all threads of the block or warp: predicate, never return early. Shuffles order no memory, barriers do. Shared memory is one
// struct or array, shared<T>(), as large as launch() was told.
#pragma once

#if defined(__CUDACC__)
#define BAM_INLINE __host__ __device__ __forceinline__
#define BAM_DEVICE __device__ __forceinline__
#else
#define BAM_DEVICE inline __attribute__((always_inline))
#endif

#include <cstdint>

#include "../core/math.hpp"
#include "../kernels.hpp"

#if defined(__CUDACC__)
#include "runtime.cuh"
#else
#include "emulator.hpp"
#endif

namespace bam::cuda {

inline constexpr int warp_lanes = 32;

// A grid: blocks of `threads`, a multiple of 32, with so many bytes of shared memory each.
struct Grid {
  std::int64_t blocks = 0;
  int threads = 128;
  std::int64_t shared_bytes = 0;
};

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
template <class T>
BAM_DEVICE T* shared() {
  extern __shared__ __align__(128) unsigned char shared_bytes[];
  return reinterpret_cast<T*>(shared_bytes);
}
template <class K>
__global__ void entry(const __grid_constant__ K kernel) {
  kernel();
}
template <class K>
void launch(const Exec& exec, Grid grid, const K& kernel) {
  if (grid.blocks <= 0) return;
  allow_shared(reinterpret_cast<const void*>(&entry<K>), grid.shared_bytes);
  entry<K><<<static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.threads), static_cast<std::size_t>(grid.shared_bytes), stream_of(exec)>>>(kernel);
  check_launch();
}

#else

BAM_DEVICE int thread() { return emulation::running().thread; }
BAM_DEVICE int block_threads() { return emulation::running().threads; }
BAM_DEVICE std::int64_t block() { return emulation::running().block; }
BAM_DEVICE std::int64_t grid_blocks() { return emulation::running().blocks; }
BAM_DEVICE void sync(int line = __builtin_LINE()) { emulation::sync(line); }
BAM_DEVICE void sync_warp(int line = __builtin_LINE()) { emulation::exchange(nullptr, 0, line); }
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
inline int multiprocessors() { return emulation::options().multiprocessors; }
template <class K>
void launch(const Exec&, Grid grid, const K& kernel) {
  emulation::run(grid.blocks, grid.threads, grid.shared_bytes, [](const void* k) { (*static_cast<const K*>(k))(); }, &kernel);
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
// Writes x, or adds it to what is there.
BAM_DEVICE void put(float* p, float x, bool add) { *p = add ? *p + x : x; }
BAM_INLINE std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
BAM_INLINE std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
BAM_INLINE std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

}  // namespace bam::cuda
