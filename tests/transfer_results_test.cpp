// What a transfer study finds, from run folders that are made up: the values of its lists, the verdicts of its directions, its tables and its page.
#include <cstring>
#include <filesystem>
#include <functional>

#include "bam/study/tables.hpp"
#include "bam/study/transfer_report.hpp"
#include "bam/study/transfer_results.hpp"
#include "bam/study/transfer_summary.hpp"
#include "support.hpp"

namespace bam::transfer_results_test {

using namespace bam::study::transfer;
using test::has;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t items = 400;  // a score of 0.2 at a chance of 0.1 can be told from it, one of 0.12 cannot

// What a run has: its tuning, the task and the language tested, and k, the most examples of one language that it was trained on.
struct Run {
  const Tuning& tuning;
  std::string task, language;
  std::int64_t k;
  bool multi() const { return has(tuning.run, "/multi/"); }
  bool trained(const std::string& l) const { return has(tuning.run.substr(tuning.run.rfind('/')), l); }
  bool seen() const { return language == "gl1" || language == "gl5"; }
  bool small() const { return tuning.size->name == "small"; }
};
using Rank = std::function<double(const Run&)>;  // its share of items whose right answer is first
using Items = std::function<std::string(const Run&)>;  // and which they are, of the control

TransferConfig config(const std::string& set = "", const std::string& sizes = "") {
  auto given = [&](const char* key, const char* line) { return has(set, key) ? std::string() : std::string(line) + "\n"; };
  return parse_transfer("[study]\nseen = [\"gl1\", \"gl5\"]\nunseen = [\"gl2\", \"gl4\", \"gl6\"]\ncontext = 64\nvocab_size = 300\npretrain_tokens = 4000\n" + given("k =", "k = [0, 10, 100, 1000]") + given("replicates", "replicates = 2") +
                            given("controls", "controls = false") + set + "\n[[size]]\nname = \"small\"\nhidden = 8\nffn = 8\nlayers = 1\nheads = 1\n" + sizes,
                        "study.toml");
}
constexpr const char* large = "[[size]]\nname = \"large\"\nhidden = 16\nffn = 16\nlayers = 1\nheads = 1\n";

// The folder as a finished study leaves it, pruned.
class Folder {
 public:
  Folder(const TransferConfig& c, const Rank& rank, const Items& by_item = {}) : root_((fs::temp_directory_path() / "bam_transfer_results").string()) {
    fs::remove_all(root_);
    io::Json chance = io::Json::object();
    for (const std::string& t : c.tasks) {
      io::Json by_language = io::Json::object();
      for (const std::string& l : c.languages()) by_language.set(l, 0.01);
      chance.set(t, std::move(by_language));
    }
    io::make_folder(root_);
    io::write_file_atomic(root_ + "/chance.json", io::dump(chance));
    const Plan plan(c);
    for (const Tuning& t : plan.tunings()) {
      std::int64_t k = 0;
      for (const Part& p : t.parts)
        if (p.language != c.pivot) k = std::max(k, p.n);
      io::Json cells = io::Json::array({}), samples = io::Json::array({});
      for (const std::string& task : t.tasks)
        for (const std::string& l : c.languages()) {
          const auto hits = static_cast<std::int64_t>(std::llround(rank({t, task, l, k}) * static_cast<double>(items)));
          io::Json cell = io::Json::object({{"task", task}, {"language", l}, {"items", items}, {"exact", 0}, {"rank", hits}, {"rank_chance", l == c.pivot ? 0.2 : 0.1}, {"nll", 1.0}, {"nll_stderr", 0.1}, {"tokens", 1000}, {"likelihood", 0.5},
                                            {"likelihood_stderr", 0.01}, {"rivals", 0.4}, {"above_stderr", 0.01}});
          if (by_item && t.control == Control::shuffled) cell.set("rank_items", by_item({t, task, l, k}));
          cells.push_back(std::move(cell));
          samples.push_back(io::Json::object({{"task", task}, {"language", l}, {"item", 0}, {"prompt", hostile}, {"answer", hostile}, {"text", hostile}, {"right", false}}));
        }
      io::make_folder(root_ + "/runs/" + t.run);
      io::write_file_atomic(root_ + "/runs/" + t.run + "/eval.json", io::dump(io::Json::object({{"cells", std::move(cells)}, {"samples", std::move(samples)}})));
      io::write_file_atomic(root_ + "/runs/" + t.run + "/done.json", io::dump(io::Json::object({{"hash", hostile}, {"steps", 1}, {"tokens", 1}, {"lr", 0.1}, {"final_nll", 1.0}, {"seconds", 1.0}, {"peak_flops", 1.0}})));
    }
    results = Results(c, root_).json();
    ledger = Results(c, root_).ledger();
  }
  ~Folder() { fs::remove_all(root_); }
  Folder(const Folder&) = delete;
  static constexpr const char* hostile = "</script><img src=x onerror=alert(1)>";
  const std::string& root() const { return root_; }

