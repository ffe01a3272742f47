// The report of a transfer study: one HTML page that needs no network, from the results alone. Each list may be absent or empty: its section then
// says so. Every text is escaped.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../clt/measures.hpp"
#include "../eval/interval.hpp"
#include "report_frame.hpp"
#include "transfer_page.hpp"

namespace bam::study::transfer {

namespace detail {

using namespace report;

class Page {
 public:
  Page(const Json& results, const Json& ledger, bool draws) : r_(results), ledger_(ledger), draws_(draws) {
    for (const char* key : {"tasks", "settings"})
      for (const Json& x : list(r_, key))
        if (x.is_string()) (key[0] == 't' ? tasks_ : settings_).emplace_back(x.as_string(key));
    for (const Json& k : list(r_, "k"))
      if (k.is_integer()) ks_.push_back(k.as_int("k"));
    for (const Json& s : list(r_, "sizes")) sizes_.push_back(text(s, "name"));
    for (const Json& l : list(r_, "languages")) languages_.push_back(&l);
  }

  std::string html(std::string_view chart_js) {
    const std::string main = head() + directions() + curves() + measures() + interference() + languages() + variance() + controls() + groups() + samples() + ledger();
    return page("Study " + name(), main, charts_, transfer_charts, chart_js, transfer_style);
  }

 private:
  const Json& r_;
  const Json& ledger_;
  bool draws_;
  std::vector<std::string> tasks_, settings_, sizes_;
  std::vector<std::int64_t> ks_;
  std::vector<const Json*> languages_;
  Json charts_ = Json::object();

  bool files() const { return text(r_, "corpus") == "files"; }
  std::string name() const { return str(text(r_, "study"), text(r_, "preset").empty() ? "" : ", preset ", text(r_, "preset")); }
  std::string primary(const std::string& task) const {
    const Json* p = r_.find("primary");
    return p ? text(*p, task) : "";
  }
  static std::string bounds(const Json& j, int digits = 3, const std::string& of = "", bool sign = true) {
    const double low = number(j, of + "low"), high = number(j, of + "high");
    if (!std::isfinite(low) || !std::isfinite(high)) return "<span class=none>no interval</span>";
    return str("[", fixed(low, digits, sign), ", ", fixed(high, digits, sign), "]");
  }
  // Scores of one cell over replicates, whose items are the same. The interval is over the items, as of the curves.
  struct Scored {
    clt::Pooled all;
    double half = 0, told = 0, n = 0;
    bool share = false;
    void add(const Json& r) {
      const double chance = number(r, "chance"), items = number(r, "n");
      all.add(number(r, "value"), std::isfinite(items) ? std::llround(items) : 0, std::isfinite(chance) ? std::optional(chance) : std::nullopt, std::nullopt);
      half += (number(r, "high") - number(r, "low")) / 2;
      told += flag(r, "above_chance");
      ++n;
      share = text(r, "score") == "exact" || text(r, "score") == "rank";
    }
    double mean() const { return all.mean(); }
    Bounds bounds() const { return share && all.items() >= 1 ? wilson_of_share(std::clamp(mean(), 0.0, 1.0), static_cast<double>(all.items())) : Bounds{mean() - half / n, mean() + half / n}; }
    bool above_chance() const { return share ? all.above_chance() : 2 * told > n; }
    std::string small() const {
      const Bounds b = bounds();
      return str(std::isfinite(b.low) ? str("<small>[", fixed(b.low, 2), ", ", fixed(b.high, 2), "]</small>") : "<small>no interval</small>", "<small>n ", si(static_cast<double>(all.items())), "</small>");
    }
  };
  static std::string finding(const std::string& f) {
    return f == "shown" ? mark(true, "shown") : f == "not shown" ? mark(false, "not shown") : str("<span class=open>", f == "undecided" ? "? " : "\xe2\x80\x93 ", esc(f), "</span>");
  }

