// The run file: what it takes, what it refuses and where, overrides, and the round trip through resolved.toml.
#include "bam/train/run_config.hpp"

#include "support.hpp"

namespace bam::run_config_test {

using namespace bam::train;
using test::error_of;
using test::has;
using test::TemporaryFolder;

namespace {

const char* const smallest = R"([model]                      # either a config, or a folder to start from
config = "config.json"       # or: init_from = "DIR"
tokenizer = "tokenizer.json"
[[data]]
path = "text.jsonl"          # file or folder
weight = 1.0                 # share of tokens
[[eval]]                     # optional
name = "law"
path = "law.jsonl"
[train]
context = 256
batch = 32                   # rows per optimizer step
micro_batch = 8              # rows at a time
gradient_leaves = 1
steps = 50
lr = 1e-3
schedule = "cosine"          # constant, cosine, wsd
warmup = 10
weight_decay = 0.1
clip = 1.0
seed = 1
checkpoint_every = 25
)";
// Lines: 1 [model], 2 config, 3 [[data]], 4 path, 5 [train], 6 ... 8 numbers; a further line is the ninth.
const std::string bare = "[model]\nconfig = \"/m/c.json\"\n[[data]]\npath = \"/d/t.jsonl\"\n[train]\ncontext = 16\nbatch = 12\nsteps = 100\n";

RunConfig parse(const std::string& text, const std::vector<std::string>& set = {}) { return parse_run_config(text, "/r/run.toml", set); }
std::string refused(const std::string& text, const std::vector<std::string>& set = {}, ErrorKind kind = ErrorKind::input) {
  return error_of(kind, [&] { parse(text, set); });
}
std::string replaced(std::string text, std::string_view from, std::string_view to) {
  REQUIRE(text.find(from) != text.npos);
  return text.replace(text.find(from), from.size(), to);
}

void same(const RunConfig& a, const RunConfig& b) {
  CHECK(a.model.config == b.model.config);
  CHECK(a.model.init_from == b.model.init_from);
  CHECK(a.model.tokenizer == b.model.tokenizer);
  REQUIRE(a.data.size() == b.data.size());
  for (std::size_t i = 0; i < a.data.size(); ++i) {
    CHECK(a.data[i].path == b.data[i].path);
    CHECK(a.data[i].weight == b.data[i].weight);
  }
  REQUIRE(a.eval.size() == b.eval.size());
  for (std::size_t i = 0; i < a.eval.size(); ++i) {
    CHECK(a.eval[i].name == b.eval[i].name);
    CHECK(a.eval[i].path == b.eval[i].path);
  }
  const TrainOptions &x = a.train, &y = b.train;
  CHECK(x.context == y.context);
  CHECK(x.batch == y.batch);
  CHECK(x.steps == y.steps);
  CHECK(x.micro_batch == y.micro_batch);
  CHECK(x.gradient_leaves == y.gradient_leaves);
  CHECK(x.lr == y.lr);
  CHECK(x.min_lr_ratio == y.min_lr_ratio);
  CHECK(x.schedule == y.schedule);
  CHECK(x.warmup == y.warmup);
  CHECK(x.decay_steps == y.decay_steps);
  CHECK(x.beta1 == y.beta1);
  CHECK(x.beta2 == y.beta2);
  CHECK(x.adam_eps == y.adam_eps);
  CHECK(x.bf16_moments == y.bf16_moments);
  CHECK(x.weight_decay == y.weight_decay);
  CHECK(x.clip == y.clip);
  CHECK(x.dropout == y.dropout);
  CHECK(x.init_std == y.init_std);
  CHECK(x.seed == y.seed);
  CHECK(x.recompute == y.recompute);
  CHECK(x.batch_balance == y.batch_balance);
  CHECK(x.mask_documents == y.mask_documents);
  CHECK(x.log_every == y.log_every);
  CHECK(x.eval_every == y.eval_every);
  CHECK(x.checkpoint_every == y.checkpoint_every);
  CHECK(x.keep_checkpoints == y.keep_checkpoints);
  CHECK(x.freeze == y.freeze);
}

}  // namespace