  // The rows of a list that have these words.
  std::vector<io::Json> rows(const char* name, const std::vector<std::pair<const char*, std::string>>& with) const {
    std::vector<io::Json> found;
    for (const io::Json& row : results.at(name).items(name))
      if (std::all_of(with.begin(), with.end(), [&](const auto& w) { return study::report::text(row, w.first) == w.second; })) found.push_back(row);
    return found;
  }
  io::Json row(const char* name, const std::vector<std::pair<const char*, std::string>>& with) const {
    const std::vector<io::Json> found = rows(name, with);
    REQUIRE(found.size() == 1);
    return found[0];
  }
  io::Json results, ledger;

 private:
  std::string root_;
};

double number(const io::Json& row, const char* key) { return row.at(key).as_double(key); }

}  // namespace

TEST_CASE("transfer results: groups and bases are compared over the languages that all sides tell from chance") {
  // gl2 and gl4 are of the Latin script. Trained on gl1 both are told from chance, on gl5 gl2 alone, and there it is as good.
  const Folder f(config("groups = true\nmatrix = true\ntasks = [\"instructions\"]\nsettings = [\"single\"]\n"), [](const Run& r) {
    if (r.language == "gl4") return r.trained("gl5") && !r.trained("gl1") ? 0.11 : r.k == 0 ? 0.2 : 0.3;
    return r.k == 0 ? 0.2 : 0.5;
  });
  for (const char* group : {"latin gl1", "other gl5", "mixed gl1+gl5"}) {
    const io::Json row = f.row("groups", {{"trained_on", group}, {"tested_on", "unseen, Latin script"}});
    CHECK_MESSAGE(number(row, "mean") == 0.5, group);
    CHECK(row.at("languages").as_string("languages") == "gl2 (2)");
    CHECK(number(row, "n") == 2);
  }
  // A run's own languages are seen, those of the study's others are not.
  auto splits = [&](const char* languages, const char* language) {
    std::set<std::string> found;
    for (const io::Json& r : f.rows("runs", {{"languages", languages}, {"language", language}})) found.emplace(r.at("split").as_string("split"));
    return found;
  };
  CHECK(splits("only gl1", "gl1") == std::set<std::string>{"seen"});
  CHECK(splits("only gl1", "gl5") == std::set<std::string>{"unseen"});
  CHECK(splits("other gl5", "gl1") == std::set<std::string>{"unseen"});
  CHECK(splits("all gl1+gl5", "gl5") == std::set<std::string>{"seen"});
  CHECK(splits("only gl1", "gl0") == std::set<std::string>{"english"});
  CHECK(splits("only gl1", "gl2") == std::set<std::string>{"unseen"});

  // The mixture tells gl6 from chance at k = 0 and after, the dense base does not: of gl6 nothing enters, and the two are alike.
  const Folder b(config("tasks = [\"instructions\"]\nsettings = [\"single\"]\nbranch_tokens = 2048\nmix_tokens = 2048\n", "[[size]]\nname = \"bam\"\nbase = \"bam\"\nhidden = 8\nffn = 8\nlayers = 1\nheads = 1\n"), [](const Run& r) {
    if (r.language == "gl6") return !r.tuning.size->mixture ? 0.11 : r.k == 0 ? 0.2 : 0.9;
    return r.k == 0 ? 0.25 : 0.5;
  });
  for (const char* what : {"score", "gain"}) {
    const io::Json row = b.row("bases", {{"what", what}});
    CHECK(number(row, "mean") == 0);
    CHECK(row.at("languages").as_string("languages") == "gl2 (2), gl4 (2)");
  }
}

