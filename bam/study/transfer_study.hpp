// A whole study of cross-lingual transfer: text, tokenizer, base models, every fine-tuning, its scores. Each training
// is a run folder of its own that resumes where it stopped; started again on the same folder the study continues, and ends with the same results.
// What is finished needs no weights: a pruned folder, or one that came from another machine, continues too.
#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "../clt/mixture.hpp"
#include "../text/bpe_train.hpp"
#include "../upcycle/folders.hpp"
#include "trainings.hpp"
#include "transfer_config.hpp"
#include "transfer_items.hpp"

namespace bam::study::transfer {

// Documents of pre-training in a language, of as many as there are: one epoch and no more where there are enough, for they have more tokens than this each.
inline std::int64_t document_count(const TransferConfig& c, const std::string& language) {
  constexpr double least_tokens = 70;
  const double tokens = static_cast<double>(std::max(c.pretrain_tokens, c.branch_tokens)) * c.share_of(language);
  return std::max<std::int64_t>(20, static_cast<std::int64_t>(tokens / least_tokens));
}

// Of the documents of all languages, at most `each` of one.
inline io::Json train_tokenizer(const TransferConfig& c, std::int64_t each) {
  text::BpeTrainer trainer;
  for (const std::string& l : c.languages()) c.corpus->each_document(l, c.seed, std::min(each, document_count(c, l)), [&](const std::string& document) { trainer.add(document); });
  return trainer.train(c.vocab_size);
}
inline constexpr std::int64_t tokenizer_documents = 1500;

// Training examples of a replicate are those of its own seed; test and validation items are the same in all replicates.
inline std::uint64_t pool_seed(const TransferConfig& c, std::int64_t replicate) { return c.seed + 1000 * static_cast<std::uint64_t>(replicate); }

class TransferStudy {
 public:
  TransferStudy(const TransferConfig& config, std::string out, std::string version, StudyHooks hooks)
      : c_(config), out_(std::move(out)), version_(std::move(version)), hooks_(std::move(hooks)), runs_(std::filesystem::absolute(out_ + "/runs").string() + "/") {}

  // What finished runs in the folder stand on, recorded by the first call; sizes, smaller k, settings, groups, matrix and replicates may be added.
  // Error(input): the folder holds a study of other settings.
  void check_settings() const {
    const std::string file = out_ + "/study.json";
    const std::string wanted = io::dump(io::Json::object({{"study", "clt"}, {"corpus", c_.corpus->fingerprint(c_.languages(), c_.tasks, c_.seed)}, {"seed", static_cast<std::int64_t>(c_.seed)}, {"languages", joined_codes(c_.languages())},
                                                            {"seen", joined_codes(c_.seen)}, {"english", c_.english}, {"largest_k", c_.k.back()}, {"vocab_size", c_.vocab_size}, {"context", c_.context},
                                                            {"batch", c_.batch}, {"pretrain_tokens", c_.pretrain_tokens}, {"pivot_share", c_.pivot_share}, {"branch_tokens", c_.branch_tokens},
                                                            {"mix_tokens", c_.mix_tokens}, {"tune_batch", c_.tune_batch}, {"epochs", c_.epochs}, {"validation", c_.validation}, {"items", c_.items},
                                                            {"rivals", c_.rivals}, {"samples", c_.samples}, {"pretrain_lr", c_.pretrain_lr}, {"tune_lr", c_.tune_lr}}), 1) + "\n";
    if (!io::exists(file)) {
      if (io::is_folder(out_ + "/runs")) fail(ErrorKind::input, "study.changed", out_, ": holds runs of a study that is not recorded; name another folder");
      io::write_file_atomic(file, wanted);
    } else if (io::read_file(file) != wanted) {
      fail(ErrorKind::input, "study.changed", file, ": the study in this folder has other settings or another corpus; name another folder");
    }
    for (const BaseSize& size : c_.sizes)
      for (std::int64_t r = 1; r <= c_.replicates; ++r) check_shape(out_ + "/runs/" + replicate_folder(size, r) + "/config.json", size.dense(c_.vocab_size, c_.context), size.name);
  }

