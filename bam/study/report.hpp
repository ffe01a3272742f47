// The report of a study: one HTML page that needs no network, from the results alone.
//
// Keys that it reads: study, preset, corpus, seed, note, hash, command, domains, sizes, floor, runs, differences,
// verdicts, loads, curves, identity, completions, choice, sweep, baselines. Each may be absent or empty: its section then says so. Every text is escaped
// (completions come from a model), numbers that are no numbers become a dash.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "../eval/interval.hpp"
#include "report_runs.hpp"

namespace bam::study {

namespace report {

class Page {
 public:
  Page(const Json& results, const Json& ledger, bool draws) : r_(results), runs_{results, ledger}, draws_(draws) {}

  std::string html(std::string_view chart_js) {
    std::string main = head() + runs_.matrix() + runs_.arms() + differences() + verdicts() + loads() + curves() + identity() + completions() + choice() + runs_.trainings() + runs_.ledger();
    return page("Study " + name(), main, charts_, study_charts, chart_js);
  }

 private:
  const Json& r_;
  Runs runs_;
  bool draws_;
  Json charts_ = Json::object();

  std::string name() const { return str(text(r_, "study"), text(r_, "preset").empty() ? "" : ", preset ", text(r_, "preset")); }
  bool many() const { return runs_.sizes.size() > 1; }
  std::string sized(const Json& j) const { return runs_.label(text(j, "arm")) + (many() ? " " + text(j, "size") : ""); }
  std::string figure(std::string_view title, std::string_view id, std::string_view what, std::string_view kind) const { return report::figure(title, id, what, kind, draws_); }

  std::string head() const {
    std::string s = str("<header><h1>Branch, attend, mix: the study ", esc(name()), "</h1>\n", lead_text);
    if (std::string note = text(r_, "note"); !note.empty()) s += str("<p class=note><b>Note.</b> ", esc(note), "</p>\n");
    s += str("<div class=tiles>", tiles(), "</div>\n<dl>");
    auto line = [&](std::string_view key, std::string_view value) { s += str("<dt>", key, "</dt><dd>", value.empty() ? "not given" : value, "</dd>"); };
    line("Corpus", esc(text(r_, "corpus")));
    line("Seed of all randomness", esc(text(r_, "seed")));
    std::string models;
    for (const Json& z : list(r_, "sizes"))
      models += str(models.empty() ? "" : "; ", esc(text(z, "name")), ": ", si(number(z, "parameters")), " parameters, ", si(number(z, "non_embedding")),
                    " without embeddings");
    line("Dense model", models);
    line("Hash of the results", str("<code>", esc(text(r_, "hash")), "</code>"));
    line("Command", str("<code>", esc(text(r_, "command")), "</code>"));
    if (text(r_, "preset") == "demo") line("The long studies", long_studies_text);
    return s + "</dl>\n" + nav_text + "</header>\n";
  }

  std::string tiles() const {
    auto tile = [](std::string_view what, std::string_view value, std::string_view more) {
      return str("<div><span>", what, "</span><b>", value, "</b><small>", more, "</small></div>");
    };
    std::string s;
    for (const Json& d : list(r_, "differences"))
      if (text(d, "domain") == "mean" && text(d, "match") != "compute" && arm_index(text(d, "arm")) == 0)
        s += tile(str("BAM minus BTX, mean of domains", many() ? ", " : "", many() ? esc(text(d, "size")) : ""), fixed(number(d, "mean"), 4, true),
                  str("nats per byte; ", interval(d), "; n = ", si(number(d, "n"))));
    std::map<std::string, int> count;
    for (const Json& v : list(r_, "verdicts")) ++count[number(v, "n") < 1 ? "not run" : text(v, "verdict")];
    if (!count.empty()) s += tile("Claims", str(count["shown"], " shown"), str(count["refuted"], " refuted, ", count["undecided"], " undecided", count["not run"] ? str(", ", count["not run"], " not run") : ""));
    double flops = 0, possible = 0;
    for (const Json& l : runs_.trainings_done.items("ledger"))
      if (double f = number(l, "flops"), share = number(l, "share_of_peak"); share > 0) flops += f, possible += f / share;
    if (double share = flops / possible; std::isfinite(share)) s += tile("Training speed", fixed(share * 100, 0) + " %", "of the machine's measured peak");
    return s;
  }

  // A round number at or above x, whose half is round too.
  static double round_up(double x) {
    double unit = std::pow(10, std::floor(std::log10(x)));
    for (double step : {1.0, 2.0, 4.0, 6.0, 8.0})
      if (step * unit >= x) return step * unit;
    return 10 * unit;
  }

