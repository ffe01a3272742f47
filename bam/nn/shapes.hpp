// Every tensor of a model by its name on disk (docs/formats.md, section 1), from the config alone.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "../core/error.hpp"
#include "config.hpp"

namespace bam {

struct TensorShape {
  std::string name;
  std::vector<std::int64_t> shape;  // [out, in], or [C] of a norm

  std::int64_t elements() const {
    std::int64_t n = 1;
    for (std::int64_t d : shape) n *= d;
    return n;
  }
};

// The tensors of one layer, without the prefix "model.layers.{i}.".
inline std::vector<TensorShape> layer_tensor_shapes(const ModelConfig& c) {
  const std::int64_t C = c.hidden_size, F = c.intermediate_size;
  const std::int64_t q = c.num_attention_heads * c.head_dim, kv = c.num_key_value_heads * c.head_dim;
  std::vector<TensorShape> out;
  auto add = [&](std::string name, std::int64_t rows, std::int64_t columns) {
    out.push_back({std::move(name), {rows, columns}});
  };
  out.push_back({"input_layernorm.weight", {C}});
  if (c.moa()) {
    add("self_attn.router.weight", c.num_attention_experts, C);
    if (c.share_kv) {
      add("self_attn.k_proj.weight", kv, C);
      add("self_attn.v_proj.weight", kv, C);
    }
  }
  for (std::int64_t e = 0; e < (c.moa() ? c.num_attention_experts : 1); ++e) {
    std::string prefix = c.moa() ? str("self_attn.experts.", e, ".") : std::string("self_attn.");
    add(prefix + "q_proj.weight", q, C);
    if (!c.moa() || !c.share_kv) {
      add(prefix + "k_proj.weight", kv, C);
      add(prefix + "v_proj.weight", kv, C);
    }
    add(prefix + "o_proj.weight", C, q);
  }
  if (!c.parallel_block) out.push_back({"post_attention_layernorm.weight", {C}});
  if (c.moe()) add("mlp.router.weight", c.num_experts, C);
  for (std::int64_t e = 0; e < (c.moe() ? c.num_experts : 1); ++e) {
    std::string prefix = c.moe() ? str("mlp.experts.", e, ".") : std::string("mlp.");
    add(prefix + "gate_proj.weight", F, C);
    add(prefix + "up_proj.weight", F, C);
    add(prefix + "down_proj.weight", C, F);
  }
  return out;
}

// All tensors in the order of the forward pass: embeddings, layers, final norm, head. The config must be in range
// (io::parse_model_config checks).
inline std::vector<TensorShape> tensor_shapes(const ModelConfig& c) {
  std::vector<TensorShape> out;
  out.push_back({"model.embed_tokens.weight", {c.vocab_size, c.hidden_size}});
  const std::vector<TensorShape> layer = layer_tensor_shapes(c);
  out.reserve(layer.size() * static_cast<std::size_t>(c.num_hidden_layers) + 3);
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i)
    for (const TensorShape& t : layer) out.push_back({str("model.layers.", i, ".", t.name), t.shape});
  out.push_back({"model.norm.weight", {c.hidden_size}});
  if (!c.tie_word_embeddings) out.push_back({"lm_head.weight", {c.vocab_size, c.hidden_size}});
  return out;
}

}  // namespace bam
