// A whole training run: model and data from a run file, steps, metrics, checkpoints that are complete or absent, resume
// with the bits of the uninterrupted run. One trainer for pre-training, continued pre-training, mixtures and fine-tuning.
#pragma once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "../io/model_folder.hpp"
#include "../optim/schedule.hpp"
#include "checkpoint.hpp"
#include "data.hpp"
#include "run_config.hpp"
#include "step.hpp"
#include "validation.hpp"

namespace bam::train {

struct RunResult {
  std::int64_t steps = 0;
  double final_loss = 0, final_nll = 0;
  std::int64_t peak_bytes = 0;
  std::string hash;
  int stopped_by = 0;  // the signal, when one stopped the run
};

// What the caller shows; everything else goes to the run folder.
struct RunEvents {
  std::function<void(const std::string&)> note;
  // step just done, of all; its result, learning rate and tokens per second
  std::function<void(std::int64_t, std::int64_t, const StepResult&, double, double)> step;
  std::function<int()> stop_signal;  // non-zero asks to save and stop
};

struct RunOptions {
  std::string out;
  bool resume = false, force = false;
  std::optional<std::int64_t> stop_at;
  std::string version, flags = {};  // of this program and its build, for the manifest
  SourceCache* sources = nullptr;
};

class Run {
 public:
  Run(const RunConfig& config, const RunOptions& options, const RunEvents& events) : config_(config), options_(options), events_(events) {}

  RunResult execute() {
    namespace fs = std::filesystem;
    std::error_code ec;
    fs::path out(options_.out);
    bool started = fs::exists(out / "resolved.toml", ec) || (fs::is_directory(out / "checkpoints", ec) && !fs::is_empty(out / "checkpoints", ec));
    if (started && !options_.resume && !options_.force)
      fail(ErrorKind::usage, "run.exists", options_.out, ": a run is there already; add --resume to continue it, or --force to start over");
    const bool ours = !fs::exists(out, ec);
    io::make_folder((out / "checkpoints").string());
    io::FileLock lock(options_.out);
    detail::remove_unfinished(checkpoints());
    try {
      load();
    } catch (...) {
      if (ours) fs::remove_all(out, ec);  // bad input leaves nothing behind
      throw;
    }
    if (started && options_.force && !options_.resume)  // not before all that takes its place has been read
      for (auto& e : fs::directory_iterator(out / "checkpoints", ec)) fs::remove_all(e.path(), ec);
    std::string before, changed;
    if (options_.resume && fs::exists(out / "resolved.toml", ec)) changed = changed_settings(before = io::read_file((out / "resolved.toml").string()));
    bool resumed = options_.resume && started && resume();
    if (resumed && !changed.empty() && !options_.force) check_schedule(before);
    if (!resumed || !changed.empty() || !fs::exists(out / "resolved.toml", ec)) {
      io::write_file_atomic((out / "config.toml").string(), config_.source_text);
      io::write_file_atomic((out / "resolved.toml").string(), resolved_toml(config_));
      io::write_file_atomic((out / "manifest.json").string(), io::dump(manifest_, 2) + "\n");
    }
    if (!resumed) truncate_metrics(0);
    if (config_.train.best) detail::link_best(checkpoints(), validation_.best_step());
    io::LineWriter metrics((out / "metrics.jsonl").string()), events((out / "events.jsonl").string());
    event(events, resumed ? "resume" : "start");
    if (!changed.empty()) event(events, "changed", changed);
    report_examples(events);
    for (const std::string& line : validation_.overlaps(data_->sources())) {
      event(events, "overlap", line);
      note("warning: " + line);
    }
    return loop(metrics, events);
  }

 private:
  static Schedule schedule_of(const TrainOptions& t) { return {t.schedule, t.lr, t.min_lr_ratio, t.steps, t.warmup, t.decay_steps}; }

