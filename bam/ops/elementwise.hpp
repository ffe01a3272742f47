// Elementwise ops. Binary ones broadcast as usual: shapes are aligned at the last axis, an axis of 1 repeats.
// A broadcast operand's gradient is the sum over its repeats, axis by axis.
#pragma once
#include <algorithm>

#include "../tensor/tape.hpp"

namespace bam {

namespace detail {
// Axis i of x from the front; a negative one counts from the end.
inline std::int64_t axis_of(const char* op, const Tensor& x, std::int64_t i) {
  const std::int64_t axis = i < 0 ? i + x.rank() : i;
  if (axis < 0 || axis >= x.rank()) fail(ErrorKind::usage, "axis.range", op, ": axis ", i, " of shape ", to_string(x.shape()));
  return axis;
}
// One axis of x, which stays with size 1: op of its elements, times factor.
inline Tensor reduce_axis(const Tensor& x, std::int64_t axis, Reduce op, float factor) {
  ReduceArgs a;
  a.op = op;
  a.scale = factor;
  Shape shape = x.shape();
  a.outer = a.inner = 1;
  for (std::int64_t i = 0; i < axis; ++i) a.outer *= x.size(i);
  for (std::int64_t i = axis + 1; i < x.rank(); ++i) a.inner *= x.size(i);
  a.n = x.size(axis);
  shape[static_cast<std::size_t>(axis)] = 1;
  Tensor y(shape, DType::f32, x.device());
  a.x = x.address();
  a.y = y.address();
  kernel::reduce(a, x.device());
  return y;
}

inline Shape broadcast_shape(const Shape& a, const Shape& b) {
  Shape s(std::max(a.size(), b.size()));
  check(s.size() <= max_rank, "broadcast.rank", "broadcast: more than ", max_rank, " axes");
  for (std::size_t i = 0; i < s.size(); ++i) {
    std::int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1, y = i < b.size() ? b[b.size() - 1 - i] : 1;
    check(x == y || x == 1 || y == 1, "broadcast.shape", "broadcast: shapes ", to_string(a), " and ", to_string(b), " differ at axis -", i + 1);
    s[s.size() - 1 - i] = x == 1 ? y : x;
  }
  return s;
}
// Strides of a dense `shape` seen as `target`, 0 where it repeats.
inline void broadcast_strides(const Shape& shape, const Shape& target, std::int64_t* stride) {
  std::int64_t step = 1;
  for (std::size_t i = 0; i < target.size(); ++i) {
    std::size_t at = target.size() - 1 - i;
    std::int64_t size = i < shape.size() ? shape[shape.size() - 1 - i] : 1;
    stride[at] = size == 1 ? 0 : step;
    step *= size;
  }
}
inline void binary_into(Binary op, const float* a, const Shape& a_shape, const float* b, const Shape& b_shape, float* y, const Shape& shape, float factor, Write write, Device device) {
  BinaryArgs k;
  k.op = op;
  k.write = write;
  k.scale = factor;
  k.rank = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), k.shape);
  broadcast_strides(a_shape, shape, k.a_stride);
  broadcast_strides(b_shape, shape, k.b_stride);
  k.a = a;
  k.b = b;
  k.y = y;
  kernel::binary(k, device);
}
inline Tensor broadcast(Binary op, const Tensor& a, const Tensor& b, float factor) {
  const Device device = device_of("broadcast", a, b);
  Tensor y(broadcast_shape(a.shape(), b.shape()), DType::f32, device);
  binary_into(op, a.address(), a.shape(), b.address(), b.shape(), y.address(), y.shape(), factor, Write::overwrite, device);
  return y;
}
inline void broadcast_copy(const float* x, const Shape& x_shape, float* y, const Shape& shape, Write write, Device device) {
  check(shape.size() <= max_rank, "broadcast.rank", "broadcast: more than ", max_rank, " axes");
  CopyArgs a;
  a.write = write;
  a.rank = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), a.shape);
  broadcast_strides(x_shape, shape, a.x_stride);
  broadcast_strides(shape, shape, a.y_stride);
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (shape[i] == 1) a.y_stride[i] = 1;
  a.x = x;
  a.y = y;
  kernel::copy(a, device);
}
// Sums over the axes, which stay with size 1.
inline Tensor reduce_axes(Tensor x, const std::vector<std::int64_t>& axes) {
  for (std::int64_t axis : axes) x = reduce_axis(x, axis, Reduce::sum, 1.0f);
  return axes.empty() ? x.clone() : x;
}
// Adds `full` (of the broadcast shape) to the gradient of t, summed down to t's shape.
inline void add_reduced(const Tensor& t, Tensor full) {
  Shape aligned(full.shape().size(), 1);
  std::copy(t.shape().begin(), t.shape().end(), aligned.end() - static_cast<std::ptrdiff_t>(t.shape().size()));
  for (std::size_t i = 0; i < aligned.size(); ++i)
    if (aligned[i] == 1 && full.shape()[i] != 1) full = reduce_axis(full, static_cast<std::int64_t>(i), Reduce::sum, 1.0f);
  auto [d, write] = t.gradient()->target(t.numel());
  broadcast_copy(full.address(), t.shape(), d, t.shape(), write, t.device());
}