  std::string differences() {
    std::vector<std::string> where{"mean"}, matches;
    for (const auto& d : runs_.domains) add_once(where, d);
    std::vector<const Json*> all;
    for (const Json& d : list(r_, "differences")) {
      all.push_back(&d);
      add_once(where, text(d, "domain"));
      add_once(matches, text(d, "match"));
    }
    std::stable_sort(all.begin(), all.end(), [](auto* a, auto* b) { return arm_index(text(*a, "arm")) < arm_index(text(*b, "arm")); });
    std::vector<double> reach;
    Json panels = Json::array();
    std::string charts, rows;
    for (const auto& match : matches) {
      std::string grid;
      for (const auto& domain : where) {
        Json points = Json::array();
        for (auto* d : all) {
          double mean = number(*d, "mean"), low = number(*d, "low"), high = number(*d, "high");
          if (text(*d, "domain") != domain || text(*d, "match") != match || !std::isfinite(mean)) continue;
          bool bar = std::isfinite(low) && std::isfinite(high);
          reach.push_back(std::max(std::abs(mean), bar ? std::max(std::abs(low), std::abs(high)) : 0));
          points.push_back(Json::object(
              {{"arm", sized(*d)}, {"mean", mean}, {"low", finite(bar ? low : nan)}, {"high", finite(bar ? high : nan)}, {"n", finite(number(*d, "n"))}}));
          rows += row(esc(sized(*d)), words(match), words(domain), td(si(number(*d, "n"))), td(fixed(mean, 4, true)), td(interval(*d)));
        }
        if (points.empty()) continue;
        std::string title = domain == "mean" ? "Mean of the domains" : domain, id = str("difference", panels.size());
        grid += figure(title, id, str("Difference to BTX, ", match, "-matched, with intervals: ", title), "");
        panels.push_back(Json::object({{"id", id}, {"points", points}}));
      }
      if (!grid.empty()) charts += str(matches.size() > 1 ? str("<h3>", match == "compute" ? "Compute-matched" : "Data-matched", "</h3>\n") : "", "<div class=grid>", grid, "</div>\n");
    }
    std::string s = differences_text;
    if (rows.empty()) {
      s += missing("no difference; it needs BTX and another arm in one replicate.");
    } else {
      // One far arm must not squeeze the others into a line: the scale ends at twice the eighth decile.
      std::sort(reach.begin(), reach.end());
      double scale = std::min(reach.back(), 2 * reach[(reach.size() - 1) * 8 / 10]);
      charts_.set("differences", Json::object({{"scale", round_up(std::max(scale, 1e-4))}, {"panels", panels}}));
      s += charts + fold("The differences as a table", body("Differences to BTX", heads({"arm", "matched", "domain", "n", "mean, nats per byte", "95% interval"}), rows));
    }
    return section("differences", "3. Paired differences to BTX", s);
  }

  std::string verdicts() const {
    std::string rows;
    for (const Json& v : list(r_, "verdicts")) {
      std::string verdict = text(v, "verdict");
      std::string word = verdict == "shown"     ? mark(true, "shown")
                         : verdict == "refuted" ? mark(false, "refuted")
                         : number(v, "n") < 1   ? "<span class=none>not run</span>"
                                                : str("<span class=open>? ", esc(verdict), "</span>");
      rows += row(esc(text(v, "claim")), td(word, "class=words"), td(si(number(v, "n"))), td(fixed(number(v, "mean"), 4, true)), td(interval(v)));
    }
    return section("verdicts", "4. Verdicts",
                   verdicts_text + (rows.empty() ? missing("no verdict.")
                                                 : body("Verdicts", heads({"claim", "verdict", "n", "mean, nats per byte", "95% interval"}), rows, "claims")));
  }

