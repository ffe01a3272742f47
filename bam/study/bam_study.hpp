// A whole BAM study: data, tokenizer, seeds, specialists, every arm, evaluation. Each training is a run folder of its own
// that resumes where it stopped; started again on the same folder the study continues, and ends with the same results.
// What is finished needs no weights: a pruned folder, or one that came from another machine, continues too.
#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "../eval/choice.hpp"
#include "../eval/documents.hpp"
#include "../text/bpe_train.hpp"
#include "../upcycle/folders.hpp"
#include "baselines.hpp"
#include "completions.hpp"
#include "plan.hpp"
#include "results.hpp"
#include "trainings.hpp"

namespace bam::study {

class BamStudy {
 public:
  BamStudy(StudyConfig config, std::string data, std::string out, std::string version, StudyHooks hooks)
      : c_(std::move(config)), data_(std::move(data)), out_(std::move(out)), version_(std::move(version)), hooks_(std::move(hooks)) {}

  // What finished runs in the folder stand on, recorded by the first call; arms, sizes and replicates may be added.
  // Error(input): the folder holds a study of other settings.
  void check_settings() const {
    const std::string file_of_settings = out_ + "/study.json";
    io::Json all = io::Json::object({{"data", data_.empty() ? hooks_.corpus : fingerprint()}, {"documents", c_.documents}, {"eval_documents", c_.eval_documents},
                                   {"seed", static_cast<std::int64_t>(c_.seed)}, {"mixture_seeds", c_.mixture_seeds}, {"compute_matched", c_.compute_matched}, {"vocab_size", c_.vocab_size}, {"context", c_.context},
                                   {"batch", c_.batch}, {"seed_tokens", c_.seed_tokens}, {"expert_tokens", c_.expert_tokens}, {"mixture_tokens", c_.mixture_tokens},
                                   {"seed_lr", c_.seed_lr}, {"expert_lr", c_.expert_lr}, {"mixture_lr", c_.mixture_lr}, {"sweep", io::Json::array_of(c_.sweep)}, {"sweep_tokens", c_.sweep_tokens}});
    if (!data_.empty()) all.set("choice_items", c_.choice_items);
    const std::string settings = io::dump(all, 1) + "\n";
    if (!io::exists(file_of_settings)) {
      if (io::is_folder(out_ + "/runs")) fail(ErrorKind::input, "study.changed", out_, ": holds runs of a study that is not recorded; name another folder");
      io::write_file_atomic(file_of_settings, settings);
    } else if (io::read_file(file_of_settings) != settings) {
      fail(ErrorKind::input, "study.changed", file_of_settings, ": the study in this folder has other settings or another corpus; name another folder");
    }
    for (const Size& size : c_.sizes)
      for (std::int64_t r = 1; r <= c_.replicates; ++r) check_shape(out_ + "/runs/" + run_folder(size, r, 0, "config.json"), size.dense(c_.vocab_size, c_.context), size.name);
  }

  // Runs what is not done yet.
  void execute() {
    io::make_folder(out_);
    io::FileLock lock(out_);
    prepare();
    for (const Job& job : plan_.jobs()) finished_ += io::exists(runs_ + job.run + "/done.json");
    for (const Size& size : c_.sizes)
      for (std::int64_t r = 1; r <= c_.replicates; ++r)
        if (!finished(size, r)) replicate(size, r);
  }

  // Removes what no unfinished run of the study needs: weights, logs. What the results stand on stays. Returns the bytes given back.
  std::uintmax_t prune() {
    check_settings();
    io::FileLock lock(out_);
    find_files();
    std::uintmax_t bytes = 0;
    for (const Size& size : c_.sizes)
      for (std::int64_t r = 1; r <= c_.replicates; ++r) {
        for (std::int64_t m = 1; m <= c_.mixture_seeds; ++m)
          for (const Arm* arm : c_.arms_of(r))
            if (finished(size, r, m, *arm)) bytes += prune(size, r, m, *arm);
        if (finished(size, r))
          for (const char* d : dense_models) bytes += prune_run(runs_ + run_folder(size, r, 0, d));
      }
    return bytes;
  }

