// What the studies of the command line share: their flags, how they are run, stopped or only read, and what they leave in their folder.
#pragma once
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bam/cpu/peak.hpp"
#include "bam/study/tables.hpp"
#include "bam/study/trainings.hpp"
#include "flags.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "verbs.hpp"

namespace bam::app {

struct StudyFlags {
  std::string name, file, preset, data;  // name: of the study, "bam" or "clt"
  bool plan = false, report = false, prune = false;

  bool starts_nothing() const { return report || prune; }
  std::string where() const { return file.empty() ? "preset " + preset : file; }
  std::string command() const { return str("bam study ", name, " ", preset.empty() ? file : "--preset " + preset, data.empty() ? "" : " --data " + data); }
};

inline void add_study_flags(CLI::App& verb, StudyFlags& f, const char* what) {
  f.name = verb.get_name();
  verb.add_option("FILE.toml", f.file, what);
  choice_flag(verb, "--preset", f.preset, {"demo"}, "A built-in study instead");
  verb.add_flag("--plan", f.plan, "Print runs, FLOPs and hours; start nothing");
  verb.add_flag("--report", f.report, "Write tables and report of what is finished; start nothing")->excludes("--plan");
  verb.add_flag("--prune", f.prune, "Remove weights and logs that no unfinished run needs, then as --report")->excludes("--plan")->excludes("--report");
}

// The study's file, and the keys that flags set.
inline std::pair<std::string, std::vector<std::string>> read_study(const Common& common, const StudyFlags& f, const char* demo) {
  if (f.file.empty() == f.preset.empty()) fail(ErrorKind::usage, "flag.missing", "bam study ", f.name, ": wanted FILE.toml or --preset demo, one of the two");
  if (common.out.empty() && !f.plan) fail(ErrorKind::usage, "flag.missing", "bam study ", f.name, ": wanted --out DIR, or --plan");
  std::vector<std::string> set = common.set;
  if (common.seed) set.push_back(str("study.seed=", *common.seed));
  return {f.file.empty() ? demo : io::read_file(f.file, std::uint64_t{1} << 24), set};
}

// runs: how many there will be.
inline study::StudyHooks study_hooks(const Common& common, const StudyFlags& f, std::int64_t context, std::size_t runs) {
  const double peak = f.starts_nothing() || default_device() != Device::cpu ? 0 : cpu::peak_flops(cpu::isa(), 100);
  study::StudyHooks hooks;
  hooks.flags = BAM_BUILD_FLAGS;
  hooks.peak_flops = peak;
  hooks.note = [&common](const std::string& t) { note(common, t); };
  hooks.stop_signal = [] { return static_cast<int>(stop_signal); };
  hooks.begin = [&common, peak, context, runs](const std::string& name, std::int64_t finished, const ModelConfig& model, std::int64_t steps) {
    note(common, str("run ", finished + 1, " of ", runs, ": ", name, ", ", grouped(count_parameters(model).total), " parameters, ", steps, " steps"));
    auto progress = std::make_shared<Progress>(common, static_cast<double>(count_flops(model, context).train_per_token), peak);
    return [progress](std::int64_t step, std::int64_t of, const StepResult& r, double lr, double rate) { (*progress)(step, of, r, lr, rate); };
  };
  return hooks;
}

// Runs what is missing; with --report and --prune nothing, but the folder must hold this study.
template <class Study>
void run_study(Study&& study, const Common& common, const StudyFlags& f) {
  if (f.starts_nothing()) {
    if (!io::is_folder(common.out + "/runs")) fail(ErrorKind::input, "study.none", common.out, ": wanted the folder of a study, there is no runs/ in it");
    if (!f.prune) return study.check_settings();
    const std::uintmax_t bytes = study.prune();
    return note(common, str("gave back ", grouped(static_cast<std::int64_t>(bytes)), " bytes"));
  }
  catch_signals();
  try {
    study.execute();
  } catch (const study::Stopped& stopped) {
    say(str("stopped by signal ", stopped.signal, " with everything saved; the same command continues\n"));
    throw ExitCode{128 + stopped.signal};
  }
}

// results.json, ledger.json, tables and report of a study, and the short table on the terminal. found: its Results.
template <class Results, class Report, class Summary>
void write_study(const Common& common, const StudyFlags& f, Results&& found, const std::vector<study::Table>& tables, Report report, Summary summary) {
  io::Json results = found.json(), ledger = found.ledger();
  results.set("preset", f.preset);
  results.set("command", f.command());
  io::write_file_atomic(common.out + "/results.json", io::dump(results, 1) + "\n");
  io::write_file_atomic(common.out + "/ledger.json", io::dump(ledger, 1) + "\n");
  study::write_tables(common.out + "/tables", results, ledger, tables);
  io::write_file_atomic(common.out + "/report.html", report(results, ledger));
  if (common.json) return print_json(results);
  print(summary(results) + str("hash ", results.at("hash").as_string("hash"), "\n", common.out, "/report.html has the whole of it\n"));
}

void add_study_clt(CLI::App& studies, Common& common);  // study_clt.cpp

}  // namespace bam::app
