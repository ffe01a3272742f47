// A small study of cross-lingual transfer: a stopped study continues to the same results, sets are nested and shared as the protocol asks, items
// have fair rivals, and bad files are refused by name.
#include <doctest/doctest.h>

#include <filesystem>
#include <set>

#include "bam/study/tables.hpp"
#include "bam/study/transfer_plan.hpp"
#include "bam/study/transfer_report.hpp"
#include "bam/study/transfer_results.hpp"
#include "bam/study/transfer_summary.hpp"

using namespace bam;
using namespace bam::study::transfer;
namespace fs = std::filesystem;

namespace {

TransferConfig small(const std::string& set = "", const std::string& size = "") {
  auto given = [&](const char* key, const char* line) { return set.find(key) == set.npos ? std::string(line) + "\n" : std::string(); };
  return parse_transfer("[study]\nseen = [\"gl1\", \"gl5\"]\nunseen = [\"gl6\"]\nvocab_size = 300\nbatch = 2\ntune_batch = 4\nitems = 3\nrivals = 2\nsamples = 1\nvalidation = 1\nprimary = [\"rank\"]\n" +
                            given("context", "context = 512") + given("pretrain_tokens", "pretrain_tokens = 4000") + given("english", "english = 6") + given("k =", "k = [0, 2, 4]") + set +
                            "[[size]]\nname = \"d8\"\nhidden = 8\nffn = 8\nlayers = 1\nheads = 1\n" + size,
                        "study.toml");
}

std::string run(const TransferConfig& config, const std::string& out, int stop_after) {
  study::StudyHooks hooks;
  int steps = 0;
  hooks.begin = [&](const std::string&, std::int64_t, const ModelConfig&, std::int64_t) { return [&](std::int64_t, std::int64_t, const StepResult&, double, double) { ++steps; }; };
  hooks.stop_signal = [&] { return steps >= stop_after ? 15 : 0; };
  TransferStudy(config, out, "test", hooks).execute();
  return io::dump(Results(config, out).json());
}

std::string fresh(const char* name) {
  const std::string root = (fs::temp_directory_path() / name).string();
  fs::remove_all(root);
  return root;
}

std::vector<std::string> lines_of(const std::string& file) {
  std::vector<std::string> list;
  const std::string all = io::read_file(file);
  for (std::size_t at = 0; at < all.size(); at = all.find('\n', at) + 1) list.push_back(all.substr(at, all.find('\n', at) - at));
  return list;
}

}  // namespace