  // Runs what is not done yet.
  void execute() {
    io::make_folder(out_);
    io::FileLock lock(out_);
    prepare();
    for (const Tuning& t : plan_.tunings()) finished_ += done(t.run);
    for (const BaseSize& size : c_.sizes)
      for (std::int64_t r = 1; r <= c_.replicates; ++r)
        for (const std::string& name : base_runs(size, r)) finished_ += done(name);
    for (const BaseSize& size : c_.sizes)
      for (std::int64_t r = 1; r <= c_.replicates; ++r) {
        if (finished(size, r)) continue;
        const std::string base = base_model(size, r);
        pools_.clear();
        for (const Tuning& t : plan_.tunings())
          if (t.size == &size && t.replicate == r) tune(t, base);
      }
  }

  // Removes what no unfinished run of the study needs: weights, logs, examples. What the results stand on stays. Returns the bytes given back.
  std::uintmax_t prune() {
    check_settings();
    io::FileLock lock(out_);
    std::uintmax_t bytes = 0;
    for (const Tuning& t : plan_.tunings())
      if (scored(t)) bytes += prune_run(runs_ + t.run) + remove_counted(out_ + "/data/" + t.run);
    for (const BaseSize& size : c_.sizes)
      for (std::int64_t r = 1; r <= c_.replicates; ++r)
        if (finished(size, r)) {
          for (const std::string& name : base_runs(size, r)) bytes += prune_run(runs_ + name);
          bytes += remove_counted(runs_ + replicate_folder(size, r) + "/mixture-init");
        }
    return bytes;
  }

 private:
  bool scored(const Tuning& t) const { return io::exists(runs_ + t.run + "/eval.json"); }
  // All that is trained from the base of a size and replicate has its scores.
  bool finished(const BaseSize& size, std::int64_t r) const {
    for (const std::string& name : base_runs(size, r))
      if (!done(name)) return false;
    for (const Tuning& t : plan_.tunings())
      if (t.size == &size && t.replicate == r && !scored(t)) return false;
    return true;
  }
  std::vector<std::string> base_runs(const BaseSize& size, std::int64_t r) const {
    std::vector<std::string> names;
    for (const Phase& p : phases(size, c_)) names.push_back(replicate_folder(size, r) + "/" + p.name);
    return names;
  }

  void prepare() {
    check_settings();
    const std::string corpus = out_ + "/corpus";
    if (!io::is_folder(corpus)) {
      note("writing text");
      io::StagedDirectory staged(corpus);
      for (const std::string& l : c_.languages()) {
        std::string lines;
        c_.corpus->each_document(l, c_.seed, document_count(c_, l), [&](const std::string& document) { lines += io::dump(io::Json::object({{"text", document}})) + "\n"; });
        staged.write(l + ".jsonl", lines);
      }
      staged.commit();
    }
    const std::string file = out_ + "/tokenizer/tokenizer.json";
    if (!io::exists(file)) {
      note(str("training a tokenizer of ", c_.vocab_size, " tokens"));
      io::make_folder(out_ + "/tokenizer");
      io::write_file_atomic(file, io::dump(train_tokenizer(c_, tokenizer_documents), 2) + "\n");
    }
    tokenizer_.emplace(text::Tokenizer::load(file));
    if (tokenizer_->vocab_size() < c_.vocab_size)
      fail(ErrorKind::input, "study.vocab_size", file, ": the text gave a vocabulary of ", tokenizer_->vocab_size(), " tokens, study.vocab_size is ", c_.vocab_size, "; lower it, in a new folder");
    std::int64_t dropped = 0;
    for (const TestInfo& info : c_.corpus->tests(c_.tasks))
      for (const std::string& l : c_.languages())
        if (TestSet set = test_set(*c_.corpus, info, l, *tokenizer_, c_.items, c_.rivals, c_.context, c_.seed); !set.items.empty()) {
          dropped += set.dropped + set.alone;
          tests_.push_back(std::move(set));
        }
    if (dropped > 0) note(str("left out ", dropped, " test items whose answers do not fit the context or have no rival"));
    check_training();
    if (const std::string chance = out_ + "/chance.json"; !io::exists(chance)) {
      io::Json all = io::Json::object();
      for (const TestSet& set : tests_) {
        if (!all.contains(set.info.name)) all.set(set.info.name, io::Json::object());
        io::Json of = all.at(set.info.name);
        of.set(set.language, c_.corpus->constant_answer_rate(set.info.name, set.language, c_.seed));
        all.set(set.info.name, std::move(of));
      }
      io::write_file_atomic(chance, io::dump(all) + "\n");
    }
  }

