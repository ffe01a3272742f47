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

// scatter: the rows of x are sorted by index, stably, so that those of one index follow each other in their order; then a block walks the rows of each index that is there, for some of the columns. The sums
// have the CPU's bits, without atomics.
inline constexpr int scatter_threads = 128, scatter_ahead = 16;  // rows that a thread reads before it adds the first
struct RowOf {  // index < 0: of no row of y
  std::int32_t index, row;
};

struct ScatterClearKernel {
  ScatterArgs s;
  BAM_DEVICE void operator()() const {
    if (const std::int64_t i = flat_index(); i < s.targets * s.columns) s.y[i / s.columns * s.y_row + i % s.columns] = 0.0f;
  }
};
// One block: digits of 4 bits, the lowest first, each a stable counting sort (Knuth, volume 3, 5.2.5). A thread has rows that follow each other, and a count of each digit among them.
struct ScatterSortKernel {
  ScatterArgs s;
  RowOf *from, *to;  // in turns; sorted() says where the last one leaves them
  static constexpr int threads = 1024, digits = 16, counts = threads * digits, most_threads = threads, resident_blocks = 1;
  static constexpr std::int64_t shared_bytes = (counts + counts / digits + threads) * sizeof(std::int32_t);
  static int passes(std::int64_t targets) {  // what belongs to no target comes last
    int n = 0;
    for (; targets > 0; targets /= digits) ++n;
    return n;
  }
  RowOf* sorted() const { return passes(s.targets) % 2 ? to : from; }
  BAM_INLINE static int place(int count) { return count + count / digits; }  // a thread's `digits` neighbours meet in no bank with another's

  BAM_DEVICE void operator()() const {
    auto *count = shared<std::int32_t>(), *sums = count + counts + counts / digits;
    const int t = thread();
    const std::int64_t each = ceil_div(s.rows, threads), begin = smaller(s.rows, t * each), end = smaller(s.rows, begin + each);
    RowOf *x = from, *y = to;
    for (std::int64_t r = begin; r < end; ++r) x[r] = {static_cast<std::int32_t>(row_index(s, r)), static_cast<std::int32_t>(r)};
    for (int shift = 0; s.targets >> shift > 0; shift += 4) {
      auto digit = [&](const RowOf& r) { return static_cast<int>((r.index < 0 ? s.targets : r.index) >> shift & (digits - 1)); };
      for (int d = 0; d < digits; ++d) count[place(d * threads + t)] = 0;
      for (std::int64_t r = begin; r < end; ++r) ++count[place(digit(x[r]) * threads + t)];
      sync();
      std::int32_t own = 0;
      for (int c = 0; c < digits; ++c) own += count[place(t * digits + c)];
      std::int32_t before = scan_block<threads>(own, sums);
      for (int c = 0; c < digits; ++c) {
        std::int32_t& n = count[place(t * digits + c)];
        const std::int32_t here = n;
        n = before;
        before += here;
      }
      sync();
      for (std::int64_t r = begin; r < end; ++r) y[count[place(digit(x[r]) * threads + t)]++] = x[r];
      sync();
      RowOf* const last = x;
      x = y;
      y = last;
    }
  }
};
struct ScatterSumKernel {
  ScatterArgs s;
  const RowOf* rows;  // sorted
  BAM_DEVICE void operator()() const {
    const std::int64_t tiles = ceil_div(s.columns, scatter_threads), begin = block() / tiles, c = block() % tiles * scatter_threads + thread(), index = rows[begin].index;
    if (index < 0 || (begin > 0 && rows[begin - 1].index == index) || c >= s.columns) return;
    float* y = s.y + index * s.y_row + c;
    float total = *y;
    bool on = true;
    for (std::int64_t at = begin; on; at += scatter_ahead) {
      float x[scatter_ahead];
      bool same[scatter_ahead];
      BAM_UNROLL
      for (int i = 0; i < scatter_ahead; ++i) {
        const RowOf r = rows[smaller(at + i, s.rows - 1)];
        same[i] = at + i < s.rows && r.index == index;
        x[i] = same[i] ? s.x[r.row * s.x_row + c] : 0.0f;
      }
      BAM_UNROLL
      for (int i = 0; i < scatter_ahead; ++i) total = same[i] ? total + x[i] : total;
      on = same[scatter_ahead - 1];
    }
    *y = total;
  }
};
inline void scatter(const Exec& exec, const ScatterArgs& s) {
  if (s.write == Write::overwrite) launch(exec, flat_grid(s.targets * s.columns), ScatterClearKernel{s});
  if (s.rows == 0 || s.columns == 0) return;
  auto* space = static_cast<RowOf*>(exec.scratch(exec.pool, exec.workers, static_cast<std::size_t>(2 * s.rows) * sizeof(RowOf)));
  const ScatterSortKernel sort{s, space, space + s.rows};
  launch(exec, {1, ScatterSortKernel::threads}, sort);
  launch(exec, {s.rows * ceil_div(s.columns, scatter_threads), scatter_threads}, ScatterSumKernel{s, sort.sorted()});
}

}  // namespace bam::cuda
