// Fine-tuning: what is trained and what is not, packed equals unpacked, exact epochs, one hash, the best checkpoint, early stop.
#include <map>

#include "bam/text/bpe_train.hpp"
#include "bam/train/run.hpp"
#include "support.hpp"

namespace bam::finetune_test {

using text::DataStream;
using text::TokenSource;
using test::error_of;
using test::has;
using test::TemporaryFolder;
using train::Run;
using train::RunConfig;
using train::RunEvents;
using train::RunResult;
using Set = std::vector<std::string>;

namespace {

constexpr std::int32_t bos = 1, eos = 2;

// `count` examples: BOS, prompt, answer, EOS; lengths and ids by a seed, each prompt's first id its number.
TokenSource examples(const char* name, std::int64_t count, std::uint64_t seed, std::int32_t vocabulary = 90) {
  TokenSource s;
  s.name = name;
  Random random(seed);
  for (std::int64_t i = 0; i < count; ++i) {
    std::vector<std::int32_t> ids{bos, static_cast<std::int32_t>(3 + i)};
    const std::size_t prompt = 1 + random.below(8), answer = 1 + random.below(7);
    for (std::size_t k = 1; k < prompt + answer; ++k) ids.push_back(static_cast<std::int32_t>(3 + random.below(static_cast<std::uint64_t>(vocabulary - 3))));
    ids.push_back(eos);
    s.add(ids, 1);
    s.trained.resize(s.ids.size(), 0);
    std::fill(s.trained.end() - static_cast<std::ptrdiff_t>(answer + 1), s.trained.end(), std::uint8_t{1});
  }
  return s;
}

std::unique_ptr<Decoder> model(bool mixture) {
  ModelConfig c;
  c.vocab_size = 90;
  c.hidden_size = 32;
  c.intermediate_size = 24;
  c.num_hidden_layers = 2;
  c.num_attention_heads = c.num_key_value_heads = 2;
  c.head_dim = 16;
  if (mixture) {
    c.family = Family::bam;
    c.num_experts = 3;
    c.num_experts_per_tok = 2;
    c.num_attention_experts = 2;
    c.router_aux_loss_coef = 0.01f;
    c.router_z_loss_coef = 0.001f;
  }
  auto m = std::make_unique<Decoder>(c);
  m->initialize(3, 0.1);
  return m;
}

std::map<std::string, std::vector<float>> gradients(Decoder& m) {
  std::map<std::string, std::vector<float>> all;
  for (Parameter& p : m.parameters()) {
    std::vector<float> v(static_cast<std::size_t>(p.numel()));
    p.read_gradient(v.data());
    all[p.name] = std::move(v);
  }
  return all;
}

struct Step {
  StepResult result;
  std::map<std::string, std::vector<float>> gradient;
};
Step run_step(const StepRows& rows, bool mixture, StepOptions o = {}) {
  auto m = model(mixture);
  RouterCounts counts;
  Step s;
  s.result = accumulate_gradients(*m, rows, o, 0, counts);
  s.gradient = gradients(*m);
  return s;
}
double relative_error(const Step& a, const Step& b) {
  double worst = 0;
  for (const auto& [name, x] : a.gradient) {
    const auto& y = b.gradient.at(name);
    double d = 0, n = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      d += std::pow(static_cast<double>(x[i]) - static_cast<double>(y[i]), 2);
      n += std::pow(static_cast<double>(y[i]), 2);
    }
    worst = std::max(worst, std::sqrt(d / std::max(n, 1e-30)));
  }
  return worst;
}

// Every example of one epoch: prompt numbers, how often.
std::map<std::int32_t, int> numbers(const StepRows& rows) {
  std::map<std::int32_t, int> seen;
  for (std::size_t i = 0; i < rows.inputs.size(); ++i)
    if (rows.real[i] && rows.positions[i] == 1) ++seen[rows.inputs[i]];
  return seen;
}

}  // namespace

