// LayerNorm and RMSNorm; formulas and sources in cpu/norm.inl. Sixteen lanes a row forward and for dx, a thread a column for dw.
#pragma once
#include "device.cuh"
#include "path.cuh"

namespace bam::cuda {

template <class T>  // of y
struct NormForwardKernel {
  NormArgs s;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(s.rows);
    const std::int64_t n = at.on ? s.columns : 0;
    const float *x = f32(s.x) + at.row * s.columns, count = static_cast<float>(s.columns);
    float mean = 0, total = 0;
    if (!s.rms) {
      for (std::int64_t c = at.lane; c < n; c += row_lanes) total = total + x[c];
      mean = sum_lanes(total) / count;
      total = 0;
    }
    for (std::int64_t c = at.lane; c < n; c += row_lanes) total = math::fma(x[c] - mean, x[c] - mean, total);
    const float rstd = 1.0f / math::sqrt(sum_lanes(total) / count + s.eps);
    for (std::int64_t c = at.lane; c < n; c += row_lanes) set(static_cast<T*>(s.y)[at.row * s.columns + c], (x[c] - mean) * rstd * s.w[c]);
    if (!at.on || at.lane != 0) return;
    if (s.mean && !s.rms) s.mean[at.row] = mean;
    if (s.rstd) s.rstd[at.row] = rstd;
  }
};
inline void norm_forward(const Exec& exec, const NormArgs& s) {
  with_type(s.out, [&]<class T>(T) { launch(exec, row_grid(s.rows), NormForwardKernel<T>{s}); });
}

struct NormInputGradientKernel {
  NormArgs s;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(s.rows);
    const std::int64_t n = at.on ? s.columns : 0, first = at.row * s.columns;
    const float *x = f32(s.x) + first, *dy = f32(s.dy) + first, count = static_cast<float>(s.columns);
    float* dx = f32(s.dx) + first;
    const float m = s.rms || !at.on ? 0.0f : s.mean[at.row], k = at.on ? s.rstd[at.row] : 0.0f;
    float total_g = 0, total_gh = 0;
    for (std::int64_t c = at.lane; c < n; c += row_lanes) {
      const float g = dy[c] * s.w[c];
      total_g = total_g + g;
      total_gh = math::fma(g, (x[c] - m) * k, total_gh);
    }
    const float sum_g = sum_lanes(total_g), mean_g = s.rms ? 0.0f : sum_g / count, mean_gh = sum_lanes(total_gh) / count;
    for (std::int64_t c = at.lane; c < n; c += row_lanes) {
      const float h = (x[c] - m) * k;
      put(dx + c, k * (dy[c] * s.w[c] - mean_g - h * mean_gh), s.write_dx == Write::add);
    }
  }
};
struct NormWeightGradientKernel {  // a chain over the rows
  NormArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t c = flat_index();
    if (c >= s.columns) return;
    float total = s.write_dw == Write::add ? s.dw[c] : 0.0f;
    for (std::int64_t r = 0; r < s.rows; ++r) {
      const float m = s.rms ? 0.0f : s.mean[r];
      total = math::fma(f32(s.dy)[r * s.columns + c], (f32(s.x)[r * s.columns + c] - m) * s.rstd[r], total);
    }
    s.dw[c] = total;
  }
};
// The same in two steps: chains over so many rows each, and the sum of those in their order.
inline constexpr std::int64_t norm_chain = 256;
struct NormWeightChainKernel {
  NormArgs s;
  float* part;  // (chains, columns)
  BAM_DEVICE void operator()() const {
    const std::int64_t tiles = ceil_div(s.columns, row_threads), chain = block() / tiles, c = block() % tiles * row_threads + thread();
    if (c >= s.columns) return;
    float total = 0;
    for (std::int64_t r = chain * norm_chain; r < smaller(s.rows, (chain + 1) * norm_chain); ++r) {
      const float m = s.rms ? 0.0f : s.mean[r];
      total = math::fma(f32(s.dy)[r * s.columns + c], (f32(s.x)[r * s.columns + c] - m) * s.rstd[r], total);
    }
    part[chain * s.columns + c] = total;
  }
};
struct NormWeightSumKernel {
  NormArgs s;
  const float* part;
  BAM_DEVICE void operator()() const {
    const std::int64_t c = flat_index();
    if (c >= s.columns) return;
    float total = s.write_dw == Write::add ? s.dw[c] : 0.0f;
    for (std::int64_t chain = 0; chain < ceil_div(s.rows, norm_chain); ++chain) total += part[chain * s.columns + c];
    s.dw[c] = total;
  }
};
inline void norm_weight_gradient(const Exec& exec, const NormArgs& s) {
  if (portable() || s.rows <= norm_chain) return launch(exec, flat_grid(s.columns), NormWeightGradientKernel{s});
  const std::int64_t chains = ceil_div(s.rows, norm_chain);
  auto* part = static_cast<float*>(exec.scratch(exec.pool, exec.workers, static_cast<std::size_t>(chains * s.columns) * sizeof(float)));
  launch(exec, {chains * ceil_div(s.columns, row_threads), row_threads}, NormWeightChainKernel{s, part});
  launch(exec, flat_grid(s.columns), NormWeightSumKernel{s, part});
}
inline void norm_backward(const Exec& exec, const NormArgs& s) {
  if (s.dw) norm_weight_gradient(exec, s);
  if (s.dx) launch(exec, row_grid(s.rows), NormInputGradientKernel{s});
}

}  // namespace bam::cuda