  // What only the tokenizer tells, before hours of training. Error(input): a task all of whose examples are too long.
  void check_training() const {
    for (const std::string& t : c_.tasks) {
      std::int64_t examples = 0, fit = 0;
      for (const std::string& l : c_.languages()) {
        if (c_.corpus->kind() == "generated" || c_.corpus->available(t, l) == 0) continue;
        for (const std::string& line : c_.corpus->pool(t, l, 0, c_.seed, false).lines) {
          const text::ChatExample e = text::detail::parse_example(line, t);
          ++examples;
          fit += static_cast<std::int64_t>(tokenizer_->encode(e.messages.back().content).size()) + 2 <= c_.context;
        }
      }
      if (examples > 0 && fit == 0) fail(ErrorKind::input, "study.context", "task ", t, ": none of ", examples, " training answers fits a context of ", c_.context, "; raise study.context");
    }
  }

  std::string tokenizer_file() const { return std::filesystem::absolute(out_ + "/tokenizer/tokenizer.json").string(); }

  // Trains, or has trained, the model from which a size and replicate are fine-tuned; its folder.
  std::string base_model(const BaseSize& size, std::int64_t r) {
    const std::string at = replicate_folder(size, r);
    io::make_folder(runs_ + at);
    const ModelConfig dense = size.dense(c_.vocab_size, c_.context);
    io::ConfigFile file;
    file.model = dense;
    file.bos_token_id = tokenizer_->bos_id();
    file.eos_token_ids = {tokenizer_->eos_id()};
    file.pad_token_id = tokenizer_->pad_id();
    const std::string config = runs_ + at + "/config.json", text = io::dump(io::model_config_json(file), 2) + "\n";
    io::write_file_atomic(config, text);
    std::map<std::string, double> shares;
    for (const std::string& l : c_.languages()) shares[l] = c_.share_of(l);
    const std::uint64_t seed = pool_seed(c_, r);
    pretrain(at + "/base", str("config = ", io::toml_string(config)), dense, shares, c_.pretrain_tokens, c_.pretrain_lr, seed);
    std::string model = io::resolve_model_folder(runs_ + at + "/base");
    const std::vector<Phase> list = phases(size, c_);
    if (list.size() == 1) return model;
    // Branches over the pivot's, the seen and the unseen languages' text, each with a tenth of all of it, then a mixture over all of it; or one model over the same shares of it.
    std::vector<std::string> parents{model};
    std::uint64_t n = 0;
    std::map<std::string, double> together;  // tokens
    for (const auto& [l, share] : shares) together[l] = share * static_cast<double>(c_.mix_tokens);
    for (const auto& [name, own] : {std::pair<const char*, std::vector<std::string>>{"pivot", {c_.pivot}}, {"seen", c_.seen}, {"unseen", c_.unseen}}) {
      std::map<std::string, double> branch = shares;
      for (auto& [l, share] : branch) share *= 0.1;
      for (const std::string& l : own) branch[l] += 0.9 / static_cast<double>(own.size());
      for (const auto& [l, share] : branch) together[l] += share * static_cast<double>(c_.branch_tokens);
      if (size.continued) continue;
      pretrain(str(at, "/branch-", name), str("init_from = ", io::toml_string(model)), dense, branch, c_.branch_tokens, c_.pretrain_lr / 2, seed + ++n);
      parents.push_back(io::resolve_model_folder(runs_ + at + "/branch-" + name));
    }
    const Phase& last = list.back();
    std::string from = model;
    if (size.mixture) {
      from = runs_ + at + "/mixture-init";
      if (!io::exists(from + "/model.safetensors")) upcycle_folders(parents, size.mixture->method, upcycle_options(*size.mixture, seed), from, false, version_);
    }
    pretrain(str(at, "/", last.name), str("init_from = ", io::toml_string(from)), last.model, size.mixture ? shares : together, last.tokens, c_.pretrain_lr / 2, seed + ++n);
    return io::resolve_model_folder(str(runs_, at, "/", last.name));
  }