TEST_CASE("run file: the smallest one, paths beside it") {
  TemporaryFolder f;
  for (const char* name : {"config.json", "tokenizer.json", "text.jsonl", "law.jsonl"}) io::write_file_atomic(f / name, "x");
  io::write_file_atomic(f / "run.toml", smallest);
  RunConfig c = load_run_config(f / "run.toml");
  CHECK(c.source_text == smallest);
  CHECK(c.model.config == (f / "config.json"));
  CHECK(c.model.tokenizer == (f / "tokenizer.json"));
  CHECK(c.model.init_from.empty());
  REQUIRE(c.data.size() == 1);
  CHECK(c.data[0].path == (f / "text.jsonl"));
  CHECK(c.data[0].weight == 1.0);
  REQUIRE(c.eval.size() == 1);
  CHECK(c.eval[0].name == "law");
  CHECK(c.eval[0].path == (f / "law.jsonl"));
  CHECK(c.train.context == 256);
  CHECK(c.train.batch == 32);
  CHECK(c.train.micro_batch == 8);
  CHECK(c.train.steps == 50);
  CHECK(c.train.lr == 1e-3);
  CHECK(c.train.schedule == ScheduleKind::cosine);
  CHECK(c.train.warmup == 10);
  CHECK(c.train.checkpoint_every == 25);
  // Not beside the file: from the current folder.
  CHECK(parse(smallest).data[0].path == (std::filesystem::current_path() / "text.jsonl").string());
  CHECK(has(error_of(ErrorKind::input, [&] { load_run_config(f / "no.toml"); }), "file.missing"));
}

TEST_CASE("run file: defaults") {
  TrainOptions o = parse(bare).train;
  CHECK(o.micro_batch == 8);
  CHECK(o.gradient_leaves == 1);
  CHECK(o.lr == 1e-3);
  CHECK(o.min_lr_ratio == 0.1);
  CHECK(o.schedule == ScheduleKind::cosine);
  CHECK(o.warmup == 0);
  CHECK(o.decay_steps == 20);  // a fifth
  CHECK(o.beta1 == 0.9);
  CHECK(o.beta2 == 0.95);
  CHECK(o.adam_eps == 1e-8);
  CHECK(o.weight_decay == 0.1);
  CHECK(o.clip == 1.0);
  CHECK(o.dropout == 0);
  CHECK(o.init_std == 0.02);
  CHECK(o.seed == 1);
  CHECK_FALSE(o.recompute);
  CHECK_FALSE(o.batch_balance);
  CHECK(o.mask_documents);
  CHECK(o.eval_every == 0);
  CHECK(o.checkpoint_every == 100);  // at the end
  CHECK(o.keep_checkpoints == 3);
  CHECK(parse(replaced(bare, "batch = 12", "batch = 3")).train.micro_batch == 3);
  CHECK(parse(bare).data[0].weight == 1);
  CHECK(parse(bare + "[[eval]]\npath = \"/d/law.jsonl\"\n").eval[0].name == "law.jsonl");
  // A weight of 0 leaves a source out.
  RunConfig two = parse(replaced(bare, "[train]", "[[data]]\npath = \"/d/u\"\nweight = 0\n[train]"));
  CHECK(two.data.size() == 1);
  CHECK(parse(bare + "lr = 1\n").train.lr == 1.0);  // an integer where a number is wanted
  CHECK(parse(bare + "freeze = [\"*.router.*\", \"model.embed*\"]\n").frozen("model.layers.0.mlp.router.weight"));
  CHECK_FALSE(parse(bare + "freeze = [\"*.router.*\"]\n").frozen("model.norm.weight"));
}

