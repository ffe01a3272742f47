// bam study clt: cross-lingual transfer.
#include "bam/study/transfer_plan.hpp"
#include "bam/study/transfer_report.hpp"
#include "bam/study/transfer_results.hpp"
#include "bam/study/transfer_summary.hpp"
#include "chart_js.hpp"
#include "study.hpp"

namespace bam::app {
namespace {

namespace transfer = study::transfer;

void print_plan(const Common& common, const std::vector<transfer::Estimate>& list) {
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

void run_clt(const Common& common, const StudyFlags& f) {
  const auto [text, set] = read_study(common, f, transfer::demo_transfer);
  const transfer::TransferConfig config = transfer::parse_transfer(text, f.where(), set, f.data);
  if (f.plan) return print_plan(common, transfer::estimates(config));

  std::size_t runs = transfer::Plan(config).tunings().size();
  for (const transfer::BaseSize& s : config.sizes) runs += transfer::phases(s, config).size() * static_cast<std::size_t>(config.replicates);
  const study::StudyHooks hooks = study_hooks(common, f, config.context, runs);
  run_study(transfer::TransferStudy(config, common.out, version, hooks), common, f);
  write_study(common, f, transfer::Results(config, common.out), transfer::tables,
              [](const io::Json& results, const io::Json& ledger) { return transfer::transfer_report(results, ledger, chart_js()); }, transfer::summary);
}

}  // namespace

void add_study_clt(CLI::App& studies, Common& common) {
  auto f = std::make_shared<StudyFlags>();
  CLI::App* c = studies.add_subcommand("clt", "Cross-lingual transfer, on generated languages or files: sizes, tasks, settings, amounts of data, with directions");
  add_study_flags(*c, *f, "The study: tasks, settings, k, languages, sizes, replicates");
  c->add_option("--data", f->data, "Folder of the files that [[task]] and [[test]] name (default: generated languages)")->type_name("DIR");
  c->callback([&common, f] { common.run = [&common, f] { run_clt(common, *f); }; });
}

}  // namespace bam::app