  std::string head() const {
    std::string s = str("<header><h1>Cross-lingual transfer: the study ", esc(name()), "</h1>\n", lead_text, files() ? lead_files_text : lead_generated_text);
    if (const std::string note = text(r_, "note"); !note.empty()) s += str("<p class=note><b>Note.</b> ", esc(note), ".</p>\n");
    std::map<std::string, int> count;
    for (const Json& d : list(r_, "directions")) ++count[text(d, "finding")];
    auto tile = [](std::string_view what, std::string_view value, std::string_view more) { return str("<div><span>", what, "</span><b>", value, "</b><small>", more, "</small></div>"); };
    s += "<div class=tiles>" + tile("Directions", str(count["shown"], " shown"), str(count["not shown"], " not shown, ", count["undecided"], " undecided, ", count["not testable here"], " not testable here"));
    int passed = 0, controls = 0;
    for (const Json& c : list(r_, "controls")) ++controls, passed += flag(c, "passes");
    s += tile("Controls", controls ? str(passed, " of ", controls, " pass") : "none", "shuffled completions at chance; English alone at y(0)");
    double seconds = 0;
    for (const Json& l : ledger_.items("ledger")) seconds += number(l, "seconds");
    s += tile("Trainings", str(ledger_.size()), str(fixed(seconds / 60, 1), " minutes of training")) + "</div>\n<dl>";
    auto line = [&](std::string_view key, std::string_view value) { s += str("<dt>", key, "</dt><dd>", value.empty() ? "not given" : value, "</dd>"); };
    std::string models, split[3];
    for (const Json& z : list(r_, "sizes")) {
      models += str(models.empty() ? "" : "; ", esc(text(z, "name")), ": ", si(number(z, "parameters")), " parameters, ", si(number(z, "non_embedding")), number(z, "active_parameters") < number(z, "parameters") ? " active" : "", " without embeddings");
      if (text(z, "base") != "dense") models += ", " + esc(text(z, "base"));
      if (text(z, "family") == "llama") models += ", Llama's block";
    }
    for (const Json* l : languages_) {
      std::string& to = split[text(*l, "split") == "english" ? 0 : text(*l, "split") == "seen" ? 1 : 2];
      to += str(to.empty() ? "" : ", ", esc(text(*l, "code")), " (", esc(text(*l, "script")), text(*l, "family").empty() ? "" : ", family " + esc(text(*l, "family")), ")");
    }
    std::string scores;
    for (const std::string& t : tasks_) scores += str(scores.empty() ? "" : ", ", esc(t), ": ", esc(primary(t)));
    line("Models", models);
    line("Pivot", str(split[0], "; ", fixed(number(r_, "pivot_share") * 100, 0), "% of the tokens of pre-training, ", esc(text(r_, "english")), files() ? " examples of each task, or all that there are" : " examples of each task"));
    line("Seen", split[1]);
    line("Unseen", split[2]);
    line("Primary scores", str(scores, "; ", esc(text(r_, "items")), files() ? " test items of each task and language, or all that there are" : " test items of each task and language"));
    line("Replicates", esc(text(r_, "replicates")));
    line("Seed of all randomness", esc(text(r_, "seed")));
    line("Hash of the results", str("<code>", esc(text(r_, "hash")), "</code>"));
    line("Command", str("<code>", esc(text(r_, "command")), "</code>"));
    return s + "</dl>\n" + nav_text + "</header>\n";
  }

  std::string directions() const {
    std::string rows;
    for (const Json& d : list(r_, "directions"))
      rows += row(esc(text(d, "claim")), td(finding(text(d, "finding")), "class=words"), td(si(number(d, "n"))), td(fixed(number(d, "mean"), 3, true)), td(bounds(d)), td(esc(text(d, "note")), "class='words long'"));
    return section("directions", "1. What the study finds",
                   str(directions_text, rows.empty() ? missing("no direction.") : body("Directions", heads({"claim", "verdict", "n", "value", "95% interval", "what the value is"}), rows, "claims"),
                       std::any_of(tasks_.begin(), tasks_.end(), [&](const std::string& t) { return primary(t) == "likelihood"; }) ? likelihood_text : "", scores_text, files() ? scores_files_text : ""));
  }