TEST_CASE("run file: --set") {
  RunConfig c = parse(smallest, {"train.lr=2e-4", "train.schedule=wsd", "data.0.weight=0.25", "data.0.path=/x/a=b.jsonl", "train.recompute=true",
                                 "train.freeze=[\"a\", \"b\"]", "model.tokenizer=\"/t\"", "eval.0.name=a b", "train.steps=7", "train.steps=60"});
  CHECK(c.train.lr == 2e-4);
  CHECK(c.train.schedule == ScheduleKind::wsd);
  CHECK(c.data[0].weight == 0.25);
  CHECK(c.data[0].path == "/x/a=b.jsonl");
  CHECK(c.train.recompute);
  CHECK(c.train.freeze == std::vector<std::string>{"a", "b"});
  CHECK(c.model.tokenizer == "/t");
  CHECK(c.eval[0].name == "a b");
  CHECK(c.train.steps == 60);  // the last one
  CHECK(c.source_text == smallest);
  auto usage = [&](const char* set) {
    std::string message = refused(smallest, {set}, ErrorKind::usage);
    CAPTURE(set);
    CHECK(message.starts_with("flag.value: --set: "));
  };
  for (const char* set : {"train.lr", "=1", "", "data.1.weight=1", "data.x.weight=1", "data.0=1", "data..weight=1", "data.weight=1", "train.lr.deep=1",
                          "data.99999999999999999999.weight=1"})
    usage(set);
  CHECK(has(refused(smallest, {"train.lrr=1"}), "run.key: /r/run.toml: train.lrr is no key of a run file; did you mean lr?"));
  CHECK(has(refused(smallest, {"trian.lr=1"}), "run.key: /r/run.toml: trian is no key"));
  CHECK(has(refused(smallest, {"train.lr=fast"}), "run.value: /r/run.toml: train.lr: wanted a number"));
  CHECK(has(refused(smallest, {"train.steps=1\nlr=2"}), "run.value: /r/run.toml: train.steps"));  // one value, not two keys
  CHECK(has(refused(smallest, {"train.schedule="}), "train.schedule: wanted a non-empty string"));
}

TEST_CASE("run file: unknown keys suggest the nearest") {
  auto unknown = [](const std::string& text, const char* wanted) {
    std::string message = refused(text);
    CAPTURE(message);
    CHECK(message.starts_with("run.key: "));
    CHECK(has(message, wanted));
  };
  unknown(bare + "learning_rate = 1\n", "/r/run.toml:9: train.learning_rate is no key of a run file; wanted one of context, batch");
  unknown(bare + "warm_up = 1\n", "/r/run.toml:9: train.warm_up is no key of a run file; did you mean warmup?");
  unknown(bare + "chekpoint_every = 1\n", "did you mean checkpoint_every?");
  unknown(replaced(bare, "config = \"/m/c.json\"", "confg = \"/m/c.json\""), "/r/run.toml:2: model.confg is no key of a run file; did you mean config?");
  unknown(replaced(bare, "path =", "wieght = 2\npath ="), "/r/run.toml:4: data.wieght is no key of a run file; did you mean weight?");
  unknown(bare + "[[eval]]\nnmae = \"x\"\npath = \"y\"\n", "/r/run.toml:10: eval.nmae is no key of a run file; did you mean name?");
  unknown(bare + "[trian]\n", "trian is no key of a run file; did you mean train?");
  unknown("lr = 1\n" + bare, "/r/run.toml:1: lr is no key");
}

TEST_CASE("run file: keys of many parts are refused before anything walks them; dots elsewhere are no parts") {
  std::string key = "a";
  for (int i = 0; i < 60000; ++i) key += ".a";
  for (const std::string& line : {key + " = 1", "[" + key + "]", "[[" + key + "]]", "x = {" + key + " = 1}", "x = {s = \"\"\"a\"\"\"\", " + key + " = 1}"}) {
    std::string message = refused(bare + line + "\n");
    CAPTURE(message);
    CHECK(message.starts_with("toml.depth: /r/run.toml:9: wanted keys of at most 8 parts"));
  }
  CHECK(refused(smallest, {key + "=1"}, ErrorKind::usage).starts_with("flag.value: --set: "));
  CHECK(has(refused(smallest, {"train.lr={" + key + "=1}"}), "train.lr: wanted a number"));
  // As deep as the parser takes values.
  std::string deep = "1";
  for (int i = 0; i < 250; ++i) deep = "{a.a.a.a.a.a.a.a = " + deep + "}";
  CHECK(has(refused(bare + "lr = " + deep + "\n"), "train.lr: wanted a number"));
  parse(bare + "# a.a.a.a.a.a.a.a.a.a\nfreeze = [\"a.a.a.a.a.a.a.a.a\", 'a.a.a.a.a.a.a.a.a.a\\', \"\"\"\\n a.a.a.a.a.a.a.a.a \\\" a.a.a.a.a.a.a.a.a\"\"\"]\n");
}

