// A small study: every arm appears, a stopped study continues to the same results, and bad files are refused by name.
#include <doctest/doctest.h>

#include <filesystem>
#include <set>

#include "bam/bam.hpp"
#include "bam/study/bam_study.hpp"
#include "bam/study/estimate.hpp"
#include "bam/study/tables.hpp"

namespace bam::study_test {

namespace fs = std::filesystem;

namespace {

// Four "languages" of words, each with its own stem.
void write_data(const std::string& folder) {
  for (const char* domain : study::domains)
    for (const char* split : {"train", "validation"}) {
      Random rng(static_cast<std::uint64_t>(domain[0]) + (split[0] == 't' ? 0 : 1000));
      std::string text;
      for (int i = 0; i < (split[0] == 't' ? 60 : 4); ++i) {
        std::string line;
        for (int w = 0; w < 25; ++w) line += str(domain, " ", rng.below(9), w % 5 == 4 ? ". " : " ");
        text += io::dump(io::Json::object({{"text", line}})) + "\n";
      }
      fs::create_directories(folder + "/" + domain + "/" + split);
      io::write_file_atomic(folder + "/" + domain + "/" + split + "/a.jsonl", text);
    }
  fs::create_directories(folder + "/law/eval");
  std::string items;
  for (int i = 0; i < 7; ++i) items += io::dump(io::Json::object({{"prompt", "law "}, {"choices", io::Json::array_of(std::vector<std::string>{"0", str(i)})}, {"answer_index", 1}})) + "\n";
  io::write_file_atomic(folder + "/law/eval/numbers.jsonl", items);
}

std::string small_text(const std::string& set) {
  return "[study]\ncompute_matched = true\nmixture_seeds = 2\nvocab_size = 280\ncontext = 16\nbatch = 4\nseed_tokens = 640\nexpert_tokens = 320\nmixture_tokens = 320\nchoice_items = 5\nsweep_tokens = 128\n" + set + (set.find("sweep") == set.npos ? "sweep = [0.5, 2.0]\n" : "") +
         "[[size]]\nname = \"d16\"\nhidden = 16\nffn = 24\nlayers = 1\nheads = 2\n";
}
study::StudyConfig small(const std::string& set = "") { return study::parse_study(small_text(set), "study.toml"); }

std::string run(const study::StudyConfig& config, const std::string& data, const std::string& out, int stop_after) {
  study::StudyHooks hooks;
  int steps = 0;
  hooks.begin = [&](const std::string&, std::int64_t, const ModelConfig&, std::int64_t) { return [&](std::int64_t, std::int64_t, const StepResult&, double, double) { ++steps; }; };
  hooks.stop_signal = [&] { return steps >= stop_after ? 15 : 0; };
  study::BamStudy(config, data, out, "test", hooks).execute();
  return io::dump(study::Results(config, data, out).json());
}

}  // namespace

TEST_CASE("study: stopped anywhere it continues to the same results, in which every arm appears") {
  const std::string root = (fs::temp_directory_path() / "bam_study_test").string();
  fs::remove_all(root);
  write_data(root + "/data");
  const study::StudyConfig config = small();
  const std::string whole = run(config, root + "/data", root + "/whole", 1 << 30);
  std::string continued;
  int stops = 0;
  for (int at = 7; continued.empty(); at += 23) {
    try {
      continued = run(config, root + "/data", root + "/parts", at);
    } catch (const study::Stopped& s) {
      CHECK(s.signal == 15);
      ++stops;
    }
  }
  CHECK(stops >= 5);
  CHECK(continued == whole);
  // Other settings on the same folder are refused; more replicates are not.
  for (bool report : {false, true}) {
    try {
      if (report) study::BamStudy(small("seed = 2\n"), root + "/data", root + "/parts", "test", {}).check_settings();
      else run(small("seed = 2\n"), root + "/data", root + "/parts", 1 << 30);
      FAIL("no error");
    } catch (const Error& e) {
      CHECK(e.id() == "study.changed");
    }
  }

  io::Json results = io::parse_json(whole, "results");
  std::set<std::string> seen;
  for (const io::Json& r : results.at("runs").items("runs")) {
    seen.insert(std::string(r.at("arm").as_string("arm")));
    CHECK(r.at("nll").as_double("nll") > 0);
  }
  for (const study::Arm& arm : study::arms) CHECK(seen.contains(arm.name));
  for (const char* dense : {"seed", "code", "law", "math"}) CHECK(seen.contains(dense));
  // Two draws of one replicate are one value, their mean.
  for (const io::Json& d : results.at("differences").items("differences")) CHECK(d.at("n").as_int("n") == 1);
  std::map<std::string, double> law;
  for (const io::Json& r : results.at("runs").items("runs"))
    if (r.at("match").as_string("match") == "data" && r.at("domain").as_string("domain") == "law") law[std::string(r.at("arm").as_string("arm"))] += r.at("nll_per_byte").as_double("law") / 2;
  for (const io::Json& d : results.at("differences").items("differences"))
    if (d.at("domain").as_string("domain") == "law" && d.at("arm").as_string("arm") == "bam" && d.at("match").as_string("match") == "data") CHECK(d.at("mean").as_double("mean") == doctest::Approx(law.at("bam") - law.at("btx")).epsilon(1e-12));
  for (const io::Json& i : results.at("identity").items("identity")) CHECK(i.at("value").as_double("identity") < 1e-5);
  CHECK(results.at("floor").is_null());
  // Choices of 5 of the 7 items, for each data-matched model that is one: not the ensemble and the average.
  std::set<std::string> chose;
  for (const io::Json& c : results.at("choice").items("choice")) {
    chose.insert(std::string(c.at("arm").as_string("arm")));
    CHECK(c.at("set").as_string("set") == "numbers");
    CHECK(c.at("n").as_int("n") == 5);
    CHECK(c.at("chance").as_double("chance") == 0.5);
  }
  CHECK(chose.size() == 4 + 16);
  // Each trained arm had two trials and kept one of them.
  const io::Json& sweep = results.at("sweep");
  CHECK(sweep.size() == 2 * 16);
  int kept = 0;
  for (const io::Json& trial : sweep.items("sweep")) kept += trial.at("kept").as_bool("kept");
  CHECK(kept == 16);
  // Pruned, the folder has neither weights nor logs, and the same results. Arms may still be added: what they need is trained again, to the same bits.
  CHECK(study::BamStudy(config, root + "/data", root + "/parts", "test", {}).prune() > 100'000);
  for (const auto& file : fs::recursive_directory_iterator(root + "/parts/runs"))
    if (file.is_regular_file()) CHECK_MESSAGE((file.path().extension() == ".json" && file.file_size() < 20'000), file.path().string());
  CHECK(run(config, root + "/data", root + "/parts", 0) == whole);  // stops at the first step, of which there is none
  const study::StudyConfig few = small("arms = [\"bam\", \"btx\"]\n");
  run(few, root + "/data", root + "/few", 1 << 30);
  study::BamStudy(few, root + "/data", root + "/few", "test", {}).prune();
  const study::StudyConfig with_dense = small("arms = [\"bam\", \"btx\", \"dense\"]\n");  // which begins with the seed alone
  run(with_dense, root + "/data", root + "/few", 1 << 30);
  CHECK(fs::exists(root + "/few/runs/d16/r1/seed/checkpoints"));
  CHECK_FALSE(fs::exists(root + "/few/runs/d16/r1/law/checkpoints"));
  study::BamStudy(with_dense, root + "/data", root + "/few", "test", {}).prune();
  CHECK(run(config, root + "/data", root + "/few", 1 << 30) == whole);
  // Weights that come out otherwise are not gone on from.
  study::BamStudy(config, root + "/data", root + "/few", "test", {}).prune();
  const std::string end = root + "/few/runs/d16/r1/law/done.json";
  io::Json changed = io::parse_json(io::read_file(end), end);
  changed.set("hash", "0123");
  io::write_file_atomic(end, io::dump(changed));
  fs::remove_all(root + "/few/runs/d16/r1/m2/bam");
  for (int start = 0; start < 2; ++start) CHECK_THROWS_WITH_AS(run(config, root + "/data", root + "/few", 1 << 30), doctest::Contains("trained again, it ends in"), Error);
  // A pruned study that was stopped within a run goes on elsewhere, where its text lies elsewhere too.
  CHECK_THROWS_AS(run(config, root + "/data", root + "/here", 200), study::Stopped);
  study::BamStudy(config, root + "/data", root + "/here", "test", {}).prune();
  fs::create_directories(root + "/moved");
  fs::rename(root + "/here", root + "/moved/there");
  fs::copy(root + "/data", root + "/moved/data", fs::copy_options::recursive);
  const io::Json elsewhere = io::parse_json(run(config, root + "/moved/data", root + "/moved/there", 1 << 30), "results");
  CHECK(elsewhere.at("hash").as_string("hash") == io::parse_json(whole, "whole").at("hash").as_string("hash"));
  // The shape of a finished size is known.
  CHECK_THROWS_WITH_AS(study::BamStudy(study::parse_study(small_text("").replace(small_text("").find("ffn = 24"), 8, "ffn = 32"), "study.toml"), root + "/data", root + "/whole", "test", {}).check_settings(),
                       doctest::Contains("had another shape"), Error);
  // The ledger has every training with its time, and another replicate of some arms leaves what is there as it is.
  const io::Json ledger = study::Results(config, root + "/data", root + "/whole").ledger();
  CHECK(ledger.size() == study::Plan(config).jobs().size());
  for (const io::Json& l : ledger.items("ledger")) CHECK(l.at("seconds").as_double("seconds") > 0);
  study::StudyConfig more = small("replicates = 2\narms = [\"bam\", \"btx\"]\nonce = [\"dense\"]\n");
  io::Json both = io::parse_json(run(more, root + "/data", root + "/whole", 1 << 30), "results");
  for (const io::Json& d : both.at("differences").items("differences"))
    CHECK(d.at("n").as_int("n") == (d.at("arm").as_string("arm") == "bam" ? 2 : 1));
  study::write_tables(root + "/tables", results, ledger, {"runs", "choice", "ledger"});
  const std::string csv = io::read_file(root + "/tables/runs.csv");
  CHECK(csv.starts_with("arm,size,replicate,match,domain,nll,"));
  CHECK(std::count(csv.begin(), csv.end(), '\n') == static_cast<std::ptrdiff_t>(results.at("runs").size()) + 1);
  CHECK(study::summary(results).find("d16 btx-6-top3") != std::string::npos);
  fs::remove_all(root);
}

TEST_CASE("study: completions are checked by the generator's parser, and the truth passes") {
  const std::string root = (fs::temp_directory_path() / "bam_study_completions").string();
  fs::remove_all(root);
  text::BpeTrainer trainer;
  for (text::Domain domain : text::domains) {
    std::string lines;
    for (std::uint64_t i = 0; i < 3; ++i) {
      const std::string document = text::generate_document(domain, 5, i).text;
      lines += io::dump(io::Json::object({{"text", document}})) + "\n";
      trainer.add(document);
    }
    for (const char* split : {"/train", "/validation"}) {
      fs::create_directories(root + "/" + text::domain_name(domain) + split);
      io::write_file_atomic(root + "/" + text::domain_name(domain) + split + "/a.jsonl", lines);
    }
  }
  io::write_file_atomic(root + "/tokenizer.json", io::dump(trainer.train(300)));
  const text::Tokenizer tokenizer = text::Tokenizer::load(root + "/tokenizer.json");
  const std::vector<study::Prompt> prompts = study::completion_prompts(root, 2);
  CHECK(prompts.size() == 8);
  for (const study::Prompt& p : prompts) {
    const text::Check check = text::check_completion(p.domain, p.text, p.truth);
    CHECK_MESSAGE((check.parses && check.right), p.text, " ... ", p.truth);
  }
  ModelConfig config = small().sizes[0].dense(300, 64);
  Decoder model(config);
  model.initialize(3);
  const io::Json list = study::complete(model, tokenizer, prompts, 64);
  CHECK(list.size() == 8);
  for (const io::Json& c : list.items("completions")) CHECK(!c.at("right").as_bool("right"));  // of a model that has learnt nothing
  CHECK(io::dump(study::complete(model, tokenizer, prompts, 64)) == io::dump(list));

  // In a study over generated text: those of the first draw, with the arm that wrote them.
  study::StudyConfig study = small("arms = [\"btx\"]\ncompletions = 1\nsweep = []\n");
  study::StudyHooks hooks;
  hooks.generate = [&](const std::string& folder) { fs::copy(root, folder, fs::copy_options::recursive); };
  const std::string out = root + "-study";
  fs::remove_all(out);
  study::BamStudy(study, "", out, "test", hooks).execute();
  const io::Json results = study::Results(study, "", out).json();
  CHECK(results.at("completions").size() == 5 * 4);  // seed, three specialists, btx; four domains
  CHECK(results.at("completions").at(0).at("arm").as_string("arm") == "seed");
  CHECK(results.at("baselines").at("law").at("zstd_nats_per_byte").as_double("zstd") > 0);
  // The table of the terminal has what is above the entropy of the text, which the documents here do not give.
  CHECK(study::summary(results).find("excess") == std::string::npos);
  io::Json known = results, floor = io::Json::object();
  for (const char* d : study::domains) floor.set(d, 0.25);
  known.set("floor", std::move(floor));
  const std::string table = study::summary(known);
  const std::size_t law = table.find("d16 law", table.find("nats per byte")), end = table.find('\n', law);
  CHECK(table.find("      mean    excess\n") != std::string::npos);
  CHECK(std::stod(table.substr(end - 20, 10)) - std::stod(table.substr(end - 10, 10)) == doctest::Approx(0.25).epsilon(1e-3));
  fs::remove_all(root);
  fs::remove_all(out);
}

TEST_CASE("study: the plan counts every training once, whole steps, and matches FLOPs") {
  const study::StudyConfig config = small("arms = [\"bam\", \"btx\", \"dense\", \"btm\"]\n");
  const auto jobs = study::Plan(config).jobs();
  // seed and three specialists; two trials of bam, btx and dense; then, twice: bam and dense at both matches, btx at one
  CHECK(jobs.size() == 4 + 2 * 3 + 2 * 5);
  double btx = 0, bam_compute = 0;
  for (const auto& j : jobs) {
    CHECK(j.tokens % (4 * 16) == 0);
    if (j.arm == "btx") btx = j.flops;
    if (j.arm == "bam" && j.match == "compute") bam_compute = j.flops;
  }
  CHECK(bam_compute == doctest::Approx(btx).epsilon(0.35));  // five whole steps
}

TEST_CASE("study: the plan's time has evaluation, speeds of each kind of model and a trunk once") {
  const std::string root = (fs::temp_directory_path() / "bam_study_estimate").string();
  fs::remove_all(root);
  write_data(root);
  const study::StudyConfig config = small("arms = [\"bam\", \"btx\", \"dense\", \"sparse\", \"btm\"]\nreplicates = 2\n");
  int kinds = 0;
  const auto list = study::estimates(config, root, [&](const ModelConfig& model) {
    ++kinds;
    return model.moa() ? study::Speed{10, 100} : study::Speed{20, 200};
  });
  CHECK(kinds == 3);  // dense, bam, and btx, which is sparse's too
  const auto jobs = study::Plan(config).jobs();
  REQUIRE(list.size() == jobs.size() + 2);  // and the ensemble of each replicate
  std::map<std::string, study::Estimate> of;
  for (const study::Estimate& e : list) of[e.job.run] = e;
  for (const study::Job& j : jobs) CHECK(of.at(j.run).job.tokens == j.tokens);
  const study::Estimate &seed = of.at("d16/r1/seed"), &bam = of.at("d16/r1/m1/bam"), &less = of.at("d16/r1/m1/bam-compute"), &trial = of.at("d16/r1/m1/btx-lr0.5"), &btm = of.at("d16/r2/m1/btm");
  CHECK(seed.seconds == doctest::Approx(static_cast<double>(seed.job.tokens) / 20));
  CHECK(bam.seconds == doctest::Approx(static_cast<double>(bam.job.tokens) / 10));
  REQUIRE(less.job.tokens < bam.job.tokens);
  CHECK(less.seconds == doctest::Approx(0.2 * static_cast<double>(less.job.tokens) / 10));
  // Validation text is read by all, choices by data-matched points, gates are counted in mixtures, the ensemble reads with four models.
  const study::EvaluationTokens tokens = study::evaluation_tokens(config, root);
  CHECK(tokens.choices > 0);
  CHECK(tokens.loads == 4 * 4 * 16);  // documents of each domain, to the end of the context
  CHECK(seed.eval_tokens == tokens.validation + tokens.choices);
  CHECK(bam.eval_tokens == tokens.validation + tokens.choices + tokens.loads);
  CHECK(bam.eval_seconds == doctest::Approx(bam.eval_tokens / 100));
  CHECK(less.eval_tokens == tokens.validation + tokens.loads);
  CHECK(trial.eval_tokens == tokens.validation + tokens.loads);
  CHECK(btm.eval_tokens == 4 * tokens.validation);
  CHECK(btm.seconds == 0);
  // Read in windows of which each starts in the middle of the last, about twice the text; with the same tokenizer as the study, which has few documents here.
  text::BpeTrainer trainer;
  for (const char* d : study::domains)
    for (const text::Document& document : text::read_documents(root + "/" + d, "train")) trainer.add(document.text);
  const text::Tokenizer tokenizer = text::Tokenizer::parse(trainer.train(config.vocab_size), "tokenizer");
  double inputs = 0;
  for (const char* d : study::domains)
    for (const EvalWindow& w : eval_windows(encode_documents(root + "/" + d, tokenizer, 1, 2), config.context)) inputs += static_cast<double>(w.inputs);
  CHECK(tokens.validation == inputs);
  const study::Speed measured = study::measure_speed(config.sizes[0].dense(280, 16), 16, 4);
  CHECK(measured.train > 0);
  CHECK(measured.read > 0);
  CHECK(study::evaluation_tokens(small("documents = 20\neval_documents = 1\n"), "").validation > 0);  // generated
  fs::remove_all(root);
}

TEST_CASE("study: bad files are refused by name") {
  auto message = [](const std::string& set) {
    try {
      small(set);
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::input);
      return std::string(e.what());
    }
    return std::string("no error");
  };
  CHECK(message("arms = [\"bem\"]\n").find("did you mean bam?") != std::string::npos);
  CHECK(message("replicate = 3\n").find("did you mean replicates?") != std::string::npos);
  CHECK(message("arms = [\"bam\"]\nonce = [\"bam\"]\n").find("twice") != std::string::npos);
  CHECK(message("sweep = [0]\n").find("study.sweep") != std::string::npos);
  CHECK(message("replicates = 0\n").find("study.replicates") != std::string::npos);
  CHECK(message("sweep = [0.5]\n[[size]]\nname = \"d16\"\n").find("two sizes d16") != std::string::npos);
  CHECK_THROWS_AS(study::parse_study("[study]\nseed_tokens = 1\n", "s.toml"), Error);
  CHECK(study::parse_study(study::demo_study, "demo").arms.size() == 5);
}

}  // namespace bam::study_test
