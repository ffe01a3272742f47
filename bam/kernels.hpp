// THE CONTRACT. Every kernel once: an args struct (raw views and plain numbers) and a row of the kernel table.
// Each backend implements exactly this page; a kernel that one of them lacks is a link error.
//
// Dimensions: N tokens (rows), C model, H query heads, D head dim, E experts, K chosen, F ffn, V vocabulary.
// Matrices are row-major; a "*_row" or "ld*" member is the distance between rows in elements.
// `void*` members hold `dtype` (F32; BF16 where a row says so), or `out` where a row has it, for what it writes; `float*` members are fp32 whatever the dtype.
// In bf16 a row loads, computes in float and rounds once, to nearest even.
// Rows that say nothing of BF16 have it on no backend: softmax, unary, binary, reduce, dropout, scatter, the gradients of norms, and the router's. They serve the residual stream, statistics, losses and
// gradients of weights, which a run in bf16 keeps in float because they add up; what research code wants of them in bf16 goes through cast.
// Write says what happens to an output that may already hold something: overwrite it, or add to it.
// Numbers (same bits): on the CPU, and by the portable CUDA kernels, every GEMM output is one fma chain over k in order, which starts from C when it adds;
// sums over tokens are chains in token order; sums inside a row are a fixed tree over 16 lanes.
// Kernels trust their arguments: checks live in the ops. Sizes may be 0.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/dtype.hpp"