  std::string curves() {
    std::string s = curves_text, rows;
    Json panels = Json::array({});
    std::map<std::tuple<std::string, std::string, std::string, std::string>, std::map<std::int64_t, const Json*>> found;
    std::map<std::string, double> top;
    for (const Json& c : list(r_, "curves")) {
      const double k = number(c, "k");
      if (!std::isfinite(k)) continue;
      const bool is_primary = text(c, "score") == primary(text(c, "task"));
      if (is_primary) found[{text(c, "task"), text(c, "setting"), text(c, "size"), text(c, "split")}][static_cast<std::int64_t>(k)] = &c;
      if (is_primary) top[text(c, "task")] = std::max({top[text(c, "task")], number(c, "high"), number(c, "chance")});
      rows += row(esc(text(c, "task")), words(text(c, "score")), words(text(c, "setting")), words(text(c, "size")), words(text(c, "split")), td(si(k)), td(fixed(number(c, "mean"), 3)),
                  td(str("[", fixed(number(c, "low"), 3), ", ", fixed(number(c, "high"), 3), "]")), td(si(number(c, "n"))), td(fixed(number(c, "chance"), 3)), td(flag(c, "above_chance") ? "" : "?"), td(str(esc(text(c, "told")), " of ", esc(text(c, "cells")))));
    }
    for (const std::string& task : tasks_) {
      std::string charts;
      for (const std::string& setting : settings_) {
        Json series = Json::array({});
        std::map<double, std::set<std::string>> chances;  // of which splits
        for (std::size_t z = 0; z < sizes_.size(); ++z)
          for (const char* split : {"seen", "unseen", "english"}) {
            auto at = found.find({task, setting, sizes_[z], split});
            if (at == found.end()) continue;
            const bool english = std::string_view(split) == "english";
            Json points = Json::array({});
            for (std::int64_t k : ks_) {
              auto p = at->second.find(k);
              if (p == at->second.end()) {
                points.push_back(nullptr);
                continue;
              }
              const Json& c = *p->second;
              if (const double chance = number(c, "chance"); std::isfinite(chance) && primary(task) != "likelihood") chances[std::round(chance * 1e4) / 1e4].insert(english ? "pivot" : split);
              points.push_back(Json::object({{"y", finite(number(c, "mean"))}, {"low", finite(number(c, "low"))}, {"high", finite(number(c, "high"))}, {"n", finite(number(c, "n"))}, {"told", flag(c, "above_chance")}}));
            }
            series.push_back(Json::object({{"label", str(sizes_[z], ", ", english ? "pivot" : split)}, {"color", static_cast<std::int64_t>(z % 7)}, {"band", !english},
                                           {"dash", english ? Json::array({2, 3}) : std::string_view(split) == "unseen" ? Json::array({7, 4}) : Json::array({})}, {"hidden", false}, {"points", std::move(points)}}));
          }
        if (series.empty()) continue;
        Json levels = Json::array({});
        for (const auto& [level, of] : chances) {
          std::string label = "chance";
          for (const std::string& split : of)
            if (chances.size() > 1) label += str(label.size() > 6 ? ", " : " of ", split);
          levels.push_back(Json::object({{"y", level}, {"label", label}}));
        }
        const std::string id = str("curve", panels.size());
        charts += figure(str(task, ", ", setting), id, str(task, ", ", setting), "flat", draws_);
        panels.push_back(Json::object({{"id", id}, {"score", str(primary(task), primary(task) == "rank" ? ": the right answer is first" : primary(task) == "exact" ? ": share of right answers" : " of the right answer")}, {"k", Json::array_of(ks_)}, {"chance", std::move(levels)},
                                       {"top", std::min(1.0, std::ceil(top[task] * 10 + 0.2) / 10)}, {"series", std::move(series)}}));
      }
      if (!charts.empty()) s += str("<h3>", esc(task), "</h3>\n<div class=grid>", charts, "</div>\n");
    }
    charts_.set("curves", std::move(panels));
    if (rows.empty()) return section("curves", "2. Curves over k", s + missing("no score."));
    auto header = heads({"task", "score", "setting", "size", "split", "k", "mean", "95% interval", "n", "chance", "", "cells told from chance"});
    return section("curves", "2. Curves over k", s + fold("Curves of all scores, as a table", body("Curves", header, rows, "ledger")));
  }

