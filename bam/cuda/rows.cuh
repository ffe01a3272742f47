// Rows by index: gather and scatter, as cpu/rows.inl says.
#pragma once
#include "device.cuh"

namespace bam::cuda {

template <class Args>
BAM_DEVICE std::int64_t row_index(const Args& s, std::int64_t i) {
  return s.index32 ? s.index32[i] : s.index[i];
}

template <class X, class Y, int V>
struct GatherKernel {
  GatherArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t groups = s.columns / V, i = flat_index();
    if (i >= s.rows * groups) return;
    const std::int64_t r = i / groups, c = i % groups * V;
    Y* y = static_cast<Y*>(s.y) + r * s.y_row + c;
    bool any = s.write == Write::add;
    float total[V] = {};
    if (any) load_few(static_cast<const Y*>(s.from ? s.from : s.y) + r * s.y_row + c, total);
    for (std::int64_t j = r * s.terms; j < (r + 1) * s.terms; ++j) {
      const std::int64_t from = row_index(s, j);
      if (from < 0) continue;
      float x[V];
      load_few(static_cast<const X*>(s.x) + from * s.x_row + c, x);
      BAM_UNROLL
      for (int v = 0; v < V; ++v) total[v] = any ? total[v] + x[v] : x[v];
      any = true;
    }
    store_few(y, total, false);
  }
};
inline void gather(const Exec& exec, const GatherArgs& s) {
  const bool aligned = aligned_lines(s.x, s.x_row, s.columns) && aligned_lines(s.y, s.y_row, s.columns) && aligned_lines(s.from, s.y_row, s.columns);
  with_type(s.dtype, [&]<class X>(X) {
    with_type(s.out, [&]<class Y>(Y) { with_width(aligned, [&](auto v) { launch(exec, flat_grid(s.rows * s.columns / v), GatherKernel<X, Y, v>{s}); }); });
  });
}

// scatter: each row of x is told which is the next of the same index, and whether it is the first; then one block walks the chain of each index that is there, in the order of the rows, so that the sums
// have the CPU's bits without a sort and without atomics. The comparisons are rows^2, of integers in shared memory: less than the sums for micro-batches up to some 64k rows.
inline constexpr int scatter_threads = 128;
inline constexpr std::int32_t not_first = -1;

struct ScatterClearKernel {
  ScatterArgs s;
  BAM_DEVICE void operator()() const {
    if (const std::int64_t i = flat_index(); i < s.targets * s.columns) s.y[i / s.columns * s.y_row + i % s.columns] = 0.0f;
  }
};
struct ScatterChainKernel {  // next[r]: the next row of r's index, or s.rows; first[r]: r, or not_first
  ScatterArgs s;
  std::int32_t *next, *first;
  BAM_DEVICE void operator()() const {
    std::int64_t* tile = shared<std::int64_t>();
    const std::int64_t r = flat_index(), own = r < s.rows ? row_index(s, r) : -1;
    std::int64_t found = s.rows;
    bool leads = own >= 0;
    for (std::int64_t begin = 0; begin < s.rows; begin += scatter_threads) {
      tile[thread()] = begin + thread() < s.rows ? row_index(s, begin + thread()) : -1;
      sync();
      for (int i = 0; i < scatter_threads; ++i) {
        const bool same = own >= 0 && tile[i] == own;
        leads = leads && !(same && begin + i < r);
        if (same && begin + i > r && found == s.rows) found = begin + i;
      }
      sync();
    }
    if (r >= s.rows) return;
    next[r] = static_cast<std::int32_t>(found);
    first[r] = leads ? static_cast<std::int32_t>(r) : not_first;
  }
};
struct ScatterSumKernel {
  ScatterArgs s;
  const std::int32_t *next, *first;
  BAM_DEVICE void operator()() const {
    const std::int64_t begin = block();
    if (first[begin] == not_first) return;
    float* y = s.y + row_index(s, begin) * s.y_row;
    for (std::int64_t c = thread(); c < s.columns; c += block_threads()) {
      float total = y[c];
      for (std::int64_t r = begin; r < s.rows; r = next[r]) total += s.x[r * s.x_row + c];
      y[c] = total;
    }
  }
};
inline void scatter(const Exec& exec, const ScatterArgs& s) {
  if (s.write == Write::overwrite) launch(exec, flat_grid(s.targets * s.columns), ScatterClearKernel{s});
  if (s.rows == 0 || s.columns == 0) return;
  auto* next = static_cast<std::int32_t*>(exec.scratch(exec.pool, exec.workers, static_cast<std::size_t>(2 * s.rows) * sizeof(std::int32_t)));
  launch(exec, {ceil_div(s.rows, scatter_threads), scatter_threads, scatter_threads * sizeof(std::int64_t)}, ScatterChainKernel{s, next, next + s.rows});
  launch(exec, {s.rows, scatter_threads, 0}, ScatterSumKernel{s, next, next + s.rows});
}

}  // namespace bam::cuda
