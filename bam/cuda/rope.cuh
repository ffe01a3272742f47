// Rotary position embedding; formula and source in cpu/rope.inl. A thread eight pairs, or one.
#pragma once
#include "device.cuh"

namespace bam::cuda {

template <class T, int P>  // P: pairs of a thread
struct RopeKernel {
  RopeArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t d = s.head_dim, half = d / 2, groups = half / P, i = flat_index();
    if (i >= s.rows * s.heads * groups) return;
    const std::int64_t pair = i % groups * P, h = i / groups % s.heads, r = i / groups / s.heads;
    const float* const angles = s.table + s.positions[r] * d + pair;
    float c[P], k[P];
    load_few(angles, c);
    load_few(angles + half, k);
    auto turn = [&](int p, float& a, float& b) {
      const float sine = k[p] * (s.inverse ? -1.0f : 1.0f), x = a, y = b;
      a = x * c[p] - y * sine;
      b = y * c[p] + x * sine;
    };
    const T* x = static_cast<const T*>(s.x) + r * s.x_row + h * d;
    T* y = static_cast<T*>(s.y) + r * s.y_row + h * d;
    if (s.rotate_half) {
      float a[P], b[P];
      load_few(x + pair, a);
      load_few(x + half + pair, b);
      BAM_UNROLL
      for (int p = 0; p < P; ++p) turn(p, a[p], b[p]);
      store_few(y + pair, a, false);
      store_few(y + half + pair, b, false);
    } else {
      float both[2 * P];
      if constexpr (P > 1) load_few(x + 2 * pair, both);
      else both[0] = value(x[2 * pair]), both[1] = value(x[2 * pair + 1]);  // which need not begin at a multiple of both
      BAM_UNROLL
      for (int p = 0; p < P; ++p) turn(p, both[2 * p], both[2 * p + 1]);
      if constexpr (P > 1) store_few(y + 2 * pair, both, false);
      else set(y[2 * pair], both[0]), set(y[2 * pair + 1], both[1]);
    }
  }
};
// Turns neighbours of a row that are a pair, before they are stored: what is part of a product or of attention's gradients. `columns`: so many are turned.
struct TurnPairs {
  Rotation by;
  std::int64_t columns;
  bool inverse;
  // Heads whose pairs are neighbours, and whose width makes a column's place in its head a mask.
  static bool takes(const Rotation& by) { return !by.rotate_half && by.head_dim >= 2 && (by.head_dim & (by.head_dim - 1)) == 0; }
  BAM_DEVICE void operator()(std::int64_t row, std::int64_t column, float& x, float& y) const {
    if (column >= columns) return;
    const float* const angles = by.table + by.positions[row] * by.head_dim + (column & (by.head_dim - 1)) / 2;
    const float c = angles[0], sine = angles[by.head_dim / 2] * (inverse ? -1.0f : 1.0f), a = x, b = y;
    x = a * c - b * sine;
    y = b * c + a * sine;
  }
};
struct TurnNothing {
  BAM_DEVICE void operator()(std::int64_t, std::int64_t, float&, float&) const {}
};

inline void rope(const Exec& exec, const RopeArgs& s) {
  const bool aligned = aligned_lines(s.x, s.x_row, s.head_dim / 2) && aligned_lines(s.y, s.y_row, s.head_dim / 2) && aligned_lines(s.table, 0, 0);
  with_type(s.dtype, [&]<class T>(T) {
    const std::int64_t pairs = s.rows * s.heads * (s.head_dim / 2);
    if (aligned) launch(exec, flat_grid(pairs / few), RopeKernel<T, few>{s});
    else launch(exec, flat_grid(pairs), RopeKernel<T, 1>{s});
  });
}

}  // namespace bam::cuda
