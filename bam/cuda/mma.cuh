// What the kernels on tensor cores share.
#pragma once
#include <cstdlib>
#include <string_view>

#include "../core/error.hpp"
#include "device.cuh"

namespace bam::cuda {

// BAM_CUDA_PATH=portable in the environment keeps off the tensor cores; mma, or nothing, takes them for what they take. Error(usage): another word.
inline bool use_mma() {
  const char* wish = std::getenv("BAM_CUDA_PATH");
  if (!wish || !*wish || std::string_view(wish) == "mma") return true;
  if (std::string_view(wish) != "portable") fail(ErrorKind::usage, "cuda.path", "BAM_CUDA_PATH: wanted portable or mma, got '", printable(wish), "'");
  return false;
}
inline bool aligned_lines(const void* p, std::int64_t ld, std::int64_t line) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0 && ld % 8 == 0 && line % 8 == 0; }

}  // namespace bam::cuda
