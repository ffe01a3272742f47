// bam study clt: cross-lingual transfer from one file, resumable, to tables and one report.
#include "bam/cpu/peak.hpp"
#include "bam/study/transfer_plan.hpp"
#include "bam/study/transfer_report.hpp"
#include "bam/study/transfer_results.hpp"
#include "bam/study/transfer_summary.hpp"
#include "chart_js.hpp"
#include "flags.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

namespace transfer = study::transfer;

struct TransferFlags {
  std::string file, preset;
  bool plan = false, report = false;
};

void print_transfer_plan(const Common& common, const std::vector<transfer::Estimate>& list) {
  transfer::Estimate all;
  for (const transfer::Estimate& e : list) {
    all.tokens += e.tokens;
    all.flops += e.flops;
    all.seconds += e.seconds;
    all.eval_tokens += e.eval_tokens;
    all.eval_flops += e.eval_flops;
    all.eval_seconds += e.eval_seconds;
  }
  const double hours = (all.seconds + all.eval_seconds) / 3600;
  if (common.json) {
    io::Json runs = io::Json::array({});
    for (const transfer::Estimate& e : list)
      runs.push_back(io::Json::object({{"run", e.run}, {"tokens", e.tokens}, {"flops", e.flops}, {"seconds", e.seconds}, {"eval_tokens", e.eval_tokens}, {"eval_flops", e.eval_flops}, {"eval_seconds", e.eval_seconds}}));
    io::Json out = io::Json::object({{"tokens", all.tokens}, {"flops", all.flops}, {"eval_flops", all.eval_flops}, {"hours", hours}, {"flops_per_second", (all.flops + all.eval_flops) / (3600 * hours)}});
    out.set("runs", std::move(runs));
    return print_json(out);
  }
  Table table;
  table.add({"run", "tokens", "TFLOP", "seconds", "test tokens", "TFLOP", "seconds"});
  auto row = [&](const std::string& name, const transfer::Estimate& e) {
    table.add({name, grouped(static_cast<std::int64_t>(e.tokens)), fmt::format("{:.2f}", e.flops / 1e12), fmt::format("{:.1f}", e.seconds), grouped(static_cast<std::int64_t>(e.eval_tokens)),
               fmt::format("{:.2f}", e.eval_flops / 1e12), fmt::format("{:.1f}", e.eval_seconds)});
  };
  for (const transfer::Estimate& e : list) row(e.run, e);
  row(str(list.size(), " runs"), all);
  print(table.text() + fmt::format("{:.2f} hours at the speeds measured now ({:.0f} GFLOP/s over all): {:.2f} of training, {:.2f} of tests\n", hours, (all.flops + all.eval_flops) / (3600 * hours) / 1e9, all.seconds / 3600,
                                   all.eval_seconds / 3600));
}

void run(const Common& common, const TransferFlags& f) {
  if (common.bf16()) fail(ErrorKind::usage, "dtype.bf16", "--dtype bf16: this build computes in fp32 only; leave the flag out");
  if (f.file.empty() == f.preset.empty()) fail(ErrorKind::usage, "flag.missing", "bam study clt: wanted FILE.toml or --preset demo, one of the two");
  std::vector<std::string> set = common.set;
  if (common.seed) set.push_back(str("study.seed=", *common.seed));
  const std::string text = f.file.empty() ? transfer::demo_transfer : io::read_file(f.file, std::uint64_t{1} << 24);
  const transfer::TransferConfig config = transfer::parse_transfer(text, f.file.empty() ? "preset demo" : f.file, set);
  if (common.out.empty() && !f.plan) fail(ErrorKind::usage, "flag.missing", "bam study clt: wanted --out DIR, or --plan");
  if (f.plan) return print_transfer_plan(common, transfer::estimates(config));

  study::StudyHooks hooks;
  hooks.flags = BAM_BUILD_FLAGS;
  const double limit = f.report ? 0 : cpu::peak_flops(cpu::isa(), 100);
  hooks.peak_flops = limit;
  hooks.note = [&](const std::string& t) { note(common, t); };
  hooks.stop_signal = [] { return static_cast<int>(stop_signal); };
  std::size_t all = config.sizes.size() * static_cast<std::size_t>(config.replicates) + transfer::Plan(config).tunings().size();
  for (const transfer::BaseSize& s : config.sizes) all += s.bam ? 4 * static_cast<std::size_t>(config.replicates) : 0;
  hooks.begin = [&](const std::string& name, std::int64_t finished, const ModelConfig& model, std::int64_t steps) {
    note(common, str("run ", finished + 1, " of ", all, ": ", name, ", ", grouped(count_parameters(model).total), " parameters, ", steps, " steps"));
    auto progress = std::make_shared<Progress>(common, static_cast<double>(count_flops(model, config.context).train_per_token), limit);
    return [progress](std::int64_t step, std::int64_t of, const StepResult& r, double lr, double rate) { (*progress)(step, of, r, lr, rate); };
  };
  transfer::TransferStudy study(config, common.out, version, hooks);
  if (!f.report) {
    catch_signals();
    try {
      study.execute();
    } catch (const study::Stopped& stopped) {
      say(str("stopped by signal ", stopped.signal, " with everything saved; the same command continues\n"));
      throw ExitCode{128 + stopped.signal};
    }
  } else if (!io::is_folder(common.out + "/runs")) {
    fail(ErrorKind::input, "study.none", common.out, ": wanted the folder of a study, there is no runs/ in it");
  } else {
    study.check_settings();
  }
  transfer::Results found(config, common.out);
  io::Json results = found.json(), ledger = found.ledger();
  results.set("preset", f.preset);
  results.set("command", str("bam study clt ", f.preset.empty() ? f.file : "--preset " + f.preset));
  io::write_file_atomic(common.out + "/results.json", io::dump(results, 1) + "\n");
  io::write_file_atomic(common.out + "/ledger.json", io::dump(ledger, 1) + "\n");
  study::write_tables(common.out + "/tables", results, ledger, {"runs", "directions", "curves", "measures", "interference", "matrix", "groups", "bases", "variance", "controls", "ledger"});
  io::write_file_atomic(common.out + "/report.html", transfer::transfer_report(results, ledger, chart_js()));
  if (common.json) return print_json(results);
  print(transfer::summary(results) + str("hash ", results.at("hash").as_string("hash"), "\n", common.out, "/report.html has the whole of it\n"));
}

}  // namespace

void add_study_clt(CLI::App& studies, Common& common) {
  auto f = std::make_shared<TransferFlags>();
  CLI::App* c = studies.add_subcommand("clt", "Cross-lingual transfer on generated languages: sizes, tasks, settings, amounts of data, with directions");
  c->add_option("FILE.toml", f->file, "The study: tasks, settings, k, languages, sizes, replicates");
  choice_flag(*c, "--preset", f->preset, {"demo"}, "A built-in study instead");
  c->add_flag("--plan", f->plan, "Print runs, FLOPs and hours; start nothing");
  c->add_flag("--report", f->report, "Write tables and report of what is finished; start nothing")->excludes("--plan");
  c->callback([&common, f] { common.run = [&common, f] { run(common, *f); }; });
}

}  // namespace bam::app
