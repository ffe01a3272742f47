// Upcycling: dense models become one mixture, tensor by tensor (docs/method.md, 1.2).
//   FFN expert i, attention expert i            copied from dense model i
//   embeddings, head, norms, shared K and V     mean over the distinct dense models, in double, rounded once
//   both routers                                N(0, 0.02) from the recorded seed
// Methods: bam (own KV), bam-shared-kv, btx (FFN experts only; Sukhbaatar et al. 2024), sparse (copies of the seed's
// FFN; Komatsuzaki et al. 2023), drop (the same with half of the hidden units redrawn; Nakamura et al. 2025).
#pragma once
#include <map>

#include "../nn/decoder.hpp"

namespace bam {

enum class UpcycleMethod { bam, bam_shared_kv, btx, sparse, drop };

inline UpcycleMethod upcycle_method(std::string_view name) {
  if (name == "bam") return UpcycleMethod::bam;
  if (name == "bam-shared-kv") return UpcycleMethod::bam_shared_kv;
  if (name == "btx") return UpcycleMethod::btx;
  if (name == "sparse") return UpcycleMethod::sparse;
  if (name == "drop") return UpcycleMethod::drop;
  fail(ErrorKind::usage, "upcycle.method", "upcycle: wanted bam, bam-shared-kv, btx, sparse or drop, got '", printable(name), "'");
}

struct UpcycleOptions {
  UpcycleMethod method = UpcycleMethod::bam;
  std::int64_t extra_seed_experts = 0;  // further FFN experts, copies of the seed's
  std::int64_t num_experts = 4;         // sparse and drop
  std::int64_t top_k = 1;
  bool norm_topk_prob = false;
  AttentionRouting attention_routing = AttentionRouting::soft;
  bool sequential = false;  // attention, then FFN; the second norm of parents that have one norm starts as the first
  std::uint64_t router_seed = 0;
};

// Where one tensor of the mixture comes from.
struct Provenance {
  std::string name, rule;             // rule: copy, mean, random, redrawn
  std::vector<std::int64_t> parents;  // indices of dense models
  std::string source;                 // its name there
  std::uint32_t stream = 0;           // of the router seed, for random and redrawn
};

// The mixture's configuration, from that of the dense models.
inline ModelConfig upcycled_config(const ModelConfig& dense, std::int64_t models, const UpcycleOptions& o) {
  if (dense.family == Family::llama)
    fail(ErrorKind::input, "upcycle.family", "upcycle: a Llama block (RMSNorm, rotate-half RoPE) has no mixture form; train the seed as model_type cohere");
  if (dense.moa() || dense.moe()) fail(ErrorKind::input, "upcycle.family", "upcycle: the seed is a mixture; wanted a dense model");
  bool copies = o.method == UpcycleMethod::sparse || o.method == UpcycleMethod::drop;
  check(!copies || models == 1, "upcycle.parents", "upcycle: sparse and drop start from the seed alone, got ", models - 1, " experts");
  check(copies || models >= 2, "upcycle.parents", "upcycle: wanted at least one expert beside the seed");
  ModelConfig c = dense;
  c.family = Family::bam;
  c.num_experts = copies ? o.num_experts : models + o.extra_seed_experts;
  c.num_experts_per_tok = o.top_k;
  c.norm_topk_prob = o.norm_topk_prob;
  if (o.sequential) c.parallel_block = false;
  check(c.num_experts >= 2 && o.top_k >= 1 && o.top_k <= c.num_experts, "upcycle.top_k", "upcycle: top_k is ", o.top_k, " of ", c.num_experts, " experts");
  bool attention = o.method == UpcycleMethod::bam || o.method == UpcycleMethod::bam_shared_kv;
  c.num_attention_experts = attention ? models : 1;
  c.share_kv = o.method == UpcycleMethod::bam_shared_kv;
  c.attention_routing = attention ? o.attention_routing : AttentionRouting::soft;
  check(!attention || c.attention_top_k() <= models, "upcycle.attention_routing", "upcycle: ", c.attention_top_k(), " of ", models, " attention experts");
  return c;
}

// The init map: one entry per tensor, in the mixture's order. Decides everything; upcycle only carries it out.
inline std::vector<Provenance> upcycle_plan(const ModelConfig& dense, const std::vector<std::string>& names, std::int64_t models, const UpcycleOptions& o) {
  std::vector<Provenance> plan;
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < models; ++i) all.push_back(i);
  std::uint32_t stream = 0;
  for (const std::string& name : names) {
    Provenance p{name, "mean", all, name, 0};
    if (name.find(".router.") != std::string::npos) {
      p = {name, "random", {}, "", stream++};
    } else if (auto at = name.find(".experts."); at != std::string::npos) {
      auto number = at + 9, dot = name.find('.', number);
      std::int64_t expert = std::stoll(name.substr(number, dot - number));
      bool redrawn = o.method == UpcycleMethod::drop;
      p.rule = redrawn ? "redrawn" : "copy";
      p.parents = {expert < models && o.method != UpcycleMethod::sparse && !redrawn ? expert : 0};
      p.source = name.substr(0, at) + name.substr(dot);
      if (redrawn) p.stream = 1u << 16 | static_cast<std::uint32_t>(expert);
    } else if (models == 1) {
      p.rule = "copy";
    }
    if (auto at = name.find(".post_attention_layernorm."); dense.parallel_block && at != std::string::npos) p.source = name.substr(0, at) + ".input_layernorm.weight";
    plan.push_back(p);
  }
  return plan;
}

