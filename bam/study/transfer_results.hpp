// What a transfer study has found so far, from its run folders alone: every score, curves over k, the measures of METHOD 2.2 with intervals, the
// source-to-target matrix, shares of variance, directions, controls and the ledger. Runs that are not finished are absent.
#pragma once
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "../clt/measures.hpp"
#include "../io/file.hpp"
#include "../io/hash.hpp"
#include "../io/json.hpp"
#include "transfer_config.hpp"

namespace bam::study::transfer {

class Results {
 public:
  Results(const TransferConfig& config, const std::string& out) : c_(config), out_(out), runs_(out + "/runs/") {}

  // The content of results.json, the same whenever and however often the study was stopped.
  io::Json json() {
    using io::Json;
    Json j = Json::object({{"study", "clt"}, {"corpus", "generated"}, {"seed", static_cast<std::int64_t>(c_.seed)}});
    std::vector<std::string> tasks, codes;
    for (Task t : c_.tasks) tasks.push_back(name_of(t));
    j.set("tasks", Json::array_of(tasks));
    j.set("settings", Json::array_of(c_.settings));
    j.set("k", Json::array_of(c_.k));
    j.set("english", c_.english);
    j.set("items", c_.items);
    j.set("replicates", c_.replicates);
    j.set("pivot_share", c_.pivot_share);
    j.set("main_languages", main_group());
    Json languages = Json::array({}), sizes = Json::array({}), primary = Json::object();
    for (int l : c_.languages()) languages.push_back(Json::object({{"code", code_of(l)}, {"split", c_.split_of(l)}, {"script", script_of(l)}, {"family", lang::language(l).family}}));
    for (const BaseSize& s : c_.sizes) {
      const std::int64_t total = parameters(s), dense = count_parameters(s.dense(c_.vocab_size, c_.context)).total;
      sizes.push_back(Json::object({{"name", s.name}, {"base", s.bam ? "bam" : "dense"}, {"parameters", total}, {"dense_parameters", dense}, {"non_embedding", dense - c_.vocab_size * s.hidden}}));
    }
    for (Task t : c_.tasks) primary.set(name_of(t), c_.primary_of(t));
    j.set("languages", std::move(languages));
    j.set("sizes", std::move(sizes));
    j.set("primary", std::move(primary));
    read();
    j.set("runs", std::move(rows_));
    std::vector<clt::Score> main;
    for (const clt::Score& s : scores_)
      if (s.setting != "multi-equal-total") main.push_back(s);
    Json directions = Json::array({});
    clt::DirectionOptions options;
    options.math = "arithmetic";
    options.languages = main_group();
    BootstrapOptions boot{2000, 1, 0.95};
    if (!main.empty())
      for (const clt::Direction& d : clt::directions(main, options, boot))
        directions.push_back(Json::object({{"claim", d.claim}, {"finding", clt::name_of(d.finding)}, {"n", d.n}, {"mean", cell(d.mean)}, {"low", cell(d.low)}, {"high", cell(d.high)}, {"note", d.note}}));
    j.set("directions", std::move(directions));
    j.set("curves", curves());
    j.set("measures", measures());
    j.set("interference", interference());
    j.set("matrix", matrix());
    j.set("groups", groups());
    j.set("bases", bases());
    j.set("variance", variance(main, boot));
    j.set("controls", controls());
    j.set("samples", std::move(samples_));
    if (c_.replicates == 1) j.set("note", "1 replicate: there are no intervals over replicates, so no direction can be decided");
    if (c_.replicates == 2) j.set("note", "2 replicates: Student's t has one degree of freedom and a bootstrap has three different sets to draw, so what is shown or not shown is weak evidence");
    j.set("hash", hash_.hex());
    return j;
  }

