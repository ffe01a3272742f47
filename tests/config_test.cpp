// config.json: defaults, what is refused and how the error reads, round trips.
#include "bam/io/model_config.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

namespace bam::config_test {

using namespace bam::io;

namespace {
Json base(const char* type = "cohere") {
  return Json::object({{"model_type", type}, {"vocab_size", 97}, {"hidden_size", 32}, {"intermediate_size", 48},
                       {"num_hidden_layers", 2}, {"num_attention_heads", 4}, {"num_key_value_heads", 2}});
}
Json with(const char* key, Json value, const char* type = "bam") {
  Json j = base(type);
  j.set(key, std::move(value));
  return j;
}
Json parsed(const char* text) { return parse_json(text, "test"); }

std::string error_of(const Json& j) {
  try {
    parse_model_config(j, "m/config.json");
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::input);
    return e.what();
  }
  return "";
}
// The message has the file, the key and the value.
void refused(const char* key, const char* value, const std::string& message) {
  CAPTURE(key);
  CAPTURE(message);
  CHECK(message.starts_with("m/config.json: "));
  CHECK(message.find(key) != message.npos);
  CHECK(message.find(value) != message.npos);
}
}  // namespace

TEST_CASE("config: defaults by family") {
  ModelConfig c = parse_model_config(base("cohere"), "f").model;
  CHECK(c.family == Family::cohere);
  CHECK(c.head_dim == 8);
  CHECK(c.logit_scale == 0.0625f);
  CHECK(c.tie_word_embeddings);
  CHECK(c.parallel_block);
  CHECK(c.rope_theta == 10000.0);
  ModelConfig l = parse_model_config(base("llama"), "f").model;
  CHECK(l.logit_scale == 1.0f);
  CHECK_FALSE(l.tie_word_embeddings);
  CHECK_FALSE(l.parallel_block);
  ModelConfig b = parse_model_config(base("bam"), "f").model;
  CHECK(b.logit_scale == 1.0f);
  CHECK(b.attention_routing == AttentionRouting::soft);
  CHECK(b.num_experts == 1);
  CHECK_FALSE(b.norm_topk_prob);
  CHECK(b.router_aux_loss_coef == 0.01f);
  Json no_kv = base();
  no_kv.erase("num_key_value_heads");
  CHECK(parse_model_config(no_kv, "f").model.num_key_value_heads == 4);
}

TEST_CASE("config: numbers out of range are refused with key and value") {
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "head_dim", "max_position_embeddings", "num_experts",
                          "num_experts_per_tok", "num_attention_experts"}) {
    refused(key, "0", error_of(with(key, 0)));
    refused(key, "-32", error_of(with(key, -32)));
    refused(key, "9223372036854775807", error_of(with(key, INT64_MAX)));
    refused(key, "18446744073709551615", error_of(with(key, UINT64_MAX)));
    refused(key, "\"32\"", error_of(with(key, "32")));
    refused(key, "32.5", error_of(with(key, 32.5)));
    refused(key, "true", error_of(with(key, true)));
    refused(key, "array", error_of(with(key, Json::array({32}))));
  }
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}) {
    Json j = base();
    j.erase(key);
    refused(key, "absent", error_of(j));
    refused(key, "absent", error_of(with(key, nullptr)));
  }
  refused("num_hidden_layers", "1000000000", error_of(with("num_hidden_layers", 1000000000)));
  refused("num_key_value_heads", "3", error_of(with("num_key_value_heads", 3)));
  refused("num_key_value_heads", "8", error_of(with("num_key_value_heads", 8)));
  refused("num_attention_heads", "6", error_of(with("num_attention_heads", 6)));
  refused("head_dim", "7", error_of(with("head_dim", 7)));
  refused("num_experts_per_tok", "2", error_of(with("num_experts_per_tok", 2)));
  refused("layer_norm_eps", "0", error_of(with("layer_norm_eps", 0)));
  refused("layer_norm_eps", "\"1e-5\"", error_of(with("layer_norm_eps", "1e-5")));
  refused("logit_scale", "-1", error_of(with("logit_scale", -1)));
  refused("rope_theta", "0", error_of(with("rope_theta", 0.0)));
  refused("router_z_loss_coef", "-0.5", error_of(with("router_z_loss_coef", -0.5)));
  refused("tie_word_embeddings", "1", error_of(with("tie_word_embeddings", 1)));
  refused("bos_token_id", "-2", error_of(with("bos_token_id", -2)));
  refused("eos_token_id", "\"x\"", error_of(with("eos_token_id", Json::array({1, "x"}))));
  // Each size in range, the product not.
  Json huge = base("bam");
  for (auto [key, value] : {std::pair{"hidden_size", 1 << 18}, {"intermediate_size", 1 << 20}, {"num_hidden_layers", 10000}, {"num_experts", 4096}})
    huge.set(key, value);
  refused("num_hidden_layers", "10000", error_of(huge));
  Json tiny = base("bam");
  for (auto [key, value] : {std::pair{"num_hidden_layers", 10000}, {"num_experts", 4096}}) tiny.set(key, value);
  refused("num_hidden_layers", "10000", error_of(tiny));
  CHECK(error_of(Json::array()).find("object") != std::string::npos);
}