inline Tensor binary(Binary op, const Tensor& a, const Tensor& b) {
  Tensor y = broadcast(op, a, b, 1.0f);
  if (op == Binary::greater || op == Binary::equal) return y;  // piecewise constant
  record({a, b}, {y}, [op, a, b, shape = y.shape(), g = y.gradient()] {
    Tensor dy(shape, DType::f32, g->device());
    copy_bytes(dy.raw(), dy.device(), g->data(), g->device(), dy.numel() * 4);
    auto masked = [&](const Tensor& x, const Tensor& z) {  // dy where x wins; both where equal share it by halves
      Tensor win = broadcast(Binary::greater, x, z, 1.0f), tie = broadcast(Binary::equal, x, z, 0.5f);
      return broadcast(Binary::mul, dy, broadcast(Binary::add, win, tie, 1.0f), 1.0f);
    };
    if (a.wants_grad()) {
      switch (op) {
        case Binary::mul: add_reduced(a, broadcast(Binary::mul, dy, b, 1.0f)); break;
        case Binary::div: add_reduced(a, broadcast(Binary::div, dy, b, 1.0f)); break;
        case Binary::maximum: add_reduced(a, masked(a, b)); break;
        case Binary::minimum: add_reduced(a, masked(b, a)); break;
        default: add_reduced(a, dy);
      }
    }
    if (b.wants_grad()) {
      switch (op) {
        case Binary::sub: add_reduced(b, broadcast(Binary::mul, dy, ones({1}, DType::f32, dy.device()), -1.0f)); break;
        case Binary::mul: add_reduced(b, broadcast(Binary::mul, dy, a, 1.0f)); break;
        case Binary::div: {  // -dy a / b^2
          Tensor q = broadcast(Binary::div, broadcast(Binary::mul, dy, a, 1.0f), b, 1.0f);
          add_reduced(b, broadcast(Binary::div, q, b, -1.0f));
          break;
        }
        case Binary::maximum: add_reduced(b, masked(b, a)); break;
        case Binary::minimum: add_reduced(b, masked(a, b)); break;
        default: add_reduced(b, dy);
      }
    }
  });
  return y;
}
inline Tensor unary(Unary op, const Tensor& x, float factor = 1.0f, float shift = 0.0f) {
  Tensor y(x.shape(), DType::f32, x.device());
  UnaryArgs a;
  a.op = op;
  a.scale = factor;
  a.shift = shift;
  a.n = x.numel();
  a.x = x.address();
  a.y = y.address();
  kernel::unary_forward(a, x.device());
  record({x}, {y}, [a, x, g = y.gradient()]() mutable {
    a.y = nullptr;
    a.dy = g->data();
    std::tie(a.dx, a.write) = x.gradient()->target(x.numel());
    kernel::unary_backward(a, x.device());
  });
  return y;
}
}  // namespace detail

inline Tensor add(const Tensor& a, const Tensor& b) { return detail::binary(Binary::add, a, b); }
inline Tensor sub(const Tensor& a, const Tensor& b) { return detail::binary(Binary::sub, a, b); }
inline Tensor mul(const Tensor& a, const Tensor& b) { return detail::binary(Binary::mul, a, b); }
inline Tensor div(const Tensor& a, const Tensor& b) { return detail::binary(Binary::div, a, b); }
inline Tensor maximum(const Tensor& a, const Tensor& b) { return detail::binary(Binary::maximum, a, b); }
inline Tensor minimum(const Tensor& a, const Tensor& b) { return detail::binary(Binary::minimum, a, b); }
inline Tensor greater(const Tensor& a, const Tensor& b) { return detail::binary(Binary::greater, a, b); }
inline Tensor equal(const Tensor& a, const Tensor& b) { return detail::binary(Binary::equal, a, b); }
inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }

inline Tensor scale(const Tensor& x, float factor, float shift = 0.0f) { return detail::unary(Unary::copy, x, factor, shift); }
inline Tensor neg(const Tensor& x) { return detail::unary(Unary::neg, x); }
inline Tensor exp(const Tensor& x) { return detail::unary(Unary::exp, x); }
inline Tensor log(const Tensor& x) { return detail::unary(Unary::log, x); }
inline Tensor sqrt(const Tensor& x) { return detail::unary(Unary::sqrt, x); }
inline Tensor tanh(const Tensor& x) { return detail::unary(Unary::tanh, x); }
inline Tensor sigmoid(const Tensor& x) { return detail::unary(Unary::sigmoid, x); }
inline Tensor silu(const Tensor& x) { return detail::unary(Unary::silu, x); }
inline Tensor gelu(const Tensor& x) { return detail::unary(Unary::gelu, x); }
inline Tensor relu(const Tensor& x) { return detail::unary(Unary::relu, x); }
inline Tensor square(const Tensor& x) { return detail::unary(Unary::square, x); }
inline Tensor softplus(const Tensor& x) { return detail::unary(Unary::softplus, x); }
inline Tensor abs(const Tensor& x) { return detail::unary(Unary::abs, x); }
inline Tensor reciprocal(const Tensor& x) { return detail::unary(Unary::reciprocal, x); }
inline Tensor sin(const Tensor& x) { return detail::unary(Unary::sin, x); }
inline Tensor cos(const Tensor& x) { return detail::unary(Unary::cos, x); }

}  // namespace bam