 private:
  static constexpr const char* dense_models[] = {"seed", "code", "law", "math"};

  // Of the files, wherever they are.
  std::string fingerprint() const {
    if (!io::is_folder(data_)) fail(ErrorKind::input, "study.data", data_, ": wanted the folder with general, code, law and math; there is none");
    io::Hasher hash;
    for (const char* d : domains)
      for (const char* part : {"train", "validation", "eval", "."})
        if (const std::string folder = str(data_, "/", d, "/", part); io::is_folder(folder))
          for (const std::string& file : io::list_files(folder, text::text_suffixes())) {
            const std::string name = str(d, "/", part, "/", std::filesystem::path(file).filename().string(), "\n"), bytes = io::read_file(file);
            hash.update(name.data(), name.size());
            hash.update(bytes.data(), bytes.size());
          }
    return "files " + hash.hex();
  }

  // What every run of the study needs to be found, and no model.
  void find_files() {
    runs_ = std::filesystem::absolute(out_ + "/runs/").string();
    if (data_.empty()) data_ = out_ + "/corpus", generated_ = true;
    for (const char* d : domains)
      if (const std::string folder = data_ + "/" + d + "/eval"; io::is_folder(folder))
        for (const std::string& set : io::list_files(folder, {".jsonl"})) choices_.emplace_back(std::filesystem::path(set).stem().string(), spread(read_choice_items(set), c_.choice_items));
  }

  // Whether a run has all its figures: answers on the sets of choices of data-matched points, completions of generated text of the first draw.
  bool evaluated(const std::string& name, bool answers, bool completions) const {
    const std::string run = runs_ + name;
    return io::exists(run + "/eval.json") && (!answers || choices_.empty() || io::exists(run + "/choice.json")) && (!completions || !generated_ || c_.completions == 0 || io::exists(run + "/completions.json"));
  }
  bool finished(const std::string& name, bool answers = false, bool completions = false) const { return io::exists(runs_ + name + "/done.json") && evaluated(name, answers, completions); }
  bool finished(const Size& size, std::int64_t r, std::int64_t m, const Arm& arm) const {
    const std::string name = arm_folder(size, r, m, arm, "data");
    if (!trained(arm)) return m > 1 || finished(name);
    if (r == 1 && m == 1)
      for (double factor : c_.sweep)
        if (!finished(trial_folder(size, arm, factor))) return false;
    for (const std::string& match : plan_.matches(arm))
      if (const std::string point = arm_folder(size, r, m, arm, match); !finished(point, point == name, point == name && r == 1 && m == 1)) return false;
    return true;
  }
  bool finished(const Size& size, std::int64_t r) const {
    for (const char* d : dense_models)
      if (!finished(run_folder(size, r, 0, d), true, r == 1)) return false;
    for (std::int64_t m = 1; m <= c_.mixture_seeds; ++m)
      for (const Arm* arm : c_.arms_of(r))
        if (!finished(size, r, m, *arm)) return false;
    return true;
  }

  // Whether an arm that is not finished begins with the specialists' weights.
  bool specialists_wanted(const Size& size, std::int64_t r) const {
    for (std::int64_t m = 1; m <= c_.mixture_seeds; ++m)
      for (const Arm* arm : c_.arms_of(r))
        if (arm->kind != ArmKind::dense && arm->kind != ArmKind::copies && !finished(size, r, m, *arm)) return true;
    return false;
  }