namespace bam {

enum class Write : std::uint8_t { overwrite, add };

// How a kernel reaches the threads and scratch memory of its host. Bodies may run in any order and on any worker;
// what they compute may depend on neither.
struct Exec {
  using Body = void (*)(void* context, std::int64_t i, int worker);
  void (*parallel)(void* pool, std::int64_t n, Body body, void* context) = nullptr;
  void* (*scratch)(void* pool, int worker, std::size_t bytes) = nullptr;  // 64-byte aligned; one block per worker,
                                                                          // kept from call to call, grown on demand
  void* pool = nullptr;
  int workers = 1;  // worker is in [0, workers]; index `workers` is scratch of the calling thread, shared by bodies
};

// RoPE as part of another row: positions, table and pairs as in RopeArgs. Null positions: none.
struct Rotation {
  bool rotate_half = false;
  std::int64_t head_dim = 0;
  const std::int32_t* positions = nullptr;
  const float* table = nullptr;
};

// C (M, N) = or += op(A) (M, K) op(B) (K, N); op transposes when asked: transpose_a means A is stored (K, M).
// `batch` independent products at distances batch_a, batch_b, batch_c (elements; 0 repeats an operand).
// A and B hold dtype, C holds out: f32, or bf16 where dtype is. In bf16 sums are float all the same, and C is rounded once; on tensor cores they have the
// hardware's order, elsewhere that of fp32.
// from: what is added to, with Write::add and no batch, lying as C does; null: C.
// turn: of the product's first turned_heads heads, when it overwrites and is no batch; before C is rounded or, where RoPE is a kernel of its own, after that and rounded again.
struct GemmArgs {
  DType dtype = DType::f32, out = DType::f32;
  Write write = Write::overwrite;
  bool transpose_a = false, transpose_b = false;
  std::int64_t batch = 1, M = 0, N = 0, K = 0;
  const void* A = nullptr;
  std::int64_t lda = 0, batch_a = 0;
  const void* B = nullptr;
  std::int64_t ldb = 0, batch_b = 0;
  void* C = nullptr;
  std::int64_t ldc = 0, batch_c = 0;
  const void* from = nullptr;
  Rotation turn;
  std::int64_t turned_heads = 0;
};

// Two products in one call, the first and then the second, of the same types and transposes, without a batch. Neither reads what the other writes; or both have the same C, to which the second adds: a sum of two products.
struct GemmPairArgs {
  GemmArgs first, second;
  bool sum() const { return first.C == second.C; }
};

// SwiGLU (Shazeer 2020): y = s * silu(gate) * up, x (N, 2F) = [gate | up], s an optional scale per row.
// Backward: dx by write, dscale (N; overwritten) = sum over F of dy * silu(gate) * up, null to skip. F32 or BF16.
// dy may lie in the second half of dx, which is overwritten then: where the gradients of up come.
struct SwigluArgs {
  DType dtype = DType::f32;
  Write write = Write::overwrite;
  std::int64_t rows = 0, columns = 0;  // columns = F
  const void* x = nullptr;
  std::int64_t x_row = 0;
  const float* scale = nullptr;
  void* y = nullptr;
  std::int64_t y_row = 0;
  const void* dy = nullptr;
  std::int64_t dy_row = 0;
  void* dx = nullptr;
  std::int64_t dx_row = 0;
  float* dscale = nullptr;
};

// One product per expert over the rows routed to it; expert e owns rows offsets[e] .. offsets[e+1].
// weights == false: C[r, :] (N wide) = or += A[a_index[r], :] (K wide) op(B_e), B_e = B + e * expert_stride.
// weights == true: C_e (M, N) = or += sum over its rows r, in order, of A[a_index[r], :]^T (M wide) B[b_index[r], :]
//   (N wide), C_e = C + e * expert_stride; an expert without rows overwrites C_e with 0.
// A null index is the identity. A, B and C hold dtype and out as those of GemmArgs.
// swiglu: the row that follows a product which overwrites and is none of weights, over all of its rows and in `out`. With y it is forward, and C its x; with dx backward, and C, which is but
//   workspace then, its dy. On tensor cores both may be one kernel, which rounds where the two would.
struct GroupedGemmArgs {
  DType dtype = DType::f32, out = DType::f32;
  Write write = Write::overwrite;
  bool weights = false, transpose_b = false;
  std::int64_t experts = 0, M = 0, N = 0, K = 0;
  const std::int64_t* offsets = nullptr;  // (E + 1)
  const std::int64_t *a_index = nullptr, *b_index = nullptr;
  const void* A = nullptr;
  std::int64_t lda = 0;
  const void* B = nullptr;
  std::int64_t ldb = 0;
  void* C = nullptr;
  std::int64_t ldc = 0;
  std::int64_t expert_stride = 0;
  SwigluArgs swiglu;
};

// LayerNorm (weight only; Ba et al. 2016): y = (x - mean) * rstd * w, rstd = 1 / sqrt(var + eps).
// RMSNorm (Zhang & Sennrich 2019): y = x * rstd * w, rstd = 1 / sqrt(mean(x^2) + eps).
// Backward: dx by write_dx, dw (a chain over tokens) by write_dw; a null dx or dw is skipped. y holds out, F32 or BF16; x and all gradients are F32.
struct NormArgs {
  DType dtype = DType::f32, out = DType::f32;
  bool rms = false;
  float eps = 1e-5f;
  std::int64_t rows = 0, columns = 0;
  const void* x = nullptr;
  const float* w = nullptr;
  void* y = nullptr;
  float *mean = nullptr, *rstd = nullptr;  // (N); mean unused by RMSNorm
  const void* dy = nullptr;
  void* dx = nullptr;
  float* dw = nullptr;
  Write write_dx = Write::overwrite, write_dw = Write::overwrite;
};

// Rotary position embedding (Su et al. 2021), in place when y == x. Rotates `heads` heads of width D per row, pairs
// (2i, 2i+1) or, rotate_half, (i, i + D/2), by angle positions[row] * theta^(-2i/D). Table: cos at
// table[p * D + i], sin at table[p * D + D/2 + i]. inverse turns back, which is the backward. F32 or BF16.
struct RopeArgs {
  DType dtype = DType::f32;
  bool rotate_half = false, inverse = false;
  std::int64_t rows = 0, heads = 0, head_dim = 0;
  const void* x = nullptr;
  std::int64_t x_row = 0;
  void* y = nullptr;
  std::int64_t y_row = 0;
  const std::int32_t* positions = nullptr;  // (N)
  const float* table = nullptr;             // (positions, D)
};
// In place.
inline RopeArgs rope_args(const Rotation& by, DType dtype, std::int64_t rows, std::int64_t heads, void* x, std::int64_t x_row, bool inverse) {
  return {dtype, by.rotate_half, inverse, rows, heads, by.head_dim, x, x_row, x, x_row, by.positions, by.table};
}

// One sequence: query i (0 <= i < q_length, row q_begin + i) sees keys 0 .. k_length - q_length + i when causal,
// else all k_length; keys are rows k_begin ... A document, a row of a batch, a cached prompt: all are segments.
struct Segment {
  std::int64_t q_begin = 0, q_length = 0, k_begin = 0, k_length = 0;
};

// Flash-style attention (Dao et al. 2022) with grouped KV heads and per-token gates on heads:
// out[t, h] = gate[t, h / heads_per_gate] * softmax(scale * q[t, h] k[., kv]^T) v[., kv],
// kv = (h / group) % kv_heads. Plain GQA: group = H / KV. Soft mixture of attention over E experts is this kernel with
// E * H query heads; shared KV is the same map with the kv_heads of one expert (BAM, arXiv 2408.08274, section 3).
// Key tiles are anchored at a sequence's first key, so a row's result does not depend on the batch around it.
// lse (H, rows) is log sum exp of the scaled scores. Null gate means 1.
// Backward: dq, dk, dv (row strides of q, k, v; overwritten for the rows of the segments), dgate (N, gates; overwritten) = dL/dgate.
// turned: what q and k went through, where queries and keys are of the same rows, all of which are in segments; dq and dk are then the gradients of what they were before.
// In bf16 q, k, v, out and their gradients hold bf16; sums and softmax are float, and results are rounded once. On tensor cores the weights and their gradients are rounded to bf16 where they
// are multiplied.
struct AttentionArgs {
  DType dtype = DType::f32;
  bool causal = true;
  std::int64_t segments = 0, rows = 0;  // rows: total query rows, the stride of lse
  std::int64_t key_rows = 0;            // so many rows of k and v are there and finite, whoever's they are; 0: a segment's own alone are
  const Segment* segment = nullptr;
  std::int64_t heads = 0, kv_heads = 0, group = 1, head_dim = 0, heads_per_gate = 0;
  float scale = 1;
  const void *q = nullptr, *k = nullptr, *v = nullptr;
  std::int64_t q_row = 0, k_row = 0, v_row = 0;
  const float* gate = nullptr;
  std::int64_t gate_row = 0;
  void* out = nullptr;
  std::int64_t out_row = 0;
  float* lse = nullptr;
  const void* dout = nullptr;
  std::int64_t dout_row = 0;
  void *dq = nullptr, *dk = nullptr, *dv = nullptr;
  float* dgate = nullptr;
  Rotation turned;
};

// Stable order of the N * K assignments by expert, then token (counting sort):
// slots offsets[e] .. offsets[e+1] belong to e; slot_token[s] is its token, slot_gate[s] its gate, token_slot (N, K) the way back.
struct RoutePlanArgs {
  std::int64_t tokens = 0, experts = 0, top_k = 0;
  const std::int32_t* chosen = nullptr;  // (N, K)
  const float* gates = nullptr;          // (N, E)
  std::int64_t *offsets = nullptr, *slot_token = nullptr, *token_slot = nullptr;
  float* slot_gate = nullptr;
};

// Router: p = softmax(logits); the K largest are chosen, ties to the lower index; gate = p (or p / sum of the chosen
// when renormalize) for the chosen, 0 for the others. z = lse^2 (ST-MoE, Zoph et al. 2022).
// balance = E * sum_e f_e p_e (Switch, Fedus et al. 2021); f (E) carries no gradient. Null f means the counts of
// this call divided by their sum. counts (E) = assignments of tokens with real != 0 (null: all); z and balance are 0
// where real is 0.
// plan: the row route_plan of what is chosen here, where it has offsets; on CUDA both are three kernels.
// Backward: dlogits (overwritten) from dgate (N, E; null = 0), dbalance (N) and dz (N) (null = 0).
struct RouterArgs {
  std::int64_t tokens = 0, experts = 0, top_k = 0;
  bool renormalize = false;
  const float* logits = nullptr;        // (N, E)
  const std::uint8_t* real = nullptr;   // (N)
  const float* f = nullptr;             // (E)
  float *probs = nullptr, *gates = nullptr;  // (N, E)
  float *lse = nullptr, *balance = nullptr, *z = nullptr;  // (N)
  std::int32_t* chosen = nullptr;       // (N, K), by falling probability
  std::int64_t* counts = nullptr;       // (E), overwritten
  float* f_used = nullptr;              // (E), what balance was computed with; backward reads it
  RoutePlanArgs plan;
  const float *dgate = nullptr, *dbalance = nullptr, *dz = nullptr;
  float* dlogits = nullptr;
};

// dgates (N, E) = or += dscale of each token's slots at its chosen experts; overwrite clears the others.
struct RouteGradientArgs {
  Write write = Write::overwrite;
  std::int64_t tokens = 0, experts = 0, top_k = 0;
  const std::int32_t* chosen = nullptr;      // (N, K)
  const std::int64_t* token_slot = nullptr;  // (N, K)
  const float* dscale = nullptr;             // (N * K), by slot
  float* dgates = nullptr;
};

// y[r, :] = or += sum over j, in order, of x[index[r * terms + j], :]. terms 1 is a row gather (embedding lookup);
// terms K combines the K expert rows of a token. An index below 0 contributes nothing.
// i32 index when index32 is set, else i64. x and y hold dtype and out, each F32 or BF16. from: what is added to, lying as y does; null: y.
struct GatherArgs {
  DType dtype = DType::f32, out = DType::f32;
  Write write = Write::overwrite;
  std::int64_t rows = 0, columns = 0, terms = 1;
  const void* x = nullptr;
  std::int64_t x_row = 0;
  const std::int64_t* index = nullptr;
  const std::int32_t* index32 = nullptr;
  void* y = nullptr;
  std::int64_t y_row = 0;
  const void* from = nullptr;
};

// y[index[r], :] += x[r, :], for each row of y a chain over r in order; overwrite clears the `targets` rows of y first.
// The backward of a gather. An index below 0 is skipped.
struct ScatterArgs {
  Write write = Write::overwrite;
  std::int64_t rows = 0, columns = 0, targets = 0;
  const float* x = nullptr;
  std::int64_t x_row = 0;
  const std::int64_t* index = nullptr;
  const std::int32_t* index32 = nullptr;
  float* y = nullptr;
  std::int64_t y_row = 0;
};

// Softmax or log-softmax over the last axis. Backward: dx by write, from the output y.
struct SoftmaxArgs {
  DType dtype = DType::f32;
  bool log = false;
  Write write = Write::overwrite;
  std::int64_t rows = 0, columns = 0;
  const void* x = nullptr;
  void* y = nullptr;
  const void* dy = nullptr;
  void* dx = nullptr;
};

// nll[r] = lse(scale * x[r, :]) - scale * x[r, target[r]]; 0 where target < 0. Backward: dx = (softmax - onehot) * scale * dnll[r],
// by write; dx may be x. dx holds out, F32 or BF16, and is not x then; a forward pass whose gradient is to be BF16 may take its exponentials no more exactly than that needs.
struct CrossEntropyArgs {
  DType dtype = DType::f32, out = DType::f32;
  Write write = Write::overwrite;
  std::int64_t rows = 0, columns = 0, x_row = 0, dx_row = 0;
  float scale = 1;
  const void* x = nullptr;
  const std::int32_t* target = nullptr;
  float *nll = nullptr, *lse = nullptr;
  const float* dnll = nullptr;
  void* dx = nullptr;
};

// Elementwise with broadcasting over up to 6 axes (stride 0 repeats). Outputs are dense.
inline constexpr int max_rank = 6;
enum class Unary : std::uint8_t { copy, neg, exp, log, sqrt, tanh, sigmoid, silu, gelu, relu, square, softplus, abs, reciprocal, sin, cos };
struct UnaryArgs {  // y = op(x) * scale + shift; backward: dx = dy * scale * op'(x), by write
  Unary op = Unary::copy;
  DType dtype = DType::f32;
  Write write = Write::overwrite;
  float scale = 1, shift = 0;
  std::int64_t n = 0;
  const void* x = nullptr;
  void* y = nullptr;
  const void* dy = nullptr;
  void* dx = nullptr;
};
enum class Binary : std::uint8_t { add, sub, mul, div, maximum, minimum, greater, equal };
struct BinaryArgs {  // y = or += scale * op(a, b); greater and equal give 0 or 1
  Binary op = Binary::add;
  DType dtype = DType::f32;
  Write write = Write::overwrite;
  float scale = 1;
  int rank = 0;
  std::int64_t shape[max_rank] = {}, a_stride[max_rank] = {}, b_stride[max_rank] = {};
  const void *a = nullptr, *b = nullptr;
  void* y = nullptr;
};
// y = or += x over strided views on both sides: permute, slice, concat, broadcast, and their backwards.
struct CopyArgs {
  DType dtype = DType::f32;  // overwrite works for every dtype of this size
  Write write = Write::overwrite;
  int rank = 0;
  std::int64_t shape[max_rank] = {}, x_stride[max_rank] = {}, y_stride[max_rank] = {};
  const void* x = nullptr;
  void* y = nullptr;
};
// y (outer, inner) = or += scale * reduction of x (outer, n, inner) over n. inner == 1: the 16-lane tree; else a chain.
enum class Reduce : std::uint8_t { sum, max };
struct ReduceArgs {
  Reduce op = Reduce::sum;
  DType dtype = DType::f32;
  Write write = Write::overwrite;
  float scale = 1;
  std::int64_t outer = 1, n = 0, inner = 1;
  const void* x = nullptr;
  void* y = nullptr;
};

// y = or += x * keep / (1 - p); keep is drawn by Philox from (seed, stream, step, (first_row + row) * columns + column),
// so neither the cut into micro-batches nor a resume changes it. Its own backward.
struct DropoutArgs {
  DType dtype = DType::f32;
  Write write = Write::overwrite;
  float p = 0;
  std::uint64_t seed = 0;
  std::uint32_t stream = 0, step = 0;
  std::int64_t first_row = 0, rows = 0, columns = 0;
  const void* x = nullptr;
  void* y = nullptr;
};

// y = or += x, n elements, each of F32 or BF16.
struct CastArgs {
  DType from = DType::f32, to = DType::f32;
  Write write = Write::overwrite;
  std::int64_t n = 0;
  const void* x = nullptr;
  void* y = nullptr;
};

struct FillArgs {
  DType dtype = DType::f32;
  std::int64_t n = 0;
  double value = 0;
  void* y = nullptr;
};

// Of several tensors in one call, one after the other: partial[i] = sum of squares, in double, of block i (`block` elements, or what a tensor has
// left); the caller adds partials in order.
struct SumSquaresArgs {
  static constexpr std::int64_t block = 1 << 16;
  static constexpr int most_parts = 32;
  static constexpr std::int64_t blocks_of(std::int64_t n) { return (n + block - 1) / block; }
  struct Part {
    std::int64_t n = 0;
    const float* x = nullptr;
  };
  int parts = 0;
  Part part[most_parts];
  double* partial = nullptr;  // (sum of blocks_of(n))
};

// AdamW (Loshchilov & Hutter 2019), decoupled decay: g' = g * *factor; m = b1 m + (1 - b1) g'; v = b2 v + (1 - b2) g'^2;
// p -= lr * (m / c1 / (sqrt(v / c2) + eps) + decay * p). What changes from step to step is read through `scalars`. Moments in bf16 are
// rounded where they are stored; p is updated from what they were before.
struct AdamWScalars {
  float lr = 0, correction1 = 1, correction2 = 1, factor = 1;  // c1 = 1 - b1^t, c2 = 1 - b2^t, clip factor
};
struct AdamWArgs {  // of several parameters in one call, no two of which overlap
  static constexpr int most_parts = 32;
  struct Part {
    std::int64_t rows = 1, columns = 0, stride = 0;  // a 2-D view into p, g, m and v alike
    float decay = 0;
    float* p = nullptr;
    const float* g = nullptr;
    void *m = nullptr, *v = nullptr;  // of `moments`
  };
  float beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f;
  DType moments = DType::f32;
  const AdamWScalars* scalars = nullptr;
  int parts = 0;
  Part part[most_parts];
};

// The kernel table, one row per kernel: X(name, args struct).
#define BAM_KERNELS(X)                        \
  X(gemm, GemmArgs)                           \
  X(gemm_pair, GemmPairArgs)                  \
  X(grouped_gemm, GroupedGemmArgs)            \
  X(norm_forward, NormArgs)                   \
  X(norm_backward, NormArgs)                  \
  X(rope, RopeArgs)                           \
  X(attention_forward, AttentionArgs)         \
  X(attention_backward, AttentionArgs)        \
  X(swiglu_forward, SwigluArgs)               \
  X(swiglu_backward, SwigluArgs)              \
  X(router_forward, RouterArgs)               \
  X(router_backward, RouterArgs)              \
  X(route_plan, RoutePlanArgs)                \
  X(route_gradient, RouteGradientArgs)        \
  X(gather, GatherArgs)                       \
  X(scatter, ScatterArgs)                     \
  X(softmax_forward, SoftmaxArgs)             \
  X(softmax_backward, SoftmaxArgs)            \
  X(cross_entropy_forward, CrossEntropyArgs)  \
  X(cross_entropy_backward, CrossEntropyArgs) \
  X(unary_forward, UnaryArgs)                 \
  X(unary_backward, UnaryArgs)                \
  X(binary, BinaryArgs)                       \
  X(copy, CopyArgs)                           \
  X(reduce, ReduceArgs)                       \
  X(dropout, DropoutArgs)                     \
  X(cast, CastArgs)                           \
  X(fill, FillArgs)                           \
  X(sum_squares, SumSquaresArgs)              \
  X(adamw, AdamWArgs)

struct KernelTable {
#define BAM_ROW(name, Args) void (*name)(const Exec&, const Args&) = nullptr;
  BAM_KERNELS(BAM_ROW)
#undef BAM_ROW
};

}  // namespace bam
