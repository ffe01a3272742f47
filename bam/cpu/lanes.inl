// What the row kernels share: columns sixteen at a time with a short last block, ranges of rows for the threads, and a
// walk over two strided views.

inline constexpr std::int64_t grain = 1 << 14;  // elements a task should have to be worth waking a thread

BAM_INLINE std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
BAM_INLINE std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

// base is for its bits, not its speed: there, calls instead of inlined loops, and elementary functions lane by lane (the
// same formulas, so the same bits), keep the compile time down.
#if BAM_LEVEL == 0
#define BAM_LANES [[gnu::noinline]] inline
#define BAM_ROW(f)                                   \
  [[gnu::noinline]] inline F32x16 f(F32x16 x) {      \
    for (float& l : x.v) l = math::f(l);             \
    return x;                                        \
  }
BAM_ROW(exp)
BAM_ROW(log)
BAM_ROW(sigmoid)
BAM_ROW(tanh)
BAM_ROW(silu)
BAM_ROW(silu_gradient)
BAM_ROW(softplus)
BAM_ROW(gelu)
BAM_ROW(gelu_gradient)
#undef BAM_ROW
#else
#define BAM_LANES BAM_INLINE
#endif

// The first `left` lanes, at most 16. One loop body serves whole blocks and the tail: the branch is predicted, and a
// second copy of every loop would cost compile time.
BAM_LANES F32x16 load_up_to(const float* p, std::int64_t left) {
  return left >= 16 ? load(p) : load_part(p, static_cast<int>(left));
}
BAM_LANES void store_up_to(float* p, const F32x16& x, std::int64_t left) {
  if (left >= 16) store(p, x);
  else store_part(p, x, static_cast<int>(left));
}
// The same of bf16: one rounding where it is stored.
BAM_LANES F32x16 load_up_to(const Bf16* p, std::int64_t left) {
  alignas(64) float l[16] = {};
  for (int i = 0; i < (left < 16 ? static_cast<int>(left) : 16); ++i) l[i] = to_float(p[i]);
  return load(l);
}
BAM_LANES void store_up_to(Bf16* p, const F32x16& x, std::int64_t left) {
  alignas(64) float l[16];
  store(l, x);
  for (int i = 0; i < (left < 16 ? static_cast<int>(left) : 16); ++i) p[i] = to_bf16(l[i]);
}
// Writes x, or adds it to what is there.
template <class T>
BAM_LANES void put(T* p, const F32x16& x, std::int64_t left, bool add) {
  store_up_to(p, add ? load_up_to(p, left) + x : x, left);
}
alignas(64) inline constexpr float lane_number[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
// Lanes from n on become `fill`, for tails whose zeros would count.
BAM_LANES F32x16 first_lanes(const F32x16& x, std::int64_t n, float fill) {
  return n >= 16 ? x : select(load(lane_number) < F32x16(static_cast<float>(n)), x, F32x16(fill));
}
// Up to sixteen elements at any distance. Distances 1 and 0 are the fast ones.
BAM_LANES F32x16 load_strided(const float* p, std::int64_t stride, std::int64_t left) {
  if (stride == 1) return load_up_to(p, left);
  if (stride == 0) return F32x16(*p);
  alignas(64) float l[16] = {};
  for (std::int64_t i = 0; i < smaller(16, left); ++i) l[i] = p[i * stride];
  return load(l);
}
#undef BAM_LANES
BAM_INLINE float value(float x) { return x; }
BAM_INLINE float value(Bf16 x) { return to_float(x); }
BAM_INLINE void set(float& to, float x) { to = x; }
BAM_INLINE void set(Bf16& to, float x) { to = to_bf16(x); }
// f(T{}) with the type that d names.
template <class F>
BAM_INLINE void with_type(DType d, F f) {
  if (d == DType::bf16) f(Bf16{});
  else f(0.0f);
}

// body(begin, end, worker) over ranges of [0, n), each of about `grain` elements when one item has `cost`.
template <class F>
inline void parallel_ranges(const Exec& exec, std::int64_t n, std::int64_t cost, F&& body) {
  const std::int64_t per = larger(1, grain / larger(1, cost));
  parallel(exec, ceil_div(n, per),
           [&](std::int64_t i, int worker) { body(i * per, smaller(n, (i + 1) * per), worker); });
}

// Width of the column blocks of a chain over rows: the threads share the columns, because a chain has an order.
BAM_INLINE std::int64_t column_width(const Exec& exec, std::int64_t rows, std::int64_t columns) {
  if (exec.workers <= 1 || rows * columns < grain) return larger(1, columns);
  return larger(64, ceil_div(ceil_div(columns, 2 * exec.workers), 16) * 16);
}

// Two views a and b of one shape, without axes of size 1 and with neighbours merged where both views allow it.
struct Walk {
  int rank = 0;
  std::int64_t shape[max_rank] = {1}, a[max_rank] = {1}, b[max_rank] = {1};
};
[[gnu::noinline]] inline Walk merged(int rank, const std::int64_t* shape, const std::int64_t* a, const std::int64_t* b) {
  Walk w;
  for (int i = 0; i < rank; ++i) {
    if (shape[i] == 1) continue;
    const int last = w.rank - 1;
    if (last >= 0 && w.a[last] == a[i] * shape[i] && w.b[last] == b[i] * shape[i]) {
      w.shape[last] *= shape[i];
      w.a[last] = a[i];
      w.b[last] = b[i];
    } else {
      w.shape[w.rank] = shape[i];
      w.a[w.rank] = a[i];
      w.b[w.rank] = b[i];
      ++w.rank;
    }
  }
  if (w.rank == 0) w.rank = 1;  // a single element
  return w;
}

// f(offset in a, offset in b, flat index, n) for runs of n elements along the last axis. A serial walk visits the flat
// index in order.
template <class F>
inline void walk(const Exec& exec, const Walk& w, bool serial, F&& f) {
  std::int64_t total = 1;
  for (int d = 0; d < w.rank; ++d) total *= w.shape[d];
  auto range = [&](std::int64_t begin, std::int64_t end, int) {
    std::int64_t at[max_rank] = {}, a = 0, b = 0, rest = begin;
    const int last = w.rank - 1;
    for (int d = last; d >= 0; --d) {
      at[d] = rest % w.shape[d];
      rest /= w.shape[d];
      a += at[d] * w.a[d];
      b += at[d] * w.b[d];
    }
    for (std::int64_t i = begin; i < end;) {
      const std::int64_t n = smaller(w.shape[last] - at[last], end - i);
      f(a, b, i, n);
      i += n;
      at[last] += n;
      a += n * w.a[last];
      b += n * w.b[last];
      for (int d = last; d > 0 && at[d] == w.shape[d]; --d) {
        a += w.a[d - 1] - w.shape[d] * w.a[d];
        b += w.b[d - 1] - w.shape[d] * w.b[d];
        at[d] = 0;
        ++at[d - 1];
      }
    }
  };
  if (total == 0) return;
  if (serial) range(0, total, 0);
  else parallel_ranges(exec, total, 1, range);
}

// m = max of scale * x and the sum of exp(scale * x - m), which e keeps when it is not null.
struct ExpSum {
  float max, sum;
  float lse() const { return max + math::log(sum); }
};
[[gnu::noinline]] inline ExpSum exp_sum(const float* x, std::int64_t n, float scale, float* e) {
  const F32x16 s(scale);
  const float infinity = __builtin_inff();
  F32x16 top(-infinity), total(0.0f);
  for (std::int64_t c = 0; c < n; c += 16) top = maximum(first_lanes(load_up_to(x + c, n - c) * s, n - c, -infinity), top);
  const float m = max_lane(top);
  for (std::int64_t c = 0; c < n; c += 16) {
    F32x16 y = exp(first_lanes(load_up_to(x + c, n - c) * s, n - c, -infinity) - F32x16(m));
    total = total + first_lanes(y, n - c, 0.0f);
    if (e) store_up_to(e + c, y, n - c);
  }
  return {m, sum(total)};
}