  // What differs from the run so far. Keys that change no bit, and names of places, are free; another length is told and recorded,
  // where the steps done so far had the learning rates that it gives them (check_schedule); anything else would make a run that no
  // file describes.
  std::string changed_settings(const std::string& before) {
    toml::table old = io::parse_toml(before, "resolved.toml"), unset = io::parse_toml(resolved_toml({}), "resolved.toml"), now = io::parse_toml(resolved_toml(config_), "resolved.toml");
    std::string all, refused;
    const toml::table *a = old["train"].as_table(), *b = now["train"].as_table(), *absent = unset["train"].as_table();
    for (auto& [key, value] : *b) {
      const std::string name(key.str());
      auto text = [](const toml::node* n) {
        std::ostringstream out;
        if (n) n->visit([&](const auto& v) { out << v; });
        return out.str();
      };
      const std::string was = text(a && a->contains(name) ? a->get(name) : absent->get(name)), is = text(&value);
      auto one_of = [&](std::initializer_list<std::string_view> names) { return std::find(names.begin(), names.end(), name) != names.end(); };
      if (was == is || (name == "micro_batch" && !config_.train.batch_balance) || one_of({"recompute", "log_every", "eval_every", "checkpoint_every", "keep_checkpoints"})) continue;
      const std::string change = str("train.", name, " ", was, " -> ", is);
      all += (all.empty() ? "" : ", ") + change;
      if (!one_of({"steps", "epochs", "decay_steps", "best", "patience"})) refused += (refused.empty() ? "" : ", ") + change;
    }
    if (!refused.empty() && !options_.force)
      fail(ErrorKind::input, "run.changed", options_.out, ": the run so far had other settings: ", refused, "; start a new run with init_from, or --force to go on all the same");
    if (!all.empty()) note(str("changed since the run so far: ", all));
    return all;
  }
  // Of a list of sources: they may lie elsewhere.
  static io::Json without_paths(const io::Json& manifest) {
    if (!manifest.is_array()) return manifest;
    io::Json list = io::Json::array();
    for (const io::Json& source : manifest.items("data")) {
      io::Json one = io::Json::object();
      for (auto [key, value] : source.members("data"))
        if (key != "path") one.set(key, value);
      list.push_back(std::move(one));
    }
    return list;
  }
  void check_schedule(const std::string& before) const {
    const Schedule was = schedule_of(parse_run_config(before, options_.out + "/resolved.toml").train), is = schedule_of(config_.train);
    for (std::int64_t s = 0; s < step_; ++s)
      if (was.at(s) != is.at(s))
        fail(ErrorKind::input, "run.changed", options_.out, ": ", config_.train.steps, " steps would have given step ", s + 1, " the learning rate ", is.at(s), ", it had ", was.at(s),
             "; a cosine has its length from the start: use schedule = \"wsd\" or \"constant\", a new run with init_from, or --force to go on all the same");
  }

