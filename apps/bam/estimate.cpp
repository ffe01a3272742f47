// bam estimate: what a model costs, before anything runs.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "bam/cpu/peak.hpp"
#include "bam/io/file.hpp"
#include "bam/io/model_config.hpp"
#include "bam/nn/estimate.hpp"
#include "bam/train/launches.hpp"
#include "flags.hpp"
#include "machine.hpp"
#include "output.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct EstimateFlags {
  std::int64_t tokens_per_step = 0, micro_batch = 8, context = 0;
  double rate = 0, efficiency = 0.6;
  bool launches = false;
  std::string moments = "fp32";
  double limit = 0, bandwidth = 0;  // GFLOP/s and GB/s that the floors of launches count with
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

// Launches of a step that are alike: same kernel, same shape.
struct Alike {
  Row row;
  Cost cost;  // of one
  std::int64_t count = 0;
  double floor = 0, expected = 0;  // seconds, of one
};
// Shares of the limits that kernels by mma.sync are assumed to reach on an H200 (products 460 of 790 TFLOP/s, attention 330 and 250; copies 85% of the bandwidth; 3 us to start a kernel): a judgement from what is
// published of other kernels, like the limits themselves (what is reported of cuBLAS and of large copies there). Not measured.
double expected_seconds(const Cost& c, Row row, const EstimateFlags& o) {
  const double share = row == Row::attention_forward ? 0.42 : row == Row::attention_backward ? 0.32 : 0.58;
  return 3e-6 * c.kernels + std::max(c.flops / (share * o.limit * 1e9), c.bytes / (0.85 * o.bandwidth * 1e9));
}
std::vector<Alike> alike(const std::vector<Profile::Call>& calls, const EstimateFlags& o) {
  std::vector<Alike> list;
  for (const Profile::Call& c : calls) {
    auto same = [&](const Alike& a) { return a.row == c.row && a.cost.shape == c.cost.shape && a.cost.bytes == c.cost.bytes; };
    auto it = std::find_if(list.begin(), list.end(), same);
    if (it == list.end()) it = list.insert(list.end(), {c.row, c.cost, 0, std::max(o.limit > 0 ? c.cost.flops / (o.limit * 1e9) : 0, o.bandwidth > 0 ? c.cost.bytes / (o.bandwidth * 1e9) : 0), 0});
    ++it->count;
  }
  return list;
}
void print_launches(const Common& common, const ModelConfig& c, const StepShape& shape, EstimateFlags o, bool gpu) {
  if (o.limit == 0) o.limit = gpu ? (shape.bf16 ? 790e3 : 66.9e3) : cpu::peak_flops(cpu::isa(), 200) / 1e9;
  if (o.bandwidth == 0 && gpu) o.bandwidth = 4300;
  std::vector<Alike> list = alike(step_launches(c, shape), o);
  const bool expects = gpu && shape.bf16;
  for (Alike& a : list) a.expected = expects ? expected_seconds(a.cost, a.row, o) : 0;
  double seconds = 0, flops = 0, bytes = 0, expected = 0;
  std::int64_t count = 0, kernels = 0;
  for (const Alike& a : list) {
    const auto n = static_cast<double>(a.count);
    seconds += n * a.floor;
    expected += n * a.expected;
    flops += n * a.cost.flops;
    bytes += n * a.cost.bytes;
    count += a.count;
    kernels += a.count * a.cost.kernels;
  }
  if (common.json) {
    io::Json rows = io::Json::array({});
    for (const Alike& a : list)
      rows.push_back(io::Json::object({{"kernel", name_of(a.row)}, {"shape", a.cost.shape}, {"count", a.count}, {"kernels", a.cost.kernels}, {"flops", a.cost.flops}, {"bytes", a.cost.bytes}, {"floor_seconds", a.floor}, {"expected_seconds", a.expected}}));
    return print_json(io::Json::object({{"limit_flops_per_second", o.limit * 1e9}, {"bytes_per_second", o.bandwidth * 1e9}, {"launches", std::move(rows)}, {"flops", flops}, {"bytes", bytes}, {"floor_seconds", seconds}, {"expected_seconds", expected}}));
  }
  Table t;
  t.add({"kernel", "shape", "times", "kernels each", "GFLOP each", "MB each", "floor, us each", "of the floor", "expected, us each"});
  for (const Alike& a : list)
    t.add({name_of(a.row), a.cost.shape, str(a.count), gpu ? str(a.cost.kernels) : "-", a.cost.flops > 0 ? fmt::format("{:.2f}", a.cost.flops / 1e9) : "-", fmt::format("{:.2f}", a.cost.bytes / 1e6), fmt::format("{:.1f}", a.floor * 1e6),
           fmt::format("{:.1f}%", 100 * static_cast<double>(a.count) * a.floor / (seconds > 0 ? seconds : 1)), expects ? fmt::format("{:.1f}", a.expected * 1e6) : "-"});
  t.add({"all", "", str(count), gpu ? str(kernels) : "-", fmt::format("{:.0f}", flops / 1e9), fmt::format("{:.0f}", bytes / 1e6), fmt::format("{:.0f}", seconds * 1e6), "100%", expects ? fmt::format("{:.0f}", expected * 1e6) : "-"});
  print(t.text());
  print(str("Floors count products at ", fmt::format("{:.4g}", o.limit / 1e3), " TFLOP/s", o.bandwidth > 0 ? fmt::format(" and bytes at {:.4g} GB/s", o.bandwidth) : "", ", each operand read or written once; at best ",
            fmt::format("{:.0f}", static_cast<double>(shape.micro_batch * shape.context) / seconds), " tokens/s. Tokens are spread evenly over the experts.\n",
            expects ? "Expected: products at 58%, attention at 42% forward and 32% backward, bytes at 85%, 3 us a kernel: a judgement from public figures of other kernels, not measured.\n" : ""));
}

