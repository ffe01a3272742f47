// The report of training runs, and the page of a reproduction: gains and verdicts from made-up results with known answers.
#include "bam/study/reproduction.hpp"

#include <doctest/doctest.h>

#include <filesystem>

#include "bam/study/run_report.hpp"
#include "support.hpp"

namespace bam::reproduction_test {

using test::error_of;
using test::has;
namespace fs = std::filesystem;

namespace {

std::string folder() {
  std::string root = (fs::temp_directory_path() / "bam_reproduction_test").string();
  fs::remove_all(root);
  fs::create_directories(root);
  return root;
}

// Two replicates of one size: BTX at 2 nats per token on each domain, BAM `gain` and `gain` + 0.02 below it; a third where a domain is missing.
study::Finished results(double gain) {
  io::Json runs = io::Json::array();
  for (int replicate = 1; replicate <= 3; ++replicate)
    for (const char* domain : {"general", "code", "law", "math"})
      for (const char* arm : {"btx", "bam"}) {
        if (replicate == 3 && std::string_view(domain) == "law") continue;
        const double nll = std::string_view(arm) == "btx" ? 2 : 2 - gain - 0.02 * (replicate == 2);
        runs.push_back(io::Json::object({{"arm", arm}, {"size", "tiny"}, {"replicate", replicate}, {"match", "data"}, {"domain", domain}, {"nll", nll}, {"nll_per_byte", nll / 4}}));
      }
  io::Json r = io::Json::object({{"study", "bam"}, {"corpus", "data/domains"}, {"command", "bam study bam x.toml"}, {"hash", "feed"}, {"trainings", 7}});
  r.set("domains", io::Json::array_of(std::vector<std::string>{"general", "code", "law", "math"}));
  r.set("sizes", io::parse_json(R"([{"name": "tiny", "parameters": 3000, "non_embedding": 1000}])", "sizes"));
  r.set("runs", std::move(runs));
  r.set("verdicts", io::parse_json(R"([{"claim": "BAM < BTX on every domain", "verdict": "shown", "n": 2, "mean": -0.01, "low": -0.02, "high": -0.005}, {"claim": "btx-5 no better than btx", "verdict": "undecided", "n": 0, "mean": null, "low": null, "high": null}])", "verdicts"));
  return {"made-up", std::move(r), io::parse_json(R"([{"run": "a", "tokens": 1000, "seconds": 1800}])", "ledger")};
}

}  // namespace

TEST_CASE("reproduction: gains are paired per replicate, and need every domain") {
  const std::vector<study::Gain> g = study::gains({results(0.05)});
  REQUIRE(g.size() == 1);
  CHECK(g[0].nats.n == 2);
  CHECK(g[0].nats.mean == doctest::Approx(0.06));
  CHECK(g[0].nats.low == doctest::Approx(0.06 - 12.7062 * 0.01).epsilon(1e-3));  // t of 1 degree of freedom; the standard error is 0.01
  CHECK(g[0].parameters == 1000);
  const std::string csv = study::gains_csv({results(0.05)});
  CHECK(has(csv, "made-up tiny,bam,data,1000,0.06"));
  CHECK(has(csv, "\"paper, 2B\",bam,data,"));
  CHECK(std::count(csv.begin(), csv.end(), '\n') == 1 + 1 + 3);
}

TEST_CASE("reproduction: draws of a mixture within a replicate are no replicates") {
  study::Finished f = results(0.05);  // the first two as draws of one replicate, whose third has a domain less: that of a second
  f.results.set("mixture_seeds", 2);
  const std::vector<study::Gain> g = study::gains({f});
  REQUIRE(g.size() == 1);
  CHECK(g[0].nats.n == 1);
  CHECK(g[0].nats.mean == doctest::Approx(0.06));
  CHECK(std::isinf(g[0].nats.low));
}

TEST_CASE("reproduction: the page has each claim, arms that were not run, and where text came from") {
  const io::Json sources = io::parse_json(R"({"sources": {"books": {"repo": "https://example.org/books", "commit": "abc", "licence": "CC0"}, "unused": {}},
    "files": [{"path": "domains/law/train/a.jsonl", "bytes": 1000, "sources": ["books"], "sha256": "0123"}, {"path": "other/b.jsonl", "bytes": 5, "sources": ["unused"], "sha256": "45"}]})", "manifest");
  const std::vector<study::Finished> studies{results(0.05)};
  const io::Json none;
  const std::string page = study::ReproductionPage(studies, sources, none, "plot.svg").markdown();
  CHECK(has(page, "| BAM < BTX on every domain | **shown** | 2 | -0.0100 [-0.0200, -0.0050] |"));
  CHECK(has(page, "| btx-5 no better than btx | not run | 0 | - |"));
  CHECK(has(page, "| Drop-Upcycling | not run |"));
  CHECK(has(page, "| BTX | 0.5000 (2) |"));  // a replicate without one of the domains is not counted
  CHECK(has(page, "](plot.svg)"));
  CHECK(has(page, "Not measured."));
  CHECK(has(page, "| 1 of 7 |"));
  CHECK(has(page, "| books | https://example.org/books | `abc` | CC0 |"));
  CHECK(has(page, "domains/law/train/a.jsonl"));
  CHECK_FALSE(has(page, "other/b.jsonl"));
  CHECK_FALSE(has(page, "5-gram"));
  const io::Json inference = io::parse_json(R"({"config": {"hidden": 64, "isa": "avx2", "read_bytes_per_s": 5e9}, "rows": [{"arm": "btx", "prefill_ms": 2.5, "decode_tokens_per_s": 100.0,
    "decode_tokens_per_s_batch8": 300.0, "kv_bytes_per_token": 512, "ratio_to_btx": 1.0, "share_of_read_limit": 0.5}]})", "inference");
  const std::string measured = study::ReproductionPage(studies, none, inference, "").markdown();
  CHECK(has(measured, ": hidden 64, isa avx2. "));
  CHECK(has(measured, "| btx | 2.5 | 100.0 | 300.0 | 512 | 1.00 | 50% |"));
  CHECK_FALSE(has(measured, "Not measured."));
  const std::string root = folder();
  CHECK(has(error_of(ErrorKind::input, [&] { study::read_finished(root, "bam"); }), "results.json"));
  io::write_file_atomic(root + "/results.json", "{\"study\": \"clt\"}");
  CHECK(has(error_of(ErrorKind::input, [&] { study::read_finished(root + "/", "bam"); }), "bam study bam"));
  io::write_file_atomic(root + "/results.json", "{\"study\": \"bam\"}");
  CHECK(study::read_finished(root + "/", "bam").name == "bam_reproduction_test");
  fs::remove_all(root);
}

