// bam train: pre-training, continued pre-training and mixture training from a run file.
#include <fmt/format.h>
#include <unistd.h>

#include <csignal>

#include "bam/cpu/peak.hpp"
#include "bam/train/run.hpp"
#include "flags.hpp"
#include "machine.hpp"
#include "output.hpp"
#include "profile.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct Flags {
  std::string run;
  bool resume = false, profile = false;
  std::optional<std::int64_t> stop_at;
};

// The first signal asks for a save; the second, with the default action back, ends the process.
volatile std::sig_atomic_t stop_signal = 0;
void on_signal(int s) {
  stop_signal = s;
  std::signal(s, SIG_DFL);
}

std::string duration(double seconds) {
  auto s = static_cast<std::int64_t>(seconds + 0.5);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

// One live line on a terminal, at most ten times a second; plain lines elsewhere, each twentieth of the run.
class Progress {
 public:
  Progress(const Common& common, double flops_per_token, double limit) : common_(common), flops_(flops_per_token), limit_(limit) {}
  void operator()(std::int64_t step, std::int64_t steps, const StepResult& r, double lr, double rate) {
    if (common_.quiet) return;
    auto now = std::chrono::steady_clock::now();
    if (first_ < 0) {
      first_ = step - 1;
      start_ = now;
    }
    double elapsed = std::chrono::duration<double>(now - start_).count();
    double per_step = step > first_ + 1 ? elapsed / static_cast<double>(step - first_ - 1) : 0;
    bool live = isatty(2);
    std::int64_t every = std::max<std::int64_t>(1, steps / 20);
    if (live ? step != steps && std::chrono::duration<double>(now - last_).count() < 0.1 : step % every != 0 && step != steps && step != first_ + 1) return;
    last_ = now;
    say(fmt::format("{}step {}/{}  loss {:.4f}  nll {:.4f}  |g| {:.3f}  lr {:.2e}  {:.0f} tok/s  {:.0f}% of peak  ETA {}{}", live ? "\r\033[K" : "", step, steps, r.loss, r.nll,
                    r.gradient_norm, lr, rate, limit_ > 0 ? 100 * rate * flops_ / limit_ : 0.0, per_step > 0 ? duration(per_step * static_cast<double>(steps - step)) : "?",
                    live && step != steps ? "" : "\n"));
  }

 private:
  const Common& common_;
  double flops_, limit_;
  std::int64_t first_ = -1;
  std::chrono::steady_clock::time_point start_, last_;
};

void run(const Common& common, const Flags& f) {
  if (common.out.empty()) fail(ErrorKind::usage, "flag.missing", "bam train: wanted --out RUN");
  if (common.bf16()) fail(ErrorKind::usage, "dtype.bf16", "--dtype bf16: this build computes in fp32 only; leave the flag out");
  std::vector<std::string> set = common.set;
  if (common.seed) set.push_back(str("train.seed=", *common.seed));
  train::RunConfig config = train::load_run_config(f.run, set);
  io::ConfigFile model = io::read_model_config(config.model.init_from.empty() ? config.model.config : io::resolve_model_folder(config.model.init_from) + "/config.json");
  ParameterCount count = count_parameters(model.model);
  StepShape shape;
  shape.tokens_per_step = config.train.batch * config.train.context;
  shape.micro_batch = config.train.micro_batch;
  shape.context = config.train.context;
  MemoryEstimate memory = estimate_memory(model.model, shape);
  std::int64_t available = memory_available();
  note(common, str("model: ", grouped(count.total), " parameters, ", grouped(count.active), " active; ", config.train.steps, " steps of ", grouped(shape.tokens_per_step),
                   " tokens; estimated memory ", bytes_text(memory.peak), " of ", bytes_text(available), "; ", cpu::name_of(cpu::isa()), ", ", threads(), " threads; out ", common.out));
  if (memory.peak > available && !common.force)
    fail(ErrorKind::limit, "memory.estimate", "train: the run needs about ", bytes_text(memory.peak), ", ", bytes_text(available), " are available; lower micro_batch or context, set recompute = true, or --force");

  double limit = common.quiet && !f.profile ? 0 : cpu::peak_flops(cpu::isa(), 100);
  Progress progress(common, static_cast<double>(count_flops(model.model, config.train.context).train_per_token), limit);
  Profile profile_data;
  if (f.profile) profile() = &profile_data;
  train::RunEvents events;
  events.note = [&](const std::string& text) { note(common, text); };
  events.step = std::ref(progress);
  events.stop_signal = [] { return static_cast<int>(stop_signal); };
  for (int s : {SIGINT, SIGTERM, SIGHUP}) std::signal(s, on_signal);
  auto start = std::chrono::steady_clock::now();
  train::Run training(config, {common.out, f.resume, common.force, f.stop_at, version}, events);
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
  auto f = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("train", "Pre-training, continued pre-training and mixture training from one run file");
  verb->add_option("RUN.toml", f->run, "The run file")->required();
  verb->add_flag("--resume", f->resume, "Continue from the newest complete checkpoint in --out, if any");
  integer_flag<std::int64_t>(*verb, "--stop-at", f->stop_at, 0, INT64_MAX, "Save and stop after this step; the schedule stays that of the whole run");
  verb->add_flag("--profile", f->profile, "Time per kernel and its share of the limit, at the end");
  verb->callback([&common, f] { common.run = [&common, f] { run(common, *f); }; });
}

}  // namespace bam::app
