// Rotary position embedding. rope turns a copy of x (N, heads * D); qkv_projection multiplies and then turns its own
// product, so that the unturned queries and keys are never kept. The backward turns the gradient back.
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

  Rotation rotation() const { return {rotate_half, table.columns(), positions.address<std::int32_t>(), table.address()}; }
};

namespace detail {
inline void check_rope(const Rope& rope, std::int64_t rows) {
  check(rope.positions.numel() == rows && rope.positions.dtype() == DType::i32, "rope.positions", "rope: ", rope.positions.numel(), " positions for ", rows, " rows");
  if (rope.positions.device() != Device::cpu) return;  // what lies on a device is not read back for a check
  const std::int64_t most = rope.table.rows();
  const std::span<const std::int32_t> positions = rope.positions.values<std::int32_t>();
  for (std::size_t i = 0; i < positions.size(); ++i) check(positions[i] >= 0 && positions[i] < most, "rope.position", "rope: position ", positions[i], " at ", i, " of a table of ", most, " rows");
}
}  // namespace detail

inline Tensor rope(const Tensor& x, const Rope& rope) {
  detail::check_rope(rope, x.rows());
  std::int64_t heads = x.columns() / rope.table.columns();
  check(heads * rope.table.columns() == x.columns(), "rope.shape", "rope: x has ", x.columns(), " columns, heads are ", rope.table.columns(), " wide");
  Tensor y(x.shape(), DType::f32, detail::device_of("rope", x, rope.table, rope.positions));
  RopeArgs a = rope_args(rope.rotation(), DType::f32, x.rows(), heads, y.address(), x.columns(), false);
  a.x = x.address();
  kernel::rope(a, y.device());
  record({x}, {y}, [x, rope, heads, g = y.gradient()] {
    kernel::rope(rope_args(rope.rotation(), DType::f32, x.rows(), heads, g->data(), x.columns(), true), x.device());
    x.gradient()->absorb(*g, x.numel());
  });
  return y;
}

// Who turns the gradient of queries and keys back: the projection, or the attention that reads them, which then is told of the rotation.
enum class TurnBack { projection, attention };

namespace detail {
// The product of qkv_projection; y is what it fills.
inline GemmArgs qkv_args(const Tensor& x, const Tensor& w, const Rope& rope, std::int64_t turned_heads, Tensor& y) {
  check_linear("qkv_projection", x, w);
  check_rope(rope, x.rows());
  const std::int64_t n = x.rows(), k = x.columns(), o = w.size(0);
  check(turned_heads * rope.table.columns() <= o, "rope.shape", "qkv_projection: ", turned_heads, " heads of ", rope.table.columns(), " in ", o, " columns");
  y = Tensor(with_last(x.shape(), o), x.dtype(), device_of("qkv_projection", x, w, rope.table, rope.positions));
  GemmArgs product = gemm_args(n, o, k, x.raw(), k, false, w.raw(), k, true, y.raw(), o, Write::overwrite, x.dtype(), x.dtype());
  product.turn = rope.rotation();
  product.turned_heads = turned_heads;
  return product;
}
inline void turn_back(const Gradient& g, const Rope& rope, std::int64_t rows, std::int64_t heads, std::int64_t columns) {
  if (!g.empty()) kernel::rope(rope_args(rope.rotation(), g.dtype(), rows, heads, g.data<void>(), columns, true), g.device());
}
}  // namespace detail

// y (N, O) = x W^T, in F32 or all in BF16, with its first turned_heads heads turned: queries and keys of W = [q | k | v].
inline Tensor qkv_projection(const Tensor& x, const Tensor& w, const Rope& rope, std::int64_t turned_heads, TurnBack back = TurnBack::projection) {
  Tensor y;
  const GemmArgs product = detail::qkv_args(x, w, rope, turned_heads, y);
  kernel::gemm(product, y.device());
  record({x, w}, {y}, [x, w, rope, turned_heads, back, g = y.gradient()] {
    if (back == TurnBack::projection) detail::turn_back(*g, rope, x.rows(), turned_heads, w.size(0));
    detail::linear_backward(x, w, *g);
  });
  return y;
}
// The same beside x W2^T: what a parallel block's attention and FFN begin with.
inline std::pair<Tensor, Tensor> qkv_projection(const Tensor& x, const Tensor& w, const Rope& rope, std::int64_t turned_heads, const Tensor& w2, TurnBack back = TurnBack::projection) {
  detail::check_linear("qkv_projection", x, w2);
  const std::int64_t n = x.rows(), k = x.columns(), o2 = w2.size(0);
  Tensor y, y2(detail::with_last(x.shape(), o2), x.dtype(), detail::device_of("qkv_projection", x, w2));
  const GemmArgs first = detail::qkv_args(x, w, rope, turned_heads, y);
  kernel::gemm_pair({first, detail::gemm_args(n, o2, k, x.raw(), k, false, w2.raw(), k, true, y2.raw(), o2, Write::overwrite, x.dtype(), x.dtype())}, y.device());
  record({x, w, w2}, {y, y2}, [x, w, w2, rope, turned_heads, back, g = y.gradient(), g2 = y2.gradient()] {
    if (back == TurnBack::projection) detail::turn_back(*g, rope, x.rows(), turned_heads, w.size(0));
    detail::linear_backward(x, w2, g2->data<void>(), x, w, g->data<void>());
  });
  return {y, y2};
}

}  // namespace bam