namespace detail {
// Drop-Upcycling: half of the hidden units of one expert are drawn anew, with the mean and deviation of the matrix.
// gate and up own a unit as a row, down as a column; one choice of units per layer and expert.
inline void redraw_units(Parameter& p, std::uint64_t seed, std::uint32_t stream, std::uint64_t layer) {
  std::vector<float> w(static_cast<std::size_t>(p.numel()));
  p.read(w.data());
  bool down = p.name.find("down_proj") != std::string::npos;
  std::int64_t units = down ? p.columns : p.rows;
  std::vector<std::int64_t> order(static_cast<std::size_t>(units));
  for (std::int64_t i = 0; i < units; ++i) order[static_cast<std::size_t>(i)] = i;
  Random pick(seed ^ (layer << 32), stream);
  for (std::int64_t i = units - 1; i > 0; --i)
    std::swap(order[static_cast<std::size_t>(i)], order[pick.below(static_cast<std::uint64_t>(i) + 1)]);
  double mean = 0, square = 0, n = static_cast<double>(w.size());
  for (float v : w) mean += static_cast<double>(v) / n;
  for (float v : w) square += (static_cast<double>(v) - mean) * (static_cast<double>(v) - mean) / n;
  std::uint32_t which = down ? 2 : p.name.find("up_proj") != std::string::npos ? 1 : 0;
  Random draw(seed ^ (layer << 32), stream + ((which + 1) << 20));
  for (std::int64_t i = 0; i < units / 2; ++i) {
    std::int64_t u = order[static_cast<std::size_t>(i)];
    for (std::int64_t k = 0; k < (down ? p.rows : p.columns); ++k)
      w[static_cast<std::size_t>(down ? k * p.columns + u : u * p.columns + k)] = static_cast<float>(mean + std::sqrt(square) * math::normal(draw));
  }
  p.write(w.data());
}
}  // namespace detail

namespace detail {
// What shapes do not show: a model that computes otherwise is no branch of the seed.
inline void check_same_block(const ModelConfig& seed, const ModelConfig& c, std::size_t model) {
  auto same = [&](const char* key, auto mine, auto wanted) {
    if (mine != wanted)
      fail(ErrorKind::input, "upcycle.config", "upcycle: model ", model, ": ", key, " is ", mine, ", the seed's is ", wanted,
           "; all parents must be branches of one seed");
  };
  same("num_attention_heads", c.num_attention_heads, seed.num_attention_heads);
  same("num_key_value_heads", c.num_key_value_heads, seed.num_key_value_heads);
  same("head_dim", c.head_dim, seed.head_dim);
  same("rope_theta", c.rope_theta, seed.rope_theta);
  same("layer_norm_eps", c.norm_eps, seed.norm_eps);
  same("logit_scale", c.logit_scale, seed.logit_scale);
  same("tie_word_embeddings", c.tie_word_embeddings, seed.tie_word_embeddings);
  same("parallel_block", c.parallel_block, seed.parallel_block);
  same("num_hidden_layers", c.num_hidden_layers, seed.num_hidden_layers);
}
}  // namespace detail

