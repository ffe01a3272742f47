// The report of a study: every section, escaped text, what is missing, no network. data/study_results.json is a fixture: its
// numbers are invented.
#include "bam/study/report.hpp"

#include <doctest/doctest.h>

#include "bam/io/file.hpp"
#include "support.hpp"

namespace bam::report_test {

using bam::ErrorKind;
using bam::io::Json;
using bam::io::parse_json;
using bam::study::study_report;
using bam::test::error_of;
using bam::test::has;

namespace {
constexpr const char* ids[] = {"matrix", "arms", "differences", "verdicts", "loads", "curves", "identity", "completions", "choice", "ledger"};
constexpr const char* lists[] = {"domains", "sizes", "runs", "differences", "verdicts", "loads", "curves", "identity", "completions", "choice"};

Json fixture() {
  static const std::string text = bam::io::read_file(BAM_TEST_DATA "/data/study_results.json", 1 << 20);
  return parse_json(text, "study_results.json");
}
std::size_t count(std::string_view text, std::string_view part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}
// The section of that id.
std::string section(std::string_view page, std::string_view id) {
  std::size_t at = page.find("<section id=" + std::string(id) + ">");
  REQUIRE(at != page.npos);
  return std::string(page.substr(at, page.find("</section>", at) - at));
}
Json chart_data(std::string_view page) {
  std::string_view start = "id=data>";
  std::size_t at = page.find(start) + start.size();
  return parse_json(page.substr(at, page.find("</script>", at) - at), "data");
}
}  // namespace

TEST_CASE("report: all sections, their numbers and their charts") {
  std::string page = study_report(fixture(), Json::array(), "window.Chart = class {};");
  for (auto* id : ids) {
    CHECK(count(page, bam::str("<section id=", id, ">")) == 1);
    CHECK_FALSE(has(section(page, id), "class=missing"));
  }
  CHECK(has(page, "TEST FIXTURE"));
  CHECK(has(page, "00000000deadbeef"));
  CHECK(has(page, "bam study bam --preset demo"));
  CHECK(has(page, "<a href='../../docs/reproduction.md'>"));  // from build/demo
  CHECK(count(section(page, "matrix"), " best</b>") == 4);
  CHECK(has(section(page, "matrix"), "Best at home: general yes, code yes, law yes, math yes."));
  CHECK(has(section(page, "matrix"), "Entropy of the text"));
  CHECK(count(section(page, "arms"), ">not run<") == 2);  // BTX-7 and BAM sequential keep their rows
  CHECK(has(section(page, "arms"), "BTX-7"));
  CHECK(has(section(page, "differences"), "0.083 to 0.107"));
  CHECK(has(section(page, "differences"), "tokenizers differ"));
  CHECK(has(section(page, "verdicts"), "\xe2\x9c\x97 refuted"));
  CHECK(has(section(page, "verdicts"), "no interval"));
  CHECK(has(section(page, "loads"), "BAM: attention"));
  CHECK(has(section(page, "loads"), "seed 3"));  // the sixth expert of BTX-6
  CHECK(has(section(page, "completions"), "\xe2\x9c\x97 does not parse"));
  CHECK(has(section(page, "completions"), "<td class=edge>4 right, 4 parse, of 4<small>1.00 [0.51, 1.00]</small></td>"));  // of BAM; Wilson: 1 / (1 + 1.96^2 / 4)
  CHECK(has(section(page, "completions"), "<td>0 right, 1 parse, of 1<small>0.00 [0.00, 0.79]</small></td>"));
  CHECK(has(section(page, "matrix"), "<small>1.7712 (+0.1230)</small>"));  // of the seed, per token: 1.7712 (1 - 0.402 / 0.432)
  Json data = chart_data(page);
  CHECK(data.at("differences").at("panels").size() == 5);
  CHECK(data.at("differences").at("panels").at(0).at("points").at(0).at("arm").as_string("arm") == "BAM");
  CHECK(data.at("curves").at("phases").at(0).at("at").as_double("at") == 1572864.0);  // where the seed ends
  CHECK(data.at("curves").at("phases").at(1).at("at").as_double("at") == 2359296.0);  // where the specialists end
  CHECK(data.at("curves").at("end").as_double("end") == 3538944.0);                   // where the mixtures end
  CHECK(data.at("curves").at("series").at(0).at("label").as_string("label") == "Seed");
  REQUIRE(data.at("curves").at("floors").size() == 4);
  CHECK(data.at("curves").at("floors").at(3).at("label").as_string("label") == "Entropy: math");
  CHECK(data.at("curves").at("floors").at(3).at("y").as_double("y") == doctest::Approx(0.455 * 1.353 / 0.615));  // nats per byte of the text, bytes per token
}

TEST_CASE("report: offline and small") {
  std::string page = study_report(fixture(), Json::array(), std::string(200000, ' '));
  CHECK(page.size() < 3u << 20);
  for (auto* part : {"http:", "https:", "src=", "url(", "@import", "fetch(", "XMLHttpRequest", "<link", "<iframe", "<img"})
    CHECK_MESSAGE(!has(page, part), part);
  CHECK(has(page, "default-src 'none'"));
}

TEST_CASE("report: hostile text stays text") {
  std::string evil = "</script><script>alert('x')</script>\"><img src=x onerror=alert(1)>&\xff\x01<!--";
  Json r = fixture();
  for (auto* key : {"study", "preset", "corpus", "note", "hash", "command"}) r.set(key, evil);
  for (auto* key : {"sizes", "runs", "differences", "verdicts", "loads", "curves", "identity", "completions"}) {
    Json changed = Json::array();
    for (const Json& item : r.at(key).items(key)) {
      Json copy = item;
      for (auto* name : {"arm", "size", "domain", "name", "claim", "verdict", "kind", "prompt", "truth", "text", "match", "hash"})
        if (const Json* v = copy.find(name); v && v->is_string()) copy.set(name, evil);
      changed.push_back(copy);
    }
    r.set(key, changed);
  }
  r.set("domains", Json::array({evil, "general"}));
  std::string page = study_report(r, Json::array(), "window.Chart = class {};");
  CHECK_FALSE(has(page, "<img"));
  CHECK_FALSE(has(page, "<script>alert"));
  CHECK_FALSE(has(page, "<!--"));
  CHECK(count(page, "<script") == 3);
  CHECK(count(page, "</script") == 3);
  CHECK_FALSE(has(page, "\xff"));
  CHECK(chart_data(page).at("curves").at("series").at(0).at("label").is_string());
  CHECK(error_of(ErrorKind::usage, [&] { study_report(r, Json::array(), "x = '</script>';"); }).starts_with("report.chart"));
}

TEST_CASE("report: what is absent, empty or of another type is said") {
  std::string none = study_report(Json::object(), Json::array(), "");
  for (auto* id : ids) CHECK(has(section(none, id), "class=missing"));
  for (auto* key : lists) {
    Json r = fixture();
    r.set(key, Json::array());
    std::string empty = study_report(r, Json::array(), "x");
    r.erase(key);
    CHECK(study_report(r, Json::array(), "x").size() > 10000);
    r.set(key, "text");
    CHECK(study_report(r, Json::array(), "x").size() > 10000);
    if (std::string_view id = key; id != "domains" && id != "sizes" && id != "runs") CHECK(has(section(empty, id), "class=missing"));
  }
  Json r = fixture();
  r.set("floor", nullptr);
  std::string page = study_report(r, Json::array(), "");
  CHECK(has(section(page, "matrix"), "unknown"));
  CHECK_FALSE(has(section(page, "arms"), "above the floor, nats"));
  CHECK(has(section(page, "curves"), "Chart.js was not found"));
  CHECK_FALSE(has(section(page, "curves"), "Entropy of the text:"));
  CHECK(chart_data(page).at("curves").at("floors").size() == 0);
}

TEST_CASE("report: compute-matched differences have panels of their own") {
  Json r = fixture(), both = Json::array();
  for (const Json& d : r.at("differences").items("differences")) {
    Json data = d, compute = d;
    data.set("match", "data");
    both.push_back(data);
    if (d.at("arm").as_string("arm") != "bam") continue;
    compute.set("match", "compute"), compute.set("mean", 0.5), compute.set("low", 0.25), compute.set("high", 0.75);
    both.push_back(compute);
  }
  r.set("differences", both);
  const std::string page = study_report(r, Json::array(), "x"), part = section(page, "differences");
  CHECK(part.find("<h3>Data-matched</h3>") < part.find("<h3>Compute-matched</h3>"));
  const Json panels = chart_data(page).at("differences").at("panels");
  REQUIRE(panels.size() == 10);
  CHECK(panels.at(0).at("points").size() == 15);
  CHECK(panels.at(5).at("points").size() == 1);
  CHECK(panels.at(9).at("points").at(0).at("mean").as_double("mean") == 0.5);
  CHECK(count(part, "<td class=words>compute</td>") == 5);
  CHECK(count(page, "BAM minus BTX, mean of domains") == 1);  // the tile is data-matched
  CHECK_FALSE(has(page, "<b>+0.5000</b>"));
}

TEST_CASE("report: numbers that are none") {
  Json r = fixture();
  double inf = std::numeric_limits<double>::infinity();
  Json run = r.at("runs").at(0), difference = r.at("differences").at(0), curve = r.at("curves").at(0), load = r.at("loads").at(0);
  run.set("nll", inf), run.set("nll_per_byte", 1e300), run.set("tokens", nullptr);
  difference.set("mean", 1e300), difference.set("low", -inf), difference.set("high", inf), difference.set("n", nullptr);
  curve.set("nll", Json::array({inf, "x", 1e308, 2.5})), curve.set("tokens", Json::array({1, 2, 3, 4}));
  load.set("layer", 1e30), load.set("shares", Json::array({nullptr, inf}));
  r.set("runs", Json::array({run})), r.set("differences", Json::array({difference})), r.set("curves", Json::array({curve})),
      r.set("loads", Json::array({load}));
  std::string page = study_report(r, Json::array(), "x");
  for (auto* id : {"differences", "loads"}) CHECK(has(section(page, id), "class=missing"));
  CHECK(chart_data(page).at("curves").at("series").at(0).at("points").size() == 1);
  difference.set("mean", 0.0);
  r.set("differences", Json::array({difference}));
  CHECK(chart_data(study_report(r, Json::array(), "x")).at("differences").at("panels").at(0).at("points").at(0).at("low").is_null());
}

TEST_CASE("report: sizes have their own tables; a long study stays small") {
  Json r = fixture(), runs = Json::array(), curves = Json::array(), completions = Json::array();
  for (int copy = 0; copy < 20; ++copy)
    for (const Json& item : r.at("runs").items("runs")) {
      Json run = item;
      run.set("replicate", copy), run.set("size", copy % 2 ? "large" : "demo");
      runs.push_back(run);
    }
  Json tokens = Json::array(), nll = Json::array();
  for (int i = 0; i < 5000; ++i) tokens.push_back(i), nll.push_back(1.0 / (1 + i));
  for (int i = 0; i < 60; ++i)
    curves.push_back(Json::object({{"arm", bam::str("arm ", i)}, {"size", "demo"}, {"replicate", 0}, {"tokens", tokens}, {"nll", nll}}));
  for (int i = 0; i < 300; ++i)
    completions.push_back(Json::object(
        {{"domain", "law"}, {"prompt", bam::str(i)}, {"truth", "y"}, {"arm", "bam"}, {"text", std::string(100000, 'z')}, {"parses", true}, {"right", true}}));
  r.set("runs", runs), r.set("curves", curves), r.set("completions", completions);
  std::string page = study_report(r, Json::array(), std::string(200000, ' '));
  CHECK(page.size() < 3u << 20);
  CHECK(has(section(page, "arms"), "<h3>demo, data-matched</h3>"));
  CHECK(has(section(page, "arms"), "<h3>large, data-matched</h3>"));
  CHECK(has(section(page, "completions"), "240 further prompts"));
  CHECK(has(section(page, "completions"), "300 right, 300 parse, of 300"));
  CHECK(has(section(page, "ledger"), "further rows"));
}

TEST_CASE("report: trainings, trials and baselines") {
  Json r = fixture();
  auto training = [](const char* run, double seconds, double share) {
    return Json::object({{"run", run}, {"arm", "bam"}, {"size", "demo"}, {"replicate", 1}, {"match", "data"}, {"lr", 0.003}, {"tokens", 4096}, {"flops", 6e9}, {"seconds", seconds}, {"share_of_peak", share}, {"hash", "cafe"}});
  };
  Json ledger = Json::array({training("demo/r1/<seed>", 1800, 0.25), training("demo/r1/m1/bam", 3600, 0.5)});
  std::string page = study_report(r, ledger, "x");
  CHECK(has(section(page, "trainings"), "2 trainings, 1.50 hours"));
  CHECK(has(section(page, "trainings"), "demo/r1/&lt;seed&gt;"));
  CHECK(has(page, "33 %"));  // the same FLOPs at 0.25 and 0.5 of the peak
  CHECK(!has(section(page, "trainings"), "Trials"));
  CHECK(!has(section(page, "arms"), "zstd -19"));
  CHECK(has(section(study_report(r, Json::array(), "x"), "trainings"), "no training"));
  r.set("sweep", Json::array({Json::object({{"arm", "bam"}, {"size", "demo"}, {"lr", 0.001}, {"nll_per_byte", 0.7125}, {"kept", false}}),
                              Json::object({{"arm", "bam"}, {"size", "demo"}, {"lr", 0.002}, {"nll_per_byte", 0.6875}, {"kept", true}})}));
  r.set("baselines", Json::object({{"law", Json::object({{"ngram_nll_per_byte", 0.5625}, {"zstd_nats_per_byte", 1.1875}})}}));
  page = study_report(r, ledger, "x");
  CHECK(has(section(page, "trainings"), "0.7125"));
  CHECK(has(section(page, "trainings"), "kept"));
  CHECK(has(section(page, "arms"), "0.5625"));
  CHECK(has(section(page, "arms"), "1.1875"));
  // The 5-gram beside the seed trained on: law 0.5625 over the mean of 0.38211 and 0.37512; no mean, as the other domains have none.
  CHECK(has(section(page, "arms"), "5-gram above Dense demo</th><td><span class=none>\xe2\x80\x93</span></td><td><span class=none>\xe2\x80\x93</span></td><td>+48.6 %</td>"));
  CHECK(has(section(page, "arms"), "<td>0.5625<small> (+0.2715)</small></td>"));  // above the entropy, 0.291
}

TEST_CASE("report: tokens and FLOPs of an arm by phase") {
  auto training = [](const char* arm, std::int64_t tokens, double flops) { return Json::object({{"run", arm}, {"arm", arm}, {"size", "demo"}, {"match", std::string_view(arm) == "seed" ? "" : "data"}, {"tokens", tokens}, {"flops", flops}}); };
  const Json ledger = Json::array({training("seed", 2000000, 10e12), training("code", 786432, 4.3e12), training("bam", 1179648, 8.1e12), training("sparse", 3538944, 17e12)});
  const std::string part = section(study_report(fixture(), ledger, ""), "arms");
  auto cells = [&](const char* label) {
    const std::size_t at = part.find(std::string(">") + label + "</th>");
    REQUIRE(at != part.npos);
    const std::string line = part.substr(at, part.find("</tr>", at) - at);
    std::string found;
    for (std::size_t from = line.rfind("<td class=edge>", line.rfind("<td class=edge>") - 1); (from = line.find("<td", from)) != line.npos;) {
      from = line.find('>', from) + 1;
      found += line.substr(from, line.find('<', from) - from) + "|";
    }
    return found;
  };
  CHECK(cells("Seed") == "2.00 M|0|0|10.0 T|0|0|");
  CHECK(cells("code specialist") == "2.00 M|786 k|0|10.0 T|4.30 T|0|");
  CHECK(cells("BAM") == "2.00 M|2.36 M|1.18 M|10.0 T|12.9 T|8.10 T|");  // what is not its own are the branches
  CHECK(cells("Sparse upcycling") == "2.00 M|0|3.54 M|10.0 T|0|17.0 T|");
}

TEST_CASE("report: choices beside chance") {
  const std::string part = section(study_report(fixture(), Json::array(), ""), "choice");
  // BAM is right in 60 of 100 where chance is 0.2, BTX in 24 where labels make it 0.3; a set that BTX did not see is an empty cell.
  CHECK(has(part, "<td><b>0.600</b></td>"));
  CHECK(has(part, "<td>0.240</td>"));
  CHECK(has(part, "<td>0.300</td>"));
  CHECK(count(part, "class=empty") == 2);
  CHECK(has(part, "<td>1.2500</td>"));
}

}  // namespace bam::report_test
