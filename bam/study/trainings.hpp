// What the studies share: what they are told from outside, how a signal ends them, and one training in a run folder of its own.
#pragma once
#include <filesystem>
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
  double peak_flops = 0;  // FLOP/s of the processor, for the ledger; 0: not known, or it is not what computes
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

// Steps and nats per token of a run's loss, at most 80 points, each the mean of the steps since the last.
inline io::Json loss_curve(const std::string& folder) {
  if (const std::string kept = folder + "/curve.json"; io::exists(kept)) return io::parse_json(io::read_file(kept), kept);
  std::vector<std::pair<double, double>> points;
  const std::string file = folder + "/metrics.jsonl";
  for (const io::Json& line : io::parse_json_lines(io::read_file(file), file))
    if (line.contains("loss")) points.emplace_back(line.at("step").as_double(file), line.at("nll").as_double(file));
  std::vector<double> steps, nll;
  const std::size_t group = std::max<std::size_t>(1, (points.size() + 79) / 80);
  for (std::size_t i = 0; i + group <= points.size(); i += group) {
    double sum = 0;
    for (std::size_t k = i; k < i + group; ++k) sum += points[k].second;
    steps.push_back(points[i + group - 1].first);
    nll.push_back(sum / static_cast<double>(group));
  }
  return io::Json::object({{"steps", io::Json::array_of(steps)}, {"nll", io::Json::array_of(nll)}});
}

// Error(input): the replicate whose config.json this is, where there is one, was of another shape.
inline void check_shape(const std::string& file, const ModelConfig& model, const std::string& size) {
  if (!io::exists(file)) return;
  const io::ConfigFile was = io::read_model_config(file);
  io::ConfigFile is = was;
  is.model = model;
  if (io::dump(io::model_config_json(was)) != io::dump(io::model_config_json(is))) fail(ErrorKind::input, "study.changed", file, ": size ", size, " had another shape; give the new one another name");
}

// A finished run whose weights were pruned is trained again where they are needed. The marker stands until they are known to be the old ones.
inline std::string again_marker(const std::string& folder) { return folder + "/.again"; }
// Whether a finished run still has the weights it ended with.
inline bool has_weights(const std::string& folder, std::int64_t steps) {
  return io::exists(folder + "/checkpoints/" + train::detail::step_folder(steps) + "/model.safetensors") && !io::exists(again_marker(folder));
}
inline void begin_again(const std::string& folder, const StudyHooks& hooks, const std::string& name) {
  io::write_file_atomic(again_marker(folder), "");
  if (hooks.note) hooks.note(name + " is trained again for its weights");
}

// Removes a folder or file, of which a kill leaves at most a hidden rest that the next call sweeps; the bytes that its files had.
inline std::uintmax_t remove_counted(const std::string& path) {
  namespace fs = std::filesystem;
  const fs::path hidden = fs::path(path).parent_path() / ".pruned";
  std::uintmax_t bytes = 0;
  std::error_code ec;
  fs::remove_all(hidden, ec);
  if (!fs::exists(fs::symlink_status(path, ec))) return 0;
  if (fs::is_directory(path, ec)) {
    for (const auto& entry : fs::recursive_directory_iterator(path, ec))
      if (entry.is_regular_file(ec)) bytes += entry.file_size(ec);
  } else {
    bytes = fs::file_size(path, ec);
  }
  fs::rename(path, hidden, ec);
  if (!ec) fs::remove_all(hidden, ec);
  if (ec) fail(ErrorKind::io, "study.prune", path, ": cannot remove: ", ec.message());
  return bytes;
}

// Error(input): a finished run was trained again, for its weights, and these are others; they go.
inline void check_same_end(const std::string& folder, const std::string& hash) {
  const std::string end = folder + "/done.json", before(io::parse_json(io::read_file(end), end).at("hash").as_string(end));
  if (before != hash) {
    remove_counted(folder + "/checkpoints");
    fail(ErrorKind::input, "study.changed", folder, ": trained again, it ends in ", hash, ", not in ", before, " as before; another version made it, start in a new folder");
  }
  std::error_code ignored;
  std::filesystem::remove(again_marker(folder), ignored);
}

// What a run writes and no result stands on goes; its curve stays, shortened. Returns the bytes given back.
inline std::uintmax_t prune_run(const std::string& folder) {
  if (!io::exists(folder + "/done.json")) return 0;
  if (io::exists(folder + "/metrics.jsonl") && !io::exists(folder + "/curve.json")) io::write_file_atomic(folder + "/curve.json", io::dump(loss_curve(folder)) + "\n");
  std::uintmax_t bytes = 0;
  for (const char* name : {"checkpoints", "metrics.jsonl", "events.jsonl", "config.toml", "resolved.toml", "manifest.json", "run.lock"}) bytes += remove_counted(folder + "/" + name);
  return bytes;
}

}  // namespace bam::study
