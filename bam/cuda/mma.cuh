// What the kernels on tensor cores share.
#pragma once
#include <cstdlib>
#include <string_view>

#include "device.cuh"

namespace bam::cuda {

// BAM_CUDA_PATH=portable in the environment keeps off the tensor cores.
inline bool use_mma() {
  const char* wish = std::getenv("BAM_CUDA_PATH");
  return !wish || std::string_view(wish) != "portable";
}
inline bool aligned_lines(const void* p, std::int64_t ld, std::int64_t line) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0 && ld % 8 == 0 && line % 8 == 0; }

}  // namespace bam::cuda
