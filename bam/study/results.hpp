// What a study has found so far, from its run folders alone: figures of each run, paired differences to BTX, verdicts, loads, curves,
// identity checks and the ledger. Runs that are not finished are absent, so that a study may be read while it goes on.
#pragma once
#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "../io/file.hpp"
#include "../io/hash.hpp"
#include "../io/json.hpp"
#include "plan.hpp"
#include "trainings.hpp"
#include "verdict.hpp"

namespace bam::study {

// `limit` of the elements, evenly spaced over all of them; 0: all.
template <class T>
std::vector<T> spread(std::vector<T> all, std::int64_t limit) {
  const std::size_t n = all.size(), wanted = static_cast<std::size_t>(limit);
  if (limit == 0 || wanted >= n) return all;
  std::vector<T> some;
  for (std::size_t i = 0; i < wanted; ++i) some.push_back(std::move(all[i * n / wanted]));
  return some;
}

// Nats per byte of a run, the mean of the four domains; nothing where it was not evaluated.
inline std::optional<double> mean_nll_per_byte(const std::string& run) {
  const std::string file = run + "/eval.json";
  if (!io::exists(file)) return std::nullopt;
  const io::Json eval = io::parse_json(io::read_file(file), file);
  double mean = 0;
  for (const char* d : domains) mean += eval.at(d).at("nll_per_byte").as_double(file) / 4;
  return mean;
}
// The factor of the sweep with the least loss; 1 where there is no sweep.
inline double best_factor(const std::string& runs, const Size& size, const Arm& arm, const std::vector<double>& sweep) {
  double best = 1, least = std::numeric_limits<double>::infinity();
  for (double factor : sweep)
    if (auto nll = mean_nll_per_byte(runs + trial_folder(size, arm, factor)); nll && *nll < least) {
      least = *nll;
      best = factor;
    }
  return best;
}

class Results {
 public:
  // out: the study's folder; data: where its text is.
  Results(StudyConfig config, const std::string& data, const std::string& out)
      : c_(std::move(config)), data_(data.empty() ? out + "/corpus" : data), generated_(data.empty()), out_(out), runs_(out + "/runs/") {}

  // The content of results.json, the same whenever and however often the study was stopped.
  io::Json json() {
    using io::Json;
    Json j = Json::object({{"study", "bam"}, {"corpus", generated_ ? "generated" : data_}, {"seed", static_cast<std::int64_t>(c_.seed)}});
    j.set("domains", Json::array_of(domains));
    if (c_.mixture_seeds > 1) j.set("mixture_seeds", c_.mixture_seeds);  // then a run's "replicate" counts draws, so many of each replicate
    Json sizes = Json::array(), runs = Json::array(), all_loads = Json::array(), curves = Json::array(), identity = Json::array(), completions = Json::array(), choice = Json::array();
    for (const Size& s : c_.sizes) {
      ModelConfig dense = s.dense(c_.vocab_size, c_.context);
      const std::int64_t total = count_parameters(dense).total;
      sizes.push_back(Json::object({{"name", s.name}, {"parameters", total}, {"non_embedding", total - dense.vocab_size * dense.hidden_size}}));
    }
    j.set("sizes", std::move(sizes));
    j.set("trainings", static_cast<std::int64_t>(plan_.jobs().size()));
    io::Hasher hash;
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
      if (match != "compute" && (io::exists(runs_ + name + "/metrics.jsonl") || io::exists(runs_ + name + "/curve.json"))) curves.push_back(curve(size, replicate, arm, name, offset));
      if (replicate == 1 && match == "data" && io::exists(runs_ + name + "/completions.json")) {
        const Json written = read(name, "completions.json");
        for (const Json& c : written.items(name)) {
          Json one = Json::object({{"arm", arm}, {"size", size.name}});
          for (auto [key, value] : c.members(name)) one.set(key, value);
          completions.push_back(std::move(one));
        }
      }
      if (match == "data" && io::exists(runs_ + name + "/choice.json")) {
        const Json sets = read(name, "choice.json");
        for (auto [set, figures] : sets.members(name)) {
          Json one = Json::object({{"arm", arm}, {"size", size.name}, {"replicate", replicate}, {"set", set}});
          for (auto [key, value] : figures.members(name)) one.set(key, value);
          choice.push_back(std::move(one));
        }
      }
      const std::string manifest = runs_ + name + "-init/bam_manifest.json";
      if (io::exists(manifest))
        identity.push_back(Json::object({{"arm", arm}, {"size", size.name}, {"replicate", replicate}, {"value", io::parse_json(io::read_file(manifest), manifest).at("identity")}}));
    };
    for (const Size& size : c_.sizes) {
      const ModelConfig dense = size.dense(c_.vocab_size, c_.context);
      const auto seed = static_cast<double>(plan_.whole(c_.seed_tokens)), expert = static_cast<double>(plan_.whole(c_.expert_tokens));
      for (std::int64_t r = 1; r <= c_.replicates; ++r) {
        add(size, r, "seed", "data", run_folder(size, r, 0, "seed"), 0, 0, 0);
        for (const char* d : {"code", "law", "math"}) add(size, r, d, "data", run_folder(size, r, 0, d), expert, expert * plan_.flops_per_token(dense), seed);
        for (std::int64_t m = 1; m <= c_.mixture_seeds; ++m)
          for (const Arm* arm : c_.arms_of(r)) {
            const double before = branches(*arm) ? 3 * expert : 0;
            if (!trained(*arm)) add(size, (r - 1) * c_.mixture_seeds + m, arm->name, "data", arm_folder(size, r, m, *arm, "data"), before, before * plan_.flops_per_token(dense), 0);
            for (const std::string& match : plan_.matches(*arm)) {
              const auto tokens = static_cast<double>(plan_.whole(plan_.arm_tokens(*arm, dense, match)));
              add(size, (r - 1) * c_.mixture_seeds + m, arm->name, match, arm_folder(size, r, m, *arm, match), before + tokens,
                  before * plan_.flops_per_token(dense) + tokens * plan_.flops_per_token(arm_config(*arm, dense)), seed + (branches(*arm) ? expert : 0));
            }
          }
      }
    }
    j.set("floor", floor());
    if (const std::string file = out_ + "/baselines.json"; io::exists(file)) j.set("baselines", io::parse_json(io::read_file(file), file));
    j.set("runs", std::move(runs));
    j.set("differences", differences());
    j.set("verdicts", verdicts());
    j.set("loads", std::move(all_loads));
    j.set("curves", std::move(curves));
    j.set("identity", std::move(identity));
    j.set("sweep", sweep());
    j.set("completions", std::move(completions));
    j.set("choice", std::move(choice));
    std::int64_t finished = 0;
    for (const Json& v : j.at("verdicts").items("verdicts")) finished = std::max(finished, v.at("n").as_int("n", 0));
    if (c_.replicates < 3)
      j.set("note", c_.replicates == 1 && c_.mixture_seeds > 1 ? str(c_.mixture_seeds, " mixture seeds on one seed model and one set of specialists: too few for verdicts")
                                                               : str(c_.replicates, " replicate", c_.replicates == 1 ? "" : "s", ": too few for verdicts"));
    else if (finished < 3)
      j.set("note", str("of ", c_.replicates, " replicates ", finished, finished == 1 ? " is" : " are", " there: too few for verdicts"));
    j.set("hash", hash.hex());
    return j;
  }