  void pretrain(const std::string& name, const std::string& from, const ModelConfig& model, const std::map<std::string, double>& shares, std::int64_t tokens, double lr, std::uint64_t seed) {
    const std::int64_t steps = c_.steps(tokens);
    if (done(name)) {
      if (has_weights(runs_ + name, steps)) return;
      begin_again(runs_ + name, hooks_, name);
    }
    std::string toml = str("[model]\n", from, "\ntokenizer = ", io::toml_string(tokenizer_file()), "\n");
    for (const auto& [l, share] : shares) toml += str("[[data]]\npath = ", io::toml_string(std::filesystem::absolute(out_ + "/corpus/" + l + ".jsonl").string()), "\nweight = ", share, "\n");
    toml += str("[train]\ncontext = ", c_.context, "\nbatch = ", c_.batch, "\nmicro_batch = ", std::min(c_.micro_batch, c_.batch), "\nsteps = ", steps, "\nlr = ", lr, "\nschedule = \"wsd\"\nwarmup = ",
                std::min<std::int64_t>(steps / 10, 100), "\nseed = ", static_cast<std::int64_t>(seed), "\ncheckpoint_every = ", std::max<std::int64_t>(100, steps / 4), "\nkeep_checkpoints = 1\n");
    finish(name, toml, model, steps, lr);
  }

  void tune(const Tuning& t, const std::string& base) {
    if (scored(t)) return;
    if (t.parts.empty()) return evaluate_base(t, base);
    const std::string data = std::filesystem::absolute(out_ + "/data/" + t.run).string();
    if (!io::is_folder(data)) write_examples(t, data);
    const bool validated = !io::read_file(data + "/validation.jsonl").empty();  // a task may have none in the languages of the run
    const std::int64_t steps = (t.examples() * c_.epochs + c_.tune_batch - 1) / c_.tune_batch;
    std::string toml = str("[model]\ninit_from = ", io::toml_string(base), "\ntokenizer = ", io::toml_string(tokenizer_file()), "\n[[data]]\npath = ", io::toml_string(data + "/train.jsonl"), "\nformat = \"chat\"\n");
    if (validated) toml += str("[[eval]]\nname = \"validation\"\npath = ", io::toml_string(data + "/validation.jsonl"), "\nformat = \"chat\"\n");
    toml += str("[train]\ncontext = ", c_.context, "\nbatch = ", c_.tune_batch, "\nmicro_batch = ", c_.tune_batch, "\nepochs = ", c_.epochs, "\nlr = ", c_.tune_lr, "\nschedule = \"constant\"\nwarmup = ",
                std::min<std::int64_t>(steps / 10, 20), "\nseed = ", static_cast<std::int64_t>(pool_seed(c_, t.replicate)), "\npacking = false\nkeep_checkpoints = 1\n");
    if (validated) toml += str("best = true\neval_every = ", std::max<std::int64_t>(1, steps / c_.epochs), "\n");
    if (!done(t.run)) finish(t.run, toml, t.size->model(c_.vocab_size, c_.context), steps, c_.tune_lr);
    const std::string best = runs_ + t.run + "/checkpoints/best";
    evaluate(t, io::is_folder(best) ? best : runs_ + t.run);
    // Hundreds of runs: their weights can be trained again, bit for bit.
    std::error_code ignored;
    std::filesystem::remove_all(runs_ + t.run + "/checkpoints", ignored);
  }

