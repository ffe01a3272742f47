// Rows by index. gather: y[r, :] = or += sum over j of x[index[r * terms + j], :], x (any, C), y (N, C).
// scatter: y[index[r], :] += x[r, :], x (N, C), y (targets, C), each row of y a chain over r in order.
// Each is the backward of the other; neither saves anything. An index below 0 is no row.

template <class Args>
BAM_INLINE std::int64_t row_index(const Args& s, std::int64_t i) {
  return s.index32 ? s.index32[i] : s.index[i];
}

template <class X, class Y>
[[gnu::noinline]] inline void gather_row(const GatherArgs& s, std::int64_t r) {
  Y* y = static_cast<Y*>(s.y) + r * s.y_row;
  const Y* before = static_cast<const Y*>(s.from ? s.from : s.y) + r * s.y_row;
  for (std::int64_t c = 0; c < s.columns; c += 16) {
    const std::int64_t left = s.columns - c;
    bool any = s.write == Write::add;
    F32x16 total = any ? load_up_to(before + c, left) : F32x16(0.0f);
    for (std::int64_t j = r * s.terms; j < (r + 1) * s.terms; ++j) {
      const std::int64_t from = row_index(s, j);
      if (from < 0) continue;
      const F32x16 x = load_up_to(static_cast<const X*>(s.x) + from * s.x_row + c, left);
      total = any ? total + x : x;
      any = true;
    }
    store_up_to(y + c, total, left);
  }
}

inline void gather(const Exec& exec, const GatherArgs& s) {
  parallel_ranges(exec, s.rows, s.columns * s.terms, [&](std::int64_t begin, std::int64_t end, int) {
    with_type(s.dtype, [&]<class X>(X) {
      with_type(s.out, [&]<class Y>(Y) {
        for (std::int64_t r = begin; r < end; ++r) gather_row<X, Y>(s, r);
      });
    });
  });
}

[[gnu::noinline]] inline void scatter_columns(const ScatterArgs& s, std::int64_t c0, std::int64_t c1) {
  for (std::int64_t r = 0; r < s.rows; ++r) {
    const std::int64_t to = row_index(s, r);
    if (to < 0) continue;
    float* y = s.y + to * s.y_row;
    for (std::int64_t c = c0; c < c1; c += 16) put(y + c, load_up_to(s.x + r * s.x_row + c, c1 - c), c1 - c, true);
  }
}

inline void scatter(const Exec& exec, const ScatterArgs& s) {
  if (s.write == Write::overwrite)
    parallel_ranges(exec, s.targets, s.columns, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t r = begin; r < end; ++r)
        for (std::int64_t c = 0; c < s.columns; c += 16) store_up_to(s.y + r * s.y_row + c, F32x16(0.0f), s.columns - c);
    });
  const std::int64_t width = column_width(exec, s.rows, s.columns);
  parallel(exec, ceil_div(s.columns, width),
           [&](std::int64_t i, int) { scatter_columns(s, i * width, smaller(s.columns, (i + 1) * width)); });
}
