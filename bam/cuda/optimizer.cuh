// Sums of squares and AdamW; formulas and source in cpu/optimizer.inl.
#pragma once
#include "device.cuh"
#include "path.cuh"

namespace bam::cuda {

struct SumSquaresKernel {  // sixteen double chains a block of elements, by index mod 16
  SumSquaresArgs s;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(ceil_div(s.n, SumSquaresArgs::block));
    const std::int64_t begin = at.row * SumSquaresArgs::block, end = at.on ? smaller(s.n, begin + SumSquaresArgs::block) : 0;
    double total = 0;
    for (std::int64_t i = begin + at.lane; i < end; i += row_lanes) total += static_cast<double>(s.x[i]) * static_cast<double>(s.x[i]);
    total = sum_lanes(total);
    if (at.on && at.lane == 0) s.partial[at.row] = total;
  }
};
struct SumSquaresBlockKernel {  // a block of threads a block of elements
  SumSquaresArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t begin = block() * SumSquaresArgs::block, end = smaller(s.n, begin + SumSquaresArgs::block);
    double total = 0;
    for (std::int64_t i = begin + thread(); i < end; i += block_threads()) total += static_cast<double>(s.x[i]) * static_cast<double>(s.x[i]);
    total = reduce_block(total, [](double a, double b) { return a + b; });
    if (thread() == 0) s.partial[block()] = total;
  }
};
inline void sum_squares(const Exec& exec, const SumSquaresArgs& s) {
  const std::int64_t blocks = ceil_div(s.n, SumSquaresArgs::block);
  if (portable()) launch(exec, row_grid(blocks), SumSquaresKernel{s});
  else launch(exec, {blocks, reduce_threads, reduce_bytes<double>}, SumSquaresBlockKernel{s});
}

template <class T>
struct AdamWKernel {
  AdamWArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t n = flat_index();
    if (n >= s.rows * s.columns) return;
    const std::int64_t i = n / s.columns * s.stride + n % s.columns;
    const AdamWScalars& k = *s.scalars;
    const float g = s.g[i] * k.factor, p = s.p[i];
    T &first = static_cast<T*>(s.m)[i], &second = static_cast<T*>(s.v)[i];
    const float m = s.beta1 * value(first) + (1.0f - s.beta1) * g, v = s.beta2 * value(second) + (1.0f - s.beta2) * (g * g);
    set(first, m);
    set(second, v);
    s.p[i] = p - k.lr * (m / k.correction1 / (math::sqrt(v / k.correction2) + s.eps) + s.decay * p);
  }
};
inline void adamw(const Exec& exec, const AdamWArgs& s) {
  with_type(s.moments, [&](auto t) { launch(exec, flat_grid(s.rows * s.columns), AdamWKernel<decltype(t)>{s}); });
}

}  // namespace bam::cuda
