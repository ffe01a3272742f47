// The sections of the report that come from the runs alone: the matrix of dense models, the table of all arms, the ledger.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "report_frame.hpp"
#include "report_page.hpp"

namespace bam::study::report {

inline void add_once(std::vector<std::string>& to, std::string s) {
  if (std::find(to.begin(), to.end(), s) == to.end()) to.push_back(std::move(s));
}

struct Runs {
  const Json &results, &trainings_done;            // the latter: Results::ledger
  std::vector<std::string> domains, sizes, dense;  // dense: the seed and one specialist a domain

  Runs(const Json& r, const Json& ledger) : results(r), trainings_done(ledger) {
    for (const Json& d : list(r, "domains"))
      if (d.is_string()) add_once(domains, std::string(d.as_string("domains")));
    for (const Json& run : list(r, "runs")) {
      add_once(sizes, text(run, "size"));
      if (list(r, "domains").size() == 0) add_once(domains, text(run, "domain"));
    }
    dense.emplace_back("seed");
    for (const auto& d : domains)
      if (d != "general") dense.push_back(d);
  }

  std::size_t dense_index(std::string_view arm) const { return static_cast<std::size_t>(std::find(dense.begin(), dense.end(), arm) - dense.begin()); }
  bool is_dense(std::string_view arm) const { return dense_index(arm) < dense.size(); }
  std::string label(const std::string& arm) const { return arm == "seed" ? "Seed" : is_dense(arm) ? arm + " specialist" : arm_label(arm); }

  // f of each run of an arm; an empty match or domain takes all of them.
  template <class F>
  void each(std::string_view arm, std::string_view size, std::string_view match, std::string_view domain, F f) const {
    for (const Json& run : list(results, "runs"))
      if (text(run, "arm") == arm && text(run, "size") == size && (match.empty() || text(run, "match") == match) &&
          (domain.empty() || text(run, "domain") == domain))
        f(run);
  }
  // Over the replicates.
  double mean(std::string_view arm, std::string_view size, std::string_view match, std::string_view domain, std::string_view key) const {
    Mean m;
    each(arm, size, match, domain, [&](const Json& run) { m.add(number(run, key)); });
    return m.value();
  }
  // Tokens or FLOPs of an arm's training: of the seed, of the branches if it has any, of the arm itself. NaN where the ledger has no training of the seed.
  std::array<double, 3> phases(const std::string& arm, const std::string& size, const std::string& match, const char* key) const {
    auto taken = [&](std::string_view of, std::string_view matched) {
      Mean m;
      for (const Json& l : trainings_done.items("ledger"))
        if (text(l, "arm") == of && text(l, "size") == size && (matched.empty() || text(l, "match") == matched)) m.add(number(l, key));
      return m.value();
    };
    const double seed = taken("seed", ""), after = mean(arm, size, match, "", key);
    if (!std::isfinite(seed)) return {nan, nan, nan};
    if (is_dense(arm)) return {seed, after, 0};
    const double own = taken(arm, match);
    return {seed, std::isfinite(own) ? std::max(0.0, after - own) : after, std::isfinite(own) ? own : 0};
  }
  double floor_of(std::string_view domain) const {
    const Json* f = results.find("floor");
    return f ? number(*f, domain) : nan;
  }
  double baseline(std::string_view domain, std::string_view key) const {
    const Json* all = results.find("baselines");
    const Json* of = all ? all->find(domain) : nullptr;
    return of ? number(*of, key) : nan;
  }
  // By how many percent of its nats per byte the 5-gram is worse than the seed trained on: by domain, then the mean of the domains.
  std::vector<double> ngram_above_dense(const std::string& size) const {
    std::vector<double> percent;
    double counted = 0, trained = 0;
    for (const auto& d : domains) {
      const double x = baseline(d, "ngram_nll_per_byte"), y = mean("dense", size, "data", d, "nll_per_byte");
      percent.push_back(100 * (x / y - 1));
      counted += x;
      trained += y;
    }
    percent.push_back(100 * (counted / trained - 1));
    return percent;
  }
  static std::string above(double x, double floor) { return std::isfinite(x - floor) ? str(" (", fixed(x - floor, 4, true), ")") : ""; }
  // Floors are per byte; a token of the domain has this many bytes.
  double bytes_per_token(std::string_view size, std::string_view domain) const {
    for (const Json& run : list(results, "runs"))
      if (text(run, "size") == size && text(run, "domain") == domain && number(run, "nll_per_byte") > 0)
        return number(run, "nll") / number(run, "nll_per_byte");
    return nan;
  }

