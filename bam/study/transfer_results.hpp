// What a transfer study has found so far, from its run folders alone: every score, curves over k, the measures of docs/method.md, 2.1, with intervals, the
// source-to-target matrix, shares of variance, directions, controls and the ledger. Runs that are not finished are absent.
#pragma once
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "../clt/measures.hpp"
#include "../io/file.hpp"
#include "../io/hash.hpp"
#include "../io/json.hpp"
#include "tables.hpp"
#include "transfer_config.hpp"

namespace bam::study::transfer {

// The tables of a study, with the columns of a list that is empty.
inline const std::vector<Table> tables{
    {"runs", "task,setting,size,k,languages,language,split,replicate,score,value,n,chance,low,high,above_chance,primary,control,run"},
    {"directions", "claim,finding,n,mean,low,high,note"},
    {"curves", "task,setting,size,score,split,k,mean,low,high,n,chance,above_chance,cells,told,replicates"},
    {"measures", "measure,task,setting,size,n,mean,low,high"},
    {"interference", "task,size,k,split,at,n,mean,low,high"},
    {"matrix", "task,size,source,target,transfer_n,transfer_mean,transfer_low,transfer_high,gained_n,gained_mean,gained_low,gained_high"},
    {"groups", "task,size,trained_on,tested_on,n,mean,low,high,languages"},
    {"bases", "mixture,dense,same_shape,active_ratio,task,setting,what,n,mean,low,high,languages"},
    {"variance", "design,split,of,effect,share,low,high,grid,cells,languages,replicates,left_out,noise"},
    {"controls", "control,task,score,value,low,high,n,expected,by_item,passes"},
    {"tests", "task,setting,size,k,languages,language,split,replicate,score,value,n,chance,low,high,above_chance,test"},
    {"data", "task,language,train,test"},
    {"ledger", "run,size,replicate,lr,tokens,flops,seconds,share_of_peak,device,hash"}};

class Results {
 public:
  Results(const TransferConfig& config, const std::string& out) : c_(config), out_(out), runs_(out + "/runs/") {}

  // The content of results.json, the same whenever and however often the study was stopped.
  io::Json json() {
    using io::Json;
    Json j = Json::object({{"study", "clt"}, {"corpus", c_.corpus->kind()}, {"seed", static_cast<std::int64_t>(c_.seed)}});
    j.set("tasks", Json::array_of(c_.tasks));
    j.set("settings", Json::array_of(c_.settings));
    j.set("k", Json::array_of(c_.k));
    j.set("english", c_.english);
    j.set("items", c_.items);
    j.set("replicates", c_.replicates);
    j.set("pivot_share", c_.pivot_share);
    j.set("main_languages", main_group());
    Json languages = Json::array({}), sizes = Json::array({}), primary = Json::object();
    for (const std::string& code : c_.languages()) {
      const LanguageInfo& l = c_.corpus->language(code);
      languages.push_back(Json::object({{"code", code}, {"split", c_.split_of(code)}, {"script", l.script}, {"family", l.family}}));
    }
    for (const BaseSize& s : c_.sizes) {
      const ModelConfig model = s.model(c_.vocab_size, c_.context);
      const ParameterCount n = count_parameters(model);
      sizes.push_back(Json::object({{"name", s.name}, {"base", s.base()}, {"family", s.family == Family::llama ? "llama" : "cohere"}, {"parameters", n.total}, {"active_parameters", n.active},
                                    {"non_embedding", n.active - c_.vocab_size * s.hidden}, {"flops_per_token", static_cast<double>(count_flops(model, c_.context).train_per_token)}}));
    }
    for (const std::string& t : c_.tasks) primary.set(t, c_.primary_of(t));
    j.set("languages", std::move(languages));
    j.set("sizes", std::move(sizes));
    j.set("primary", std::move(primary));
    read();
    j.set("runs", std::move(rows_));
    j.set("tests", std::move(further_));
    j.set("data", data());
    std::vector<clt::Score> main;
    for (const clt::Score& s : scores_)
      if (s.setting != "multi-equal-total") main.push_back(s);
    Json directions = Json::array({});
    clt::DirectionOptions options;
    options.math = c_.corpus->kind() == "generated" ? "arithmetic" : "math";
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
    j.set("variance", variance(main, options, boot));
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
    auto add = [&](const std::string& run, const BaseSize& size, std::int64_t replicate, const ModelConfig& model) {
      if (!io::exists(runs_ + run + "/done.json")) return;
      const io::Json done = read(run, "done.json");
      const double seconds = done.at("seconds").as_double(run), peak = done.at("peak_flops").as_double(run), tokens = done.at("tokens").as_double(run);
      const double flops = tokens * static_cast<double>(count_flops(model, c_.context).train_per_token), share = flops / seconds / peak;
      list.push_back(io::Json::object({{"run", run}, {"size", size.name}, {"replicate", replicate}, {"lr", done.at("lr")}, {"tokens", done.at("tokens")}, {"flops", flops}, {"seconds", seconds},
                                       {"share_of_peak", std::isfinite(share) ? io::Json(share) : io::Json()}, {"device", done.find("device") ? *done.find("device") : io::Json()}, {"hash", done.at("hash")}}));
    };
    for (const BaseSize& size : c_.sizes)
      for (std::int64_t r = 1; r <= c_.replicates; ++r) {
        for (const Phase& p : phases(size, c_)) add(replicate_folder(size, r) + "/" + p.name, size, r, p.model);
        for (const Tuning& t : plan_.tunings())
          if (t.size == &size && t.replicate == r) add(t.run, size, r, size.model(c_.vocab_size, c_.context));
      }
    return list;
  }