TEST_CASE("reproduction: levels above the entropy, and the 5-gram beside the seed trained on") {
  study::Finished f = results(0.05);
  io::Json runs = f.results.at("runs"), baselines = io::Json::object(), floor = io::Json::object();
  double ngram = 0.5;
  for (const char* domain : {"general", "code", "law", "math"}) {
    runs.push_back(io::Json::object({{"arm", "dense"}, {"size", "tiny"}, {"replicate", 1}, {"match", "data"}, {"domain", domain}, {"nll", 1.6}, {"nll_per_byte", 0.4}}));
    baselines.set(domain, io::Json::object({{"ngram_nll_per_byte", ngram}, {"zstd_nats_per_byte", 1.25}}));
    floor.set(domain, ngram - 0.25);
    ngram += 0.02;
  }
  f.results.set("runs", std::move(runs)), f.results.set("baselines", std::move(baselines)), f.results.set("floor", std::move(floor));
  const io::Json none;
  const std::vector<study::Finished> studies{f};
  const std::string page = study::ReproductionPage(studies, none, none, "").markdown();
  CHECK(has(page, "| BTX | 0.5000 (2), +0.2200 |"));  // the entropies are 0.25, 0.27, 0.29, 0.31
  CHECK(has(page, "| zstd -19 | 1.2500, +0.9700 |"));
  CHECK(has(page, "| entropy of the text | 0.2800 |"));
  CHECK(has(page, "| size | general | code | law | math | mean of the domains |"));
  CHECK(has(page, "| tiny | +25.0% | +30.0% | +35.0% | +40.0% | +32.5% |"));
}

TEST_CASE("run report: curves, validation, a run that has not ended, hostile names") {
  const std::string root = folder();
  for (const char* name : {"one", "two<b>"}) {
    fs::create_directories(root + "/" + name);
    std::string metrics;
    for (int step = 1; step <= 300; ++step) {
      metrics += io::dump(io::Json::object({{"step", step}, {"loss", 3.0}, {"nll", 3.0 - step * 0.001}, {"lr", 0.001}, {"targets", 100}, {"tokens_per_s", 50.0}, {"seconds", 2.0}})) + "\n";
      if (step % 150 == 0) metrics += io::dump(io::Json::object({{"step", step}, {"eval", "held out"}, {"nll", step == 150 ? 2.5 : 2.75}})) + "\n";
    }
    io::write_file_atomic(root + "/" + name + "/metrics.jsonl", metrics);
  }
  io::write_file_atomic(root + "/one/events.jsonl", "{\"event\": \"start\", \"step\": 0}\n{\"event\": \"resume\", \"step\": 10}\n{\"event\": \"end\", \"step\": 300, \"detail\": \"cafe\"}\n");
  io::write_file_atomic(root + "/one/resolved.toml", "[train]\nlr = \"</script>\"\n");
  const std::string page = study::run_report({root + "/one", root + "/two<b>/"}, "window.Chart = class {};");
  CHECK(has(page, "<code>cafe</code>"));
  CHECK(has(page, "not at its end"));
  CHECK(has(page, "two&lt;b&gt;"));
  CHECK_FALSE(has(page, "two<b>"));
  CHECK(has(page, "<td>10.0</td>"));                              // minutes
  CHECK(has(page, "<td>2.7500</td><td>2.5000</td><td>15.0 k</td>"));  // last, best, at tokens
  CHECK(has(page, "held out"));
  CHECK_FALSE(has(page, root));  // runs are named by the parts in which their paths differ
  CHECK(has(error_of(ErrorKind::input, [&] { study::run_report({root}, ""); }), "metrics.jsonl"));
  fs::remove_all(root);
}

}  // namespace bam::reproduction_test
