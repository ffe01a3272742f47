// config.json <-> ModelConfig (docs/formats.md, section 1).
//
// Read: absent keys take defaults, every number is range-checked, and a value that would compute something else is
// refused by name. Unknown keys are kept and written back in their place. Written: every key that we read.
#pragma once
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../core/error.hpp"
#include "../nn/config.hpp"
#include "../nn/estimate.hpp"
#include "../nn/shapes.hpp"
#include "json.hpp"

namespace bam::io {

// A config.json: what the engine computes with, the ids of special tokens, and the file itself.
struct ConfigFile {
  ModelConfig model;
  // As the file has them; other tools write ids of a larger vocabulary, so compare with vocab_size before use
  // (see special_id).
  std::optional<std::int64_t> bos_token_id, pad_token_id;
  std::vector<std::int64_t> eos_token_ids;  // none, one or several
  Json raw;                                 // the file; null for a model made here
};

inline const char* name_of(Family f) {
  return f == Family::cohere ? "cohere" : f == Family::llama ? "llama" : "bam";
}
inline const char* architecture_of(Family f) {
  return f == Family::cohere ? "CohereForCausalLM" : f == Family::llama ? "LlamaForCausalLM" : "BamForCausalLM";
}
inline const char* name_of(AttentionRouting r) {
  return r == AttentionRouting::soft ? "soft" : r == AttentionRouting::top1 ? "top1" : "top2";
}

namespace detail {

// A float as the shortest decimal that reads back to it: 1e-05, not 9.999999747378752e-06.
inline double shortest(float x) {
  char buffer[64];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, x).ptr;
  double y = 0;
  std::from_chars(buffer, end, y);
  return y;
}

// Reads one object key by key; null counts as absent.
struct ConfigReader {
  const Json& json;
  std::string where;  // "DIR/config.json", printable

  const Json* find(std::string_view key) const {
    const Json* v = json.find(key);
    return v && !v->is_null() ? v : nullptr;
  }
  std::string at(std::string_view key) const { return where + ": " + std::string(key); }

