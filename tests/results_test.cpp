// From the folders of finished runs to differences and verdicts: made-up runs with known numbers.
#include "bam/study/results.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <map>
#include <numeric>

#include "bam/study/report.hpp"
#include "support.hpp"

namespace bam::results_test {

using io::Json;
using test::has;
namespace fs = std::filesystem;

namespace {

constexpr int replicates = 3, draws = 2;

// The folder of a study. Each level is in nats per byte; replicates lie far apart, so that only paired differences tell anything, and the draws of a replicate lie 0.05 on either side.
struct Made {
  test::TemporaryFolder folder;
  std::string root = folder.path;
  bool compute;
  explicit Made(bool compute_matched) : compute(compute_matched) {}

  using Levels = std::array<double, 4>;  // general, code, law, math
  static Levels all(double x) { return {x, x, x, x}; }
  static double replicate_level(int r) { return r == 1 ? 0.5 : r == 2 ? 0.0 : 1.25; }
  // A little of a run's own, of mean 0 over the replicates: differences of 0.001 still have an interval below 0.002, and none are equal in all replicates.
  static double wobble(std::string_view name, int r) {
    const int sum = std::accumulate(name.begin(), name.end(), 0);
    return (0.0001 + 1e-8 * (sum % 97)) * ((static_cast<int>(name.size()) + r) % 3 - 1);
  }

  void write(const std::string& name, int r, const Levels& levels, double add) {
    Json eval = Json::object();
    for (std::size_t d = 0; d < 4; ++d) {
      const double x = levels[d] + 0.1 * static_cast<double>(d) + replicate_level(r) + add;
      eval.set(study::domains[d], Json::object({{"nll", 3 * x}, {"nll_per_byte", x}, {"bits_per_byte", x / 0.6931}, {"stderr", 0.01}}));
    }
    const std::string run = root + "/runs/d16/" + name;
    fs::create_directories(run);
    io::write_file_atomic(run + "/eval.json", io::dump(eval));
    io::write_file_atomic(run + "/done.json", "{\"hash\": \"cafe\"}");
  }
  // unclear: how far the second replicate lies from the others.
  void dense(const std::string& name, const Levels& levels, double unclear = 0) {
    for (int r = 1; r <= replicates; ++r) write(str("r", r, "/", name), r, levels, wobble(name, r) + (r == 2 ? unclear : 0));
  }
  void arm(const std::string& name, const Levels& levels, double unclear = 0) {
    for (int r = 1; r <= replicates; ++r)
      for (int m = 1; m <= draws; ++m) write(str("r", r, "/m", m, "/", name), r, levels, wobble(name, r) + (m == 1 ? 0.05 : -0.05) + (r == 2 ? unclear : 0));
  }
  void remove(int r, const std::string& name) {
    for (int m = 1; m <= draws; ++m) fs::remove_all(str(root, "/runs/d16/r", r, "/m", m, "/", name));
  }

  Json results() const {
    const std::string text = str("[study]\ncompute_matched = ", compute ? "true" : "false", "\nreplicates = ", replicates, "\nmixture_seeds = ", draws,
                                 "\ncontext = 16\nbatch = 4\nseed_tokens = 640\nexpert_tokens = 320\nmixture_tokens = 320\n[[size]]\nname = \"d16\"\nhidden = 16\nffn = 24\nlayers = 1\nheads = 2\n");
    return study::Results(study::parse_study(text, "study.toml"), "", root).json();
  }