  std::string measures() const {
    std::vector<std::string> order;
    std::map<std::string, std::map<std::string, const Json*>> found;  // measure; task, setting, size
    std::set<std::string> known_sizes;
    bool any = false;
    for (const Json& m : list(r_, "measures")) {
      const std::string measure = text(m, "measure");
      if (!found.contains(measure)) order.push_back(measure);
      found[measure][str(text(m, "task"), "\n", text(m, "setting"), "\n", text(m, "size"))] = &m;
      if (std::isfinite(number(m, "mean"))) known_sizes.insert(text(m, "size"));
      any = true;
    }
    if (!any) return section("measures", "3. Gain, gap, tracking, plateau, oscillation", str(measures_text, missing("no measure.")));
    std::string s = measures_text;
    std::vector<std::string> sizes;  // those that have a measure
    for (const std::string& size : sizes_)
      if (known_sizes.contains(size)) sizes.push_back(size);
    for (const std::string& task : tasks_) {
      std::string groups = th("measure", "scope=col rowspan=2"), header, rows;
      for (const std::string& size : sizes) {
        groups += th(esc(size), str("scope=colgroup class=edge colspan=", settings_.size()));
        for (std::size_t i = 0; i < settings_.size(); ++i) header += th(esc(settings_[i]), i ? "scope=col" : "scope=col class=edge");
      }
      for (const std::string& measure : order) {
        std::string cells;
        bool known = false;
        for (const std::string& size : sizes)
          for (std::size_t i = 0; i < settings_.size(); ++i) {
            auto at = found[measure].find(str(task, "\n", settings_[i], "\n", size));
            const double mean = at == found[measure].end() ? nan : number(*at->second, "mean");
            const bool whole = measure.starts_with("data");
            known = known || std::isfinite(mean);
            cells += std::isfinite(mean) ? td(str(fixed(mean, whole ? 0 : 3, !whole), "<small>", number(*at->second, "n") > 1 ? bounds(*at->second, whole ? 0 : 2, "", !whole) : "", " n ", si(number(*at->second, "n")), "</small>"), i ? "" : "class=edge")
                                         : td("\xe2\x80\x93", i ? "class=empty" : "class='empty edge'");
          }
        if (known) rows += row(esc(measure), cells);
      }
      s += str("<h3>", esc(task), ", ", esc(primary(task)), "</h3>\n");
      if (rows.empty()) s += missing("no cells of this task can be told from chance.");
      else s += str(table("Measures of " + task, str("<thead><tr>", groups, "</tr><tr>", header, "</tr></thead><tbody>", rows, "</tbody>"), "matrix"));
    }
    return section("measures", "3. Gain, gap, tracking, plateau, oscillation", s);
  }

  std::string interference() {
    std::string s = interference_text, rows;
    Json panels = Json::array({});
    std::map<std::pair<std::string, std::string>, std::vector<const Json*>> by_panel;
    for (const Json& i : list(r_, "interference")) {
      if (!std::isfinite(number(i, "mean"))) continue;
      by_panel[{text(i, "task"), text(i, "at")}].push_back(&i);
      rows += row(esc(text(i, "task")), words(text(i, "at")), words(text(i, "size")), td(esc(text(i, "k"))), words(text(i, "split")), td(si(number(i, "n"))), td(fixed(number(i, "mean"), 3, true)), td(bounds(i)));
    }
    std::string charts;
    for (const auto& [key, points] : by_panel) {
      Json json = Json::array({});
      double scale = 0.05;
      for (const Json* p : points) {
        const bool has = number(*p, "n") > 1 && std::isfinite(number(*p, "low"));
        scale = std::max(scale, std::abs(number(*p, "mean")));
        json.push_back(Json::object({{"label", str(text(*p, "size"), ", k ", text(*p, "k"), ", ", text(*p, "split") == "english" ? "pivot" : text(*p, "split"))}, {"mean", number(*p, "mean")}, {"low", has ? finite(number(*p, "low")) : Json()},
                                     {"high", has ? finite(number(*p, "high")) : Json()}, {"n", finite(number(*p, "n"))}}));
      }
      const std::string id = str("interference", panels.size());
      charts += figure(str(key.first, ", ", key.second), id, str(key.first, ", ", key.second), "", draws_);
      panels.push_back(Json::object({{"id", id}, {"scale", std::ceil(scale * 12) / 10}, {"points", std::move(json)}}));
    }
    charts_.set("interference", std::move(panels));
    if (std::find(settings_.begin(), settings_.end(), "multi-equal-total") == settings_.end()) s += "<p class=small>Equal total data was not run in this study: add \"multi-equal-total\" to its settings.</p>\n";
    if (rows.empty()) return section("interference", "4. Interference", s + missing("no task has scores of both settings that can be told from chance."));
    return section("interference", "4. Interference",
                   str(s, "<div class=grid>", charts, "</div>\n", fold("The differences as a table", body("Interference", heads({"task", "at", "size", "k", "split", "n", "mean", "95% interval"}), rows, "ledger"))));
  }