  // Every training with what it took; unlike json() it holds times.
  io::Json ledger() const {
    io::Json list = io::Json::array({});
    auto add = [&](const std::string& run, const BaseSize& size, std::int64_t replicate, bool mixture) {
      if (!io::exists(runs_ + run + "/done.json")) return;
      const io::Json done = read(run, "done.json");
      const double seconds = done.at("seconds").as_double(run), peak = done.at("peak_flops").as_double(run), tokens = done.at("tokens").as_double(run);
      const ModelConfig dense = size.dense(c_.vocab_size, c_.context);
      const double flops = tokens * static_cast<double>(count_flops(mixture ? upcycled_config(dense, 4, UpcycleOptions{}) : dense, c_.context).train_per_token), share = flops / seconds / peak;
      list.push_back(io::Json::object({{"run", run}, {"size", size.name}, {"replicate", replicate}, {"lr", done.at("lr")}, {"tokens", done.at("tokens")}, {"flops", flops}, {"seconds", seconds},
                                       {"share_of_peak", std::isfinite(share) ? io::Json(share) : io::Json()}, {"hash", done.at("hash")}}));
    };
    for (const BaseSize& size : c_.sizes)
      for (std::int64_t r = 1; r <= c_.replicates; ++r) {
        for (const char* name : {"base", "branch-pivot", "branch-seen", "branch-unseen"}) add(replicate_folder(size, r) + "/" + name, size, r, false);
        add(replicate_folder(size, r) + "/mixture", size, r, true);
        for (const Tuning& t : plan_.tunings())
          if (t.size == &size && t.replicate == r) add(t.run, size, r, size.bam);
      }
    return list;
  }

 private:
  static io::Json cell(const clt::Cell& c) { return c && std::isfinite(*c) ? io::Json(*c) : io::Json(); }
  static const char* script_of(int l) {
    static constexpr const char* names[] = {"Latin", "Armenian", "Cyrillic"};
    return names[static_cast<int>(lang::language(l).script)];
  }
  std::int64_t parameters(const BaseSize& s) const {
    const ModelConfig dense = s.dense(c_.vocab_size, c_.context);
    return count_parameters(s.bam ? upcycled_config(dense, 4, UpcycleOptions{}) : dense).total;
  }
  std::string main_group() const { return str("all ", joined_codes(c_.seen)); }
  io::Json read(const std::string& run, const char* file) const { return io::parse_json(io::read_file(runs_ + run + "/" + file), run + "/" + file); }