  // Of the upcycled model the figure of its identity check stays.
  std::uintmax_t prune(const Size& size, std::int64_t r, std::int64_t m, const Arm& arm) const {
    std::uintmax_t bytes = 0;
    if (r == 1 && m == 1)
      for (double factor : c_.sweep) bytes += prune_run(runs_ + trial_folder(size, arm, factor));
    for (const std::string& match : plan_.matches(arm)) bytes += prune_run(runs_ + arm_folder(size, r, m, arm, match));
    const std::string init = runs_ + arm_folder(size, r, m, arm, "data") + "-init";
    const std::string manifest = init + "/bam_manifest.json";
    if (!io::exists(manifest)) return bytes;
    io::write_file_atomic(manifest, io::dump(io::Json::object({{"identity", io::parse_json(io::read_file(manifest), manifest).at("identity")}})) + "\n");
    for (const char* name : {"model.safetensors", "config.json", "tokenizer.json"}) bytes += remove_counted(init + "/" + name);
    return bytes;
  }

  void prepare() {
    check_settings();
    if (const std::string corpus = out_ + "/corpus"; data_.empty() && !io::is_folder(corpus)) {
      note("generating the corpus");
      hooks_.generate(corpus);
    }
    find_files();
    std::string file = out_ + "/tokenizer/tokenizer.json";
    if (!io::exists(file)) {
      note(str("training a tokenizer of ", c_.vocab_size, " tokens"));
      text::BpeTrainer trainer;
      for (const char* d : domains)
        for (const text::Document& document : text::read_documents(data_ + "/" + d, "train")) trainer.add(document.text);
      io::make_folder(out_ + "/tokenizer");
      io::write_file_atomic(file, io::dump(trainer.train(c_.vocab_size), 2) + "\n");
    }
    tokenizer_.emplace(text::Tokenizer::load(file));
    for (const char* d : domains) sets_.push_back(spread(encode_documents(data_ + "/" + d, *tokenizer_, tokenizer_->bos_id(), tokenizer_->eos_id()), c_.eval_documents));
    if (const std::string baselines = out_ + "/baselines.json"; !io::exists(baselines)) {
      note("counting 5-grams, compressing with zstd -19");
      io::Json all = io::Json::object();
      for (std::size_t d = 0; d < 4; ++d) all.set(domains[d], measure_baselines(data_ + "/" + domains[d], *tokenizer_, sets_[d]));
      io::write_file_atomic(baselines, io::dump(all) + "\n");
    }
    if (generated_) prompts_ = completion_prompts(data_, c_.completions);
  }

  void replicate(const Size& size, std::int64_t r) {
    const ModelConfig dense = size.dense(c_.vocab_size, c_.context);
    const std::uint64_t base = c_.seed + 1000 * static_cast<std::uint64_t>(r);
    io::make_folder(runs_ + run_folder(size, r, 0, ""));
    std::string config = runs_ + run_folder(size, r, 0, "config.json");
    io::ConfigFile file;
    file.model = dense;
    file.bos_token_id = tokenizer_->bos_id();
    file.eos_token_ids = {tokenizer_->eos_id()};
    file.pad_token_id = tokenizer_->pad_id();
    const std::string text = io::dump(io::model_config_json(file), 2) + "\n";
    io::write_file_atomic(config, text);
    const std::string seed = run_folder(size, r, 0, "seed");
    train(seed, dense, str("config = ", io::toml_string(config)), {0.7, 0.1, 0.1, 0.1}, c_.seed_tokens, c_.seed_lr, base, c_.steps(c_.seed_tokens) / 10, 0, true);
    std::vector<std::string> parents{io::resolve_model_folder(runs_ + seed)};
    const bool specialists = specialists_wanted(size, r);
    for (std::size_t d = 1; d < 4; ++d) {
      std::string name = run_folder(size, r, 0, domains[d]);
      if (!specialists && finished(name, true, r == 1)) {
        parents.push_back("");
        continue;
      }
      std::vector<double> weights{0.1, 0, 0, 0};
      weights[d] = 0.9;
      train(name, dense, str("init_from = ", io::toml_string(parents[0])), weights, c_.expert_tokens, c_.expert_lr, base + d, c_.steps(c_.expert_tokens) / 10, 0, true);
      parents.push_back(io::resolve_model_folder(runs_ + name));
    }
    for (const char* d : dense_models) evaluate(run_folder(size, r, 0, d), true, r == 1);
    for (std::int64_t m = 1; m <= c_.mixture_seeds; ++m)
      for (const Arm* arm : c_.arms_of(r))
        if (!finished(size, r, m, *arm)) run_arm(size, r, m, *arm, parents, base + 100 * static_cast<std::uint64_t>(m));
  }

