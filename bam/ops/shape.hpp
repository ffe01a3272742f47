// Moving elements about: permute, slice, concat, and dropout's cousin, nothing computed. Results are dense copies.
// (reshape is a member of Tensor: it shares memory.)
#pragma once
#include "elementwise.hpp"

namespace bam {

namespace detail {
inline Shape dense_strides(const Shape& shape) {
  Shape s(shape.size());
  std::int64_t step = 1;
  for (std::size_t i = shape.size(); i-- > 0; step *= shape[i]) s[i] = step;
  return s;
}
inline CopyArgs copy_args(const Shape& shape, const Shape& x_stride, const Shape& y_stride, DType dtype = DType::f32) {
  check(shape.size() <= max_rank, "copy.rank", "copy: more than ", max_rank, " axes");
  CopyArgs a;
  a.dtype = dtype;
  a.rank = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), a.shape);
  std::copy(x_stride.begin(), x_stride.end(), a.x_stride);
  std::copy(y_stride.begin(), y_stride.end(), a.y_stride);
  return a;
}
// Runs `a` from x to y; backward, the mirror of `a`, adds to x's gradient. The rest of an empty gradient is cleared first.
inline void copy_recorded(CopyArgs a, const Tensor& x, std::int64_t x_at, Tensor& y, std::int64_t y_at) {
  check(x.dtype() == DType::f32 || !(Tape::active() && x.wants_grad()), "copy.dtype", "copy: a tensor of ", name_of(x.dtype()), " has no gradient here, wanted F32");
  a.x = element(x.raw(), x_at, x.dtype());
  a.y = element(y.raw(), y_at, x.dtype());
  kernel::copy(a, device_of("copy", x, y));
}
inline void copy_back(CopyArgs a, const Tensor& x, std::int64_t x_at, const Gradient& g, std::int64_t y_at) {
  bool whole = true;
  std::int64_t n = 1;
  for (int i = 0; i < a.rank; ++i) n *= a.shape[i];
  whole = n == x.numel();
  if (x.gradient()->empty() && !whole) {
    FillArgs f;
    f.n = x.numel();
    f.y = x.gradient()->target(x.numel()).first;
    kernel::fill(f, x.device());
  }
  auto [dx, write] = x.gradient()->target(x.numel());
  std::swap(a.x_stride, a.y_stride);
  a.write = write;
  a.x = g.data() + y_at;
  a.y = dx + x_at;
  kernel::copy(a, x.device());
}
}  // namespace detail

// Axis i of the result is axis order[i] of x.
inline Tensor permute(const Tensor& x, const std::vector<std::int64_t>& order) {
  check(static_cast<std::int64_t>(order.size()) == x.rank(), "permute.order", "permute: ", order.size(), " axes for shape ", to_string(x.shape()));
  Shape shape(order.size()), stride(order.size()), own = detail::dense_strides(x.shape());
  std::vector<bool> seen(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    check(order[i] >= 0 && order[i] < x.rank() && !seen[static_cast<std::size_t>(order[i])], "permute.order", "permute: axis ", order[i], " is out of range or named twice");
    seen[static_cast<std::size_t>(order[i])] = true;
    shape[i] = x.size(order[i]);
    stride[i] = own[static_cast<std::size_t>(order[i])];
  }
  Tensor y(shape, x.dtype(), x.device());
  CopyArgs a = detail::copy_args(shape, stride, detail::dense_strides(shape), x.dtype());
  detail::copy_recorded(a, x, 0, y, 0);
  record({x}, {y}, [a, x, g = y.gradient()] { detail::copy_back(a, x, 0, *g, 0); });
  return y;
}
inline Tensor transpose(const Tensor& x) {
  check(x.rank() == 2, "transpose.rank", "transpose: wanted a matrix, got ", to_string(x.shape()));
  return permute(x, {1, 0});
}

// Elements begin .. end of one axis.
inline Tensor slice(const Tensor& x, std::int64_t axis, std::int64_t begin, std::int64_t end) {
  axis = detail::axis_of("slice", x, axis);
  std::int64_t size = x.size(axis);
  check(begin >= 0 && begin <= end && end <= size, "slice.range", "slice: ", begin, " .. ", end, " of ", size);
  Shape shape = x.shape(), stride = detail::dense_strides(shape);
  shape[static_cast<std::size_t>(axis)] = end - begin;
  Tensor y(shape, x.dtype(), x.device());
  std::int64_t at = begin * stride[static_cast<std::size_t>(axis)];
  CopyArgs a = detail::copy_args(shape, stride, detail::dense_strides(shape), x.dtype());
  detail::copy_recorded(a, x, at, y, 0);
  record({x}, {y}, [a, x, at, g = y.gradient()] { detail::copy_back(a, x, at, *g, 0); });
  return y;
}

// Joins along one axis; the other axes agree.
inline Tensor concat(const std::vector<Tensor>& parts, std::int64_t axis) {
  check(!parts.empty(), "concat.empty", "concat: no tensors");
  axis = detail::axis_of("concat", parts[0], axis);
  auto i = static_cast<std::size_t>(axis);
  Shape shape = parts[0].shape();
  std::int64_t total = 0;
  for (const Tensor& p : parts) {
    check(p.rank() == parts[0].rank() && p.dtype() == parts[0].dtype(), "concat.shape", "concat: ", to_string(p.shape()), " beside ", to_string(parts[0].shape()));
    for (std::size_t k = 0; k < shape.size(); ++k)
      check(k == i || p.shape()[k] == shape[k], "concat.shape", "concat: ", to_string(p.shape()), " beside ", to_string(parts[0].shape()));
    total += p.size(axis);
  }
  shape[i] = total;
  Tensor y(shape, parts[0].dtype(), parts[0].device());
  Shape stride = detail::dense_strides(shape);
  std::int64_t at = 0;
  for (const Tensor& p : parts) {
    CopyArgs a = detail::copy_args(p.shape(), detail::dense_strides(p.shape()), stride, p.dtype());
    detail::copy_recorded(a, p, 0, y, at);
    at += p.size(axis) * stride[i];
  }
  // One record: the parts are only known at run time, so wanting is asked here.
  bool wanted = false;
  for (const Tensor& p : parts) wanted = wanted || p.wants_grad();
  if (Tape* tape = Tape::active(); tape && wanted) {
    Tensor marker = parts[0].detach();
    marker.requires_grad();
    tape->record({marker}, {y}, [parts, stride, i, g = y.gradient()] {
      std::int64_t from = 0;
      for (const Tensor& p : parts) {
        if (p.wants_grad()) detail::copy_back(detail::copy_args(p.shape(), detail::dense_strides(p.shape()), stride), p, 0, *g, from);
        from += p.shape()[i] * stride[i];
      }
    });
  }
  return y;
}

}  // namespace bam