  // Fills rows_, scores_ and what else comes of the runs.
  void read() {
    io::Json chance = io::Json::object();
    if (const std::string file = out_ + "/chance.json"; io::exists(file)) chance = io::parse_json(io::read_file(file), file);
    std::map<std::string, io::Json> evals;
    for (const Tuning& t : plan_.tunings()) {
      if (!io::exists(runs_ + t.run + "/eval.json")) continue;
      evals[t.run] = read(t.run, "eval.json");
      const std::string h(read(t.run, "done.json").at("hash").as_string(t.run));
      hash_.update(h.data(), h.size());
      const std::string cells = io::dump(evals[t.run].at("cells"));
      hash_.update(cells.data(), cells.size());
    }
    for (const Place& p : plan_.places()) {
      auto found = evals.find(p.run);
      if (found == evals.end()) continue;
      for (const io::Json& e : found->second.at("cells").items(p.run)) {
        if (e.at("task").as_string("task") != name_of(p.task)) continue;
        const std::string code(e.at("language").as_string("language"));
        const int l = lang::find_language(code);
        const std::int64_t n = e.at("items").as_int("items", 1);
        for (const char* score : {"exact", "rank", "likelihood", "nll"}) {
          const std::string name = score;
          auto figure = [&](const char* key) { return e.at(key).as_double(key); };
          Entry entry{p, l, name, 0, n, std::nullopt, false, 0, 0};
          Bounds b;
          if (name == "exact" || name == "rank") {
            const std::int64_t hits = e.at(score).as_int(score, 0, n);
            entry.value = static_cast<double>(hits) / static_cast<double>(n);
            entry.chance = name == "rank" ? figure("rank_chance") : chance.at(name_of(p.task)).as_double("chance");
            entry.told = clt::told_from_chance(entry.value, n, entry.chance);
            b = wilson_interval(hits, n);
          } else {
            const bool nll = name == "nll";
            entry.value = figure(score);
            entry.stderr_value = figure(nll ? "nll_stderr" : "likelihood_stderr");
            if (nll) entry.n = e.at("tokens").as_int("tokens", 1);
            else {
              entry.chance = figure("rivals");
              entry.stderr_above = figure("above_stderr");
              entry.told = entry.value - *entry.chance > z95 * entry.stderr_above;
            }
            b = {entry.value - z95 * entry.stderr_value, entry.value + z95 * entry.stderr_value};
          }
          const bool is_primary = c_.primary_of(p.task) == name;
          rows_.push_back(io::Json::object({{"task", name_of(p.task)}, {"setting", p.setting}, {"size", p.size->name}, {"k", p.k}, {"languages", p.languages}, {"language", code}, {"split", c_.split_of(l)},
                                            {"replicate", p.replicate}, {"score", name}, {"value", entry.value}, {"n", entry.n}, {"chance", cell(entry.chance)}, {"low", b.low}, {"high", b.high},
                                            {"above_chance", name == "nll" ? io::Json() : io::Json(entry.told)}, {"primary", is_primary},
                                            {"control", p.control == Control::none ? "" : p.control == Control::shuffled ? "shuffled" : "repeated"}, {"run", p.run}}));
          if (name == "nll") continue;
          (p.control == Control::none ? entries_ : control_entries_).push_back(entry);
          if (!is_primary || p.control != Control::none || (p.size->bam && !all_bam())) continue;  // METHOD 2.3 is about dense models
          const clt::Split split = l == lang::pivot ? clt::Split::english : std::string_view(c_.split_of(l)) == "seen" ? clt::Split::seen : clt::Split::unseen;
          // What cannot be told from chance is given a chance that nothing exceeds.
          scores_.push_back({name_of(p.task), p.setting, parameters(*p.size), p.k, p.languages, code, split, p.replicate, name, entry.value, n, entry.told ? std::nullopt : std::optional(1.0)});
        }
      }
      if (p.control == Control::none && p.replicate == 1 && p.languages == main_group())
        for (const io::Json& s : found->second.at("samples").items(p.run)) {
          if (s.at("task").as_string("task") != name_of(p.task)) continue;
          io::Json one = io::Json::object({{"size", p.size->name}, {"setting", p.setting}, {"k", p.k}});
          for (auto [key, value] : s.members(p.run)) one.set(key, value);
          samples_.push_back(std::move(one));
        }
    }
  }
  bool all_bam() const {
    return std::all_of(c_.sizes.begin(), c_.sizes.end(), [](const BaseSize& s) { return s.bam; });
  }

