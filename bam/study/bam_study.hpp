// A whole BAM study: data, tokenizer, seeds, specialists, every arm, evaluation, verdicts. Each training is a run folder of its own
// that resumes where it stopped; started again on the same folder the study continues, and ends with the same results.
#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "../eval/documents.hpp"
#include "../text/bpe_train.hpp"
#include "../train/run.hpp"
#include "../upcycle/folders.hpp"
#include "arms.hpp"
#include "verdict.hpp"

namespace bam::study {

// Thrown when a signal stopped the study, with everything saved.
struct Stopped {
  int signal;
};

struct StudyHooks {
  std::string flags;  // of the build, for the manifests
  std::function<void(const std::string&)> note;
  std::string corpus;  // names the generator's output: another version of it is another corpus
  std::function<void(const std::string& folder)> generate;  // writes the generated corpus there, whole or not at all
  // Called at the start of each run: its name, model and steps; returns what the run calls after each step.
  std::function<std::function<void(std::int64_t, std::int64_t, const StepResult&, double, double)>(const std::string&, const ModelConfig&, std::int64_t)> begin;
  std::function<int()> stop_signal;
};

// One training of the study.
struct Job {
  std::string name, arm, size, match;  // name: its folder under runs/
  std::int64_t replicate = 0, tokens = 0;
  double flops = 0;
};

class BamStudy {
 public:
  BamStudy(StudyConfig config, std::string data, std::string out, std::string version, StudyHooks hooks)
      : c_(std::move(config)), data_(std::move(data)), out_(std::move(out)), version_(std::move(version)), hooks_(std::move(hooks)) {}

  // All trainings, in order, with their tokens and FLOPs; nothing is started.
  std::vector<Job> plan() const {
    std::vector<Job> jobs;
    for (const Size& size : c_.sizes) {
      ModelConfig dense = size.dense(c_.vocab_size, c_.context);
      for (std::int64_t r = 1; r <= c_.replicates; ++r) {
        jobs.push_back({folder(size, r, 0, "seed"), "seed", size.name, "", r, whole(c_.seed_tokens), static_cast<double>(whole(c_.seed_tokens)) * per_token(dense)});
        for (const char* d : {"code", "law", "math"})
          jobs.push_back({folder(size, r, 0, d), d, size.name, "", r, whole(c_.expert_tokens), static_cast<double>(whole(c_.expert_tokens)) * per_token(dense)});
        for (std::int64_t m = 1; m <= c_.mixture_seeds; ++m)
          for (const Arm* arm : c_.arms)
            for (const std::string& match : matches(*arm)) {
              std::int64_t tokens = whole(arm_tokens(*arm, dense, match));
              jobs.push_back({folder(size, r, m, match == "data" ? arm->name : str(arm->name, "-compute")), arm->name, size.name, match, (r - 1) * c_.mixture_seeds + m, tokens,
                              static_cast<double>(tokens) * per_token(arm_config(*arm, dense))});
            }
      }
    }
    return jobs;
  }

  // Runs what is not done yet and returns results.json's content.
  io::Json execute() {
    io::make_folder(out_);
    io::FileLock lock(out_);
    prepare();
    for (const Size& size : c_.sizes)
      for (std::int64_t r = 1; r <= c_.replicates; ++r) replicate(size, r);
    return results();
  }

 private:
  static std::string folder(const Size& size, std::int64_t r, std::int64_t m, const std::string& name) {
    return m ? str(size.name, "/r", r, "/m", m, "/", name) : str(size.name, "/r", r, "/", name);
  }
  double per_token(const ModelConfig& c) const { return static_cast<double>(count_flops(c, c_.context).train_per_token); }
  // Tokens of whole steps.
  std::int64_t whole(std::int64_t tokens) const { return c_.steps(tokens) * c_.batch * c_.context; }
  static bool trained(const Arm& a) { return a.kind != ArmKind::ensemble && a.kind != ArmKind::average; }
  static bool branches(const Arm& a) { return a.kind != ArmKind::dense && a.kind != ArmKind::copies; }