 private:
  static io::Json cell(const clt::Cell& c) { return c && std::isfinite(*c) ? io::Json(*c) : io::Json(); }
  ParameterCount parameters(const BaseSize& s) const { return count_parameters(s.model(c_.vocab_size, c_.context)); }
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
    std::map<std::string, TestInfo> tests;
    for (const TestInfo& t : c_.corpus->tests(c_.tasks)) tests[t.name] = t;
    std::set<std::string> general;  // runs whose scores on tests of no task are read
    for (const Place& p : plan_.places()) {
      auto found = evals.find(p.run);
      if (found == evals.end()) continue;
      const bool main = p.control == Control::none && p.languages == main_group();
      const bool first = main && general.insert(p.run).second;
      for (const io::Json& e : found->second.at("cells").items(p.run)) {
        const std::string name(e.at("task").as_string("task")), code(e.at("language").as_string("language"));
        const TestInfo& test = tests.at(name);
        const bool own = name == p.task;
        if (!own && !(test.task == p.task ? main : test.task.empty() && first)) continue;
        for (Entry& entry : entries(e, test, p, code, chance)) {
          const bool nll = entry.score.starts_with("nll"), is_primary = own && c_.primary_of(p.task) == entry.score;
          io::Json row = io::Json::object({{"task", p.task}, {"setting", p.setting}, {"size", p.size->name}, {"k", p.k}, {"languages", p.languages}, {"language", code}, {"split", split_of(p, code)},
                                           {"replicate", p.replicate}, {"score", entry.score}, {"value", entry.value}, {"n", entry.n}, {"chance", cell(entry.chance)}, {"low", cell(entry.bounds.low)},
                                           {"high", cell(entry.bounds.high)}, {"above_chance", nll ? io::Json() : io::Json(entry.told)}});
          if (!own) {
            if (test.task.empty() && p.setting != "single") row.set("task", "all");
            row.set("test", name);
            further_.push_back(std::move(row));
            continue;
          }
          row.set("primary", is_primary);
          row.set("control", p.control == Control::none ? "" : p.control == Control::shuffled ? "shuffled" : "repeated");
          row.set("run", p.run);
          rows_.push_back(std::move(row));
          if (nll) continue;
          (p.control == Control::none ? entries_ : control_entries_).push_back(entry);
          // docs/method.md, 2.2 is about sizes of one kind
          if (!is_primary || p.control != Control::none || p.size->base() != c_.sizes[0].base() || p.size->family != c_.sizes[0].family) continue;
          if (p.languages.starts_with("only ")) continue;  // of the matrix
          const std::string_view of = split_of(p, code);
          if (of == "without examples") continue;
          const clt::Split split = of == "english" ? clt::Split::english : of == "seen" ? clt::Split::seen : clt::Split::unseen;
          scores_.push_back({p.task, p.setting, parameters(*p.size).total, p.k, p.languages, code, split, p.replicate, entry.score, entry.value, entry.n, entry.chance, is_share(entry.score) ? std::nullopt : std::optional(entry.stderr_above)});
        }
      }
      if (p.control == Control::none && p.replicate == 1 && p.languages == main_group())
        for (const io::Json& s : found->second.at("samples").items(p.run)) {
          if (s.at("task").as_string("task") != p.task) continue;
          io::Json one = io::Json::object({{"size", p.size->name}, {"setting", p.setting}, {"k", p.k}});
          for (auto [key, value] : s.members(p.run)) one.set(key, value);
          samples_.push_back(std::move(one));
        }
    }
    // A cell of the measures is judged against chance once, its replicates together (clt::detail::Table says why).
    std::map<std::tuple<std::string, std::string, std::string, std::int64_t, std::string, std::string, std::string>, Pool> cells;
    auto cell = [](const Entry& e) { return std::tuple(e.place.task, e.place.setting, e.place.size->name, e.place.k, e.place.languages, e.language, e.score); };
    for (const Entry& e : entries_) cells[cell(e)].add(e);
    for (Entry& e : entries_) e.told = cells.at(cell(e)).above_chance();
  }
  // Of the run's own training languages, which are not all of the study's. One that the study trains on, but without an example of this task, is neither seen nor unseen.
  const char* split_of(const Place& p, const std::string& code) const {
    if (code == c_.pivot) return "english";
    if (std::find(p.trained_on.begin(), p.trained_on.end(), code) != p.trained_on.end()) return "seen";
    return std::find(c_.seen.begin(), c_.seen.end(), code) != c_.seen.end() && c_.corpus->available(p.task, code) == 0 ? "without examples" : "unseen";
  }
  // The seen languages that have examples of a task.
  std::vector<std::string> seen(const std::string& task) const {
    std::vector<std::string> out;
    std::copy_if(c_.seen.begin(), c_.seen.end(), std::back_inserter(out), [&](const std::string& l) { return c_.corpus->available(task, l) > 0; });
    return out;
  }