  static constexpr double z95 = 1.959963984540054;
  struct Entry {
    Place place;
    int language;
    std::string score;
    double value;
    std::int64_t n;
    std::optional<double> chance;
    bool told;  // from chance
    double stderr_value, stderr_above;  // of likelihoods: of the value, of its difference to chance
  };
  // Of several cells together. Items say the same in all languages, so languages of one replicate count as one draw of them, which is on the safe side.
  struct Pool {
    struct Replicate {
      double stderr_value = 0, stderr_above = 0;  // summed over cells
      std::int64_t items = 0;
    };
    double sum = 0, chance = 0;
    std::int64_t cells = 0, told = 0;
    bool share = true;
    std::map<std::int64_t, Replicate> replicates;
    void add(const Entry& e) {
      share = e.score != "likelihood";
      sum += e.value;
      chance += e.chance.value_or(0);
      told += e.told;
      ++cells;
      Replicate& r = replicates[e.place.replicate];
      r.stderr_value += e.stderr_value;
      r.stderr_above += e.stderr_above;
      r.items = std::max(r.items, e.n);
    }
    double mean() const { return sum / static_cast<double>(cells); }
    double by_chance() const { return chance / static_cast<double>(cells); }
    std::int64_t items() const {
      std::int64_t n = 0;
      for (const auto& [r, x] : replicates) n += x.items;
      return n;
    }
    double error(double Replicate::*which) const {
      double square = 0;
      for (const auto& [r, x] : replicates) square += x.*which * x.*which;
      return std::sqrt(square) / static_cast<double>(cells);
    }
    Bounds bounds() const {
      if (share) return wilson_interval(std::llround(mean() * static_cast<double>(items())), items());
      const double half = z95 * error(&Replicate::stderr_value);
      return {mean() - half, mean() + half};
    }
    bool above_chance() const {
      if (share) return clt::told_from_chance(mean(), items(), by_chance());
      return mean() - by_chance() > z95 * error(&Replicate::stderr_above);
    }
  };
  // Values of the primary score over the languages of a split, in their order; missing ones are empty.
  std::vector<clt::Cell> values(Task task, const std::string& setting, const BaseSize& size, std::int64_t k, const std::string& group, std::int64_t replicate, const std::vector<int>& languages, bool told = true) const {
    std::vector<clt::Cell> out(languages.size());
    for (const Entry& e : entries_) {
      const Place& p = e.place;
      if (p.task != task || p.setting != setting || p.size != &size || p.k != k || p.languages != group || p.replicate != replicate || e.score != c_.primary_of(task)) continue;
      auto at = std::find(languages.begin(), languages.end(), e.language);
      if (at != languages.end()) out[static_cast<std::size_t>(at - languages.begin())] = !told || e.told ? clt::Cell(e.value) : clt::Cell();
    }
    return out;
  }
  // f of every task, setting and size.
  template <class F>
  void each(F f) const {
    for (Task task : c_.tasks)
      for (const std::string& setting : c_.settings)
        for (const BaseSize& size : c_.sizes) f(task, setting, size);
  }
  static void put_interval(io::Json& row, const std::vector<double>& values) {
    const Interval i = t_interval(values);
    row.set("n", i.n);
    row.set("mean", i.n > 0 ? io::Json(i.mean) : io::Json());
    row.set("low", i.n > 1 ? io::Json(i.low) : io::Json());
    row.set("high", i.n > 1 ? io::Json(i.high) : io::Json());
  }

  // Of every score, means over languages and replicates with the 95% interval over all their items.
  io::Json curves() const {
    io::Json list = io::Json::array({});
    each([&](Task task, const std::string& setting, const BaseSize& size) {
      for (const char* score : {"exact", "rank", "likelihood"})
        for (const auto& [split, languages] : {std::pair<const char*, std::vector<int>>{"english", {lang::pivot}}, {"seen", c_.seen}, {"unseen", c_.unseen}})
          for (std::int64_t k : c_.k) {
            Pool all;
            std::map<std::int64_t, Pool> by_replicate;
            for (const Entry& e : entries_) {
              const Place& p = e.place;
              if (e.score != score || p.task != task || p.setting != setting || p.size != &size || p.k != k || p.languages != main_group() || std::find(languages.begin(), languages.end(), e.language) == languages.end()) continue;
              all.add(e);
              by_replicate[p.replicate].add(e);
            }
            if (all.cells == 0) continue;
            const Bounds b = all.bounds();
            io::Json values = io::Json::array({});
            for (const auto& [r, pool] : by_replicate) values.push_back(pool.mean());
            list.push_back(io::Json::object({{"task", name_of(task)}, {"setting", setting}, {"size", size.name}, {"score", score}, {"split", split}, {"k", k}, {"mean", all.mean()}, {"low", b.low}, {"high", b.high},
                                             {"n", all.items()}, {"chance", all.by_chance()}, {"above_chance", all.above_chance()}, {"cells", all.cells}, {"told", all.told}, {"replicates", std::move(values)}}));
          }
    });
    return list;
  }

