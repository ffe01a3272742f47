// Rows by index: gather and scatter, as cpu/rows.inl says. A thread an element of y, or a column: the sums into a row of y are chains in the order of the rows of x.
#pragma once
#include "device.cuh"

namespace bam::cuda {

template <class Args>
BAM_DEVICE std::int64_t row_index(const Args& s, std::int64_t i) {
  return s.index32 ? s.index32[i] : s.index[i];
}

template <class X, class Y>
struct GatherKernel {
  GatherArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t i = flat_index();
    if (i >= s.rows * s.columns) return;
    const std::int64_t r = i / s.columns, c = i % s.columns;
    Y* y = static_cast<Y*>(s.y) + r * s.y_row + c;
    bool any = s.write == Write::add;
    float total = any ? value(*y) : 0.0f;
    for (std::int64_t j = r * s.terms; j < (r + 1) * s.terms; ++j) {
      const std::int64_t from = row_index(s, j);
      if (from < 0) continue;
      const float x = value(static_cast<const X*>(s.x)[from * s.x_row + c]);
      total = any ? total + x : x;
      any = true;
    }
    set(*y, total);
  }
};
inline void gather(const Exec& exec, const GatherArgs& s) {
  with_type(s.dtype, [&]<class X>(X) { with_type(s.out, [&]<class Y>(Y) { launch(exec, flat_grid(s.rows * s.columns), GatherKernel<X, Y>{s}); }); });
}

struct ScatterKernel {
  ScatterArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t c = flat_index();
    if (c >= s.columns) return;
    if (s.write == Write::overwrite)
      for (std::int64_t r = 0; r < s.targets; ++r) s.y[r * s.y_row + c] = 0.0f;
    for (std::int64_t r = 0; r < s.rows; ++r)
      if (const std::int64_t to = row_index(s, r); to >= 0) s.y[to * s.y_row + c] += s.x[r * s.x_row + c];
  }
};
inline void scatter(const Exec& exec, const ScatterArgs& s) { launch(exec, flat_grid(s.columns), ScatterKernel{s}); }

}  // namespace bam::cuda
