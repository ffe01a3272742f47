// Rotary position embedding (Su et al. 2021, equation 34), x and y (N, H, D), in place when y == x:
// (y_a, y_b) = (x_a cos - x_b sin, x_b cos + x_a sin) for pairs (a, b) = (2i, 2i+1) or (i, i + D/2). Saves nothing;
// the backward is the inverse rotation.

// Lanes 1 0 3 2 ...
BAM_INLINE F32x16 swap_pairs(F32x16 x) {
  typedef float Lanes __attribute__((vector_size(64)));
  alignas(64) float l[16];
  store(l, x);
  Lanes v;
  __builtin_memcpy(&v, l, sizeof v);
  v = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
  __builtin_memcpy(l, &v, sizeof v);
  return load(l);
}

template <class T>
[[gnu::noinline]] inline void rope_row(const RopeArgs& s, std::int64_t r) {
  const std::int64_t d = s.head_dim, half = d / 2;
  const T* x = static_cast<const T*>(s.x) + r * s.x_row;
  const float *cosine = s.table + s.positions[r] * d, *sine = cosine + half;
  T* y = static_cast<T*>(s.y) + r * s.y_row;
  const float sign = s.inverse ? -1.0f : 1.0f;
  // Heads inside, so that the table is read once.
  if (s.rotate_half) {
    for (std::int64_t i = 0; i < half; i += 16) {
      const std::int64_t left = half - i;
      const F32x16 c = load_up_to(cosine + i, left), k = load_up_to(sine + i, left) * F32x16(sign);
      for (std::int64_t at = i; at < s.heads * d; at += d) {
        const F32x16 a = load_up_to(x + at, left), b = load_up_to(x + at + half, left);
        store_up_to(y + at, a * c - b * k, left);
        store_up_to(y + at + half, b * c + a * k, left);
      }
    }
    return;
  }
  for (std::int64_t i = 0; i < d; i += 16) {
    const std::int64_t left = smaller(16, d - i);
    alignas(64) float both_c[16] = {}, both_s[16] = {};
    for (std::int64_t j = 0; j < left; j += 2) {
      both_c[j] = both_c[j + 1] = cosine[(i + j) / 2];
      both_s[j + 1] = sign * sine[(i + j) / 2];
      both_s[j] = -both_s[j + 1];
    }
    const F32x16 c = load(both_c), k = load(both_s);
    for (std::int64_t at = i; at < s.heads * d; at += d) {
      const F32x16 a = load_up_to(x + at, left);
      store_up_to(y + at, a * c + swap_pairs(a) * k, left);
    }
  }
}

inline void rope(const Exec& exec, const RopeArgs& s) {
  parallel_ranges(exec, s.rows, s.heads * s.head_dim, [&](std::int64_t begin, std::int64_t end, int) {
    with_type(s.dtype, [&]<class T>(T) {
      for (std::int64_t r = begin; r < end; ++r) rope_row<T>(s, r);
    });
  });
}
