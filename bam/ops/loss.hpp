// Losses. Targets below 0 are not trained: their loss and gradient are exactly 0.
// linear_cross_entropy fuses the output layer: x (N, C), W (V, C), both of F32 or BF16, nll (N) = lse - logit of the target. It works through chunks of
// rows, so that never more than 64 MiB of logits exist (2 GiB on a GPU); a batch whose logits fit keeps them, a larger one computes
// them again in backward. Both give the same bits.
#pragma once
#include "elementwise.hpp"
#include "linear.hpp"
#include "reduce.hpp"

namespace bam {

// The logits that exist at once, F32. A setting of the process: larger chunks read the weights less often, and fill a GPU, whose products come in tiles of 128 rows.
struct LogitsChunk {
  std::int64_t bytes = 0, tile = 1;
  // How many of n rows of v: chunks of one size but for the last, in whole tiles where one fits.
  std::int64_t rows(std::int64_t n, std::int64_t v) const {
    std::int64_t most = std::max<std::int64_t>(1, bytes / 4 / std::max<std::int64_t>(v, 1));
    if (n <= most) return n;
    const std::int64_t whole = most < tile ? 1 : tile;
    most -= most % whole;
    const std::int64_t chunks = (n - 1) / most + 1, even = (n - 1) / chunks + 1;
    return (even + whole - 1) / whole * whole;
  }
};
inline LogitsChunk& logits_chunk(Device d) {
  static LogitsChunk of[] = {{std::int64_t{64} << 20, 1}, {std::int64_t{2} << 30, 128}};
  return of[static_cast<int>(d)];
}

namespace detail {
inline void check_targets(const char* op, const Tensor& targets, std::int64_t rows, std::int64_t classes) {
  check(targets.dtype() == DType::i32 && targets.numel() == rows, "loss.targets", op, ": ", targets.numel(), " targets of ", name_of(targets.dtype()), " for ", rows, " rows, wanted I32");
  if (targets.device() != Device::cpu) return;  // what lies on a device is not read back for a check
  for (std::int64_t i = 0; i < rows; ++i)
    check(targets.data<std::int32_t>()[i] < classes, "loss.target", op, ": target ", targets.data<std::int32_t>()[i], " of ", classes, " classes");
}
}  // namespace detail

// nll per row of logits (N, V).
inline Tensor cross_entropy_rows(const Tensor& logits, const Tensor& targets, float scale = 1.0f) {
  std::int64_t n = logits.rows(), v = logits.columns();
  detail::check_targets("cross_entropy", targets, n, v);
  const Device device = detail::device_of("cross_entropy", logits, targets);
  Tensor nll({n}, DType::f32, device), lse({n}, DType::f32, device);
  CrossEntropyArgs a;
  a.rows = n;
  a.columns = a.x_row = a.dx_row = v;
  a.scale = scale;
  a.x = logits.address();
  a.target = targets.address<std::int32_t>();
  a.nll = nll.address();
  a.lse = lse.address();
  kernel::cross_entropy_forward(a, device);
  record({logits}, {nll}, [a, logits, targets, lse, g = nll.gradient()]() mutable {
    a.nll = nullptr;
    a.dnll = g->data();
    std::tie(a.dx, a.write) = logits.gradient()->target(logits.numel());
    kernel::cross_entropy_backward(a, logits.device());
  });
  return nll;
}
// Mean over the trained rows: a scalar.
inline Tensor cross_entropy(const Tensor& logits, const Tensor& targets) {
  std::int64_t trained = 0;
  const Tensor here = targets.to(Device::cpu);
  for (std::int32_t t : here.values<std::int32_t>()) trained += t >= 0;
  check(trained > 0, "loss.empty", "cross_entropy: no target is trained");
  return scale(sum(cross_entropy_rows(logits, targets)), 1.0f / static_cast<float>(trained));
}

// nll per row; logits = logit_scale * x W^T.
inline Tensor linear_cross_entropy(const Tensor& x, const Tensor& w, const Tensor& targets, float logit_scale = 1.0f) {
  detail::check_linear("linear_cross_entropy", x, w);
  std::int64_t n = x.rows(), c = x.columns(), v = w.size(0);
  detail::check_targets("linear_cross_entropy", targets, n, v);
  const std::int64_t chunk = std::max<std::int64_t>(1, logits_chunk(x.device()).rows(n, v));
  const Device device = detail::device_of("linear_cross_entropy", x, w, targets);
  Tensor nll({n}, DType::f32, device), lse({n}, DType::f32, device), logits({n ? chunk : 0, v}, DType::f32, device);
  CrossEntropyArgs base;
  base.columns = base.x_row = base.dx_row = v;
  base.scale = logit_scale;
  base.x = logits.raw();
  base.dx = logits.raw();
  const DType dtype = base.out = x.dtype();  // of x, w and dL / dlogits; logits and losses are of F32
  auto row_of = [](const Tensor& t, std::int64_t at) { return element(t.raw(), at * t.columns(), t.dtype()); };
  auto compute = [=](std::int64_t at, std::int64_t rows, float* out) {
    kernel::gemm(detail::gemm_args(rows, v, c, row_of(x, at), c, false, w.raw(), c, true, out, v, Write::overwrite, dtype), device);
  };
  for (std::int64_t at = 0; at < n; at += chunk) {
    CrossEntropyArgs a = base;
    a.rows = std::min(chunk, n - at);
    compute(at, a.rows, logits.address());
    a.target = targets.address<std::int32_t>() + at;
    a.nll = nll.address() + at;
    a.lse = lse.address() + at;
    kernel::cross_entropy_forward(a, device);
  }
  bool kept = chunk >= n;
  record({x, w}, {nll}, [=, kept_logits = kept ? logits : Tensor(), g = nll.gradient()]() {
    Tensor work = kept ? kept_logits : Tensor({chunk, v}, DType::f32, device);
    Tensor slope = dtype == DType::f32 ? work : Tensor({chunk, v}, dtype, device);  // dL / dlogits
    Write dx_write = Write::overwrite;  // each chunk owns its rows: all are written as the first one is
    for (std::int64_t at = 0; at < n; at += chunk) {
      CrossEntropyArgs a = base;
      a.rows = std::min(chunk, n - at);
      if (!kept) compute(at, a.rows, work.address());
      a.x = work.raw();
      a.dx = slope.raw();
      a.target = targets.address<std::int32_t>() + at;
      a.lse = const_cast<float*>(lse.address()) + at;
      a.dnll = g->data() + at;
      kernel::cross_entropy_backward(a, device);
      if (w.wants_grad()) {
        auto [dw, write] = w.gradient()->target(w.numel());
        kernel::gemm(detail::gemm_args(v, c, a.rows, a.dx, v, true, row_of(x, at), c, false, dw, c, write, dtype), device);
      }
      if (x.wants_grad()) {
        auto [dx, write] = x.gradient()->target<void>(x.numel());
        if (at == 0) dx_write = write;
        const DType out = x.gradient()->dtype();
        kernel::gemm(detail::gemm_args(a.rows, c, v, a.dx, v, false, w.raw(), c, false, element(dx, at * c, out), c, dx_write, dtype, out), device);
      }
    }
  });
  return nll;
}

// Mean of (a - b)^2.
inline Tensor mse_loss(const Tensor& a, const Tensor& b) { return mean(square(sub(a, b))); }
// Mean binary cross-entropy of logits x against labels y in [0, 1]: softplus(x) - x y.
inline Tensor bce_loss(const Tensor& x, const Tensor& y) { return mean(sub(softplus(x), mul(x, y))); }

}  // namespace bam
