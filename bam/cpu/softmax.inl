// Softmax and log-softmax over the last axis, x, y (N, C): y = exp(x - lse) or x - lse. Saves y.
// dx = y (dy - sum(dy y)), or dy - exp(y) sum(dy).
// Cross entropy, x (N, V), target (N): nll = lse(scale x) - scale x[target], 0 where target < 0. Saves lse (N).
// dx = (exp(scale x - lse) - onehot) scale dnll, 0 where target < 0.

[[gnu::noinline]] inline void softmax_row(const SoftmaxArgs& s, std::int64_t r) {
  const std::int64_t n = s.columns;
  const float* x = f32(s.x) + r * n;
  float* y = f32(s.y) + r * n;
  const ExpSum e = exp_sum(x, n, 1.0f, s.log ? nullptr : y);
  const F32x16 inverse(1.0f / e.sum), m(e.max), rest(math::log(e.sum));
  for (std::int64_t c = 0; c < n; c += 16)
    store_up_to(y + c, s.log ? load_up_to(x + c, n - c) - m - rest : load_up_to(y + c, n - c) * inverse, n - c);
}

inline void softmax_forward(const Exec& exec, const SoftmaxArgs& s) {
  parallel_ranges(exec, s.rows, s.columns * 2, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) softmax_row(s, r);
  });
}

[[gnu::noinline]] inline void softmax_backward_row(const SoftmaxArgs& s, std::int64_t r) {
  const std::int64_t n = s.columns;
  const float *y = f32(s.y) + r * n, *dy = f32(s.dy) + r * n;
  float* dx = f32(s.dx) + r * n;
  F32x16 total(0.0f);
  for (std::int64_t c = 0; c < n; c += 16) {
    const F32x16 d = load_up_to(dy + c, n - c);
    total = s.log ? total + d : fma(d, load_up_to(y + c, n - c), total);
  }
  const F32x16 dot(sum(total));
  for (std::int64_t c = 0; c < n; c += 16) {
    const F32x16 d = load_up_to(dy + c, n - c), v = load_up_to(y + c, n - c);
    put(dx + c, s.log ? d - exp(v) * dot : v * (d - dot), n - c, s.write == Write::add);
  }
}

inline void softmax_backward(const Exec& exec, const SoftmaxArgs& s) {
  parallel_ranges(exec, s.rows, s.columns * 2, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) softmax_backward_row(s, r);
  });
}

inline void cross_entropy_forward(const Exec& exec, const CrossEntropyArgs& s) {
  parallel_ranges(exec, s.rows, s.columns * 2, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* x = f32(s.x) + r * s.x_row;
      const std::int32_t target = s.target[r];
      const ExpSum e = exp_sum(x, s.columns, s.scale, nullptr);
      if (s.lse) s.lse[r] = e.lse();
      // The maximum first: it cancels when the target is likely, and the logarithm keeps its bits.
      if (s.nll) s.nll[r] = target < 0 ? 0.0f : (e.max - x[target] * s.scale) + math::log(e.sum);
    }
  });
}

template <class T>  // of dx
[[gnu::noinline]] inline void cross_entropy_backward_row(const CrossEntropyArgs& s, std::int64_t r) {
  const std::int64_t n = s.columns, target = s.target[r];
  const float* x = f32(s.x) + r * s.x_row;
  T* dx = static_cast<T*>(s.dx) + r * s.dx_row;
  const bool add = s.write == Write::add;
  if (target < 0) {
    if (!add)
      for (std::int64_t c = 0; c < n; c += 16) store_up_to(dx + c, F32x16(0.0f), n - c);
    return;
  }
  const float slope = s.scale * s.dnll[r];
  const F32x16 k(s.scale), lse(s.lse[r]), g(slope);
  // dx may be x, so the target's element is worked out before the row is overwritten.
  float at_target = (math::exp(x[target] * s.scale - s.lse[r]) - 1.0f) * slope;
  if (add) at_target = value(dx[target]) + at_target;
  for (std::int64_t c = 0; c < n; c += 16) put(dx + c, exp(load_up_to(x + c, n - c) * k - lse) * g, n - c, add);
  set(dx[target], at_target);
}

inline void cross_entropy_backward(const Exec& exec, const CrossEntropyArgs& s) {
  parallel_ranges(exec, s.rows, s.columns * 2, [&](std::int64_t begin, std::int64_t end, int) {
    with_type(s.out, [&]<class T>(T) {
      for (std::int64_t r = begin; r < end; ++r) cross_entropy_backward_row<T>(s, r);
    });
  });
}
