// What the kernels on tensor cores share.
#pragma once
#include "device.cuh"
#include "path.cuh"

namespace bam::cuda {

inline bool aligned_lines(const void* p, std::int64_t ld, std::int64_t line) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0 && ld % 8 == 0 && line % 8 == 0; }

}  // namespace bam::cuda