  void run_arm(const Size& size, std::int64_t r, std::int64_t m, const Arm& arm, const std::vector<std::string>& parents, std::uint64_t seed) {
    const std::string name = arm_folder(size, r, m, arm, "data");
    const ModelConfig dense = size.dense(c_.vocab_size, c_.context);
    if (!trained(arm)) {
      if (m == 1) evaluate_untrained(name, arm, parents);
      return;
    }
    std::string init = parents[0];
    if (arm.kind != ArmKind::dense) {
      init = runs_ + name + "-init";
      if (!io::exists(init + "/model.safetensors")) {
        std::error_code ignored;
        std::filesystem::remove_all(init, ignored);  // what a pruned arm left
        std::vector<std::string> from = arm.kind == ArmKind::copies ? std::vector<std::string>{parents[0]} : parents;
        upcycle_folders(from, arm.method, upcycle_options(arm, seed), init, false, version_);
      }
    }
    // Arms without a branch phase get its tokens of each domain too.
    std::vector<double> weights(4, 0.25);
    if (!branches(arm)) {
      const auto e = static_cast<double>(c_.expert_tokens), x = static_cast<double>(c_.mixture_tokens);
      weights.assign(4, 0.9 * e + 0.25 * x);
      weights[0] = 0.3 * e + 0.25 * x;
    }
    if (r == 1 && m == 1)
      for (double factor : c_.sweep) {
        const std::string trial = trial_folder(size, arm, factor);
        train(trial, arm_config(arm, dense), str("init_from = ", io::toml_string(init)), weights, c_.sweep_tokens, c_.mixture_lr * factor, seed, c_.steps(c_.sweep_tokens) / 10, 0, !evaluated(trial, false, false));
        evaluate(trial);
      }
    const double lr = c_.mixture_lr * best_factor(runs_, size, arm, c_.sweep);
    // The points of an arm share their trunk: the longest run, up to where the decay of a shorter one starts.
    std::vector<std::pair<std::int64_t, std::string>> points;
    for (const std::string& match : plan_.matches(arm)) points.emplace_back(c_.steps(plan_.arm_tokens(arm, dense, match)), arm_folder(size, r, m, arm, match));
    std::sort(points.begin(), points.end());
    const std::string& trunk = points.back().second;
    auto with_completions = [&](const std::string& point) { return point == name && r == 1 && m == 1; };
    auto run = [&](const std::string& point, std::int64_t steps, std::int64_t stop_at) {
      train(point, arm_config(arm, dense), str("init_from = ", io::toml_string(init)), weights, steps * c_.batch * c_.context, lr, seed, points[0].first / 10, stop_at,
            !evaluated(point, point == name, with_completions(point)));
    };
    for (auto& [steps, point] : points) {
      if (point != trunk && !io::is_folder(runs_ + point)) {
        const std::int64_t branch = steps - steps / 5;
        run(trunk, points.back().first, branch);
        const std::string newest = io::resolve_model_folder(runs_ + trunk);
        if (!newest.ends_with(train::detail::step_folder(branch))) fail(ErrorKind::internal, "study.trunk", newest, ": wanted the trunk at step ", branch);
        copy_trunk(runs_ + trunk, runs_ + point);
      }
      run(point, steps, 0);
      evaluate(point, point == name, with_completions(point));
    }
  }
  static void copy_trunk(const std::string& trunk, const std::string& to) {
    namespace fs = std::filesystem;
    std::error_code ec;
    fs::remove_all(to + ".part", ec);
    fs::create_directories(to + ".part", ec);
    if (!ec) fs::copy(trunk + "/checkpoints", to + ".part/checkpoints", fs::copy_options::recursive, ec);
    if (!ec) fs::copy(trunk + "/metrics.jsonl", to + ".part/metrics.jsonl", ec);
    if (!ec) fs::rename(to + ".part", to, ec);
    if (ec) fail(ErrorKind::io, "study.copy", to, ": cannot copy the trunk ", trunk, ": ", ec.message());
  }

