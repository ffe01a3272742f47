// bam study: a whole experiment from one file, resumable, to tables and one report.
#include "bam/study/bam_study.hpp"

#include "bam/cpu/peak.hpp"
#include "bam/study/report.hpp"
#include "bam/study/tables.hpp"
#include "chart_js.hpp"
#include "corpus.hpp"
#include "flags.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct Flags {
  std::string file, preset, data;
  bool plan = false, report = false;
};

// What the plan would take at 0.5 of the peak, the rate of small models.
void print_plan(const Common& common, const std::vector<study::Job>& jobs) {
  double flops = 0;
  std::int64_t tokens = 0;
  for (const study::Job& j : jobs) {
    flops += j.flops;
    tokens += j.tokens;
  }
  const double rate = 0.5 * cpu::peak_flops(cpu::isa(), 200), hours = flops / rate / 3600;
  if (common.json) {
    io::Json list = io::Json::array();
    for (const study::Job& j : jobs) list.push_back(io::Json::object({{"run", j.run}, {"arm", j.arm}, {"tokens", j.tokens}, {"flops", j.flops}}));
    io::Json out = io::Json::object({{"tokens", tokens}, {"flops", flops}, {"hours", hours}, {"flops_per_second", rate}});
    out.set("runs", std::move(list));
    return print_json(out);
  }
  Table table;
  table.add({"run", "tokens", "TFLOP", "minutes"});
  for (const study::Job& j : jobs) table.add({j.run, grouped(j.tokens), fmt::format("{:.2f}", j.flops / 1e12), fmt::format("{:.1f}", j.flops / rate / 60)});
  table.add({str(jobs.size(), " runs"), grouped(tokens), fmt::format("{:.2f}", flops / 1e12), fmt::format("{:.1f}", hours * 60)});
  print(table.text() + fmt::format("{:.2f} hours of training at {:.0f} GFLOP/s, half of the peak measured now; evaluation comes on top\n", hours, rate / 1e9));
}

void run(const Common& common, const Flags& f) {
  if (common.bf16()) fail(ErrorKind::usage, "dtype.bf16", "--dtype bf16: this build computes in fp32 only; leave the flag out");
  if (f.file.empty() == f.preset.empty()) fail(ErrorKind::usage, "flag.missing", "bam study bam: wanted FILE.toml or --preset demo, one of the two");
  std::vector<std::string> set = common.set;
  if (common.seed) set.push_back(str("study.seed=", *common.seed));
  const std::string text = f.file.empty() ? study::demo_study : io::read_file(f.file, std::uint64_t{1} << 24);
  study::StudyConfig config = study::parse_study(text, f.file.empty() ? "preset demo" : f.file, set);
  if (common.out.empty() && !f.plan) fail(ErrorKind::usage, "flag.missing", "bam study bam: wanted --out DIR, or --plan");

  study::StudyHooks hooks;
  hooks.flags = BAM_BUILD_FLAGS;
  const double limit = f.plan || f.report ? 0 : cpu::peak_flops(cpu::isa(), 100);
  hooks.peak_flops = limit;
  const std::vector<study::Job> jobs = study::Plan(config).jobs();
  if (f.plan) return print_plan(common, jobs);
  hooks.note = [&](const std::string& t) { note(common, t); };
  hooks.generate = [&](const std::string& folder) { write_corpus(folder, config.documents, config.seed, false); };
  io::Hasher corpus;
  for (text::Domain d : text::domains) {
    const std::string document = text::generate_document(d, config.seed, 0).text;
    corpus.update(document.data(), document.size());
  }
  hooks.corpus = str("generated ", corpus.hex());
  hooks.stop_signal = [] { return static_cast<int>(stop_signal); };
  hooks.begin = [&](const std::string& name, std::int64_t finished, const ModelConfig& model, std::int64_t steps) {
    note(common, str("run ", finished + 1, " of ", jobs.size(), ": ", name, ", ", grouped(count_parameters(model).total), " parameters, ", steps, " steps"));
    auto progress = std::make_shared<Progress>(common, static_cast<double>(count_flops(model, config.context).train_per_token), limit);
    return [progress](std::int64_t step, std::int64_t of, const StepResult& r, double lr, double rate) { (*progress)(step, of, r, lr, rate); };
  };
  study::BamStudy bam(config, f.data, common.out, version, hooks);
  if (!f.report) {
    catch_signals();
    try {
      bam.execute();
    } catch (const study::Stopped& stopped) {
      say(str("stopped by signal ", stopped.signal, " with everything saved; the same command continues\n"));
      throw ExitCode{128 + stopped.signal};
    }
  } else if (!io::is_folder(common.out + "/runs")) {
    fail(ErrorKind::input, "study.none", common.out, ": wanted the folder of a study, there is no runs/ in it");
  } else {
    bam.check_settings();
  }
  study::Results found(config, f.data, common.out);
  io::Json results = found.json(), ledger = found.ledger();
  results.set("preset", f.preset);
  results.set("command", str("bam study bam ", f.preset.empty() ? f.file : "--preset " + f.preset, f.data.empty() ? "" : " --data " + f.data));
  io::write_file_atomic(common.out + "/results.json", io::dump(results, 1) + "\n");
  io::write_file_atomic(common.out + "/ledger.json", io::dump(ledger, 1) + "\n");
  study::write_tables(common.out + "/tables", results, ledger);
  io::write_file_atomic(common.out + "/report.html", study::study_report(results, ledger, chart_js()));
  if (common.json) return print_json(results);
  print(study::summary(results) + str("hash ", results.at("hash").as_string("hash"), "\n", common.out, "/report.html has the whole of it\n"));
}

}  // namespace

void add_study(CLI::App& app, Common& common) {
  auto f = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("study", "A whole experiment from one file: resumable, to tables and one report");
  CLI::App* b = verb->add_subcommand("bam", "Branch-Attend-Mix beside its baselines, with replicates and verdicts");
  b->add_option("FILE.toml", f->file, "The study: arms, sizes, tokens, replicates");
  choice_flag(*b, "--preset", f->preset, {"demo"}, "A built-in study instead");
  b->add_option("--data", f->data, "Folder with general, code, law and math (default: generated)")->type_name("DIR");
  b->add_flag("--plan", f->plan, "Print runs, FLOPs and hours; start nothing");
  b->add_flag("--report", f->report, "Write tables and report of what is finished; start nothing")->excludes("--plan");
  b->callback([&common, f] { common.run = [&common, f] { run(common, *f); }; });
  add_study_clt(*verb, common);
}

}  // namespace bam::app
