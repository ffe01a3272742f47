// SwiGLU: x (..., 2F) = [gate | up] -> silu(gate) * up (..., F), in F32 or BF16. Forward saves x.
#pragma once
#include "../tensor/tape.hpp"

namespace bam {

namespace detail {
inline SwigluArgs swiglu_args(const Tensor& x, std::int64_t f) {
  check(x.dtype() == DType::f32 || x.dtype() == DType::bf16, "swiglu.dtype", "swiglu: x is of ", name_of(x.dtype()), ", wanted F32 or BF16");
  SwigluArgs a;
  a.dtype = x.dtype();
  a.rows = x.rows();
  a.columns = f;
  a.x = x.raw();
  a.x_row = a.dx_row = 2 * f;
  a.y_row = a.dy_row = f;
  return a;
}
}  // namespace detail

inline Tensor swiglu(const Tensor& x) {
  check(x.rank() >= 1 && x.columns() % 2 == 0, "swiglu.shape", "swiglu: x is ", to_string(x.shape()), ", wanted an even last axis");
  std::int64_t f = x.columns() / 2;
  Tensor y(x.rank() ? [&] { Shape s = x.shape(); s.back() = f; return s; }() : Shape{}, x.dtype(), x.device());
  SwigluArgs a = detail::swiglu_args(x, f);
  a.y = y.raw();
  kernel::swiglu_forward(a, x.device());
  record({x}, {y}, [a, x, g = y.gradient()]() mutable {
    a.dy = g->data<void>();
    std::tie(a.dx, a.write) = x.gradient()->target<void>(x.numel());
    kernel::swiglu_backward(a, x.device());
  });
  return y;
}

}  // namespace bam