  // stop_at 0: to the end, which leaves done.json; else up to that step, unless the run is already past it. A finished run is trained
  // again where its weights are needed and were pruned, and must end in the same bits.
  void train(const std::string& name, const ModelConfig& model, const std::string& from, const std::vector<double>& weights, std::int64_t tokens, double lr, std::uint64_t seed,
             std::int64_t warmup, std::int64_t stop_at, bool weights_needed = false) {
    const std::string folder = runs_ + name, end = folder + "/done.json";
    const std::int64_t steps = c_.steps(tokens);
    const bool again = io::exists(end);
    if (again && (!weights_needed || has_weights(folder, steps))) return;
    if (again) begin_again(folder, hooks_, name);
    std::string toml = str("[model]\n", from, "\ntokenizer = ", io::toml_string(std::filesystem::absolute(out_ + "/tokenizer/tokenizer.json").string()), "\n");
    for (std::size_t d = 0; d < 4; ++d)
      if (weights[d] > 0) toml += str("[[data]]\npath = ", io::toml_string(std::filesystem::absolute(data_ + "/" + domains[d]).string()), "\nweight = ", weights[d], "\n");
    toml += str("[train]\ncontext = ", c_.context, "\nbatch = ", c_.batch, "\nmicro_batch = ", std::min(c_.micro_batch, c_.batch), "\nsteps = ", steps, "\nlr = ", lr,
                "\nschedule = \"wsd\"\nwarmup = ", std::min<std::int64_t>(warmup, 100), "\nseed = ", static_cast<std::int64_t>(seed), "\ncheckpoint_every = ",
                std::max<std::int64_t>(50, steps / 4), "\nkeep_checkpoints = 1\n");
    const train::RunResult result = run_training(toml, folder, hooks_, hooks_.begin ? hooks_.begin(name, finished_, model, steps) : nullptr, version_, &sources_,
                                                 stop_at ? std::optional(stop_at) : std::nullopt);
    if (stop_at) return;
    if (again) return check_same_end(folder, result.hash);
    ++finished_;
    io::Json done = io::Json::object({{"hash", result.hash}, {"steps", result.steps}, {"tokens", result.steps * c_.batch * c_.context}, {"lr", lr}, {"final_nll", result.final_nll},
                                      {"seconds", training_seconds(folder)}, {"peak_flops", hooks_.peak_flops}, {"device", name_of(default_device())}});
    io::write_file_atomic(end, io::dump(done) + "\n");
  }

