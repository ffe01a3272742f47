#include "backend.hpp"

#include "attention.cuh"
#include "elementwise.cuh"
#include "gemm.cuh"
#include "norm.cuh"
#include "optimizer.cuh"
#include "random.cuh"
#include "rope.cuh"
#include "router.cuh"
#include "rows.cuh"
#include "softmax.cuh"
#include "swiglu.cuh"

namespace bam::cuda {

#define BAM_ROW(name, Args)              \
  [](const Exec& exec, const Args& args) { \
    const Range range(#name);              \
    name(exec, args);                      \
  },
const KernelTable table = {BAM_KERNELS(BAM_ROW)};
#undef BAM_ROW

}  // namespace bam::cuda