  void data_matched() {
    dense("seed", all(0.80));
    dense("code", {0.79, 0.50, 0.90, 0.55});       // below the seed on general text, and on mathematics, where it is better than their specialist
    dense("law", {0.90, 0.90, 0.50, 0.90});
    dense("math", {0.80, 0.90, 0.90, 0.60}, 0.05);  // not clear on general text
    arm("btx", all(0.64));
    arm("bam", {0.62, 0.60, 0.58, 0.60});
    arm("bam-shared-kv", {0.66, 0.60, 0.60, 0.60});  // below BTX on average, above it on general text
    arm("bam-top2", all(0.605));
    arm("bam-top1", all(0.604));                     // top-2 is above it, within the tolerance
    arm("btx-5", all(0.65));
    arm("btx-6", all(0.639));                        // better, within the tolerance
    arm("btx-7", all(0.63));
    arm("btx-8", all(0.64), 0.03);
    arm("btx-6-top3", all(0.61));                    // a quarter of BTX's way
  }
  void compute_matched() {
    arm("bam-compute", {0.66, 0.65, 0.66, 0.67});
    arm("bam-shared-kv-compute", all(0.63));
    arm("bam-top2-compute", all(0.65), 0.03);
    arm("bam-top1-compute", all(0.62));
    arm("btx-5-compute", all(0.60));
    arm("btx-6-compute", all(0.66));
    arm("btx-6-top3-compute", all(0.67));
  }
};

struct Found {
  std::string verdict;
  std::int64_t n = 0;
  double mean = 0, low = 0;
};
std::map<std::string, Found> verdicts(const Json& results) {
  std::map<std::string, Found> found;
  for (const Json& v : results.at("verdicts").items("verdicts"))
    CHECK(found.try_emplace(std::string(v.at("claim").as_string("claim")),
                            Found{std::string(v.at("verdict").as_string("verdict")), v.at("n").as_int("n"), study::report::number(v, "mean"), study::report::number(v, "low")})
              .second);
  return found;
}

struct Expected {
  std::string claim, verdict;
  int n;
  double mean;
};
void check_verdicts(const Json& results, std::initializer_list<Expected> expected, const std::string& suffix) {
  const auto found = verdicts(results);
  for (const Expected& e : expected) {
    CAPTURE(e.claim);
    const auto at = found.find(e.claim + suffix);
    REQUIRE(at != found.end());
    CHECK(at->second.verdict == e.verdict);
    CHECK(at->second.n == e.n);
    if (e.n == 0) {
      CHECK(std::isnan(at->second.mean));
    } else {
      CHECK(std::abs(at->second.mean - e.mean) < 1e-9);  // the wobbles cancel
    }
    CHECK(std::isnan(at->second.low) == (e.n < 2));
  }
  std::size_t of_suffix = 0;
  for (const auto& [claim, v] : found) of_suffix += claim.ends_with(suffix);
  CHECK(of_suffix == expected.size());
}

}  // namespace

TEST_CASE("results: every claim is about its own arms, data- and compute-matched") {
  Made made(true);
  made.data_matched();
  made.compute_matched();
  const Json results = made.results();
  check_verdicts(results,
                 {{"BAM < BTX on every domain", "shown", 3, -0.04},
                  {"BAM < BAM-shared-kv on every domain", "undecided", 3, -0.015},  // equal on two of them
                  {"BAM-shared-kv < BTX on every domain", "refuted", 3, -0.025},
                  {"soft attention < top-2", "shown", 3, -0.005},
                  {"attention top-2 <= top-1", "shown", 3, 0.001},
                  {"btx-5 no better than btx", "shown", 3, 0.01},
                  {"btx-6 no better than btx", "shown", 3, -0.001},
                  {"btx-7 no better than btx", "refuted", 3, -0.01},
                  {"btx-8 no better than btx", "undecided", 3, 0.01},
                  {"btx-6-top3 close behind BAM", "shown", 3, 0.01},
                  {"the code specialist below the seed at home, above it on the other specialists' domains", "refuted", 3, -0.3},
                  {"the code specialist best at home: below the seed and the other specialists", "shown", 3, -0.3},
                  {"the code specialist above the seed on general text, a tenth of its own tokens", "refuted", 3, -0.01},
                  {"the law specialist below the seed at home, above it on the other specialists' domains", "shown", 3, -0.3},
                  {"the law specialist best at home: below the seed and the other specialists", "shown", 3, -0.3},
                  {"the law specialist above the seed on general text, a tenth of its own tokens", "shown", 3, 0.1},
                  {"the math specialist below the seed at home, above it on the other specialists' domains", "shown", 3, -0.2 + 0.05 / 3},
                  {"the math specialist best at home: below the seed and the other specialists", "undecided", 3, 0.05 + 0.05 / 3},  // the code specialist is better, not surely
                  {"the math specialist above the seed on general text, a tenth of its own tokens", "undecided", 3, 0.05 / 3}},
                 ", data-matched");
  check_verdicts(results,
                 {{"BAM < BTX on every domain", "refuted", 3, 0.02},
                  {"BAM < BAM-shared-kv on every domain", "refuted", 3, 0.03},
                  {"BAM-shared-kv < BTX on every domain", "shown", 3, -0.01},
                  {"soft attention < top-2", "undecided", 3, 0.0},
                  {"attention top-2 <= top-1", "undecided", 3, 0.04},
                  {"btx-5 no better than btx", "refuted", 3, -0.04},
                  {"btx-6 no better than btx", "shown", 3, 0.02},
                  {"btx-7 no better than btx", "undecided", 0, 0},  // not run
                  {"btx-8 no better than btx", "undecided", 0, 0},
                  {"btx-6-top3 close behind BAM", "refuted", 3, 0.01}},
                 ", compute-matched");

  // Differences to BTX: by domain, of both kinds.
  std::map<std::string, double> mean;
  for (const Json& d : results.at("differences").items("differences")) {
    CHECK(d.at("n").as_int("n") == 3);
    mean[str(d.at("arm").as_string("arm"), " ", d.at("match").as_string("match"), " ", d.at("domain").as_string("domain"))] = d.at("mean").as_double("mean");
  }
  CHECK(mean.size() == (9 + 7) * 5);
  for (const auto& expected : {std::pair{"bam data general", -0.02}, {"bam data code", -0.04}, {"bam data law", -0.06}, {"bam data mean", -0.04}, {"bam compute code", 0.01}, {"bam compute math", 0.03},
                       {"bam compute mean", 0.02}, {"btx-6-top3 compute law", 0.03}, {"bam-shared-kv data general", 0.02}})
    CHECK_MESSAGE(mean.at(expected.first) == doctest::Approx(expected.second), expected.first);
}

TEST_CASE("results: top-2 surely above top-1 is refuted") {
  Made made(false);
  made.arm("bam-top1", Made::all(0.60));
  made.arm("bam-top2", Made::all(0.61));
  const auto found = verdicts(made.results());
  CHECK(found.at("attention top-2 <= top-1").verdict == "refuted");
  CHECK(found.at("soft attention < top-2").n == 0);
  CHECK(found.size() == 19);  // data-matched alone
}

TEST_CASE("results: two replicates, one, and a missing arm") {
  Made made(false);
  made.data_matched();
  made.remove(3, "bam");            // n = 2: the claims that need BAM
  made.remove(2, "btx-7");
  made.remove(3, "btx-7");          // n = 1 decides nothing, however far
  for (int r = 1; r <= replicates; ++r) made.remove(r, "bam-top2");
  fs::remove_all(made.root + "/runs/d16/r1/m2/btx-5");  // a replicate of one draw is one still
  for (int r = 1; r <= replicates; ++r) fs::remove_all(str(made.root, "/runs/d16/r", r, "/law"));
  const Json results = made.results();
  const auto found = verdicts(results);
  for (const Expected& e : std::initializer_list<Expected>{{"BAM < BTX on every domain", "shown", 2, -0.04},
                                                           {"btx-6-top3 close behind BAM", "shown", 2, 0.01 - 0.0001 / 2},
                                                           {"btx-7 no better than btx", "undecided", 1, -0.01 - 0.0001},
                                                           {"soft attention < top-2", "undecided", 0, 0},
                                                           {"attention top-2 <= top-1", "undecided", 0, 0},
                                                           {"btx-5 no better than btx", "shown", 3, 0.01},
                                                           {"BAM-shared-kv < BTX on every domain", "refuted", 3, -0.025},
                                                           {"the law specialist below the seed at home, above it on the other specialists' domains", "undecided", 0, 0},
                                                           {"the code specialist best at home: below the seed and the other specialists", "undecided", 0, 0}}) {
    CAPTURE(e.claim);
    CHECK(found.at(e.claim).verdict == e.verdict);
    CHECK(found.at(e.claim).n == e.n);
    CHECK(std::isnan(found.at(e.claim).mean) == (e.n == 0));
    if (e.n > 0) CHECK(found.at(e.claim).mean == doctest::Approx(e.mean));
  }
  // What is missing keeps a row that says so.
  const std::string page = study::study_report(results, Json::array(), "");
  const std::size_t row = page.find(">BAM top-2</th>"), claim = page.find("soft attention &lt; top-2");
  REQUIRE(row != page.npos);
  REQUIRE(claim != page.npos);
  CHECK(has(page.substr(row, 200), "not run"));
  CHECK(has(page.substr(claim, 200), "not run"));
}

}  // namespace bam::results_test
