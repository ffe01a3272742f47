// Dropout; formula and source in cpu/random.inl. A thread an element, which draws for itself.
#pragma once
#include "device.cuh"

namespace bam::cuda {

struct DropoutKernel {
  DropoutArgs s;
  std::uint64_t least;  // a draw below it drops
  float scale;
  BAM_DEVICE void operator()() const {
    const std::int64_t i = flat_index();
    if (i >= s.rows * s.columns) return;
    const std::uint64_t index = static_cast<std::uint64_t>(s.first_row * s.columns + i);
    const bool keep = philox(s.seed, s.stream, s.step, index / 4).v[index % 4] >= least;
    put(f32(s.y) + i, keep ? f32(s.x)[i] * scale : 0.0f, s.write == Write::add);
  }
};
inline void dropout(const Exec& exec, const DropoutArgs& s) {
  const double limit = static_cast<double>(s.p) * 0x1p32;
  std::uint64_t least = static_cast<std::uint64_t>(limit);
  if (static_cast<double>(least) < limit) ++least;
  launch(exec, flat_grid(s.rows * s.columns), DropoutKernel{s, least, 1.0f / (1.0f - s.p)});
}

}  // namespace bam::cuda
