#include "runtime.cuh"

#include "../core/error.hpp"

namespace bam::cuda {
namespace {

void require(cudaError_t e, const char* what) {
  if (e != cudaSuccess) fail(ErrorKind::limit, "cuda.runtime", "CUDA, ", what, ": ", cudaGetErrorString(e));
}

// Grown on demand, one block a context: calls on a stream follow each other.
void* grow_scratch(void* pool, int, std::size_t bytes) {
  Context& c = *static_cast<Context*>(pool);
  if (bytes > c.scratch_bytes) {
    require(cudaStreamSynchronize(c.stream), "synchronize");
    require(cudaFree(c.scratch), "free");
    c.scratch = nullptr;
    c.scratch_bytes = 0;
    require(cudaMalloc(&c.scratch, bytes), "scratch memory");
    c.scratch_bytes = bytes;
  }
  return c.scratch;
}

}  // namespace

Exec execution(Context& context) {
  Exec exec;
  exec.scratch = grow_scratch;
  exec.pool = &context;
  return exec;
}

int multiprocessors() {
  int device = 0, n = 0;
  require(cudaGetDevice(&device), "device");
  require(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, device), "multiprocessors");
  return n;
}

void allow_shared(const void* kernel, std::int64_t bytes) {
  if (bytes > 48 * 1024) require(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)), "shared memory");
}

void check_launch() { require(cudaGetLastError(), "launch"); }

}  // namespace bam::cuda
