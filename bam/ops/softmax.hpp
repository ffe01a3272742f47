// Softmax and log-softmax over the last axis. Forward saves y.
#pragma once
#include "../tensor/tape.hpp"

namespace bam {

namespace detail {
inline Tensor softmax(const Tensor& x, bool log) {
  check(x.rank() >= 1, "softmax.rank", "softmax: wanted at least one axis");
  Tensor y(x.shape(), DType::f32, x.device());
  SoftmaxArgs a;
  a.log = log;
  a.rows = x.rows();
  a.columns = x.columns();
  a.x = x.address();
  a.y = y.raw();
  kernel::softmax_forward(a, x.device());
  record({x}, {y}, [a, x, y = y.detach(), g = y.gradient()]() mutable {
    a.x = nullptr;
    a.dy = g->data();
    std::tie(a.dx, a.write) = x.gradient()->target(x.numel());
    kernel::softmax_backward(a, x.device());
  });
  return y;
}
}  // namespace detail

inline Tensor softmax(const Tensor& x) { return detail::softmax(x, false); }
inline Tensor log_softmax(const Tensor& x) { return detail::softmax(x, true); }

}  // namespace bam