TEST_CASE("transfer results: measures have the values of their cells") {
  const Folder f(config("tasks = [\"instructions\"]\nsettings = [\"single\"]\n"), [](const Run& r) {
    const int at = r.k == 0 ? 0 : r.k == 10 ? 1 : r.k == 100 ? 2 : 3;
    if (r.language == "gl6") return at == 1 ? 0.11 : 0.9;  // at chance at k = 10: no part of any curve
    const double unseen[2][4]{{0.2, 0.3, 0.4, 0.4}, {0.2, 0.3, 0.38, 0.4}}, seen[2][4]{{0.2, 0.4, 0.4, 0.4}, {0.2, 0.3, 0.3, 0.5}};
    return (r.seen() ? seen : unseen)[r.tuning.replicate - 1][at];
  });
  auto measure = [&](const char* name, double mean, double low, double high) {
    const io::Json row = f.row("measures", {{"measure", name}});
    CAPTURE(name);
    CHECK(number(row, "n") == 2);
    CHECK(number(row, "mean") == doctest::Approx(mean).epsilon(1e-5));
    CHECK(number(row, "low") == doctest::Approx(low).epsilon(1e-4));
    CHECK(number(row, "high") == doctest::Approx(high).epsilon(1e-4));
  };
  const io::Json equal = f.row("measures", {{"measure", "gain, unseen, k 10"}});
  CHECK(number(equal, "mean") == doctest::Approx(0.5));
  CHECK(equal.at("low").is_null());  // both replicates are alike, so their spread is not known
  measure("gain, seen, k 1000", 1.25, 1.25 - 12.706 * 0.25, 1.25 + 12.706 * 0.25);
  measure("seen-unseen gap, k 10", 0.05, 0.05 - 12.706 * 0.05, 0.05 + 12.706 * 0.05);
  measure("tracking r", 0.845287, 0.028901, 0.985214);  // of 0.870388 and 0.815803, by Fisher's z
  measure("data to plateau, unseen", std::sqrt(100.0 * 1000), 10, 1000);  // of 100 and 1000; the interval ends at the least and largest k
  measure("oscillation, unseen", 0.045, 0, 0.045 + 12.706 * 0.005);     // of 0.05 and 0.04
}

TEST_CASE("transfer results: a curve is marked between whole numbers of items too") {
  // At chance 0.1 and 400 items P(X >= 52) = 0.0311 and P(X >= 53) = 0.0217: the mean, 52.5, has 0.0264 and is not told, though it rounds to 53.
  const Folder f(config("tasks = [\"instructions\"]\nsettings = [\"single\"]\n"), [](const Run& r) { return r.language == "gl2" || (r.language == "gl4" && r.tuning.replicate == 1) ? 52.0 / items : 53.0 / items; });
  const io::Json row = f.row("curves", {{"score", "rank"}, {"split", "unseen"}, {"k", "10"}});
  CHECK_FALSE(row.at("above_chance").as_bool("above_chance"));
  CHECK(f.row("curves", {{"score", "rank"}, {"split", "seen"}, {"k", "10"}}).at("above_chance").as_bool("above_chance"));
}

TEST_CASE("transfer results: interference and the matrix") {
  const Folder f(config("matrix = true\ntasks = [\"summary\", \"arithmetic\"]\n"), [](const Run& r) {
    if (r.k == 0) return 0.2;
    if (r.multi()) return r.language == "gl6" ? 0.11 : r.tuning.replicate == 1 ? 0.3 : 0.2;
    const bool one = r.trained("gl1"), five = r.trained("gl5");
    if (one && five) return r.language == "gl6" ? 0.9 : 0.4;
    if (one) return r.language == "gl1" ? 0.6 : r.language == "gl5" ? 0.3 : 0.5;
    return r.language == "gl1" ? 0.2 : r.language == "gl5" ? 0.4 : 0.11;
  });
  const io::Json lost = f.row("interference", {{"task", "summary"}, {"k", "100"}, {"split", "unseen"}});
  CHECK(lost.at("at").as_string("at") == "equal task data");
  CHECK(number(lost, "n") == 2);
  CHECK(number(lost, "mean") == doctest::Approx(-0.15));  // of -0.1 and -0.2; gl6 is at chance in one of the settings
  CHECK(number(lost, "high") == doctest::Approx(-0.15 + 12.706 * 0.05));
  auto matrix = [&](const char* source, const char* target) { return f.row("matrix", {{"task", "arithmetic"}, {"source", source}, {"target", target}}); };
  CHECK(number(matrix("gl1", "gl1"), "transfer_mean") == doctest::Approx(1));
  CHECK(number(matrix("gl1", "gl5"), "transfer_mean") == doctest::Approx(0.5));
  CHECK(number(matrix("gl5", "gl1"), "transfer_mean") == doctest::Approx(0));
  CHECK(number(matrix("gl1", "gl2"), "gained_mean") == doctest::Approx(0.3));
  CHECK(matrix("gl1", "gl2").at("gained_high").is_null());
  CHECK(number(matrix("gl1", "gl2"), "gained_n") == 2);
  CHECK(number(matrix("gl1", "gl2"), "transfer_n") == 0);  // no run of its own
  CHECK(matrix("gl5", "gl2").at("gained_mean").is_null());
  CHECK(number(matrix("gl5", "gl2"), "gained_n") == 0);
  // A size without runs has no matrix on the page, and n and interval stand in each cell.
  const TransferConfig two = config("matrix = true\ntasks = [\"instructions\"]\nsettings = [\"single\"]\n", large);
  Folder half(two, [](const Run& r) { return 0.2 + 0.1 * (r.k > 0); });
  fs::remove_all(half.root() + "/runs/large");
  const std::string page = transfer_report(Results(two, half.root()).json(), half.ledger, "");
  CHECK(has(page, "<summary>instructions, small</summary>"));
  CHECK_FALSE(has(page, "<summary>instructions, large</summary>"));
  CHECK(has(page, "<small><span class=none>no interval</span> n 2</small>"));
}