  // Every run with what it took; unlike json() it holds times.
  io::Json ledger() const {
    io::Json list = io::Json::array();
    for (const Job& job : plan_.jobs()) {
      if (!io::exists(runs_ + job.run + "/done.json")) continue;
      const io::Json done = read(job.run, "done.json");
      const double seconds = done.at("seconds").as_double(job.run), peak = done.at("peak_flops").as_double(job.run);
      list.push_back(io::Json::object({{"run", job.run}, {"arm", job.arm}, {"size", job.size}, {"replicate", job.replicate}, {"match", job.match}, {"lr", done.at("lr")}, {"tokens", job.tokens},
                                       {"flops", job.flops}, {"seconds", seconds}, {"share_of_peak", bound(seconds > 0 && peak > 0 ? job.flops / seconds / peak : std::nan(""))},
                                       {"device", done.find("device") ? *done.find("device") : io::Json()}, {"hash", done.at("hash")}}));
    }
    return list;
  }

 private:
  io::Json read(const std::string& run, const char* file) const { return io::parse_json(io::read_file(runs_ + run + "/" + file), run + "/" + file); }

  // The trials of each arm, and which one it kept.
  io::Json sweep() const {
    io::Json list = io::Json::array();
    for (const Size& size : c_.sizes)
      for (const Arm* arm : c_.arms_of(1))
        for (double factor : c_.sweep)
          if (auto nll = trained(*arm) ? mean_nll_per_byte(runs_ + trial_folder(size, *arm, factor)) : std::nullopt)
            list.push_back(io::Json::object({{"arm", arm->name}, {"size", size.name}, {"lr", c_.mixture_lr * factor}, {"nll_per_byte", *nll}, {"kept", factor == best_factor(runs_, size, *arm, c_.sweep)}}));
    return list;
  }

  io::Json curve(const Size& size, std::int64_t replicate, const std::string& arm, const std::string& name, double offset) const {
    const io::Json loss = loss_curve(runs_ + name);
    std::vector<double> tokens;
    for (const io::Json& step : loss.at("steps").items(name)) tokens.push_back(offset + step.as_double(name) * static_cast<double>(c_.batch * c_.context));
    return io::Json::object({{"arm", arm}, {"size", size.name}, {"replicate", replicate}, {"tokens", io::Json::array_of(tokens)}, {"nll", loss.at("nll")}});
  }