// dense[0] is the seed. All must have the seed's shape.
inline Decoder upcycle(const std::vector<const Decoder*>& dense, const UpcycleOptions& o, std::vector<Provenance>* report = nullptr) {
  check(!dense.empty(), "upcycle.parents", "upcycle: no seed model");
  auto models = static_cast<std::int64_t>(dense.size());
  Decoder mixture(upcycled_config(dense[0]->config(), models, o));
  for (std::size_t i = 1; i < dense.size(); ++i) detail::check_same_block(dense[0]->config(), dense[i]->config(), i);
  std::vector<std::map<std::string, Parameter>> sources;
  for (const Decoder* d : dense) {
    sources.emplace_back();
    for (const Parameter& p : d->parameters()) sources.back().emplace(p.name, p);
  }
  std::vector<Parameter> parameters = mixture.parameters();
  std::vector<std::string> names;
  for (const Parameter& p : parameters) names.push_back(p.name);
  std::vector<Provenance> plan = upcycle_plan(dense[0]->config(), names, models, o);
  for (std::size_t i = 0; i < plan.size(); ++i) {
    Parameter& p = parameters[i];
    const Provenance& from = plan[i];
    auto n = static_cast<std::size_t>(p.numel());
    std::vector<float> values(n);
    auto source = [&](std::int64_t parent) -> const Parameter& {
      auto it = sources[static_cast<std::size_t>(parent)].find(from.source);
      if (it == sources[static_cast<std::size_t>(parent)].end() || it->second.rows != p.rows || it->second.columns != p.columns)
        fail(ErrorKind::input, "upcycle.shape", "upcycle: model ", parent, ": wanted '", from.source, "' of shape ", to_string(p.shape()), "; all parents must be branches of one seed");
      return it->second;
    };
    if (from.rule == "random") {
      Random random(o.router_seed, from.stream);
      for (float& v : values) v = static_cast<float>(0.02 * math::normal(random));
    } else if (from.rule == "mean") {
      std::vector<double> total(n, 0.0);
      for (std::int64_t parent : from.parents) {
        source(parent).read(values.data());
        for (std::size_t k = 0; k < n; ++k) total[k] += static_cast<double>(values[k]);
      }
      for (std::size_t k = 0; k < n; ++k) values[k] = static_cast<float>(total[k] / static_cast<double>(models));
    } else {
      source(from.parents[0]).read(values.data());
    }
    p.write(values.data());
    if (from.rule == "redrawn") {
      auto at = p.name.find("layers.") + 7;
      detail::redraw_units(p, o.router_seed, from.stream, std::stoull(p.name.substr(at)));
    }
  }
  if (report) *report = std::move(plan);
  return mixture;
}

// The identity law: copies of one dense model, mixed softly, are that model, whatever the routers: gates sum to 1. Builds such
// a mixture from the seed with the same method and routers, every FFN expert active, and returns the largest difference of
// logits relative to their norm, over `tokens` random tokens.
inline double upcycle_identity(const Decoder& seed, std::int64_t models, UpcycleOptions o, std::int64_t tokens = 32) {
  bool copies = o.method == UpcycleMethod::sparse || o.method == UpcycleMethod::drop;
  if (o.method == UpcycleMethod::drop) o.method = UpcycleMethod::sparse;  // redrawn units are meant to differ
  o.sequential = false;                                                   // and so is the other order of the block
  std::vector<const Decoder*> parents(copies ? 1 : static_cast<std::size_t>(models), &seed);
  o.top_k = copies ? o.num_experts : models + o.extra_seed_experts;
  o.attention_routing = AttentionRouting::soft;
  Decoder mixture = upcycle(parents, o);
  Random random(1);
  std::vector<std::int32_t> ids, positions;
  for (std::int64_t t = 0; t < tokens; ++t) {
    ids.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(seed.config().vocab_size))));
    positions.push_back(static_cast<std::int32_t>(t));
  }
  TokenBatch batch{tensor(ids), tensor(positions), segments({tokens}), {}};
  const Tensor want = seed.logits(seed.hidden(batch)).to(Device::cpu), got = mixture.logits(mixture.hidden(batch)).to(Device::cpu);
  double difference = 0, norm = 0;
  for (std::int64_t i = 0; i < want.numel(); ++i) {
    double w = want.data()[i], d = static_cast<double>(got.data()[i]) - w;
    difference += d * d;
    norm += w * w;
  }
  return std::sqrt(difference / (norm > 0 ? norm : 1));
}

}  // namespace bam