  std::string loads() const {
    using Table = std::map<std::int64_t, std::map<std::string, std::vector<Mean>>>;  // layer, domain, expert
    std::map<std::tuple<std::size_t, std::string, std::string, std::string>, Table> tables;
    for (const Json& l : list(r_, "loads")) {
      double layer = number(l, "layer");
      if (!(layer >= 0 && layer < 1e6)) continue;
      std::string arm = text(l, "arm");
      auto& cell = tables[{arm_index(arm), arm, text(l, "size"), text(l, "kind")}][static_cast<std::int64_t>(layer)][text(l, "domain")];
      auto shares = list(l, "shares");
      if (cell.size() < shares.size()) cell.resize(shares.size());
      for (std::size_t i = 0; i < shares.size(); ++i) cell[i].add(number(shares[i]));
    }
    std::string s = loads_text;
    const auto& dense = runs_.dense;
    for (const auto& [key, layers] : tables) {
      const auto& [index, arm, size, kind] = key;
      std::size_t experts = 0;
      for (const auto& [layer, by_domain] : layers)
        for (const auto& [domain, cell] : by_domain) experts = std::max(experts, cell.size());
      bool copies = plain(arm).starts_with("sparse") || plain(arm).starts_with("drop");
      auto expert = [&](std::size_t e) { return copies ? str("copy ", e + 1) : e < dense.size() ? esc(dense[e]) : str("seed ", e - dense.size() + 2); };
      std::string groups = th("layer", "scope=col rowspan=2"), header, rows;
      for (const auto& d : runs_.domains) {
        groups += th("text: " + esc(d), str("scope=colgroup class=edge colspan=", experts));
        for (std::size_t e = 0; e < experts; ++e) header += th(expert(e), e ? "scope=col" : "scope=col class=edge");
      }
      for (const auto& [layer, by_domain] : layers) {
        std::string cells;
        for (const auto& d : runs_.domains) {
          auto cell = by_domain.find(d);
          for (std::size_t e = 0; e < experts; ++e) {
            double x = cell == by_domain.end() || e >= cell->second.size() ? nan : cell->second[e].value();
            cells += std::isfinite(x) ? td(fixed(x * 100, 0), heat(0.75 * x)) : td("\xe2\x80\x93", "class=empty");
          }
        }
        rows += row(str(layer), cells);
      }
      std::string title = str(arm_label(arm), many() ? " " + size : "", ": ", kind == "ffn" ? "FFN" : kind);
      s += fold(esc(title), body("Expert load of " + title, str("<thead><tr>", groups, "</tr><tr>", header, "</tr></thead>"), rows, "load"),
                index == 0 || key == tables.begin()->first);
    }
    return section("loads", "5. Gates and expert load", tables.empty() ? s + missing("no load.") : s);
  }

  // Of a long curve the means of at most 200 pieces, so that the page stays small.
  static Json thinned(const Json& curve) {
    auto x = list(curve, "tokens"), y = list(curve, "nll");
    std::size_t n = std::min(x.size(), y.size()), step = std::max<std::size_t>(1, (n + 199) / 200);
    Json points = Json::array();
    for (std::size_t i = 0; i < n; i += step) {
      Mean mx, my;
      for (std::size_t k = i; k < std::min(n, i + step); ++k)
        if (std::isfinite(number(x[k]) + number(y[k]))) mx.add(number(x[k])), my.add(number(y[k]));
      if (mx.n) points.push_back(Json::object({{"x", std::round(mx.value())}, {"y", std::round(my.value() * 1e5) / 1e5}}));
    }
    return points;
  }

