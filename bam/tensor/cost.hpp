// What a call of a row costs at least, whatever the machine: floating-point operations of its products, and bytes of its operands, each read or written once. And how many kernels the CUDA backend
// launches for it, as its files have it, bf16 on tensor cores.
#pragma once
#include <cstdint>
#include <string>

#include "../core/error.hpp"
#include "../kernels.hpp"

namespace bam {

enum class Row : int {
#define BAM_ROW(name, Args) name,
  BAM_KERNELS(BAM_ROW)
#undef BAM_ROW
      count
};
inline const char* name_of(Row row) {
  static constexpr const char* names[] = {
#define BAM_ROW(name, Args) #name,
      BAM_KERNELS(BAM_ROW)
#undef BAM_ROW
  };
  return names[static_cast<int>(row)];
}

struct Cost {
  double flops = 0, bytes = 0;
  std::string shape = {};  // for people
  int kernels = 1;
};

namespace detail {
inline double number(std::int64_t n) { return static_cast<double>(n); }
inline double size(DType d) { return static_cast<double>(size_of(d)); }
inline double written(DType d, Write write) { return size(d) * (write == Write::add ? 2 : 1); }
template <class... Sizes>
std::string product(Sizes... sizes) {
  std::string s;
  ((s += (s.empty() ? "" : " x ") + std::to_string(sizes)), ...);
  return s;
}
inline std::string layout(bool transpose_a, bool transpose_b) { return str(transpose_a ? " T" : " N", transpose_b ? "T" : "N"); }  // as BLAS names it
// Whether RoPE needs kernels of its own.
inline bool turns_apart(const Rotation& by, DType out) { return by.positions && (by.rotate_half || out != DType::bf16); }
inline std::int64_t elements(int rank, const std::int64_t* shape) {
  std::int64_t n = 1;
  for (int i = 0; i < rank; ++i) n *= shape[i];
  return n;
}
}  // namespace detail

inline Cost cost(Row, const GemmArgs& a) {
  using namespace detail;
  const bool in_chains = a.batch == 1 && a.transpose_a && !a.transpose_b && a.M <= 16 && a.K > 256;  // gemm_thin.cuh
  const double batch = number(a.batch), M = number(a.M), N = number(a.N), K = number(a.K);
  return {2 * batch * M * N * K, batch * ((M * K + K * N) * size(a.dtype) + M * N * written(a.out, a.write)), product(a.M, a.N, a.K) + layout(a.transpose_a, a.transpose_b) + (a.batch != 1 ? str(" times ", a.batch) : "") + (a.dtype == DType::bf16 ? " bf16" : ""), 1 + in_chains + turns_apart(a.turn, a.out)};
}
// An operand of both, and the C of a sum, is counted once.
inline Cost cost(Row row, const GemmPairArgs& a) {
  using namespace detail;
  const Cost first = cost(row, a.first), second = cost(row, a.second);
  const GemmArgs& g = a.second;
  const double shared = (a.first.A == g.A ? number(g.M) * number(g.K) * size(g.dtype) : 0) + (a.first.B == g.B ? number(g.K) * number(g.N) * size(g.dtype) : 0) + (a.sum() ? number(g.M) * number(g.N) * written(g.out, g.write) : 0);
  return {first.flops + second.flops, first.bytes + second.bytes - shared, (a.sum() ? "" : "each: ") + product(a.first.M, a.first.N, a.first.K) + (a.sum() ? " + " : ", ") + product(g.M, g.N, g.K) + layout(g.transpose_a, g.transpose_b) + (g.dtype == DType::bf16 ? " bf16" : ""),
          g.dtype == DType::bf16 && !turns_apart(a.first.turn, a.first.out) ? 1 : first.kernels + second.kernels};
}
// Reads offsets, so they must be the host's.
inline Cost cost(Row, const GroupedGemmArgs& a) {
  using namespace detail;
  const std::int64_t rows = a.offsets[a.experts];
  const double r = number(rows), E = number(a.experts), M = number(a.M), N = number(a.N), K = number(a.K);
  const std::string shape = a.weights ? product(a.M, a.N, rows) : product(rows, a.N, a.K);
  // With SwiGLU y is written beside C; or x is read and dx written instead of C.
  const double beside = a.swiglu.y ? N / 2 : a.swiglu.dx ? 3 * N : 0;
  return {2 * r * N * (a.weights ? M : K), a.weights ? r * (M + N) * size(a.dtype) + E * M * N * written(a.out, a.write) : (r * K + E * K * N) * size(a.dtype) + r * N * written(a.out, a.write) + r * beside * size(a.out),
          shape + layout(a.weights, a.transpose_b) + str(" over ", a.experts, " experts") + (a.swiglu.y ? ", SwiGLU" : a.swiglu.dx ? ", SwiGLU's gradient" : "") + (a.dtype == DType::bf16 ? " bf16" : ""),
          1 + (a.out == DType::bf16 ? a.swiglu.dx && a.swiglu.dscale : a.swiglu.y || a.swiglu.dx)};  // sums of dscale; SwiGLU
}
// Reads the segments, so they must be the host's. Causal pairs count at half.
inline Cost cost(Row row, const AttentionArgs& a) {
  using namespace detail;
  double pairs = 0;
  for (std::int64_t s = 0; s < a.segments; ++s) {
    const double q = number(a.segment[s].q_length), k = number(a.segment[s].k_length);
    pairs += a.causal ? q * (k - q / 2) : q * k;
  }
  const bool forward = row == Row::attention_forward;
  const double wide = number(a.rows * a.heads * a.head_dim) * size(a.dtype), narrow = number(a.rows * a.kv_heads * a.head_dim) * size(a.dtype);
  return {(forward ? 4 : 10) * pairs * number(a.heads * a.head_dim), forward ? 2 * wide + 2 * narrow : 4 * wide + 4 * narrow,
          str(a.rows, " tokens, ", a.heads, " heads of ", a.head_dim, ", ", a.kv_heads, " of keys") + (a.dtype == DType::bf16 ? " bf16" : ""),
          forward ? 1 : 3 + (a.dgate != nullptr) + 2 * turns_apart(a.turned, a.dtype)};
}
inline Cost cost(Row row, const NormArgs& a) {
  using namespace detail;
  const double n = number(a.rows * a.columns);
  return {0, row == Row::norm_forward ? n * (4 + size(a.out)) : n * (8 + written(DType::f32, a.write_dx)), product(a.rows, a.columns),
          row == Row::norm_forward ? 1 : (a.dw ? 1 + (a.rows > 256) : 0) + (a.dx != nullptr)};
}
inline Cost cost(Row, const RopeArgs& a) { return {0, 2 * detail::number(a.rows * a.heads * a.head_dim) * detail::size(a.dtype), str(a.rows, " tokens, ", a.heads, " heads of ", a.head_dim)}; }
inline Cost cost(Row row, const SwigluArgs& a) { return {0, detail::number(a.rows * a.columns) * (row == Row::swiglu_forward ? 3 : 5) * detail::size(a.dtype), detail::product(a.rows, a.columns)}; }
inline Cost cost(Row, const RoutePlanArgs& a) { return {0, detail::number(a.tokens * a.top_k) * 28, str(detail::product(a.tokens, a.top_k), " of ", a.experts), 3}; }
inline Cost cost(Row row, const RouterArgs& a) {
  const bool planned = row == Row::router_forward && a.plan.offsets;
  return {0, detail::number(a.tokens * a.experts) * 12 + (planned ? cost(Row::route_plan, a.plan).bytes : 0), detail::product(a.tokens, a.experts) + (planned ? ", plan" : ""),
          row == Row::router_backward ? 1 : 2 + (planned || (a.balance && !a.f))};
}
inline Cost cost(Row, const RouteGradientArgs& a) { return {0, detail::number(a.tokens * (a.top_k * 16 + a.experts * 4)), detail::product(a.tokens, a.experts)}; }
inline Cost cost(Row, const GatherArgs& a) {
  return {0, detail::number(a.rows * a.columns) * (detail::number(a.terms) * detail::size(a.dtype) + detail::written(a.out, a.write)), detail::product(a.rows, a.columns) + (a.terms > 1 ? str(" of ", a.terms) : "")};
}
inline Cost cost(Row, const ScatterArgs& a) { return {0, detail::number(a.rows * a.columns) * 4 + detail::number(a.targets * a.columns) * detail::written(DType::f32, a.write), str(detail::product(a.rows, a.columns), " to ", a.targets), 2 + (a.write == Write::overwrite)}; }
inline Cost cost(Row row, const SoftmaxArgs& a) { return {0, detail::number(a.rows * a.columns) * (row == Row::softmax_forward ? 8 : 12), detail::product(a.rows, a.columns)}; }
inline Cost cost(Row row, const CrossEntropyArgs& a) {
  return {0, detail::number(a.rows * a.columns) * (row == Row::cross_entropy_forward ? 4 : 4 + detail::written(a.out, a.write)), detail::product(a.rows, a.columns)};
}
inline Cost cost(Row row, const UnaryArgs& a) { return {0, detail::number(a.n) * (row == Row::unary_forward ? 8 : 8 + detail::written(DType::f32, a.write)), std::to_string(a.n)}; }
inline Cost cost(Row, const BinaryArgs& a) { return {0, detail::number(detail::elements(a.rank, a.shape)) * 12, std::to_string(detail::elements(a.rank, a.shape))}; }
inline Cost cost(Row, const CopyArgs& a) { return {0, detail::number(detail::elements(a.rank, a.shape)) * (detail::size(a.dtype) + detail::written(a.dtype, a.write)), std::to_string(detail::elements(a.rank, a.shape))}; }
inline Cost cost(Row, const ReduceArgs& a) { return {0, detail::number(a.outer * (a.n + 1) * a.inner) * 4, detail::product(a.outer, a.n, a.inner)}; }
inline Cost cost(Row, const DropoutArgs& a) { return {0, detail::number(a.rows * a.columns) * 8, detail::product(a.rows, a.columns)}; }
inline Cost cost(Row, const CastArgs& a) { return {0, detail::number(a.n) * (detail::size(a.from) + detail::written(a.to, a.write)), std::to_string(a.n)}; }
inline Cost cost(Row, const FillArgs& a) { return {0, detail::number(a.n) * detail::size(a.dtype), std::to_string(a.n)}; }
inline Cost cost(Row, const SumSquaresArgs& a) {
  std::int64_t n = 0;
  for (int i = 0; i < a.parts; ++i) n += a.part[i].n;
  return {0, detail::number(n) * 4, str(n, " in ", a.parts)};
}
inline Cost cost(Row, const AdamWArgs& a) {
  std::int64_t n = 0;
  for (int i = 0; i < a.parts; ++i) n += a.part[i].rows * a.part[i].columns;
  return {0, detail::number(n) * (12 + 4 * detail::size(a.moments)), str(n, " in ", a.parts)};
}

}  // namespace bam