TEST_CASE("fine-tuning rows: whole examples, trained targets, positions, weights") {
  const TokenSource s = examples("s", 40, 1);
  for (bool packing : {true, false}) {
    DataStream stream({s}, {20, 7, true, packing, 1});
    CAPTURE(packing);
    CHECK((stream.all_rows() == 40) == !packing);
    CHECK(stream.all_rows() >= (s.tokens() + 19) / 20);
    StepRows rows = stream.next(stream.all_rows());
    CHECK(rows.examples == 40);
    std::int64_t real = 0, targets = 0;
    double weights = 0;
    for (std::size_t i = 0; i < rows.inputs.size(); ++i) {
      real += rows.real[i];
      targets += rows.targets[i] >= 0;
      weights += static_cast<double>(rows.weights[i]);
      CHECK((rows.weights[i] > 0) == (rows.targets[i] >= 0));
      if (rows.targets[i] >= 0) CHECK((rows.inputs[i + 1] == rows.targets[i] && rows.positions[i + 1] == rows.positions[i] + 1));
      if (rows.real[i]) CHECK((rows.positions[i] == 0) == (rows.inputs[i] == bos));
      if (rows.inputs[i] == eos && rows.real[i]) CHECK(rows.targets[i] == -1);
    }
    CHECK(real == s.tokens());
    CHECK(targets == std::count(s.trained.begin(), s.trained.end(), 1));
    CHECK(weights == doctest::Approx(40));
    if (packing) CHECK(static_cast<double>(real) / static_cast<double>(rows.inputs.size()) > 0.8);
    auto seen = numbers(rows);
    CHECK(seen.size() == 40);
    for (auto [number, times] : seen) CHECK(times == 1);
    // Past the last epoch there are pads alone.
    for (std::uint8_t r : stream.next(3).real) CHECK(r == 0);
  }
  CHECK(has(error_of(ErrorKind::usage, [&] { DataStream({s}, {8, 1}); }), "data.length: "));
}

TEST_CASE("fine-tuning rows: after n epochs every example of every source was seen n times") {
  for (bool packing : {true, false})
    for (std::int64_t batch : {1, 4, 7}) {
      const TokenSource a = examples("a", 37, 1), b = examples("b", 5, 2);
      TokenSource c = examples("c", 11, 3);
      for (std::size_t i = 0; i < c.ids.size(); ++i)
        if (i && c.ids[i - 1] == bos) c.ids[i] += 50;
      DataStream stream({a, b, c}, {24, 7, true, packing, 3});
      std::map<std::int32_t, int> seen;
      std::int64_t steps = (stream.all_rows() + batch - 1) / batch, rows = 0, examples_seen = 0;
      std::vector<int> partway;
      for (std::int64_t i = 0; i < steps; ++i) {
        StepRows step = stream.next(batch);
        examples_seen += step.examples;
        for (auto [number, times] : numbers(step)) seen[number] += times;
        for (std::int64_t r = 0; r < step.rows; ++r) rows += step.real[static_cast<std::size_t>(r * 24)];
      }
      CHECK(rows == stream.all_rows());
      CHECK(examples_seen == 3 * (37 + 5 + 11));
      for (std::int32_t i = 0; i < 37; ++i) CHECK(seen[3 + i] == (i < 5 ? 6 : 3));  // b has the numbers of a's first five
      for (std::int32_t i = 0; i < 11; ++i) CHECK(seen[53 + i] == 3);
      for (double e : stream.epochs()) CHECK(e == 3);
    }
}

TEST_CASE("fine-tuning rows: a restored stream goes on with the same") {
  auto make = [] { return DataStream({examples("a", 37, 1), examples("b", 5, 2)}, {24, 7, true, true, 4}); };
  for (int steps : {0, 1, 5, 11}) {
    DataStream first = make(), second = make();
    for (int i = 0; i < steps; ++i) first.next(3);
    second.restore(io::parse_json(io::dump(first.state()), "state"));
    for (int i = 0; i < 30; ++i) {
      StepRows x = first.next(3), y = second.next(3);
      CHECK(x.inputs == y.inputs);
      CHECK(x.targets == y.targets);
      CHECK(x.positions == y.positions);
    }
  }
}

