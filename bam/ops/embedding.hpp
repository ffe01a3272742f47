// Rows of a table by index: embedding(table (V, C), ids (N)) -> (N, C). The gradient of a row is a chain over its tokens in
// order. take_rows and add_rows are the same two moves for I64 indices: gather and its mirror, scatter.
#pragma once
#include "../tensor/tape.hpp"

namespace bam {

namespace detail {
inline void check_index(const char* op, const Tensor& index, std::int64_t rows) {
  check(index.dtype() == DType::i32 || index.dtype() == DType::i64, "index.dtype", op, ": index is ", name_of(index.dtype()), ", wanted I32 or I64");
  if (index.device() != Device::cpu) return;  // what lies on a device is not read back for a check
  for (std::int64_t i = 0; i < index.numel(); ++i) {
    std::int64_t v = index.dtype() == DType::i32 ? index.data<std::int32_t>()[i] : index.data<std::int64_t>()[i];
    check(v < rows, "index.range", op, ": index ", v, " at ", i, " of a table of ", rows, " rows");
  }
}
template <class Args>
void set_index(Args& a, const Tensor& index) {
  if (index.dtype() == DType::i32) a.index32 = index.address<std::int32_t>();
  else a.index = index.address<std::int64_t>();
}
inline void gather_rows(const void* x, std::int64_t columns, const Tensor& index, void* y, Write write, DType dtype = DType::f32) {
  GatherArgs a;
  a.dtype = a.out = dtype;
  a.write = write;
  a.rows = index.numel();
  a.columns = a.x_row = a.y_row = columns;
  a.x = x;
  set_index(a, index);
  a.y = y;
  kernel::gather(a, index.device());
}
inline void scatter_rows(const float* x, std::int64_t columns, const Tensor& index, float* y, std::int64_t targets, Write write) {
  ScatterArgs a;
  a.write = write;
  a.rows = index.numel();
  a.targets = targets;
  a.columns = a.x_row = a.y_row = columns;
  a.x = x;
  set_index(a, index);
  a.y = y;
  kernel::scatter(a, index.device());
}
}  // namespace detail

// An index below 0 gives a row of zeros.
inline Tensor take_rows(const Tensor& x, const Tensor& index) {
  check(x.rank() == 2, "take_rows.shape", "take_rows: x is ", to_string(x.shape()), ", wanted (V, C)");
  detail::check_index("take_rows", index, x.rows());
  check(x.dtype() == DType::f32 || (x.dtype() == DType::bf16 && !(Tape::active() && x.wants_grad())), "take_rows.dtype", "take_rows: x is of ", name_of(x.dtype()), ", wanted F32, or BF16 where no gradient is");
  Tensor y({index.numel(), x.columns()}, x.dtype(), detail::device_of("take_rows", x, index));
  detail::gather_rows(x.raw(), x.columns(), index, y.raw(), Write::overwrite, x.dtype());
  record({x}, {y}, [x, index, g = y.gradient()] {
    auto [dx, write] = x.gradient()->target(x.numel());
    detail::scatter_rows(g->data(), x.columns(), index, dx, x.rows(), write);
  });
  return y;
}
inline Tensor embedding(const Tensor& table, const Tensor& ids) { return take_rows(table, ids); }

// (targets, C): row index[r] is the sum of the rows x[r].
inline Tensor add_rows(const Tensor& x, const Tensor& index, std::int64_t targets) {
  check(x.rank() == 2 && index.numel() == x.rows(), "add_rows.shape", "add_rows: x is ", to_string(x.shape()), ", ", index.numel(), " indices");
  detail::check_index("add_rows", index, targets);
  Tensor y({targets, x.columns()}, DType::f32, detail::device_of("add_rows", x, index));
  detail::scatter_rows(x.address(), x.columns(), index, y.address(), targets, Write::overwrite);
  record({x}, {y}, [x, index, g = y.gradient()] {
    auto [dx, write] = x.gradient()->target(x.numel());
    detail::gather_rows(g->data(), x.columns(), index, dx, write);
  });
  return y;
}

}  // namespace bam