  void load() {
    const RunConfig& c = config_;
    std::string tokenizer_file = c.model.tokenizer;
    if (!c.model.init_from.empty()) {
      io::ModelFolder m = io::load_model(c.model.init_from);
      if (io::lies_in(m.path, checkpoints())) fail(ErrorKind::usage, "out.input", options_.out, ": model.init_from is a checkpoint of --out, and those come and go; name another --out");
      config_file_ = std::move(m.config);
      model_ = std::move(m.decoder);
      if (tokenizer_file.empty() && m.has_tokenizer) tokenizer_file = m.path + "/tokenizer.json";
      manifest_.set("init_from", io::model_hashes(m.path));
    } else {
      config_file_ = io::read_model_config(c.model.config);
      model_ = std::make_unique<Decoder>(config_file_.model);
      model_->initialize(c.train.seed, c.train.init_std);
    }
    if (tokenizer_file.empty()) fail(ErrorKind::input, "run.tokenizer", "[model] tokenizer: wanted a tokenizer.json, got none");
    if (io::is_folder(tokenizer_file)) tokenizer_file += "/tokenizer.json";
    tokenizer_json_ = io::read_file(tokenizer_file, text::Tokenizer::most_bytes);
    tokenizer_.emplace(text::Tokenizer::parse(io::parse_json(tokenizer_json_, tokenizer_file), tokenizer_file));
    if (tokenizer_->vocab_size() > config_file_.model.vocab_size)
      fail(ErrorKind::input, "run.vocabulary", tokenizer_file, ": has ", tokenizer_->vocab_size(), " ids, the model's vocab_size is ", config_file_.model.vocab_size);
    if (!config_file_.bos_token_id && tokenizer_->bos_id() >= 0) config_file_.bos_token_id = tokenizer_->bos_id();
    if (config_file_.eos_token_ids.empty() && tokenizer_->eos_id() >= 0) config_file_.eos_token_ids.push_back(tokenizer_->eos_id());
    bos_ = static_cast<std::int32_t>(io::special_id(config_file_.bos_token_id, config_file_.model, "bos_token_id"));
    eos_ = static_cast<std::int32_t>(io::special_id(config_file_.eos_token_ids.empty() ? std::nullopt : std::optional(config_file_.eos_token_ids[0]), config_file_.model, "eos_token_id"));
    note(str("reading data, tokenizer ", tokenizer_file));
    const DataReader reader(config_, *tokenizer_, bos_, eos_, options_.sources);
    data_.emplace(reader.stream(&examples_));
    if (data_->all_rows() > 0) config_.set_steps((data_->all_rows() + c.train.batch - 1) / c.train.batch, options_.out);
    validation_ = Validation(config_, reader);
    parameters_ = model_->parameters();
    AdamWOptions o;
    o.lr = c.train.lr;
    o.beta1 = c.train.beta1;
    o.beta2 = c.train.beta2;
    o.eps = c.train.adam_eps;
    o.weight_decay = c.train.weight_decay;
    o.clip = c.train.clip;
    o.moments = c.train.bf16_moments ? DType::bf16 : DType::f32;
    for (const std::string& pattern : c.train.freeze)
      if (std::none_of(parameters_.begin(), parameters_.end(), [&](const Parameter& p) { return fnmatch(pattern.c_str(), p.name.c_str(), 0) == 0; }))
        fail(ErrorKind::input, "run.freeze", "train.freeze: '", printable(pattern, 200), "' matches no tensor; bam inspect lists their names");
    optimizer_.emplace(parameters_, o, [&](const std::string& name) { return c.frozen(name); });
    manifest_.set("bam_version", options_.version);
#ifdef __clang__
    manifest_.set("compiler", "clang " __clang_version__);
#else
    manifest_.set("compiler", "g++ " __VERSION__);
#endif
    manifest_.set("flags", options_.flags);
    manifest_.set("dtype", name_of(model_->dtype()));
    if (model_->device() == Device::cpu) manifest_.set("isa", cpu::name_of(cpu::isa()));
    else manifest_.set("device", describe(model_->device()));
    manifest_.set("seed", static_cast<std::int64_t>(c.train.seed));
    manifest_.set("tokenizer", io::sha256(tokenizer_json_));
    manifest_.set("data", data_->manifest());
  }

  // Newest first; a damaged one is named, set aside, and the one before taken. What is whole and cannot be read by this program, with
  // these settings or just now is an error: its steps are not to be lost.
  bool resume() {
    std::string damage;
    std::vector<std::string> damaged;
    for (const std::string& folder : detail::step_folders(checkpoints())) {
      try {
        read_checkpoint(folder);
        note(str("resuming from ", folder));
        for (const std::string& bad : damaged) note(str("warning: ", bad, " is now ", detail::set_aside(bad)));
        truncate_metrics(step_);
        return true;
      } catch (const Error& e) {
        if (e.id() == "checkpoint.other" || e.id() == "checkpoint.format" || e.kind() == ErrorKind::io || e.kind() == ErrorKind::limit) throw;
        damage += str(damage.empty() ? "" : "; ", e.what());
        damaged.push_back(folder);
        note(str("warning: ", folder, " cannot be used: ", e.what()));
      }
    }
    if (!damage.empty()) fail(ErrorKind::input, "checkpoint.damaged", options_.out, ": no checkpoint can be used: ", damage);
    return false;
  }

