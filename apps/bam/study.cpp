// bam study bam: Branch-Attend-Mix beside its baselines.
#include "study.hpp"

#include "bam/study/bam_study.hpp"
#include "bam/study/estimate.hpp"
#include "bam/study/report.hpp"
#include "chart_js.hpp"
#include "corpus.hpp"

namespace bam::app {
namespace {

void print_plan(const Common& common, const std::vector<study::Estimate>& list) {
  study::Estimate all;
  for (const study::Estimate& e : list) {
    all.job.tokens += e.job.tokens;
    all.job.flops += e.job.flops;
    all.seconds += e.seconds;
    all.eval_tokens += e.eval_tokens;
    all.eval_flops += e.eval_flops;
    all.eval_seconds += e.eval_seconds;
  }
  const double hours = (all.seconds + all.eval_seconds) / 3600;
  if (common.json) {
    io::Json runs = io::Json::array();
    for (const study::Estimate& e : list)
      runs.push_back(io::Json::object({{"run", e.job.run}, {"arm", e.job.arm}, {"tokens", e.job.tokens}, {"flops", e.job.flops}, {"seconds", e.seconds}, {"eval_tokens", e.eval_tokens}, {"eval_flops", e.eval_flops}, {"eval_seconds", e.eval_seconds}}));
    io::Json out = io::Json::object({{"tokens", all.job.tokens}, {"flops", all.job.flops}, {"eval_flops", all.eval_flops}, {"hours", hours}});
    out.set("runs", std::move(runs));
    return print_json(out);
  }
  Table table;
  table.add({"run", "tokens", "TFLOP", "minutes", "eval tokens", "TFLOP", "minutes"});
  auto row = [&](const std::string& name, const study::Estimate& e) {
    table.add({name, grouped(e.job.tokens), fmt::format("{:.2f}", e.job.flops / 1e12), fmt::format("{:.1f}", e.seconds / 60), grouped(static_cast<std::int64_t>(e.eval_tokens)), fmt::format("{:.2f}", e.eval_flops / 1e12),
               fmt::format("{:.1f}", e.eval_seconds / 60)});
  };
  for (const study::Estimate& e : list) row(e.job.run, e);
  row(str(list.size(), " runs"), all);
  print(table.text() + fmt::format("{:.2f} hours at the speeds measured now: {:.2f} of training, {:.2f} of evaluation\n", hours, all.seconds / 3600, all.eval_seconds / 3600));
}

void run_bam(const Common& common, const StudyFlags& f) {
  const auto [text, set] = read_study(common, f, study::demo_study);
  const study::StudyConfig config = study::parse_study(text, f.where(), set);
  if (f.plan)
    return print_plan(common, study::estimates(config, f.data, [&](const ModelConfig& model) {
                        note(common, str("measuring a model of ", grouped(count_parameters(model).total), " parameters"));
                        return study::measure_speed(model, config.context, std::min(config.micro_batch, config.batch));
                      }));

  study::StudyHooks hooks = study_hooks(common, f, config.context, study::Plan(config).jobs().size());
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
