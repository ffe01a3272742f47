// Dropout (Srivastava et al. 2014): x * keep / (1 - p). keep is a function of (seed, stream, step, global row, column), so
// neither micro-batches nor a resume changes it, and backward draws it again.
#pragma once
#include "../tensor/tape.hpp"

namespace bam {

struct DropoutKey {
  std::uint64_t seed = 0;
  std::uint32_t stream = 0, step = 0;
  std::int64_t first_row = 0;  // global position of row 0 within the step
};

inline Tensor dropout(const Tensor& x, float p, const DropoutKey& key) {
  check(p >= 0 && p < 1, "dropout.p", "dropout: p is ", p, ", wanted 0 <= p < 1");
  if (p == 0) return x;
  Tensor y(x.shape(), DType::f32, x.device());
  DropoutArgs a;
  a.p = p;
  a.seed = key.seed;
  a.stream = key.stream;
  a.step = key.step;
  a.first_row = key.first_row;
  a.rows = x.rows();
  a.columns = x.columns();
  a.x = x.address();
  a.y = y.raw();
  kernel::dropout(a, x.device());
  record({x}, {y}, [a, r = x.gradient(), n = x.numel(), g = y.gradient()]() mutable {  // not x: its values are not needed
    a.x = g->data();
    std::tie(a.y, a.write) = r->target(n);
    kernel::dropout(a, r->device());
  });
  return y;
}

}  // namespace bam
