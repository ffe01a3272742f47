// Dropout (Srivastava et al. 2014, scaled at training time), x and y (N, C): y = keep ? x * (1 / (1 - p)) : 0. Element i
// = (first_row + row) * C + column is kept when lane i % 4 of philox(seed, stream, step, i / 4) >= p * 2^32. Saves
// nothing: the backward draws again.

inline void dropout(const Exec& exec, const DropoutArgs& s) {
  const double limit = static_cast<double>(s.p) * 0x1p32;
  std::uint64_t least = static_cast<std::uint64_t>(limit);
  if (static_cast<double>(least) < limit) ++least;
  const float scale = 1.0f / (1.0f - s.p);
  const std::uint64_t first = static_cast<std::uint64_t>(s.first_row * s.columns);
  parallel_ranges(exec, s.rows * s.columns, 4, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; i += 16) {
      const int left = static_cast<int>(smaller(16, end - i));
      alignas(64) float keep[16] = {};
      const std::uint64_t index = first + static_cast<std::uint64_t>(i);
      for (int j = 0; j < left;) {
        const std::uint64_t at = index + static_cast<std::uint64_t>(j);
        const Philox4 draw = philox(s.seed, s.stream, s.step, at / 4);
        for (std::uint64_t k = at % 4; k < 4 && j < left; ++k, ++j) keep[j] = draw.v[k] >= least ? scale : 0.0f;
      }
      const F32x16 k = load(keep), zero(0.0f);
      const F32x16 y = select(k > zero, load_up_to(f32(s.x) + i, left) * k, zero);  // a dropped NaN is gone too
      put(f32(s.y) + i, y, left, s.write == Write::add);
    }
  });
}