TEST_CASE("config: what would compute something else is refused by name") {
  struct Row {
    const char *key, *value;
  };
  const Row rows[] = {
      {"hidden_act", "\"gelu\""},
      {"rope_scaling", R"({"type": "linear", "factor": 2.0})"},
      {"rope_scaling", R"({"rope_type": "llama3"})"},
      {"rope_scaling", R"("dynamic")"},
      {"rope_parameters", R"({"rope_type": "yarn", "rope_theta": 1e4})"},
      {"rope_parameters", R"({"full_attention": {"rope_theta": 1e4}})"},
      {"attention_bias", "true"},
      {"attention_bias", "\"yes\""},
      {"mlp_bias", "true"},
      {"use_qk_norm", "true"},
      {"quantization_config", R"({"bits": 4})"},
      {"sliding_window", "4096"},
      {"layer_types", R"(["full_attention", "sliding_attention"])"},
      {"attention_dropout", "0.1"},
      {"partial_rotary_factor", "0.5"},
      {"final_logit_softcapping", "30.0"},
      {"model_type", "\"cohere2\""},
      {"architectures", R"(["CohereForSequenceClassification"])"},
      {"attention_routing", "\"top3\""},
  };
  for (const Row& row : rows) refused(row.key, "", error_of(with(row.key, parsed(row.value))));
  refused("hidden_act", "gelu", error_of(with("hidden_act", "gelu")));
  refused("num_experts", "4", error_of(with("num_experts", 4, "cohere")));
  refused("parallel_block", "true", error_of(with("parallel_block", true, "llama")));
  refused("attention_routing", "top2", [] {
    Json j = with("attention_routing", "top2");
    j.set("num_attention_experts", 1);
    j.set("num_attention_experts", 2);
    CHECK(error_of(j).empty());
    j.set("attention_routing", "top-2");
    return error_of(j);
  }());
  // Their harmless values pass.
  const Row harmless[] = {{"rope_scaling", "null"},        {"rope_scaling", R"({"rope_type": "default"})"},
                          {"attention_bias", "false"},     {"quantization_config", "null"},
                          {"sliding_window", "null"},      {"attention_dropout", "0.0"},
                          {"hidden_act", "\"silu\""},      {"layer_types", R"(["full_attention"])"},
                          {"partial_rotary_factor", "1"},  {"pad_token_id", "-1"},
                          {"eos_token_id", "255001"},      {"torch_dtype", "\"bfloat16\""}};
  for (const Row& row : harmless) CHECK(error_of(with(row.key, parsed(row.value))) == "");
}