  // A task without examples in the pivot: at k = 0 there is nothing to train on, and the base stands for itself.
  void evaluate_base(const Tuning& t, const std::string& base) {
    io::make_folder(runs_ + t.run);
    const std::string from = runs_ + base_runs(*t.size, t.replicate).back() + "/done.json";
    io::Json done = io::parse_json(io::read_file(from), from);
    for (const char* key : {"steps", "tokens", "seconds"}) done.set(key, 0);
    finished_ += !this->done(t.run);
    io::write_file_atomic(runs_ + t.run + "/done.json", io::dump(done) + "\n");
    evaluate(t, base);
  }

  // train.jsonl and validation.jsonl of a fine-tuning. Sets of one pool are nested, and the pivot's is the same in all runs of a replicate.
  void write_examples(const Tuning& t, const std::string& folder) {
    std::vector<clt::Part> parts;
    std::vector<clt::Pool> pools;
    std::string validation;
    for (const Part& p : t.parts) {
      parts.push_back({p.task, p.language, p.n});
      pools.push_back(pool(p.task, p.language, t.replicate, t.control == Control::shuffled));
      for (const std::string& line : c_.corpus->validation(p.task, p.language, c_.validation, c_.seed, t.control == Control::shuffled)) validation += line + "\n";
    }
    const std::string train = folder + ".train";
    clt::write_mixture(train, clt::mix(pools, parts, pool_seed(c_, t.replicate)), c_.corpus->manifest(), io::is_folder(train));
    io::write_file_atomic(train + "/validation.jsonl", validation);
    std::error_code ec;
    std::filesystem::rename(train, folder, ec);
    if (ec) fail(ErrorKind::io, "study.data", folder, ": cannot rename: ", ec.message());
  }

  // As many examples as the largest set of it needs.
  const clt::Pool& pool(const std::string& task, const std::string& language, std::int64_t replicate, bool shuffled) {
    auto [at, fresh] = pools_.try_emplace({task, language, shuffled});
    if (!fresh) return at->second;
    std::int64_t n = language == c_.pivot ? c_.english : c_.k.back();
    for (const Tuning& t : plan_.tunings())
      for (const Part& p : t.parts)
        if (p.task == task && p.language == language) n = std::max(n, p.n);
    return at->second = c_.corpus->pool(task, language, n, pool_seed(c_, replicate), shuffled);
  }

  bool done(const std::string& name) const { return io::exists(runs_ + name + "/done.json"); }
  void finish(const std::string& name, const std::string& toml, const ModelConfig& model, std::int64_t steps, double lr) {
    const std::string folder = runs_ + name;
    const train::RunResult result = run_training(toml, folder, hooks_, hooks_.begin ? hooks_.begin(name, finished_, model, steps) : nullptr, version_, nullptr);
    if (done(name)) return check_same_end(folder, result.hash);
    ++finished_;
    double tokens = 0;
    for (const io::Json& line : io::parse_json_lines(io::read_file(folder + "/metrics.jsonl"), folder))
      if (const io::Json* rate = line.find("tokens_per_s")) tokens += rate->as_double(folder) * line.at("seconds").as_double(folder);
    io::write_file_atomic(folder + "/done.json", io::dump(io::Json::object({{"hash", result.hash}, {"steps", result.steps}, {"tokens", static_cast<std::int64_t>(tokens + 0.5)}, {"lr", lr}, {"final_nll", result.final_nll},
                                                                           {"seconds", training_seconds(folder)}, {"peak_flops", hooks_.peak_flops}, {"device", name_of(default_device())}})) + "\n");
  }