  static io::Json figures(const NllResult& r) {
    const double per_byte = r.nll * static_cast<double>(r.tokens) / static_cast<double>(r.bytes);
    return io::Json::object({{"nll", r.nll}, {"nll_per_byte", per_byte}, {"bits_per_byte", r.bits_per_byte}, {"stderr", r.stderr_nll}, {"tokens", r.tokens}, {"bytes", r.bytes}});
  }
  // Each figure has a file of its own.
  void evaluate(const std::string& name, bool answers = false, bool completions = false) {
    if (evaluated(name, answers, completions)) return;
    const std::string file = runs_ + name + "/eval.json", chosen = runs_ + name + "/choice.json", written = runs_ + name + "/completions.json";
    const bool nll = !io::exists(file);
    answers = answers && !choices_.empty() && !io::exists(chosen);
    completions = completions && !prompts_.empty() && !io::exists(written);
    note(str("evaluating ", name));
    io::ModelFolder model = io::load_model(runs_ + name);
    if (completions) io::write_file_atomic(written, io::dump(complete(*model.decoder, *tokenizer_, prompts_, c_.context)) + "\n");
    if (answers) {
      io::Json out = io::Json::object();
      for (const auto& [set, items] : choices_)
        out.set(set, choice_json(evaluate_choice(*model.decoder, *tokenizer_, static_cast<std::int32_t>(tokenizer_->bos_id()), static_cast<std::int32_t>(tokenizer_->eos_id()), items, c_.context, c_.micro_batch)));
      io::write_file_atomic(chosen, io::dump(out) + "\n");
    }
    if (!nll) return;
    io::Json out = io::Json::object();
    for (std::size_t d = 0; d < 4; ++d) out.set(domains[d], figures(evaluate_nll(*model.decoder, sets_[d], c_.context, c_.micro_batch)));
    out.set("loads", loads(*model.decoder));
    io::write_file_atomic(file, io::dump(out) + "\n");
  }

  // Branch-Train-Merge without training: an ensemble by posterior weights, or the mean of the weights.
  void evaluate_untrained(const std::string& name, const Arm& arm, const std::vector<std::string>& parents) {
    const std::string file = runs_ + name + "/eval.json";
    if (io::exists(file)) return;
    note(str("evaluating ", name));
    io::make_folder(runs_ + name);
    std::vector<io::ModelFolder> models;
    for (const std::string& p : parents) models.push_back(io::load_model(p));
    io::Json out = io::Json::object();
    if (arm.kind == ArmKind::average) {
      Decoder& mean = *models[0].decoder;
      std::vector<Parameter> to = mean.parameters();
      for (std::size_t i = 0; i < to.size(); ++i) {
        std::vector<float> values(static_cast<std::size_t>(to[i].numel()));
        std::vector<double> total(values.size(), 0.0);
        for (auto& m : models) {
          m.decoder->parameters()[i].read(values.data());
          for (std::size_t k = 0; k < values.size(); ++k) total[k] += static_cast<double>(values[k]);
        }
        for (std::size_t k = 0; k < values.size(); ++k) values[k] = static_cast<float>(total[k] / static_cast<double>(models.size()));
        to[i].write(values.data());
      }
    }
    io::Hasher hash;
    for (std::size_t d = 0; d < 4; ++d) {
      std::vector<NllResult> each;
      for (auto& m : models) {
        each.push_back(evaluate_nll(*m.decoder, sets_[d], c_.context, c_.micro_batch));
        if (arm.kind == ArmKind::average) break;
      }
      NllResult r = arm.kind == ArmKind::average ? each[0] : posterior(each);
      hash.update(r.document_nll.data(), r.document_nll.size() * sizeof(double));
      out.set(domains[d], figures(r));
    }
    io::write_file_atomic(runs_ + name + "/done.json", io::dump(io::Json::object({{"hash", hash.hex()}, {"steps", 0}, {"tokens", 0}})) + "\n");
    io::write_file_atomic(file, io::dump(out) + "\n");
  }
  // p(token) = sum_i w_i p_i(token); w_i proportional to what model i gave to the document so far.
  static NllResult posterior(const std::vector<NllResult>& models) {
    NllResult r = models[0];
    for (std::size_t d = 0; d < r.token_nll.size(); ++d) {
      std::vector<double> log_weight(models.size(), 0.0);
      r.document_nll[d] = 0;
      for (std::size_t t = 0; t < r.token_nll[d].size(); ++t) {
        auto log_sum = [&](bool with_token) {
          double top = -1e300, sum = 0;
          auto term = [&](std::size_t i) { return log_weight[i] - (with_token ? static_cast<double>(models[i].token_nll[d][t]) : 0.0); };
          for (std::size_t i = 0; i < models.size(); ++i) top = std::max(top, term(i));
          for (std::size_t i = 0; i < models.size(); ++i) sum += math::exp(term(i) - top);
          return top + math::log(sum);
        };
        const double nll = log_sum(false) - log_sum(true);
        r.document_nll[d] += nll;
        r.token_nll[d][t] = static_cast<float>(nll);
        for (std::size_t i = 0; i < models.size(); ++i) log_weight[i] -= static_cast<double>(models[i].token_nll[d][t]);
      }
    }
    summarize(r);
    return r;
  }

