// Everything that is read once per instruction set. No include guard: backend.hpp reads it three times.
#include "simd.inl"

// Runs body(i, worker) for i in [0, n) on the threads of `exec`.
template <class F>
inline void parallel(const Exec& exec, std::int64_t n, F&& body) {
  if (n <= 1 || exec.workers <= 1) {
    for (std::int64_t i = 0; i < n; ++i) body(i, 0);
    return;
  }
  auto call = [](void* f, std::int64_t i, int worker) { (*static_cast<std::remove_reference_t<F>*>(f))(i, worker); };
  exec.parallel(exec.pool, n, call, const_cast<void*>(static_cast<const void*>(&body)));
}
BAM_INLINE std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
BAM_INLINE float* scratch(const Exec& exec, int worker, std::int64_t floats) {
  return static_cast<float*>(exec.scratch(exec.pool, worker, static_cast<std::size_t>(floats) * sizeof(float)));
}
BAM_INLINE const float* f32(const void* p) { return static_cast<const float*>(p); }
BAM_INLINE float* f32(void* p) { return static_cast<float*>(p); }

#include "gemm.inl"
#include "attention.inl"
#include "norm.inl"
#include "rope.inl"
#include "swiglu.inl"
#include "router.inl"
#include "route_gradient.inl"
#include "rows.inl"
#include "softmax.inl"
#include "elementwise.inl"
#include "random.inl"
#include "optimizer.inl"

#define BAM_ROW(name, Args) name,
inline constexpr KernelTable table_value = {BAM_KERNELS(BAM_ROW)};
#undef BAM_ROW
#if defined(BAM_COMPILING)
extern const KernelTable table;
const KernelTable table = table_value;
#else
inline constexpr const KernelTable& table = table_value;
#endif
