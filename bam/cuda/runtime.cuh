// What launch() needs of the CUDA runtime; runtime.cu is its only caller.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

#include "../kernels.hpp"

namespace bam::cuda {

// The stream of a call, and its scratch memory on the device: an Exec of execution() has it as its pool.
struct Context {
  cudaStream_t stream = nullptr;
  void* scratch = nullptr;
  std::size_t scratch_bytes = 0;
};
Exec execution(Context& context);
inline cudaStream_t stream_of(const Exec& exec) { return exec.pool ? static_cast<Context*>(exec.pool)->stream : nullptr; }

int multiprocessors();
// Lets a kernel have more than 48 KiB of shared memory. Error(limit): more than a block of this device can have.
void allow_shared(const void* kernel, std::int64_t bytes);
// Error(limit): the launch before was refused.
void check_launch();

}  // namespace bam::cuda
