// What launch() needs of the CUDA runtime; runtime.cu is its only caller.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

#include "backend.hpp"

namespace bam::cuda {

cudaStream_t stream_of(const Exec& exec);  // of execution(); any other Exec has the default stream
int multiprocessors();
// Lets a kernel have more than 48 KiB of shared memory. Error(limit): more than a block of this device can have, or more blocks than a launch can.
void before_launch(const void* kernel, std::int64_t blocks, std::int64_t shared_bytes);
// Error(limit): the launch before was refused.
void check_launch();

}  // namespace bam::cuda
