// SwiGLU (Shazeer 2020, equation 5), x (N, 2F) = [gate | up], y (N, F): y = s * silu(gate) * up, s a scale per row (N)
// or 1. Saves nothing: backward reads x.
// dgate = dy s up silu'(gate), dup = dy s silu(gate), ds = sum over F of dy silu(gate) up.

template <class T>
[[gnu::noinline]] inline void swiglu_row(const SwigluArgs& s, std::int64_t r) {
  const std::int64_t n = s.columns;
  const T *gate = static_cast<const T*>(s.x) + r * s.x_row, *up = gate + n;
  T* y = static_cast<T*>(s.y) + r * s.y_row;
  const F32x16 k(s.scale ? s.scale[r] : 1.0f);
  for (std::int64_t c = 0; c < n; c += 16)
    put(y + c, silu(load_up_to(gate + c, n - c)) * load_up_to(up + c, n - c) * k, n - c, s.write == Write::add);
}

inline void swiglu_forward(const Exec& exec, const SwigluArgs& s) {
  parallel_ranges(exec, s.rows, s.columns * 2, [&](std::int64_t begin, std::int64_t end, int) {
    with_type(s.dtype, [&]<class T>(T) {
      for (std::int64_t r = begin; r < end; ++r) swiglu_row<T>(s, r);
    });
  });
}

template <class T>
[[gnu::noinline]] inline void swiglu_backward_row(const SwigluArgs& s, std::int64_t r) {
  const std::int64_t n = s.columns;
  const T *gate = static_cast<const T*>(s.x) + r * s.x_row, *up = gate + n, *dy = static_cast<const T*>(s.dy) + r * s.dy_row;
  T* dx = s.dx ? static_cast<T*>(s.dx) + r * s.dx_row : nullptr;
  const F32x16 k(s.scale ? s.scale[r] : 1.0f), one(1.0f);
  const bool add = s.write == Write::add;
  F32x16 total(0.0f);
  for (std::int64_t c = 0; c < n; c += 16) {
    const F32x16 g = load_up_to(gate + c, n - c), u = load_up_to(up + c, n - c), d = load_up_to(dy + c, n - c);
    const F32x16 sigma = sigmoid(g), activated = g * sigma, t = d * k;
    total = fma(d * activated, u, total);
    if (!dx) continue;
    put(dx + c, t * u * (sigma * fma(g, one - sigma, one)), n - c, add);
    put(dx + n + c, t * activated, n - c, add);
  }
  if (s.dscale) s.dscale[r] = sum(total);
}

inline void swiglu_backward(const Exec& exec, const SwigluArgs& s) {
  parallel_ranges(exec, s.rows, s.columns * 3, [&](std::int64_t begin, std::int64_t end, int) {
    with_type(s.dtype, [&]<class T>(T) {
      for (std::int64_t r = begin; r < end; ++r) swiglu_backward_row<T>(s, r);
    });
  });
}