  void read_checkpoint(const std::string& folder) {
    io::Json state = io::parse_json(io::read_file(folder + "/state.json"), folder + "/state.json");
    std::int64_t format = state.at("format").as_int("state.json: format");
    if (format != checkpoint_format)
      fail(ErrorKind::input, "checkpoint.format", folder, ": has format ", format, ", this program reads ", checkpoint_format, "; resume with the version that wrote it");
    if (const io::Json* wanted = state.find("sha256"); wanted && wanted->as_string("state.json: sha256") != detail::state_hash(state))  // an older checkpoint has none
      fail(ErrorKind::input, "checkpoint.damaged", folder, "/state.json: SHA-256 of its content is ", detail::state_hash(state), ", wanted ", wanted->as_string("state.json: sha256"));
    const io::Json& files = state.at("files");
    for (const char* name : {"config.json", "model.safetensors", "optimizer.safetensors", "tokenizer.json"}) {
      std::string found = io::sha256_file(folder + "/" + name), wanted(files.at(name).as_string("state.json: files"));
      if (found != wanted) fail(ErrorKind::input, "checkpoint.damaged", folder, "/", name, ": SHA-256 is ", found, ", wanted ", wanted);
    }
    if (!options_.force)
      for (const char* key : {"tokenizer", "data", "dtype"}) {
        const io::Json* was = state.at("manifest").find(key);  // a checkpoint without a dtype is older than the choice
        if (was ? io::dump(without_paths(*was)) != io::dump(without_paths(manifest_.at(key))) : key != std::string_view("dtype") || model_->dtype() != DType::f32)
          fail(ErrorKind::input, "checkpoint.other", folder, ": was made with another ", key, "; --force goes on all the same");
      }
    std::int64_t step = state.at("step").as_int("state.json: step", 0);
    if (detail::step_folder(step) != io::name_of_file(folder)) fail(ErrorKind::input, "checkpoint.damaged", folder, "/state.json: step is ", step, ", other than the folder's name");
    io::ConfigFile saved = io::read_model_config(folder + "/config.json");
    if (io::dump(io::model_config_json(saved)) != io::dump(io::model_config_json(config_file_)))
      fail(ErrorKind::input, "checkpoint.other", folder, ": its config.json describes another model than the run file; start a new run");
    io::load_weights_into(*model_, folder);
    io::WeightSet moments = io::load_weights(folder + "/optimizer.safetensors");
    for (Parameter& p : detail::moment_views(parameters_, *optimizer_)) {
      const auto* t = moments.find(p.name);
      if (!t || t->shape != p.shape()) fail(ErrorKind::input, "checkpoint.damaged", folder, "/optimizer.safetensors: '", p.name, "' is missing or has another shape");
      std::vector<float> v(static_cast<std::size_t>(p.numel()));
      t->to_float(v.data());
      p.write(v.data());
    }
    data_->restore(state.at("data"));
    router_counts_.counts.clear();
    for (const io::Json& router : state.at("router_counts").items("state.json: router_counts")) {
      router_counts_.counts.emplace_back();
      for (const io::Json& n : router.items("state.json: router_counts")) router_counts_.counts.back().push_back(n.as_int("state.json: router_counts", 0, std::int64_t{1} << 48));
      const std::size_t r = router_counts_.counts.size() - 1, n = router_counts_.counts.back().size();
      if (r >= model_->routers() || n != static_cast<std::size_t>(experts_of_router(model_->config(), r)))
        fail(ErrorKind::input, "checkpoint.damaged", folder, "/state.json: router_counts has ", n, " experts for router ", r, ", other than the model");
    }
    if (const io::Json* v = state.find("validation")) validation_.restore(*v);
    hash_ = state.at("hash").as_string("state.json: hash");
    last_loss_ = state.at("loss").as_double("state.json: loss");
    last_nll_ = state.at("nll").as_double("state.json: nll");
    optimizer_->set_steps(state.at("updates").as_int("state.json: updates", 0));
    step_ = step;
  }

  void save() {
    std::string name = detail::step_folder(step_), final = checkpoints() + "/" + name;
    if (std::filesystem::exists(final)) return;
    io::StagedDirectory staged(final);
    const std::string& at = staged.path();
    io::Json model_manifest = manifest_;
    model_manifest.set("step", step_);
    io::write_model(at, config_file_, *model_, tokenizer_json_, model_manifest);
    io::save_parameters(at + "/optimizer.safetensors", detail::moment_views(parameters_, *optimizer_));
    io::Json state = io::Json::object(), files = io::Json::object(), routers = io::Json::array({});
    state.set("format", checkpoint_format);
    state.set("step", step_);
    state.set("updates", optimizer_->steps());
    state.set("hash", hash_);
    state.set("loss", last_loss_);
    state.set("nll", last_nll_);
    state.set("data", data_->state());
    if (!config_.eval.empty()) state.set("validation", validation_.state());
    for (auto& router : router_counts_.counts) {
      io::Json list = io::Json::array({});
      for (std::int64_t n : router) list.push_back(n);
      routers.push_back(std::move(list));
    }
    state.set("router_counts", std::move(routers));
    state.set("manifest", manifest_);
    for (const char* file : {"config.json", "model.safetensors", "optimizer.safetensors", "tokenizer.json"}) files.set(file, io::sha256_file(at + "/" + file));
    state.set("files", std::move(files));
    state.set("sha256", detail::state_hash(io::parse_json(io::dump(state), "state.json")));
    io::write_file(at + "/state.json", io::dump(state, 2) + "\n");
    staged.commit();
    detail::prune(checkpoints(), config_.train.keep_checkpoints, config_.train.best ? validation_.best_step() : -1);
  }

