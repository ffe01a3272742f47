// Which kernels serve a row where there is a choice.
#pragma once
#include <cstdlib>
#include <string_view>

#include "../core/error.hpp"

namespace bam::cuda {

// BAM_CUDA_PATH in the environment. portable: any shape, every sum in the CPU's order and so with its bits; mma, or nothing: what is fastest, tensor cores (mma.sync) and sums in an order of its own, the
// same in every run. Error(usage): another word.
inline bool portable() {
  const char* wish = std::getenv("BAM_CUDA_PATH");
  if (!wish || !*wish || std::string_view(wish) == "mma") return false;
  if (std::string_view(wish) != "portable") fail(ErrorKind::usage, "cuda.path", "BAM_CUDA_PATH: wanted portable or mma, got '", printable(wish), "'");
  return true;
}

}  // namespace bam::cuda