  std::string curves() {
    std::vector<std::pair<std::size_t, const Json*>> order;  // the dense models first
    for (const Json& c : list(r_, "curves")) order.emplace_back(runs_.is_dense(text(c, "arm")) ? 0 : 1 + arm_index(text(c, "arm")), &c);
    std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    Json series = Json::array(), phases = Json::array();
    double starts[3] = {nan, nan, nan}, ends[3] = {nan, nan, nan};  // of the seed, the specialists, the mixtures of both
    std::string s = curves_text, rows;
    for (auto [rank, c] : order) {
      Json points = thinned(*c);
      if (points.empty()) continue;
      std::string arm = text(*c, "arm"), key = plain(arm);
      const Json &first = points.at(0), &last = points.at(points.size() - 1);
      std::size_t phase = rank != 0 ? 2 : arm == "seed" ? 0 : 1, model = runs_.dense_index(arm);
      if (phase < 2 || key == "bam" || key == "btx") {
        starts[phase] = std::fmin(starts[phase], number(first, "x"));
        ends[phase] = std::fmax(ends[phase], number(last, "x"));
      }
      int style = rank > std::size(known_arms) ? 13 : rank > 0 ? known_arms[rank - 1].style : model == 0 ? 6 : 1 + static_cast<int>(model % 4);
      bool shown = rank == 0 || rank > std::size(known_arms) || known_arms[rank - 1].shown;
      series.push_back(Json::object({{"label", sized(*c)}, {"style", style}, {"hidden", !shown}, {"points", points}}));
      rows += row(esc(sized(*c)), td(esc(text(*c, "replicate"))), td(si(number(first, "x"))), td(fixed(number(first, "y"), 4)), td(si(number(last, "x"))),
                  td(fixed(number(last, "y"), 4)));
    }
    if (series.empty()) return section("curves", "6. Loss through the phases", s + missing("no curve."));
    if (!many() && ends[0] <= starts[1]) phases.push_back(Json::object({{"at", ends[0]}, {"label", "branch"}}));
    bool mix = !many() && ends[1] <= starts[2];
    if (mix) phases.push_back(Json::object({{"at", ends[1]}, {"label", "mix"}}));
    Json floors = Json::array();
    for (std::size_t d = 0; d < runs_.domains.size(); ++d) {
      const double y = runs_.floor_of(runs_.domains[d]) * runs_.bytes_per_token(runs_.sizes.empty() ? "" : runs_.sizes[0], runs_.domains[d]);
      if (!std::isfinite(y)) continue;
      floors.push_back(Json::object({{"label", "Entropy: " + runs_.domains[d]}, {"style", d == 0 ? 6 : 1 + static_cast<int>(d % 4)}, {"y", y}}));
      rows += row(esc("Entropy of the text: " + runs_.domains[d]), td(""), td(""), td(fixed(y, 4)), td(""), td(fixed(y, 4)));
    }
    charts_.set("curves", Json::object({{"series", series}, {"floors", floors}, {"phases", phases}, {"end", finite(ends[2])}, {"x", "tokens along one line of descent"}, {"y", "training loss, nats per token"}}));
    s += figure("All phases", "curves_all", "Training loss over tokens", "tall");
    if (mix) s += figure("The mixture phase alone", "curves_mix", "Training loss over tokens of the mixture phase", "tall");
    auto header = heads({"arm", "replicate", "first: tokens", "nats per token", "last: tokens", "nats per token"});
    return section("curves", "6. Loss through the phases", s + fold("First and last values as a table", body("Ends of the curves", header, rows)));
  }

  std::string identity() const {
    std::string rows;
    for (const Json& i : list(r_, "identity")) {
      double x = number(i, "value");
      rows += row(esc(arm_label(text(i, "arm"))), words(text(i, "size")), td(esc(text(i, "replicate"))), td(std::isfinite(x) ? str(x) : "not given"),
                  td(mark(x < 1e-5, x < 1e-5 ? "passes" : "fails"), "class=words"));
    }
    return section("identity", "7. Identity check",
                   identity_text + (rows.empty() ? missing("no identity check.")
                                                 : body("Identity", heads({"arm", "size", "replicate", "relative difference", "check"}), rows)));
  }

  std::string completions() const {
    std::vector<std::array<std::string, 3>> prompts;
    std::map<std::string, std::map<std::string, std::array<int, 3>>> score;  // arm, domain: right, parses, all
    auto prompt_of = [](const Json& c) { return std::array{text(c, "domain"), text(c, "prompt"), text(c, "truth")}; };
    for (const Json& c : list(r_, "completions")) {
      if (auto p = prompt_of(c); std::find(prompts.begin(), prompts.end(), p) == prompts.end()) prompts.push_back(p);
      auto& x = score[sized(c)][text(c, "domain")];
      x[0] += flag(c, "right"), x[1] += flag(c, "parses"), ++x[2];
    }
    std::string s = completions_text, header = th("model", "scope=col"), rows;
    for (const auto& d : runs_.domains) header += th(esc(d), "scope=col");
    header += th("all", "scope=col class=edge");
    auto cell = [](const std::array<int, 3>& x, std::string_view edge) {
      const Bounds right = wilson_interval(x[0], x[2]);
      return td(str(x[0], " right, ", x[1], " parse, of ", x[2], "<small>", fixed(static_cast<double>(x[0]) / x[2], 2), " [", fixed(right.low, 2), ", ", fixed(right.high, 2), "]</small>"), edge);
    };
    for (const auto& [arm, by_domain] : score) {
      std::string cells;
      std::array<int, 3> all{};
      for (const auto& d : runs_.domains) {
        auto x = by_domain.find(d);
        if (x != by_domain.end())
          for (std::size_t i = 0; i < 3; ++i) all[i] += x->second[i];
        cells += x == by_domain.end() ? td("none", "class=empty") : cell(x->second, "");
      }
      rows += row(esc(arm), cells, all[2] ? cell(all, "class=edge") : td("none", "class='empty edge'"));
    }
    s += prompts.empty() ? missing("no completion.") : body("Completions that are right", str("<thead><tr>", header, "</tr></thead>"), rows);
    auto card = [](std::string_view title, std::string_view what) { return str("<h4>", title, "</h4><pre>", cut(what, 1500), "</pre></div>\n"); };
    constexpr std::size_t limit = 60;  // the page stays small
    for (std::size_t i = 0; i < std::min(limit, prompts.size()); ++i) {
      s += str("<article><h3>", esc(prompts[i][0]), "</h3><div class=cards>\n<div class=prompt>", card("Prompt", prompts[i][1]), "<div class=prompt>",
               card("The text goes on", prompts[i][2]));
      for (const Json& c : list(r_, "completions"))
        if (prompt_of(c) == prompts[i]) {
          const char* found = flag(c, "right") ? "right" : flag(c, "parses") ? "parses, wrong" : "does not parse";
          s += "<div>" + card(str(esc(sized(c)), " ", mark(flag(c, "right"), found)), text(c, "text"));
        }
      s += "</div></article>\n";
    }
    if (prompts.size() > limit) s += str("<p class=small>", prompts.size() - limit, " further prompts are in the results only; the table counts them.</p>\n");
    return section("completions", "8. Completions, checked by a program", s);
  }