TEST_CASE("transfer results: the control of shuffled completions is tested by the spread of items, where runs have recorded them") {
  // 54 of 400 items right in each of six languages: 0.135, at a chance of 0.2 in the pivot and 0.1 in the others, 0.1167 in all.
  const TransferConfig c = config("controls = true\ntasks = [\"instructions\"]\nsettings = [\"single\"]\n");
  const Rank rank = [](const Run&) { return 54.0 / items; };
  auto control = [&](const Items& by_item) { return Folder(c, rank, by_item).row("controls", {{"control", "shuffled completions"}, {"score", "rank"}}); };
  const io::Json old = control({}), together = control([](const Run&) { return std::string(54, '1') + std::string(items - 54, '0'); }), apart = control([&](const Run& r) {
    const auto languages = c.languages();
    std::string s(items, '0');
    return s.replace(static_cast<std::size_t>(std::find(languages.begin(), languages.end(), r.language) - languages.begin()) * 54, 54, std::string(54, '1'));
  });
  for (const io::Json& row : {old, together, apart}) CHECK(number(row, "value") == doctest::Approx(0.135));
  CHECK(old.at("passes").as_bool("passes"));
  CHECK_FALSE(old.at("by_item").as_bool("by_item"));
  CHECK(together.at("passes").as_bool("passes"));  // one item in all languages says no more than once
  CHECK(number(together, "low") == doctest::Approx(0.135 - (1.96 + 2.4 / 399) * std::sqrt(0.135 * 0.865 / 399)));
  CHECK_FALSE(apart.at("passes").as_bool("passes"));  // 324 items right in one of six languages
  CHECK(number(apart, "low") == doctest::Approx(0.135 - (1.96 + 2.4 / 399) * std::sqrt(0.81 * 0.19 / 399) / 6));
  CHECK(has(test::error_of(ErrorKind::input, [&] { control([](const Run&) { return std::string("1"); }); }), "rank_items of gl0 has 1 right items, rank says 54"));
}

