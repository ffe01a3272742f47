// The run file of bam train (docs/run-files.md): read strictly, with overrides; an unknown key is an error that suggests the
// nearest one.
#pragma once
#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "../io/file.hpp"
#include "../io/toml.hpp"
#include "../optim/adamw.hpp"
#include "../optim/schedule.hpp"
#include "../text/chat.hpp"

namespace bam::train {

struct ModelSource {
  std::string config;     // a config.json: a fresh model ...
  std::string init_from;  // ... or a model folder, or run folder, to start from
  std::string tokenizer;  // file or folder; may be empty where init_from has one
};
enum class DataFormat { text, chat };  // text::read_documents, text::read_examples
struct DataSource {
  std::string path;   // file or folder
  double weight = 1;  // share of tokens
  DataFormat format = DataFormat::text;
};
struct EvalSource {
  std::string name, path;
  DataFormat format = DataFormat::text;
};
struct TrainOptions {
  std::int64_t context = 0, batch = 0;             // required
  std::int64_t steps = 0, epochs = 0;              // one of the two; epochs give the steps once the data are read (RunConfig::set_steps)
  std::int64_t micro_batch = 8;                    // rows at a time; changes memory and speed, no result
  std::int64_t gradient_leaves = 1;
  double lr = 1e-3, min_lr_ratio = 0.1;
  ScheduleKind schedule = ScheduleKind::cosine;
  std::int64_t warmup = 0;
  std::int64_t decay_steps = -1;  // of wsd; below 0: a fifth of the steps
  double beta1 = 0.9, beta2 = 0.95, adam_eps = 1e-8, weight_decay = 0.1, clip = 1.0;
  bool bf16_moments = false;  // moments = "bf16"
  double dropout = 0, init_std = 0.02;
  std::uint64_t seed = 1;
  bool recompute = false, batch_balance = false, mask_documents = true;
  std::int64_t log_every = 1, eval_every = 0, checkpoint_every = 0, keep_checkpoints = 3;  // checkpoint_every 0: at the end
  std::vector<std::string> freeze;  // shell patterns of tensor names that are not updated
  // Fine-tuning on examples.
  std::string chat_template = "plain";  // text::ChatTemplate
  bool packing = true;                  // several examples a row
  bool example_loss = false;            // loss = "example"
  // Validation by the [[eval]] sets.
  bool best = false;          // keep the checkpoint of the least mean nll
  std::int64_t patience = 0;  // above 0: evaluations in a row without a new least that end the run
};
struct RunConfig {
  ModelSource model;
  std::vector<DataSource> data;
  std::vector<EvalSource> eval;
  TrainOptions train;
  std::string source_text;  // the file as it was