TEST_CASE("fine-tuning: packed equals unpacked, and pads cost nothing of the result") {
  const TokenSource s = examples("s", 12, 5);
  DataStream packed({s}, {40, 7, true, true, 1}), unpacked({s}, {40, 7, true, false, 1});
  StepRows p = packed.next(packed.all_rows()), u = unpacked.next(12);
  CHECK(p.rows < 8);
  for (bool mixture : {false, true})
    for (bool example_loss : {false, true}) {
      CAPTURE(mixture);
      CAPTURE(example_loss);
      StepOptions o;
      o.example_loss = example_loss;
      const Step x = run_step(p, mixture, o), y = run_step(u, mixture, o);
      CHECK(x.result.loss == doctest::Approx(y.result.loss).epsilon(1e-6));
      CHECK(x.result.nll == doctest::Approx(y.result.nll).epsilon(1e-6));
      CHECK(x.result.positions == y.result.positions);
      CHECK(x.result.targets == y.result.targets);
      CHECK(relative_error(x, y) < 1e-5);
      // Rows of pads alone, and a longer row, change no bit.
      StepRows wide = DataStream({s}, {64, 7, true, false, 1}).next(16);
      const Step w = run_step(wide, mixture, o);
      CHECK(w.result.loss == y.result.loss);
      CHECK(w.gradient == y.gradient);
      // The cut into micro-batches neither.
      for (std::int64_t micro : {1, 5, 12}) {
        o.micro_batch = micro;
        const Step m = run_step(u, mixture, o);
        CHECK(m.result.loss == y.result.loss);
        CHECK(m.gradient == y.gradient);
      }
    }
}

TEST_CASE("fine-tuning: a masked token has no gradient") {
  const TokenSource s = examples("s", 6, 5, 60);  // ids 60 to 89 occur nowhere
  StepRows rows = DataStream({s}, {40, 7, true, true, 1}).next(4);
  const Step before = run_step(rows, false);
  // A target below 0 is masked, whatever it is.
  StepRows masked = rows;
  for (std::size_t i = 0; i + 1 < masked.targets.size(); ++i)
    if (masked.targets[i] < 0) masked.targets[i] = -1 - static_cast<std::int32_t>(i % 50);
  const Step after = run_step(masked, false);
  CHECK(after.gradient == before.gradient);
  CHECK(after.result.loss == before.result.loss);
  // Trained, the same positions do change it.
  StepRows open = rows;
  for (std::size_t i = 0; i + 1 < open.targets.size(); ++i)
    if (open.real[i] && open.positions[i] == 0) open.targets[i] = open.inputs[i + 1];
  CHECK(run_step(open, false).gradient != before.gradient);
  // Tokens behind the last trained position: with other ones every gradient has the same bits.
  StepRows one;
  one.rows = 1;
  one.context = 5;
  one.inputs = {bos, 70, 71, 72, eos};
  one.targets = {-1, 71, -1, -1, -1};
  one.positions = {0, 1, 2, 3, 4};
  one.real = {1, 1, 1, 1, 1};
  const Step first = run_step(one, false);
  one.inputs = {bos, 70, 71, 33, 34};
  CHECK(run_step(one, false).gradient == first.gradient);
  one.inputs = {bos, 69, 71, 33, 34};
  CHECK(run_step(one, false).gradient != first.gradient);
}