  // Per set: how often the gold answer is the likeliest, and its loss; means over the replicates.
  std::string choice() const {
    struct Cell {
      Mean accuracy, loss, n, chance;
    };
    std::vector<std::string> sets;
    std::vector<std::pair<std::string, std::string>> models;  // arm, size
    std::map<std::tuple<std::string, std::string, std::string>, Cell> cells;
    std::map<std::string, Cell> of_set;
    for (const Json& c : list(r_, "choice")) {
      const std::string arm = text(c, "arm"), size = text(c, "size"), set = text(c, "set");
      add_once(sets, set);
      if (std::find(models.begin(), models.end(), std::pair{arm, size}) == models.end()) models.emplace_back(arm, size);
      const double majority = number(c, "majority");
      for (Cell* cell : {&cells[{arm, size, set}], &of_set[set]}) {
        cell->accuracy.add(number(c, "accuracy_per_byte"));
        cell->loss.add(number(c, "nats_per_byte"));
        cell->n.add(number(c, "n"));
        cell->chance.add(majority > number(c, "chance") ? majority : number(c, "chance"));
      }
    }
    std::string s = choice_text;
    if (sets.empty()) return section("choice", "9. Choices and answers", s + missing("no set of choices; they are read from DATA/DOMAIN/eval."));
    std::stable_sort(models.begin(), models.end(), [&](const auto& a, const auto& b) {
      auto rank = [&](const std::string& arm) { return runs_.is_dense(arm) ? runs_.dense_index(arm) : 100 + arm_index(arm); };
      return rank(a.first) < rank(b.first);
    });
    std::string header = th("model", "scope=col"), items, chance, accuracy, loss;
    for (const auto& set : sets) {
      header += th(esc(set), "scope=col");
      items += td(si(of_set[set].n.value()));
      chance += td(fixed(of_set[set].chance.value(), 3));
    }
    for (const auto& [arm, size] : models) {
      const std::string name = esc(runs_.label(arm)) + (many() ? " " + esc(size) : "");
      std::string right, nats;
      for (const auto& set : sets) {
        auto found = cells.find({arm, size, set});
        const Cell cell = found == cells.end() ? Cell() : found->second;
        const double x = cell.accuracy.value(), n = cell.n.value();
        const bool told = n >= 1 && wilson_interval(static_cast<std::int64_t>(std::round(x * n)), static_cast<std::int64_t>(std::round(n))).low > cell.chance.value();
        right += td(told ? "<b>" + fixed(x, 3) + "</b>" : fixed(x, 3), std::isfinite(x) ? "" : "class=empty");
        nats += td(fixed(cell.loss.value(), 4), std::isfinite(x) ? "" : "class=empty");
      }
      accuracy += row(name, right);
      loss += row(name, nats);
    }
    const std::string head = str("<thead><tr>", header, "</tr></thead>");
    return section("choice", "9. Choices and answers",
                   s + "<h3>The gold answer is the likeliest, share of items</h3>" +
                       body("Accuracy by likelihood per byte", head, row("items", items) + row("chance", chance) + accuracy, "wide") +
                       "<h3>Loss of the gold answers, nats per byte</h3>" + body("Loss of the gold answers", head, loss, "wide"));
  }
};

}  // namespace report

// One page. ledger: the trainings with their times (Results::ledger); chart_js as page() takes it.
inline std::string study_report(const io::Json& results, const io::Json& ledger, std::string_view chart_js) {
  return report::Page(results, ledger, !chart_js.empty()).html(chart_js);
}

}  // namespace bam::study