TEST_CASE("transfer: stopped anywhere it continues to the same results; sets are nested and English is the same everywhere") {
  const std::string root = fresh("bam_transfer_test");
  const TransferConfig config = small("groups = true\nmatrix = true\ntasks = [\"instructions\", \"arithmetic\"]\nsettings = [\"single\", \"multi\", \"multi-equal-total\"]\n");
  const std::string whole = run(config, root + "/whole", 1 << 30);
  std::string continued;
  int stops = 0;
  for (int at = 3; continued.empty(); at += 17) {
    try {
      continued = run(config, root + "/parts", at);
    } catch (const study::Stopped& s) {
      CHECK(s.signal == 15);
      ++stops;
    }
  }
  CHECK(stops >= 4);
  CHECK(continued == whole);
  CHECK_THROWS_WITH_AS(run(small("english = 7\n"), root + "/parts", 1 << 30), doctest::Contains("other settings"), Error);

  const io::Json results = io::parse_json(whole, "results");
  std::set<std::string> combinations;
  for (const io::Json& r : results.at("runs").items("runs")) {
    for (const char* key : {"task", "setting", "size", "k", "languages", "language", "split", "score", "value", "n", "chance"}) CHECK(r.contains(key));
    if (r.at("score").as_string("score") == "rank") combinations.insert(str(r.at("task").as_string("task"), r.at("setting").as_string("setting"), r.at("k").as_int("k"), r.at("languages").as_string("languages"), r.at("language").as_string("language"),
                                                                          r.at("control").as_string("control")));
  }
  // two tasks, four languages; three settings at three k, two groups of one language and a mixed one, two rows of the matrix, two controls
  CHECK(combinations.size() == 2 * 4 * (3 * 3 + 3 + 2 + 2));
  CHECK(results.at("directions").size() == 6);
  CHECK(results.at("matrix").size() == 2 * 2 * 3);
  CHECK(results.at("groups").size() == 2 * 3 * 2);
  for (const io::Json& c : results.at("controls").items("controls"))
    if (c.at("control").as_string("control") == "English alone, once more") CHECK(c.at("passes").as_bool("passes"));
  // Of the same task and language, a smaller k lies inside a larger one, in single and multi alike.
  auto set_of = [&](const std::string& name, const std::string& language) {
    std::set<std::string> found;
    for (const std::string& line : lines_of(root + "/whole/data/d8/r1/" + name + "/train.jsonl"))
      if (const io::Json e = io::parse_json(line, name); e.at("lang").as_string("lang") == language && e.at("task").as_string("task") == "arithmetic") found.insert(line);
    return found;
  };
  const auto two = set_of("arithmetic/gl1+gl5-k2", "gl1"), four = set_of("arithmetic/gl1+gl5-k4", "gl1");
  CHECK(two.size() == 2);
  CHECK(four.size() == 4);
  CHECK(std::includes(four.begin(), four.end(), two.begin(), two.end()));
  CHECK(set_of("multi/gl1+gl5-k4", "gl1") == four);
  CHECK(set_of("arithmetic/en", "gl0").size() == 6);
  for (const char* name : {"arithmetic/gl1+gl5-k4", "multi/en", "multi/gl1+gl5-k2", "arithmetic/gl1-k4"}) CHECK(set_of(name, "gl0") == set_of("arithmetic/en", "gl0"));
  CHECK(set_of("multi-equal-total/gl1+gl5-k4", "gl1").size() == 2);
  CHECK(set_of("shuffled-multi/gl1+gl5-k4", "gl1") != four);

  const io::Json ledger = Results(config, root + "/whole").ledger();
  CHECK(ledger.size() == Plan(config).tunings().size() + 1);
  study::write_tables(root + "/tables", results, ledger, {"runs", "measures", "variance", "matrix", "ledger"});
  CHECK(io::read_file(root + "/tables/runs.csv").starts_with("task,setting,size,k,languages,language,split,replicate,score,value,n,chance,"));
  CHECK(summary(results).find("cannot be told from chance") != std::string::npos);
  const std::string page = transfer_report(results, ledger, "");
  for (const char* id : {"directions", "curves", "measures", "interference", "languages", "variance", "controls", "groups", "samples", "ledger"}) CHECK(page.find(str("<section id=", id)) != std::string::npos);
  for (const char* address : {"http:", "https:", "src="}) CHECK(page.find(address) == page.npos);
  CHECK(transfer_report(io::Json::object(), io::Json::array({}), "").find("Missing") != std::string::npos);
  fs::remove_all(root);
}

TEST_CASE("transfer: a BAM base is branched, upcycled and compared with the dense one of its shape") {
  const std::string root = fresh("bam_transfer_bases");
  const TransferConfig config = small("tasks = [\"instructions\"]\nsettings = [\"single\"]\nk = [0, 2]\ncontrols = false\nbranch_tokens = 2048\nmix_tokens = 2048\n",
                                      "[[size]]\nname = \"b8\"\nbase = \"bam\"\nhidden = 8\nffn = 8\nlayers = 1\nheads = 1\n");
  const io::Json results = io::parse_json(run(config, root, 1 << 30), "results");
  CHECK(results.at("sizes").at(1).at("base").as_string("base") == "bam");
  CHECK(results.at("bases").size() == 2);
  CHECK(Results(config, root).ledger().size() == 2 * 3 + 4);
  CHECK(io::read_model_config(root + "/runs/b8/r1/mixture-init/config.json").model.num_experts == 4);
  fs::remove_all(root);
}