TEST_CASE("run file: wrong types and ranges name file and line") {
  auto wrong = [](const char* line, const char* wanted) {
    std::string message = refused(bare + line + "\n");
    CAPTURE(line);
    CAPTURE(message);
    CHECK(message.starts_with("run.value: /r/run.toml"));
    CHECK(has(message, wanted));
  };
  wrong("lr = \"fast\"", ":9: train.lr: wanted a number from 0 to 1e+06, got ");
  wrong("lr = -1e-3", ":9: train.lr: wanted a number from 0");
  wrong("lr = 1e7", ":9: train.lr: wanted");
  wrong("lr = nan", ":9: train.lr: wanted");
  wrong("lr = inf", ":9: train.lr: wanted");
  wrong("lr = true", ":9: train.lr: wanted");
  wrong("min_lr_ratio = 1.5", ":9: train.min_lr_ratio: wanted a number from 0 to 1, got 1.5");
  wrong("micro_batch = 0", ":9: train.micro_batch: wanted an integer from 1 to 16777216, got 0");
  wrong("micro_batch = 2.0", ":9: train.micro_batch: wanted an integer");
  wrong("micro_batch = \"2\"", ":9: train.micro_batch: wanted an integer");
  wrong("seed = -1", ":9: train.seed: wanted an integer from 0");
  wrong("recompute = 1", ":9: train.recompute: wanted true or false, got 1");
  wrong("schedule = \"linear\"", ":9: train.schedule: wanted \"constant\", \"cosine\" or \"wsd\", got ");
  wrong("schedule = 3", ":9: train.schedule: wanted");
  wrong("dropout = 1.0", ":9: train.dropout: wanted a number from 0 to 0.999");
  wrong("freeze = \"x\"", ":9: train.freeze: wanted an array of strings");
  wrong("freeze = [\"x\", 1]", ":9: train.freeze: wanted an array of strings");
  wrong("keep_checkpoints = 0", ":9: train.keep_checkpoints: wanted");
  wrong("gradient_leaves = 5", "train.gradient_leaves: wanted a divisor of batch 12, got 5");
  wrong("beta1 = 1", ":9: train.beta1: wanted a number from 0 to 0.9999999, got 1");
  wrong("beta2 = 0.99999999", ":9: train.beta2: wanted a number from 0 to 0.9999999, got ");
  wrong("adam_eps = 0", ":9: train.adam_eps: wanted a number from 1e-30 to 1, got 0");
  wrong("moments = \"bf16\"\nbeta2 = 0.999", "train.moments: wanted \"fp32\" where beta2 is above 0.992");
  wrong("moments = \"fp16\"", ":9: train.moments: wanted \"fp32\" or \"bf16\"");
  wrong("warmup = 101", "train.warmup: wanted at most the 100 steps, got 101");
  wrong("[[eval]]\nname = \"\"", ":10: eval.name: wanted a non-empty string");
  CHECK(has(refused(replaced(bare, "context = 16", "context = 0")), "/r/run.toml:6: train.context: wanted an integer from 1"));
  CHECK(has(refused(replaced(bare, "\"/d/t.jsonl\"", "5")), "/r/run.toml:4: data.path: wanted a non-empty string, got 5"));
  CHECK(has(refused(replaced(bare, "\"/m/c.json\"", "[]")), "/r/run.toml:2: model.config: wanted a non-empty string"));
  CHECK(has(refused(replaced(bare, "[[data]]", "[data]")), "/r/run.toml:3: data: wanted tables: [[data]]"));
  CHECK(has(refused("data = [1]\n" + replaced(bare, "[[data]]\npath = \"/d/t.jsonl\"\n", "")), "/r/run.toml:1: data: wanted a table, got 1"));
  CHECK(has(refused("model = 3\n" + replaced(bare, "[model]\nconfig = \"/m/c.json\"\n", "")), "/r/run.toml:1: model: wanted a table, got 3"));
  // No TOML at all.
  CHECK(has(refused(bare + "lr = \n"), "run.toml: /r/run.toml:9: "));
  CHECK(has(refused(bare + "steps = 3\n"), "run.toml: /r/run.toml:9: "));  // twice
  CHECK(has(refused("{\"model\": 1}"), "run.toml: /r/run.toml:1: "));
  for (const char* line : {"[= 1\n", "[\x1b" "data]\n", "[\x7f]\n"}) CHECK(has(refused(bare + line), "run.toml: /r/run.toml"));  // the parser's own checks would end the process
}