  template <class... Args>
  [[noreturn]] void refuse(const char* id, std::string_view key, const Args&... args) const {
    fail(ErrorKind::input, id, at(key), ": ", args...);
  }
  std::int64_t integer(std::string_view key, std::int64_t max, std::optional<std::int64_t> absent = {},
                       std::int64_t min = 1) const {
    const Json* v = find(key);
    if (!v && absent) return *absent;
    if (!v) refuse("config.key", key, "wanted an integer from ", min, " to ", max, ", the key is absent; add it");
    if (!v->is_integer()) refuse("config.type", key, "wanted an integer from ", min, " to ", max, ", got ", v->describe());
    return v->as_int(at(key), min, max);
  }
  // A number in [min, max] that a float can hold.
  double real(std::string_view key, double min, double max, double absent) const {
    const Json* v = find(key);
    if (!v) return absent;
    if (!v->is_number()) refuse("config.type", key, "wanted a number, got ", v->describe());
    double x = v->as_double(at(key));
    if (!(x >= min && x <= max))
      refuse("config.range", key, "wanted a number from ", min, " to ", max, ", got ", x);
    return x;
  }
  bool boolean(std::string_view key, bool absent) const {
    const Json* v = find(key);
    if (!v) return absent;
    if (!v->is_bool()) refuse("config.type", key, "wanted true or false, got ", v->describe());
    return v->as_bool(at(key));
  }
  std::string_view text(std::string_view key, std::string_view absent) const {
    const Json* v = find(key);
    if (!v) return absent;
    if (!v->is_string()) refuse("config.type", key, "wanted a string, got ", v->describe());
    return v->as_string(at(key));
  }
  std::optional<std::int64_t> id(std::string_view key) const {
    const Json* v = find(key);
    if (!v) return {};
    if (v->is_integer() && *v == Json(-1)) return {};  // how older files say "none"
    return v->as_int(at(key), 0, INT32_MAX);
  }
};

// Keys of other tools whose only value that computes what we compute is the one given here.
struct OnlyValue {
  const char* key;
  enum { falsehood, absent, zero, one } allowed;
};
inline constexpr OnlyValue only_values[] = {
    {"attention_bias", OnlyValue::falsehood},
    {"mlp_bias", OnlyValue::falsehood},
    {"qkv_bias", OnlyValue::falsehood},
    {"use_bias", OnlyValue::falsehood},
    {"use_qk_norm", OnlyValue::falsehood},
    {"qk_norm", OnlyValue::falsehood},
    {"alibi", OnlyValue::falsehood},
    {"is_encoder_decoder", OnlyValue::falsehood},
    {"add_cross_attention", OnlyValue::falsehood},
    {"quantization_config", OnlyValue::absent},
    {"compression_config", OnlyValue::absent},
    {"sliding_window_pattern", OnlyValue::absent},
    {"no_rope_layers", OnlyValue::absent},
    {"clip_qkv", OnlyValue::absent},
    {"attn_logit_softcapping", OnlyValue::absent},
    {"final_logit_softcapping", OnlyValue::absent},
    {"query_pre_attn_scalar", OnlyValue::absent},
    {"num_local_experts", OnlyValue::absent},
    {"n_routed_experts", OnlyValue::absent},
    {"attention_dropout", OnlyValue::zero},
    {"hidden_dropout", OnlyValue::zero},
    {"resid_pdrop", OnlyValue::zero},
    {"embd_pdrop", OnlyValue::zero},
    {"attn_pdrop", OnlyValue::zero},
    {"n_shared_experts", OnlyValue::zero},
    {"num_shared_experts", OnlyValue::zero},
    {"first_k_dense_replace", OnlyValue::zero},
    {"partial_rotary_factor", OnlyValue::one},
    {"rotary_pct", OnlyValue::one},
    {"embedding_multiplier", OnlyValue::one},
    {"residual_multiplier", OnlyValue::one},
    {"logits_scaling", OnlyValue::one},
};

inline void refuse_other_computations(const ConfigReader& r) {
  for (const OnlyValue& only : only_values) {
    const Json* v = r.find(only.key);
    if (!v) continue;
    auto equals = [&](int x) { return v->is_number() && v->as_double("") <= x && v->as_double("") >= x; };
    switch (only.allowed) {
      case OnlyValue::falsehood:
        if (r.boolean(only.key, false)) r.refuse("config.unsupported", only.key, "wanted false, got true; such models are not computed here");
        break;
      case OnlyValue::absent:
        r.refuse("config.unsupported", only.key, "wanted no such key or null, got ", v->describe(), "; such models are not computed here");
      case OnlyValue::zero:
      case OnlyValue::one: {
        int x = only.allowed == OnlyValue::one;
        if (!equals(x)) r.refuse("config.unsupported", only.key, "wanted ", x, ", got ", v->describe(), "; such models are not computed here");
      }
    }
  }
  for (const char* key : {"hidden_act", "hidden_activation", "activation_function"})
    if (std::string_view act = r.text(key, "silu"); act != "silu" && act != "swish")
      r.refuse("config.unsupported", key, "wanted \"silu\", got \"", printable(act, 60), "\"; other activations are not computed here");
  if (const Json* w = r.find("sliding_window"); w && r.boolean("use_sliding_window", true))
    r.refuse("config.unsupported", "sliding_window", "wanted full attention (null), got ", w->describe());
  if (const Json* types = r.find("layer_types"))
    for (const Json& type : types->items(r.at("layer_types")))
      if (std::string_view t = type.as_string(r.at("layer_types")); t != "full_attention")
        r.refuse("config.unsupported", "layer_types", "wanted \"full_attention\", got \"", printable(t, 60), "\"");
}

// rope_theta, rope_scaling, and rope_parameters, where transformers 5 puts both.
inline double read_rope(const ConfigReader& r) {
  constexpr double least = 1e-3, most = 1e15;
  double theta = r.real("rope_theta", least, most, 10000.0);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* v = r.find(key);
    if (!v) continue;
    if (!v->is_object()) r.refuse("config.type", key, "wanted an object, got ", v->describe());
    ConfigReader inner{*v, r.at(key)};
    for (auto [name, value] : v->members(r.at(key))) {
      if (value.is_null()) continue;
      std::string inside = str(key, ".", printable(name, 60));
      if (name == "rope_type" || name == "type") {
        if (!value.is_string() || value.as_string("") != "default")
          r.refuse("config.unsupported", inside, "wanted \"default\", got ", value.describe(), "; scaled rotary embeddings are not computed here");
      } else if (name == "rope_theta") {
        double x = inner.real(name, least, most, theta);
        if (r.find("rope_theta") && (x < theta || x > theta))
          r.refuse("config.conflict", inside, "got ", x, ", but rope_theta is ", theta, "; keep one of the two");
        theta = x;
      } else if (name == "partial_rotary_factor") {
        if (inner.real(name, 0, 1, 1) < 1) r.refuse("config.unsupported", inside, "wanted 1, got ", value.describe());
      } else {
        r.refuse("config.unsupported", inside, "wanted plain rotary embeddings, got ", value.describe());
      }
    }
  }
  return theta;
}

}  // namespace detail

