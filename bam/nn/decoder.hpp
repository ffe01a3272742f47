// The decoder: dense (Cohere and Llama blocks), BTX, and BAM with own or shared KV. One forward for all of them, used by
// training, evaluation, `bam forward` and generation.
//
//   parallel block    u = norm(h);  h' = h + attention(u) + ffn(u)
//   sequential block  h1 = h + attention(norm(h));  h' = h1 + ffn(norm(h1))
//   attention         plain, or the mixture of all experts' attention with gates softmax(u Wa) (BAM)
//   ffn               SwiGLU, or the top-k mixture of SwiGLU experts
//
// Blocks of memory: qkv ((E H + 2 KV) D, C) = rows q_0 .. q_{E-1} | k_0 .. | v_0 ..; out (C, E H D); ffn_in (N, 2F, C) =
// [gate | up] per expert; ffn_out (N, C, F). parameters() names the views of docs/formats.md, section 1 into them.
#pragma once
#include <map>

#include "../ops/attention.hpp"
#include "../ops/dropout.hpp"
#include "../ops/embedding.hpp"
#include "../ops/loss.hpp"
#include "../ops/moe.hpp"
#include "../ops/norm.hpp"
#include "../ops/rope.hpp"
#include "../ops/router.hpp"
#include "../ops/swiglu.hpp"
#include "config.hpp"
#include "parameter.hpp"
#include "recompute.hpp"

namespace bam {

// Tokens of several sequences, one after the other. N tokens. On the CPU, or where Decoder::upload() has put them.
struct TokenBatch {
  Tensor ids;         // (N) I32
  Tensor positions;   // (N) I32, from 0 in each sequence
  Segments segments;  // which tokens see which
  Tensor real = {};   // (N) U8, 0 for pads; undefined: all are real
  Tensor turns = {};  // RoPE's table, which upload() adds
};

struct ForwardOptions {
  float dropout = 0;  // on each branch's output, before the residual sum
  DropoutKey key;     // stream is chosen per layer and branch
  bool recompute = false;
  std::vector<Tensor> balance_f;         // per router with losses, (E) each, on the decoder's device; empty: f of this batch
  std::vector<KvCache>* cache = nullptr;  // per layer; then cache_rows (N, I64, on the CPU) says where new keys go
  Tensor cache_rows;
};

struct Hidden {
  Tensor states;                 // (N, C), after the final norm
  std::vector<Routing> routers;  // those with balance and z losses, by layer, attention before FFN
  std::vector<Tensor> attention_gates;  // per layer with attention experts, (N, E)
};

class Decoder {
 public:
  struct Layer {
    Tensor norm, post_norm, qkv, out, attention_router, ffn_in, ffn_out, ffn_router;
  };

  // Uninitialised weights: load them, or call initialize.
  // dtype: of the computation. In BF16 activations and the operands of products are of it; the weights, the residual stream, statistics, router logits, losses and the weights'
  // gradients stay in F32.
  explicit Decoder(const ModelConfig& config, Device device = default_device(), DType dtype = default_dtype()) : config_(config), dtype_(dtype) {
    check(dtype == DType::f32 || dtype == DType::bf16, "decoder.dtype", "decoder: computes in F32 or BF16, not in ", name_of(dtype));
    const auto& c = config_;
    auto matrix = [=](std::int64_t rows, std::int64_t columns) { return parameter(Tensor({rows, columns}, DType::f32, device)); };
    auto vector = [=](std::int64_t n) { return parameter(Tensor({n}, DType::f32, device)); };
    embedding_ = matrix(c.vocab_size, c.hidden_size);
    for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
      Layer l;
      l.norm = vector(c.hidden_size);
      if (!c.parallel_block) l.post_norm = vector(c.hidden_size);
      l.qkv = matrix(c.query_width() + 2 * c.kv_width(), c.hidden_size);
      l.out = matrix(c.hidden_size, c.query_width());
      if (c.moa()) l.attention_router = matrix(c.num_attention_experts, c.hidden_size);
      if (c.moe()) {
        l.ffn_router = matrix(c.num_experts, c.hidden_size);
        l.ffn_in = parameter(Tensor({c.num_experts, 2 * c.intermediate_size, c.hidden_size}, DType::f32, device));
        l.ffn_out = parameter(Tensor({c.num_experts, c.hidden_size, c.intermediate_size}, DType::f32, device));
      } else {
        l.ffn_in = matrix(2 * c.intermediate_size, c.hidden_size);
        l.ffn_out = matrix(c.hidden_size, c.intermediate_size);
      }
      layers_.push_back(l);
    }
    norm_ = vector(c.hidden_size);
    // A tied head is a second use of the embedding, with a gradient of its own: the two chains are added once a step.
    head_ = c.tie_word_embeddings ? embedding_.detach().requires_grad() : matrix(c.vocab_size, c.hidden_size);
  }

