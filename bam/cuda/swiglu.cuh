// SwiGLU; formulas and source in cpu/swiglu.inl. Sixteen lanes a row.
#pragma once
#include "device.cuh"

namespace bam::cuda {

template <class T>
struct SwigluForwardKernel {
  SwigluArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t i = flat_index();
    if (i >= s.rows * s.columns) return;
    const std::int64_t r = i / s.columns, c = i % s.columns;
    const T* gate = static_cast<const T*>(s.x) + r * s.x_row;
    put(static_cast<T*>(s.y) + r * s.y_row + c, math::silu(value(gate[c])) * value(gate[s.columns + c]) * (s.scale ? s.scale[r] : 1.0f), s.write == Write::add);
  }
};
inline void swiglu_forward(const Exec& exec, const SwigluArgs& s) {
  with_type(s.dtype, [&]<class T>(T) { launch(exec, flat_grid(s.rows * s.columns), SwigluForwardKernel<T>{s}); });
}

template <class T>
struct SwigluBackwardKernel {
  SwigluArgs s;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(s.rows);
    const std::int64_t n = s.columns, end = at.on ? n : 0;
    const T *gate = static_cast<const T*>(s.x) + at.row * s.x_row, *up = gate + n, *dy = static_cast<const T*>(s.dy) + at.row * s.dy_row;
    T* dx = s.dx ? static_cast<T*>(s.dx) + at.row * s.dx_row : nullptr;
    const float k = s.scale && at.on ? s.scale[at.row] : 1.0f;
    const bool add = s.write == Write::add;
    float total = 0;
    for (std::int64_t c = at.lane; c < end; c += row_lanes) {
      const float g = value(gate[c]), u = value(up[c]), d = value(dy[c]), sigma = math::sigmoid(g), activated = g * sigma, t = d * k;
      total = math::fma(d * activated, u, total);
      if (!dx) continue;
      put(dx + c, t * u * (sigma * math::fma(g, 1.0f - sigma, 1.0f)), add);
      put(dx + n + c, t * activated, add);
    }
    total = sum_lanes(total);
    if (s.dscale && at.on && at.lane == 0) s.dscale[at.row] = total;
  }
};
inline void swiglu_backward(const Exec& exec, const SwigluArgs& s) {
  with_type(s.dtype, [&]<class T>(T) { launch(exec, row_grid(s.rows), SwigluBackwardKernel<T>{s}); });
}

}  // namespace bam::cuda
