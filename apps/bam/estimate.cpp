// bam estimate: what a model costs, before anything runs.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "bam/cpu/peak.hpp"
#include "bam/io/file.hpp"
#include "bam/io/model_config.hpp"
#include "bam/nn/estimate.hpp"
#include "flags.hpp"
#include "machine.hpp"
#include "output.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct Options {
  std::int64_t tokens_per_step = 0, micro_batch = 8, context = 0;
  double rate = 0, efficiency = 0.6;
};

io::ConfigFile read_config(const Common& common) {
  if (common.config.empty()) fail(ErrorKind::usage, "flag.missing", "estimate: wanted --config FILE (a config.json or its folder)");
  std::string path = common.config;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) path += "/config.json";
  io::Json json = io::parse_json(io::read_file(path), path);
  for (const std::string& text : common.set) {
    auto [key, value] = parse_set(text);
    json.set(key, std::move(value));
  }
  return io::parse_model_config(std::move(json), path);
}

std::string duration_text(double seconds) {
  return seconds < 120 ? fmt::format("{:.3g} s", seconds) : seconds < 7200 ? fmt::format("{:.3g} min", seconds / 60) : fmt::format("{:.3g} h", seconds / 3600);
}

void estimate(const Common& common, Options o) {
  const ModelConfig c = read_config(common).model;
  if (o.context == 0) o.context = std::min<std::int64_t>(2048, c.max_position_embeddings);
  if (o.tokens_per_step == 0) o.tokens_per_step = o.micro_batch * o.context;
  const ParameterCount n = count_parameters(c);
  const FlopCount f = count_flops(c, o.context);
  const MemoryEstimate m =
      estimate_memory(c, {.tokens_per_step = o.tokens_per_step, .micro_batch = o.micro_batch, .context = o.context, .bf16 = common.bf16()});
  const double rate = o.rate > 0 ? o.rate * 1e9 : cpu::peak_flops(cpu::isa(), 200) * o.efficiency;
  const double tokens_per_second = rate / static_cast<double>(f.train_per_token);
  const double step_seconds = static_cast<double>(o.tokens_per_step) / tokens_per_second;

  if (common.json) {
    return print_json(io::Json::object(
        {{"parameters_total", n.total},
         {"parameters_active", n.active},
         {"flops_forward_per_token_per_layer", f.forward_per_token_per_layer},
         {"flops_forward_per_token", f.forward_per_token},
         {"flops_train_per_token", f.train_per_token},
         {"tokens_per_step", o.tokens_per_step},
         {"micro_batch", o.micro_batch},
         {"context", o.context},
         {"memory", io::Json::object({{"weights", m.weights}, {"gradients", m.gradients}, {"optimizer", m.optimizer},
                                      {"activations", m.activations}, {"logits", m.logits}, {"scratch", m.scratch}, {"peak", m.peak}})},
         {"time", io::Json::object({{"flops_per_second", rate}, {"tokens_per_second", tokens_per_second}, {"step_seconds", step_seconds}})}}));
  }
  Table t;
  t.add({"parameters, total", grouped(n.total)});
  t.add({"parameters, active", grouped(n.active)});
  t.add({"FLOPs, forward, per token and layer", grouped(f.forward_per_token_per_layer)});
  t.add({"FLOPs, training, per token", grouped(f.train_per_token)});
  t.add({str("memory of a step, ", o.micro_batch, " rows of ", o.context, " tokens at a time:")});
  for (auto [name, bytes] : {std::pair{"  weights", m.weights}, {"  gradients", m.gradients}, {"  optimizer", m.optimizer},
                             {"  activations", m.activations}, {"  logits", m.logits}, {"  scratch", m.scratch}, {"  peak", m.peak}})
    t.add({name, bytes_text(bytes)});
  t.add({"training, tokens/s on this machine", fmt::format("{:.4g}", tokens_per_second)});
  t.add({str("time of a step of ", grouped(o.tokens_per_step), " tokens"), duration_text(step_seconds)});
  print(t.text());
  if (m.peak > memory_bytes())
    note(common, str("warning: the peak exceeds this machine's ", bytes_text(memory_bytes()), " of memory; lower --micro-batch or --context"));
}

}  // namespace

void add_estimate(CLI::App& app, Common& common) {
  CLI::App* sub = app.add_subcommand("estimate", "Exact parameters and FLOPs, memory by class, and time, from a config alone");
  auto o = std::make_shared<Options>();
  sub->add_option("--config", common.config, "config.json of the model, or its folder")->type_name("FILE");
  integer_flag<std::int64_t>(*sub, "--tokens-per-step", o->tokens_per_step, 1, std::int64_t{1} << 40, "Tokens of an optimizer step (default: one micro-batch)");
  integer_flag<std::int64_t>(*sub, "--micro-batch", o->micro_batch, 1, 1 << 20, "Rows at a time (default 8)");
  integer_flag<std::int64_t>(*sub, "--context", o->context, 1, 1 << 24, "Tokens of a row (default 2048, at most max_position_embeddings)");
  real_flag(*sub, "--rate", o->rate, 1e-3, 1e9, "GFLOP/s of training; default: 0.6 of the FMA peak measured now");
  sub->callback([o, &common] { common.run = [o, &common] { estimate(common, *o); }; });
}

}  // namespace bam::app