  // One value a replicate, from cells that can be told from chance.
  io::Json measures() const {
    io::Json list = io::Json::array({});
    each([&](Task task, const std::string& setting, const BaseSize& size) {
      std::map<std::string, std::vector<double>> found;
      std::vector<std::string> order;
      auto add = [&](const std::string& name, const clt::Cell& c) {
        if (!found.contains(name)) order.push_back(name);
        auto& at = found[name];
        if (c && std::isfinite(*c)) at.push_back(*c);
      };
      for (std::int64_t r = 1; r <= c_.replicates; ++r) {
        auto of = [&](std::int64_t k, const std::vector<int>& languages) { return values(task, setting, size, k, main_group(), r, languages); };
        std::vector<clt::Cell> seen, unseen;
        for (std::int64_t k : c_.k) {
          seen.push_back(clt::mean(of(k, c_.seen)));
          unseen.push_back(clt::mean(of(k, c_.unseen)));
        }
        for (std::size_t i = 1; i < c_.k.size(); ++i) {
          add(str("gain, unseen, k ", c_.k[i]), clt::mean_gain(of(0, c_.unseen), of(c_.k[i], c_.unseen)));
          add(str("gain, seen, k ", c_.k[i]), clt::mean_gain(of(0, c_.seen), of(c_.k[i], c_.seen)));
        }
        for (std::size_t i = 0; i < c_.k.size(); ++i) add(str("seen-unseen gap, k ", c_.k[i]), clt::seen_unseen_gap(seen[i], unseen[i]));
        const auto r_over_k = clt::tracking(seen, unseen);
        add("tracking r", r_over_k ? clt::Cell(r_over_k->r) : clt::Cell());
        const auto plateau = clt::data_to_plateau(c_.k, unseen);
        add("data to plateau, unseen", plateau ? clt::Cell(static_cast<double>(*plateau)) : clt::Cell());
        add("oscillation, unseen", clt::oscillation(unseen));
      }
      for (const std::string& name : order) {
        io::Json row = io::Json::object({{"measure", name}, {"task", name_of(task)}, {"setting", setting}, {"size", size.name}});
        put_interval(row, found[name]);
        list.push_back(std::move(row));
      }
    });
    return list;
  }

  // Multi-task less single-task at the same k: with as much data of each task, and with as much in all.
  io::Json interference() const {
    io::Json list = io::Json::array({});
    for (const char* setting : {"multi", "multi-equal-total"}) {
      if (std::find(c_.settings.begin(), c_.settings.end(), setting) == c_.settings.end() || std::find(c_.settings.begin(), c_.settings.end(), "single") == c_.settings.end()) continue;
      for (Task task : c_.tasks)
        for (const BaseSize& size : c_.sizes)
          for (std::int64_t k : c_.k)
            for (const auto& [split, languages] : {std::pair<const char*, std::vector<int>>{"english", {lang::pivot}}, {"seen", c_.seen}, {"unseen", c_.unseen}}) {
              std::vector<double> found;
              for (std::int64_t r = 1; r <= c_.replicates; ++r) {
                const auto multi = values(task, setting, size, k, main_group(), r, languages), single = values(task, "single", size, k, main_group(), r, languages);
                std::vector<clt::Cell> lost;
                for (std::size_t i = 0; i < languages.size(); ++i) lost.push_back(clt::interference(multi[i], single[i]));
                if (clt::Cell m = clt::mean(lost)) found.push_back(*m);
              }
              io::Json row = io::Json::object({{"task", name_of(task)}, {"size", size.name}, {"k", k}, {"split", split}, {"at", std::string_view(setting) == "multi" ? "equal task data" : "equal total data"}});
              put_interval(row, found);
              list.push_back(std::move(row));
            }
    }
    return list;
  }

