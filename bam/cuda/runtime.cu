#include "runtime.cuh"

#include <cuda.h>
#include <nvtx3/nvToolsExt.h>

#include <cstring>
#include <utility>

#include "device_hopper.cuh"

#include "../core/error.hpp"

namespace bam::cuda {
namespace {

void require(cudaError_t e, const char* what) {
  if (e == cudaSuccess) return;
  cudaGetLastError();  // it is told here, and is not the next launch's
  fail(ErrorKind::limit, "cuda.runtime", "CUDA, ", what, ": ", cudaGetErrorString(e));
}
// The program around may have chosen another device for this thread.
void use_device() { require(cudaSetDevice(0), "device"); }
int attribute(cudaDeviceAttr which) {
  int value = 0;
  require(cudaDeviceGetAttribute(&value, which, 0), "device");
  return value;
}
__global__ void nothing() {}

struct Scratch {  // grown on demand: calls on a stream follow each other
  void* p = nullptr;
  std::size_t bytes = 0;
};
struct Context {
  cudaStream_t streams[2] = {};  // the second is branch 2's
  Scratch scratch[2];            // of each stream
  cudaEvent_t forked = nullptr, joined = nullptr;
  int branch = 0;
  std::int64_t scratches = 0;  // how often scratch was moved
  bool recording = false;
  cudaStream_t stream() const { return streams[branch == 2]; }
};
Context& context() {
  static Context value = [] {
    Context c;
    use_device();
    for (cudaStream_t& s : c.streams) require(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "stream");
    for (cudaEvent_t* e : {&c.forked, &c.joined}) require(cudaEventCreateWithFlags(e, cudaEventDisableTiming), "event");
    return c;
  }();
  use_device();
  return value;
}

void* grow_scratch(void* pool, int, std::size_t bytes) {
  Context& c = *static_cast<Context*>(pool);
  Scratch& s = c.scratch[c.branch == 2];
  if (bytes > s.bytes) {
    if (c.recording) fail(ErrorKind::internal, "cuda.recording", "CUDA: a recording wants ", static_cast<std::int64_t>(bytes), " bytes of scratch, more than ran before it");
    ++c.scratches;
    require(cudaStreamSynchronize(c.stream()), "synchronize");
    require(cudaFree(s.p), "free");
    s = {};
    s.p = allocate(static_cast<std::int64_t>(bytes));
    if (!s.p && give_back && give_back()) s.p = allocate(static_cast<std::int64_t>(bytes));
    if (!s.p) fail(ErrorKind::limit, "memory.exhausted", "CUDA: no memory for ", static_cast<std::int64_t>(bytes), " bytes of scratch; lower micro_batch or context");
    s.bytes = bytes;
  }
  return s.p;
}

}  // namespace

std::string unavailable() {
  int n = 0;
  auto told = [](cudaError_t e) {
    cudaGetLastError();
    return std::string(cudaGetErrorString(e));
  };
  if (cudaError_t e = cudaGetDeviceCount(&n); e != cudaSuccess) return told(e);
  if (n == 0) return "the driver sees no GPU";
  const int major = attribute(cudaDevAttrComputeCapabilityMajor), minor = attribute(cudaDevAttrComputeCapabilityMinor);
  if (major < 8) return str("its compute capability is ", major, ".", minor, ", wanted 8.0 or more");
  use_device();
  cudaFuncAttributes a;
  if (cudaError_t e = cudaFuncGetAttributes(&a, nothing); e != cudaSuccess) return "the driver takes none of this program's code: " + told(e);
  return "";
}

std::string describe() {
  cudaDeviceProp p{};
  require(cudaGetDeviceProperties(&p, 0), "device");
  return str(p.name, ", compute capability ", p.major, ".", p.minor, ", ", p.multiProcessorCount, " multiprocessors, ", static_cast<std::int64_t>(p.totalGlobalMem >> 20), " MiB");
}

bool emulated() { return false; }
std::int64_t memory_available() {
  std::size_t available = 0, total = 0;
  use_device();
  require(cudaMemGetInfo(&available, &total), "memory");
  return static_cast<std::int64_t>(available);
}

Exec execution() {
  Exec exec;
  exec.scratch = grow_scratch;
  exec.pool = &context();
  return exec;
}
cudaStream_t stream_of(const Exec& exec) { return exec.scratch == grow_scratch ? static_cast<Context*>(exec.pool)->stream() : nullptr; }

void* allocate(std::int64_t bytes) {
  void* p = nullptr;
  use_device();
  const cudaError_t e = cudaMalloc(&p, static_cast<std::size_t>(bytes));
  if (e != cudaErrorMemoryAllocation) {  // anything else is another call's
    require(e, "a kernel, a copy or memory");
    return p;
  }
  cudaGetLastError();  // it is told to the caller
  return nullptr;
}
void release(void* p) {
  synchronize();
  require(cudaFree(p), "free");
}

void copy(Way way, void* to, std::int64_t to_pitch, const void* from, std::int64_t from_pitch, std::int64_t width, std::int64_t rows) {
  const cudaMemcpyKind kind = way == Way::to_device ? cudaMemcpyHostToDevice : way == Way::to_host ? cudaMemcpyDeviceToHost : cudaMemcpyDeviceToDevice;
  auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  if (to_pitch == width && from_pitch == width) {
    width *= rows;
    rows = 1;
  }
  if (rows == 1) require(cudaMemcpyAsync(to, from, size(width), kind, context().stream()), "copy");
  else require(cudaMemcpy2DAsync(to, size(to_pitch), from, size(from_pitch), size(width), size(rows), kind, context().stream()), "copy");
  if (way != Way::within) synchronize();
}
void synchronize() { require(cudaStreamSynchronize(context().stream()), "a kernel or copy"); }
void enter_branch(int branch) {
  Context& c = context();
  auto wait = [](cudaStream_t who, cudaStream_t whom, cudaEvent_t at) {
    require(cudaEventRecord(at, whom), "a branch");
    require(cudaStreamWaitEvent(who, at, 0), "a branch");
  };
  const int before = std::exchange(c.branch, branch);
  if (before == 0 && branch != 0) wait(c.streams[1], c.streams[0], c.forked);
  if (before != 0 && branch == 0) wait(c.streams[0], c.streams[1], c.joined);
}

// Of a recording, which takes memory of the driver's own.
void require_with_memory(cudaError_t e) {
  if (e == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    fail(ErrorKind::limit, "memory.exhausted", "CUDA: no memory for a recording; lower micro_batch or context, or set BAM_CUDA_GRAPHS=off");
  }
  require(e, "a recording");
}
struct Recording {
  cudaGraphExec_t graph = nullptr;
  std::int64_t scratches = 0;
  ~Recording() {
    if (graph) cudaGraphExecDestroy(graph);  // once what runs of it is done; of none it would leave an error for the next launch to report
  }
};
void begin_recording() {
  require(cudaStreamBeginCapture(context().streams[0], cudaStreamCaptureModeRelaxed), "the start of a recording");  // relaxed: memory may be allocated
  context().recording = true;
}
std::shared_ptr<Recording> end_recording() {
  Context& c = context();
  c.recording = false;
  cudaGraph_t made = nullptr;
  require(cudaStreamEndCapture(c.streams[0], &made), "the end of a recording");
  auto recording = std::make_shared<Recording>();
  recording->scratches = c.scratches;
  const cudaError_t e = cudaGraphInstantiate(&recording->graph, made, 0);
  cudaGraphDestroy(made);
  require_with_memory(e);
  return recording;
}
void abandon_recording() {
  Context& c = context();
  c.recording = false;
  cudaGraph_t made = nullptr;
  if (cudaStreamEndCapture(c.streams[0], &made) == cudaSuccess) cudaGraphDestroy(made);
  cudaGetLastError();  // the error that led here is told by who met it
}
bool replay(const Recording& what) {
  Context& c = context();
  if (what.scratches != c.scratches) return false;
  require_with_memory(cudaGraphLaunch(what.graph, c.streams[0]));
  return true;
}
void check_arguments(const void*, std::size_t) {}
Range::Range(const char* name) { nvtxRangePushA(name); }
Range::~Range() { nvtxRangePop(); }

bool has_warpgroups() { return attribute(cudaDevAttrComputeCapabilityMajor) == 9; }

TensorMap tensor_map(const void* base, std::int64_t rows, std::int64_t columns, std::int64_t ld, int box_rows) {
  static const auto encode = [] {  // from the driver, so that nothing links to it
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found{};
    require(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found), "tensor maps");
    if (found != cudaDriverEntryPointSuccess) fail(ErrorKind::limit, "cuda.runtime", "CUDA: this driver makes no tensor maps; leave BAM_CUDA_PATH=wgmma out");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
  }();
  const cuuint64_t size[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)}, stride[1] = {static_cast<cuuint64_t>(ld * 2)};
  const cuuint32_t box[2] = {64, static_cast<cuuint32_t>(box_rows)}, step[2] = {1, 1};
  CUtensorMap made;
  const CUresult r = encode(&made, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void*>(base), size, stride, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                            CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (r != CUDA_SUCCESS) fail(ErrorKind::internal, "cuda.map", "CUDA: no tensor map for ", rows, " x ", columns, " at a distance of ", ld, ": error ", static_cast<int>(r));
  TensorMap map;
  static_assert(sizeof map == sizeof made);
  std::memcpy(map.bytes, &made, sizeof made);
  return map;
}

int multiprocessors() { return attribute(cudaDevAttrMultiProcessorCount); }

void before_launch(const void* kernel, std::int64_t blocks, std::int64_t shared_bytes) {
  if (blocks > 0x7fffffff) fail(ErrorKind::limit, "cuda.blocks", "CUDA: a launch of ", blocks, " blocks, wanted at most 2147483647; lower micro_batch or context");
  if (shared_bytes <= 48 * 1024) return;
  if (const int most = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin); shared_bytes > most)
    fail(ErrorKind::limit, "cuda.shared", "CUDA: a block wants ", shared_bytes, " bytes of shared memory, this device gives ", most, "; its heads are too wide for this device: use a smaller head_dim, or --device cpu");
  require(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)), "shared memory");
}

void check_launch() { require(cudaGetLastError(), "launch"); }

}  // namespace bam::cuda