  std::string matrix() const {
    std::string s = matrix_text;
    bool any = false;
    for (const auto& size : sizes) {
      std::string header = th("model", "scope=col"), rows, home, floors;
      std::vector<std::vector<double>> x(dense.size());
      std::vector<double> worst(domains.size(), nan);
      std::vector<std::size_t> best(domains.size(), dense.size());
      for (std::size_t d = 0; d < domains.size(); ++d) {
        header += th(esc(domains[d]), "scope=col");
        for (std::size_t m = 0; m < dense.size(); ++m) {
          x[m].push_back(mean(dense[m], size, "", domains[d], "nll"));
          if (!std::isfinite(x[m][d])) continue;
          any = true;
          if (best[d] == dense.size() || x[m][d] < x[best[d]][d]) best[d] = m;
          if (!(worst[d] >= x[m][d])) worst[d] = x[m][d];
        }
        double f = floor_of(domains[d]) * bytes_per_token(size, domains[d]);
        floors += std::isfinite(f) ? td(str(fixed(std::exp(f), 2), "<small>", fixed(f, 4), "</small>")) : td("unknown", "class=empty");
        if (best[d] == dense.size()) continue;
        bool own = dense[best[d]] == (domains[d] == "general" ? "seed" : domains[d]);
        home += str(home.empty() ? "" : ", ", esc(domains[d]), own ? " yes" : str(" no (", esc(dense[best[d]]), ")"));
      }
      for (std::size_t m = 0; m < dense.size(); ++m) {
        std::string cells;
        for (std::size_t d = 0; d < domains.size(); ++d) {
          if (!std::isfinite(x[m][d])) {
            cells += td("not run", "class=empty");
            continue;
          }
          double range = worst[d] - x[best[d]][d];
          std::string ppl = fixed(std::exp(x[m][d]), 2);
          cells += td(str(m == best[d] ? "<b>" + ppl + " best</b>" : ppl, "<small>", fixed(x[m][d], 4), above(x[m][d], floor_of(domains[d]) * bytes_per_token(size, domains[d])), "</small>"),
                      heat(range > 0 ? 0.5 * (worst[d] - x[m][d]) / range : 0.5));
        }
        rows += row(esc(label(dense[m])), cells);
      }
      rows += str("<tr class=floor>", th("Entropy of the text", "scope=row"), floors, "</tr>");
      if (sizes.size() > 1) s += str("<h3>", esc(size), "</h3>");
      s += body("Perplexity of the dense models by domain", str("<thead><tr>", header, "</tr></thead>"), rows, "matrix");
      if (!home.empty()) s += str("<p>Best at home: ", home, ".</p>\n");
    }
    if (!any) s += missing("no run of a dense model.");
    return section("matrix", "1. Dense models on every domain", s + floor_text);
  }