TEST_CASE("transfer results: verdicts of the directions") {
  auto finding = [](const Folder& f, const char* claim) {
    for (const io::Json& d : f.results.at("directions").items("directions"))
      if (has(d.at("claim").as_string("claim"), claim)) return std::string(d.at("finding").as_string("finding"));
    return std::string("no such claim");
  };
  const std::vector<const char*> claims{"gains most", "ten times", "plateau earlier", "does not close", "hurts math", "no single variable"};
  auto steps = [](const Run& r) { return r.k == 0 ? 0.0 : r.k == 10 ? 1.0 : r.k == 100 ? 2.0 : 3.0; };
  // Math reaches its plateau at 1000, a large model at 100; the other tasks at 100 and 10, and in one of five replicates at 10. Replicates differ by an item.
  const Rank paper = [&](const Run& r) {
    const bool math = r.task == "arithmetic";
    const double most = math ? 3.0 - !r.small() : r.small() && r.tuning.replicate < 5 ? 2.0 : 1.0, rise = std::min(steps(r), most) / most;
    return 0.3 + static_cast<double>(r.tuning.replicate) / items + (math ? 0.2 : 0.06) * rise + (r.small() ? 0 : 0.08) + (r.seen() ? 0.05 + static_cast<double>(r.tuning.replicate) / items : 0) -
           (r.multi() && math && r.small() ? 0.04 + static_cast<double>(r.tuning.replicate) / items : 0);
  };
  const Folder shown(config("replicates = 5\n", large), paper);
  for (const char* claim : {"gains most", "ten times", "plateau earlier", "does not close", "hurts math"}) CHECK_MESSAGE(finding(shown, claim) == "shown", std::string(claim));
  const Folder several(config("replicates = 5\n", large), [&](const Run& r) { return 0.2 + steps(r) * (r.tuning.replicate == 1 && r.multi() ? 0.005 : 0) + steps(r) * (0.01 + (r.small() ? 0 : 0.02) + (r.multi() ? 0.02 : 0) + (r.task == "summary" ? 0.02 : 0)); });
  CHECK(finding(several, "no single variable") == "shown");
  const Folder contrary(config("replicates = 5\n", large), [&](const Run& r) {
    const bool math = r.task == "arithmetic";
    const double most = math ? 1 : !r.small() ? 3 : r.tuning.replicate == 5 ? 2 : 1, rise = std::min(steps(r), most) / most;
    return 0.3 + (r.multi() || r.k == 0 ? static_cast<double>(r.tuning.replicate) / items : 0) + (r.seen() && r.tuning.replicate == 5 ? 1.0 / items : 0) + (math ? 0.05 : 0.3) * rise + (r.seen() && r.k == 10 ? 0.05 : 0) + (r.multi() && math ? 0.04 : 0);
  });
  for (const char* claim : {"gains most", "ten times", "plateau earlier", "does not close", "hurts math"}) CHECK_MESSAGE(finding(contrary, claim) == "not shown", std::string(claim));
  const Folder one_variable(config("replicates = 3\n", large), [](const Run& r) { return r.k == 0 ? 0.3 : r.small() ? 0.4 : 0.6 + (r.multi() ? 0.01 * static_cast<double>(r.tuning.replicate) : 0); });
  CHECK(finding(one_variable, "no single variable") == "not shown");
  const Folder once(config("replicates = 1\n", large), paper);
  for (const char* claim : claims) CHECK_MESSAGE(finding(once, claim) == "undecided", std::string(claim));
  const Folder nothing(config("", large), [](const Run&) { return 0.1; });
  for (const char* claim : claims) CHECK_MESSAGE(finding(nothing, claim) == "not testable here", std::string(claim));
  CHECK(has(transfer_report(nothing.results, nothing.ledger, ""), "no task has scores of both settings that can be told from chance"));
}

TEST_CASE("transfer results: every table has its columns, language groups are a factor, and the page escapes what it is given") {
  const TransferConfig all = config("groups = true\nmatrix = true\ncontrols = true\nbranch_tokens = 2048\nmix_tokens = 2048\n", "[[size]]\nname = \"mixture\"\nbase = \"bam\"\nhidden = 8\nffn = 8\nlayers = 1\nheads = 1\n");
  const Folder f(all, [](const Run& r) { return 0.2 + 0.001 * static_cast<double>(r.k) * (r.trained("gl1") ? 0.2 : 0.1) + (r.task == "summary" ? 0.05 : 0); });
  io::Json none = f.results;
  for (const study::Table& t : tables)
    if (none.contains(t.name)) none.set(t.name, io::Json::array({}));
  for (const auto& [results, ledger] : {std::pair(f.results, f.ledger), std::pair(none, io::Json::array({}))}) {
    study::write_tables(f.root() + "/tables", results, ledger, tables);
    for (const study::Table& t : tables) {
      const std::string csv = io::read_file(f.root() + "/tables/" + t.name + ".csv");
      CHECK(csv.substr(0, csv.find('\n')) == t.columns);
    }
  }
  double share = -1;
  for (const io::Json& v : f.rows("variance", {{"design", "groups"}, {"split", "unseen"}, {"of", "change"}})) {
    CHECK(v.at("grid").as_string("grid") == "task 3 x size 1 x language group 3");
    if (v.at("effect").as_string("effect") == "language group") share = number(v, "share");
  }
  CHECK(share == doctest::Approx(1));  // changes of 0.2 (gl1), 0.1 (gl5) and 0.1 (both, half of the examples each), of all tasks alike
  CHECK(has(summary(f.results), " 400\n"));

  std::string text = io::dump(f.results);  // a task and a size of that name too, which charts have
  for (const char* name : {"\"summary\"", "\"small\""})
    for (std::size_t at = 0; (at = text.find(name, at)) != text.npos;) text.replace(at, std::strlen(name), io::dump(io::Json(Folder::hostile)));
  const std::string page = transfer_report(io::parse_json(text, "results"), f.ledger, "/* charts */");
  CHECK_FALSE(has(page, "<img"));
  CHECK_FALSE(has(page, "</script><img"));
  CHECK(has(page, "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;"));
  CHECK(has(page, "\\u003c/script>\\u003cimg"));
  CHECK(has(page, "chance of pivot"));
  CHECK(has(page, "chance of seen, unseen"));
}

}  // namespace bam::transfer_results_test
