// The second choice for a plain product in bf16: cuBLASLt of the toolkit, opened when it is asked for (path.cuh), so that nothing links to it. Only without a split of K, so that two runs have the same bits. Not run on
// hardware yet.
#include <cublasLt.h>
#include <dlfcn.h>

#include <array>
#include <map>
#include <tuple>

#include "path.cuh"
#include "runtime.cuh"

#define BAM_TEXT_OF(x) #x
#define BAM_TEXT(x) BAM_TEXT_OF(x)

namespace bam::cuda {
namespace {

constexpr std::size_t workspace_bytes = std::size_t{32} << 20;

void require(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) fail(ErrorKind::limit, "cuda.cublaslt", "cuBLASLt, ", what, ": status ", static_cast<int>(status), "; leave BAM_CUDA_LIBRARY out");
}

struct Library {
#define BAM_FUNCTIONS(X) X(cublasLtCreate) X(cublasLtMatmulDescCreate) X(cublasLtMatmulDescSetAttribute) X(cublasLtMatrixLayoutCreate) X(cublasLtMatmulPreferenceCreate) X(cublasLtMatmulPreferenceSetAttribute) X(cublasLtMatmulAlgoGetHeuristic) X(cublasLtMatmul)
#define BAM_POINTER(name) decltype(&::name) name = nullptr;
  BAM_FUNCTIONS(BAM_POINTER)
#undef BAM_POINTER
  cublasLtHandle_t handle = nullptr;

  Library() {
    const char* const file = "libcublasLt.so." BAM_TEXT(CUBLAS_VER_MAJOR);  // of the header's version: its structs are laid out so
    void* const opened = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!opened) fail(ErrorKind::limit, "cuda.cublaslt", "BAM_CUDA_LIBRARY=cublaslt: ", dlerror(), "; put the folder of ", file, " into LD_LIBRARY_PATH, or leave BAM_CUDA_LIBRARY out");
#define BAM_FIND(name)                                          \
  name = reinterpret_cast<decltype(name)>(dlsym(opened, #name)); \
  if (!name) fail(ErrorKind::limit, "cuda.cublaslt", "BAM_CUDA_LIBRARY=cublaslt: ", file, " has no " #name "; leave BAM_CUDA_LIBRARY out");
    BAM_FUNCTIONS(BAM_FIND)
#undef BAM_FIND
#undef BAM_FUNCTIONS
    require(cublasLtCreate(&handle), "start");
  }
};

// What the library needs to know of a product, and how it makes it. In its eyes matrices are stored by columns: ours is C^T (N, M) = op(B)^T op(A)^T.
struct Plan {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t b = nullptr, a = nullptr, c = nullptr;
  cublasLtMatmulHeuristicResult_t way{};
};
const void* added(const GemmArgs& s) { return s.from ? s.from : s.C; }
// The largest power of two, up to 256, that divides the address.
std::uint32_t alignment_of(const void* p) {
  const auto at = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(p) % 256);
  return at == 0 ? 256 : at & (~at + 1);
}
Plan make_plan(const Library& lt, const GemmArgs& s) {
  Plan p;
  auto size = [](std::int64_t n) { return static_cast<std::uint64_t>(n); };
  const cublasOperation_t of_b = s.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, of_a = s.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  require(lt.cublasLtMatmulDescCreate(&p.product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
  require(lt.cublasLtMatmulDescSetAttribute(p.product, CUBLASLT_MATMUL_DESC_TRANSA, &of_b, sizeof of_b), "a product");
  require(lt.cublasLtMatmulDescSetAttribute(p.product, CUBLASLT_MATMUL_DESC_TRANSB, &of_a, sizeof of_a), "a product");
  require(lt.cublasLtMatrixLayoutCreate(&p.b, CUDA_R_16BF, size(s.transpose_b ? s.K : s.N), size(s.transpose_b ? s.N : s.K), s.ldb), "an operand");
  require(lt.cublasLtMatrixLayoutCreate(&p.a, CUDA_R_16BF, size(s.transpose_a ? s.M : s.K), size(s.transpose_a ? s.K : s.M), s.lda), "an operand");
  require(lt.cublasLtMatrixLayoutCreate(&p.c, s.out == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F, size(s.N), size(s.M), s.ldc), "a result");
  cublasLtMatmulPreference_t wanted = nullptr;
  const std::uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE;
  require(lt.cublasLtMatmulPreferenceCreate(&wanted), "a preference");
  require(lt.cublasLtMatmulPreferenceSetAttribute(wanted, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes, sizeof workspace_bytes), "a preference");
  require(lt.cublasLtMatmulPreferenceSetAttribute(wanted, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions), "a preference");
  for (auto [attribute, address] : {std::pair{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, s.B}, {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, s.A}, {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, added(s)}, {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<const void*>(s.C)}}) {
    const std::uint32_t alignment = alignment_of(address);
    require(lt.cublasLtMatmulPreferenceSetAttribute(wanted, attribute, &alignment, sizeof alignment), "a preference");
  }
  int found = 0;
  require(lt.cublasLtMatmulAlgoGetHeuristic(lt.handle, p.product, p.b, p.a, p.c, p.c, wanted, 1, &p.way, &found), "a way to multiply");
  if (found == 0) fail(ErrorKind::limit, "cuda.cublaslt", "cuBLASLt multiplies no ", s.M, " x ", s.N, " x ", s.K, "; leave BAM_CUDA_LIBRARY out");
  return p;
}

}  // namespace

void library_gemm(const Exec& exec, const GemmArgs& s) {
  static const Library lt;
  using Key = std::tuple<bool, bool, DType, std::array<std::int64_t, 6>, std::array<std::uint32_t, 4>>;
  static std::map<Key, Plan> plans;  // of all shapes that were met
  const Key key{s.transpose_a, s.transpose_b, s.out, {s.M, s.N, s.K, s.lda, s.ldb, s.ldc}, {alignment_of(s.A), alignment_of(s.B), alignment_of(s.C), alignment_of(added(s))}};
  auto it = plans.find(key);
  if (it == plans.end()) it = plans.emplace(key, make_plan(lt, s)).first;
  const Plan& p = it->second;
  const float one = 1, before = s.write == Write::add ? 1.0f : 0.0f;
  void* const space = exec.scratch(exec.pool, exec.workers, workspace_bytes);
  require(lt.cublasLtMatmul(lt.handle, p.product, &one, s.B, p.b, s.A, p.a, &before, added(s), p.c, s.C, p.c, &p.way.algo, space, workspace_bytes, stream_of(exec)), "a product");
}

}  // namespace bam::cuda