  std::string arms() const {
    std::string s = arms_text;
    std::vector<std::string> names, matches;
    for (const Json& run : list(results, "runs"))
      if (std::string a = text(run, "arm"); !is_dense(a)) add_once(names, a), add_once(matches, text(run, "match"));
    if (matches.empty()) matches.emplace_back();
    std::stable_sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return arm_index(a) < arm_index(b); });
    // The arms that were not run stand in their place, under their label.
    for (std::size_t i = 0, at = 0; i < std::size(known_arms); ++i) {
      if (at == names.size() || arm_index(names[at]) != i) names.insert(names.begin() + static_cast<std::ptrdiff_t>(at), known_arms[i].label);
      while (at < names.size() && arm_index(names[at]) == i) ++at;
    }
    bool floors = std::any_of(domains.begin(), domains.end(), [&](const auto& d) { return std::isfinite(floor_of(d)); });
    std::string groups = th("arm", "scope=col rowspan=2"), header;
    auto group = [&](std::string_view title, bool with_mean) {
      groups += th(title, str("scope=colgroup class=edge colspan=", domains.size() + (with_mean ? 1u : 0u)));
      for (std::size_t d = 0; d < domains.size(); ++d) header += th(esc(domains[d]), d ? "scope=col" : "scope=col class=edge");
      if (with_mean) header += th("mean", "scope=col");
    };
    group("nats per byte", true);
    if (floors) group("above the floor, nats per byte", true);
    group("nats per token", false);
    groups += th("n", "scope=col rowspan=2 class=edge");
    for (const char* of : {"tokens", "FLOPs"}) {
      groups += th(of, "scope=colgroup class=edge colspan=3");
      header += th("seed", "scope=col class=edge") + th("branches", "scope=col") + th("mixture", "scope=col");
    }
    for (const auto& size : sizes)
      for (const auto& match : matches) {
        if (sizes.size() * matches.size() > 1) s += str("<h3>", esc(size), match.empty() ? "" : ", ", esc(match), match.empty() ? "" : "-matched", "</h3>");
        s += table("Loss of all arms by domain",
                   str("<thead><tr>", groups, "</tr><tr>", header, "</tr></thead>", arm_rows(dense, size, "", floors), arm_rows(names, size, match, floors)),
                   "wide");
      }
    if (sizes.empty()) s += missing("no run.");
    s += beside();
    std::string what;
    for (const Arm& a : known_arms) what += str("<dt>", a.label, "</dt><dd>", a.what, "</dd>");
    return section("arms", "2. All arms", s + fold("What the arms are", str("<dl>", what, "</dl>")));
  }

  // The seed and the seed trained on, beside what counting and compression reach.
  std::string beside() const {
    const Json* baselines = results.find("baselines");
    if (!baselines) return "";
    std::string header = th("model", "scope=col"), rows;
    for (const auto& d : domains) header += th(esc(d), "scope=col");
    header += th("mean", "scope=col");
    auto line = [&](std::string_view name, auto value) {
      std::string cells;
      double sum = 0, floor = 0;
      auto cell = [&](double x, double f) { cells += td(fixed(x, 4) + (std::isfinite(x - f) ? str("<small>", above(x, f), "</small>") : "")); };
      for (const auto& d : domains) {
        const double x = value(d);
        cell(x, floor_of(d));
        sum += x;
        floor += floor_of(d);
      }
      const auto n = static_cast<double>(domains.size());
      cell(sum / n, floor / n);
      rows += row(name, cells);
    };
    for (const auto& size : sizes)
      for (const char* arm : {"seed", "dense"}) line(str(esc(label(arm)), " ", esc(size)), [&](const std::string& d) { return mean(arm, size, "data", d, "nll_per_byte"); });
    for (auto [name, key] : {std::pair{"5-gram of the domain", "ngram_nll_per_byte"}, std::pair{"zstd -19", "zstd_nats_per_byte"}}) line(name, [&, key = key](const std::string& d) { return baseline(d, key); });
    for (const auto& size : sizes) {
      std::string cells;
      for (double x : ngram_above_dense(size)) cells += td(std::isfinite(x) ? fixed(x, 1, true) + " %" : fixed(x, 1));
      rows += row(str("5-gram above ", esc(label("dense")), " ", esc(size)), cells);
    }
    return str("<h3>Beside counting and compression</h3>", baselines_text,
               body("Nats per byte of counting and compression", str("<thead><tr>", header, "</tr></thead>"), rows));
  }

  // BTX is what the others' compute is matched to, so it stands among them as it is.
  static std::string match_of(const std::string& arm, const std::string& match) { return match == "compute" && plain(arm) == "btx" ? "data" : match; }
  std::string arm_rows(const std::vector<std::string>& names, const std::string& size, const std::string& matched, bool floors) const {
    const std::size_t n = domains.size(), columns = floors ? 3 * n + 2 : 2 * n + 1;
    std::vector<std::vector<double>> cells;
    std::vector<double> best(columns, nan);
    for (const auto& a : names) {
      std::vector<double> byte, over, token;
      const std::string match = match_of(a, matched);
      double sum = 0, above = 0;  // a mean needs all domains: a missing one makes it a NaN
      for (const auto& d : domains) {
        byte.push_back(mean(a, size, match, d, "nll_per_byte"));
        over.push_back(byte.back() - floor_of(d));
        token.push_back(mean(a, size, match, d, "nll"));
        sum += byte.back();
        above += over.back();
      }
      byte.push_back(sum / static_cast<double>(n));
      over.push_back(above / static_cast<double>(n));
      if (floors) byte.insert(byte.end(), over.begin(), over.end());
      byte.insert(byte.end(), token.begin(), token.end());
      for (std::size_t c = 0; c < columns; ++c)
        if (std::isfinite(byte[c]) && !(best[c] <= byte[c])) best[c] = byte[c];
      cells.push_back(std::move(byte));
    }
    std::string s = "<tbody>";
    for (std::size_t i = 0; i < names.size(); ++i) {
      std::vector<std::string> replicates;
      const std::string match = match_of(names[i], matched);
      each(names[i], size, match, "", [&](const Json& run) { add_once(replicates, text(run, "replicate")); });
      std::string line;
      for (std::size_t c = 0; c < columns; ++c) {
        bool edge = c == 0 || c == n + 1 || (floors && c == 2 * n + 2), known = std::isfinite(cells[i][c]);
        std::string x = known ? fixed(cells[i][c], 4) : "\xe2\x80\x93";
        line += td(cells[i][c] <= best[c] ? "<b>" + x + "</b>" : x, str("class='", edge ? "edge" : "", known ? "" : " empty", "'"));
      }
      if (replicates.empty())
        line = td("not run", str("class='empty edge' colspan=", columns + 7));
      else {
        line += td(str(replicates.size()), "class=edge");
        for (const char* key : {"tokens", "flops"}) {
          const auto [seed, branches, mixture] = phases(names[i], size, match, key);
          line += td(si(seed), "class=edge") + td(si(branches)) + td(si(mixture));
        }
      }
      s += row(esc(label(names[i])), line);
    }
    return s + "</tbody>";
  }

  // Each training with what it took, and the trials of learning rates.
  std::string trainings() const {
    std::string rows, trials;
    double seconds = 0;
    constexpr std::size_t limit = 1000;  // the page stays small
    std::size_t n = 0;
    for (const Json& l : trainings_done.items("ledger")) {
      seconds += number(l, "seconds");
      if (++n > limit) continue;
      rows += row(str("<code>", esc(text(l, "run")), "</code>"), words(text(l, "match")), td(str(number(l, "lr"))), td(si(number(l, "tokens"))), td(si(number(l, "flops"))),
                  td(fixed(number(l, "seconds") / 60, 1)), td(fixed(number(l, "share_of_peak") * 100, 0)), td(str("<code>", esc(text(l, "hash")), "</code>"), "class=words"));
    }
    for (const Json& t : list(results, "sweep"))
      trials += row(esc(label(text(t, "arm"))), words(text(t, "size")), td(str(number(t, "lr"))), td(fixed(number(t, "nll_per_byte"), 4)),
                    td(flag(t, "kept") ? mark(true, "kept") : "", "class=words"));
    std::string s = trainings_text;
    if (rows.empty()) {
      s += missing("no training.");
    } else {
      s += str("<p>", n, " trainings, ", fixed(seconds / 3600, 2), " hours.</p>\n",
               fold("All trainings", body("Trainings", heads({"run", "matched", "learning rate", "tokens", "FLOPs", "minutes", "% of peak", "hash"}), rows, "ledger")));
      if (n > limit) s += str("<p class=small>", n - limit, " further rows are in ledger.csv only.</p>\n");
    }
    if (!trials.empty())
      s += fold("Learning rates that were tried", body("Trials", heads({"arm", "size", "learning rate", "nats per byte, mean of the domains", ""}), trials));
    return section("trainings", "10. Trainings", s);
  }

  std::string ledger() const {
    std::string s = ledger_text, rows;
    constexpr std::size_t limit = 2000;  // the page stays small
    auto runs = list(results, "runs");
    for (std::size_t i = 0; i < std::min(limit, runs.size()); ++i) {
      const Json& r = runs[i];
      rows += row(esc(text(r, "arm")), words(text(r, "size")), td(esc(text(r, "replicate"))), words(text(r, "match")), words(text(r, "domain")),
                  td(fixed(number(r, "nll_per_byte"), 4)), td(fixed(number(r, "bits_per_byte"), 4)), td(fixed(number(r, "nll"), 4)),
                  td(fixed(number(r, "stderr"), 4)), td(si(number(r, "tokens"))), td(si(number(r, "flops"))),
                  td(str("<code>", esc(text(r, "hash")), "</code>"), "class=words"));
    }
    auto head = heads(
        {"arm", "size", "replicate", "matched", "domain", "nats per byte", "bits per byte", "nats per token", "standard error", "tokens", "FLOPs", "hash"});
    s += rows.empty() ? missing("no run.") : body("Ledger of runs", head, rows, "ledger");
    if (runs.size() > limit) s += str("<p class=small>", runs.size() - limit, " further rows are in the results only.</p>\n");
    return section("ledger", "11. Ledger of runs", s);
  }
};

}  // namespace bam::study::report