TEST_CASE("fine-tuning: loss per token and per example, by hand") {
  const TokenSource s = examples("s", 7, 9);
  StepRows rows = DataStream({s}, {32, 7, true, false, 1}).next(7);
  const Step token = run_step(rows, false);
  double per_example = 0, sum = 0;
  std::int64_t targets = 0;
  std::map<std::string, std::vector<double>> wanted;
  for (std::int64_t r = 0; r < 7; ++r) {
    StepRows one;
    one.rows = 1;
    one.context = 32;
    auto part = [&](auto& to, const auto& from) { to.assign(from.begin() + r * 32, from.begin() + (r + 1) * 32); };
    part(one.inputs, rows.inputs);
    part(one.targets, rows.targets);
    part(one.positions, rows.positions);
    part(one.real, rows.real);
    const Step alone = run_step(one, false);
    per_example += alone.result.nll / 7;
    sum += alone.result.nll * static_cast<double>(alone.result.targets);
    targets += alone.result.targets;
    for (const auto& [name, g] : alone.gradient) {
      wanted[name].resize(g.size());
      for (std::size_t i = 0; i < g.size(); ++i) wanted[name][i] += static_cast<double>(g[i]) / 7;
    }
  }
  CHECK(token.result.loss == doctest::Approx(sum / static_cast<double>(targets)).epsilon(1e-6));
  CHECK(token.result.example_nll == doctest::Approx(per_example).epsilon(1e-6));
  StepOptions o;
  o.example_loss = true;
  const Step example = run_step(rows, false, o);
  CHECK(example.result.loss == doctest::Approx(per_example).epsilon(1e-6));
  CHECK(example.result.nll == token.result.nll);
  CHECK(std::abs(per_example - token.result.nll) > 1e-4);  // the two differ here
  Step by_hand;
  for (const auto& [name, g] : wanted) by_hand.gradient[name].assign(g.begin(), g.end());
  CHECK(relative_error(example, by_hand) < 1e-5);
  CHECK(relative_error(token, by_hand) > 1e-3);
}

TEST_CASE("evaluation of examples: trained tokens alone, each example by itself") {
  const TokenSource s = examples("s", 7, 9);
  std::vector<DocumentTokens> documents;
  for (std::int64_t d = 0; d < 7; ++d) {
    auto from = s.starts[static_cast<std::size_t>(d)], to = s.starts[static_cast<std::size_t>(d) + 1];
    documents.push_back({{s.ids.begin() + from, s.ids.begin() + to}, 3, {s.trained.begin() + from, s.trained.begin() + to}});
  }
  auto m = model(false);
  const NllResult r = evaluate_nll(*m, documents, 32, 3);
  const Step step = run_step(DataStream({s}, {32, 7, true, false, 1}).next(7), false);
  CHECK(r.tokens == step.result.targets);
  CHECK(r.nll == doctest::Approx(step.result.nll).epsilon(1e-6));
  for (std::int64_t micro : {1, 7}) CHECK(evaluate_nll(*m, documents, 32, micro).document_nll == r.document_nll);
  documents[0].scored.pop_back();
  CHECK(has(error_of(ErrorKind::usage, [&] { evaluate_nll(*m, documents, 32); }), "eval.document"));
}

namespace {

// A folder with examples, tokenizer, config.json and run.toml.
struct Bench {
  TemporaryFolder f;
  int runs = 0;

