// SwiGLU; formulas and source in cpu/swiglu.inl. Sixteen lanes a row.
#pragma once
#include "device.cuh"

namespace bam::cuda {

struct SwigluForwardKernel {
  SwigluArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t i = flat_index();
    if (i >= s.rows * s.columns) return;
    const std::int64_t r = i / s.columns, c = i % s.columns;
    const float *gate = f32(s.x) + r * s.x_row, k = s.scale ? s.scale[r] : 1.0f;
    put(f32(s.y) + r * s.y_row + c, math::silu(gate[c]) * gate[s.columns + c] * k, s.write == Write::add);
  }
};
inline void swiglu_forward(const Exec& exec, const SwigluArgs& s) { launch(exec, flat_grid(s.rows * s.columns), SwigluForwardKernel{s}); }

struct SwigluBackwardKernel {
  SwigluArgs s;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(s.rows);
    const std::int64_t n = s.columns, end = at.on ? n : 0;
    const float *gate = f32(s.x) + at.row * s.x_row, *up = gate + n, *dy = f32(s.dy) + at.row * s.dy_row, k = s.scale && at.on ? s.scale[at.row] : 1.0f;
    float* dx = s.dx ? f32(s.dx) + at.row * s.dx_row : nullptr;
    const bool add = s.write == Write::add;
    float total = 0;
    for (std::int64_t c = at.lane; c < end; c += row_lanes) {
      const float g = gate[c], u = up[c], d = dy[c], sigma = math::sigmoid(g), activated = g * sigma, t = d * k;
      total = math::fma(d * activated, u, total);
      if (!dx) continue;
      put(dx + c, t * u * (sigma * math::fma(g, 1.0f - sigma, 1.0f)), add);
      put(dx + n + c, t * activated, add);
    }
    total = sum_lanes(total);
    if (s.dscale && at.on && at.lane == 0) s.dscale[at.row] = total;
  }
};
inline void swiglu_backward(const Exec& exec, const SwigluArgs& s) { launch(exec, row_grid(s.rows), SwigluBackwardKernel{s}); }

}  // namespace bam::cuda