  std::vector<std::string> matches(const Arm& arm) const {
    if (!trained(arm)) return {};
    std::vector<std::string> list{"data"};
    if (c_.compute_matched && std::string_view(arm.name) != "btx") list.push_back("compute");
    return list;
  }
  // Training tokens of an arm's own run: the same documents after the seed, or the FLOPs of BTX after the seed.
  std::int64_t arm_tokens(const Arm& arm, const ModelConfig& dense, const std::string& match) const {
    const std::int64_t branch = branches(arm) ? 0 : 3 * c_.expert_tokens;
    if (match == "data") return branch + c_.mixture_tokens;
    const double flops = static_cast<double>(c_.mixture_tokens) * per_token(arm_config(*find_arm("btx"), dense)) + static_cast<double>(branch) * per_token(dense);
    return static_cast<std::int64_t>(flops / per_token(arm_config(arm, dense)));
  }

  void prepare() {
    namespace fs = std::filesystem;
    // What finished runs in this folder stand on; arms, sizes and replicates may be added.
    const std::string file_of_settings = out_ + "/study.json";
    const std::string settings =
        io::dump(io::Json::object({{"data", data_.empty() ? hooks_.corpus : fs::absolute(data_).string()}, {"documents", c_.documents}, {"eval_documents", c_.eval_documents},
                                   {"seed", static_cast<std::int64_t>(c_.seed)}, {"mixture_seeds", c_.mixture_seeds}, {"compute_matched", c_.compute_matched}, {"vocab_size", c_.vocab_size}, {"context", c_.context},
                                   {"batch", c_.batch}, {"seed_tokens", c_.seed_tokens}, {"expert_tokens", c_.expert_tokens}, {"mixture_tokens", c_.mixture_tokens},
                                   {"seed_lr", c_.seed_lr}, {"expert_lr", c_.expert_lr}, {"mixture_lr", c_.mixture_lr}}), 1) + "\n";
    if (!io::exists(file_of_settings)) {
      if (io::is_folder(out_ + "/runs")) fail(ErrorKind::input, "study.changed", out_, ": holds runs of a study that is not recorded; name another folder");
      io::write_file_atomic(file_of_settings, settings);
    } else if (io::read_file(file_of_settings) != settings) {
      fail(ErrorKind::input, "study.changed", file_of_settings, ": the study in this folder has other settings or another corpus; name another folder");
    }
    if (data_.empty()) {
      data_ = out_ + "/corpus";
      if (!io::is_folder(data_)) {
        note("generating the corpus");
        hooks_.generate(data_);
      }
    }
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
    for (const char* d : domains) sets_.push_back(encode_documents(data_ + "/" + d, *tokenizer_, tokenizer_->bos_id(), tokenizer_->eos_id(), c_.eval_documents));
    runs_ = fs::absolute(out_ + "/runs/").string();
  }

  void replicate(const Size& size, std::int64_t r) {
    const ModelConfig dense = size.dense(c_.vocab_size, c_.context);
    const std::uint64_t base = c_.seed + 1000 * static_cast<std::uint64_t>(r);
    io::make_folder(runs_ + folder(size, r, 0, ""));
    std::string config = runs_ + folder(size, r, 0, "config.json");
    io::ConfigFile file;
    file.model = dense;
    file.bos_token_id = tokenizer_->bos_id();
    file.eos_token_ids = {tokenizer_->eos_id()};
    file.pad_token_id = tokenizer_->pad_id();
    const std::string text = io::dump(io::model_config_json(file), 2) + "\n";
    if (io::exists(config) && io::read_file(config) != text) fail(ErrorKind::input, "study.changed", config, ": size ", size.name, " had another shape; give the new one another name");
    io::write_file_atomic(config, text);
    const std::string seed = folder(size, r, 0, "seed");
    train(seed, dense, str("config = \"", config, "\""), {0.7, 0.1, 0.1, 0.1}, c_.seed_tokens, c_.seed_lr, base, c_.steps(c_.seed_tokens) / 10, 0);
    std::vector<std::string> parents{io::resolve_model_folder(runs_ + seed)};
    for (std::size_t d = 1; d < 4; ++d) {
      std::string name = folder(size, r, 0, domains[d]);
      std::vector<double> weights{0.1, 0, 0, 0};
      weights[d] = 0.9;
      train(name, dense, str("init_from = \"", parents[0], "\""), weights, c_.expert_tokens, c_.expert_lr, base + d, c_.steps(c_.expert_tokens) / 10, 0);
      parents.push_back(io::resolve_model_folder(runs_ + name));
    }
    for (const char* d : {"seed", "code", "law", "math"}) evaluate(folder(size, r, 0, d));
    for (std::int64_t m = 1; m <= c_.mixture_seeds; ++m)
      for (const Arm* arm : c_.arms) run_arm(size, r, m, *arm, parents, base + 100 * static_cast<std::uint64_t>(m));
  }

