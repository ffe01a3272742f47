// Elementwise: y = op(x) * scale + shift and its gradient dx = dy * scale * op'(x) from x; binary operations and copies
// over strided views; reductions of x (outer, n, inner) over n; constants. Saves nothing.

// Sine or cosine of sixteen lanes in place: in double, because float has no digits left after a reduction by pi / 2.
[[gnu::noinline]] inline void sine_lanes(float* l, bool cosine) {
  for (int i = 0; i < 16; ++i) {
    if (!(math::abs(l[i]) < __builtin_inff())) {
      l[i] = l[i] - l[i];
      continue;
    }
    const math::SinCos v = math::sincos(static_cast<double>(l[i]));
    l[i] = static_cast<float>(cosine ? v.cos : v.sin);
  }
}
BAM_INLINE F32x16 sine(F32x16 x, bool cosine) {
  alignas(64) float l[16];
  store(l, x);
  sine_lanes(l, cosine);
  return load(l);
}

// One small loop per operation and direction.
template <class Op>
[[gnu::noinline]] void unary_run(const UnaryArgs& s, std::int64_t begin, std::int64_t end, Op op) {
  const F32x16 scale(s.scale), shift(s.shift);
  const float* x = f32(s.x);
  float* y = f32(s.y);
  for (std::int64_t i = begin; i < end; i += 16)
    store_up_to(y + i, fma(op(load_up_to(x + i, end - i)), scale, shift), end - i);
}
template <class Op>
[[gnu::noinline]] void unary_gradient_run(const UnaryArgs& s, std::int64_t begin, std::int64_t end, Op op) {
  const F32x16 scale(s.scale);
  const float *x = f32(s.x), *dy = f32(s.dy);
  float* dx = f32(s.dx);
  for (std::int64_t i = begin; i < end; i += 16)
    put(dx + i, load_up_to(dy + i, end - i) * scale * op(load_up_to(x + i, end - i)), end - i, s.write == Write::add);
}

[[gnu::noinline]] inline void unary_range(const UnaryArgs& s, std::int64_t begin, std::int64_t end) {
  using V = F32x16;
  auto run = [&](auto op) { unary_run(s, begin, end, op); };
  switch (s.op) {
    case Unary::copy: return run([](V x) { return x; });
    case Unary::neg: return run([](V x) { return x * V(-1.0f); });
    case Unary::exp: return run([](V x) { return exp(x); });
    case Unary::log: return run([](V x) { return log(x); });
    case Unary::sqrt: return run([](V x) { return sqrt(x); });
    case Unary::tanh: return run([](V x) { return tanh(x); });
    case Unary::sigmoid: return run([](V x) { return sigmoid(x); });
    case Unary::silu: return run([](V x) { return silu(x); });
    case Unary::gelu: return run([](V x) { return gelu(x); });
    case Unary::relu: return run([](V x) { return maximum(V(0.0f), x); });
    case Unary::square: return run([](V x) { return x * x; });
    case Unary::softplus: return run([](V x) { return softplus(x); });
    case Unary::abs: return run([](V x) { return abs(x); });
    case Unary::reciprocal: return run([](V x) { return V(1.0f) / x; });
    case Unary::sin: return run([](V x) { return sine(x, false); });
    case Unary::cos: return run([](V x) { return sine(x, true); });
  }
}

[[gnu::noinline]] inline void unary_gradient_range(const UnaryArgs& s, std::int64_t begin, std::int64_t end) {
  using V = F32x16;
  auto run = [&](auto op) { unary_gradient_run(s, begin, end, op); };
  switch (s.op) {
    case Unary::copy: return run([](V) { return V(1.0f); });
    case Unary::neg: return run([](V) { return V(-1.0f); });
    case Unary::exp: return run([](V x) { return exp(x); });
    case Unary::log: return run([](V x) { return V(1.0f) / x; });
    case Unary::sqrt: return run([](V x) { return V(0.5f) / sqrt(x); });
    case Unary::tanh: return run([](V x) {
      V t = tanh(x);
      return V(1.0f) - t * t;
    });
    case Unary::sigmoid: return run([](V x) {
      V t = sigmoid(x);
      return t * (V(1.0f) - t);
    });
    case Unary::silu: return run([](V x) { return silu_gradient(x); });
    case Unary::gelu: return run([](V x) { return gelu_gradient(x); });
    case Unary::relu: return run([](V x) { return select(x > V(0.0f), V(1.0f), V(0.0f)); });
    case Unary::square: return run([](V x) { return x + x; });
    case Unary::softplus: return run([](V x) { return sigmoid(x); });
    case Unary::abs: return run([](V x) {
      return select(x > V(0.0f), V(1.0f), select(x < V(0.0f), V(-1.0f), V(0.0f)));
    });
    case Unary::reciprocal: return run([](V x) {
      V t = V(1.0f) / x;
      return t * t * V(-1.0f);
    });
    case Unary::sin: return run([](V x) { return sine(x, true); });
    case Unary::cos: return run([](V x) { return sine(x, false) * V(-1.0f); });
  }
}

