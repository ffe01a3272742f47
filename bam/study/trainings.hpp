// What the studies share: what they are told from outside, how a signal ends them, and one training in a run folder of its own.
#pragma once
#include <array>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

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

// What a run has found: its end, its figures, its curve (with prune). The rest can be made again from them, bit for bit.
inline constexpr std::array<std::string_view, 5> found_files{"done.json", "eval.json", "choice.json", "completions.json", "curve.json"};

// Steps and nats per token of a run's loss, at most 80 points, each the mean of the steps since the last.
inline io::Json loss_curve(const std::string& folder) {
  if (const std::string kept = folder + "/curve.json"; io::exists(kept)) return io::parse_json(io::read_file(kept), kept);
  std::vector<std::pair<double, double>> points;
  const std::string file = folder + "/metrics.jsonl";
  for (const io::Json& line : io::parse_json_lines(io::read_file(file), file))
    if (line.contains("loss")) points.emplace_back(line.at("step").as_double(file), line.at("nll").as_double(file));
  std::vector<double> steps, nll;
  const std::size_t group = std::max<std::size_t>(1, points.size() / 80);
  for (std::size_t i = 0; i + group <= points.size(); i += group) {
    double sum = 0;
    for (std::size_t k = i; k < i + group; ++k) sum += points[k].second;
    steps.push_back(points[i + group - 1].first);
    nll.push_back(sum / static_cast<double>(group));
  }
  return io::Json::object({{"steps", io::Json::array_of(steps)}, {"nll", io::Json::array_of(nll)}});
}

// Whether a finished run still has the weights it ended with.
inline bool has_weights(const std::string& folder, std::int64_t steps) { return io::exists(folder + "/checkpoints/" + train::detail::step_folder(steps) + "/model.safetensors"); }

// Error(input): a finished run was trained again, for its weights, and these are others.
inline void check_same_end(const std::string& folder, const std::string& hash) {
  const std::string end = folder + "/done.json", before(io::parse_json(io::read_file(end), end).at("hash").as_string(end));
  if (before != hash) fail(ErrorKind::input, "study.changed", folder, ": trained again, it ends in ", hash, ", not in ", before, " as before; another version made it, start in a new folder");
}

// Removes a folder or file; the bytes that its files had.
inline std::uintmax_t remove_counted(const std::string& path) {
  namespace fs = std::filesystem;
  std::uintmax_t bytes = 0;
  std::error_code ec;
  if (fs::is_directory(path, ec)) {
    for (const auto& entry : fs::recursive_directory_iterator(path, ec))
      if (entry.is_regular_file(ec)) bytes += entry.file_size(ec);
  } else {
    bytes = fs::file_size(path, ec);
    if (ec) return 0;
  }
  fs::remove_all(path, ec);
  if (ec) fail(ErrorKind::io, "study.prune", path, ": cannot remove: ", ec.message());
  return bytes;
}

// Of a run that nothing needs any more, only found_files stay. Returns the bytes given back.
inline std::uintmax_t prune_run(const std::string& folder) {
  namespace fs = std::filesystem;
  if (!io::exists(folder + "/done.json")) return 0;
  if (io::exists(folder + "/metrics.jsonl") && !io::exists(folder + "/curve.json")) io::write_file_atomic(folder + "/curve.json", io::dump(loss_curve(folder)) + "\n");
  std::vector<std::string> gone;
  for (const auto& entry : fs::directory_iterator(folder))
    if (std::find(found_files.begin(), found_files.end(), entry.path().filename().string()) == found_files.end()) gone.push_back(entry.path().string());
  std::uintmax_t bytes = 0;
  for (const std::string& path : gone) bytes += remove_counted(path);
  return bytes;
}

}  // namespace bam::study
