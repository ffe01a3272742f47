// Sums of squares and AdamW, of many tensors a launch; formulas and source in cpu/optimizer.inl.
#pragma once
#include "device.cuh"
#include "path.cuh"

namespace bam::cuda {

struct SumSquaresSpan {  // a block of elements
  const float* x;
  std::int64_t n;
};
BAM_DEVICE SumSquaresSpan sum_squares_span(const SumSquaresArgs& s, std::int64_t i) {
  int part = 0;
  for (std::int64_t blocks; i >= (blocks = SumSquaresArgs::blocks_of(s.part[part].n)); ++part) i -= blocks;
  const std::int64_t begin = i * SumSquaresArgs::block;
  return {s.part[part].x + begin, smaller(SumSquaresArgs::block, s.part[part].n - begin)};
}
inline std::int64_t sum_squares_blocks(const SumSquaresArgs& s) {
  std::int64_t blocks = 0;
  for (int part = 0; part < s.parts; ++part) blocks += SumSquaresArgs::blocks_of(s.part[part].n);
  return blocks;
}

struct SumSquaresKernel {  // sixteen double chains a block of elements, by index mod 16
  SumSquaresArgs s;
  std::int64_t blocks;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(blocks);
    const SumSquaresSpan span = sum_squares_span(s, at.row);
    double total = 0;
    for (std::int64_t i = at.lane; i < (at.on ? span.n : 0); i += row_lanes) total += static_cast<double>(span.x[i]) * static_cast<double>(span.x[i]);
    total = sum_lanes(total);
    if (at.on && at.lane == 0) s.partial[at.row] = total;
  }
};
struct SumSquaresBlockKernel {  // a block of threads a block of elements
  static constexpr std::int64_t shared_bytes = reduce_bytes<double>;
  SumSquaresArgs s;
  BAM_DEVICE void operator()() const {
    const SumSquaresSpan span = sum_squares_span(s, block());
    double total = 0;
    for (std::int64_t i = thread(); i < span.n; i += block_threads()) total += static_cast<double>(span.x[i]) * static_cast<double>(span.x[i]);
    total = reduce_block(total, [](double a, double b) { return a + b; });
    if (thread() == 0) s.partial[block()] = total;
  }
};
inline void sum_squares(const Exec& exec, const SumSquaresArgs& s) {
  const std::int64_t blocks = sum_squares_blocks(s);
  if (portable()) launch(exec, row_grid(blocks), SumSquaresKernel{s, blocks});
  else launch(exec, {blocks, reduce_threads}, SumSquaresBlockKernel{s});
}

template <class T>
struct AdamWKernel {
  static constexpr int each = 4;  // elements of a thread
  AdamWArgs s;
  BAM_INLINE static std::int64_t blocks_of(const AdamWArgs::Part& part) { return ceil_div(part.rows * part.columns, each * row_threads); }
  BAM_DEVICE void operator()() const {
    int which = 0;
    std::int64_t at = block();
    for (std::int64_t blocks; at >= (blocks = blocks_of(s.part[which])); ++which) at -= blocks;
    const AdamWArgs::Part t = s.part[which];
    const AdamWScalars k = *s.scalars;
    std::int64_t place[each];  // -1: beyond the end
    float g[each], p[each], first[each], second[each];
    BAM_UNROLL
    for (int e = 0; e < each; ++e) {  // all reads are under way before the first write, which might be to the same place for all the compiler knows
      const std::int64_t n = (at * each + e) * row_threads + thread();
      place[e] = n >= t.rows * t.columns ? -1 : t.stride == t.columns ? n : n / t.columns * t.stride + n % t.columns;
      const std::int64_t i = larger(place[e], std::int64_t{0});
      g[e] = t.g[i];
      p[e] = t.p[i];
      first[e] = value(static_cast<const T*>(t.m)[i]);
      second[e] = value(static_cast<const T*>(t.v)[i]);
    }
    BAM_UNROLL
    for (int e = 0; e < each; ++e) {
      if (place[e] < 0) continue;
      const float d = g[e] * k.factor, m = s.beta1 * first[e] + (1.0f - s.beta1) * d, v = s.beta2 * second[e] + (1.0f - s.beta2) * (d * d);
      set(static_cast<T*>(t.m)[place[e]], m);
      set(static_cast<T*>(t.v)[place[e]], v);
      t.p[place[e]] = p[e] - k.lr * (m / k.correction1 / (math::sqrt(v / k.correction2) + s.eps) + t.decay * p[e]);
    }
  }
};
inline void adamw(const Exec& exec, const AdamWArgs& s) {
  with_type(s.moments, [&](auto t) {
    using Kernel = AdamWKernel<decltype(t)>;
    std::int64_t blocks = 0;
    for (int part = 0; part < s.parts; ++part) blocks += Kernel::blocks_of(s.part[part]);
    launch(exec, {blocks, row_threads}, Kernel{s});
  });
}

}  // namespace bam::cuda