// where names the file in errors, all of kind input; each has the key and its value.
inline ConfigFile parse_model_config(Json json, std::string_view where) {
  detail::ConfigReader r{json, printable(where, 4096)};
  if (!json.is_object()) fail(ErrorKind::input, "config.type", r.where, ": wanted a JSON object, got ", json.describe());
  ConfigFile file;
  ModelConfig& c = file.model;

  std::string_view type = r.text("model_type", "");
  if (type == "cohere") c.family = Family::cohere;
  else if (type == "llama") c.family = Family::llama;
  else if (type == "bam") c.family = Family::bam;
  else if (type.empty()) r.refuse("config.key", "model_type", "wanted \"cohere\", \"llama\" or \"bam\", the key is absent; add it");
  else r.refuse("config.unsupported", "model_type", "wanted \"cohere\", \"llama\" or \"bam\", got \"", printable(type, 60), "\"");
  if (const Json* a = r.find("architectures")) {
    auto names = a->items(r.at("architectures"));
    for (const Json& name : names)
      if (name.as_string(r.at("architectures")) != architecture_of(c.family))
        r.refuse("config.unsupported", "architectures", "wanted \"", architecture_of(c.family), "\" for model_type \"", type, "\", got ", name.describe());
  }
  detail::refuse_other_computations(r);

  const bool llama = c.family == Family::llama, bam = c.family == Family::bam;
  c.vocab_size = r.integer("vocab_size", 1 << 24);
  c.hidden_size = r.integer("hidden_size", 1 << 18);
  c.intermediate_size = r.integer("intermediate_size", 1 << 20);
  c.num_hidden_layers = r.integer("num_hidden_layers", 10000);
  c.num_attention_heads = r.integer("num_attention_heads", 4096);
  c.num_key_value_heads = r.integer("num_key_value_heads", 4096, c.num_attention_heads);
  if (c.num_attention_heads % c.num_key_value_heads != 0)
    r.refuse("config.heads", "num_key_value_heads", "wanted a divisor of num_attention_heads ", c.num_attention_heads, ", got ", c.num_key_value_heads);
  if (!r.find("head_dim") && c.hidden_size % c.num_attention_heads != 0)
    r.refuse("config.heads", "num_attention_heads", "wanted a divisor of hidden_size ", c.hidden_size, ", got ", c.num_attention_heads, "; or give head_dim");
  c.head_dim = r.integer("head_dim", 4096, c.hidden_size / c.num_attention_heads);
  if (c.head_dim % 2 != 0) r.refuse("config.heads", "head_dim", "wanted an even number (rotary pairs), got ", c.head_dim);
  c.max_position_embeddings = r.integer("max_position_embeddings", 1 << 30, c.max_position_embeddings);
  c.rope_theta = detail::read_rope(r);
  const char* eps = llama ? "rms_norm_eps" : "layer_norm_eps";
  c.norm_eps = static_cast<float>(r.real(eps, 1e-30, 1, llama ? 1e-6 : 1e-5));
  c.logit_scale = static_cast<float>(r.real("logit_scale", 1e-30, 1e30, c.family == Family::cohere ? 0.0625 : 1));
  c.tie_word_embeddings = r.boolean("tie_word_embeddings", !llama);
  c.parallel_block = r.boolean("parallel_block", !llama);
  if (llama && c.parallel_block) r.refuse("config.unsupported", "parallel_block", "wanted false for model_type \"llama\", got true");

  if (bam) {
    c.num_experts = r.integer("num_experts", 4096, 1);
    c.num_experts_per_tok = r.integer("num_experts_per_tok", 4096, 1);
    if (c.num_experts_per_tok > c.num_experts)
      r.refuse("config.experts", "num_experts_per_tok", "wanted at most num_experts ", c.num_experts, ", got ", c.num_experts_per_tok);
    c.norm_topk_prob = r.boolean("norm_topk_prob", false);
    c.num_attention_experts = r.integer("num_attention_experts", 4096, 1);
    std::string_view routing = r.text("attention_routing", "soft");
    if (routing == "soft") c.attention_routing = AttentionRouting::soft;
    else if (routing == "top1") c.attention_routing = AttentionRouting::top1;
    else if (routing == "top2") c.attention_routing = AttentionRouting::top2;
    else r.refuse("config.routing", "attention_routing", "wanted \"soft\", \"top1\" or \"top2\", got \"", printable(routing, 60), "\"");
    if (c.num_attention_experts > 1 && c.attention_top_k() > c.num_attention_experts)
      r.refuse("config.experts", "attention_routing", "wanted at most num_attention_experts ", c.num_attention_experts, ", got \"", routing, "\"");
    c.share_kv = r.boolean("share_kv", false);
    c.router_aux_loss_coef = static_cast<float>(r.real("router_aux_loss_coef", 0, 1e6, 0.01));
    c.router_z_loss_coef = static_cast<float>(r.real("router_z_loss_coef", 0, 1e6, 0.001));
  } else {
    for (const char* key : {"num_experts", "num_attention_experts"})
      if (const Json* v = r.find(key); v && *v != Json(1))
        r.refuse("config.unsupported", key, "wanted no such key for model_type \"", type, "\", got ", v->describe());
  }

  // Single sizes in range can still multiply to nonsense.
  constexpr std::int64_t most_parameters = std::int64_t{1} << 44, most_tensors = 4'000'000;
  try {
    std::int64_t n = count_parameters(c).total;
    if (n > most_parameters) fail(ErrorKind::limit, "", "");
  } catch (const Error&) {
    r.refuse("config.size", "num_hidden_layers", "wanted a model of at most ", most_parameters, " parameters, got ", c.num_hidden_layers,
             " layers of hidden_size ", c.hidden_size, ", intermediate_size ", c.intermediate_size);
  }
  if (c.num_hidden_layers * (4 * c.num_attention_experts + 3 * c.num_experts + 4) > most_tensors)
    r.refuse("config.size", "num_hidden_layers", "wanted at most ", most_tensors, " tensors, got ", c.num_hidden_layers, " layers of ",
             c.num_attention_experts, " attention and ", c.num_experts, " FFN experts");

  file.bos_token_id = r.id("bos_token_id");
  file.pad_token_id = r.id("pad_token_id");
  if (const Json* eos = r.find("eos_token_id")) {
    if (eos->is_array()) {
      for (const Json& id : eos->items("")) file.eos_token_ids.push_back(id.as_int(r.at("eos_token_id"), 0, INT32_MAX));
    } else if (auto id = r.id("eos_token_id")) {
      file.eos_token_ids.push_back(*id);
    }
  }
  file.raw = std::move(json);
  return file;
}