void estimate(const Common& common, EstimateFlags o) {
  const ModelConfig c = read_config(common).model;
  if (o.context == 0) o.context = std::min<std::int64_t>(2048, c.max_position_embeddings);
  if (o.tokens_per_step == 0) o.tokens_per_step = o.micro_batch * o.context;
  const StepShape shape{.tokens_per_step = o.tokens_per_step, .micro_batch = o.micro_batch, .context = o.context, .bf16 = common.bf16(), .bf16_moments = o.moments == "bf16", .device = common.device == "cuda" ? Device::cuda : Device::cpu};
  const bool gpu = shape.device == Device::cuda;
  if (o.launches) return print_launches(common, c, shape, o, gpu);
  const ParameterCount n = count_parameters(c);
  const FlopCount f = count_flops(c, o.context);
  const MemoryEstimate m = estimate_memory(c, shape);
  const bool timed = !gpu || o.rate > 0;  // the rate of a GPU is not measured here
  const double rate = !timed ? 0 : o.rate > 0 ? o.rate * 1e9 : cpu::peak_flops(cpu::isa(), 200) * o.efficiency;
  const double tokens_per_second = rate / static_cast<double>(f.train_per_token);
  const double step_seconds = timed ? static_cast<double>(o.tokens_per_step) / tokens_per_second : 0;

  if (common.json) {
    io::Json j = io::Json::object(
        {{"parameters_total", n.total},
         {"parameters_active", n.active},
         {"flops_forward_per_token_per_layer", f.forward_per_token_per_layer},
         {"flops_forward_per_token", f.forward_per_token},
         {"flops_train_per_token", f.train_per_token},
         {"tokens_per_step", o.tokens_per_step},
         {"micro_batch", o.micro_batch},
         {"context", o.context},
         {"memory", io::Json::object({{"weights", m.weights}, {"gradients", m.gradients}, {"optimizer", m.optimizer},
                                      {"activations", m.activations}, {"logits", m.logits}, {"scratch", m.scratch}, {"peak", m.peak}})}});
    if (timed) j.set("time", io::Json::object({{"flops_per_second", rate}, {"tokens_per_second", tokens_per_second}, {"step_seconds", step_seconds}}));
    return print_json(j);
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
  if (timed) t.add({gpu ? "training, tokens/s" : "training, tokens/s on this machine", fmt::format("{:.4g}", tokens_per_second)});
  if (timed) t.add({str("time of a step of ", grouped(o.tokens_per_step), " tokens"), duration_text(step_seconds)});
  print(t.text());
  if (!gpu && m.peak > memory_bytes())
    note(common, str("warning: the peak exceeds this machine's ", bytes_text(memory_bytes()), " of memory; lower --micro-batch or --context"));
}

}  // namespace

void add_estimate(CLI::App& app, Common& common) {
  CLI::App* sub = app.add_subcommand("estimate", "Exact parameters and FLOPs, memory by class, and time, from a config alone");
  auto o = std::make_shared<EstimateFlags>();
  sub->add_option("--config", common.config, "config.json of the model, or its folder")->type_name("FILE");
  integer_flag<std::int64_t>(*sub, "--tokens-per-step", o->tokens_per_step, 1, std::int64_t{1} << 40, "Tokens of an optimizer step (default: one micro-batch)");
  integer_flag<std::int64_t>(*sub, "--micro-batch", o->micro_batch, 1, 1 << 20, "Rows at a time (default 8)");
  integer_flag<std::int64_t>(*sub, "--context", o->context, 1, 1 << 24, "Tokens of a row (default 2048, at most max_position_embeddings)");
  real_flag(*sub, "--rate", o->rate, 1e-3, 1e9, "GFLOP/s of training; default: 0.6 of the FMA peak measured now");
  choice_flag(*sub, "--moments", o->moments, {"fp32", "bf16"}, "Type of AdamW's moments (default fp32)");
  sub->add_flag("--launches", o->launches, "Every kernel of a step instead: how often, FLOPs, bytes and the least time each");
  real_flag(*sub, "--limit", o->limit, 1e-3, 1e9, "GFLOP/s that floors count with (default: the FMA peak measured now; with --device cuda 790,000, cuBLAS on an H200 in bf16, or 66,900, the data sheet in fp32)");
  real_flag(*sub, "--bandwidth", o->bandwidth, 1e-3, 1e9, "GB/s that floors count with (default: products alone; with --device cuda 4300, an H200)");
  sub->callback([o, &common] { common.run = [o, &common] { estimate(common, *o); }; });
}

}  // namespace bam::app