  // T[a, b] at the largest k, single-task, mean over replicates; y beside it for targets that have no data of their own.
  io::Json matrix() const {
    io::Json list = io::Json::array({});
    if (!c_.matrix) return list;
    std::vector<int> targets = c_.seen;
    targets.insert(targets.end(), c_.unseen.begin(), c_.unseen.end());
    for (Task task : c_.tasks)
      for (const BaseSize& size : c_.sizes) {
        std::map<std::pair<int, int>, std::vector<double>> shares, gained;
        for (std::int64_t r = 1; r <= c_.replicates; ++r) {
          std::vector<std::vector<clt::Cell>> y;
          for (int a : c_.seen) y.push_back(values(task, "single", size, c_.k.back(), str("only ", code_of(a)), r, targets));
          const std::vector<clt::Cell> english = values(task, "single", size, 0, main_group(), r, targets);
          std::vector<std::vector<clt::Cell>> square;
          for (const auto& row : y) square.emplace_back(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(c_.seen.size()));
          const auto t = clt::transfer_matrix(square, std::span(english).first(c_.seen.size()));
          for (std::size_t a = 0; a < c_.seen.size(); ++a)
            for (std::size_t b = 0; b < targets.size(); ++b) {
              if (b < c_.seen.size())
                if (const clt::Cell& share = t[a][b]) shares[{c_.seen[a], targets[b]}].push_back(*share);
              if (clt::Cell g = clt::difference(y[a][b], english[b])) gained[{c_.seen[a], targets[b]}].push_back(*g);
            }
        }
        for (int a : c_.seen)
          for (int b : targets) {
            auto mean = [](const std::vector<double>& v) { return v.empty() ? io::Json() : io::Json(t_interval(v).mean); };
            list.push_back(io::Json::object({{"task", name_of(task)}, {"size", size.name}, {"source", code_of(a)}, {"target", code_of(b)}, {"transfer", mean(shares[{a, b}])}, {"gained", mean(gained[{a, b}])},
                                             {"n", static_cast<std::int64_t>(gained[{a, b}].size())}}));
          }
      }
    return list;
  }

  // Groups of training languages at the largest k, with equally many examples: their scores on unseen languages of Latin and of other scripts.
  io::Json groups() const {
    io::Json list = io::Json::array({});
    if (!c_.groups) return list;
    std::vector<std::string> names;
    for (const Place& p : plan_.places())
      for (const char* kind : {"latin ", "other ", "mixed "})
        if (p.languages.starts_with(kind) && std::find(names.begin(), names.end(), p.languages) == names.end()) names.push_back(p.languages);
    for (Task task : c_.tasks)
      for (const BaseSize& size : c_.sizes)
        for (const std::string& name : names)
          for (bool latin : {true, false}) {
            std::vector<int> targets;
            for (int l : c_.unseen)
              if ((lang::language(l).script == lang::Script::latin) == latin) targets.push_back(l);
            std::vector<double> found;
            for (std::int64_t r = 1; r <= c_.replicates; ++r)
              if (clt::Cell m = clt::mean(values(task, "single", size, c_.k.back(), name, r, targets))) found.push_back(*m);
            io::Json row = io::Json::object({{"task", name_of(task)}, {"size", size.name}, {"trained_on", name}, {"tested_on", latin ? "unseen, Latin script" : "unseen, other scripts"}});
            put_interval(row, found);
            list.push_back(std::move(row));
          }
    return list;
  }