// The id of a special token for use: kind input when it is absent or outside the vocabulary. key e.g. "bos_token_id".
inline std::int64_t special_id(const std::optional<std::int64_t>& id, const ModelConfig& model, std::string_view key) {
  if (!id) fail(ErrorKind::input, "config.key", "config.json: ", key, ": wanted an id, the key is absent; add it");
  if (*id >= model.vocab_size)
    fail(ErrorKind::input, "config.range", "config.json: ", key, ": wanted an id below vocab_size ", model.vocab_size, ", got ", *id);
  return *id;
}

// config.json of a model: the file it came from, in its order, with every key we read set; unknown keys stay.
inline Json model_config_json(const ConfigFile& file) {
  const ModelConfig& c = file.model;
  const bool llama = c.family == Family::llama;
  Json j = file.raw.is_object() ? file.raw : Json::object();
  auto number = [](float x) { return Json(detail::shortest(x)); };
  j.set("model_type", name_of(c.family));
  j.set("architectures", Json::array({architecture_of(c.family)}));
  j.set("vocab_size", c.vocab_size);
  j.set("hidden_size", c.hidden_size);
  j.set("intermediate_size", c.intermediate_size);
  j.set("num_hidden_layers", c.num_hidden_layers);
  j.set("num_attention_heads", c.num_attention_heads);
  j.set("num_key_value_heads", c.num_key_value_heads);
  j.set("head_dim", c.head_dim);
  j.set("max_position_embeddings", c.max_position_embeddings);
  j.set("rope_theta", c.rope_theta);
  if (Json* rope = j.find("rope_parameters"); rope && rope->is_object()) rope->set("rope_theta", c.rope_theta);
  j.erase(llama ? "layer_norm_eps" : "rms_norm_eps");
  j.set(llama ? "rms_norm_eps" : "layer_norm_eps", number(c.norm_eps));
  j.set("logit_scale", number(c.logit_scale));
  j.set("tie_word_embeddings", c.tie_word_embeddings);
  j.set("parallel_block", c.parallel_block);
  j.set("hidden_act", "silu");
  j.set("attention_bias", false);
  j.set("use_qk_norm", false);
  if (c.family == Family::bam) {
    j.set("num_experts", c.num_experts);
    j.set("num_experts_per_tok", c.num_experts_per_tok);
    j.set("norm_topk_prob", c.norm_topk_prob);
    j.set("num_attention_experts", c.num_attention_experts);
    j.set("attention_routing", name_of(c.attention_routing));
    j.set("share_kv", c.share_kv);
    j.set("router_aux_loss_coef", number(c.router_aux_loss_coef));
    j.set("router_z_loss_coef", number(c.router_z_loss_coef));
  }
  auto id = [&](const char* key, const std::optional<std::int64_t>& value) {
    if (value) j.set(key, *value);
  };
  id("bos_token_id", file.bos_token_id);
  id("pad_token_id", file.pad_token_id);
  if (file.eos_token_ids.size() == 1) j.set("eos_token_id", file.eos_token_ids[0]);
  if (file.eos_token_ids.size() > 1) j.set("eos_token_id", Json::array_of(file.eos_token_ids));
  return j;
}

}  // namespace bam::io
