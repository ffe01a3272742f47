// Counts of docs/method.md, 1.3 (BAM, arXiv 2408.08274, tables 8 to 10) from the config alone.
#include <doctest/doctest.h>

#include <set>

#include "bam/nn/estimate.hpp"
#include "bam/nn/shapes.hpp"

namespace bam::estimate_test {

namespace {
ModelConfig small() {
  ModelConfig c;
  c.family = Family::cohere;
  c.vocab_size = 256000, c.hidden_size = 1024, c.intermediate_size = 2048, c.num_hidden_layers = 6;
  c.num_attention_heads = 8, c.num_key_value_heads = 8, c.head_dim = 128;
  c.tie_word_embeddings = false;
  return c;
}
ModelConfig large() {
  ModelConfig c = small();
  c.hidden_size = 2304, c.intermediate_size = 9216, c.num_hidden_layers = 18;
  c.num_attention_heads = 18, c.num_key_value_heads = 6;
  c.tie_word_embeddings = true;
  return c;
}
ModelConfig mix(ModelConfig c, std::int64_t attention, bool share_kv, std::int64_t experts = 4, std::int64_t top_k = 1) {
  c.family = Family::bam;
  c.num_attention_experts = attention, c.share_kv = share_kv, c.num_experts = experts, c.num_experts_per_tok = top_k;
  return c;
}
std::int64_t sum_of_shapes(const ModelConfig& c) {
  std::int64_t n = 0;
  for (const TensorShape& t : tensor_shapes(c)) n += t.elements();
  return n;
}

struct Counted {
  const char* name;
  ModelConfig config;
  std::int64_t total, active, flops;  // 0: not in the paper's tables
};
}  // namespace

TEST_CASE("estimate: parameters and FLOPs of the paper's models") {
  const Counted rows[] = {
      {"small dense", small(), 587209728, 587209728, 21495808},
      {"small KV-experts", mix(small(), 4, false), 776002560, 662756352, 48250880},
      {"small KV-sharing", mix(small(), 4, true), 738253824, 625007616, 35667968},
      {"small BTX", mix(small(), 1, false), 700480512, 587234304, 21504000},
      {"small BTX-6 top-3", mix(small(), 1, false, 6, 3), 775990272, 662744064, 46673920},
      {"large dense", large(), 1991289600, 1991289600, 0},
      {"large KV-experts", mix(large(), 4, false), 6195886848, 0, 0},
      {"large KV-sharing", mix(large(), 4, true), 6004783872, 0, 0},
      {"large BTX", mix(large(), 1, false), 5431309056, 0, 0},
  };
  for (const Counted& row : rows) {
    CAPTURE(row.name);
    ParameterCount n = count_parameters(row.config);
    CHECK(n.total == row.total);
    CHECK(sum_of_shapes(row.config) == row.total);
    if (row.active) CHECK(n.active == row.active);
    FlopCount f = count_flops(row.config, 256);
    if (row.flops) CHECK(f.forward_per_token_per_layer == row.flops);
    const ModelConfig& c = row.config;
    CHECK(f.train_per_token ==
          3 * (c.num_hidden_layers * f.forward_per_token_per_layer + 2 * c.hidden_size * c.vocab_size));
  }
}

TEST_CASE("estimate: BTX with copies of the seed's FFN grows by one FFN and one router row a layer") {
  const std::int64_t tenths[] = {7382, 7760, 8137, 8515};  // of a million
  for (std::int64_t n = 5; n <= 8; ++n) {
    ModelConfig c = mix(small(), 1, false, n);
    CHECK(count_parameters(c).total == 700480512 + (n - 4) * 6 * (3 * 2048 * 1024 + 1024));
    CHECK((count_parameters(c).total + 50000) / 100000 == tenths[n - 5]);
    CHECK(count_parameters(c).active == 587209728 + 6 * n * 1024);
  }
}

TEST_CASE("estimate: routed attention counts the chosen queries and every expert's keys and values") {
  const std::int64_t query = 4 * 1024 * 1024 + 2 * 256 * 1024;  // q and out projection, causal scores
  for (bool share : {false, true}) {
    ModelConfig c = mix(small(), 4, share);
    const std::int64_t soft = count_flops(c, 256).forward_per_token_per_layer;
    c.attention_routing = AttentionRouting::top1;
    CHECK(count_flops(c, 256).forward_per_token_per_layer == soft - 3 * query);
    c.attention_routing = AttentionRouting::top2;
    CHECK(count_flops(c, 256).forward_per_token_per_layer == soft - 2 * query);
    CHECK(count_parameters(c).active == (share ? 625007616 : 662756352));
  }
}

TEST_CASE("estimate: a second norm when attention comes first; top-k of all experts is active whole") {
  ModelConfig c = mix(small(), 4, false);
  const std::int64_t parallel = count_parameters(c).total;
  c.parallel_block = false;
  CHECK(count_parameters(c).total == parallel + 6 * 1024);
  CHECK(sum_of_shapes(c) == parallel + 6 * 1024);
  c.num_experts_per_tok = 4;
  CHECK(count_parameters(c).active == count_parameters(c).total);
}

TEST_CASE("shapes: names are unique and as on disk") {
  auto names = [](const ModelConfig& c) {
    std::set<std::string> s;
    auto all = tensor_shapes(c);
    for (auto& t : all) s.insert(t.name);
    CHECK(s.size() == all.size());
    return s;
  };
  auto own = names(mix(small(), 4, false));
  CHECK(own.contains("model.layers.5.self_attn.experts.3.k_proj.weight"));
  CHECK(own.contains("model.layers.0.self_attn.router.weight"));
  CHECK(own.contains("lm_head.weight"));
  CHECK_FALSE(own.contains("model.layers.0.self_attn.k_proj.weight"));
  auto shared = names(mix(large(), 4, true));
  CHECK(shared.contains("model.layers.0.self_attn.k_proj.weight"));
  CHECK_FALSE(shared.contains("model.layers.0.self_attn.experts.0.v_proj.weight"));
  CHECK_FALSE(shared.contains("lm_head.weight"));
  auto btx = names(mix(small(), 1, false));
  CHECK(btx.contains("model.layers.0.self_attn.q_proj.weight"));
  CHECK(btx.contains("model.layers.0.mlp.experts.3.down_proj.weight"));
  CHECK_FALSE(btx.contains("model.layers.0.self_attn.router.weight"));
  auto dense_ffn = names(mix(small(), 4, false, 1, 1));
  CHECK(dense_ffn.contains("model.layers.0.mlp.gate_proj.weight"));
  CHECK_FALSE(dense_ffn.contains("model.layers.0.mlp.router.weight"));
}

TEST_CASE("estimate: memory by class") {
  ModelConfig c = mix(small(), 4, false);
  StepShape step{.tokens_per_step = 8192, .micro_batch = 4, .context = 256};
  MemoryEstimate m = estimate_memory(c, step);
  CHECK(m.weights == 4 * 776002560ll);
  CHECK(m.gradients == m.weights);
  CHECK(m.optimizer == 2 * m.weights);
  step.bf16_moments = true;
  CHECK(estimate_memory(c, step).optimizer == m.weights);
  CHECK(estimate_memory(c, step).peak == m.peak - m.weights);
  step.bf16_moments = false;
  CHECK(m.logits == 64 * 256000 * 4);  // 1,024 rows in 16 chunks of at most 64 MiB
  // On a GPU in whole tiles of 128 rows, up to 2 GiB.
  CHECK(estimate_memory(c, {.micro_batch = 8, .context = 2048, .device = Device::cuda}).logits == 2048ll * 256000 * 4);
  CHECK(logits_chunk(Device::cuda).rows(16384, 50304) == 8192);
  CHECK(logits_chunk(Device::cuda).rows(16000, 50304) == 8064);
  CHECK(logits_chunk(Device::cuda).rows(10000, 50304) == 10000);
  CHECK(m.peak >= m.weights + m.gradients + m.optimizer + m.activations);
  step.micro_batch = 8;
  CHECK(estimate_memory(c, step).activations == 2 * m.activations);
  c.vocab_size = 1000;
  CHECK(estimate_memory(c, step).logits == 8 * 256 * 1000 * 4);
  step.bf16 = true;
  CHECK(estimate_memory(c, step).activations < 2 * m.activations);
}

TEST_CASE("estimate: sizes that leave 63 bits are refused") {
  ModelConfig c = small();
  c.vocab_size = std::int64_t{1} << 60;
  CHECK_THROWS_AS(count_parameters(c), Error);
  CHECK_THROWS_AS(count_flops(small(), std::int64_t{1} << 60), Error);
  CHECK_THROWS_AS(estimate_memory(small(), {.micro_batch = std::int64_t{1} << 40, .context = 1 << 20}), Error);
  CHECK_THROWS_AS(estimate_memory(small(), {.micro_batch = 0, .context = 1}), Error);
}

}  // namespace bam::estimate_test
