// Softmax, log-softmax and cross entropy; formulas in cpu/softmax.inl. Sixteen lanes a row.
#pragma once
#include "device.cuh"
#include "path.cuh"

namespace bam::cuda {

// The largest of scale * x over a row of n, and the sum of exp(scale * x - that), which e keeps when it is not null. Reached by whole warps; n is 0 off the rows.
struct ExpSum {
  float max, sum;
};
BAM_DEVICE ExpSum exp_sum(const float* x, std::int64_t n, float scale, float* e, int lane) {
  const float infinity = __builtin_inff();
  float top = -infinity, total = 0;
  for (std::int64_t c = lane; c < n; c += row_lanes) top = math::maximum(x[c] * scale, top);
  top = max_lanes(top);
  for (std::int64_t c = lane; c < n; c += row_lanes) {
    const float y = math::exp(x[c] * scale - top);
    total = total + y;
    if (e) e[c] = y;
  }
  return {top, sum_lanes(total)};
}

struct SoftmaxForwardKernel {
  SoftmaxArgs s;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(s.rows);
    const std::int64_t n = at.on ? s.columns : 0;
    const float* x = f32(s.x) + at.row * s.columns;
    float* y = f32(s.y) + at.row * s.columns;
    const ExpSum e = exp_sum(x, n, 1.0f, s.log ? nullptr : y, at.lane);
    const float inverse = 1.0f / e.sum, rest = math::log(e.sum);
    for (std::int64_t c = at.lane; c < n; c += row_lanes) y[c] = s.log ? x[c] - e.max - rest : y[c] * inverse;
  }
};
inline void softmax_forward(const Exec& exec, const SoftmaxArgs& s) { launch(exec, row_grid(s.rows), SoftmaxForwardKernel{s}); }

struct SoftmaxBackwardKernel {
  SoftmaxArgs s;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(s.rows);
    const std::int64_t n = at.on ? s.columns : 0;
    const float *y = f32(s.y) + at.row * s.columns, *dy = f32(s.dy) + at.row * s.columns;
    float total = 0;
    for (std::int64_t c = at.lane; c < n; c += row_lanes) total = s.log ? total + dy[c] : math::fma(dy[c], y[c], total);
    const float dot = sum_lanes(total);
    for (std::int64_t c = at.lane; c < n; c += row_lanes)
      put(f32(s.dx) + at.row * s.columns + c, s.log ? dy[c] - math::exp(y[c]) * dot : y[c] * (dy[c] - dot), s.write == Write::add);
  }
};
inline void softmax_backward(const Exec& exec, const SoftmaxArgs& s) { launch(exec, row_grid(s.rows), SoftmaxBackwardKernel{s}); }

struct CrossEntropyForwardKernel {
  CrossEntropyArgs s;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(s.rows);
    const float* x = f32(s.x) + at.row * s.x_row;
    const ExpSum e = exp_sum(x, at.on ? s.columns : 0, s.scale, nullptr, at.lane);
    if (!at.on || at.lane != 0) return;
    const std::int32_t target = s.target[at.row];
    if (s.lse) s.lse[at.row] = e.max + math::log(e.sum);
    // The maximum first: it cancels when the target is likely, and the logarithm keeps its bits.
    if (s.nll) s.nll[at.row] = target < 0 ? 0.0f : (e.max - x[target] * s.scale) + math::log(e.sum);
  }
};
// A block a row, for vocabularies are wide, and each logit is read once: a thread's sum is of exponentials below its largest so far, and is scaled when that grows (Milakov & Gimelshein 2018, arXiv 1805.02867).
template <int V, bool fast>  // fast: as in swiglu.cuh
struct CrossEntropyBlockKernel {
  static constexpr std::int64_t shared_bytes = reduce_bytes<float>;
  CrossEntropyArgs s;
  BAM_DEVICE static float power(float x) { return fast ? exp_fast(x) : math::exp(x); }
  BAM_DEVICE void operator()() const {
    const std::int64_t r = block();
    const float infinity = __builtin_inff();
    const float* x = f32(s.x) + r * s.x_row;
    float top = -infinity, total = 0;
    for (std::int64_t c = thread() * V; c < s.columns; c += block_threads() * V) {
      float y[V], high = top;
      load_few(x + c, y);
      BAM_UNROLL
      for (int v = 0; v < V; ++v) {
        y[v] = y[v] * s.scale;
        high = math::maximum(y[v], high);
      }
      const float below = high == -infinity ? 0.0f : high;
      total = total * power(top - below);
      BAM_UNROLL
      for (int v = 0; v < V; ++v) total = total + power(y[v] - below);
      top = high;
    }
    const float all = reduce_block(top, [](float a, float b) { return math::maximum(a, b); });
    total = reduce_block(total * power(top - all), [](float a, float b) { return a + b; });
    if (thread() != 0) return;
    const std::int32_t target = s.target[r];
    if (s.lse) s.lse[r] = all + math::log(total);
    if (s.nll) s.nll[r] = target < 0 ? 0.0f : (all - x[target] * s.scale) + math::log(total);
  }
};
inline void cross_entropy_forward(const Exec& exec, const CrossEntropyArgs& s) {
  if (portable()) return launch(exec, row_grid(s.rows), CrossEntropyForwardKernel{s});
  const Grid grid{s.rows, reduce_threads};
  if (!aligned_lines(s.x, s.x_row, s.columns)) launch(exec, grid, CrossEntropyBlockKernel<1, false>{s});
  else if (s.out == DType::f32) launch(exec, grid, CrossEntropyBlockKernel<few, false>{s});
  else launch(exec, grid, CrossEntropyBlockKernel<few, true>{s});
}

// An element is read and written by one thread, so dx may be x.
template <class T, int V, bool fast>  // T: of dx; fast: as in swiglu.cuh
struct CrossEntropyBackwardKernel {
  CrossEntropyArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t groups = s.columns / V, i = flat_index();
    if (i >= s.rows * groups) return;
    const std::int64_t r = i / groups, c = i % groups * V, target = s.target[r];
    const bool add = s.write == Write::add;
    T* dx = static_cast<T*>(s.dx) + r * s.dx_row + c;
    float x[V] = {};
    if (target >= 0) {
      const float slope = s.scale * s.dnll[r], lse = s.lse[r];
      load_few(f32(s.x) + r * s.x_row + c, x);
      BAM_UNROLL
      for (int v = 0; v < V; ++v) {
        const float d = x[v] * s.scale - lse, p = fast ? exp_fast(d) : math::exp(d);
        x[v] = c + v == target ? (p - 1.0f) * slope : p * slope;
      }
    } else if (add) {
      return;
    }
    store_few(dx, x, add);
  }
};
inline void cross_entropy_backward(const Exec& exec, const CrossEntropyArgs& s) {
  const bool aligned = aligned_lines(s.x, s.x_row, s.columns) && aligned_lines(s.dx, s.dx_row, s.columns);
  const std::int64_t n = s.rows * s.columns;
  if (aligned && s.out == DType::bf16 && !portable()) return launch(exec, flat_grid(n / few), CrossEntropyBackwardKernel<Bf16, few, true>{s});
  with_type(s.out, [&]<class T>(T) { with_width(aligned, [&](auto v) { launch(exec, flat_grid(n / v), CrossEntropyBackwardKernel<T, v, false>{s}); }); });
}

}  // namespace bam::cuda
