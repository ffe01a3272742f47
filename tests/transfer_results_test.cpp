// What a transfer study finds, from run folders that are made up: the values of its lists, the verdicts of its directions, its tables and its page.
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
  bool seen() const { return language == "gl1" || language == "gl3" || language == "gl5" || language == "gl7"; }
};
using Rank = std::function<double(const Run&)>;  // its share of items whose right answer is first

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
  Folder(const TransferConfig& c, const Rank& rank) : root_((fs::temp_directory_path() / "bam_transfer_results").string()) {
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
          cells.push_back(io::Json::object({{"task", task}, {"language", l}, {"items", items}, {"exact", 0}, {"rank", hits}, {"rank_chance", 0.1}, {"nll", 1.0}, {"nll_stderr", 0.1}, {"tokens", 1000}, {"likelihood", 0.5},
                                            {"likelihood_stderr", 0.01}, {"rivals", 0.4}, {"above_stderr", 0.01}}));
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
    if (r.language == "gl6") return !r.tuning.size->bam ? 0.11 : r.k == 0 ? 0.2 : 0.9;
    return r.k == 0 ? 0.25 : 0.5;
  });
  for (const char* what : {"score", "gain"}) {
    const io::Json row = b.row("bases", {{"what", what}});
    CHECK(number(row, "mean") == 0);
    CHECK(row.at("languages").as_string("languages") == "gl2 (2), gl4 (2)");
  }
}

}  // namespace bam::transfer_results_test
