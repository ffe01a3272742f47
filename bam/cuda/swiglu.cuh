// SwiGLU; formulas and source in cpu/swiglu.inl.
#pragma once
#include "device.cuh"
#include "path.cuh"

namespace bam::cuda {

// Fast: by the units for exp and 1 / x. Into bf16 only, which does not show it.
template <bool fast>
BAM_DEVICE float swiglu(float gate, float up, float k) {
  return (fast ? gate * sigmoid_fast(gate) : math::silu(gate)) * up * k;
}
// gate and up become their gradients, from d, that of y; `total` goes on to dscale.
template <bool fast>
BAM_DEVICE void swiglu_gradient(float& gate, float& up, float d, float k, float& total) {
  const float sigma = fast ? sigmoid_fast(gate) : math::sigmoid(gate), activated = gate * sigma, t = d * k;
  total = math::fma(d * activated, up, total);
  gate = t * up * (sigma * math::fma(gate, 1.0f - sigma, 1.0f));
  up = t * activated;
}

template <class T, int V, bool fast>
struct SwigluForwardKernel {
  SwigluArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t groups = s.columns / V, i = flat_index();
    if (i >= s.rows * groups) return;
    const std::int64_t r = i / groups, c = i % groups * V;
    const T* x = static_cast<const T*>(s.x) + r * s.x_row + c;
    const float k = s.scale ? s.scale[r] : 1.0f;
    float gate[V], up[V];
    load_few(x, gate);
    load_few(x + s.columns, up);
    BAM_UNROLL
    for (int v = 0; v < V; ++v) up[v] = swiglu<fast>(gate[v], up[v], k);
    store_few(static_cast<T*>(s.y) + r * s.y_row + c, up, s.write == Write::add);
  }
};
inline bool swiglu_aligned(const SwigluArgs& s) { return aligned_lines(s.x, s.x_row, s.columns) && aligned_lines(s.y, s.y_row, s.columns); }
inline void swiglu_forward(const Exec& exec, const SwigluArgs& s) {
  const bool aligned = swiglu_aligned(s);
  const std::int64_t n = s.rows * s.columns;
  if (aligned && s.dtype == DType::bf16 && !portable()) return launch(exec, flat_grid(n / few), SwigluForwardKernel<Bf16, few, true>{s});
  with_type(s.dtype, [&]<class T>(T) { with_width(aligned, [&](auto v) { launch(exec, flat_grid(n / v), SwigluForwardKernel<T, v, false>{s}); }); });
}

template <class T>
struct SwigluBackwardKernel {  // sixteen lanes a row
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
      float g = value(gate[c]), u = value(up[c]);
      swiglu_gradient<false>(g, u, value(dy[c]), k, total);
      if (!dx) continue;
      put(dx + c, g, add);
      put(dx + n + c, u, add);
    }
    total = sum_lanes(total);
    if (s.dscale && at.on && at.lane == 0) s.dscale[at.row] = total;
  }
};
template <class T>
struct SwigluBackwardWarpKernel {  // the same, a warp a row; fast in bf16
  SwigluArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t row = flat_index() / warp_lanes, r = row < s.rows ? row : 0, n = s.columns, end = row < s.rows ? n : 0;
    const int lane = thread() % warp_lanes;
    const T *x = static_cast<const T*>(s.x) + r * s.x_row, *dy = static_cast<const T*>(s.dy) + r * s.dy_row;
    T* const dx = s.dx ? static_cast<T*>(s.dx) + r * s.dx_row : nullptr;
    const float k = s.scale ? s.scale[r] : 1.0f;
    const bool add = s.write == Write::add;
    float total = 0;
    for (std::int64_t c = lane * few; c < end; c += warp_lanes * few) {
      float g[few], u[few], d[few];
      load_few(x + c, g);
      load_few(x + n + c, u);
      load_few(dy + c, d);
      BAM_UNROLL
      for (int v = 0; v < few; ++v) swiglu_gradient<sizeof(T) == 2>(g[v], u[v], d[v], k, total);
      if (!dx) continue;
      store_few(dx + c, g, add);
      store_few(dx + n + c, u, add);
    }
    for (int h = warp_lanes / 2; h > 0; h /= 2) total = total + shuffle_xor(total, h);
    if (s.dscale && row < s.rows && lane == 0) s.dscale[row] = total;
  }
};
inline bool swiglu_gradient_aligned(const SwigluArgs& s) { return aligned_lines(s.x, s.x_row, s.columns) && aligned_lines(s.dy, s.dy_row, s.columns) && aligned_lines(s.dx, s.dx_row, s.columns); }
inline void swiglu_backward(const Exec& exec, const SwigluArgs& s) {
  const bool fast = !portable() && swiglu_gradient_aligned(s);
  with_type(s.dtype, [&]<class T>(T) {
    if (fast) launch(exec, flat_grid(s.rows * warp_lanes), SwigluBackwardWarpKernel<T>{s});
    else launch(exec, row_grid(s.rows), SwigluBackwardKernel<T>{s});
  });
}

}  // namespace bam::cuda
