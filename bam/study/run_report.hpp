// The report of one training run, or of several compared: one HTML page that needs no network, from the run folders alone.
#pragma once
#include <algorithm>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "../io/file.hpp"
#include "report_frame.hpp"
#include "report_page.hpp"

namespace bam::study {

namespace report {

// A run folder (docs/formats.md, section 6), as far as it has come.
struct TrainingRun {
  struct Curve {
    std::vector<double> tokens, nll;
  };
  std::string settings, hash = "";  // settings: resolved.toml
  std::int64_t steps = 0, starts = 0;
  double tokens = 0, seconds = 0, peak_lr = 0, final_nll = nan, tokens_per_s = nan;
  bool ended = false;
  Curve training;
  std::map<std::string, Curve> validation;
  Json manifest = Json::object();
};

// Error(input): no folder of a run.
inline TrainingRun read_run(const std::string& folder) {
  const std::string file = folder + "/metrics.jsonl", events = folder + "/events.jsonl", settings = folder + "/resolved.toml", manifest = folder + "/manifest.json";
  if (!io::exists(file)) fail(ErrorKind::input, "report.run", printable(folder, 4096), ": wanted the folder of a run with its metrics.jsonl, found none");
  TrainingRun run;
  if (io::exists(settings)) run.settings = io::read_file(settings);
  if (io::exists(manifest)) run.manifest = io::parse_json(io::read_file(manifest), manifest);
  std::vector<double> speeds;
  for (const Json& line : io::parse_json_lines(io::read_file(file), file)) {
    if (line.contains("eval")) {
      TrainingRun::Curve& curve = run.validation[text(line, "eval")];
      curve.tokens.push_back(run.tokens);
      curve.nll.push_back(number(line, "nll"));
      continue;
    }
    run.steps = line.at("step").as_int(file);
    run.tokens += number(line, "targets");
    run.final_nll = number(line, "nll");
    run.peak_lr = std::max(run.peak_lr, number(line, "lr"));
    if (const double s = number(line, "seconds"); std::isfinite(s)) run.seconds += s;
    speeds.push_back(number(line, "tokens_per_s"));
    run.training.tokens.push_back(run.tokens);
    run.training.nll.push_back(run.final_nll);
  }
  if (!speeds.empty()) {
    std::nth_element(speeds.begin(), speeds.begin() + static_cast<std::ptrdiff_t>(speeds.size() / 2), speeds.end());
    run.tokens_per_s = speeds[speeds.size() / 2];
  }
  if (io::exists(events))
    for (const Json& event : io::parse_json_lines(io::read_file(events), events)) {
      const std::string what = text(event, "event");
      run.starts += what == "start" || what == "resume";
      run.ended = what == "end";
      if (run.ended) run.hash = text(event, "detail");
    }
  return run;
}

// At most 200 points, each the mean of the steps since the last.
inline Json curve_points(const TrainingRun::Curve& c) {
  const std::size_t n = c.tokens.size(), step = std::max<std::size_t>(1, (n + 199) / 200);
  Json points = Json::array();
  for (std::size_t i = 0; i < n; i += step) {
    Mean y;
    const std::size_t end = std::min(n, i + step);
    for (std::size_t k = i; k < end; ++k) y.add(c.nll[k]);
    if (y.n) points.push_back(Json::object({{"x", std::round(c.tokens[end - 1])}, {"y", std::round(y.value() * 1e5) / 1e5}}));
  }
  return points;
}

inline constexpr const char* run_lead_text = R"(<p class=lead>Loss of training and validation, what was run and with which settings, from the folders of the runs alone.</p>
)";
inline constexpr const char* run_curves_text = R"(<p>Nats per token over trained tokens. Training loss is the mean of the steps since the last point; validation sets are dashed. Lines of one run share a colour.
A click on a name in the legend hides or shows its line.</p>
)";

}  // namespace report

// Runs by the parts of their paths in which they differ; one run by its folder's name.
inline std::vector<std::string> run_names(const std::vector<std::string>& folders) {
  std::vector<std::filesystem::path> paths;
  for (const std::string& f : folders) {
    paths.push_back(std::filesystem::absolute(f).lexically_normal());
    if (!paths.back().has_filename()) paths.back() = paths.back().parent_path();
  }
  std::filesystem::path common = paths[0].parent_path();
  for (const auto& p : paths)
    while (common.has_relative_path() && p.lexically_relative(common).string().starts_with("..")) common = common.parent_path();
  std::vector<std::string> names;
  for (const auto& p : paths) names.push_back(p.lexically_relative(common).string());
  return names;
}

// Error(input): a folder that is none of a run.
inline std::string run_report(const std::vector<std::string>& folders, std::string_view chart_js) {
  using namespace report;
  Json series = Json::array();
  std::string runs, sets, details;
  int colour = 0;
  const std::vector<std::string> names = run_names(folders);
  for (std::size_t f = 0; f < folders.size(); ++f) {
    const TrainingRun run = read_run(folders[f]);
    const std::string name = esc(names[f]);
    series.push_back(Json::object({{"label", names[f]}, {"style", colour}, {"hidden", false}, {"points", curve_points(run.training)}}));
    for (const auto& [set, curve] : run.validation) {
      series.push_back(Json::object({{"label", str(names[f], ", ", set)}, {"style", colour + 7}, {"hidden", false}, {"points", curve_points(curve)}}));
      const auto best = std::min_element(curve.nll.begin(), curve.nll.end());
      sets += row(name, words(set), td(fixed(curve.nll.back(), 4)), td(fixed(*best, 4)), td(si(curve.tokens[static_cast<std::size_t>(best - curve.nll.begin())])));
    }
    colour = (colour + 1) % 7;
    runs += row(name, td(str(run.steps)), td(si(run.tokens)), td(fixed(run.final_nll, 4)), td(str(run.peak_lr)), td(fixed(run.seconds > 0 ? run.seconds / 60 : nan, 1)), td(si(run.tokens_per_s)), td(str(run.starts)),
                run.ended ? td(str("<code>", esc(run.hash), "</code>"), "class=words") : td("not at its end", "class=empty"));
    details += fold(name, str("<h4>Settings</h4><pre>", run.settings.empty() ? "not recorded" : cut(run.settings, 20000), "</pre><h4>Build and data</h4><pre>", cut(io::dump(run.manifest, 1), 20000), "</pre>"));
  }
  const Json charts = Json::object({{"curves", Json::object({{"series", series}, {"phases", Json::array()}, {"end", nullptr}, {"x", "trained tokens"}, {"y", "nats per token"}})}});
  const std::string title = folders.size() == 1 ? "Training run " + names[0] : str(folders.size(), " training runs");
  return page(title,
              str("<header><h1>", esc(title), "</h1>\n", run_lead_text, "</header>\n",
                  section("runs", "1. Runs", body("Runs", heads({"run", "steps", "trained tokens", "last nats per token", "highest learning rate", "minutes", "tokens/s, median", "starts", "hash"}), runs)),
                  section("curves", "2. Loss", str(run_curves_text, figure("Loss over tokens", "curves_all", "Loss over tokens", "tall", !chart_js.empty()),
                                                   sets.empty() ? missing("no validation set; add [[eval]] and eval_every to the run file.")
                                                                : body("Validation", heads({"run", "set", "last nats per token", "best", "at tokens"}), sets))),
                  section("settings", "3. Settings", details)),
              charts, study_charts, chart_js);
}

}  // namespace bam::study
