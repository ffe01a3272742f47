// Which kernels serve a row where there is a choice.
#pragma once
#include <cstdlib>
#include <string_view>

#include "../core/error.hpp"
#include "../kernels.hpp"

namespace bam::cuda {

// BAM_CUDA_PATH in the environment. portable: any shape, every sum in the CPU's order and so with its bits; mma, or nothing: tensor cores by mma.sync where they take the shape, and sums in an order of its own, the
// same in every run; wgmma: as mma, and by wgmma and TMA what those take (compute capability 9.0), not run on hardware yet, an Error(usage) on other devices. Error(usage): another word.
enum class Path { portable, mma, wgmma };
inline Path path() {
  const char* wish = std::getenv("BAM_CUDA_PATH");
  const std::string_view word = wish ? wish : "";
  if (word.empty() || word == "mma") return Path::mma;
  if (word == "wgmma") return Path::wgmma;
  if (word != "portable") fail(ErrorKind::usage, "cuda.path", "BAM_CUDA_PATH: wanted portable, mma or wgmma, got '", printable(word), "'");
  return Path::portable;
}
inline bool portable() { return path() == Path::portable; }

// BAM_CUDA_LIBRARY in the environment. cublaslt: plain products in bf16 that the tensor cores take go to NVIDIA's cuBLASLt, whatever the path but portable; nothing: to kernels of our own. Error(usage): another word.
inline bool library_wanted() {
  const char* wish = std::getenv("BAM_CUDA_LIBRARY");
  const std::string_view word = wish ? wish : "";
  if (word != "" && word != "cublaslt") fail(ErrorKind::usage, "cuda.cublaslt", "BAM_CUDA_LIBRARY: wanted cublaslt or nothing, got '", printable(word), "'");
  return !word.empty();
}
// No batch, and C not turned. Error(limit): the library is not there, or fails. cublaslt.cu, which the emulation has not.
void library_gemm(const Exec& exec, const GemmArgs& s);

}  // namespace bam::cuda