inline void unary_forward(const Exec& exec, const UnaryArgs& s) {
  parallel_ranges(exec, s.n, 1, [&](std::int64_t begin, std::int64_t end, int) { unary_range(s, begin, end); });
}
inline void unary_backward(const Exec& exec, const UnaryArgs& s) {
  parallel_ranges(exec, s.n, 1, [&](std::int64_t begin, std::int64_t end, int) { unary_gradient_range(s, begin, end); });
}

struct BinaryRun {
  const float *a, *b;
  std::int64_t a_stride, b_stride, n;
  float *y, scale;
  bool add;
};
template <class Op>
[[gnu::noinline]] void binary_run(const BinaryRun& s, Op op) {
  const F32x16 scale(s.scale);
  for (std::int64_t i = 0; i < s.n; i += 16) {
    const F32x16 a = load_strided(s.a + i * s.a_stride, s.a_stride, s.n - i);
    const F32x16 b = load_strided(s.b + i * s.b_stride, s.b_stride, s.n - i);
    put(s.y + i, op(a, b) * scale, s.n - i, s.add);
  }
}

inline void binary(const Exec& exec, const BinaryArgs& s) {
  using V = F32x16;
  const Walk w = merged(s.rank, s.shape, s.a_stride, s.b_stride);
  const std::int64_t a_stride = w.a[w.rank - 1], b_stride = w.b[w.rank - 1];
  walk(exec, w, false, [&](std::int64_t a, std::int64_t b, std::int64_t i, std::int64_t n) {
    const BinaryRun run{f32(s.a) + a, f32(s.b) + b, a_stride, b_stride, n, f32(s.y) + i, s.scale, s.write == Write::add};
    switch (s.op) {
      case Binary::add: return binary_run(run, [](V x, V y) { return x + y; });
      case Binary::sub: return binary_run(run, [](V x, V y) { return x - y; });
      case Binary::mul: return binary_run(run, [](V x, V y) { return x * y; });
      case Binary::div: return binary_run(run, [](V x, V y) { return x / y; });
      // A NaN on either side comes through.
      case Binary::maximum: return binary_run(run, [](V x, V y) { return select(x == x, maximum(x, y), x); });
      case Binary::minimum: return binary_run(run, [](V x, V y) { return select(x == x, minimum(x, y), x); });
      case Binary::greater: return binary_run(run, [](V x, V y) { return select(x > y, V(1.0f), V(0.0f)); });
      case Binary::equal: return binary_run(run, [](V x, V y) { return select(x == y, V(1.0f), V(0.0f)); });
    }
  });
}

template <class T>
BAM_INLINE void copy_run(const void* from, std::int64_t x, std::int64_t x_stride, void* to, std::int64_t y,
                         std::int64_t y_stride, std::int64_t n) {
  const T* p = static_cast<const T*>(from) + x;
  T* q = static_cast<T*>(to) + y;
  if (x_stride == 1 && y_stride == 1) __builtin_memcpy(q, p, static_cast<std::size_t>(n) * sizeof(T));
  else
    for (std::int64_t i = 0; i < n; ++i) q[i * y_stride] = p[i * x_stride];
}

inline void copy(const Exec& exec, const CopyArgs& s) {
  const Walk w = merged(s.rank, s.shape, s.x_stride, s.y_stride);
  const std::int64_t x_stride = w.a[w.rank - 1], y_stride = w.b[w.rank - 1], size = size_of(s.dtype);
  const bool add = s.write == Write::add;
  // Stride 0 in y sums over an axis (the backward of a broadcast): one chain per element of y, in order, by one thread.
  bool repeats = false;
  for (int d = 0; d < w.rank; ++d) repeats = repeats || (w.b[d] == 0 && w.shape[d] > 1);
  walk(exec, w, repeats, [&](std::int64_t x, std::int64_t y, std::int64_t, std::int64_t n) {
    if (size == 4 && (add || x_stride != 1) && y_stride == 1) {  // bits pass through vectors unchanged
      for (std::int64_t i = 0; i < n; i += 16)
        put(f32(s.y) + y + i, load_strided(f32(s.x) + x + i * x_stride, x_stride, n - i), n - i, add);
    } else if (add && y_stride == 0) {
      float total = f32(s.y)[y];
      for (std::int64_t i = 0; i < n; ++i) total += f32(s.x)[x + i * x_stride];
      f32(s.y)[y] = total;
    } else if (add) {
      for (std::int64_t i = 0; i < n; ++i) f32(s.y)[y + i * y_stride] += f32(s.x)[x + i * x_stride];
    } else if (size == 1) {
      copy_run<std::uint8_t>(s.x, x, x_stride, s.y, y, y_stride, n);
    } else if (size == 2) {
      copy_run<std::uint16_t>(s.x, x, x_stride, s.y, y, y_stride, n);
    } else if (size == 4) {
      copy_run<float>(s.x, x, x_stride, s.y, y, y_stride, n);
    } else {
      copy_run<double>(s.x, x, x_stride, s.y, y, y_stride, n);
    }
  });
}