TEST_CASE("transfer: rivals are wrong, say the same in all languages, and chance is what reads no prompt") {
  for (Task task : lang::tasks)
    for (std::uint64_t i = 0; i < 45; ++i) {
      const lang::Example e = lang::task_example(task, 0, lang::Split::test, 3, i), other = lang::task_example(task, 5, lang::Split::test, 3, i);
      const auto rivals = rivals_of(e, 3, i, 9), further = rivals_of(other, 3, i, 9);
      CHECK(rivals.size() == further.size());
      CHECK(rivals.size() >= 1);
      for (const std::string& r : rivals) CHECK_MESSAGE(!lang::accepts(e, r), e.prompt, " | ", r);
      if (task == Task::arithmetic) {
        CHECK(rivals.size() == 9);
        CHECK(other_answers(e, 3, i, 3).size() == 3);
        // The same solution with another last result.
        for (const std::string& r : rivals) CHECK(r.substr(0, e.completion.rfind("= ")) == e.completion.substr(0, e.completion.rfind("= ")));
      }
    }
  const double summary = constant_answer_rate(Task::summary, 3), instructions = constant_answer_rate(Task::instructions, 3);
  CHECK(summary < 0.05);
  CHECK(instructions > 0.02);  // yes or no, how many
  CHECK(instructions < 0.2);
}

TEST_CASE("transfer: the plan has every training once, and runs that are the same are shared") {
  const TransferConfig config = small("groups = true\nmatrix = true\nreplicates = 2\n");
  const Plan plan(config);
  std::set<std::string> runs;
  for (const Tuning& t : plan.tunings()) runs.insert(t.run);
  CHECK(runs.size() == plan.tunings().size());
  // per replicate: three tasks and multi at three k; of each task Latin and other, which the matrix shares; mixed, two of each, is k = 2; two controls
  CHECK(runs.size() == 2 * (4 * 3 + 3 * 2) + 2);
  const auto list = estimates(config, false);
  CHECK(list.size() == runs.size() + 2);
  double english = 0, all = 0;
  for (const Estimate& e : list) {
    CHECK(e.flops > 0);
    if (e.run == "d8/r1/arithmetic/en") english = e.tokens;
    if (e.run == "d8/r1/arithmetic/gl1+gl5-k4") all = e.tokens;
  }
  CHECK(all > 1.5 * english);
}

TEST_CASE("transfer: bad files are refused by name") {
  auto message = [](const std::string& set, const std::string& size = "") {
    try {
      small(set, size);
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::input);
      return std::string(e.what());
    }
    return std::string("no error");
  };
  CHECK(message("tasks = [\"sumary\"]\n").find("did you mean summary?") != std::string::npos);
  CHECK(message("replicate = 3\n").find("did you mean replicates?") != std::string::npos);
  CHECK(message("k = [30, 300]\n").find("study.k") != std::string::npos);
  CHECK(message("k = [0, 300, 30]\n").find("ascending") != std::string::npos);
  CHECK(message("settings = [\"single\", \"single\"]\n").find("twice") != std::string::npos);
  CHECK(message("matrix = true\nsettings = [\"multi\"]\n").find("study.matrix") != std::string::npos);
  CHECK_THROWS_WITH_AS(parse_transfer("[study]\nprimary = [\"bleu\"]\npretrain_tokens = 1\n", "s.toml"), doctest::Contains("study.primary"), Error);
  CHECK(message("", "[[size]]\nname = \"d8\"\nhidden = 8\nheads = 1\n").find("two sizes") != std::string::npos);
  CHECK(message("", "[[size]]\nname = \"b8\"\nbase = \"bam\"\nhidden = 8\nheads = 1\n").find("branch_tokens") != std::string::npos);
  CHECK(message("", "[[size]]\nname = \"b8\"\nbase = \"moe\"\nhidden = 8\nheads = 1\n").find("size.base") != std::string::npos);
  CHECK_THROWS_WITH_AS(parse_transfer("[study]\nseen = [\"gl1\"]\nunseen = [\"gl1\"]\n", "s.toml"), doctest::Contains("unseen too"), Error);
  CHECK_THROWS_WITH_AS(parse_transfer("[study]\nseen = [\"gl1\"]\nunseen = [\"gl2\"]\ngroups = true\n", "s.toml"), doctest::Contains("study.groups"), Error);
  CHECK(parse_transfer(demo_transfer, "demo").sizes.size() == 2);
}