  // Nats per byte of the generated validation text under its own generator; null for other text.
  io::Json floor() const {
    io::Json out = io::Json::object();
    for (const char* d : domains) {
      double nats = 0, bytes = 0;
      std::vector<io::Json> lines;
      if (const std::string folder = data_ + "/" + d + "/validation"; io::is_folder(folder))
        for (const std::string& file : io::list_files(folder, {".jsonl"}))
          for (io::Json& line : io::parse_json_lines(io::read_file(file), file)) lines.push_back(std::move(line));
      for (const io::Json& line : spread(std::move(lines), c_.eval_documents)) {
        const io::Json* n = line.find("nats");
        if (!n) return nullptr;
        nats += n->as_double(d);
        bytes += static_cast<double>(line.at("text").as_string(d).size());
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
  // a - b of each replicate, the mean over its draws that are there; domain "mean" is the mean of the four. Draws within a replicate share its seed model and specialists, so they
  // are no replicates.
  using ByReplicate = std::map<std::int64_t, double>;
  ByReplicate paired(const std::string& a, const std::string& b, const std::string& size, const std::string& match, const std::string& domain) const {
    ByReplicate out;
    const std::int64_t draws = drawn_once(a) && drawn_once(b) ? 1 : c_.mixture_seeds;
    for (std::int64_t r = 1; r <= c_.replicates; ++r) {
      double sum = 0;
      std::int64_t there = 0;
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
        if (n != (domain == "mean" ? 4 : 1)) continue;
        sum += difference / n;
        ++there;
      }
      if (there > 0) out[r] = sum / static_cast<double>(there);
    }
    return out;
  }
  static Interval interval(const ByReplicate& values) {
    std::vector<double> list;
    for (const auto& [r, x] : values) list.push_back(x);
    return t_interval(list);
  }

  static io::Json bound(double x) { return std::isfinite(x) ? io::Json(x) : io::Json(); }
  io::Json differences() const {
    io::Json list = io::Json::array();
    for (const Size& size : c_.sizes)
      for (const char* match : {"data", "compute"})
        for (const Arm* arm : c_.arms_of(1))
          for (const char* d : {"general", "code", "law", "math", "mean"}) {
            if (std::string_view(arm->name) == "btx") continue;
            const ByReplicate values = paired(arm->name, "btx", size.name, match, d);
            if (values.empty()) continue;
            const Interval i = interval(values);
            list.push_back(io::Json::object({{"arm", arm->name}, {"size", size.name}, {"match", match}, {"domain", d}, {"n", i.n}, {"mean", i.mean}, {"low", bound(i.low)}, {"high", bound(i.high)}}));
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
            for (const char* d : domains) parts.push_back(rule(interval(paired(a, b, size.name, match, d))));
          Interval mean = interval(paired(a, b, size.name, match, "mean"));
          put(claim, each_domain ? all_of(parts) : rule(mean), mean);
        };
        compare("BAM < BTX on every domain", "bam", "btx", below, true);
        compare("BAM < BAM-shared-kv on every domain", "bam", "bam-shared-kv", below, true);
        compare("BAM-shared-kv < BTX on every domain", "bam-shared-kv", "btx", below, true);
        compare("soft attention < top-2", "bam", "bam-top2", below, false);
        compare("attention top-2 <= top-1", "bam-top2", "bam-top1", not_above, false);
        for (const char* extra : {"btx-5", "btx-6", "btx-7", "btx-8"}) compare(str(extra, " no better than btx"), extra, "btx", not_below, false);
        const ByReplicate gap = paired("btx-6-top3", "bam", size.name, match, "mean"), btx = paired("btx", "bam", size.name, match, "mean");
        ByReplicate beyond;
        for (const auto& [r, x] : gap)
          if (auto b = btx.find(r); b != btx.end()) beyond[r] = x - 0.5 * b->second;
        put("btx-6-top3 close behind BAM", close_behind(interval(gap), interval(beyond)), interval(gap));
        if (std::string_view(match) == "compute") continue;
        for (const char* home : {"code", "law", "math"}) {
          auto difference = [&](const char* a, const char* b, const char* d) { return interval(paired(a, b, size.name, match, d)); };
          std::vector<Verdict> parts, best;
          for (const char* d : {"code", "law", "math"}) parts.push_back(std::string_view(d) == home ? below(difference(home, "seed", home)) : below(difference("seed", home, d)));
          put(str("the ", home, " specialist below the seed at home, above it on the other specialists' domains"), all_of(parts), difference(home, "seed", home));
          Interval nearest;  // to the rival of the least loss; if one is missing, none
          for (const char* rival : {"seed", "code", "law", "math"}) {
            if (std::string_view(rival) == home) continue;
            const Interval i = difference(home, rival, home);
            if (best.empty() || i.n < nearest.n || (i.n == nearest.n && i.mean > nearest.mean)) nearest = i;
            best.push_back(below(i));
          }
          put(str("the ", home, " specialist best at home: below the seed and the other specialists"), all_of(best), nearest);
          // Of general text a specialist reads a tenth of its tokens, so that it need not forget it.
          put(str("the ", home, " specialist above the seed on general text, a tenth of its own tokens"), below(difference("seed", home, "general")), difference(home, "seed", "general"));
        }
      }
    return list;
  }

  StudyConfig c_;
  Plan plan_{c_};
  std::string data_;
  bool generated_;
  std::string out_, runs_;
  std::map<std::array<std::string, 4>, std::map<std::int64_t, double>> nll_;  // arm, size, match, domain -> replicate -> nats per byte
};

}  // namespace bam::study
