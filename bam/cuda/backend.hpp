// The CUDA backend: every row of the contract by kernels of our own, in fp32 with the bits of the CPU's. backend.cu is compiled by nvcc, or by the host's compiler for
// the emulation, on which the same kernels run on the CPU (emulator.hpp).
#pragma once
#include "../kernels.hpp"

namespace bam::cuda {

extern const KernelTable table;  // pointers in args structs are the device's

}  // namespace bam::cuda
