// LayerNorm (weight only; Ba et al. 2016) and RMSNorm (Zhang & Sennrich 2019), x, y (N, C), w (C):
// y = (x - mean) * rstd * w, rstd = 1 / sqrt(mean((x - mean)^2) + eps); RMSNorm is the same with mean = 0.
// Forward saves mean and rstd (N). With h = (x - mean) * rstd and g = dy * w:
// dx = rstd * (g - mean(g) - h * mean(g * h)), without mean(g) for RMSNorm; dw = sum over tokens of dy * h.
#include "lanes.inl"

template <class T>  // of y
[[gnu::noinline]] inline void norm_row(const NormArgs& s, std::int64_t r) {
  const std::int64_t n = s.columns;
  const float *x = f32(s.x) + r * n, count = static_cast<float>(n);
  T* y = static_cast<T*>(s.y) + r * n;
  float mean = 0;
  F32x16 total(0.0f);
  if (!s.rms) {
    for (std::int64_t c = 0; c < n; c += 16) total = total + load_up_to(x + c, n - c);
    mean = sum(total) / count;
    total = F32x16(0.0f);
  }
  const F32x16 m(mean);
  for (std::int64_t c = 0; c < n; c += 16) {
    F32x16 d = first_lanes(load_up_to(x + c, n - c) - m, n - c, 0.0f);
    total = fma(d, d, total);
  }
  const float rstd = 1.0f / math::sqrt(sum(total) / count + s.eps);
  const F32x16 k(rstd);
  for (std::int64_t c = 0; c < n; c += 16)
    store_up_to(y + c, (load_up_to(x + c, n - c) - m) * k * load_up_to(s.w + c, n - c), n - c);
  if (s.mean && !s.rms) s.mean[r] = mean;
  if (s.rstd) s.rstd[r] = rstd;
}

inline void norm_forward(const Exec& exec, const NormArgs& s) {
  parallel_ranges(exec, s.rows, s.columns, [&](std::int64_t begin, std::int64_t end, int) {
    with_type(s.out, [&]<class T>(T) {
      for (std::int64_t r = begin; r < end; ++r) norm_row<T>(s, r);
    });
  });
}

[[gnu::noinline]] inline void norm_dx_row(const NormArgs& s, std::int64_t r) {
  const std::int64_t n = s.columns;
  const float *x = f32(s.x) + r * n, *dy = f32(s.dy) + r * n, count = static_cast<float>(n);
  float* dx = f32(s.dx) + r * n;
  const F32x16 m(s.rms ? 0.0f : s.mean[r]), k(s.rstd[r]);
  F32x16 total_g(0.0f), total_gh(0.0f);
  for (std::int64_t c = 0; c < n; c += 16) {
    F32x16 g = load_up_to(dy + c, n - c) * load_up_to(s.w + c, n - c);
    F32x16 h = (load_up_to(x + c, n - c) - m) * k;
    total_g = total_g + g;
    total_gh = fma(g, first_lanes(h, n - c, 0.0f), total_gh);
  }
  const F32x16 mean_g(s.rms ? 0.0f : sum(total_g) / count), mean_gh(sum(total_gh) / count);
  for (std::int64_t c = 0; c < n; c += 16) {
    F32x16 g = load_up_to(dy + c, n - c) * load_up_to(s.w + c, n - c);
    F32x16 h = (load_up_to(x + c, n - c) - m) * k;
    put(dx + c, k * (g - mean_g - h * mean_gh), n - c, s.write_dx == Write::add);
  }
}

[[gnu::noinline]] inline void norm_dw_rows(const NormArgs& s, std::int64_t r0, std::int64_t r1, std::int64_t c0,
                                           std::int64_t c1) {
  if (r0 == 0 && s.write_dw == Write::overwrite)
    for (std::int64_t c = c0; c < c1; c += 16) store_up_to(s.dw + c, F32x16(0.0f), c1 - c);
  // Eight rows per visit of dw: one load and store of it serves eight steps of the chain.
  for (std::int64_t top = r0; top < r1; top += 8)
    for (std::int64_t c = c0; c < c1; c += 16) {
      F32x16 total = load_up_to(s.dw + c, c1 - c);
      for (std::int64_t r = top; r < smaller(r1, top + 8); ++r) {
        const std::int64_t at = r * s.columns + c;
        const F32x16 m(s.rms ? 0.0f : s.mean[r]), k(s.rstd[r]);
        total = fma(load_up_to(f32(s.dy) + at, c1 - c), (load_up_to(f32(s.x) + at, c1 - c) - m) * k, total);
      }
      store_up_to(s.dw + c, total, c1 - c);
    }
}

inline void norm_backward(const Exec& exec, const NormArgs& s) {
  // dw goes down columns and dx along rows: chunks small enough for the cache, so that memory is read once. The first
  // chunk may be empty, for dw of no rows is still to be cleared.
  const std::int64_t chunk = larger(1, (exec.workers > 1 ? grain * 16 : grain) / larger(1, s.columns));
  std::int64_t r0 = 0;
  do {
    const std::int64_t r1 = smaller(s.rows, r0 + chunk), width = column_width(exec, r1 - r0, s.columns);
    if (s.dw)
      parallel(exec, ceil_div(s.columns, width), [&](std::int64_t i, int) {
        norm_dw_rows(s, r0, r1, i * width, smaller(s.columns, (i + 1) * width));
      });
    if (s.dx)
      parallel_ranges(exec, r1 - r0, s.columns, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t r = begin; r < end; ++r) norm_dx_row(s, r0 + r);
      });
    r0 = r1;
  } while (r0 < s.rows);
}
