// What a decoder is: the numbers of config.json, as the engine needs them (docs/formats.md, section 1).
#pragma once
#include <cstdint>

namespace bam {

enum class Family : std::uint8_t {
  cohere,  // one bias-free LayerNorm, attention and SwiGLU in parallel, interleaved RoPE
  llama,   // RMSNorm, attention then FFN, rotate-half RoPE
  bam,     // the Cohere block with attention and FFN experts (Branch-Attend-Mix)
};
enum class AttentionRouting : std::uint8_t { soft, top1, top2 };

struct ModelConfig {
  Family family = Family::cohere;
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_position_embeddings = 2048;
  double rope_theta = 10000.0;
  float norm_eps = 1e-5f;  // layer_norm_eps or rms_norm_eps
  float logit_scale = 1.0f;
  bool tie_word_embeddings = true;
  bool parallel_block = true;  // false: attention, then FFN, with post_attention_layernorm

  // Mixture. num_attention_experts 1 is plain attention (BTX), num_experts 1 the dense FFN.
  std::int64_t num_experts = 1;
  std::int64_t num_experts_per_tok = 1;
  bool norm_topk_prob = false;
  std::int64_t num_attention_experts = 1;
  AttentionRouting attention_routing = AttentionRouting::soft;
  bool share_kv = false;
  float router_aux_loss_coef = 0.01f;
  float router_z_loss_coef = 0.001f;

  bool moe() const { return family == Family::bam && num_experts > 1; }
  bool moa() const { return family == Family::bam && num_attention_experts > 1; }
  std::int64_t query_width() const { return num_attention_experts * num_attention_heads * head_dim; }
  std::int64_t kv_heads() const { return (share_kv ? 1 : num_attention_experts) * num_key_value_heads; }
  std::int64_t kv_width() const { return kv_heads() * head_dim; }
  std::int64_t attention_top_k() const {
    return attention_routing == AttentionRouting::soft ? num_attention_experts
           : attention_routing == AttentionRouting::top1 ? 1
                                                         : 2;
  }
};

}  // namespace bam