  void evaluate(const Tuning& t, const std::string& folder) {
    note(str("evaluating ", t.run));
    const io::ModelFolder model = io::load_model(folder);
    io::Json cells = io::Json::array({}), samples = io::Json::array({});
    for (const TestSet& set : tests_) {
      if (!set.info.task.empty() && std::find(t.tasks.begin(), t.tasks.end(), set.info.task) == t.tasks.end()) continue;
      if (int signal = hooks_.stop_signal ? hooks_.stop_signal() : 0) throw Stopped{signal};
      const CellScores s = score(*model.decoder, set, *tokenizer_, c_.context);
      io::Json cell = io::Json::object({{"task", set.info.name}, {"language", set.language}, {"items", s.items}});
      if (set.info.written) cell.set("exact", s.exact);
      if (set.info.competes) cell.set("rank", s.rank), cell.set("rank_chance", s.rank_chance);
      if (t.control == Control::shuffled) {  // what each item came to, "1", "0" or "." where it is left out: the control is tested by items
        auto by_item = [&](const std::vector<std::uint8_t>& hits) {
          std::string all(set.place.back() + 1, '.');
          for (std::size_t i = 0; i < hits.size(); ++i) all[set.place[i]] = hits[i] ? '1' : '0';
          return all;
        };
        if (set.info.written) cell.set("exact_items", by_item(s.right));
        if (set.info.competes) cell.set("rank_items", by_item(s.first));
      }
      if (set.info.answered) {
        for (const auto& [key, value] : {std::pair{"nll", s.nll}, {"nll_stderr", s.nll_stderr}}) cell.set(key, value);
        cell.set("tokens", s.tokens);
      }
      if (set.info.competes)
        for (const auto& [key, value] : {std::pair{"likelihood", s.likelihood}, {"likelihood_stderr", s.likelihood_stderr}, {"rivals", s.rivals}, {"above_stderr", s.above_stderr}}) cell.set(key, value);
      else if (set.info.answered) cell.set("bytes", s.bytes);
      if (const std::string& name = set.info.text_score; !name.empty())
        for (const auto& [key, value] : {std::pair{"", s.text}, {"_stderr", s.text_stderr}, {"_others", s.text_others}, {"_above_stderr", s.text_above_stderr}}) cell.set(name + key, value);
      cells.push_back(std::move(cell));
      for (std::size_t i = 0; set.info.written && i < std::min(static_cast<std::size_t>(c_.samples), set.items.size()); ++i)
        samples.push_back(io::Json::object({{"task", set.info.name}, {"language", set.language}, {"item", static_cast<std::int64_t>(i)}, {"prompt", set.items[i].prompt}, {"answer", set.items[i].answer},
                                            {"text", s.written[i]}, {"right", s.right[i] != 0}}));
    }
    io::Json out = io::Json::object();
    out.set("cells", std::move(cells));
    out.set("samples", std::move(samples));
    io::write_file_atomic(runs_ + t.run + "/eval.json", io::dump(out) + "\n");
  }

  void note(const std::string& text) const {
    if (hooks_.note) hooks_.note(text);
  }

  const TransferConfig& c_;
  Plan plan_{c_};
  std::string out_, version_;
  StudyHooks hooks_;
  std::string runs_;
  std::int64_t finished_ = 0;  // trainings
  std::optional<text::Tokenizer> tokenizer_;
  std::vector<TestSet> tests_;
  std::map<std::tuple<std::string, std::string, bool>, clt::Pool> pools_;
};

}  // namespace bam::study::transfer
