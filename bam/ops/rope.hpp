// Rotary position embedding. rope turns a copy of x (N, heads * D); qkv_projection multiplies and then turns its own
// product in place, so that the unturned queries and keys are never kept. The backward turns the gradient back.
#pragma once
#include "linear.hpp"

namespace bam {

// cos and sin of position * theta^(-2i/D), computed in double: (positions, D), cos in the first half of a row.
inline Tensor rope_table(std::int64_t positions, std::int64_t head_dim, double theta) {
  check(head_dim > 0 && head_dim % 2 == 0, "rope.head_dim", "rope: head_dim is ", head_dim, ", wanted an even number");
  Tensor t({positions, head_dim});
  std::int64_t half = head_dim / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    double frequency = math::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    for (std::int64_t p = 0; p < positions; ++p) {
      auto [s, c] = math::sincos(static_cast<double>(p) * frequency);
      t.data()[p * head_dim + i] = static_cast<float>(c);
      t.data()[p * head_dim + half + i] = static_cast<float>(s);
    }
  }
  return t;
}

struct Rope {
  Tensor table;      // rope_table
  Tensor positions;  // (N), I32, each below the table's rows
  bool rotate_half = false;
};

namespace detail {
inline void rotate(const Rope& rope, DType dtype, const void* x, void* y, std::int64_t rows, std::int64_t row_stride, std::int64_t heads, bool inverse) {
  RopeArgs a;
  a.dtype = dtype;
  a.rotate_half = rope.rotate_half;
  a.inverse = inverse;
  a.rows = rows;
  a.heads = heads;
  a.head_dim = rope.table.columns();
  a.x = x;
  a.y = y;
  a.x_row = a.y_row = row_stride;
  a.positions = rope.positions.address<std::int32_t>();
  a.table = rope.table.address();
  kernel::rope(a, rope.table.device());
}
inline void check_rope(const Rope& rope, std::int64_t rows) {
  check(rope.positions.numel() == rows && rope.positions.dtype() == DType::i32, "rope.positions", "rope: ", rope.positions.numel(), " positions for ", rows, " rows");
}
}  // namespace detail

inline Tensor rope(const Tensor& x, const Rope& rope) {
  detail::check_rope(rope, x.rows());
  std::int64_t heads = x.columns() / rope.table.columns();
  check(heads * rope.table.columns() == x.columns(), "rope.shape", "rope: x has ", x.columns(), " columns, heads are ", rope.table.columns(), " wide");
  Tensor y(x.shape(), DType::f32, detail::device_of("rope", x, rope.table, rope.positions));
  detail::rotate(rope, DType::f32, x.address(), y.address(), x.rows(), x.columns(), heads, false);
  record({x}, {y}, [x, rope, heads, g = y.gradient()] {
    detail::rotate(rope, DType::f32, g->data(), g->data(), x.rows(), x.columns(), heads, true);
    x.gradient()->absorb(*g, x.numel());
  });
  return y;
}

// y (N, O) = x W^T, in F32 or all in BF16, with its first turned_heads heads turned: queries and keys of W = [q | k | v].
inline Tensor qkv_projection(const Tensor& x, const Tensor& w, const Rope& rope, std::int64_t turned_heads) {
  detail::check_linear("qkv_projection", x, w);
  detail::check_rope(rope, x.rows());
  std::int64_t n = x.rows(), k = x.columns(), o = w.size(0);
  check(turned_heads * rope.table.columns() <= o, "rope.shape", "qkv_projection: ", turned_heads, " heads of ", rope.table.columns(), " in ", o, " columns");
  const Device device = detail::device_of("qkv_projection", x, w, rope.table, rope.positions);
  Tensor y(detail::with_last(x.shape(), o), x.dtype(), device);
  kernel::gemm(detail::gemm_args(n, o, k, x.raw(), k, false, w.raw(), k, true, y.raw(), o, Write::overwrite, x.dtype(), x.dtype()), device);
  detail::rotate(rope, y.dtype(), y.raw(), y.raw(), n, o, turned_heads, false);
  record({x, w}, {y}, [x, w, rope, turned_heads, n, o, g = y.gradient()] {
    detail::rotate(rope, g->dtype(), g->data<void>(), g->data<void>(), n, o, turned_heads, true);
    detail::linear_backward(x, w, *g);
  });
  return y;
}

}  // namespace bam