  std::string languages() const {
    std::string s = languages_text;
    std::map<std::tuple<std::string, std::string, std::string, std::string>, std::map<std::string, Scored>> found;  // task, size, setting, k; language
    const std::string main = text(r_, "main_languages");
    for (const Json& r : list(r_, "runs")) {
      if (!flag(r, "primary") || !text(r, "control").empty() || text(r, "languages") != main) continue;
      found[{text(r, "task"), text(r, "size"), text(r, "setting"), text(r, "k")}][text(r, "language")].add(r);
    }
    for (const std::string& task : tasks_) {
      std::string header = th("model", "scope=col"), rows;
      for (const Json* l : languages_) header += th(str(esc(text(*l, "code")), "<br><small>", text(*l, "split") == "english" ? "pivot" : esc(text(*l, "split")), "</small>"), "scope=col");
      double best = 0, least = 1;
      for (const auto& [key, by_language] : found)
        if (std::get<0>(key) == task)
          for (const auto& [l, sum] : by_language) best = std::max(best, sum.mean()), least = std::min(least, sum.mean());
      for (const std::string& size : sizes_)
        for (const std::string& setting : settings_)
          for (std::int64_t k : ks_) {
            auto at = found.find({task, size, setting, str(k)});
            if (at == found.end()) continue;
            std::string cells;
            for (const Json* l : languages_) {
              auto sum = at->second.find(text(*l, "code"));
              if (sum == at->second.end()) {
                cells += td("\xe2\x80\x93", "class=empty");
                continue;
              }
              const double mean = sum->second.mean();
              cells += td(str(fixed(mean, 2), sum->second.above_chance() ? "" : " ?", sum->second.small()), heat(best > least ? 0.75 * (mean - least) / (best - least) : 0));
            }
            rows += row(str(esc(size), ", ", esc(setting), ", k ", k), cells);
          }
      if (!rows.empty()) s += str("<h3>", esc(task), ", ", esc(primary(task)), "</h3>\n", body("Scores of " + task + " by language", str("<thead><tr>", header, "</tr></thead>"), rows, "load"));
    }
    if (found.empty()) s += missing("no score.");
    s += examples() + further_tests() + "<h3>Source to target</h3>\n" + std::string(matrix_text);
    std::map<std::pair<std::string, std::string>, std::map<std::pair<std::string, std::string>, const Json*>> matrices;
    std::vector<std::string> sources, targets;
    auto once = [](std::vector<std::string>& to, std::string x) {
      if (std::find(to.begin(), to.end(), x) == to.end()) to.push_back(std::move(x));
    };
    for (const Json& m : list(r_, "matrix")) {
      once(sources, text(m, "source"));
      once(targets, text(m, "target"));
      if (std::isfinite(number(m, "gained_mean"))) matrices[{text(m, "task"), text(m, "size")}][{text(m, "source"), text(m, "target")}] = &m;
    }
    if (matrices.empty() && !sources.empty()) return section("languages", "5. Languages", s + missing("no run of the matrix is finished, or its scores cannot be told from chance."));
    if (matrices.empty()) return section("languages", "5. Languages", s + missing("the matrix was not run in this study (study.matrix = true): it needs a run for each seen language alone, of each task, size and replicate."));
    for (const auto& [key, cells_of] : matrices) {
      std::string header = th("trained on", "scope=col"), rows;
      for (const std::string& b : targets) header += th(esc(b), "scope=col");
      for (const std::string& a : sources) {
        std::string cells;
        for (const std::string& b : targets) {
          auto at = cells_of.find({a, b});
          if (at == cells_of.end()) {
            cells += td("\xe2\x80\x93", "class=empty");
            continue;
          }
          const double share = number(*at->second, "transfer_mean"), gained = number(*at->second, "gained_mean");
          auto about = [&](const std::string& of) { return str(number(*at->second, of + "low") <= number(*at->second, of + "high") ? bounds(*at->second, 2, of) : "", " n ", si(number(*at->second, of + "n"))); };
          cells += td(str(fixed(share, 2), std::isfinite(share) ? str("<small>", about("transfer_"), "</small>") : "", "<small>", fixed(gained, 2, true), "</small><small>", about("gained_"), "</small>"),
                      heat(0.5 * std::max(0.0, std::isfinite(share) ? share : gained)));
        }
        rows += row(esc(a), cells);
      }
      s += fold(str(esc(key.first), ", ", esc(key.second)), body("Source to target, " + key.first, str("<thead><tr>", header, "</tr></thead>"), rows, "load"), true);
    }
    return section("languages", "5. Languages", s);
  }