  Bench() {
    text::BpeTrainer trainer;
    io::make_folder(f / "sums/train");
    io::make_folder(f / "sums/validation");
    for (const char* split : {"train", "validation"}) {
      std::string lines;
      for (int i = 0; i < (split[0] == 't' ? 70 : 20); ++i) {
        const int a = i * 7 % 10, b = i * 3 % 10 + (split[0] == 't' ? 0 : 1);
        const std::string prompt = str("what is ", a, " and ", b, "?"), completion = str("it is ", a + b);
        trainer.add(prompt + " " + completion);
        io::Json line = i % 3 ? io::Json::object({{"prompt", prompt}, {"completion", completion}})
                              : io::Json::object({{"messages", io::Json::array({io::Json::object({{"role", "user"}, {"content", prompt}}), io::Json::object({{"role", "assistant"}, {"content", completion}})})}});
        line.set("lang", i % 2 ? "en" : "fr");
        line.set("task", "sums");
        lines += io::dump(line) + "\n";
      }
      if (split[0] == 't') lines += io::dump(io::Json::object({{"prompt", std::string(100, '7')}, {"completion", "much"}})) + "\n" + io::dump(io::Json::object({{"prompt", "x"}, {"completion", std::string(100, '7')}})) + "\n";
      io::write_file_atomic(f / str("sums/", split, "/a.jsonl"), lines);
    }
    io::write_file_atomic(f / "tokenizer.json", io::dump(trainer.train(300)));
    io::write_file_atomic(f / "config.json", R"({"model_type": "bam", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 32,
      "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "tie_word_embeddings": true, "num_experts": 2,
      "num_experts_per_tok": 1, "num_attention_experts": 2, "attention_routing": "soft", "router_aux_loss_coef": 0.01, "router_z_loss_coef": 0.001})");
    io::write_file_atomic(f / "run.toml", R"([model]
config = "config.json"
tokenizer = "tokenizer.json"
[[data]]
path = "sums"
format = "chat"
[[eval]]
name = "sums"
path = "sums"
format = "chat"
[train]
context = 40
batch = 6
micro_batch = 4
gradient_leaves = 2
steps = 12
lr = 1e-2
schedule = "constant"
dropout = 0.1
seed = 5
)");
  }
  RunConfig config(const Set& set = {}) const { return train::load_run_config(f / "run.toml", set); }
  std::string fresh() { return f / str("run", runs++); }
  RunResult run(const std::string& out, const Set& set = {}, bool resume = false, std::optional<std::int64_t> stop = {}, RunEvents events = {}) const {
    return Run(config(set), {out, resume, false, stop, "test"}, events).execute();
  }
};
Bench& bench() {
  static Bench b;
  return b;
}
std::vector<io::Json> lines_of(const std::string& file) {
  std::vector<io::Json> list;
  std::string text = io::read_file(file);
  for (std::size_t at = 0, end; (end = text.find('\n', at)) != text.npos; at = end + 1) list.push_back(io::parse_json(text.substr(at, end - at), file));
  return list;
}
std::vector<std::string> events_of(const std::string& out, std::string_view name) {
  std::vector<std::string> list;
  for (const io::Json& e : lines_of(out + "/events.jsonl"))
    if (e.at("event").as_string("event") == name) list.emplace_back(e.find("detail") ? e.at("detail").as_string("detail") : "");
  return list;
}

}  // namespace

TEST_CASE("fine-tuning runs: one hash over threads, micro-batches, stops; the settings that matter change it") {
  Bench& b = bench();
  const int threads = bam::threads();
  std::string out = b.fresh();
  for (const Set& mode : {Set{}, Set{"train.packing=false"}, Set{"train.loss=example"}}) {
    const std::string hash = b.run(b.fresh(), mode).hash;
    for (int cut : {1, 3, 6}) {
      set_threads(cut % 3 + 1);
      Set set = mode;
      set.push_back(str("train.micro_batch=", cut));
      CHECK(b.run(b.fresh(), set).hash == hash);
    }
    set_threads(threads);
    for (std::int64_t stop : {1, 5, 11}) {
      out = b.fresh();
      b.run(out, mode, false, stop);
      CHECK(b.run(out, mode, true).hash == hash);
    }
    Set other = mode;
    other.insert(other.end(), {"train.eval_every=3", "train.best=true", "train.patience=100"});
    CHECK(b.run(b.fresh(), other).hash == hash);
    if (mode.empty())
      for (const char* set : {"train.packing=false", "train.loss=example", "train.context=39", "train.seed=6"}) CHECK(b.run(b.fresh(), {set}).hash != hash);
    else CHECK(b.run(b.fresh()).hash != hash);
  }
  CHECK(has(error_of(ErrorKind::input, [&] { b.run(out, {"train.packing=false"}, true); }), "run.changed: "));
}

