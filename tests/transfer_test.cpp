// A small study of cross-lingual transfer: a stopped study continues to the same results, sets are nested and shared as the protocol asks, items
// have fair rivals, and bad files are refused by name.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

#include "bam/study/tables.hpp"
#include "bam/study/transfer_plan.hpp"
#include "bam/study/transfer_report.hpp"
#include "bam/study/transfer_results.hpp"
#include "bam/study/transfer_summary.hpp"

namespace bam::transfer_test {

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
  // Pruned, the folder has neither weights nor logs, and the same results. For a run that is missing, the base is trained again.
  CHECK(TransferStudy(config, root + "/parts", "test", {}).prune() > 100'000);
  for (const auto& file : fs::recursive_directory_iterator(root + "/parts/runs"))
    if (file.is_regular_file()) CHECK_MESSAGE(file.path().extension() == ".json", file.path().string());
  CHECK(run(config, root + "/parts", 0) == whole);  // stops at the first step, of which there is none
  fs::remove_all(root + "/parts/runs/d8/r1/arithmetic/gl1+gl5-k4");
  CHECK(run(config, root + "/parts", 1 << 30) == whole);
  CHECK(fs::exists(root + "/parts/runs/d8/r1/base/checkpoints"));
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
    else CHECK(c.at("by_item").as_bool("by_item") == (c.at("score").as_string("score") != "likelihood"));
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

TEST_CASE("transfer: a BAM base is branched, upcycled and compared with dense ones: of its shape, trained on with as much text, with as many active parameters") {
  const std::string root = fresh("bam_transfer_bases");
  const TransferConfig config = small("tasks = [\"instructions\"]\nsettings = [\"single\"]\nk = [0, 2]\ncontrols = false\nbranch_tokens = 2048\nmix_tokens = 2048\n",
                                      "[[size]]\nname = \"b8\"\nbase = \"bam\"\nhidden = 8\nffn = 8\nlayers = 1\nheads = 1\n"
                                      "[[size]]\nname = \"c8\"\nbase = \"dense-continued\"\nhidden = 8\nffn = 8\nlayers = 1\nheads = 1\n"
                                      "[[size]]\nname = \"w8\"\nhidden = 8\nffn = 40\nlayers = 1\nheads = 1\n"
                                      "[[size]]\nname = \"w80\"\nhidden = 80\nffn = 8\nlayers = 1\nheads = 1\n");
  const io::Json results = io::parse_json(run(config, root, 1 << 30), "results");
  CHECK(results.at("sizes").at(1).at("base").as_string("base") == "bam");
  CHECK(results.at("sizes").at(2).at("base").as_string("base") == "dense-continued");
  std::vector<std::string> pairs;
  for (const io::Json& row : results.at("bases").items("bases")) {
    CHECK(row.at("mixture").as_string("mixture") == "b8");
    if (row.at("what").as_string("what") == "score") pairs.push_back(str(row.at("dense").as_string("dense"), row.at("same_shape").as_bool("same_shape") ? " shape" : " active"));
  }
  CHECK(pairs == std::vector<std::string>{"d8 shape", "c8 shape", "w8 active"});
  CHECK(Results(config, root).ledger().size() == 5 * 2 + 1 + 5 + 2 + 1 + 1);
  CHECK(io::read_model_config(root + "/runs/b8/r1/mixture-init/config.json").model.num_experts == 4);
  auto done = [&](const std::string& run) { return io::parse_json(io::read_file(root + "/runs/" + run + "/done.json"), run); };
  CHECK(done("c8/r1/base").at("hash").as_string("hash") == done("d8/r1/base").at("hash").as_string("hash"));
  CHECK(done("c8/r1/continued").at("steps").as_int("steps") == (3 * 2048 + 2048) / (2 * 512));
  CHECK(done("b8/r1/mixture").at("steps").as_int("steps") + 3 * done("b8/r1/branch-seen").at("steps").as_int("steps") == done("c8/r1/continued").at("steps").as_int("steps"));
  // Of each language as much as branches and mixture read: the pivot's share of it is (0.9 + 3 x 0.1 x 0.4 + 0.4) / 4 here.
  const std::string toml = io::read_file(root + "/runs/c8/r1/continued/resolved.toml");
  double all = 0, pivot = 0;
  const toml::table table = toml::parse(toml);
  for (const toml::node& d : *table["data"].as_array()) {
    const double weight = *d.as_table()->at("weight").value<double>();
    all += weight;
    if (d.as_table()->at("path").value<std::string>()->ends_with("/" + config.pivot + ".jsonl")) pivot = weight;
  }
  CHECK(pivot / all == doctest::Approx((0.9 + 3 * 0.1 * 0.4 + 0.4) / 4));
  fs::remove_all(root);
}

TEST_CASE("transfer: bases of both families") {
  const std::string root = fresh("bam_transfer_families"), llama = "[[size]]\nname = \"l8\"\nfamily = \"llama\"\nhidden = 8\nffn = 8\nlayers = 1\nheads = 1\n";
  const TransferConfig config = small("tasks = [\"instructions\"]\nsettings = [\"single\"]\nk = [0, 2]\ncontrols = false\n", llama);
  const io::Json results = io::parse_json(run(config, root, 1 << 30), "results");
  CHECK(results.at("sizes").at(0).at("family").as_string("family") == "cohere");
  CHECK(results.at("sizes").at(1).at("family").as_string("family") == "llama");
  // a second norm a layer
  CHECK(results.at("sizes").at(1).at("parameters").as_int("parameters") == results.at("sizes").at(0).at("parameters").as_int("parameters") + 8);
  CHECK(io::read_model_config(root + "/runs/l8/r1/config.json").model.family == Family::llama);
  const std::string both = "branch_tokens = 2048\nmix_tokens = 2048\n";
  CHECK_THROWS_WITH_AS(small(both, std::string(llama).replace(llama.find("hidden"), 0, "base = \"bam\"\n")), doctest::Contains("size.family"), Error);
  fs::remove_all(root);
}

TEST_CASE("transfer: rivals are wrong, say the same in all languages, and chance is what reads no prompt") {
  for (lang::Task task : lang::tasks)
    for (std::uint64_t i = 0; i < 45; ++i) {
      const lang::Example e = lang::task_example(task, 0, lang::Split::test, 3, i), other = lang::task_example(task, 5, lang::Split::test, 3, i);
      const auto rivals = rivals_of(e, 3, i, 9), further = rivals_of(other, 3, i, 9);
      CHECK(rivals.size() == further.size());
      for (const std::string& r : rivals) CHECK_MESSAGE((task == lang::Task::arithmetic ? r != e.completion : !lang::accepts(e, r)), e.prompt, " | ", r);
      if (task == lang::Task::arithmetic) {
        const lang::Example retold = lang::task_example(task, 0, lang::Split::test, 3, i, 1);
        auto words = [](const std::string& text) { return std::regex_replace(text, std::regex("[0-9]+"), "#"); };
        auto steps = [&](const std::string& text) { return std::regex_replace(words(text), std::regex("[a-z]+"), "w"); };  // "1 lamp" and "2 lamps" alike
        CHECK(words(retold.prompt) == words(e.prompt));
        CHECK(lang::accepts(retold, retold.completion));
        for (const std::string& r : rivals) CHECK(steps(r) == steps(e.completion));
      }
    }
  const double summary = constant_answer_rate(lang::Task::summary, 3), instructions = constant_answer_rate(lang::Task::instructions, 3);
  CHECK(summary < 0.05);
  CHECK(instructions > 0.02);  // yes or no, how many
  CHECK(instructions < 0.2);
}

TEST_CASE("transfer: who reads no prompt ranks the right answer first as often as chance says, whatever answers he prefers") {
  for (lang::Task task : lang::tasks) {
    // He knows how often tests like this one have each answer to a template, and takes the most frequent.
    std::map<std::pair<int, std::string>, int> frequency;
    constexpr std::uint64_t items = 4800;
    auto answer = [&](const std::string& completion) { return task == lang::Task::arithmetic ? completion.substr(completion.rfind(' ')) : completion; };
    for (std::uint64_t i = 0; i < items; ++i) {
      const lang::Example e = lang::task_example(task, 0, lang::Split::test, 4, i);
      ++frequency[{e.form, answer(e.completion)}];
    }
    double first = 0, chance = 0, variance = 0, ranked = 0, kept = 0;
    for (std::uint64_t i = 0; i < items; ++i) {
      const lang::Example e = lang::task_example(task, 0, lang::Split::test, 3, i);
      const std::vector<std::string> rivals = rivals_of(e, 3, i, 5);
      if (rivals.empty()) continue;
      auto liking = [&](const std::string& text) { return std::pair(frequency[{e.form, answer(text)}], std::hash<std::string>{}(text)); };
      const double by_chance = 1 / static_cast<double>(1 + rivals.size());
      first += std::all_of(rivals.begin(), rivals.end(), [&](const std::string& r) { return liking(e.completion) > liking(r); });
      chance += by_chance;
      variance += by_chance * (1 - by_chance);
      ranked += static_cast<double>(rivals.size());
      ++kept;
    }
    INFO(lang::task_names[static_cast<int>(task)], ": ", first / kept, " first, chance ", chance / kept, ", ", ranked / kept, " rivals, ", kept, " items");
    CHECK(std::fabs(first - chance) < 3.5 * std::sqrt(variance));
    CHECK(kept > 0.9 * items);
    CHECK(ranked / kept > 3.5);
  }
}

namespace {

// Text and tasks of four languages: sums in all but ru, translation in all but the pivot, a choice test, parallel sentences.
void write_files(const std::string& root) {
  auto write = [&](const std::string& name, const std::string& text) {
    fs::create_directories(fs::path(root + "/" + name).parent_path());
    io::write_file_atomic(root + "/" + name, text);
  };
  const std::vector<std::pair<std::string, std::string>> words{{"en", "the sum of the two is"}, {"de", "die Summe der beiden ist"}, {"fr", "la somme des deux est"}, {"ru", "\u0441\u0443\u043c\u043c\u0430"}};
  std::string text, sums[3], translations[3], choices, parallel;
  for (const auto& entry : words) {
    const std::string &code = entry.first, &sentence = entry.second;
    for (int i = 0; i < 40; ++i) text += io::dump(io::Json::object({{"text", str(sentence, " ", i, ", ", sentence, " ", i + 1, ".")}, {"lang", code}})) + "\n";
    for (int i = 0; i < 30; ++i) {
      const int split = i < 18 ? 0 : i < 22 ? 1 : 2;
      auto line = [&](const std::string& task, const std::string& prompt, const std::string& completion) {
        return io::dump(io::Json::object({{"id", str(task, "/", code, "/", i)}, {"task", "any"}, {"lang", code}, {"prompt", prompt}, {"completion", completion}, {"parallel_id", str(task, "/", i)}})) + "\n";
      };
      if (code != "ru") sums[split] += line("sum", str(i, " + ", i + 1, ": ", sentence), str(2 * i + 1));
      if (code != "en") translations[split] += line("translation", str(sentence, " ", i), str("the sum is ", i));
      if (split == 2) choices += io::dump(io::Json::object({{"prompt", str(sentence, " ", i)}, {"choices", io::Json::array({str(i), str(i + 7)})}, {"answer_index", 0}, {"completion", str(i)}, {"task", "c"}, {"lang", code}})) + "\n";
      if (split == 2) parallel += io::dump(io::Json::object({{"text", str(sentence, " ", i)}, {"lang", code}, {"parallel_id", str(i)}})) + "\n";
    }
  }
  // A training item that is a test item of another file too, under another id.
  sums[0] += "{\"id\": \"leak\", \"task\": \"any\", \"lang\": \"de\", \"prompt\": \"7 + 8?\", \"completion\": \"15\"}\n";
  // And one that is a test item by its id, whatever the files call the task.
  sums[0] += "{\"id\": \"copy\", \"task\": \"another word\", \"lang\": \"de\", \"prompt\": \"25 plus 26?\", \"completion\": \"51\", \"parallel_id\": \"sum/25\"}\n";
  write("further.jsonl", "{\"id\": \"other\", \"task\": \"x\", \"lang\": \"de\", \"prompt\": \"7 + 8?\", \"completion\": \"15\"}\n{\"id\": \"more\", \"task\": \"x\", \"lang\": \"de\", \"prompt\": \"7 + 9?\", \"completion\": \"16\"}\n");
  write("text/all.jsonl", text);
  const char* splits[] = {"train", "validation", "test"};
  for (int s = 0; s < 3; ++s) {
    write(str("sums/", splits[s], ".jsonl"), sums[s]);
    write(str("translation/", splits[s], ".jsonl"), translations[s]);
  }
  write("choices.jsonl", choices);
  write("parallel.jsonl", parallel);
  // In each language: no comma, at least three words, three again, forty. The documents have commas and more than three words.
  std::string told;
  for (int i = 0; i < 8; ++i)
    told += str("{\"id\": \"told/", i, "\", \"lang\": \"", i < 4 ? "de" : "fr", "\", \"prompt\": \"Schreib ", i, "\", \"instruction_id_list\": [\"", i % 4 ? "length_constraints:number_words" : "punctuation:no_comma", "\"], \"kwargs\": [",
                i % 4 ? str("{\"relation\": \"at least\", \"num_words\": ", i % 4 == 3 ? 40 : 3, "}") : "{}", "]}\n");
  write("told.jsonl", told);
}

std::string files_toml(const std::string& more = "") {
  return "[study]\ntext = [\"text\"]\nseen = [\"de\"]\nunseen = [\"fr\", \"ru\"]\nk = [0, 4, 18, 19]\nenglish = 10\nitems = 6\nrivals = 3\nvalidation = 2\nsamples = 1\nvocab_size = 300\ncontext = 96\nbatch = 2\ntune_batch = 4\n"
         "pretrain_tokens = 2000\nprimary = [\"rank\", \"chrf\"]\n"
         "[[task]]\nname = \"math\"\nscore = \"number\"\ntrain = [\"sums/train.jsonl\"]\nvalidation = [\"sums/validation.jsonl\"]\ntest = [\"sums/test.jsonl\"]\n"
         "[[task]]\nname = \"translation\"\nscore = \"chrf\"\ntrain = [\"translation/train.jsonl\"]\nvalidation = [\"translation/validation.jsonl\"]\ntest = [\"translation/test.jsonl\"]\n"
         "[[test]]\nname = \"further\"\ntask = \"math\"\nfiles = [\"further.jsonl\"]\n[[test]]\nname = \"choices\"\nfiles = [\"choices.jsonl\"]\n[[test]]\nname = \"parallel\"\nscore = \"text\"\nfiles = [\"parallel.jsonl\"]\n"
         "[[test]]\nname = \"told\"\nscore = \"instructions\"\nfiles = [\"told.jsonl\"]\n" +
         more + "[[size]]\nname = \"d8\"\nhidden = 8\nffn = 8\nlayers = 1\nheads = 1\n";
}

}  // namespace

TEST_CASE("transfer: files of real languages, with tasks that not all of them have, and further tests") {
  const std::string root = fresh("bam_transfer_files"), data = root + "/data";
  auto with = [](const std::string& from, const std::string& to) {
    std::string text = files_toml();
    return text.replace(text.find(from), from.size(), to);
  };
  write_files(data);
  const TransferConfig config = parse_transfer(files_toml(), "study.toml", {}, data);
  CHECK(config.corpus->language("de").latin);
  CHECK(config.corpus->language("ru").script == "Cyrillic");
  CHECK(config.corpus->available("math", "de") == 18);  // without the one that a test has
  CHECK(config.corpus->available("math", "ru") == 0);
  CHECK(config.corpus->available("translation", "en") == 0);
  const Plan plan(config);
  CHECK(plan.largest_k("math") == 18);
  for (const Place& p : plan.places())
    if (p.control == Control::none) CHECK(p.k <= 18);
  // Items of one meaning have the same rivals in all languages; a rival is another number.
  const auto de = config.corpus->items("math", "de", 6, 3, 1), fr = config.corpus->items("math", "fr", 6, 3, 1);
  REQUIRE(de.size() == 6);
  for (std::size_t i = 0; i < de.size(); ++i) {
    CHECK(de[i].answer == fr[i].answer);
    CHECK(de[i].rivals == fr[i].rivals);
    CHECK(de[i].rivals.size() == 3);
    CHECK(de[i].accepts("= " + de[i].answer));
    for (const std::string& r : de[i].rivals) CHECK_FALSE(de[i].accepts(r));
  }
  CHECK(config.corpus->constant_answer_rate("math", "de", 1) == doctest::Approx(1.0 / 8));
  // Rivals end where an answer comes twice: where there are four answers, some items have fewer than the three others.
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += str("{\"id\": \"t", i, "\", \"prompt\": \"which? ", i, "\", \"completion\": \"answer ", i % 4, "\", \"task\": \"x\", \"lang\": \"de\"}\n");
  io::write_file_atomic(data + "/twice.jsonl", lines);
  const TransferConfig twice = parse_transfer(files_toml("[[test]]\nname = \"twice\"\ntask = \"math\"\nfiles = [\"twice.jsonl\"]\n"), "study.toml", {}, data);
  std::set<std::size_t> counts;
  for (const TestItem& item : twice.corpus->items("twice", "de", 40, 3, 1)) {
    counts.insert(item.rivals.size());
    CHECK(std::set<std::string>(item.rivals.begin(), item.rivals.end()).size() == item.rivals.size());
    for (const std::string& r : item.rivals) CHECK_FALSE(item.accepts(r));
  }
  CHECK(counts.size() > 1);
  CHECK(*counts.rbegin() <= 3);
  CHECK(config.corpus->items("math", "ru", 6, 3, 1).empty());
  CHECK(config.corpus->items("choices", "ru", 6, 3, 1).size() == 6);
  CHECK(config.corpus->items("parallel", "ru", 6, 3, 1)[0].rivals.empty());
  const auto told = config.corpus->items("told", "de", 4, 3, 1);
  REQUIRE(told.size() == 4);
  auto followed = [&](const std::string& text) { return std::count_if(told.begin(), told.end(), [&](const TestItem& item) { return item.accepts(text); }); };
  CHECK(followed("") == 0);
  CHECK(followed("drei, vier") == 0);
  CHECK(followed("nur eins") == 1);
  CHECK(followed("eins, zwei, drei") == 2);
  CHECK(followed("eins zwei drei") == 3);
  CHECK(config.corpus->constant_answer_rate("told", "de", 1) == doctest::Approx(0.5));
  // Answers of what is written may take half of the context (96), so every prompt keeps its end; those of what is only scored all of it but BOS. A rival that takes more is none.
  std::string written, scored;
  for (const std::size_t n : {3U, 20U, 48U, 49U, 95U, 96U}) {  // letters that the text does not have: as many tokens
    const std::string prompt(200, 'Q'), answer = str(n % 10) + std::string(n - 1, 'Z');
    written += io::dump(io::Json::object({{"id", str("w", n)}, {"prompt", prompt}, {"completion", answer}, {"task", "x"}, {"lang", "de"}})) + "\n";
    scored += io::dump(io::Json::object({{"prompt", prompt}, {"choices", io::Json::array({answer, "X", "YY"})}, {"answer_index", 0}, {"completion", answer}, {"task", "x"}, {"lang", "de"}})) + "\n";
  }
  io::write_file_atomic(data + "/written.jsonl", written);
  io::write_file_atomic(data + "/scored.jsonl", scored);
  const TransferConfig longer = parse_transfer(files_toml("[[test]]\nname = \"written\"\ntask = \"translation\"\nfiles = [\"written.jsonl\"]\n[[test]]\nname = \"scored\"\nfiles = [\"scored.jsonl\"]\n"), "study.toml", {}, data);
  const text::Tokenizer tokenizer = text::Tokenizer::parse(train_tokenizer(longer, 60), "tokenizer");
  for (const TestInfo& info : longer.corpus->tests(longer.tasks))
    if (info.name == "written" || info.name == "scored") {
      const TestSet set = test_set(*longer.corpus, info, "de", tokenizer, 6, 5, 96, 1);
      CHECK(set.dropped == (info.written ? 3 : 1));
      CHECK(set.longest == (info.written ? 48 : 95));
      for (const auto& prompt : set.prompts) {
        CHECK(static_cast<std::int64_t>(prompt.size()) == (info.written ? 96 - set.longest - 1 : 201));
        CHECK(prompt[0] == tokenizer.bos_id());
      }
      for (std::size_t i = 0; i < set.items.size(); ++i) {
        CHECK(set.items[i].rivals.size() == 2);
        CHECK(set.questions[i].answers.size() == 3);
      }
    }
  // Shuffled completions are other ones.
  const clt::Pool straight = config.corpus->pool("math", "de", 4, 1, false), shuffled = config.corpus->pool("math", "de", 4, 1, true);
  for (std::size_t i = 0; i < straight.lines.size(); ++i) {
    const io::Json a = io::parse_json(straight.lines[i], "a"), b = io::parse_json(shuffled.lines[i], "b");
    CHECK(a.at("prompt").as_string("a") == b.at("prompt").as_string("b"));
    CHECK(a.at("completion").as_string("a") != b.at("completion").as_string("b"));
  }

  const std::string whole = run(config, root + "/whole", 1 << 30);
  std::string continued;
  for (int at = 3; continued.empty(); at += 17) {
    try {
      continued = run(config, root + "/parts", at);
    } catch (const study::Stopped&) {
    }
  }
  CHECK(continued == whole);
  const io::Json results = io::parse_json(whole, "results");
  std::set<std::string> cells, tests;
  for (const io::Json& r : results.at("runs").items("runs")) cells.insert(str(r.at("task").as_string("task"), " ", r.at("language").as_string("language"), " ", r.at("score").as_string("score")));
  CHECK(cells.size() == 3 * 4 + 3 * 5);  // math in en, de, fr: exact, rank, likelihood, nll; translation in de, fr, ru: chrf too
  CHECK(cells.contains("translation ru chrf"));
  for (const io::Json& r : results.at("tests").items("tests")) {
    tests.insert(str(r.at("test").as_string("test"), " ", r.at("task").as_string("task"), " ", r.at("score").as_string("score")));
    if (r.at("score").as_string("score") == "rank" && r.at("test").as_string("test") == "choices") CHECK(r.at("chance").as_double("chance") == doctest::Approx(0.5));
  }
  for (const char* t : {"further math exact", "further math rank", "choices all rank", "choices translation rank", "parallel math nll per byte", "told all exact", "told translation exact"}) CHECK_MESSAGE(tests.contains(t), t);
  CHECK_FALSE(tests.contains("further translation rank"));
  CHECK_FALSE(tests.contains("choices all exact"));
  CHECK_FALSE(tests.contains("told all rank"));
  CHECK_FALSE(tests.contains("told all nll"));
  CHECK(results.at("data").size() == 3 + 3);
  // A language that the study trains on, but not on sums, is neither seen nor unseen in them.
  io::write_file_atomic(data + "/sums/ru.jsonl", "{\"id\": \"r1\", \"prompt\": \"2 + 3\", \"completion\": \"5\", \"task\": \"any\", \"lang\": \"ru\"}\n{\"id\": \"r2\", \"prompt\": \"2 + 5\", \"completion\": \"7\", \"task\": \"any\", \"lang\": \"ru\"}\n");
  std::string without = files_toml();
  for (const auto& [from, to] : {std::pair<std::string, std::string>{"\"sums/test.jsonl\"", "\"sums/test.jsonl\", \"sums/ru.jsonl\""}, {"seen = [\"de\"]\nunseen = [\"fr\", \"ru\"]\nk = [0, 4, 18, 19]", "seen = [\"de\", \"ru\"]\nunseen = [\"fr\"]\nk = [0, 4]\nsettings = [\"single\"]\ncontrols = false"}}) {
    REQUIRE(without.find(from) != without.npos);
    without.replace(without.find(from), from.size(), to);
  }
  const io::Json partly = io::parse_json(run(parse_transfer(without, "study.toml", {}, data), root + "/partly", 1 << 30), "results");
  std::set<std::string> splits;
  for (const io::Json& r : partly.at("runs").items("runs"))
    if (r.at("language").as_string("language") == "ru") splits.insert(str(r.at("task").as_string("task"), " ", r.at("split").as_string("split")));
  CHECK(splits == std::set<std::string>{"math without examples", "translation seen"});
  for (const io::Json& c : partly.at("curves").items("curves"))
    if (c.at("split").as_string("split") == "seen" && c.at("score").as_string("score") == "rank") CHECK(c.at("cells").as_int("cells") == (c.at("task").as_string("task") == "math" ? 1 : 2));
  // Translation has nothing in the pivot: at k = 0 the base model itself.
  CHECK(io::parse_json(io::read_file(root + "/whole/runs/d8/r1/translation/en/done.json"), "done").at("tokens").as_int("tokens") == 0);
  const io::Json ledger = Results(config, root + "/whole").ledger();
  study::write_tables(root + "/tables", results, ledger, tables);
  for (const study::Table& t : tables) CHECK(lines_of(root + "/tables/" + t.name + ".csv")[0] == t.columns);
  const std::string page = transfer_report(results, ledger, "");
  for (const char* words : {"those of real languages", "Further tests", "parallel, nll per byte", "Examples by task and language"}) CHECK_MESSAGE(page.find(words) != page.npos, words);
  const auto list = estimates(config, false);
  CHECK(list.size() == plan.tunings().size() + 1);
  // Another score, a test file more or less, or another file is another study.
  for (const std::string& text : {with("score = \"number\"", "score = \"match\""), with("name = \"further\"", "name = \"other\""), with("primary = [\"rank\", \"chrf\"]", "primary = [\"rank\"]\ntasks = [\"math\"]")})
    CHECK_THROWS_WITH_AS(run(parse_transfer(text, "study.toml", {}, data), root + "/whole", 1 << 30), doctest::Contains("another corpus"), Error);
  std::ofstream(data + "/choices.jsonl", std::ios::app) << io::read_file(data + "/choices.jsonl").substr(0, io::read_file(data + "/choices.jsonl").find('\n') + 1);
  CHECK_THROWS_WITH_AS(run(parse_transfer(files_toml(), "study.toml", {}, data), root + "/whole", 1 << 30), doctest::Contains("another corpus"), Error);

  auto message = [&](const std::string& text, const std::string& folder) {
    try {
      parse_transfer(text, "study.toml", {}, folder);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  CHECK(message(files_toml(), "").find("wanted --data DIR") != std::string::npos);
  CHECK(message(demo_transfer, data).find("leave --data out") != std::string::npos);
  CHECK(message(with("\"fr\", \"ru\"", "\"fr\", \"xx\""), data).find("'xx'") != std::string::npos);
  CHECK(message(with("score = \"number\"", "score = \"bleu\""), data).find("number, match, chrf, rouge") != std::string::npos);
  CHECK(message(with("primary = [\"rank\", \"chrf\"]", "primary = [\"rank\", \"rouge\"]"), data).find("study.primary of translation") != std::string::npos);
  CHECK(message(with("task = \"math\"", "task = \"sums\""), data).find("no [[task]] sums") != std::string::npos);
  CHECK(message(with("name = \"translation\"", "name = \"../translation\""), data).find("does not begin with a point") != std::string::npos);
  CHECK(message(with("name = \"translation\"", "name = \"multi\""), data).find("a setting's") != std::string::npos);
  CHECK(message(with("name = \"d8\"", "name = \"a/b\""), data).find("size.name") != std::string::npos);
  CHECK(message(with("k = [0, 4, 18, 19]", "k = [0, 4.5]"), data).find("whole numbers") != std::string::npos);
  CHECK(message(with("k = [0, 4, 18, 19]", "k = [0, 40]"), data).find("task math has at most 18") != std::string::npos);
  CHECK(message(with("test = [\"sums/test.jsonl\"]", "test = [\"sums\"]"), data).find("this is a folder") != std::string::npos);
  CHECK(message(with("train = [\"sums/train.jsonl\"]", "train = [\"sums/test.jsonl\"]"), data).find("were left out") != std::string::npos);
  CHECK(message(with("validation = [\"sums/validation.jsonl\"]", "validations = [\"sums/validation.jsonl\"]"), data).find("did you mean validation?") != std::string::npos);
  CHECK(message(with("sums/test.jsonl", "sums/none.jsonl"), data).find("sums/none.jsonl") != std::string::npos);
  CHECK(message(files_toml("[[test]]\nname = \"math\"\nfiles = [\"choices.jsonl\"]\n"), data).find("two tasks or tests") != std::string::npos);
  CHECK(message(with("sums/test.jsonl", "translation/train.jsonl"), data).find("no error") != std::string::npos);  // they end in numbers
  CHECK(message(files_toml("[[test]]\nname = \"more\"\nscore = \"number\"\nfiles = [\"choices.jsonl\"]\n"), data) == "no error");
  CHECK(message(files_toml("[[test]]\nname = \"more\"\ntask = \"math\"\nscore = \"instructions\"\nfiles = [\"told.jsonl\"]\n"), data) == "no error");
  CHECK(message(files_toml("[[test]]\nname = \"more\"\nscore = \"instructions\"\nfiles = [\"choices.jsonl\"]\n"), data).find("instruction_id_list") != std::string::npos);
  fs::remove_all(root);
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

TEST_CASE("transfer: speeds are measured in the shortest contexts and batches") {
  for (const std::int64_t context : {16, 31, 40}) {
    TransferConfig c = small();
    c.context = context;
    c.batch = c.micro_batch = 1;
    const Speeds s = measure_speeds(c.sizes[0].model(c.vocab_size, context), c);
    for (const double speed : {s.train, s.score, s.write}) CHECK(speed > 0);
  }
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
  CHECK(message("", "[[size]]\nname = \"e8\"\nhidden = 16\nffn = 16\nlayers = 1\nheads = 2\n[[size]]\nname = \"f8\"\nhidden = 16\nffn = 16\nlayers = 1\nheads = 4\n").find("sizes e8 and f8 have equally many parameters") != std::string::npos);
  CHECK(message("", "[[size]]\nname = \"b8\"\nbase = \"moe\"\nhidden = 8\nheads = 1\n").find("size.base") != std::string::npos);
  CHECK_THROWS_WITH_AS(parse_transfer("[study]\nseen = [\"gl1\"]\nunseen = [\"gl1\"]\n", "s.toml"), doctest::Contains("unseen too"), Error);
  CHECK_THROWS_WITH_AS(parse_transfer("[study]\nseen = [\"gl1\"]\nunseen = [\"gl2\"]\ngroups = true\n", "s.toml"), doctest::Contains("study.groups"), Error);
  CHECK(parse_transfer(demo_transfer, "demo").sizes.size() == 2);
}

}  // namespace bam::transfer_test
