// Gradient norm and AdamW (Loshchilov & Hutter 2019, algorithm 2), p, g, m, v the same 2-D view of four blocks:
// g' = g * factor; m = b1 m + (1 - b1) g'; v = b2 v + (1 - b2) g'^2;
// p -= lr * (m / c1 / (sqrt(v / c2) + eps) + decay * p). One pass over memory.

// Sixteen double chains by index mod 16, added as halves: 8 + 8, 4 + 4, 2 + 2, 1 + 1. The square of a float is exact in
// double.
[[gnu::noinline]] inline double square_sum(const float* x, std::int64_t n) {
  typedef float Floats __attribute__((vector_size(32)));
  typedef double Doubles __attribute__((vector_size(64)));
  Doubles low = {}, high = {};
  for (std::int64_t i = 0; i < n; i += 16) {
    alignas(64) float l[16];
    store(l, load_up_to(x + i, n - i));
    Floats a, b;
    __builtin_memcpy(&a, l, sizeof a);
    __builtin_memcpy(&b, l + 8, sizeof b);
    const Doubles c = __builtin_convertvector(a, Doubles), d = __builtin_convertvector(b, Doubles);
    low += c * c;
    high += d * d;
  }
  low += high;
  double l[8];
  __builtin_memcpy(l, &low, sizeof l);
  for (int h = 4; h > 0; h /= 2)
    for (int i = 0; i < h; ++i) l[i] += l[i + h];
  return l[0];
}

inline void sum_squares(const Exec& exec, const SumSquaresArgs& s) {
  double* partial = s.partial;
  for (int part = 0; part < s.parts; ++part) {
    const auto [n, x] = s.part[part];
    const std::int64_t blocks = SumSquaresArgs::blocks_of(n);
    parallel(exec, blocks, [&, n = n, x = x](std::int64_t i, int) {
      const std::int64_t begin = i * SumSquaresArgs::block;
      partial[i] = square_sum(x + begin, smaller(SumSquaresArgs::block, n - begin));
    });
    partial += blocks;
  }
}

template <class T>
[[gnu::noinline]] inline void adamw_run(const AdamWArgs& s, const AdamWArgs::Part& t, std::int64_t begin, std::int64_t n) {
  T *first = static_cast<T*>(t.m), *second = static_cast<T*>(t.v);
  using V = F32x16;
  const AdamWScalars& k = *s.scalars;
  const V factor(k.factor), b1(s.beta1), b2(s.beta2), rest1(1.0f - s.beta1), rest2(1.0f - s.beta2), c1(k.correction1),
      c2(k.correction2), eps(s.eps), decay(t.decay), lr(k.lr);
  for (std::int64_t i = begin, left = n; left > 0; i += 16, left -= 16) {
    const V g = load_up_to(t.g + i, left) * factor, p = load_up_to(t.p + i, left);
    const V m = b1 * load_up_to(first + i, left) + rest1 * g;
    const V v = b2 * load_up_to(second + i, left) + rest2 * (g * g);
    store_up_to(first + i, m, left);
    store_up_to(second + i, v, left);
    store_up_to(t.p + i, p - lr * (m / c1 / (sqrt(v / c2) + eps) + decay * p), left);
  }
}

inline void adamw(const Exec& exec, const AdamWArgs& s) {
  for (int part = 0; part < s.parts; ++part) {
    const AdamWArgs::Part& t = s.part[part];
    Walk w;  // not merged(): a run must be contiguous even where columns is 1
    if (t.rows == 1 || t.stride == t.columns) {
      w.rank = 1;
      w.shape[0] = t.rows * t.columns;
    } else {
      w.rank = 2;
      w.shape[0] = t.rows;
      w.shape[1] = t.columns;
      w.a[0] = w.b[0] = t.stride;
      w.a[1] = w.b[1] = 1;
    }
    with_type(s.moments, [&](auto type) {
      walk(exec, w, false, [&](std::int64_t at, std::int64_t, std::int64_t, std::int64_t n) { adamw_run<decltype(type)>(s, t, at, n); });
    });
  }
}
