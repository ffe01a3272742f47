// bam study bam: Branch-Attend-Mix beside its baselines.
#include "study.hpp"

#include "bam/cpu/peak.hpp"
#include "bam/study/bam_study.hpp"
#include "bam/study/report.hpp"
#include "chart_js.hpp"
#include "corpus.hpp"

namespace bam::app {
namespace {

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

void run_bam(const Common& common, const StudyFlags& f) {
  const auto [text, set] = read_study(common, f, study::demo_study);
  const study::StudyConfig config = study::parse_study(text, f.where(), set);
  const std::vector<study::Job> jobs = study::Plan(config).jobs();
  if (f.plan) return print_plan(common, jobs);

  study::StudyHooks hooks = study_hooks(common, f, config.context, jobs.size());
  hooks.generate = [&](const std::string& folder) { write_corpus(folder, config.documents, config.seed, false); };
  io::Hasher corpus;
  for (text::Domain d : text::domains) {
    const std::string document = text::generate_document(d, config.seed, 0).text;
    corpus.update(document.data(), document.size());
  }
  hooks.corpus = str("generated ", corpus.hex());
  run_study(study::BamStudy(config, f.data, common.out, version, hooks), common, f);
  write_study(common, f, study::Results(config, f.data, common.out), {"runs", "differences", "verdicts", "identity", "sweep", "choice", "ledger"},
              [](const io::Json& results, const io::Json& ledger) { return study::study_report(results, ledger, chart_js()); }, study::summary);
}

}  // namespace

void add_study(CLI::App& app, Common& common) {
  auto f = std::make_shared<StudyFlags>();
  CLI::App* verb = app.add_subcommand("study", "A whole experiment from one file: resumable, to tables and one report");
  CLI::App* b = verb->add_subcommand("bam", "Branch-Attend-Mix beside its baselines, with replicates and verdicts");
  add_study_flags(*b, *f, "The study: arms, sizes, tokens, replicates");
  b->add_option("--data", f->data, "Folder with general, code, law and math (default: generated)")->type_name("DIR");
  b->callback([&common, f] { common.run = [&common, f] { run_bam(common, *f); }; });
  add_study_clt(*verb, common);
}

}  // namespace bam::app