  // Mean gate of each attention expert and share of tokens of each FFN expert, by layer, on the first documents of each domain.
  io::Json loads(const Decoder& model) const {
    io::Json list = io::Json::array();
    if (!model.config().moa() && !model.config().moe()) return list;
    const bool attention_routed = model.config().moa() && model.config().attention_routing != AttentionRouting::soft;
    for (std::size_t d = 0; d < 4; ++d) {
      std::vector<std::vector<double>> attention, ffn;
      double tokens = 0;
      for (std::size_t i = 0; i < std::min(load_documents, sets_[d].size()); ++i) {
        const auto& ids = sets_[d][i].ids;
        const std::int64_t n = std::min<std::int64_t>(c_.context, static_cast<std::int64_t>(ids.size()));
        std::vector<std::int32_t> inputs(ids.begin(), ids.begin() + n), positions;
        for (std::int64_t t = 0; t < n; ++t) positions.push_back(static_cast<std::int32_t>(t));
        Hidden h = model.hidden(TokenBatch{tensor(inputs), tensor(positions), segments({n}), {}});
        tokens += static_cast<double>(n);
        auto add = [](std::vector<std::vector<double>>& to, std::size_t layer, const Tensor& all, bool chosen) {
          const Tensor gates = all.to(Device::cpu);
          if (to.size() <= layer) to.resize(layer + 1, std::vector<double>(static_cast<std::size_t>(gates.columns()), 0.0));
          for (std::int64_t k = 0; k < gates.numel(); ++k) {
            const double g = static_cast<double>(gates.data()[k]);
            to[layer][static_cast<std::size_t>(k % gates.columns())] += chosen ? (g > 0 ? 1.0 : 0.0) : g;
          }
        };
        for (std::size_t layer = 0; layer < h.attention_gates.size(); ++layer) add(attention, layer, h.attention_gates[layer], false);
        std::size_t layer = 0;
        for (std::size_t k = 0; k < h.routers.size(); ++k)
          if (!attention_routed || !model.config().moe() || k % 2 == 1) add(ffn, layer++, h.routers[k].gates, true);
      }
      for (auto& [kind, layers] : {std::pair<const char*, std::vector<std::vector<double>>&>{"attention", attention}, {"ffn", ffn}})
        for (std::size_t layer = 0; layer < layers.size(); ++layer) {
          for (double& share : layers[layer]) share /= tokens;
          list.push_back(io::Json::object({{"domain", domains[d]}, {"kind", kind}, {"layer", static_cast<std::int64_t>(layer)}, {"shares", io::Json::array_of(layers[layer])}}));
        }
    }
    return list;
  }

  void note(const std::string& text) const {
    if (hooks_.note) hooks_.note(text);
  }

  StudyConfig c_;
  Plan plan_{c_};
  std::string data_, out_, version_, runs_;
  StudyHooks hooks_;
  bool generated_ = false;
  std::int64_t finished_ = 0;  // trainings
  std::optional<text::Tokenizer> tokenizer_;
  train::SourceCache sources_;
  std::vector<std::vector<DocumentTokens>> sets_;
  std::vector<Prompt> prompts_;
  std::vector<std::pair<std::string, std::vector<ChoiceItem>>> choices_;  // of the data's eval folders
};

}  // namespace bam::study