  static constexpr double z95 = 1.959963984540054;
  struct Entry {
    Place place;
    std::string language, score;
    double value = 0;
    std::int64_t n = 0;
    std::optional<double> chance = std::nullopt;
    bool told = false;  // from chance: this run alone, and once all are read, the replicates together
    double stderr_value = 0, stderr_above = 0;  // of means: of the value, of its difference to chance
    Bounds bounds = {};
    std::string by_item = "";  // "1", "0" or "." of each, where the run has recorded it
  };
  static bool is_share(const std::string& score) { return score == "exact" || score == "rank"; }  // of items; other scores are means over them
  // The scores of a cell of eval.json.
  std::vector<Entry> entries(const io::Json& e, const TestInfo& test, const Place& place, const std::string& code, const io::Json& chance) const {
    std::vector<Entry> list;
    auto figure = [&](const std::string& key) { return e.at(key).as_double(key); };
    const std::int64_t n = e.at("items").as_int("items", 1);
    auto share = [&](const char* score, double by_chance) {
      const std::int64_t hits = e.at(score).as_int(score, 0, n);
      const double value = static_cast<double>(hits) / static_cast<double>(n);
      const io::Json* by_item = e.find(str(score, "_items"));
      list.push_back({place, code, score, value, n, by_chance, clt::told_from_chance(value, n, by_chance), 0, 0, wilson_interval(hits, n), by_item ? std::string(by_item->as_string(score)) : ""});
      if (const auto right = std::count(list.back().by_item.begin(), list.back().by_item.end(), '1'); by_item && right != hits)
        fail(ErrorKind::input, "study.eval", place.run, "/eval.json: ", score, "_items of ", code, " has ", right, " right items, ", score, " says ", hits, "; remove the run's folder to run it again");
    };
    auto mean = [&](const std::string& score, double value, double error, std::int64_t of) -> Entry& {
      const double half = n > 1 ? z95 * error : HUGE_VAL;  // one item has no spread
      return list.emplace_back(Entry{place, code, score, value, of, std::nullopt, false, error, 0, {value - half, value + half}});
    };
    auto against = [&](const std::string& score, double by_chance, double error) {
      Entry& m = mean(score, figure(score), figure(score + "_stderr"), n);
      m.chance = by_chance;
      m.stderr_above = error;
      m.told = clt::told_from_chance(m.value, n, by_chance, error);
    };
    if (test.written) share("exact", chance.at(test.name).at(code).as_double("chance"));
    if (test.competes) {
      share("rank", figure("rank_chance"));
      against("likelihood", figure("rivals"), figure("above_stderr"));
    }
    if (const std::string& t = test.text_score; !t.empty()) against(t, figure(t + "_others"), figure(t + "_above_stderr"));
    if (!test.answered) return list;
    const std::int64_t tokens = e.at("tokens").as_int("tokens", 1);
    mean("nll", figure("nll"), figure("nll_stderr"), tokens);
    if (!test.competes) {
      const std::int64_t bytes = e.at("bytes").as_int("bytes", 1);
      const double per_byte = static_cast<double>(tokens) / static_cast<double>(bytes);
      mean("nll per byte", figure("nll") * per_byte, figure("nll_stderr") * per_byte, bytes);
    }
    return list;
  }
  // What there is of each task in each language; generated ones have no end.
  io::Json data() const {
    io::Json list = io::Json::array({});
    if (c_.corpus->kind() == "generated") return list;
    for (const std::string& task : c_.tasks)
      for (const std::string& l : c_.languages()) {
        const std::int64_t train = c_.corpus->available(task, l), test = static_cast<std::int64_t>(c_.corpus->items(task, l, c_.items, c_.rivals, c_.seed).size());
        if (train + test > 0) list.push_back(io::Json::object({{"task", task}, {"language", l}, {"train", train}, {"test", test}}));
      }
    return list;
  }
  struct Pool : clt::Pooled {
    double stderr_value = 0;  // summed over cells
    std::int64_t told = 0;
    bool share = true;
    void add(const Entry& e) {
      share = is_share(e.score);
      Pooled::add(e.value, e.n, e.chance, share ? std::nullopt : std::optional(e.stderr_above));
      told += e.told;
      stderr_value += e.stderr_value;
    }
    Bounds bounds() const {
      if (share) return wilson_of_share(mean(), static_cast<double>(items()));
      if (items() < 2) return {};  // one item has no spread; these scores lie between 0 and 1
      const double half = z95 * stderr_value / static_cast<double>(cells);
      return {mean() - half, mean() + half};
    }
  };
  // Values of the primary score over the languages of a split, in their order; missing ones are empty.
  std::vector<clt::Cell> values(const std::string& task, const std::string& setting, const BaseSize& size, std::int64_t k, const std::string& group, std::int64_t replicate, const std::vector<std::string>& languages, bool told = true) const {
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
    for (const std::string& task : c_.tasks)
      for (const std::string& setting : c_.settings)
        for (const BaseSize& size : c_.sizes) f(task, setting, size);
  }
  // possible: no value can lie outside, so an interval that reaches farther ends there.
  static void put_interval(io::Json& row, const Interval& i, const Bounds& possible = {-HUGE_VAL, HUGE_VAL}, const std::string& of = "") {
    row.set(of + "n", i.n);
    row.set(of + "mean", i.n > 0 ? io::Json(i.mean) : io::Json());
    row.set(of + "low", std::isfinite(i.low) ? io::Json(std::max(i.low, possible.low)) : io::Json());
    row.set(of + "high", std::isfinite(i.high) ? io::Json(std::min(i.high, possible.high)) : io::Json());
  }