  RunResult loop(io::LineWriter& metrics, io::LineWriter& events) {
    const auto& t = config_.train;
    const Schedule schedule = schedule_of(t);
    StepOptions o;
    o.micro_batch = t.micro_batch;
    o.gradient_leaves = t.gradient_leaves;
    o.dropout = static_cast<float>(t.dropout);
    o.seed = t.seed;
    o.recompute = t.recompute;
    o.batch_balance = t.batch_balance;
    o.example_loss = t.example_loss;
    std::optional<MicroGraphs> graphs;
    if (model_->device() == Device::cuda && graphs_wanted()) graphs.emplace();
    RunResult result;
    std::int64_t end = options_.stop_at ? std::min(*options_.stop_at, t.steps) : t.steps;
    Allocator::get(model_->device()).reset_peak();
    while (step_ < end && !validation_.exhausted()) {
      auto start = std::chrono::steady_clock::now();
      StepRows rows = data_->next(t.batch);
      report_epochs(events);
      double lr = schedule.at(step_);
      StepResult r;
      try {
        r = train_step(*model_, *optimizer_, rows, o, step_, lr, router_counts_, graphs ? &*graphs : nullptr);
      } catch (const Error& e) {
        event(events, "error", e.what());
        throw;
      }
      hash_ = detail::fold(hash_, r.loss);
      last_loss_ = r.loss;
      last_nll_ = r.nll;
      ++step_;
      double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      double rate = static_cast<double>(r.positions) / seconds;
      if (step_ % t.log_every == 0 || step_ == end) metrics.line(io::dump(metric(r, lr, seconds)));
      if (events_.step) events_.step(step_, t.steps, r, lr, rate);
      if ((t.eval_every > 0 && step_ % t.eval_every == 0) || step_ == t.steps) evaluate(metrics, events);
      int signal = events_.stop_signal ? events_.stop_signal() : 0;
      if (step_ % t.checkpoint_every == 0 || step_ == end || signal) save();
      if (signal) {
        event(events, "stopped", str("signal ", signal));
        result.stopped_by = signal;
        break;
      }
      if (validation_.exhausted()) {
        const std::string why = str("no lower nll in ", t.patience, " evaluations; least ", validation_.best_nll(), " at step ", validation_.best_step());
        event(events, "early_stop", why);
        note(str("step ", step_, ": stopped early, ", why));
      }
    }
    if (!result.stopped_by) save();
    result.steps = step_;
    result.final_loss = last_loss_;
    result.final_nll = last_nll_;
    result.peak_bytes = Allocator::get(model_->device()).stats().peak;
    result.hash = detail::final_hash(hash_, *optimizer_, parameters_);
    if (step_ >= t.steps || validation_.exhausted()) event(events, "end", result.hash);
    else if (!result.stopped_by) event(events, "stopped", "--stop-at");
    return result;
  }

  // What became of the examples of each chat source.
  void report_examples(io::LineWriter& events) {
    for (std::size_t s = 0; s < examples_.size(); ++s) {
      if (config_.data[s].format != DataFormat::chat) continue;
      const text::ExampleCounts& c = examples_[s];
      const std::string line = str(config_.data[s].path, ": ", c.examples, " examples, ", c.tokens, " tokens, ", c.trained, " trained; ", c.truncated, " prompts cut, ", c.dropped(), " examples left out (",
                                   c.no_answer, " without an assistant's turn, ", c.too_long, " with an answer longer than context)");
      event(events, "examples", line);
      note(line);
    }
  }