  // Mixture bases against dense ones of equal active size (the same shape): gain over unseen languages at the largest k, and the score itself.
  io::Json bases() const {
    io::Json list = io::Json::array({});
    for (const BaseSize& bam : c_.sizes)
      for (const BaseSize& dense : c_.sizes) {
        if (!bam.bam || dense.bam || bam.hidden != dense.hidden || bam.layers != dense.layers || bam.ffn != dense.ffn) continue;
        for (Task task : c_.tasks)
          for (const std::string& setting : c_.settings)
            for (const char* what : {"score", "gain"}) {
              std::vector<double> found;
              for (std::int64_t r = 1; r <= c_.replicates; ++r) {
                auto of = [&](const BaseSize& size, std::int64_t k) { return values(task, setting, size, k, main_group(), r, c_.unseen); };
                const std::int64_t k = c_.k.back();
                const bool gain = std::string_view(what) == "gain";
                if (clt::Cell d = gain ? clt::difference(clt::mean_gain(of(bam, 0), of(bam, k)), clt::mean_gain(of(dense, 0), of(dense, k))) : clt::difference(clt::mean(of(bam, k)), clt::mean(of(dense, k)))) found.push_back(*d);
              }
              io::Json row = io::Json::object({{"bam", bam.name}, {"dense", dense.name}, {"task", name_of(task)}, {"setting", setting}, {"what", what}});
              put_interval(row, found);
              list.push_back(std::move(row));
            }
      }
    return list;
  }

  // Of the scores on each split, from cells that can be told from chance.
  io::Json variance(const std::vector<clt::Score>& scores, const BootstrapOptions& boot) const {
    io::Json list = io::Json::array({});
    for (const auto& [name, split] : {std::pair{"unseen", clt::Split::unseen}, {"seen", clt::Split::seen}}) {
      const auto shares = clt::variance_shares(clt::observations(scores, split), clt::study_factors(), boot);
      if (!shares) continue;
      for (const clt::VarianceShare& e : shares->effects)
        list.push_back(io::Json::object({{"split", name}, {"effect", e.name}, {"share", e.share}, {"low", cell(e.low)}, {"high", cell(e.high)}, {"cells", shares->cells}, {"replicates", shares->replicates},
                                         {"left_out", shares->dropped}, {"noise", shares->noise}}));
    }
    return list;
  }

  // Shuffled completions must leave every task at chance; English alone, trained once more, must give the bits of y(0).
  io::Json controls() const {
    io::Json list = io::Json::array({});
    for (Task task : c_.tasks) {
      std::map<std::string, Pool> shuffled;
      std::int64_t same = 0, compared = 0;
      for (const Entry& e : control_entries_) {
        if (e.place.task != task) continue;
        if (e.place.control == Control::shuffled) {
          shuffled[e.score].add(e);
        } else if (e.score == c_.primary_of(task)) {
          const auto zero = values(task, e.place.setting, *e.place.size, 0, main_group(), 1, {e.language}, false);
          ++compared;
          same += zero[0] && *zero[0] == e.value;
        }
      }
      for (const auto& [score, pool] : shuffled) {
        const Bounds b = pool.bounds();
        list.push_back(io::Json::object({{"control", "shuffled completions"}, {"task", name_of(task)}, {"score", score}, {"value", pool.mean()}, {"low", b.low}, {"high", b.high}, {"n", pool.items()}, {"expected", pool.by_chance()},
                                         {"passes", !pool.above_chance()}}));
      }
      if (compared > 0)
        list.push_back(io::Json::object({{"control", "English alone, once more"}, {"task", name_of(task)}, {"score", c_.primary_of(task)}, {"value", static_cast<double>(same) / static_cast<double>(compared)}, {"low", nullptr}, {"high", nullptr}, {"n", compared},
                                         {"expected", 1.0}, {"passes", same == compared}}));
    }
    return list;
  }

  const TransferConfig& c_;
  Plan plan_{c_};
  std::string out_, runs_;
  io::Json rows_ = io::Json::array({}), samples_ = io::Json::array({});
  std::vector<clt::Score> scores_;
  std::vector<Entry> entries_, control_entries_;
  io::Hasher hash_;
};

}  // namespace bam::study::transfer
