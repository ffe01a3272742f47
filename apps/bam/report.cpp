// bam report: training runs, or a finished study, as one HTML page; or finished studies as the Markdown page of a reproduction.
#include <fmt/format.h>

#include "bam/study/report.hpp"
#include "bam/study/reproduction.hpp"
#include "bam/study/run_report.hpp"
#include "bam/study/transfer_report.hpp"
#include "chart_js.hpp"
#include "flags.hpp"
#include "output.hpp"
#include "verbs.hpp"

asm(".section .rodata\n"
    ".global bam_chart_js\n"
    "bam_chart_js: .incbin \"" BAM_CHART_JS "\"\n"
    ".global bam_chart_js_end\n"
    "bam_chart_js_end:\n"
    ".previous\n");
extern "C" const char bam_chart_js[], bam_chart_js_end[];

namespace bam::app {

std::string_view chart_js() { return {bam_chart_js, static_cast<std::size_t>(bam_chart_js_end - bam_chart_js)}; }

namespace {

struct ReportFlags {
  std::vector<std::string> folders;
  bool studies = false;
  std::string sources, inference, plot;
};

io::Json read_json(const std::string& file) { return file.empty() ? io::Json() : io::parse_json(io::read_file(file), file); }

// A finished study's page, from its results and ledger alone.
std::string study_page(const std::string& folder) {
  const study::Finished f = study::read_finished(folder, "");
  return study::report::text(f.results, "study") == "clt" ? study::transfer::transfer_report(f.results, f.ledger, chart_js()) : study::study_report(f.results, f.ledger, chart_js());
}

void run(const Common& common, const ReportFlags& f) {
  if (f.folders.empty() || std::find(f.folders.begin(), f.folders.end(), "") != f.folders.end())
    fail(ErrorKind::usage, "flag.missing", "bam report: wanted the folder of a run, or several, or of a study, got ", f.folders.empty() ? "none" : "an empty name");
  if (!f.studies && !(f.sources + f.inference + f.plot).empty()) fail(ErrorKind::usage, "flag.studies", "bam report: --sources, --inference and --plot belong to --studies");
  const std::string out = !common.out.empty() ? common.out : f.studies ? "" : f.folders[0] + "/report.html";
  if (out.empty()) fail(ErrorKind::usage, "flag.missing", "bam report --studies: wanted --out FILE.md");
  std::vector<std::string> written{out};
  if (f.studies) {
    std::vector<study::Finished> studies;
    for (const std::string& folder : f.folders) studies.push_back(study::read_finished(folder, "bam"));
    const io::Json sources = read_json(f.sources), inference = read_json(f.inference);
    io::write_file_atomic(out, study::ReproductionPage(studies, sources, inference, f.plot).markdown());
    written.push_back(out + ".csv");
    io::write_file_atomic(written.back(), study::gains_csv(studies));
  } else if (io::exists(f.folders[0] + "/results.json")) {
    if (f.folders.size() > 1) fail(ErrorKind::usage, "flag.studies", "bam report: ", printable(f.folders[0], 4096), " is a study, which has a page of its own; name one, or several with --studies");
    io::write_file_atomic(out, study_page(f.folders[0]));
  } else {
    io::write_file_atomic(out, study::run_report(f.folders, chart_js()));
  }
  if (common.json) {
    io::Json j = io::Json::object();
    j.set("written", io::Json::array_of(written));
    return print_json(j);
  }
  for (const std::string& file : written) print(file + "\n");
}

}  // namespace

void add_report(CLI::App& app, Common& common) {
  auto f = std::make_shared<ReportFlags>();
  CLI::App* verb = app.add_subcommand("report", "The HTML report of one training run, of several compared, or of a finished study (default: report.html of the first)");
  verb->add_option("RUN", f->folders, "Folders of runs, or of one study; with --studies, of finished studies")->type_name("DIR");
  verb->add_flag("--studies", f->studies, "Instead: the Markdown page of a reproduction from finished studies, and OUT.csv with the gains over BTX");
  verb->add_option("--sources", f->sources, "Manifest of the studies' data, for the table of sources")->type_name("JSON");
  verb->add_option("--inference", f->inference, "Output of inference_bench --json, for the table of inference")->type_name("JSON");
  verb->add_option("--plot", f->plot, "Plot of OUT.csv that the page shows, relative to the page")->type_name("FILE");
  verb->callback([&common, f] { common.run = [&common, f] { run(common, *f); }; });
}

}  // namespace bam::app
