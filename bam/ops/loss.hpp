// Losses. Targets below 0 are not trained: their loss and gradient are exactly 0.
// linear_cross_entropy fuses the output layer: x (N, C), W (V, C), both of F32 or BF16, nll (N) = lse - logit of the target. It works through chunks of
// rows, so that never more than 64 MiB of logits exist (2 GiB on a GPU). Where the gradient of nll is known beforehand, a chunk's gradients are made with its
// losses; else a batch whose logits fit keeps them for backward, and a larger one computes them again there. All give the same bits.
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

// nll per row; logits = logit_scale * x W^T. slope (N) F32: what backward will be given as the gradient of nll, which nothing else may use. With a tape, the gradients of x and w
// have been added to when this returns.
inline Tensor linear_cross_entropy(const Tensor& x, const Tensor& w, const Tensor& targets, float logit_scale = 1.0f, const Tensor& slope = {}) {
  detail::check_linear("linear_cross_entropy", x, w);
  std::int64_t n = x.rows(), c = x.columns(), v = w.size(0);
  detail::check_targets("linear_cross_entropy", targets, n, v);
  const std::int64_t chunk = std::max<std::int64_t>(1, logits_chunk(x.device()).rows(n, v));
  const Device device = detail::device_of("linear_cross_entropy", x, w, targets);
  check(!slope.defined() || (slope.dtype() == DType::f32 && slope.numel() == n && slope.device() == device), "loss.slope", "linear_cross_entropy: wanted a slope of ", n, " F32 where x lies");
  Tensor nll({n}, DType::f32, device), lse({n}, DType::f32, device), logits({n ? chunk : 0, v}, DType::f32, device);
  CrossEntropyArgs base;
  base.columns = base.x_row = base.dx_row = v;
  base.scale = logit_scale;
  const DType dtype = base.out = x.dtype();  // of x, w and dL / dlogits; logits and losses are of F32
  auto row_of = [](const Tensor& t, std::int64_t at) { return element(t.raw(), at * t.columns(), t.dtype()); };
  auto compute = [=](std::int64_t at, std::int64_t rows, float* out) {
    kernel::gemm(detail::gemm_args(rows, v, c, row_of(x, at), c, false, w.raw(), c, true, out, v, Write::overwrite, dtype), device);
  };
  // Of the rows from `at` on, whose logits are there: dL / dlogits, which may lie where they do, and from it the gradients.
  auto differentiate = [=, dx_write = Write::overwrite](std::int64_t at, const Tensor& from, Tensor to, const float* dnll) mutable {
    CrossEntropyArgs a = base;
    a.rows = std::min(chunk, n - at);
    a.x = from.raw();
    a.dx = to.raw();
    a.target = targets.address<std::int32_t>() + at;
    a.lse = const_cast<float*>(lse.address()) + at;
    a.dnll = const_cast<float*>(dnll) + at;
    kernel::cross_entropy_backward(a, device);
    if (w.wants_grad()) {
      auto [dw, write] = w.gradient()->target(w.numel());
      kernel::gemm(detail::gemm_args(v, c, a.rows, a.dx, v, true, row_of(x, at), c, false, dw, c, write, dtype), device);
    }
    if (x.wants_grad()) {
      auto [dx, write] = x.gradient()->target<void>(x.numel());
      if (at == 0) dx_write = write;  // each chunk owns its rows: all are written as the first one is
      const DType out = x.gradient()->dtype();
      kernel::gemm(detail::gemm_args(a.rows, c, v, a.dx, v, false, w.raw(), c, false, element(dx, at * c, out), c, dx_write, dtype, out), device);
    }
  };
  auto space = [=](const Tensor& beside) { return dtype == DType::f32 ? beside : Tensor({chunk, v}, dtype, device); };  // for dL / dlogits
  const bool at_once = slope.defined() && Tape::active() && (x.wants_grad() || w.wants_grad()) && n > 0;
  const Tensor dlogits = at_once ? space(logits) : Tensor();
  for (std::int64_t at = 0; at < n; at += chunk) {
    CrossEntropyArgs a = base;
    a.rows = std::min(chunk, n - at);
    a.x = logits.raw();
    compute(at, a.rows, logits.address());
    a.target = targets.address<std::int32_t>() + at;
    a.nll = nll.address() + at;
    a.lse = lse.address() + at;
    kernel::cross_entropy_forward(a, device);
    if (at_once) differentiate(at, logits, dlogits, slope.address());
  }
  if (at_once) {
    record({x, w}, {nll}, [] {});
    return nll;
  }
  const bool kept = chunk >= n;
  record({x, w}, {nll}, [=, kept_logits = kept ? logits : Tensor(), g = nll.gradient()]() mutable {
    Tensor work = kept ? kept_logits : Tensor({chunk, v}, DType::f32, device);
    const Tensor to = space(work);
    for (std::int64_t at = 0; at < n; at += chunk) {
      if (!kept) compute(at, std::min(chunk, n - at), work.address());
      differentiate(at, work, to, g->data());
    }
  });
  return nll;
}

// Mean of (a - b)^2.
inline Tensor mse_loss(const Tensor& a, const Tensor& b) { return mean(square(sub(a, b))); }
// Mean binary cross-entropy of logits x against labels y in [0, 1]: softplus(x) - x y.
inline Tensor bce_loss(const Tensor& x, const Tensor& y) { return mean(sub(softplus(x), mul(x, y))); }

}  // namespace bam
