// bam inspect: what a model folder, a safetensors file, a checkpoint or a run holds.
#include <cmath>
#include <map>
#include <memory>

#include "bam/io/model_folder.hpp"
#include "bam/nn/estimate.hpp"
#include "bam/nn/shapes.hpp"
#include "output.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct InspectFlags {
  std::string path;
  bool no_scan = false;
};

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string s = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) s += str(i ? ", " : "", shape[i]);
  return s + "]";
}

bool is_float(io::StoredType t) {
  return t == io::StoredType::f32 || t == io::StoredType::bf16 || t == io::StoredType::f16 || t == io::StoredType::f64;
}

// Elements that are NaN or infinite.
std::int64_t non_finite(const io::StoredTensor& t) {
  if (!is_float(t.type)) return 0;
  std::vector<float> values(static_cast<std::size_t>(t.elements()));
  t.to_float(values.data());
  std::int64_t n = 0;
  for (float v : values) n += !std::isfinite(v);
  return n;
}

// Every tensor of the config is there, of its shape and of a floating-point type, and nothing else is.
void check_tensors(const std::string& where, const ModelConfig& config, const io::WeightSet& weights, const std::vector<std::string>& names) {
  std::string problems;
  std::size_t count = 0;
  auto problem = [&](const auto&... parts) {
    if (++count <= 8) problems += str(count > 1 ? "; " : "", parts...);
  };
  std::map<std::string, bool> known;
  for (const TensorShape& wanted : tensor_shapes(config)) {
    known[wanted.name] = true;
    const io::StoredTensor* t = weights.find(wanted.name);
    if (!t) problem("'", wanted.name, "' is missing, wanted ", shape_text(wanted.shape));
    else if (t->shape != wanted.shape) problem("'", wanted.name, "' wanted shape ", shape_text(wanted.shape), ", found ", shape_text(t->shape));
    else if (!is_float(t->type)) problem("'", wanted.name, "' wanted F32 or BF16, found ", printable(t->dtype, 40));
  }
  for (const std::string& name : names)
    if (!known.contains(name)) problem("'", printable(name), "' is not part of this model");
  if (count)
    fail(ErrorKind::input, "model.weights", printable(where, 4096), ": ", problems, count > 8 ? str("; and ", count - 8, " more") : std::string());
}

void inspect(const Common& common, const InspectFlags& o) {
  const bool folder = io::is_folder(o.path);
  if (!folder && !io::exists(o.path))
    fail(ErrorKind::input, "inspect.path", printable(o.path, 4096), ": wanted a model folder, a safetensors file, a checkpoint or a run; nothing is there");
  const std::string path = folder ? io::resolve_model_folder(o.path) : o.path;
  io::Json out = io::Json::object();
  Table table;
  std::optional<io::ConfigFile> config;
  if (folder) config = io::read_model_config(path + "/config.json");
  const io::WeightSet weights = io::load_weights(path);
  std::vector<std::string> names = weights.names();
  std::sort(names.begin(), names.end());

  std::int64_t elements = 0;
  std::map<std::string, std::int64_t> bad;
  for (const std::string& name : names) {
    const io::StoredTensor& t = *weights.find(name);
    elements += t.elements();
    if (!o.no_scan)
      if (std::int64_t n = non_finite(t)) bad[name] = n;
  }
  auto line = [&](const char* key, const std::string& value) { table.rows.push_back({str(key, std::string(22 - std::string_view(key).size(), ' '), value)}); };
  if (path != o.path) line("checkpoint", printable(path, 4096));
  if (config) {
    check_tensors(path, config->model, weights, names);
    const ModelConfig& c = config->model;
    const ParameterCount n = count_parameters(c);
    out.set("model_type", io::name_of(c.family));
    out.set("parameters_total", n.total);
    out.set("parameters_active", n.active);
    line("model", str(io::name_of(c.family), c.parallel_block ? ", parallel block" : ", sequential block"));
    line("parameters, total", grouped(n.total));
    line("parameters, active", grouped(n.active));
    line("layers", str(c.num_hidden_layers));
    line("hidden / ffn", str(c.hidden_size, " / ", c.intermediate_size));
    line("heads / KV / width", str(c.num_attention_heads, " / ", c.num_key_value_heads, " / ", c.head_dim));
    line("vocabulary", str(c.vocab_size, c.tie_word_embeddings ? ", tied" : ", untied"));
    if (c.moa())
      line("attention experts", str(c.num_attention_experts, ", routing ", io::name_of(c.attention_routing), c.share_kv ? ", shared K and V" : ", own K and V"));
    if (c.moe()) line("FFN experts", str(c.num_experts, ", top ", c.num_experts_per_tok, c.norm_topk_prob ? ", renormalised" : ""));
  } else {
    out.set("model_type", nullptr);
    out.set("parameters_total", elements);
    out.set("parameters_active", nullptr);
    line("elements", grouped(elements));
  }
  io::Json tensors = io::Json::object();
  Table list;
  for (const std::string& name : names) {
    const io::StoredTensor& t = *weights.find(name);
    tensors.add(name, io::Json::object({{"dtype", t.dtype}, {"shape", io::Json::array_of(t.shape)}}));
    auto it = bad.find(name);
    list.add({printable(name), t.dtype, shape_text(t.shape), it == bad.end() ? "" : str(it->second, " not finite")});
  }
  out.set("tensors", std::move(tensors));
  if (!o.no_scan) {
    io::Json counts = io::Json::object();
    for (auto& [name, n] : bad) counts.add(name, n);
    out.set("non_finite", std::move(counts));
  }
  if (common.json) print_json(out);
  else print(table.text() + "\n" + list.text());
  for (auto& [name, n] : bad) note(common, str("warning: '", printable(name), "' has ", n, " elements that are not finite"));
}

}  // namespace

void add_inspect(CLI::App& app, Common& common) {
  CLI::App* sub = app.add_subcommand("inspect", "Tensors, sizes and checks of a model folder, safetensors file, checkpoint or run");
  auto o = std::make_shared<InspectFlags>();
  sub->add_option("PATH", o->path, "Folder or file")->required();
  sub->add_flag("--no-scan", o->no_scan, "Do not look for NaN and infinity in the weights");
  sub->callback([o, &common] { common.run = [o, &common] { inspect(common, *o); }; });
}

}  // namespace bam::app