  const ModelConfig& config() const { return config_; }
  Device device() const { return embedding_.device(); }
  DType dtype() const { return dtype_; }
  std::vector<Layer>& layers() { return layers_; }
  const Tensor& embedding() const { return embedding_; }
  const Tensor& head() const { return head_; }

  // Every weight under its name in docs/formats.md, section 1, in name-independent model order.
  std::vector<Parameter> parameters() const {
    const auto& c = config_;
    std::vector<Parameter> list;
    auto rows = [&](std::string name, const Tensor& block, std::int64_t first, std::int64_t n) {
      list.push_back({std::move(name), block, first * block.columns(), n, block.columns(), block.columns(), false});
    };
    list.push_back(whole("model.embed_tokens.weight", embedding_));
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const Layer& l = layers_[i];
      std::string p = "model.layers." + std::to_string(i) + ".";
      list.push_back(whole(p + "input_layernorm.weight", l.norm));
      if (!c.parallel_block) list.push_back(whole(p + "post_attention_layernorm.weight", l.post_norm));
      std::int64_t e_q = c.num_attention_experts, e_kv = c.share_kv ? 1 : e_q;
      std::int64_t q = c.num_attention_heads * c.head_dim, kv = c.num_key_value_heads * c.head_dim;
      auto attention = [&](std::int64_t e) { return c.moa() ? p + "self_attn.experts." + std::to_string(e) + "." : p + "self_attn."; };
      if (c.moa()) list.push_back(whole(p + "self_attn.router.weight", l.attention_router));
      for (std::int64_t e = 0; e < e_q; ++e) rows(attention(e) + "q_proj.weight", l.qkv, e * q, q);
      for (std::int64_t e = 0; e < e_kv; ++e) {
        std::string owner = c.share_kv ? p + "self_attn." : attention(e);
        rows(owner + "k_proj.weight", l.qkv, e_q * q + e * kv, kv);
        rows(owner + "v_proj.weight", l.qkv, e_q * q + (e_kv + e) * kv, kv);
      }
      for (std::int64_t e = 0; e < e_q; ++e)
        list.push_back({attention(e) + "o_proj.weight", l.out, e * q, c.hidden_size, q, e_q * q, false});
      std::int64_t f = c.intermediate_size, n = c.moe() ? c.num_experts : 1;
      if (c.moe()) list.push_back(whole(p + "mlp.router.weight", l.ffn_router));
      for (std::int64_t e = 0; e < n; ++e) {
        std::string m = c.moe() ? p + "mlp.experts." + std::to_string(e) + "." : p + "mlp.";
        rows(m + "gate_proj.weight", l.ffn_in, e * 2 * f, f);
        rows(m + "up_proj.weight", l.ffn_in, e * 2 * f + f, f);
        rows(m + "down_proj.weight", l.ffn_out, e * c.hidden_size, c.hidden_size);
      }
    }
    list.push_back(whole("model.norm.weight", norm_));
    if (!c.tie_word_embeddings) list.push_back(whole("lm_head.weight", head_));
    return list;
  }

  // N(0, std) for matrices, 1 for norms; each tensor from a stream of its own.
  void initialize(std::uint64_t seed, double std = 0.02) {
    std::uint32_t stream = 0;
    for (Parameter& p : parameters()) {
      Random random(seed, stream++);
      std::vector<float> values(static_cast<std::size_t>(p.numel()));
      for (float& v : values) v = p.vector ? 1.0f : static_cast<float>(std * math::normal(random));
      p.write(values.data());
    }
  }

  // The embedding's gradient with the tied head's added; call once, after the last backward of a step. The head's memory is kept for the next one.
  void join_tied_gradients() {
    if (config_.tie_word_embeddings && head_.has_grad()) embedding_.gradient()->absorb(*head_.gradient(), head_.numel(), true);
  }
  // The weights in BF16 are made again by the next forward pass, changed or not.
  void forget_rounded() const { copies_.clear(); }

  std::size_t routers() const {
    return layers_.size() * (static_cast<std::size_t>(config_.moe()) + static_cast<std::size_t>(attention_losses()));
  }

  // How many positions tokens on the CPU need of RoPE's table. Error(usage): an id or a position is out of range.
  std::int64_t check_tokens(const TokenBatch& tokens) const {
    check(tokens.positions.numel() == tokens.ids.numel(), "decoder.positions", "decoder: ", tokens.positions.numel(), " positions for ", tokens.ids.numel(), " ids");
    detail::check_index("decoder", tokens.ids, config_.vocab_size);
    std::int64_t wanted = 0;
    for (std::int32_t p : tokens.positions.values<std::int32_t>()) {
      check(p >= 0, "decoder.positions", "decoder: position ", p);
      wanted = std::max<std::int64_t>(wanted, p + 1);
    }
    return wanted;
  }
  // Tokens on the decoder's device. Errors as check_tokens().
  TokenBatch upload(const TokenBatch& tokens) const {
    const std::int64_t wanted = check_tokens(tokens), most = rope_.defined() ? rope_.rows() : 0;
    if (wanted > most || !rope_.defined()) rope_ = rope_table(std::max<std::int64_t>({wanted, 2 * most, 1}), config_.head_dim, config_.rope_theta).to(device());
    return {tokens.ids.to(device()), tokens.positions.to(device()), tokens.segments, tokens.real.defined() ? tokens.real.to(device()) : Tensor(), rope_};
  }

  // The results lie on the decoder's device. Errors as upload().
  Hidden hidden(const TokenBatch& tokens, const ForwardOptions& options = {}) const {
    const auto& c = config_;
    const TokenBatch batch = tokens.turns.defined() ? tokens : upload(tokens);
    Rope rope{batch.turns, batch.positions, c.family == Family::llama};
    Hidden result;
    Tensor h = bam::embedding(embedding_, batch.ids);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      auto block = [this, i, batch, rope, options](const Tensor& x) { return run_block(i, x, batch, rope, options); };
      std::vector<Tensor> y = options.recompute ? recompute(h, block) : block(h);
      h = y[0];
      std::size_t at = 1;
      if (c.moa()) result.attention_gates.push_back(y[at + 0]);
      auto take = [&](bool loss) {
        if (loss) result.routers.push_back({y[at], y[at + 1], y[at + 2], y[at + 3], y[at + 4]});
        at += 5;
      };
      if (c.moa()) take(attention_losses());
      if (c.moe()) take(true);
    }
    result.states = normalize(h, norm_);
    return result;
  }

  // nll (N) of targets (N, I32; below 0: not trained). slope: as linear_cross_entropy has it.
  Tensor nll(const Hidden& hidden, const Tensor& targets, const Tensor& slope = {}) const {
    detail::check_targets("decoder", targets, hidden.states.rows(), config_.vocab_size);
    return linear_cross_entropy(hidden.states, computed(head_), targets.to(device()), config_.logit_scale, slope);
  }
  // (N, V)
  Tensor logits(const Hidden& hidden) const { return scale(linear(hidden.states, computed(head_), DType::f32), config_.logit_scale); }

 private:
  bool attention_losses() const { return config_.moa() && config_.attention_routing != AttentionRouting::soft; }
  Tensor normalize(const Tensor& x, const Tensor& w) const {
    return config_.family == Family::llama ? rms_norm(x, w, config_.norm_eps, dtype_) : layer_norm(x, w, config_.norm_eps, dtype_);
  }
  // A weight as products read it: itself, or a copy in BF16 that is made again once the weight has changed.
  const Tensor& computed(const Tensor& weight) const {
    if (dtype_ == DType::f32) return weight;
    Copy& copy = copies_[weight.gradient().get()];
    if (!copy.rounded.defined() || copy.version != weight.version()) copy = {weight.rounded(dtype_), weight.version()};
    return copy.rounded;
  }
  // h' and then, per router of the layer, the five tensors of its Routing.
  std::vector<Tensor> run_block(std::size_t i, const Tensor& h, const TokenBatch& batch, const Rope& rope, const ForwardOptions& o) const {
    const auto& c = config_;
    const Layer& l = layers_[i];
    std::vector<Tensor> out(1);
    std::size_t per_layer = static_cast<std::size_t>(attention_losses()) + static_cast<std::size_t>(c.moe());
    auto add_routing = [&](const Routing& r) { out.insert(out.end(), {r.gates, r.chosen, r.balance, r.z, r.counts}); };
    auto f_of = [&](std::size_t router) { return o.balance_f.empty() ? Tensor() : o.balance_f[i * per_layer + router]; };
    auto drop = [&](const Tensor& branch, std::uint32_t which) {
      DropoutKey key = o.key;
      key.stream = static_cast<std::uint32_t>(2 * i) + which;
      return dropout(branch, o.dropout, key);
    };

    Tensor u = normalize(h, l.norm);
    AttentionShape shape;
    shape.heads = c.num_attention_experts * c.num_attention_heads;
    shape.kv_heads = c.kv_heads();
    shape.group = c.num_attention_heads / c.num_key_value_heads;
    shape.head_dim = c.head_dim;
    const bool beside = c.parallel_block && o.dropout == 0;  // attention and FFN read nothing of each other
    const bool joint = beside && !c.moe();                   // [q k v | gate up] is one product, and both branches' last ones are
    Tensor qkv, gate_up;
    if (joint) std::tie(qkv, gate_up) = qkv_projection(u, computed(l.qkv), rope, shape.heads + shape.kv_heads, computed(l.ffn_in), TurnBack::attention);
    else qkv = qkv_projection(u, computed(l.qkv), rope, shape.heads + shape.kv_heads, TurnBack::attention);
    Tensor gates;
    if (c.moa()) {
      bool soft = c.attention_routing == AttentionRouting::soft;
      Routing r = route(linear(u, computed(l.attention_router), DType::f32), c.attention_top_k(), !soft && c.norm_topk_prob, batch.real, soft ? Tensor() : f_of(0));
      gates = r.gates;
      add_routing(r);
    }
    Branches branches(device(), beside);
    Tensor a = o.cache ? cached_attention(qkv, gates, shape, batch.segments, (*o.cache)[i], o.cache_rows)
                       : attention(qkv, gates, shape, batch.segments, rope);
    Tensor h1 = joint ? Tensor() : o.dropout > 0 ? add(h, drop(linear(a, computed(l.out), DType::f32), 0)) : linear_add(h, a, computed(l.out));

    if (beside) branches.second();
    Tensor u2 = c.parallel_block ? u : normalize(h1, l.post_norm);
    if (c.moe()) {
      RoutePlan plan;
      Routing r = route(linear(u2, computed(l.ffn_router), DType::f32), c.num_experts_per_tok, c.norm_topk_prob, batch.real, f_of(attention_losses() ? 1 : 0), &plan);
      add_routing(r);
      out[0] = o.dropout > 0 ? add(h1, drop(mixture_ffn(zeros(h1.shape(), DType::f32, h1.device()), u2, r, computed(l.ffn_in), computed(l.ffn_out), nullptr, &plan), 1))
                             : mixture_ffn(h1, u2, r, computed(l.ffn_in), computed(l.ffn_out), &branches, &plan);
    } else if (joint) {
      Tensor act = swiglu(gate_up);
      branches.end();
      out[0] = linear_add(h, a, computed(l.out), act, computed(l.ffn_out));
    } else {
      Tensor act = swiglu(linear(u2, computed(l.ffn_in)));
      out[0] = o.dropout > 0 ? add(h1, drop(linear(act, computed(l.ffn_out), DType::f32), 1)) : linear_add(h1, act, computed(l.ffn_out));
    }
    return out;
  }

  struct Copy {
    Tensor rounded;
    std::uint64_t version = 0;
  };
  ModelConfig config_;
  DType dtype_;
  std::vector<Layer> layers_;
  Tensor embedding_, norm_, head_;
  mutable Tensor rope_;  // grows with the longest sequence seen
  mutable std::map<const Gradient*, Copy> copies_;
};

}  // namespace bam
