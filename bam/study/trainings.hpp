// What the studies share: what they are told from outside, how a signal ends them, and one training in a run folder of its own.
#pragma once
#include <functional>
#include <optional>
#include <string>

#include "../train/run.hpp"

namespace bam::study {

// Thrown when a signal stopped the study, with everything saved.
struct Stopped {
  int signal;
};

// What a run calls after each step: step, of all, its result, learning rate, tokens per second.
using StepEvent = std::function<void(std::int64_t, std::int64_t, const StepResult&, double, double)>;

struct StudyHooks {
  std::string flags;  // of the build, for the manifests
  std::function<void(const std::string&)> note;
  std::string corpus;  // names the generator's output: another version of it is another corpus
  std::function<void(const std::string& folder)> generate;  // writes the generated corpus there, whole or not at all
  // Called at the start of each run: its name, how many are done, its model and steps (0: not known before its data are read).
  std::function<StepEvent(const std::string&, std::int64_t, const ModelConfig&, std::int64_t)> begin;
  double peak_flops = 0;  // FLOP/s of the machine, for the ledger
  std::function<int()> stop_signal;
};

// Goes on with the training that `toml` describes, in `folder`, to its end or to stop_at. Throws Stopped.
inline train::RunResult run_training(const std::string& toml, const std::string& folder, const StudyHooks& hooks, StepEvent step, const std::string& version, train::SourceCache* sources,
                                     std::optional<std::int64_t> stop_at = std::nullopt) {
  train::RunEvents events;
  events.note = [&](const std::string& text) {
    if (text.starts_with("warning") && hooks.note) hooks.note(text);  // the rest is told by begin
  };
  events.step = std::move(step);
  events.stop_signal = hooks.stop_signal;
  train::RunOptions options;
  options.out = folder;
  options.resume = true;
  options.version = version;
  options.flags = hooks.flags;
  options.sources = sources;
  options.stop_at = stop_at;
  train::RunResult result = train::Run(train::parse_run_config(toml, folder + "/run.toml"), options, events).execute();
  if (result.stopped_by) throw Stopped{result.stopped_by};
  return result;
}

// Of all steps of a run, from its metrics.
inline double training_seconds(const std::string& folder) {
  double sum = 0;
  for (const io::Json& line : io::parse_json_lines(io::read_file(folder + "/metrics.jsonl"), folder))
    if (const io::Json* s = line.find("seconds")) sum += s->as_double(folder);
  return sum;
}

}  // namespace bam::study