TEST_CASE("run file: missing keys") {
  auto missing = [](std::string_view part, const char* wanted) {
    std::string message = refused(replaced(bare, part, ""));
    CAPTURE(message);
    CHECK(message.starts_with("run.key: /r/run.toml: wanted "));
    CHECK(has(message, wanted));
  };
  missing("context = 16\n", "train.context");
  missing("batch = 12\n", "train.batch");
  missing("steps = 100\n", "train.steps");
  missing("config = \"/m/c.json\"\n", "model.config, for a fresh model, or model.init_from");
  missing("[model]\nconfig = \"/m/c.json\"\n", "model, a table: add [model]");
  missing("path = \"/d/t.jsonl\"\n", "data.path");
  missing("[[data]]\npath = \"/d/t.jsonl\"\n", "data, at least one [[data]]");
  missing("[train]\ncontext = 16\nbatch = 12\nsteps = 100\n", "train, a table: add [train]");
  CHECK(has(refused(replaced(bare, "config =", "init_from = \"/m\"\nconfig =")), "one of the two"));
  CHECK(has(refused(replaced(bare, "path =", "weight = 0\npath =")), "at least one [[data]] with a weight above 0"));
  CHECK(parse(replaced(bare, "config = \"/m/c.json\"", "init_from = \"/m\"")).model.init_from == "/m");
}

TEST_CASE("run file: resolved.toml alone gives the same run") {
  const std::string everything = R"([model]
init_from = "/m/a \"b\" \\ é"
tokenizer = "/t'\n"
[[data]]
path = "/d/1"
weight = 0.3333333333333333
[[data]]
path = "/d/2"
weight = 7
[[eval]]
name = "a.b"
path = "/e/1"
[[eval]]
path = "/e/2.jsonl"
[train]
context = 33
batch = 30
micro_batch = 7
gradient_leaves = 5
steps = 1000000000000
lr = 0.30000000000000004
min_lr_ratio = 0.05
schedule = "wsd"
warmup = 3
decay_steps = 9
beta1 = 0.8
beta2 = 0.99
adam_eps = 1e-15
moments = "bf16"
weight_decay = 0
clip = 1e30
dropout = 0.1
init_std = 0.013
seed = 9223372036854775807
recompute = true
batch_balance = true
mask_documents = false
log_every = 2
eval_every = 4
checkpoint_every = 6
keep_checkpoints = 8
freeze = ["a*", "b"]
)";
  for (const std::string& text : {std::string(smallest), bare, everything}) {
    RunConfig c = parse(text, {"train.lr=0.1"});
    if (text == everything) {
      c = parse(text);
      CHECK(c.train.adam_eps == 1e-15);
      CHECK(c.model.tokenizer == "/t'\n");
    }
    std::string resolved = resolved_toml(c);
    CAPTURE(resolved);
    RunConfig again = parse_run_config(resolved, "/elsewhere/resolved.toml");
    same(c, again);
    CHECK(resolved_toml(again) == resolved);
  }
}

}  // namespace bam::run_config_test