  void run_arm(const Size& size, std::int64_t r, std::int64_t m, const Arm& arm, const std::vector<std::string>& parents, std::uint64_t seed) {
    const std::string name = folder(size, r, m, arm.name);
    const ModelConfig dense = size.dense(c_.vocab_size, c_.context);
    if (!trained(arm)) {
      if (m == 1) evaluate_untrained(name, arm, parents);
      return;
    }
    std::string init = parents[0];
    if (arm.kind != ArmKind::dense) {
      init = runs_ + name + "-init";
      if (!io::is_folder(init)) {
        std::vector<std::string> from = arm.kind == ArmKind::copies ? std::vector<std::string>{parents[0]} : parents;
        upcycle_folders(from, arm.method, upcycle_options(arm, seed), init, false, version_);
      }
    }
    // Arms without a branch phase see its documents too.
    std::vector<double> weights(4, 0.25);
    if (!branches(arm)) {
      const auto e = static_cast<double>(c_.expert_tokens), x = static_cast<double>(c_.mixture_tokens);
      weights.assign(4, 0.9 * e + 0.25 * x);
      weights[0] = 0.3 * e + 0.25 * x;
    }
    // The points of an arm share their trunk: the longest run, up to where the decay of a shorter one starts.
    std::vector<std::pair<std::int64_t, std::string>> points;
    for (const std::string& match : matches(arm)) points.emplace_back(c_.steps(arm_tokens(arm, dense, match)), match == "data" ? name : name + "-compute");
    std::sort(points.begin(), points.end());
    const std::string& trunk = points.back().second;
    auto run = [&](const std::string& point, std::int64_t steps, std::int64_t stop_at) {
      train(point, arm_config(arm, dense), str("init_from = \"", init, "\""), weights, steps * c_.batch * c_.context, c_.mixture_lr, seed, points[0].first / 10, stop_at);
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
      evaluate(point);
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

  // stop_at 0: to the end, which leaves done.json; else up to that step, unless the run is already past it.
  void train(const std::string& name, const ModelConfig& model, const std::string& from, const std::vector<double>& weights, std::int64_t tokens, double lr, std::uint64_t seed,
             std::int64_t warmup, std::int64_t stop_at) {
    const std::string folder = runs_ + name;
    if (io::exists(folder + "/done.json")) return;
    const std::int64_t steps = c_.steps(tokens);
    std::string toml = str("[model]\n", from, "\ntokenizer = \"", std::filesystem::absolute(out_ + "/tokenizer/tokenizer.json").string(), "\"\n");
    for (std::size_t d = 0; d < 4; ++d)
      if (weights[d] > 0) toml += str("[[data]]\npath = \"", std::filesystem::absolute(data_ + "/" + domains[d]).string(), "\"\nweight = ", weights[d], "\n");
    toml += str("[train]\ncontext = ", c_.context, "\nbatch = ", c_.batch, "\nmicro_batch = ", std::min(c_.micro_batch, c_.batch), "\nsteps = ", steps, "\nlr = ", lr,
                "\nschedule = \"wsd\"\nwarmup = ", std::min<std::int64_t>(warmup, 100), "\nseed = ", static_cast<std::int64_t>(seed), "\ncheckpoint_every = ",
                std::max<std::int64_t>(50, steps / 4), "\nkeep_checkpoints = 1\n");
    train::RunEvents events;
    events.note = [&](const std::string& text) {
      if (text.starts_with("warning")) note(text);  // the rest is told by begin
    };
    if (hooks_.begin) events.step = hooks_.begin(name, model, steps);
    events.stop_signal = hooks_.stop_signal;
    train::RunOptions options;
    options.out = folder;
    options.resume = true;
    options.version = version_;
    options.flags = hooks_.flags;
    options.sources = &sources_;
    if (stop_at) options.stop_at = stop_at;
    train::RunResult result = train::Run(train::parse_run_config(toml, folder + "/run.toml"), options, events).execute();
    if (result.stopped_by) throw Stopped{result.stopped_by};
    if (stop_at) return;
    io::Json done = io::Json::object({{"hash", result.hash}, {"steps", result.steps}, {"tokens", result.steps * c_.batch * c_.context}, {"final_nll", result.final_nll}});
    io::write_file_atomic(folder + "/done.json", io::dump(done) + "\n");
  }

  static io::Json figures(const NllResult& r) {
    const double per_byte = r.nll * static_cast<double>(r.tokens) / static_cast<double>(r.bytes);
    return io::Json::object({{"nll", r.nll}, {"nll_per_byte", per_byte}, {"bits_per_byte", r.bits_per_byte}, {"stderr", r.stderr_nll}, {"tokens", r.tokens}, {"bytes", r.bytes}});
  }
  void evaluate(const std::string& name) {
    const std::string file = runs_ + name + "/eval.json";
    if (io::exists(file)) return;
    note(str("evaluating ", name));
    io::ModelFolder model = io::load_model(runs_ + name);
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
      for (std::size_t i = 0; i < std::min<std::size_t>(8, sets_[d].size()); ++i) {
        const auto& ids = sets_[d][i].ids;
        const std::int64_t n = std::min<std::int64_t>(c_.context, static_cast<std::int64_t>(ids.size()));
        std::vector<std::int32_t> inputs(ids.begin(), ids.begin() + n), positions;
        for (std::int64_t t = 0; t < n; ++t) positions.push_back(static_cast<std::int32_t>(t));
        Hidden h = model.hidden(TokenBatch{tensor(inputs), tensor(positions), segments({n}), {}});
        tokens += static_cast<double>(n);
        auto add = [](std::vector<std::vector<double>>& to, std::size_t layer, const Tensor& gates, bool chosen) {
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

  io::Json results() {
    using io::Json;
    Json j = Json::object({{"study", "bam"}, {"corpus", io::exists(out_ + "/corpus") ? "generated" : data_}, {"seed", static_cast<std::int64_t>(c_.seed)}});
    j.set("domains", Json::array_of(domains));
    Json sizes = Json::array(), runs = Json::array(), all_loads = Json::array(), curves = Json::array(), identity = Json::array();
    for (const Size& s : c_.sizes) {
      ModelConfig dense = s.dense(c_.vocab_size, c_.context);
      const std::int64_t total = count_parameters(dense).total;
      sizes.push_back(Json::object({{"name", s.name}, {"parameters", total}, {"non_embedding", total - dense.vocab_size * dense.hidden_size}}));
    }
    j.set("sizes", std::move(sizes));
    io::Hasher hash;
    auto read = [&](const std::string& name, const char* file) { return io::parse_json(io::read_file(runs_ + name + "/" + file), name + "/" + file); };
    auto add = [&](const Size& size, std::int64_t replicate, const std::string& arm, const std::string& match, const std::string& name, double tokens, double flops, double offset) {
      if (!io::exists(runs_ + name + "/eval.json")) return;
      Json eval = read(name, "eval.json"), done = read(name, "done.json");
      const std::string run_hash(done.at("hash").as_string(name));
      hash.update(run_hash.data(), run_hash.size());
      for (const char* d : domains) {
        const Json& e = eval.at(d);
        for (const char* key : {"nll", "stderr"}) {
          const double x = e.at(key).as_double(name);
          hash.update(&x, sizeof x);
        }
        runs.push_back(Json::object({{"arm", arm}, {"size", size.name}, {"replicate", replicate}, {"match", match}, {"domain", d}, {"nll", e.at("nll")}, {"nll_per_byte", e.at("nll_per_byte")},
                                     {"bits_per_byte", e.at("bits_per_byte")}, {"stderr", e.at("stderr")}, {"tokens", tokens}, {"flops", flops}, {"hash", run_hash}}));
        nll_[{arm, size.name, match, d}][replicate] = e.at("nll_per_byte").as_double(name);
      }
      if (const Json* loads = eval.find("loads"); loads && match == "data")
        for (const Json& l : loads->items(name)) {
          Json one = Json::object({{"arm", arm}, {"size", size.name}, {"replicate", replicate}});
          for (auto [key, value] : l.members(name)) one.set(key, value);
          all_loads.push_back(std::move(one));
        }
      if (io::exists(runs_ + name + "/metrics.jsonl") && match != "compute") curves.push_back(curve(size, replicate, arm, name, offset));
      const std::string manifest = runs_ + name + "-init/bam_manifest.json";
      if (io::exists(manifest))
        identity.push_back(Json::object({{"arm", arm}, {"size", size.name}, {"replicate", replicate}, {"value", io::parse_json(io::read_file(manifest), manifest).at("identity")}}));
    };
    for (const Size& size : c_.sizes) {
      ModelConfig dense = size.dense(c_.vocab_size, c_.context);
      const auto seed = static_cast<double>(whole(c_.seed_tokens)), expert = static_cast<double>(whole(c_.expert_tokens));
      for (std::int64_t r = 1; r <= c_.replicates; ++r) {
        add(size, r, "seed", "data", folder(size, r, 0, "seed"), 0, 0, 0);
        for (const char* d : {"code", "law", "math"}) add(size, r, d, "data", folder(size, r, 0, d), expert, expert * per_token(dense), seed);
        for (std::int64_t m = 1; m <= c_.mixture_seeds; ++m)
          for (const Arm* arm : c_.arms) {
            const double before = branches(*arm) ? 3 * expert : 0;
            if (!trained(*arm)) add(size, (r - 1) * c_.mixture_seeds + m, arm->name, "data", folder(size, r, m, arm->name), before, before * per_token(dense), 0);
            for (const std::string& match : matches(*arm)) {
              const auto tokens = static_cast<double>(whole(arm_tokens(*arm, dense, match)));
              add(size, (r - 1) * c_.mixture_seeds + m, arm->name, match, folder(size, r, m, match == "data" ? arm->name : str(arm->name, "-compute")), before + tokens,
                  before * per_token(dense) + tokens * per_token(arm_config(*arm, dense)), seed + (branches(*arm) ? expert : 0));
            }
          }
      }
    }
    j.set("floor", floor());
    j.set("runs", std::move(runs));
    j.set("differences", differences());
    j.set("verdicts", verdicts());
    j.set("loads", std::move(all_loads));
    j.set("curves", std::move(curves));
    j.set("identity", std::move(identity));
    if (c_.replicates * c_.mixture_seeds < 3)
      j.set("note", c_.replicates == 1 && c_.mixture_seeds > 1 ? str(c_.mixture_seeds, " mixture seeds on one seed model and one set of specialists: too few for verdicts")
                                                               : str(c_.replicates, " replicate", c_.replicates == 1 ? "" : "s", ": too few for verdicts"));
    j.set("hash", hash.hex());
    return j;
  }

  // At most 80 points of a run's loss, each the mean of the steps since the last.
  io::Json curve(const Size& size, std::int64_t replicate, const std::string& arm, const std::string& name, double offset) const {
    std::vector<double> tokens, nll;
    const std::string file = runs_ + name + "/metrics.jsonl";
    std::string text = io::read_file(file);
    std::vector<std::pair<double, double>> points;
    for (std::size_t at = 0; at < text.size();) {
      std::size_t end = std::min(text.find('\n', at), text.size());
      io::Json line = io::parse_json(std::string_view(text).substr(at, end - at), file);
      at = end + 1;
      if (line.contains("loss")) points.emplace_back(line.at("step").as_double(file), line.at("nll").as_double(file));
    }
    const std::size_t group = std::max<std::size_t>(1, points.size() / 80);
    for (std::size_t i = 0; i + group <= points.size(); i += group) {
      double sum = 0;
      for (std::size_t k = i; k < i + group; ++k) sum += points[k].second;
      tokens.push_back(offset + points[i + group - 1].first * static_cast<double>(c_.batch * c_.context));
      nll.push_back(sum / static_cast<double>(group));
    }
    return io::Json::object({{"arm", arm}, {"size", size.name}, {"replicate", replicate}, {"tokens", io::Json::array_of(tokens)}, {"nll", io::Json::array_of(nll)}});
  }

  // Nats per byte of the generated validation text under its own generator; null for other text.
  io::Json floor() const {
    io::Json out = io::Json::object();
    for (const char* d : domains) {
      double nats = 0, bytes = 0;
      std::int64_t documents = 0;
      for (const std::string& file : io::is_folder(data_ + "/" + d + "/validation") ? io::list_files(data_ + "/" + d + "/validation", {".jsonl"}) : std::vector<std::string>()) {
        std::string text = io::read_file(file);
        for (std::size_t at = 0; at < text.size();) {
          std::size_t end = std::min(text.find('\n', at), text.size());
          io::Json line = io::parse_json(std::string_view(text).substr(at, end - at), file);
          at = end + 1;
          const io::Json* n = line.find("nats");
          if (!n) return nullptr;
          if (c_.eval_documents && documents++ >= c_.eval_documents) break;
          nats += n->as_double(file);
          bytes += static_cast<double>(line.at("text").as_string(file).size());
        }
      }
      if (bytes <= 0) return nullptr;
      out.set(d, nats / bytes);
    }
    return out;
  }

  // Dense models are one for all draws of a replicate, and so is what is made of them without training.
  static bool drawn_once(const std::string& name) {
    const Arm* arm = find_arm(name);
    return !arm || !trained(*arm);
  }
  // a - b for each draw (each replicate, where neither is drawn again within one); domain "mean" is the mean of the four.
  std::vector<double> paired(const std::string& a, const std::string& b, const std::string& size, const std::string& match, const std::string& domain) const {
    std::vector<double> out;
    const std::int64_t draws = drawn_once(a) && drawn_once(b) ? 1 : c_.mixture_seeds;
    for (std::int64_t r = 1; r <= c_.replicates; ++r)
      for (std::int64_t m = 1; m <= draws; ++m) {
        auto value = [&](const std::string& arm, const std::string& d) -> std::optional<double> {
          auto it = nll_.find({arm, size, match == "compute" && arm != "btx" ? "compute" : "data", d});
          if (it == nll_.end()) return std::nullopt;
          auto found = it->second.find(!find_arm(arm) ? r : (r - 1) * c_.mixture_seeds + (drawn_once(arm) ? 1 : m));
          return found == it->second.end() ? std::nullopt : std::optional(found->second);
        };
        double difference = 0;
        int n = 0;
        for (const char* d : domains)
          if (domain == "mean" || domain == d)
            if (auto x = value(a, d), y = value(b, d); x && y) {
              difference += *x - *y;
              ++n;
            }
        if (n == (domain == "mean" ? 4 : 1)) out.push_back(difference / n);
      }
    return out;
  }

  static io::Json bound(double x) { return std::isfinite(x) ? io::Json(x) : io::Json(); }
  io::Json differences() const {
    io::Json list = io::Json::array();
    for (const Size& size : c_.sizes)
      for (const Arm* arm : c_.arms)
        for (const char* d : {"general", "code", "law", "math", "mean"}) {
          if (std::string_view(arm->name) == "btx") continue;
          std::vector<double> values = paired(arm->name, "btx", size.name, "data", d);
          if (values.empty()) continue;
          Interval i = t_interval(values);
          list.push_back(io::Json::object({{"arm", arm->name}, {"size", size.name}, {"domain", d}, {"n", i.n}, {"mean", i.mean}, {"low", bound(i.low)}, {"high", bound(i.high)}}));
        }
    return list;
  }

  io::Json verdicts() const {
    io::Json list = io::Json::array();
    const bool many = c_.sizes.size() > 1;
    for (const Size& size : c_.sizes)
      for (const char* match : {"data", "compute"}) {
        if (!c_.compute_matched && std::string_view(match) == "compute") continue;
        auto put = [&](const std::string& claim, Verdict v, const Interval& i) {
          list.push_back(io::Json::object({{"claim", str(claim, many ? ", " + size.name : "", c_.compute_matched ? str(", ", match, "-matched") : "")}, {"verdict", name_of(v)}, {"n", i.n},
                                           {"mean", i.n ? io::Json(i.mean) : io::Json()}, {"low", bound(i.low)}, {"high", bound(i.high)}}));
        };
        auto compare = [&](const std::string& claim, const char* a, const char* b, Verdict (*rule)(const Interval&), bool each_domain) {
          std::vector<Verdict> parts;
          if (each_domain)
            for (const char* d : domains) parts.push_back(rule(t_interval(paired(a, b, size.name, match, d))));
          Interval mean = t_interval(paired(a, b, size.name, match, "mean"));
          put(claim, each_domain ? all_of(parts) : rule(mean), mean);
        };
        compare("BAM < BTX on every domain", "bam", "btx", below, true);
        compare("BAM < BAM-shared-kv on every domain", "bam", "bam-shared-kv", below, true);
        compare("BAM-shared-kv < BTX on every domain", "bam-shared-kv", "btx", below, true);
        compare("soft attention < top-2", "bam", "bam-top2", below, false);
        compare("attention top-2 <= top-1", "bam-top2", "bam-top1", not_above, false);
        for (const char* extra : {"btx-5", "btx-6", "btx-7", "btx-8"}) compare(str(extra, " no better than btx"), extra, "btx", not_below, false);
        std::vector<double> gap = paired("btx-6-top3", "bam", size.name, match, "mean"), btx = paired("btx", "bam", size.name, match, "mean"), beyond;
        for (std::size_t i = 0; i < std::min(gap.size(), btx.size()); ++i) beyond.push_back(gap[i] - 0.5 * btx[i]);
        put("btx-6-top3 close behind BAM", close_behind(t_interval(gap), t_interval(beyond)), t_interval(gap));
        if (std::string_view(match) == "compute") continue;
        for (const char* home : {"code", "law", "math"}) {
          std::vector<Verdict> parts;
          for (const char* d : domains) {
            Interval i = t_interval(paired(home, "seed", size.name, match, d));
            if (std::string_view(d) == home) parts.push_back(below(i));
            else if (std::string_view(d) != "general") parts.push_back(below(t_interval(paired("seed", home, size.name, match, d))));
          }
          put(str("the ", home, " specialist below the seed at home, above it on the other specialists' domains"), all_of(parts), t_interval(paired(home, "seed", size.name, match, home)));
        }
      }
    return list;
  }

  void note(const std::string& text) const {
    if (hooks_.note) hooks_.note(text);
  }

  StudyConfig c_;
  std::string data_, out_, version_, runs_;
  StudyHooks hooks_;
  std::optional<text::Tokenizer> tokenizer_;
  train::SourceCache sources_;
  std::vector<std::vector<DocumentTokens>> sets_;
  std::map<std::array<std::string, 4>, std::map<std::int64_t, double>> nll_;  // arm, size, match, domain -> replicate -> nats per byte
};

}  // namespace bam::study
