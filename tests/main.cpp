#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#if defined(BAM_TEST_GPU)  // what tests set and read of the emulation, where there is none
#include "bam/cuda/emulator.hpp"
namespace bam::cuda::emulation {
Options& options() {
  static Options value;
  return value;
}
Counts& counts() {
  static Counts value;
  return value;
}
}  // namespace bam::cuda::emulation
#endif
