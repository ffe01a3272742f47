// What a model costs, from its config alone: parameters, FLOPs, and the memory of a training step.
//
// FLOPs count a multiply-add as two. Forward, per layer and token, with k attention experts chosen of E:
//   q and out projections 4 k H D C, k and v of every expert 4 KV D C, causal attention at half 2 k T H D,
//   FFN 6 K F C, routers 2 E C and 2 N C.
// Training is three times the forward pass of all layers and the output head (2 C V). BAM, arXiv 2408.08274, table 10.
#pragma once
#include <algorithm>
#include <cstdint>

#include "../core/error.hpp"
#include "../ops/loss.hpp"
#include "config.hpp"

namespace bam {

struct ParameterCount {
  std::int64_t total = 0;
  std::int64_t active = 0;  // all but the FFN experts that a token does not choose; embeddings and routers are whole
  std::int64_t layer = 0;   // of one layer, all experts
};

struct FlopCount {
  std::int64_t forward_per_token_per_layer = 0;
  std::int64_t forward_per_token = 0;  // layers and output head
  std::int64_t train_per_token = 0;    // three times that
};

// One optimizer step of tokens_per_step tokens in micro-batches of micro_batch rows of context tokens each.
struct StepShape {
  std::int64_t tokens_per_step = 0;  // 0: one micro-batch
  std::int64_t micro_batch = 8;
  std::int64_t context = 2048;
  bool bf16 = false;                 // activations and GEMM operands in bf16
  bool bf16_moments = false;         // of AdamW
  Device device = Device::cpu;       // it decides how many logits there are at a time
  bool dropout = false;
};

// Bytes by class. Activations live from a micro-batch's forward to its backward; logits and scratch one after the other.
struct MemoryEstimate {
  std::int64_t weights = 0, gradients = 0, optimizer = 0, activations = 0, logits = 0, scratch = 0, peak = 0;
};

namespace detail {
// Products and sums of sizes that a user chose; kind limit when they leave 63 bits.
inline std::int64_t times(std::int64_t a, std::int64_t b) {
  std::int64_t r;
  if (__builtin_mul_overflow(a, b, &r)) fail(ErrorKind::limit, "estimate.size", "estimate: the sizes exceed 2^63");
  return r;
}
template <class... Rest>
std::int64_t times(std::int64_t a, std::int64_t b, Rest... rest) {
  return times(times(a, b), rest...);
}
inline std::int64_t plus(std::int64_t a, std::int64_t b) {
  std::int64_t r;
  if (__builtin_add_overflow(a, b, &r)) fail(ErrorKind::limit, "estimate.size", "estimate: the sizes exceed 2^63");
  return r;
}
template <class... Rest>
std::int64_t plus(std::int64_t a, std::int64_t b, Rest... rest) {
  return plus(plus(a, b), rest...);
}
}  // namespace detail

// Exact. Kind limit when a count leaves 63 bits.
inline ParameterCount count_parameters(const ModelConfig& c) {
  using detail::plus, detail::times;
  const std::int64_t C = c.hidden_size;
  const std::int64_t attention_router = c.moa() ? times(c.num_attention_experts, C) : 0;
  const std::int64_t attention = plus(times(2, c.query_width(), C), times(2, c.kv_width(), C), attention_router);
  const std::int64_t ffn_expert = times(3, c.intermediate_size, C);
  const std::int64_t ffn = c.moe() ? plus(times(c.num_experts, ffn_expert), times(c.num_experts, C)) : ffn_expert;
  const std::int64_t norms = c.parallel_block ? C : times(2, C);
  const std::int64_t idle = c.moe() ? times(c.num_experts - c.num_experts_per_tok, ffn_expert) : 0;
  ParameterCount n;
  n.layer = plus(norms, attention, ffn);
  const std::int64_t outside = plus(times(c.tie_word_embeddings ? 1 : 2, c.vocab_size, C), C);
  n.total = plus(outside, times(c.num_hidden_layers, n.layer));
  n.active = n.total - times(c.num_hidden_layers, idle);
  return n;
}

// Exact, for rows of `context` tokens with causal attention at half. Kind limit when a count leaves 63 bits.
inline FlopCount count_flops(const ModelConfig& c, std::int64_t context) {
  using detail::plus, detail::times;
  const std::int64_t C = c.hidden_size;
  const std::int64_t attention_experts = c.moa() ? c.attention_top_k() : 1;
  const std::int64_t chosen_width = times(attention_experts, c.num_attention_heads, c.head_dim);
  const std::int64_t q_and_out = times(4, chosen_width, C);
  const std::int64_t k_and_v = times(4, c.kv_width(), C);
  const std::int64_t scores = times(2, context, chosen_width);
  const std::int64_t ffn = times(6, c.moe() ? c.num_experts_per_tok : 1, c.intermediate_size, C);
  const std::int64_t routers =
      plus(c.moa() ? times(2, c.num_attention_experts, C) : 0, c.moe() ? times(2, c.num_experts, C) : 0);
  FlopCount f;
  f.forward_per_token_per_layer = plus(q_and_out, k_and_v, scores, ffn, routers);
  f.forward_per_token = plus(times(c.num_hidden_layers, f.forward_per_token_per_layer), times(2, C, c.vocab_size));
  f.train_per_token = times(3, f.forward_per_token);
  return f;
}

// The training step's memory by class, in bytes. Every term is a tensor that a step keeps.
inline MemoryEstimate estimate_memory(const ModelConfig& c, const StepShape& step) {
  using detail::plus, detail::times;
  check(step.micro_batch > 0 && step.context > 0, "estimate.step", "estimate: wanted a micro-batch and a context above 0, got ",
        step.micro_batch, " and ", step.context);
  const std::int64_t C = c.hidden_size, F = c.intermediate_size, V = c.vocab_size;
  const std::int64_t rows = times(step.micro_batch, step.context);  // tokens alive at a time
  const std::int64_t f32 = 4, wide = step.bf16 ? 2 : 4;              // bytes of a statistic, of a stored activation
  const std::int64_t K = c.moe() ? c.num_experts_per_tok : 1;
  const std::int64_t experts = c.num_attention_experts;
  const std::int64_t parameters = count_parameters(c).total;

  // Bytes a token leaves in one layer for the backward pass.
  const std::int64_t statistics = times(2, f32);  // mean and rstd of a norm
  const std::int64_t norm = plus(times(C, f32), times(C, wide), statistics);  // h and u
  const std::int64_t second_norm = c.parallel_block ? 0 : norm;
  const std::int64_t qkv = times(plus(c.query_width(), times(2, c.kv_width())), wide);
  const std::int64_t attention_out = times(c.query_width(), wide);
  const std::int64_t lse = times(experts, c.num_attention_heads, f32);
  // A router keeps logits, probabilities and gates, lse, z and balance; int32 choices.
  auto router = [&](std::int64_t n, std::int64_t k) { return times(plus(times(3, n), 3, k), f32); };
  const std::int64_t attention_router = c.moa() ? router(experts, c.attention_top_k()) : 0;
  const std::int64_t ffn = times(K, 3, F, wide);  // gate | up and the activation of each chosen expert
  // Two int64 permutations and a gate a slot.
  const std::int64_t ffn_router = c.moe() ? plus(router(c.num_experts, K), times(K, 8 + 8 + 4)) : 0;
  // Dropout keeps both branches; the parallel block, which adds them in one pass otherwise, their first sum too.
  const std::int64_t dropout = step.dropout ? times(c.parallel_block ? 3 : 2, C, f32) : 0;
  const std::int64_t layer = plus(plus(norm, second_norm, qkv, attention_out, lse), plus(attention_router, ffn, ffn_router, dropout));
  const std::int64_t head = plus(norm, times(2, f32));  // final norm; nll and lse of the loss
  const std::int64_t inputs = 4 * 3;                    // ids, targets and positions, int32

  // Bytes a token needs for a moment in the backward pass of one layer: gradients of what the layer kept.
  const std::int64_t dh = times(2, C, f32);  // of the residual stream and of u
  const std::int64_t d_attention = plus(qkv, attention_out, times(experts, f32));
  const std::int64_t d_ffn = c.moe() ? times(K, plus(times(2, F), C), wide) : ffn;  // of experts gate | up alone, for that of the activation is not stored, and the rows before they are combined

  MemoryEstimate m;
  m.weights = times(parameters, step.bf16 ? f32 + 2 : f32);  // bf16 keeps fp32 master weights beside the copy
  m.gradients = times(parameters, f32);
  // A tied embedding has one gradient per use, added at the end of the step.
  if (c.tie_word_embeddings) m.gradients = plus(m.gradients, times(V, C, f32));
  m.optimizer = times(2, parameters, step.bf16_moments ? 2 : f32);
  m.activations = times(rows, plus(times(c.num_hidden_layers, layer), head, inputs));
  // Logits of a micro-batch larger than a chunk are made, and turned into their gradient, which bf16 holds apart, a chunk at a time.
  m.logits = times(logits_chunk(step.device).rows(rows, V), V, f32);
  if (step.bf16) m.logits = plus(m.logits, m.logits / 2);
  // Attention and FFN hold theirs at the same time where products are of both, and where they run side by side.
  const bool together = c.parallel_block && !step.dropout && (!c.moe() || (step.device == Device::cuda && branches_wanted()));
  m.scratch = times(rows, plus(dh, together ? plus(d_attention, d_ffn) : std::max(d_attention, d_ffn)));
  m.peak = plus(plus(m.weights, m.gradients, m.optimizer), m.activations, std::max(m.logits, m.scratch));
  return m;
}

}  // namespace bam