// The larger, or NaN if either is.
BAM_INLINE F32x16 max_step(F32x16 total, F32x16 x) { return select(x == x, maximum(x, total), x); }

[[gnu::noinline]] inline void reduce_row(const ReduceArgs& s, std::int64_t r) {
  const float *x = f32(s.x) + r * s.n, infinity = __builtin_inff();
  float *y = f32(s.y) + r, result;
  if (s.op == Reduce::sum) {
    F32x16 total(0.0f);
    for (std::int64_t c = 0; c < s.n; c += 16) total = total + load_up_to(x + c, s.n - c);
    result = sum(total);
  } else {
    F32x16 total(-infinity);
    for (std::int64_t c = 0; c < s.n; c += 16)
      total = max_step(total, first_lanes(load_up_to(x + c, s.n - c), s.n - c, -infinity));
    alignas(64) float l[16];
    store(l, total);
    result = l[0];
    for (int i = 1; i < 16; ++i) result = l[i] != l[i] ? l[i] : math::maximum(l[i], result);
  }
  *y = s.write == Write::add ? *y + result * s.scale : result * s.scale;
}

// One block of up to 256 columns of one outer index. A sum goes on from y when it adds, so that a cut of n leaves no
// trace: acc = scale * x + acc, by fma.
[[gnu::noinline]] inline void reduce_columns(const ReduceArgs& s, std::int64_t outer, std::int64_t c0, std::int64_t c1) {
  const float* x = f32(s.x) + outer * s.n * s.inner;
  float* y = f32(s.y) + outer * s.inner;
  const bool add = s.write == Write::add, sums = s.op == Reduce::sum;
  const F32x16 scale(s.scale);
  F32x16 total[16];
  for (std::int64_t c = c0; c < c1; c += 16)
    total[(c - c0) / 16] = !sums ? F32x16(-__builtin_inff()) : add ? load_up_to(y + c, c1 - c) : F32x16(0.0f);
  for (std::int64_t top = 0; top < s.n; top += 8)
    for (std::int64_t c = c0; c < c1; c += 16) {
      F32x16 t = total[(c - c0) / 16];
      for (std::int64_t i = top; i < smaller(s.n, top + 8); ++i) {
        const F32x16 v = load_up_to(x + i * s.inner + c, c1 - c);
        t = sums ? fma(v, scale, t) : max_step(t, v);
      }
      total[(c - c0) / 16] = t;
    }
  for (std::int64_t c = c0; c < c1; c += 16) {
    if (sums) store_up_to(y + c, total[(c - c0) / 16], c1 - c);
    else put(y + c, total[(c - c0) / 16] * scale, c1 - c, add);
  }
}

inline void reduce(const Exec& exec, const ReduceArgs& s) {
  if (s.inner == 1) {
    parallel_ranges(exec, s.outer, s.n, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t r = begin; r < end; ++r) reduce_row(s, r);
    });
    return;
  }
  const std::int64_t width = smaller(256, column_width(exec, s.n, s.inner)), blocks = ceil_div(s.inner, width);
  parallel_ranges(exec, s.outer * blocks, s.n * width, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i)
      reduce_columns(s, i / blocks, i % blocks * width, smaller(s.inner, (i % blocks + 1) * width));
  });
}

inline void cast(const Exec& exec, const CastArgs& s) {
  parallel_ranges(exec, s.n, 1, [&](std::int64_t begin, std::int64_t end, int) {
    with_type(s.from, [&]<class X>(X) {
      with_type(s.to, [&]<class Y>(Y) {
        const X* x = static_cast<const X*>(s.x);
        Y* y = static_cast<Y*>(s.y);
        for (std::int64_t i = begin; i < end; i += 16) put(y + i, load_up_to(x + i, end - i), end - i, s.write == Write::add);
      });
    });
  });
}

template <class T>
BAM_INLINE void fill_range(void* y, std::int64_t begin, std::int64_t end, T value) {
  for (std::int64_t i = begin; i < end; ++i) static_cast<T*>(y)[i] = value;
}

inline void fill(const Exec& exec, const FillArgs& s) {
  parallel_ranges(exec, s.n, 1, [&](std::int64_t begin, std::int64_t end, int) {
    switch (s.dtype) {
      case DType::f32:
        for (std::int64_t i = begin; i < end; i += 16)
          store_up_to(f32(s.y) + i, F32x16(static_cast<float>(s.value)), end - i);
        return;
      case DType::bf16: return fill_range(s.y, begin, end, to_bf16(static_cast<float>(s.value)));
      case DType::f64: return fill_range(s.y, begin, end, s.value);
      case DType::i32: return fill_range(s.y, begin, end, static_cast<std::int32_t>(s.value));
      case DType::i64: return fill_range(s.y, begin, end, static_cast<std::int64_t>(s.value));
      case DType::u8: return fill_range(s.y, begin, end, static_cast<std::uint8_t>(s.value));
    }
  });
}