  bool chat() const { return std::any_of(data.begin(), data.end(), [](const DataSource& d) { return d.format == DataFormat::chat; }); }
  // Completes what hangs on the number of steps.
  void set_steps(std::int64_t steps, const std::string& where) {
    TrainOptions& o = train;
    if (o.steps > 0 && o.steps != steps) fail(ErrorKind::input, "run.epochs", where, ": ", o.epochs, " epochs of these data are ", steps, " steps, train.steps is ", o.steps, "; leave one of the two out");
    o.steps = steps;
    if (o.decay_steps < 0) o.decay_steps = steps / 5;
    if (o.checkpoint_every == 0) o.checkpoint_every = steps;
    if (o.warmup > steps) fail(ErrorKind::input, "run.value", where, ": train.warmup: wanted at most the ", steps, " steps, got ", o.warmup);
  }
  bool frozen(const std::string& name) const {
    for (const std::string& pattern : train.freeze)
      if (fnmatch(pattern.c_str(), name.c_str(), 0) == 0) return true;
    return false;
  }
};

namespace detail {

inline const char* name_of(ScheduleKind k) {
  return k == ScheduleKind::constant ? "constant" : k == ScheduleKind::cosine ? "cosine" : "wsd";
}

inline const char* name_of(DataFormat f) { return f == DataFormat::text ? "text" : "chat"; }

// One of a few words.
template <class Value>
void read_word(io::TomlReader& reader, const toml::table& table, const char* key, Value& value, std::initializer_list<std::pair<const char*, Value>> words) {
  std::string s, all;
  std::size_t left = words.size();
  for (const auto& [word, v] : words) {
    --left;
    all += str(all.empty() ? "" : left ? ", " : " or ", '"', word, '"');
    if (v == value) s = word;
  }
  reader.read(key, s);
  for (const auto& [word, v] : words)
    if (s == word) return void(value = v);
  reader.wrong(key, *table.get(key), all);
}
inline void read_format(io::TomlReader& reader, const toml::table& table, DataFormat& value) {
  read_word(reader, table, "format", value, {{"text", DataFormat::text}, {"chat", DataFormat::chat}});
}

}  // namespace detail

// text: the file's content; folder: where it lies. A relative path is looked for beside the run file, then in the current
// folder; paths come out absolute.
inline RunConfig parse_run_config(const std::string& text, const std::string& file, const std::vector<std::string>& set = {}) {
  RunConfig c;
  c.source_text = text;
  std::string where = printable(file, 4096);
  toml::table root = io::parse_toml(text, file);
  for (const std::string& s : set) io::apply_set(root, s);
  auto path = [&](std::string& p) { p = io::path_beside(file, p); };

  io::TomlReader top(root, where, "");
  auto table = [&](const char* key) -> const toml::table& {
    const toml::table* t = top.table(key);
    if (!t) top.missing(key, str("a table: add [", key, "]"));
    return *t;
  };
  io::TomlReader model(table("model"), where, "model.");
  model.read("config", c.model.config);
  model.read("init_from", c.model.init_from);
  model.read("tokenizer", c.model.tokenizer);
  model.finish();
  if (c.model.config.empty() == c.model.init_from.empty()) model.missing("config", "for a fresh model, or model.init_from, a folder to start from; one of the two");
  for (std::string* p : {&c.model.config, &c.model.init_from, &c.model.tokenizer}) path(*p);

  for (const toml::table* t : top.tables("data")) {
    io::TomlReader r(*t, where, "data.");
    DataSource d;
    r.read("path", d.path);
    r.read("weight", d.weight, 0, 1e15);
    detail::read_format(r, *t, d.format);
    r.finish();
    if (d.path.empty()) r.missing("path", "a file or folder");
    path(d.path);
    if (d.weight > 0) c.data.push_back(d);
  }
  if (c.data.empty()) top.missing("data", "at least one [[data]] with a weight above 0");
  for (const toml::table* t : top.tables("eval")) {
    io::TomlReader r(*t, where, "eval.");
    EvalSource e;
    r.read("name", e.name);
    r.read("path", e.path);
    detail::read_format(r, *t, e.format);
    r.finish();
    if (e.path.empty()) r.missing("path", "a file or folder");
    if (e.name.empty()) e.name = std::filesystem::path(e.path).filename().string();
    path(e.path);
    c.eval.push_back(e);
  }

  TrainOptions& o = c.train;
  io::TomlReader t(table("train"), where, "train.");
  const std::int64_t many = std::int64_t{1} << 40;
  const toml::table& given = *root.get("train")->as_table();
  for (const char* key : {"context", "batch"})
    if (!t.has(key)) t.missing(key, "an integer");
  if (!t.has("steps") && !t.has("epochs")) t.missing("steps", "an integer, or train.epochs");
  t.read("context", o.context, 1, std::int64_t{1} << 24);
  t.read("batch", o.batch, 1, std::int64_t{1} << 24);
  t.read("steps", o.steps, 1, many);
  t.read("epochs", o.epochs, 1, 1 << 20);
  o.micro_batch = std::min<std::int64_t>(o.micro_batch, o.batch);
  t.read("micro_batch", o.micro_batch, 1, std::int64_t{1} << 24);
  t.read("gradient_leaves", o.gradient_leaves, 1, 1 << 20);
  t.read("lr", o.lr, 0, 1e6);
  t.read("min_lr_ratio", o.min_lr_ratio, 0, 1);
  detail::read_word(t, given, "schedule", o.schedule, {{"constant", ScheduleKind::constant}, {"cosine", ScheduleKind::cosine}, {"wsd", ScheduleKind::wsd}});
  t.read("warmup", o.warmup, 0, many);
  t.read("decay_steps", o.decay_steps, 0, many);
  // In float too a beta is below 1 and eps above 0: else 0 / 0.
  t.read("beta1", o.beta1, 0, 0.9999999);
  t.read("beta2", o.beta2, 0, 0.9999999);
  t.read("adam_eps", o.adam_eps, 1e-30, 1);
  detail::read_word(t, given, "moments", o.bf16_moments, {{"fp32", false}, {"bf16", true}});
  if (o.bf16_moments && o.beta2 > AdamWOptions::most_beta2_of_bf16) t.wrong("moments", *given.get("moments"), str("\"fp32\" where beta2 is above ", AdamWOptions::most_beta2_of_bf16, ": a step would change less than bf16 can tell"));
  t.read("weight_decay", o.weight_decay, 0, 1e6);
  t.read("clip", o.clip, 0, 1e30);
  t.read("dropout", o.dropout, 0, 0.999);
  t.read("init_std", o.init_std, 0, 100);
  t.read("seed", o.seed, 0, INT64_MAX);
  t.read("recompute", o.recompute);
  t.read("batch_balance", o.batch_balance);
  t.read("mask_documents", o.mask_documents);
  t.read("log_every", o.log_every, 1, many);
  t.read("eval_every", o.eval_every, 0, many);
  t.read("checkpoint_every", o.checkpoint_every, 0, many);
  t.read("keep_checkpoints", o.keep_checkpoints, 1, many);
  t.read("freeze", o.freeze);
  t.read("template", o.chat_template);
  if (std::find(text::chat_templates().begin(), text::chat_templates().end(), o.chat_template) == text::chat_templates().end())
    t.wrong("template", *given.get("template"), "\"plain\" or \"cohere\"; templates are built in, a file's own are not run");
  t.read("packing", o.packing);
  detail::read_word(t, given, "loss", o.example_loss, {{"token", false}, {"example", true}});
  t.read("best", o.best);
  t.read("patience", o.patience, 0, many);
  t.finish();
  top.finish();
  if (o.batch % o.gradient_leaves != 0) fail(ErrorKind::input, "run.value", where, ": train.gradient_leaves: wanted a divisor of batch ", o.batch, ", got ", o.gradient_leaves);
  if (o.steps > 0 && o.epochs == 0) c.set_steps(o.steps, where);
  for (const DataSource& d : c.data) {
    if (o.epochs > 0 && d.weight != 1) fail(ErrorKind::input, "run.value", where, ": data.weight: with train.epochs every source is passed whole, got the weight ", d.weight, "; leave it out, or give train.steps");
    if (o.example_loss && d.format != DataFormat::chat) fail(ErrorKind::input, "run.value", where, ": train.loss: \"example\" wants format = \"chat\" for all data, ", printable(d.path, 400), " is text");
  }
  if ((o.best || o.patience > 0) && c.eval.empty()) fail(ErrorKind::input, "run.value", where, ": train.", o.best ? "best" : "patience", ": wanted an [[eval]] set to go by, there is none");
  if (o.patience > 0 && o.eval_every == 0) fail(ErrorKind::input, "run.value", where, ": train.patience: wanted train.eval_every above 0, got 0");
  return c;
}

inline RunConfig load_run_config(const std::string& file, const std::vector<std::string>& set = {}) {
  return parse_run_config(io::read_file(file, std::uint64_t{1} << 24), file, set);
}

// Every key with its value: a run file that alone gives the same run.
inline std::string resolved_toml(const RunConfig& c) {
  toml::table model, train;
  if (!c.model.config.empty()) model.insert("config", c.model.config);
  if (!c.model.init_from.empty()) model.insert("init_from", c.model.init_from);
  if (!c.model.tokenizer.empty()) model.insert("tokenizer", c.model.tokenizer);
  toml::array data, eval, freeze;
  for (const DataSource& d : c.data) data.push_back(toml::table{{"path", d.path}, {"weight", d.weight}, {"format", detail::name_of(d.format)}});
  for (const EvalSource& e : c.eval) eval.push_back(toml::table{{"name", e.name}, {"path", e.path}, {"format", detail::name_of(e.format)}});
  for (const std::string& f : c.train.freeze) freeze.push_back(f);
  const TrainOptions& o = c.train;
  train.insert("context", o.context);
  train.insert("batch", o.batch);
  train.insert("micro_batch", o.micro_batch);
  train.insert("gradient_leaves", o.gradient_leaves);
  if (o.steps > 0) train.insert("steps", o.steps);
  if (o.epochs > 0) train.insert("epochs", o.epochs);
  train.insert("lr", o.lr);
  train.insert("min_lr_ratio", o.min_lr_ratio);
  train.insert("schedule", detail::name_of(o.schedule));
  train.insert("warmup", o.warmup);
  if (o.decay_steps >= 0) train.insert("decay_steps", o.decay_steps);
  train.insert("beta1", o.beta1);
  train.insert("beta2", o.beta2);
  train.insert("adam_eps", o.adam_eps);
  train.insert("moments", o.bf16_moments ? "bf16" : "fp32");
  train.insert("weight_decay", o.weight_decay);
  train.insert("clip", o.clip);
  train.insert("dropout", o.dropout);
  train.insert("init_std", o.init_std);
  train.insert("seed", static_cast<std::int64_t>(o.seed));
  train.insert("recompute", o.recompute);
  train.insert("batch_balance", o.batch_balance);
  train.insert("mask_documents", o.mask_documents);
  train.insert("log_every", o.log_every);
  train.insert("eval_every", o.eval_every);
  train.insert("checkpoint_every", o.checkpoint_every);
  train.insert("keep_checkpoints", o.keep_checkpoints);
  train.insert("freeze", freeze);
  train.insert("template", o.chat_template);
  train.insert("packing", o.packing);
  train.insert("loss", o.example_loss ? "example" : "token");
  train.insert("best", o.best);
  train.insert("patience", o.patience);
  toml::table root{{"model", model}, {"data", data}, {"train", train}};
  if (!eval.empty()) root.insert("eval", eval);
  std::ostringstream out;
  out << root << "\n";
  return out.str();
}

}  // namespace bam::train
