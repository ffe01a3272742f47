// Rotary position embedding; formula and source in cpu/rope.inl. A thread a pair.
#pragma once
#include "device.cuh"

namespace bam::cuda {

template <class T>
struct RopeKernel {
  RopeArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t d = s.head_dim, half = d / 2, i = flat_index();
    if (i >= s.rows * s.heads * half) return;
    const std::int64_t pair = i % half, h = i / half % s.heads, r = i / half / s.heads;
    const std::int64_t a = h * d + (s.rotate_half ? pair : 2 * pair), b = s.rotate_half ? a + half : a + 1;
    const T* x = static_cast<const T*>(s.x) + r * s.x_row;
    const float c = s.table[s.positions[r] * d + pair], k = s.table[s.positions[r] * d + half + pair] * (s.inverse ? -1.0f : 1.0f);
    const float xa = value(x[a]), xb = value(x[b]);
    T* y = static_cast<T*>(s.y) + r * s.y_row;
    set(y[a], xa * c - xb * k);
    set(y[b], xb * c + xa * k);
  }
};
inline void rope(const Exec& exec, const RopeArgs& s) {
  with_type(s.dtype, [&]<class T>(T) { launch(exec, flat_grid(s.rows * s.heads * (s.head_dim / 2)), RopeKernel<T>{s}); });
}

}  // namespace bam::cuda
