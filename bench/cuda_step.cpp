// A training step on a GPU: whole, in tokens/s, and kernel by kernel against the floor of each (bam estimate --launches). Random tokens, weights of an initialised model.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bam/cuda/backend.hpp"
#include "bam/io/file.hpp"
#include "bam/io/model_config.hpp"
#include "bam/train/launches.hpp"

using namespace bam;

namespace {

// A setting in the environment while it lives; then it is as it was.
class With {
 public:
  With(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value, 1);
  }
  ~With() {
    if (before_) setenv(name_, before_->c_str(), 1);
    else unsetenv(name_);
  }
  With(const With&) = delete;
  With& operator=(const With&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

// While it lives, a thread keeps the GPU busy with sweeps over 256 MiB on a stream of its own: the default one, which the backend's two do not wait for. On the emulation, which runs what it is told at once, nothing.
class Load {
 public:
  Load() : x_(zeros({cuda::emulated() ? 1 : std::int64_t{1} << 26}, DType::f32, Device::cuda)) {
    if (cuda::emulated()) return;
    cuda::synchronize();
    thread_ = std::thread([this] {
      UnaryArgs a{.op = Unary::tanh, .n = x_.numel(), .x = x_.raw(), .y = x_.raw()};
      while (!stop_) cuda::table.unary_forward(Exec{}, a), ++sweeps_;
    });
    while (sweeps_ < 2000) std::this_thread::yield();  // more than the stream takes without waiting, so that sweeps are on the device
  }
  ~Load() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;
  std::int64_t sweeps() const { return sweeps_; }

 private:
  Tensor x_;
  std::atomic<bool> stop_{false};
  std::atomic<std::int64_t> sweeps_{0};
  std::thread thread_;
};

struct Line {  // launches that are alike
  Row row;
  std::int64_t count = 0;
  double floor = 0, seconds = 0;  // of all
  Cost cost;                      // of one
};

}  // namespace

int main(int argc, char** argv) try {
  std::string config, dtype = "bf16";
  std::int64_t micro_batch = 8, context = 2048, steps = 10, repeat = 0;
  double limit = 0, bandwidth = 4.3e12;
  bool json = false;
  CLI::App app{"A training step on a GPU, whole and kernel by kernel"};
  app.add_option("--config", config, "config.json of the model")->required();
  app.add_option("--dtype", dtype, "fp32 or bf16 (default bf16)")->check(CLI::IsMember({"fp32", "bf16"}));
  app.add_option("--micro-batch", micro_batch, "Rows of a step (default 8)")->check(CLI::Range(1, 1 << 20));
  app.add_option("--context", context, "Tokens of a row (default 2048)")->check(CLI::Range(1, 1 << 24));
  app.add_option("--steps", steps, "Steps that are timed (default 10)")->check(CLI::Range(1, 10000));
  app.add_option("--limit", limit, "FLOP/s that floors count with (default 790e12, cuBLAS on an H200 in bf16, or 66.9e12, the data sheet in fp32)");
  app.add_option("--bandwidth", bandwidth, "Bytes/s that floors count with (default 4.3e12)");
  app.add_option("--repeat", repeat, "Nothing is timed: so many times the same step while another stream loads the GPU; all gradients must keep their bits")->check(CLI::Range(2, 10000));
  app.add_flag("--json", json, "JSON on stdout");
  CLI11_PARSE(app, argc, argv);

  if (limit == 0) limit = dtype == "bf16" ? 790e12 : 66.9e12;
  require_device(Device::cuda);
  const ModelConfig c = io::parse_model_config(io::parse_json(io::read_file(config), config), config).model;
  const StepShape shape{.micro_batch = micro_batch, .context = context, .bf16 = dtype == "bf16", .device = Device::cuda};
  const std::vector<Profile::Call> idle = step_launches(c, shape);

  Decoder model(c, Device::cuda, shape.bf16 ? DType::bf16 : DType::f32);
  model.initialize(1);
  AdamW optimizer(model.parameters(), {.lr = 1e-4, .weight_decay = 0.1, .clip = 1.0});
  StepRows rows;
  rows.rows = micro_batch;
  rows.context = context;
  Random random(1);
  for (std::int64_t i = 0; i < micro_batch * context; ++i) {
    rows.inputs.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(c.vocab_size))));
    rows.targets.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(c.vocab_size))));
    rows.positions.push_back(static_cast<std::int32_t>(i % context));
    rows.real.push_back(1);
  }
  StepOptions options;
  options.micro_batch = micro_batch;
  RouterCounts counts;

  // Nothing is timed before the path has told the same of a few tokens as the portable kernels, and the one by mma.sync.
  {
    StepRows few;
    few.rows = 1;
    few.context = std::min<std::int64_t>(context, 300);
    const auto n = static_cast<std::ptrdiff_t>(few.context);
    few.inputs.assign(rows.inputs.begin(), rows.inputs.begin() + n);
    few.targets.assign(rows.targets.begin(), rows.targets.begin() + n);
    few.positions.assign(rows.positions.begin(), rows.positions.begin() + n);
    few.real.assign(rows.real.begin(), rows.real.begin() + n);
    StepOptions one;
    one.micro_batch = 1;
    auto on = [&](const char* path, MicroGraphs* graphs = nullptr) {
      const With chosen("BAM_CUDA_PATH", path);
      RouterCounts own;
      const double l = accumulate_gradients(model, few, one, 0, own, nullptr, true, graphs).loss, norm = optimizer.gradient_norm();
      optimizer.zero_grad();
      return std::pair(l, norm);
    };
    const auto [loss, norm] = on("portable");
    const char* const wish = std::getenv("BAM_CUDA_PATH");
    std::vector<const char*> paths{"mma"};
    if (wish && std::string_view(wish) == "wgmma") paths.push_back("wgmma");  // whose fault would end the others' figures
    for (const char* path : paths) {
      const auto [l, g] = on(path);
      check(std::fabs(l / loss - 1) < 1e-2 && std::fabs(g / norm - 1) < 5e-2, "bench.path", "bench: BAM_CUDA_PATH=", path, " has the loss ", l, " and gradients of norm ", g, ", the portable kernels ", loss, " and ", norm);
      MicroGraphs graphs;
      for (int i = 0; i < 3; ++i) check(on(path, &graphs) == std::pair(l, g), "bench.graphs", "bench: BAM_CUDA_PATH=", path, ": a step that is recorded has other bits than its kernels one by one");
      const With one_stream("BAM_CUDA_BRANCHES", "off");
      check(on(path) == std::pair(l, g), "bench.branches", "bench: BAM_CUDA_PATH=", path, ": a step has other bits on one stream than on two");
    }
  }

  if (repeat > 0) {
    MicroGraphs graphs;
    std::vector<std::vector<float>> first;
    double first_loss = 0;
    Load load;
    const std::int64_t before = load.sweeps();
    for (std::int64_t i = 0; i < repeat; ++i) {
      RouterCounts own;
      const double l = accumulate_gradients(model, rows, options, 0, own, nullptr, true, &graphs).loss;
      if (i == 0) first_loss = l;
      check(l == first_loss, "bench.repeat", "bench: step ", i, " has the loss ", l, ", the first had ", first_loss);
      std::size_t p = 0;
      for (const Parameter& parameter : model.parameters()) {
        std::vector<float> gradient(static_cast<std::size_t>(parameter.numel()));
        parameter.read_gradient(gradient.data());
        if (i == 0) first.push_back(std::move(gradient));
        else check(std::memcmp(gradient.data(), first[p].data(), gradient.size() * sizeof(float)) == 0, "bench.repeat", "bench: step ", i, ": the gradient of ", parameter.name, " has other bits than that of the first step");
        ++p;
      }
      optimizer.zero_grad();
    }
    const std::int64_t sweeps = load.sweeps() - before;
    check(cuda::emulated() || sweeps > 0, "bench.repeat", "bench: nothing ran beside the steps");
    std::printf("%lld steps with the same loss and gradients, to the bit, beside %lld sweeps over 256 MiB on another stream\n", static_cast<long long>(repeat), static_cast<long long>(sweeps));
    return 0;
  }

  double loss = 0;
  std::int64_t done = 0;
  auto step = [&](MicroGraphs* graphs) {
    const auto start = std::chrono::steady_clock::now();
    loss = accumulate_gradients(model, rows, options, done++, counts, nullptr, true, graphs).loss;
    optimizer.step();
    bam::detail::synchronize(Device::cuda);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  auto median_step = [&](MicroGraphs* graphs) {
    for (int i = 0; i < 3; ++i) step(graphs);
    std::vector<double> times;
    for (std::int64_t i = 0; i < steps; ++i) times.push_back(step(graphs));
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  };
  auto median_recorded = [&] {
    MicroGraphs graphs;
    return median_step(&graphs);
  };
  const double one_by_one = median_step(nullptr);
  double one_stream = 0;
  {
    const With off("BAM_CUDA_BRANCHES", "off");
    one_stream = median_recorded();
  }
  const double median = median_recorded();
  check(loss - loss == 0, "bench.loss", "bench: the loss is ", loss);

  Profile record;
  record.list = true;
  profile() = &record;
  step(nullptr);
  profile() = nullptr;
  check(record.calls.size() == idle.size(), "bench.launches", "bench: ", record.calls.size(), " launches, ", idle.size(), " expected");
  std::vector<std::pair<std::string, Line>> lines;
  double floor = 0;
  for (std::size_t i = 0; i < idle.size(); ++i) {
    check(record.calls[i].row == idle[i].row, "bench.launches", "bench: launch ", i, " is ", name_of(record.calls[i].row), ", expected ", name_of(idle[i].row));
    const std::string name = str(name_of(idle[i].row), "  ", idle[i].cost.shape);
    auto it = std::find_if(lines.begin(), lines.end(), [&](auto& l) { return l.first == name; });
    if (it == lines.end()) it = lines.insert(lines.end(), {name, {}});
    const double least = std::max(idle[i].cost.flops / limit, idle[i].cost.bytes / bandwidth);
    it->second.row = idle[i].row;
    ++it->second.count;
    it->second.floor += least;
    it->second.seconds += record.calls[i].seconds;
    it->second.cost = idle[i].cost;
    floor += least;
  }
  std::sort(lines.begin(), lines.end(), [](auto& a, auto& b) { return a.second.seconds > b.second.seconds; });
  const double tokens = static_cast<double>(micro_batch * context), flops = static_cast<double>(count_flops(c, context).train_per_token) * tokens;
  if (json) {
    io::Json list = io::Json::array({});
    for (auto& [name, l] : lines)
      list.push_back(io::Json::object({{"kernel", name_of(l.row)}, {"shape", l.cost.shape}, {"count", l.count}, {"flops", l.cost.flops}, {"bytes", l.cost.bytes}, {"floor_seconds", l.floor}, {"seconds", l.seconds}}));
    std::cout << io::dump(io::Json::object({{"device", describe(Device::cuda)}, {"dtype", dtype}, {"micro_batch", micro_batch}, {"context", context}, {"tokens_per_second", tokens / median}, {"step_seconds", median}, {"step_seconds_one_by_one", one_by_one}, {"step_seconds_one_stream", one_stream},
                                            {"floor_seconds", floor}, {"model_flops_per_second", flops / median}, {"peak_bytes", Allocator::get(Device::cuda).stats().peak}, {"loss", loss}, {"launches", std::move(list)}}), 1)
              << "\n";
    return 0;
  }
  std::printf("%s\n%.0f tokens/s, %.2f ms a step as a graph, %.2f ms on one stream, %.2f ms with its kernels launched one by one, floor %.2f ms (%.0f%%), %.1f TFLOP/s of the model, peak %.2f GiB, loss %.4f\n", describe(Device::cuda).c_str(), tokens / median, 1e3 * median, 1e3 * one_stream, 1e3 * one_by_one, 1e3 * floor, 100 * floor / median,
              flops / median / 1e12, static_cast<double>(Allocator::get(Device::cuda).stats().peak) / (1 << 30), loss);
  std::printf("each launch alone, with the wait for it:\n%8s %12s %12s %8s  kernel\n", "times", "us each", "floor us", "share");
  for (auto& [name, l] : lines)
    std::printf("%8lld %12.1f %12.1f %7.0f%%  %s\n", static_cast<long long>(l.count), 1e6 * l.seconds / static_cast<double>(l.count), 1e6 * l.floor / static_cast<double>(l.count), 100 * l.floor / l.seconds, name.c_str());
} catch (const Error& e) {
  std::cerr << "cuda_step: " << e.what() << "\n";
  return static_cast<int>(e.kind());
}