  // Of every score, means over languages and replicates with the 95% interval over their items.
  io::Json curves() const {
    io::Json list = io::Json::array({});
    each([&](const std::string& task, const std::string& setting, const BaseSize& size) {
      for (const char* score : {"exact", "rank", "likelihood", "chrf", "rouge"})
        for (const auto& [split, languages] : {std::pair<const char*, std::vector<std::string>>{"english", {c_.pivot}}, {"seen", seen(task)}, {"unseen", c_.unseen}})
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
            list.push_back(io::Json::object({{"task", task}, {"setting", setting}, {"size", size.name}, {"score", score}, {"split", split}, {"k", k}, {"mean", all.mean()}, {"low", b.low}, {"high", b.high},
                                             {"n", all.items()}, {"chance", all.by_chance()}, {"above_chance", all.above_chance()}, {"cells", all.cells}, {"told", all.told}, {"replicates", std::move(values)}}));
          }
    });
    return list;
  }

  // One value a replicate, from cells that can be told from chance. What compares values of k does so over the languages that have a cell at each of them.
  io::Json measures() const {
    io::Json list = io::Json::array({});
    each([&](const std::string& task, const std::string& setting, const BaseSize& size) {
      std::map<std::string, std::vector<double>> found;
      std::vector<std::string> order;
      auto add = [&](const std::string& name, const clt::Cell& c) {
        if (!found.contains(name)) order.push_back(name);
        auto& at = found[name];
        if (c && std::isfinite(*c)) at.push_back(*c);
      };
      for (std::int64_t r = 1; r <= c_.replicates; ++r) {
        auto of = [&](std::int64_t k, const std::vector<std::string>& languages) { return values(task, setting, size, k, main_group(), r, languages); };
        auto curve = [&](const std::vector<std::string>& languages) {
          std::vector<std::vector<clt::Cell>> cells;
          for (std::int64_t k : c_.k) cells.push_back(of(k, languages));
          return clt::common_mean(cells);
        };
        const std::vector<std::string> trained = this->seen(task);
        const std::vector<clt::Cell> seen = curve(trained), unseen = curve(c_.unseen);
        for (std::size_t i = 1; i < c_.k.size(); ++i) {
          add(str("gain, unseen, k ", c_.k[i]), clt::mean_gain(of(0, c_.unseen), of(c_.k[i], c_.unseen)));
          add(str("gain, seen, k ", c_.k[i]), clt::mean_gain(of(0, trained), of(c_.k[i], trained)));
        }
        for (std::size_t i = 0; i < c_.k.size(); ++i) add(str("seen-unseen gap, k ", c_.k[i]), clt::seen_unseen_gap(seen[i], unseen[i]));
        const auto r_over_k = clt::tracking(seen, unseen);
        add("tracking r", r_over_k ? clt::Cell(r_over_k->r) : clt::Cell());
        const auto plateau = clt::data_to_plateau(c_.k, unseen);
        add("data to plateau, unseen", plateau ? clt::Cell(static_cast<double>(std::max(*plateau, c_.k[1]))) : clt::Cell());  // k = 0 has no logarithm
        add("oscillation, unseen", clt::oscillation(unseen));
      }
      for (const std::string& name : order) {
        io::Json row = io::Json::object({{"measure", name}, {"task", task}, {"setting", setting}, {"size", size.name}});
        const std::vector<double>& values = found[name];
        if (name.starts_with("tracking")) put_interval(row, clt::mean_correlation(values));
        else if (name.starts_with("data to plateau")) put_interval(row, clt::geometric_mean(values), {static_cast<double>(c_.k[1]), static_cast<double>(c_.k.back())});
        else if (name.starts_with("oscillation")) put_interval(row, t_interval(values), {0, HUGE_VAL});
        else put_interval(row, t_interval(values));
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
      for (const std::string& task : c_.tasks)
        for (const BaseSize& size : c_.sizes)
          for (std::int64_t k : c_.k)
            for (const auto& [split, languages] : {std::pair<const char*, std::vector<std::string>>{"english", {c_.pivot}}, {"seen", seen(task)}, {"unseen", c_.unseen}}) {
              std::vector<double> found;
              for (std::int64_t r = 1; r <= c_.replicates; ++r) {
                const auto multi = values(task, setting, size, k, main_group(), r, languages), single = values(task, "single", size, k, main_group(), r, languages);
                std::vector<clt::Cell> lost;
                for (std::size_t i = 0; i < languages.size(); ++i) lost.push_back(clt::interference(multi[i], single[i]));
                if (clt::Cell m = clt::mean(lost)) found.push_back(*m);
              }
              io::Json row = io::Json::object({{"task", task}, {"size", size.name}, {"k", k}, {"split", split}, {"at", std::string_view(setting) == "multi" ? "equal task data" : "equal total data"}});
              put_interval(row, t_interval(found));
              list.push_back(std::move(row));
            }
    }
    return list;
  }

  // T[a, b] at the largest k, single-task, over replicates; y(a) - y(0) beside it, also for targets that have no data of their own.
  io::Json matrix() const {
    io::Json list = io::Json::array({});
    if (!c_.matrix) return list;
    std::vector<std::string> targets = c_.seen;
    targets.insert(targets.end(), c_.unseen.begin(), c_.unseen.end());
    for (const std::string& task : c_.tasks)
      for (const BaseSize& size : c_.sizes) {
        std::map<std::pair<std::string, std::string>, std::vector<double>> shares, gained;
        for (std::int64_t r = 1; r <= c_.replicates; ++r) {
          std::vector<std::vector<clt::Cell>> y;
          for (const std::string& a : c_.seen) y.push_back(values(task, "single", size, plan_.largest_k(task), str("only ", a), r, targets));
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
        for (const std::string& a : c_.seen)
          for (const std::string& b : targets) {
            io::Json row = io::Json::object({{"task", task}, {"size", size.name}, {"source", a}, {"target", b}});
            put_interval(row, t_interval(shares[{a, b}]), {-HUGE_VAL, HUGE_VAL}, "transfer_");
            put_interval(row, t_interval(gained[{a, b}]), {-HUGE_VAL, HUGE_VAL}, "gained_");
            list.push_back(std::move(row));
          }
      }
    return list;
  }

  // The languages that a comparison is over, those that all of its sides tell from chance, with the number of replicates: "gl2 (3), gl4 (1)".
  struct Compared {
    std::map<std::string, std::int64_t> replicates;
    void add(const std::vector<std::string>& languages, const std::vector<std::vector<clt::Cell>>& sides) {
      for (std::size_t l = 0; l < languages.size(); ++l) replicates[languages[l]] += std::all_of(sides.begin(), sides.end(), [&](const auto& side) { return side[l].has_value(); });
    }
    std::string text() const {
      std::string s;
      for (const auto& [language, n] : replicates)
        if (n > 0) s += str(s.empty() ? "" : ", ", language, " (", n, ")");
      return s;
    }
  };

  // Groups of training languages at the largest k, with equally many examples: their scores on unseen languages of Latin and of other scripts, those that all groups tell from chance.
  io::Json groups() const {
    io::Json list = io::Json::array({});
    if (!c_.groups) return list;
    for (const std::string& task : c_.tasks) {
      std::vector<std::string> names;
      for (const Place& p : plan_.places())
        if (p.task == task && p.group() && std::find(names.begin(), names.end(), p.languages) == names.end()) names.push_back(p.languages);
      for (const BaseSize& size : c_.sizes)
        for (bool latin : {true, false}) {
          std::vector<std::string> targets;
          for (const std::string& l : c_.unseen)
            if (c_.corpus->language(l).latin == latin) targets.push_back(l);
          std::vector<std::vector<double>> found(names.size());
          Compared compared;
          for (std::int64_t r = 1; r <= c_.replicates; ++r) {
            std::vector<std::vector<clt::Cell>> cells;
            for (const std::string& name : names) cells.push_back(values(task, "single", size, plan_.largest_k(task), name, r, targets));
            compared.add(targets, cells);
            const std::vector<clt::Cell> means = clt::common_mean(cells);
            for (std::size_t i = 0; i < names.size(); ++i)
              if (means[i]) found[i].push_back(*means[i]);
          }
          for (std::size_t i = 0; i < names.size(); ++i) {
            io::Json row = io::Json::object({{"task", task}, {"size", size.name}, {"trained_on", names[i]}, {"tested_on", latin ? "unseen, Latin script" : "unseen, other scripts"}});
            put_interval(row, t_interval(found[i]), {0, 1});
            row.set("languages", compared.text());
            list.push_back(std::move(row));
          }
        }
    }
    return list;
  }

  // Mixtures against dense bases of the same shape, and those that compute with as many parameters (within a tenth): gain over unseen languages at the largest k, and the score itself.
  io::Json bases() const {
    io::Json list = io::Json::array({});
    for (const BaseSize& bam : c_.sizes)
      for (const BaseSize& dense : c_.sizes) {
        if (!bam.mixture || dense.mixture || dense.family != bam.family) continue;
        const bool same_shape = bam.shape() == dense.shape();
        const double active = static_cast<double>(parameters(dense).active) / static_cast<double>(parameters(bam).active);
        if (!same_shape && std::abs(active - 1) > 0.1) continue;
        for (const std::string& task : c_.tasks)
          for (const std::string& setting : c_.settings)
            for (const char* what : {"score", "gain"}) {
              std::vector<double> found;
              Compared compared;
              for (std::int64_t r = 1; r <= c_.replicates; ++r) {
                auto of = [&](const BaseSize& size) {
                  std::vector<clt::Cell> y = values(task, setting, size, plan_.largest_k(task), main_group(), r, c_.unseen), zero = values(task, setting, size, 0, main_group(), r, c_.unseen);
                  for (std::size_t l = 0; l < y.size() && std::string_view(what) == "gain"; ++l) y[l] = clt::gain(zero[l], y[l]);
                  return y;
                };
                const std::vector<std::vector<clt::Cell>> sides{of(bam), of(dense)};
                compared.add(c_.unseen, sides);
                const std::vector<clt::Cell> means = clt::common_mean(sides);
                if (clt::Cell d = clt::difference(means[0], means[1])) found.push_back(*d);
              }
              io::Json row = io::Json::object({{"mixture", bam.name}, {"dense", dense.name}, {"same_shape", same_shape}, {"active_ratio", active}, {"task", task}, {"setting", setting}, {"what", what}});
              put_interval(row, t_interval(found));
              row.set("languages", compared.text());
              list.push_back(std::move(row));
            }
      }
    return list;
  }

  // Of the changes since k = 0 and of the scores on each split, over all k; of groups of training languages in unseen ones alone, for no language is seen by all groups.
  io::Json variance(const std::vector<clt::Score>& scores, const clt::DirectionOptions& options, const BootstrapOptions& boot) const {
    io::Json list = io::Json::array({});
    for (const auto& [name, split, design] : {std::tuple{"unseen", clt::Split::unseen, clt::Design::amounts}, {"seen", clt::Split::seen, clt::Design::amounts}, {"unseen", clt::Split::unseen, clt::Design::groups}})
      for (clt::Response response : {clt::Response::change, clt::Response::score}) {
        const std::vector<std::string>& factors = clt::factors_of(design);
        const auto shares = clt::variance_shares(clt::observations(scores, split, response, design, options), factors, boot);
        if (!shares) continue;
        std::string grid;
        for (std::size_t i = 0; i < factors.size(); ++i) grid += str(i ? " x " : "", factors[i], " ", shares->levels[i]);
        for (const clt::VarianceShare& e : shares->effects)
          list.push_back(io::Json::object({{"design", design == clt::Design::amounts ? "amounts" : "groups"}, {"split", name}, {"of", clt::name_of(response)}, {"effect", e.name}, {"share", e.share}, {"low", cell(e.low)}, {"high", cell(e.high)},
                                           {"grid", grid}, {"cells", shares->cells}, {"languages", shares->languages}, {"replicates", shares->replicates}, {"left_out", shares->dropped}, {"noise", shares->noise}}));
      }
    return list;
  }

  // A pool of shares whose runs have recorded each item: an item's languages go together, but no more than they do. Items of all cells; how many of the cells have each.
  struct ByItem {
    std::vector<double> hits, cells;
    double right = 0, tested = 0, by_chance = 0;  // sums over items of all cells
    bool all = true;
    void add(const std::string& items, double chance) {
      all = all && !items.empty();
      if (items.size() > hits.size()) hits.resize(items.size()), cells.resize(items.size());
      for (std::size_t i = 0; i < items.size(); ++i) {
        if (items[i] == '.') continue;
        ++cells[i], ++tested, by_chance += chance;
        if (items[i] == '1') ++hits[i], ++right;
      }
    }
    double mean() const { return right / tested; }
    double expected() const { return by_chance / tested; }
    // Half of the 95% interval of the mean, by the spread of items; nothing where some run has no record.
    std::optional<double> half() const {
      const auto n = std::count_if(cells.begin(), cells.end(), [](double c) { return c > 0; });
      return all && n > 1 ? std::optional(t_quantile(n - 1) * ratio_stderr(hits, cells)) : std::nullopt;
    }
  };

  // Shuffled completions must leave every task at chance; English alone, trained once more, must give the bits of y(0).
  io::Json controls() const {
    io::Json list = io::Json::array({});
    for (const std::string& task : c_.tasks) {
      std::map<std::string, Pool> shuffled;
      std::map<std::string, ByItem> items;
      std::int64_t same = 0, compared = 0;
      for (const Entry& e : control_entries_) {
        if (e.place.task != task) continue;
        if (e.place.control == Control::shuffled) {
          shuffled[e.score].add(e);
          items[e.score].add(e.by_item, e.chance.value_or(0));
        } else if (e.score == c_.primary_of(task)) {
          const auto zero = values(task, e.place.setting, *e.place.size, 0, main_group(), 1, {e.language}, false);
          ++compared;
          same += zero[0] && *zero[0] == e.value;
        }
      }
      for (const auto& [score, pool] : shuffled) {
        const ByItem& of = items[score];
        const std::optional<double> half = of.half();
        const double value = half ? of.mean() : pool.mean(), expected = half ? of.expected() : pool.by_chance();
        const Bounds b = half ? Bounds{std::max(0.0, value - *half), std::min(1.0, value + *half)} : pool.bounds();
        list.push_back(io::Json::object({{"control", "shuffled completions"}, {"task", task}, {"score", score}, {"value", value}, {"low", b.low}, {"high", b.high}, {"n", pool.items()}, {"expected", expected},
                                         {"by_item", half.has_value()}, {"passes", half ? !(value - expected > *half) : !pool.above_chance()}}));
      }
      if (compared > 0)
        list.push_back(io::Json::object({{"control", "English alone, once more"}, {"task", task}, {"score", c_.primary_of(task)}, {"value", static_cast<double>(same) / static_cast<double>(compared)}, {"low", nullptr}, {"high", nullptr}, {"n", compared},
                                         {"expected", 1.0}, {"by_item", false}, {"passes", same == compared}}));
    }
    return list;
  }

  const TransferConfig& c_;
  Plan plan_{c_};
  std::string out_, runs_;
  io::Json rows_ = io::Json::array({}), further_ = io::Json::array({}), samples_ = io::Json::array({});
  std::vector<clt::Score> scores_;
  std::vector<Entry> entries_, control_entries_;
  io::Hasher hash_;
};

}  // namespace bam::study::transfer