  // A source that ran out has begun again, reshuffled.
  void report_epochs(io::LineWriter& events) {
    epochs_.resize(data_->sources().size(), 0);
    for (std::size_t s = 0; s < epochs_.size(); ++s)
      if (std::int64_t epoch = data_->epoch(s); epoch > epochs_[s]) {
        epochs_[s] = epoch;
        event(events, "epoch", str("step ", step_ + 1, ": epoch ", epoch + 1, " of ", data_->sources()[s].name));
        note(str("step ", step_ + 1, ": epoch ", epoch + 1, " of ", data_->sources()[s].name));
      }
  }

  io::Json metric(const StepResult& r, double lr, double seconds) const {
    io::Json j = io::Json::object();
    j.set("step", step_);
    j.set("loss", r.loss);
    j.set("nll", r.nll);
    j.set("load_balance", r.load_balance);
    j.set("z", r.z);
    j.set("gradient_norm", r.gradient_norm);
    j.set("lr", lr);
    j.set("targets", r.targets);
    j.set("seconds", seconds);
    j.set("tokens_per_s", static_cast<double>(r.positions) / seconds);
    if (data_->chat()) {
      j.set("example_nll", r.example_nll);
      j.set("examples", r.examples);
    }
    io::Json routers = io::Json::array({});
    for (auto& counts : router_counts_.counts) {
      io::Json list = io::Json::array({});
      for (std::int64_t n : counts) list.push_back(n);
      routers.push_back(std::move(list));
    }
    j.set("expert_tokens", std::move(routers));
    j.set("epochs", io::Json::array_of(data_->epochs()));
    return j;
  }

  void evaluate(io::LineWriter& metrics, io::LineWriter& events) {
    std::vector<io::Json> lines;
    const bool better = validation_.evaluate(*model_, step_, lines);
    for (const io::Json& line : lines) {
      metrics.line(io::dump(line));
      note(str("step ", step_, "  eval ", line.at("eval").as_string("eval"), "  nll ", line.at("nll").as_double("nll")));
    }
    if (!better || !config_.train.best) return;
    save();
    detail::link_best(checkpoints(), step_);
    event(events, "best", str("nll ", validation_.best_nll()));
  }

  // Lines of steps after `step` are dropped: they will be written again.
  void truncate_metrics(std::int64_t step) {
    std::string path = options_.out + "/metrics.jsonl", kept;
    if (!std::filesystem::exists(path)) return;
    std::string text = io::read_file(path);
    for (std::size_t at = 0; at < text.size();) {
      std::size_t end = text.find('\n', at);
      if (end == text.npos) break;  // a torn last line
      std::string line = text.substr(at, end - at);
      try {
        if (io::parse_json(line, path).at("step").as_int(path) <= step) kept += line + "\n";
      } catch (const Error&) {
      }
      at = end + 1;
    }
    io::write_file_atomic(path, kept);
  }

  void event(io::LineWriter& events, const char* what, const std::string& detail = {}) {
    io::Json j = io::Json::object();
    j.set("event", what);
    j.set("step", step_);
    if (!detail.empty()) j.set("detail", detail);
    j.set("time", static_cast<std::int64_t>(std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count()));
    events.line(io::dump(j));
  }
  void note(const std::string& text) {
    if (events_.note) events_.note(text);
  }

  std::string checkpoints() const { return options_.out + "/checkpoints"; }

  RunConfig config_;
  RunOptions options_;
  RunEvents events_;
  io::ConfigFile config_file_;
  std::unique_ptr<Decoder> model_;
  std::string tokenizer_json_;  // as it was read: the file may be gone at a save
  std::optional<text::Tokenizer> tokenizer_;
  std::int32_t bos_ = 1, eos_ = 2;
  std::optional<text::DataStream> data_;
  std::vector<Parameter> parameters_;
  std::optional<AdamW> optimizer_;
  RouterCounts router_counts_;
  io::Json manifest_ = io::Json::object();
  std::vector<text::ExampleCounts> examples_;  // per data source
  Validation validation_;
  std::vector<std::int64_t> epochs_;
  std::int64_t step_ = 0;
  std::string hash_;
  double last_loss_ = 0, last_nll_ = 0;
};

}  // namespace bam::train