  // What files hold of each task in each language.
  std::string examples() const {
    if (list(r_, "data").size() == 0) return "";
    std::map<std::pair<std::string, std::string>, const Json*> found;
    for (const Json& d : list(r_, "data")) found[{text(d, "task"), text(d, "language")}] = &d;
    std::string header = th("task", "scope=col"), rows;
    for (const Json* l : languages_) header += th(str(esc(text(*l, "code")), "<br><small>", text(*l, "split") == "english" ? "pivot" : esc(text(*l, "split")), "</small>"), "scope=col");
    for (const std::string& task : tasks_) {
      std::string cells;
      for (const Json* l : languages_) {
        auto at = found.find({task, text(*l, "code")});
        cells += at == found.end() ? td("\xe2\x80\x93", "class=empty") : td(str(si(number(*at->second, "train")), "<small>", si(number(*at->second, "test")), "</small>"));
      }
      rows += row(esc(task), cells);
    }
    return str("<h3>Examples</h3>\n", examples_text, body("Examples by task and language", str("<thead><tr>", header, "</tr></thead>"), rows, "load"));
  }

  // Tests beside those of the tasks: one table of each score, means over replicates, chance below.
  std::string further_tests() const {
    std::vector<std::pair<std::string, std::string>> order;
    std::map<std::pair<std::string, std::string>, std::vector<std::string>> models;  // in their order
    std::map<std::pair<std::string, std::string>, std::map<std::string, std::map<std::string, Scored>>> found;
    for (const Json& t : list(r_, "tests")) {
      const std::string score = text(t, "score");
      if (score == "nll" || score == "likelihood") continue;  // in tests.csv
      const std::pair key{text(t, "test"), score};
      const std::string model = str(text(t, "task"), ", ", text(t, "size"), ", ", text(t, "setting"), ", k ", text(t, "k"));
      if (!found.contains(key)) order.push_back(key);
      auto& by_model = found[key];
      if (!by_model.contains(model)) models[key].push_back(model);
      by_model[model][text(t, "language")].add(t);
    }
    if (order.empty()) return "";
    std::string s = str("<h3>Further tests</h3>\n", further_tests_text);
    for (const auto& key : order) {
      std::string header = th("fine-tuned on", "scope=col"), rows;
      std::vector<const Json*> columns;
      for (const Json* l : languages_)
        if (std::any_of(models[key].begin(), models[key].end(), [&](const std::string& m) { return found[key][m].contains(text(*l, "code")); })) columns.push_back(l);
      for (const Json* l : columns) header += th(str(esc(text(*l, "code")), "<br><small>", text(*l, "split") == "english" ? "pivot" : esc(text(*l, "split")), "</small>"), "scope=col");
      for (const std::string& model : models[key]) {
        std::string cells;
        for (const Json* l : columns) {
          auto sum = found[key][model].find(text(*l, "code"));
          if (sum == found[key][model].end()) {
            cells += td("\xe2\x80\x93", "class=empty");
            continue;
          }
          const Scored& x = sum->second;
          const bool bare = key.second == "nll per byte";  // which has no chance
          cells += td(str(fixed(x.mean(), 3), bare || x.above_chance() ? "" : " ?", bare ? "" : str("<small>", fixed(x.all.by_chance(), 3), "</small>"), x.small()));
        }
        rows += row(esc(model), cells);
      }
      s += fold(str(esc(key.first), ", ", esc(key.second)), body(str("Scores of ", key.first, ", ", key.second), str("<thead><tr>", header, "</tr></thead>"), rows, "load"), key.second != "exact");
    }
    return s;
  }