TEST_CASE("config: rope_parameters as transformers 5 writes them") {
  Json j = with("rope_parameters", parsed(R"({"rope_type": "default", "rope_theta": 500000.0})"), "llama");
  ConfigFile file = parse_model_config(j, "f");
  CHECK(file.model.rope_theta == 500000.0);
  CHECK(parse_model_config(model_config_json(file), "f").model.rope_theta == 500000.0);
  j.set("rope_theta", 10000.0);
  refused("rope_theta", "5e+05", error_of(j));
}

TEST_CASE("config: written whole, unknown keys kept, in the order of the file") {
  Json j = with("something_else", parsed(R"({"deep": [1, 2.5, null]})"));
  j.set("layer_norm_eps", 1e-5);
  j.set("num_experts", 4);
  j.set("num_experts_per_tok", 2);
  j.set("num_attention_experts", 4);
  j.set("attention_routing", "top2");
  j.set("share_kv", true);
  j.set("bos_token_id", 1);
  j.set("eos_token_id", Json::array({2, 3}));
  ConfigFile file = parse_model_config(j, "f");
  CHECK(file.eos_token_ids == std::vector<std::int64_t>{2, 3});
  Json out = model_config_json(file);
  CHECK(out.at("something_else") == j.at("something_else"));
  CHECK((*out.members("").begin()).key == "model_type");
  for (auto [key, value] : j.members("")) CHECK(out.at(key) == value);
  for (const char* key : {"architectures", "head_dim", "max_position_embeddings", "rope_theta", "logit_scale", "parallel_block",
                          "hidden_act", "attention_bias", "use_qk_norm", "norm_topk_prob", "router_z_loss_coef"})
    CHECK(out.contains(key));
  CHECK(dump(out).find("\"layer_norm_eps\": 1e-05") != std::string::npos);
  ConfigFile again = parse_model_config(out, "f");
  CHECK(model_config_json(again) == out);
  CHECK(again.model.attention_routing == AttentionRouting::top2);
  CHECK(again.model.share_kv);
}

TEST_CASE("config: special ids are checked where they are used") {
  ConfigFile file = parse_model_config(with("bos_token_id", 255000), "f");
  CHECK_THROWS_AS(special_id(file.bos_token_id, file.model, "bos_token_id"), Error);
  CHECK_THROWS_AS(special_id(file.pad_token_id, file.model, "pad_token_id"), Error);
  file.bos_token_id = 5;
  CHECK(special_id(file.bos_token_id, file.model, "bos_token_id") == 5);
}

TEST_CASE("config: names and shapes of the golden models, from their configs") {
  namespace fs = std::filesystem;
  fs::path golden = fs::path(__FILE__).parent_path() / "golden";
  auto text_of = [](const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  int models = 0;
  for (auto& entry : fs::directory_iterator(golden)) {
    if (!entry.is_directory()) continue;
    CAPTURE(entry.path().string());
    ++models;
    ConfigFile file = parse_model_config(parse_json(text_of(entry.path() / "config.json"), "config.json"), "config.json");
    std::string weights = text_of(entry.path() / "model.safetensors");
    REQUIRE(weights.size() > 8);
    std::uint64_t size;
    std::memcpy(&size, weights.data(), 8);
    Json header = parse_json(std::string_view(weights).substr(8, size), "header");
    std::map<std::string, Json, std::less<>> wanted;
    for (auto [name, value] : header.members(""))
      if (name != "__metadata__") wanted.emplace(name, value.at("shape"));
    std::vector<TensorShape> shapes = tensor_shapes(file.model);
    CHECK(shapes.size() == wanted.size());
    std::int64_t total = 0;
    for (const TensorShape& t : shapes) {
      CAPTURE(t.name);
      REQUIRE(wanted.contains(t.name));
      CHECK(wanted.at(t.name) == Json::array_of(t.shape));
      total += t.elements();
    }
    CHECK(total == count_parameters(file.model).total);
    CHECK(parse_model_config(model_config_json(file), "again").model.query_width() == file.model.query_width());
  }
  CHECK(models >= 15);
}

}  // namespace bam::config_test
