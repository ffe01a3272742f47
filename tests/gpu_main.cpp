// The tests on a GPU. Rows of the contract get pointers into host memory there (reference.hpp), so all of C++'s free store is memory that the GPU reaches, at the host's addresses: pages that are locked and registered
// with the driver. That takes unified addressing and a device that says it can use such addresses: on 64-bit Linux all that the backend supports. Nothing moves between the two memories, as it would with managed ones: the
// GPU reads and writes over the bus, which the sizes of tests allow, and the host's threads may use the free store while a kernel runs.
#include <cuda_runtime_api.h>

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <string>

#include "bam/cuda/backend.hpp"
#include "free_store.hpp"

int main(int argc, char** argv) {
  if (const std::string why = bam::cuda::unavailable(); !why.empty()) {
    std::printf("skipped: no GPU for the tests: %s\n", why.c_str());
    return 77;
  }
  int reaches = 0;
  if (const cudaError_t e = cudaDeviceGetAttribute(&reaches, cudaDevAttrCanUseHostPointerForRegisteredMem, 0); e != cudaSuccess || !reaches) {
    std::printf("the tests of rows cannot run: this device does not reach registered host memory at the host's addresses (cudaDevAttrCanUseHostPointerForRegisteredMem), which 64-bit Linux has: %s\n", cudaGetErrorString(e));
    return 1;
  }
  bam::test::begin_free_store([](void* begin, std::size_t bytes) {
    const cudaError_t e = cudaHostRegister(begin, bytes, cudaHostRegisterDefault);
    if (e != cudaSuccess) std::printf("the driver registers no more host memory: %s\n", cudaGetErrorString(e));
    return e == cudaSuccess;
  });
  return doctest::Context(argc, argv).run();
}