  std::string variance() const {
    std::string s = variance_text;
    for (const auto& [design, split, of, title] : {std::tuple{"amounts", "unseen", "change", "Transfer: changes since k = 0 in unseen languages"}, {"groups", "unseen", "change", "Language groups: changes since k = 0 in unseen languages, single-task, largest k"},
                                                   {"amounts", "seen", "change", "Changes since k = 0 in seen languages"}, {"amounts", "unseen", "score", "Scores in unseen languages"}, {"amounts", "seen", "score", "Scores in seen languages"},
                                                   {"groups", "unseen", "score", "Language groups: scores in unseen languages, single-task, largest k"}}) {
      std::string rows, about;
      for (const Json& v : list(r_, "variance")) {
        if (text(v, "design") != design || text(v, "split") != split || text(v, "of") != of) continue;
        const double share = number(v, "share"), low = number(v, "low"), high = number(v, "high");
        about = str(esc(text(v, "cells")), " cells (levels: ", esc(text(v, "grid")), ") of ", esc(text(v, "languages")), " languages and ", esc(text(v, "replicates")), " replicates, ", esc(text(v, "left_out")), " scores outside the complete grid left out; ", fixed(number(v, "noise") * 100, 0), "% of the variance of their means is the replicates' own spread.");
        if (!(share > 0.0005)) continue;
        auto percent = [](double x) { return str(std::round(std::clamp(x, 0.0, 1.0) * 1000) / 10); };
        rows += row(esc(text(v, "effect")), td(fixed(share * 100, 1)), td(std::isfinite(low) ? str("[", fixed(low * 100, 1), ", ", fixed(high * 100, 1), "]") : std::string("<span class=none>no interval</span>")),
                    td(str("<div class=bar><i style='width:", percent(share), "%'></i>", std::isfinite(low) ? str("<u style='left:", percent(low), "%;width:", percent(high - low), "%'></u>") : "", "</div>")));
      }
      if (!rows.empty()) s += str("<h3>", title, "</h3>\n<p class=small>", about, "</p>\n", body(str("Shares of variance: ", title), heads({"effect", "share, %", "95% interval", ""}), rows));
    }
    return section("variance", "6. What explains transfer", list(r_, "variance").size() == 0 ? s + missing("no complete grid of scores that can be told from chance.") : s);
  }

  std::string controls() const {
    std::string rows;
    for (const Json& c : list(r_, "controls")) {
      const bool share = text(c, "control") == "shuffled completions";
      rows += row(esc(text(c, "control")), words(text(c, "task")), words(text(c, "score")), td(share ? fixed(number(c, "value"), 3) : str(fixed(number(c, "value") * 100, 0), "% equal")), td(share ? str("[", fixed(number(c, "low"), 3), ", ", fixed(number(c, "high"), 3), "]") : ""),
                  td(share ? fixed(number(c, "expected"), 3) : "100%"), td(str(si(number(c, "n")), flag(c, "by_item") ? " *" : "")), td(mark(flag(c, "passes"), flag(c, "passes") ? "passes" : "fails"), "class=words"));
    }
    return section("controls", "7. Controls", str(controls_text, rows.empty() ? missing("no control was run.") : body("Controls", heads({"control", "task", "score", "value", "95% interval", "expected", "n", "check"}), rows)));
  }

  std::string groups() const {
    std::string s = "<h3>Scripts</h3>\n" + std::string(groups_text), rows, bases;
    for (const Json& g : list(r_, "groups"))
      rows += row(esc(text(g, "task")), words(text(g, "size")), words(text(g, "trained_on")), words(text(g, "tested_on")), td(si(number(g, "n"))), td(fixed(number(g, "mean"), 3)), td(bounds(g)), td(esc(text(g, "languages")), "class='words long'"));
    s += rows.empty() ? missing("groups of languages were not run in this study (study.groups = true).") : body("Groups of training languages", heads({"task", "size", "trained on", "tested on", "n", "mean", "95% interval", "over languages (replicates)"}), rows, "ledger");
    for (const Json& b : list(r_, "bases"))
      bases += row(str(esc(text(b, "mixture")), " less ", esc(text(b, "dense"))), td(flag(b, "same_shape") ? "yes" : "no"), td(fixed(number(b, "active_ratio"), 2)), words(text(b, "task")), words(text(b, "setting")), words(text(b, "what")), td(si(number(b, "n"))), td(fixed(number(b, "mean"), 3, true)), td(bounds(b)), td(esc(text(b, "languages")), "class='words long'"));
    s += "<h3>Mixtures and dense bases</h3>\n" + std::string(bases_text);
    s += bases.empty() ? missing("no dense base has the shape, or about as many active parameters, of a mixture in this study.") : body("Bases", heads({"bases", "same shape", "active, dense / mixture", "task", "setting", "of", "n", "mean", "95% interval", "over languages (replicates)"}), bases, "ledger");
    return section("groups", "8. Language groups and bases", s);
  }

