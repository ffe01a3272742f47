// bam train: pre-training, continued pre-training, mixture training and fine-tuning from a run file.
#include "bam/cpu/peak.hpp"
#include "bam/train/run.hpp"
#include "flags.hpp"
#include "machine.hpp"
#include "output.hpp"
#include "profile.hpp"
#include "progress.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct TrainFlags {
  std::string run;
  bool resume = false, profile = false;
  std::optional<std::int64_t> stop_at;
};

void run(const Common& common, const TrainFlags& f) {
  if (common.out.empty()) fail(ErrorKind::usage, "flag.missing", "bam train: wanted --out RUN");
  train::RunConfig config = train::load_run_config(f.run, common.run_settings());
  io::ConfigFile model = io::read_model_config(config.model.init_from.empty() ? config.model.config : io::resolve_model_folder(config.model.init_from) + "/config.json");
  ParameterCount count = count_parameters(model.model);
  StepShape shape;
  shape.tokens_per_step = config.train.batch * config.train.context;
  shape.micro_batch = config.train.micro_batch;
  shape.context = config.train.context;
  shape.dropout = config.train.dropout > 0;
  shape.bf16 = common.bf16();
  shape.bf16_moments = config.train.bf16_moments;
  shape.device = default_device();
  MemoryEstimate memory = estimate_memory(model.model, shape);
  const Device device = default_device();
  const std::int64_t available = device == Device::cpu ? memory_available() : memory_available_on(device);
  note(common, str("model: ", grouped(count.total), " parameters, ", grouped(count.active), " active; ", config.train.steps > 0 ? str(config.train.steps, " steps") : str(config.train.epochs, " epochs in steps"), " of ", grouped(shape.tokens_per_step),
                   " tokens; estimated memory ", bytes_text(memory.peak), " of ", bytes_text(available), "; ", device == Device::cpu ? str(cpu::name_of(cpu::isa()), ", ", threads(), " threads") : str(name_of(device)), "; out ", common.out));
  if (memory.peak > available && !common.force)
    fail(ErrorKind::limit, "memory.estimate", "train: the run needs about ", bytes_text(memory.peak), ", ", bytes_text(available), " are available; lower micro_batch or context, set recompute = true or moments = \"bf16\", or --force");

  double limit = device != Device::cpu || (common.quiet && !f.profile) ? 0 : cpu::peak_flops(cpu::isa(), 100);
  Progress progress(common, static_cast<double>(count_flops(model.model, config.train.context).train_per_token), limit);
  Profile profile_data;
  if (f.profile) profile() = &profile_data;
  train::RunEvents events;
  events.note = [&](const std::string& text) { note(common, text); };
  events.step = std::ref(progress);
  events.stop_signal = [] { return static_cast<int>(stop_signal); };
  catch_signals();
  auto start = std::chrono::steady_clock::now();
  train::Run training(config, {common.out, f.resume, common.force, f.stop_at, version, BAM_BUILD_FLAGS}, events);
  train::RunResult r = training.execute();
  profile() = nullptr;
  if (f.profile) say(profile_table(profile_data, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), limit));
  if (common.json) {
    io::Json j = io::Json::object();
    j.set("steps", r.steps);
    j.set("final_loss", r.final_loss);
    j.set("final_nll", r.final_nll);
    j.set("peak_bytes", r.peak_bytes);
    j.set("hash", r.hash);
    print_json(j);
  } else {
    print(str("steps ", r.steps, "  loss ", r.final_loss, "  nll ", r.final_nll, "  peak ", bytes_text(r.peak_bytes), "  hash ", r.hash, "\n"));
  }
  if (r.stopped_by) {
    say(str("stopped by signal ", r.stopped_by, " with a checkpoint saved; --resume continues\n"));
    throw ExitCode{128 + r.stopped_by};
  }
}

}  // namespace

void add_train(CLI::App& app, Common& common) {
  auto f = std::make_shared<TrainFlags>();
  CLI::App* verb = app.add_subcommand("train", "Pre-training, continued pre-training, mixture training and fine-tuning from one run file");
  verb->add_option("RUN.toml", f->run, "The run file")->required();
  verb->add_flag("--resume", f->resume, "Continue from the newest complete checkpoint in --out, if any");
  integer_flag<std::int64_t>(*verb, "--stop-at", f->stop_at, 0, INT64_MAX, "Save and stop after this step; the schedule stays that of the whole run");
  verb->add_flag("--profile", f->profile, "Time per kernel and its share of the limit, at the end");
  verb->callback([&common, f] { common.run = [&common, f] { run(common, *f); }; });
}

}  // namespace bam::app