TEST_CASE("fine-tuning runs: the loss falls; what is cut and left out is told") {
  Bench& b = bench();
  std::string out = b.fresh();
  RunResult r = b.run(out, {"train.steps=60", "train.eval_every=20", "train.dropout=0"});
  auto lines = lines_of(out + "/metrics.jsonl");
  const io::Json& first = lines[0];
  CHECK(first.at("nll").as_double("nll") == doctest::Approx(std::log(300)).epsilon(0.05));
  CHECK(r.final_nll < first.at("nll").as_double("nll") - 2);
  CHECK(first.at("examples").as_int("examples") > 6);  // several a row
  CHECK(first.at("example_nll").as_double("example_nll") > 0);
  std::vector<double> evals;
  for (const io::Json& l : lines)
    if (l.find("eval")) {
      evals.push_back(l.at("nll").as_double("nll"));
      double sum = 0, tokens = 0;
      for (auto [lang, part] : l.at("by_language").members("by_language")) {
        sum += part.at("nll").as_double("nll") * part.at("tokens").as_double("tokens");
        tokens += part.at("tokens").as_double("tokens");
      }
      CHECK(l.at("by_language").size() == 2);
      CHECK(l.at("by_task").size() == 1);
      CHECK(sum / tokens == doctest::Approx(evals.back()));
    }
  REQUIRE(evals.size() == 3);
  for (double e : evals) CHECK(e < first.at("nll").as_double("nll") - 2);
  auto told = events_of(out, "examples");
  REQUIRE(told.size() == 1);
  CHECK(has(told[0], "71 examples"));
  CHECK(has(told[0], "1 prompts cut, 1 examples left out (0 without an assistant's turn, 1 with an answer longer than context)"));
  // Whether what is evaluated is trained on.
  CHECK(events_of(out, "overlap").empty());
  std::vector<std::string> notes;
  RunEvents listen;
  listen.note = [&](const std::string& line) { notes.push_back(line); };
  const std::string same = b.f / "sums/train/a.jsonl";
  b.run(out = b.fresh(), {"train.steps=1", str("eval.0.path=", io::dump(io::Json(same)))}, false, {}, listen);
  CHECK(events_of(out, "overlap") == std::vector<std::string>{"[[eval]] sums: 71 of 71 are in [[data]] too, so its nll is partly that of texts trained on"});
  CHECK(std::count_if(notes.begin(), notes.end(), [](const std::string& n) { return n.starts_with("warning: [[eval]] sums: 71 of 71"); }) == 1);
}

TEST_CASE("fine-tuning runs: epochs") {
  Bench& b = bench();
  for (const char* packing : {"true", "false"}) {
    std::string text = io::read_file(b.f / "run.toml"), file = b.f / "epochs.toml";
    text.replace(text.find("steps = 12"), 10, str("epochs = 2\npacking = ", packing));
    io::write_file_atomic(file, text);
    std::string out = b.fresh();
    RunConfig c = train::load_run_config(file);
    CHECK(c.train.steps == 0);
    RunResult r = Run(c, {out, false, false, {}, "test"}, {}).execute();
    std::int64_t seen = 0;
    for (const io::Json& l : lines_of(out + "/metrics.jsonl"))
      if (const io::Json* n = l.find("examples")) seen += n->as_int("examples");
    CHECK(seen == 2 * 71);
    if (packing[0] == 'f') CHECK(r.steps == (2 * 71 + 5) / 6);
    // resolved.toml alone gives the same run, resumed anywhere.
    RunConfig again = train::load_run_config(out + "/resolved.toml");
    CHECK(again.train.steps == r.steps);
    std::string second = b.fresh();
    Run(again, {second, false, false, 3, "test"}, {}).execute();
    CHECK(Run(c, {second, true, false, {}, "test"}, {}).execute().hash == r.hash);
    again.train.steps += 1;
    CHECK(has(error_of(ErrorKind::input, [&] { Run(again, {b.fresh(), false, false, {}, "test"}, {}).execute(); }), "run.epochs: "));
    std::string weighted = text;
    weighted.replace(weighted.find("path = \"sums\""), 13, "path = \"sums\"\nweight = 2");
    CHECK(has(error_of(ErrorKind::input, [&] { train::parse_run_config(weighted, file); }), "data.weight"));
  }
}

