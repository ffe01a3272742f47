// LayerNorm (weight only) and RMSNorm over the last axis: x (..., C), w (C). Forward saves x, w, mean and 1/std.
#pragma once
#include "../tensor/tape.hpp"

namespace bam {

namespace detail {
inline Tensor normalize(const Tensor& x, const Tensor& w, float eps, bool rms, DType out) {
  const char* op = rms ? "rms_norm" : "layer_norm";
  check(x.rank() >= 1 && w.rank() == 1 && w.numel() == x.columns(), "norm.shape", op, ": w is ", to_string(w.shape()), ", x is ", to_string(x.shape()));
  check(eps >= 0, "norm.eps", op, ": eps is ", eps);
  const Device device = detail::device_of(op, x, w);
  Tensor y(x.shape(), out, device), mean({rms ? 0 : x.rows()}, DType::f32, device), rstd({x.rows()}, DType::f32, device);
  check(out == DType::f32 || out == DType::bf16, "norm.dtype", op, ": wanted a result of F32 or BF16, not ", name_of(out));
  y.gradient_in_f32();
  NormArgs a;
  a.out = out;
  a.rms = rms;
  a.eps = eps;
  a.rows = x.rows();
  a.columns = x.columns();
  a.x = x.address();
  a.w = w.address();
  a.y = y.raw();
  a.mean = mean.address();
  a.rstd = rstd.address();
  kernel::norm_forward(a, device);
  record({x, w}, {y}, [a, x, w, mean, rstd, g = y.gradient()]() mutable {
    a.y = nullptr;
    a.dy = g->data();
    if (x.wants_grad()) std::tie(a.dx, a.write_dx) = x.gradient()->target(x.numel());
    if (w.wants_grad()) std::tie(a.dw, a.write_dw) = w.gradient()->target(w.numel());
    kernel::norm_backward(a, x.device());
  });
  return y;
}
}  // namespace detail

// The result in `out`; its gradient is of F32, for a norm's result has several uses.
inline Tensor layer_norm(const Tensor& x, const Tensor& w, float eps = 1e-5f, DType out = DType::f32) { return detail::normalize(x, w, eps, false, out); }
inline Tensor rms_norm(const Tensor& x, const Tensor& w, float eps = 1e-5f, DType out = DType::f32) { return detail::normalize(x, w, eps, true, out); }

}  // namespace bam
