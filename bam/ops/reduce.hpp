// Sums, means and maxima over axes. The gradient of a sum is a broadcast; that of max goes to every element that
// equals it (ties share nothing: each gets the whole).
#pragma once
#include "elementwise.hpp"

namespace bam {

namespace detail {
inline std::vector<std::int64_t> axes_of(const char* op, const Tensor& x, std::vector<std::int64_t> axes) {
  if (axes.empty())
    for (std::int64_t i = 0; i < x.rank(); ++i) axes.push_back(i);
  for (auto& i : axes) i = axis_of(op, x, i);
  std::sort(axes.begin(), axes.end());
  check(std::adjacent_find(axes.begin(), axes.end()) == axes.end(), "axis.twice", op, ": an axis is named twice");
  return axes;
}
inline Shape without(const Shape& shape, const std::vector<std::int64_t>& axes) {
  Shape out;
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (!std::binary_search(axes.begin(), axes.end(), static_cast<std::int64_t>(i))) out.push_back(shape[i]);
  return out;
}
}  // namespace detail

// Over all axes when none is named. Reduced axes go, or stay with size 1 (keep).
inline Tensor sum(const Tensor& x, std::vector<std::int64_t> axes = {}, bool keep = false) {
  axes = detail::axes_of("sum", x, std::move(axes));
  Tensor y = detail::reduce_axes(x, axes);
  Tensor out = keep ? y : y.reshape(detail::without(x.shape(), axes));
  record({x}, {out}, [x, kept = y.shape(), g = out.gradient()] {
    auto [dx, write] = x.gradient()->target(x.numel());
    detail::broadcast_copy(g->data(), kept, dx, x.shape(), write, x.device());
  });
  return out;
}
inline Tensor mean(const Tensor& x, std::vector<std::int64_t> axes = {}, bool keep = false) {
  std::int64_t n = 1;
  for (std::int64_t i : detail::axes_of("mean", x, axes)) n *= x.size(i);
  check(n > 0, "mean.empty", "mean: of no elements");
  return scale(sum(x, std::move(axes), keep), 1.0f / static_cast<float>(n));
}
inline Tensor max(const Tensor& x, std::int64_t axis = -1, bool keep = false) {
  std::int64_t i = detail::axes_of("max", x, {axis})[0];
  check(x.size(i) > 0, "max.empty", "max: of no elements");
  Tensor y = detail::reduce_axis(x, i, Reduce::max, 1.0f);
  Tensor out = keep ? y : y.reshape(detail::without(x.shape(), {i}));
  record({x}, {out}, [x, y = y.detach(), g = out.gradient()] {
    Tensor hit = detail::broadcast(Binary::equal, x, y, 1.0f);
    auto [dx, write] = x.gradient()->target(x.numel());
    detail::binary_into(Binary::mul, hit.address(), hit.shape(), g->data(), y.shape(), dx, x.shape(), 1.0f, write, x.device());
  });
  return out;
}

}  // namespace bam