TEST_CASE("fine-tuning runs: the best checkpoint is kept, and a run without a better one stops; both through a resume") {
  Bench& b = bench();
  // A rate that makes it worse again soon.
  const Set set{"train.steps=60", "train.lr=0.1", "train.eval_every=2", "train.best=true", "train.patience=4", "train.keep_checkpoints=1", "train.checkpoint_every=5", "train.dropout=0"};
  std::string out = b.fresh();
  RunResult r = b.run(out, set);
  REQUIRE(r.steps < 60);
  CHECK(events_of(out, "early_stop").size() == 1);
  double least = 1e9;
  std::int64_t best = -1;
  for (const io::Json& l : lines_of(out + "/metrics.jsonl"))
    if (l.find("eval") && l.at("nll").as_double("nll") < least) {
      least = l.at("nll").as_double("nll");
      best = l.at("step").as_int("step");
    }
  CHECK(r.steps == best + 2 * 4);
  // A model folder like any other, with the weights of that step, beside the newest.
  io::ModelFolder kept = io::load_model(out + "/checkpoints/best"), newest = io::load_model(out);
  CHECK(has(io::read_file(out + "/checkpoints/best/state.json"), str("\"step\": ", best)));
  CHECK(newest.path == out + "/checkpoints/" + train::detail::step_folder(r.steps));
  RunConfig c = b.config(set);
  text::Tokenizer tokenizer = text::Tokenizer::load(b.f / "tokenizer.json");
  auto eval_set = train::DataReader(c, tokenizer, bos, eos).eval_set(c.eval[0]);
  CHECK(evaluate_nll(*kept.decoder, eval_set, 40).nll == doctest::Approx(least).epsilon(1e-9));
  CHECK(train::detail::step_folders(out + "/checkpoints").size() == 2);
  // Stopped and resumed at any step, it ends the same; resumed at its end, it has nothing to do.
  for (std::int64_t stop : {std::int64_t{3}, best, best + 3, r.steps - 1}) {
    CAPTURE(stop);
    std::string second = b.fresh();
    b.run(second, set, false, stop);
    RunResult again = b.run(second, set, true);
    CHECK(again.steps == r.steps);
    CHECK(again.hash == r.hash);
    CHECK(io::read_file(second + "/checkpoints/best/model.safetensors") == io::read_file(out + "/checkpoints/best/model.safetensors"));
    CHECK(b.run(second, set, true).steps == r.steps);
  }
  // More patience goes on, to the bits of a run that had it from the start.
  Set longer = set;
  longer.push_back("train.patience=6");
  RunResult more = b.run(out, longer, true);
  CHECK(more.steps > r.steps);
  CHECK(more.hash == b.run(b.fresh(), longer).hash);
  // Without best there is no link.
  std::string plain = b.fresh();
  b.run(plain, {"train.eval_every=2"}, false, 4);
  CHECK(!io::exists(plain + "/checkpoints/best"));
}

TEST_CASE("fine-tuning run files: errors") {
  Bench& b = bench();
  auto refused = [&](const Set& set) { return error_of(ErrorKind::input, [&] { b.config(set); }); };
  CHECK(has(refused({"train.template=chatml"}), "train.template: wanted \"plain\" or \"cohere\""));
  CHECK(has(refused({"train.loss=mean"}), "train.loss: wanted \"token\" or \"example\""));
  CHECK(has(refused({"data.0.format=jsonl"}), "data.format: wanted \"text\" or \"chat\""));
  CHECK(has(refused({"data.0.format=text", "train.loss=example"}), "train.loss"));
  CHECK(has(refused({"eval=[]", "train.best=true"}), "train.best: wanted an [[eval]] set"));
  CHECK(has(refused({"train.patience=2"}), "train.patience: wanted train.eval_every above 0"));
  CHECK(has(refused({"train.packing=1"}), "train.packing: wanted true or false"));
  CHECK(has(error_of(ErrorKind::input, [&] { b.run(b.fresh(), {"train.template=cohere"}); }), "chat.tokens: "));
  CHECK(has(error_of(ErrorKind::input, [&] { b.run(b.fresh(), {"train.context=4"}); }), "data.untrained: "));
  CHECK(has(error_of(ErrorKind::input, [&] { b.run(b.fresh(), {"data.0.format=text", "eval=[]"}); }), "format = \"chat\""));
}

}  // namespace bam::finetune_test
