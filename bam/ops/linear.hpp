// Matrix products. linear: y = x W^T; linear_add: y = residual + x W^T; matmul: batched, with broadcasting.
// x (..., K), W (O, K), y (..., O), in F32, or the first two in BF16. Forward saves x and W. dx = dy W, dW = dy^T x (a chain over tokens in order).
#pragma once
#include <algorithm>

#include "../tensor/tape.hpp"

namespace bam {

namespace detail {
// op(A) op(B) of F32, or of whatever a caller sets.
inline GemmArgs gemm_args(std::int64_t M, std::int64_t N, std::int64_t K, const void* A, std::int64_t lda, bool ta,
                          const void* B, std::int64_t ldb, bool tb, void* C, std::int64_t ldc, Write write, DType dtype = DType::f32, DType out = DType::f32) {
  GemmArgs a;
  a.dtype = dtype;
  a.out = out;
  a.write = write;
  a.transpose_a = ta;
  a.transpose_b = tb;
  a.M = M;
  a.N = N;
  a.K = K;
  a.A = A;
  a.lda = lda;
  a.B = B;
  a.ldb = ldb;
  a.C = C;
  a.ldc = ldc;
  return a;
}
// n values of a gradient in the type that its products have: where they lie, or, rounded, in a tensor that must live as long.
inline std::pair<const void*, Tensor> gradient_in(const Gradient& g, std::int64_t n, DType dtype) {
  if (g.dtype() == dtype) return {g.data<void>(), Tensor()};
  Tensor t({n}, dtype, g.device());
  CastArgs a;
  a.from = g.dtype();
  a.to = dtype;
  a.n = n;
  a.x = g.data<void>();
  a.y = t.raw();
  kernel::cast(a, g.device());
  return {std::as_const(t).raw(), t};
}
// dW = or += dy^T x and dx = or += dy W of y = x W^T.
inline GemmArgs weight_gradient(const Tensor& x, const Tensor& w, const void* dy) {
  const std::int64_t n = x.rows(), k = x.columns(), o = w.size(0);
  auto [dw, write] = w.gradient()->target(o * k);
  return gemm_args(o, k, n, dy, o, true, x.raw(), k, false, dw, k, write, x.dtype());
}
inline GemmArgs input_gradient(const Tensor& x, const Tensor& w, const void* dy) {
  const std::int64_t n = x.rows(), k = x.columns(), o = w.size(0);
  auto [dx, write] = x.gradient()->target<void>(n * k);
  return gemm_args(n, k, o, dy, o, false, w.raw(), k, false, dx, k, write, x.dtype(), x.gradient()->dtype());
}
inline void linear_backward(const Tensor& x, const Tensor& w, const Gradient& g) {
  const auto [dy, kept] = gradient_in(g, x.rows() * w.size(0), x.dtype());
  if (w.wants_grad()) kernel::gemm(weight_gradient(x, w, dy), x.device());
  if (x.wants_grad()) kernel::gemm(input_gradient(x, w, dy), x.device());
}
// Of two products at once; a null dy: that one has no gradient. x1 and x2 may be the same.
inline void linear_backward(const Tensor& x1, const Tensor& w1, const void* dy1, const Tensor& x2, const Tensor& w2, const void* dy2) {
  auto run = [&](auto gradient, bool first, bool second) {
    first = first && dy1, second = second && dy2;
    if (first && second) return kernel::gemm_pair({gradient(x1, w1, dy1), gradient(x2, w2, dy2)}, x1.device());
    if (first) kernel::gemm(gradient(x1, w1, dy1), x1.device());
    if (second) kernel::gemm(gradient(x2, w2, dy2), x2.device());
  };
  run(weight_gradient, w1.wants_grad(), w2.wants_grad());
  run(input_gradient, x1.wants_grad(), x2.wants_grad());
}
inline Shape with_last(Shape shape, std::int64_t n) {
  shape.back() = n;
  return shape;
}
inline void check_linear(const char* op, const Tensor& x, const Tensor& w) {
  check(x.rank() >= 1 && w.rank() == 2 && x.columns() == w.size(1), "linear.shape", op, ": x is ", to_string(x.shape()),
        ", w is ", to_string(w.shape()), "; wanted (..., K) and (O, K)");
  check(x.dtype() == w.dtype() && (x.dtype() == DType::f32 || x.dtype() == DType::bf16), "linear.dtype", op, ": x is of ", name_of(x.dtype()), ", w of ", name_of(w.dtype()), "; wanted both F32 or both BF16");
}
}  // namespace detail

// y holds `out`: F32, or BF16 where x and w do.
inline Tensor linear(const Tensor& x, const Tensor& w, DType out) {
  detail::check_linear("linear", x, w);
  check(out == DType::f32 || out == x.dtype(), "linear.dtype", "linear: a result of ", name_of(out), " from ", name_of(x.dtype()));
  std::int64_t n = x.rows(), k = x.columns(), o = w.size(0);
  const Device device = detail::device_of("linear", x, w);
  Tensor y(detail::with_last(x.shape(), o), out, device);
  kernel::gemm(detail::gemm_args(n, o, k, x.raw(), k, false, w.raw(), k, true, y.raw(), o, Write::overwrite, x.dtype(), out), device);
  record({x, w}, {y}, [x, w, g = y.gradient()] { detail::linear_backward(x, w, *g); });
  return y;
}
inline Tensor linear(const Tensor& x, const Tensor& w) { return linear(x, w, x.dtype()); }

// residual and y are of F32 whatever x and w are.
inline Tensor linear_add(const Tensor& residual, const Tensor& x, const Tensor& w) {
  detail::check_linear("linear_add", x, w);
  std::int64_t n = x.rows(), k = x.columns(), o = w.size(0);
  check(residual.numel() == n * o, "linear_add.shape", "linear_add: residual is ", to_string(residual.shape()), ", product is (", n, ", ", o, ")");
  const Device device = detail::device_of("linear_add", residual, x, w);
  Tensor y(residual.shape(), DType::f32, device);
  GemmArgs product = detail::gemm_args(n, o, k, x.raw(), k, false, w.raw(), k, true, y.address(), o, Write::add, x.dtype());
  product.from = residual.address();
  kernel::gemm(product, device);
  record({residual, x, w}, {y}, [r = residual.gradient(), x, w, g = y.gradient(), n, o] {
    detail::linear_backward(x, w, *g);
    if (r->wanted) r->absorb(*g, n * o);
  });
  return y;
}

// residual + x1 W1^T + x2 W2^T, in this order.
inline Tensor linear_add(const Tensor& residual, const Tensor& x1, const Tensor& w1, const Tensor& x2, const Tensor& w2) {
  detail::check_linear("linear_add", x1, w1);
  detail::check_linear("linear_add", x2, w2);
  const std::int64_t n = x1.rows(), k1 = x1.columns(), k2 = x2.columns(), o = w1.size(0);
  check(residual.numel() == n * o && x2.rows() == n && w2.size(0) == o && x1.dtype() == x2.dtype(), "linear_add.shape", "linear_add: residual is ", to_string(residual.shape()), ", products are (", n, ", ", o, ") of ", name_of(x1.dtype()), " and (", x2.rows(), ", ", w2.size(0), ") of ", name_of(x2.dtype()));
  const Device device = detail::device_of("linear_add", residual, x1, w1, x2, w2);
  Tensor y(residual.shape(), DType::f32, device);
  GemmPairArgs sum{detail::gemm_args(n, o, k1, x1.raw(), k1, false, w1.raw(), k1, true, y.address(), o, Write::add, x1.dtype()),
                   detail::gemm_args(n, o, k2, x2.raw(), k2, false, w2.raw(), k2, true, y.address(), o, Write::add, x2.dtype())};
  sum.first.from = residual.address();
  kernel::gemm_pair(sum, device);
  record({residual, x1, w1, x2, w2}, {y}, [r = residual.gradient(), x1, w1, x2, w2, g = y.gradient(), n, o] {
    const auto [dy, kept] = detail::gradient_in(*g, n * o, x1.dtype());
    detail::linear_backward(x2, w2, dy, x1, w1, dy);
    if (r->wanted) r->absorb(*g, n * o);
  });
  return y;
}

// a (..., M, K) times b (..., K, N), transposed on request; batch axes are equal, but for ones in front, or those of one operand are all 1.
inline Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a = false, bool transpose_b = false) {
  check(a.rank() >= 2 && b.rank() >= 2, "matmul.rank", "matmul: wanted matrices, got ", to_string(a.shape()), " and ", to_string(b.shape()));
  auto matrix = [](const Tensor& t) { return t.size(-1) * t.size(-2); };
  std::int64_t M = a.size(transpose_a ? -1 : -2), K = a.size(transpose_a ? -2 : -1);
  std::int64_t N = b.size(transpose_b ? -2 : -1), K2 = b.size(transpose_b ? -1 : -2);
  check(K == K2, "matmul.shape", "matmul: inner sizes ", K, " and ", K2, " of ", to_string(a.shape()), " and ", to_string(b.shape()));
  auto batch_of = [](const Tensor& t) {  // batch axes without ones in front: none, where all are 1
    const auto end = t.shape().end() - 2;
    return Shape(std::find_if(t.shape().begin(), end, [](std::int64_t d) { return d != 1; }), end);
  };
  const Shape batch_a = batch_of(a), batch_b = batch_of(b);
  check(batch_a == batch_b || batch_a.empty() || batch_b.empty(), "matmul.batch", "matmul: batches of ", to_string(a.shape()), " and ", to_string(b.shape()));
  const std::int64_t batch = numel(batch_a.empty() ? batch_b : batch_a);
  Shape shape = batch_a.empty() && (!batch_b.empty() || b.rank() > a.rank()) ? b.shape() : a.shape();
  shape[shape.size() - 2] = M;
  shape[shape.size() - 1] = N;
  const Device device = detail::device_of("matmul", a, b);
  Tensor y(shape, DType::f32, device);
  auto product = [device](std::int64_t n, std::int64_t m, std::int64_t nn, std::int64_t k, const float* A, std::int64_t lda, bool ta, std::int64_t sa,
                    const float* B, std::int64_t ldb, bool tb, std::int64_t sb, float* C, std::int64_t ldc, std::int64_t sc, Write write) {
    GemmArgs args = detail::gemm_args(m, nn, k, A, lda, ta, B, ldb, tb, C, ldc, write);
    args.batch = n;
    args.batch_a = sa;
    args.batch_b = sb;
    args.batch_c = sc;
    if (n == 0 && sc == 0) args.batch = 1, args.K = 0;  // a sum of nothing
    if (sc != 0 || n <= 1) return kernel::gemm(args, device);
    args.batch = 1;  // a repeated operand's gradient is a sum over the batch, in order
    for (std::int64_t i = 0; i < n; ++i) {
      args.A = A + i * sa;
      args.B = B + i * sb;
      args.write = i ? Write::add : write;
      kernel::gemm(args, device);
    }
  };
  std::int64_t sa = batch_a.empty() ? 0 : matrix(a), sb = batch_b.empty() ? 0 : matrix(b), sy = M * N;
  std::int64_t lda = a.size(-1), ldb = b.size(-1);
  product(batch, M, N, K, a.address(), lda, transpose_a, sa, b.address(), ldb, transpose_b, sb, y.address(), N, sy, Write::overwrite);
  record({a, b}, {y}, [=, g = y.gradient()] {
    const float* dy = g->data();
    if (a.wants_grad()) {
      auto [da, write] = a.gradient()->target(a.numel());
      if (transpose_a) product(batch, K, M, N, b.address(), ldb, transpose_b, sb, dy, N, true, sy, da, M, sa, write);
      else product(batch, M, K, N, dy, N, false, sy, b.address(), ldb, !transpose_b, sb, da, K, sa, write);
    }
    if (b.wants_grad()) {
      auto [db, write] = b.gradient()->target(b.numel());
      if (transpose_b) product(batch, N, K, M, dy, N, true, sy, a.address(), lda, transpose_a, sa, db, K, sb, write);
      else product(batch, K, N, M, a.address(), lda, !transpose_a, sa, dy, N, false, sy, db, N, sb, write);
    }
  });
  return y;
}

}  // namespace bam