  std::string samples() const {
    std::vector<std::string> order;
    std::map<std::string, std::vector<std::string>> items;  // "task, language": items in order
    std::map<std::string, std::map<std::string, std::vector<const Json*>>> found;
    for (const Json& c : list(r_, "samples")) {
      const std::string of = text(c, "task") + ", " + text(c, "language"), item = text(c, "item");
      if (!found.contains(of)) order.push_back(of);
      if (!found[of].contains(item)) items[of].push_back(item);
      found[of][item].push_back(&c);
    }
    if (order.empty()) return section("samples", "9. What the models wrote", str(samples_text, missing("no answer.")));
    std::sort(order.begin(), order.end());
    std::string s = str(samples_text, "<p><label>Task and language <select id=choose>"), articles;
    std::size_t left = 1'500'000;  // the page stays small
    for (const std::string& of : order) {
      std::string inner;
      for (const std::string& item : items[of]) {
        const auto& list_of = found[of][item];
        inner += str("<div class=cards><div class=prompt><h4>Prompt</h4><pre>", cut(text(*list_of[0], "prompt"), 1500), "</pre></div>\n<div class=prompt><h4>Right answer</h4><pre>", cut(text(*list_of[0], "answer"), 800), "</pre></div></div>\n");
        std::string rows;
        for (const Json* c : list_of)
          rows += row(str(esc(text(*c, "size")), ", ", esc(text(*c, "setting")), ", k ", esc(text(*c, "k"))), td(mark(flag(*c, "right"), flag(*c, "right") ? "right" : "wrong"), "class=words"), td(cut(text(*c, "text"), 400), "class='words long'"));
        inner += body("Answers", heads({"model", "check", "answer"}), rows, "claims");
      }
      if (inner.size() > left) {
        articles += "<p class=small>Further answers are in the results only.</p>\n";
        break;
      }
      left -= inner.size();
      s += str("<option>", esc(of), "</option>");
      articles += str("<article data-of=\"", esc(of), "\"><h3>", esc(of), "</h3>", inner, "</article>\n");
    }
    return section("samples", "9. What the models wrote", s + "</select></label></p>\n" + articles + choose_script);
  }

  std::string ledger() const {
    std::string rows;
    double seconds = 0;
    constexpr std::size_t limit = 1000;  // the page stays small
    std::size_t n = 0;
    for (const Json& l : ledger_.items("ledger")) {
      seconds += number(l, "seconds");
      if (++n > limit) continue;
      rows += row(str("<code>", esc(text(l, "run")), "</code>"), td(str(number(l, "lr"))), td(si(number(l, "tokens"))), td(si(number(l, "flops"))), td(fixed(number(l, "seconds"), 1)), td(fixed(number(l, "share_of_peak") * 100, 0)),
                  td(str("<code>", esc(text(l, "hash")), "</code>"), "class=words"));
    }
    std::string s = ledger_text;
    if (rows.empty()) return section("ledger", "10. Ledger", s + missing("no training."));
    s += str("<p>", n, " trainings, ", fixed(seconds / 3600, 2), " hours.</p>\n", fold("All trainings", body("Trainings", heads({"run", "learning rate", "tokens", "FLOPs", "seconds", "% of peak", "hash"}), rows, "ledger")));
    if (n > limit) s += str("<p class=small>", n - limit, " further rows are in ledger.csv only.</p>\n");
    return section("ledger", "10. Ledger", s);
  }
};

}  // namespace detail

// One page. ledger: Results::ledger; chart_js as report::page() takes it.
inline std::string transfer_report(const io::Json& results, const io::Json& ledger, std::string_view chart_js) {
  return detail::Page(results, ledger, !chart_js.empty()).html(chart_js);
}

}  // namespace bam::study::transfer
