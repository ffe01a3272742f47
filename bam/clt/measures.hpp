// Measures of cross-lingual transfer (docs/method.md, 2.1), shares of variance, and the directions that a study tests (docs/method.md, 2.2): pure functions of a table of scores.
//
// A cell is empty where there is no score or where it cannot be told from chance; an empty cell enters no measure, and a measure without its cells is empty.
// Higher scores are better; negate those of which less is better.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "../eval/bootstrap.hpp"
#include "../eval/interval.hpp"

namespace bam::clt {

using Cell = std::optional<double>;

// Whether a mean of n scores from 0 to 1 lies above what chance gives: as many hits or more have a probability of at most 2.5% by chance (exact binomial test). Binomial variance is the largest
// that such scores can have. Without a level of chance (NLL, a score of no known floor) every score stands; with chance 0 any hit does.
inline bool told_from_chance(double value, std::int64_t n, std::optional<double> chance) {
  if (!std::isfinite(value)) return false;
  if (!chance) return true;
  if (n < 1) return false;
  const double hits = value * static_cast<double>(n), whole = std::round(hits);  // a share of n comes back as the number it was made of
  return value > *chance && binomial_tail(std::fabs(hits - whole) < 1e-9 * static_cast<double>(n) ? whole : hits, n, *chance) <= 0.025;
}

inline Cell mean(std::span<const Cell> cells) {
  double sum = 0, n = 0;
  for (const Cell& c : cells)
    if (c) {
      sum += *c;
      ++n;
    }
  return n > 0 ? Cell(sum / n) : Cell();
}

// cells[point][language]: at each point the mean over the languages that have a cell at every point, so that all mean the same languages.
inline std::vector<Cell> common_mean(const std::vector<std::vector<Cell>>& cells) {
  std::vector<Cell> out(cells.size());
  for (std::size_t i = 0; i < cells.size(); ++i) {
    std::vector<Cell> kept;
    for (std::size_t l = 0; l < cells[i].size(); ++l)
      if (std::all_of(cells.begin(), cells.end(), [&](const std::vector<Cell>& point) { return point[l].has_value(); })) kept.push_back(cells[i][l]);
    out[i] = mean(kept);
  }
  return out;
}

// (y(k) - y(0)) / y(0); empty where y(0) is not above 0, for there the ratio has no meaning.
inline Cell gain(Cell zero, Cell k) { return zero && k && *zero > 0 ? Cell((*k - *zero) / *zero) : Cell(); }

// Mean over languages of their gains, of the languages that have one.
inline Cell mean_gain(std::span<const Cell> zero, std::span<const Cell> k) {
  check(zero.size() == k.size(), "clt.size", "gain: ", zero.size(), " and ", k.size(), " languages");
  std::vector<Cell> gains(k.size());
  for (std::size_t l = 0; l < k.size(); ++l) gains[l] = gain(zero[l], k[l]);
  return mean(gains);
}

inline Cell difference(Cell a, Cell b) { return a && b ? Cell(*a - *b) : Cell(); }
inline Cell seen_unseen_gap(Cell seen, Cell unseen) { return difference(seen, unseen); }
// At equal task data and at equal total data: the caller pairs the runs.
inline Cell interference(Cell multi, Cell single) { return difference(multi, single); }

// Pearson r over k of the two means, over the k where both are there; empty below three of them.
inline std::optional<Correlation> tracking(std::span<const Cell> seen, std::span<const Cell> unseen) {
  check(seen.size() == unseen.size(), "clt.size", "tracking: ", seen.size(), " and ", unseen.size(), " values of k");
  std::vector<double> a, b;
  for (std::size_t i = 0; i < seen.size(); ++i)
    if (seen[i] && unseen[i]) {
      a.push_back(*seen[i]);
      b.push_back(*unseen[i]);
    }
  return a.size() < 3 ? std::nullopt : pearson(a, b);
}

// Of correlations, one a replicate: mean and 95% interval of Fisher's z, taken back, so that both lie inside [-1, 1]. One of 1 or -1 has no z: then the plain mean, without an interval.
inline Interval mean_correlation(std::vector<double> r) {
  Interval plain = t_interval(r);
  plain.low = -std::numeric_limits<double>::infinity();
  plain.high = std::numeric_limits<double>::infinity();
  if (std::any_of(r.begin(), r.end(), [](double x) { return !(std::fabs(x) < 1 - 1e-12); })) return plain;
  for (double& x : r) x = 0.5 * math::log((1 + x) / (1 - x));
  const Interval z = t_interval(r);
  auto tanh = [](double x) { return x > 0 ? 1 - 2 / (math::exp(2 * x) + 1) : 2 / (math::exp(-2 * x) + 1) - 1; };
  if (z.n > 0) plain.mean = tanh(z.mean);
  if (z.n > 1) {
    plain.low = tanh(z.low);
    plain.high = tanh(z.high);
  }
  return plain;
}

// Of amounts of data above 0: the geometric mean and its 95% interval, by logarithms.
inline Interval geometric_mean(std::vector<double> values) {
  for (double& x : values) x = math::log(x);
  Interval i = t_interval(values);
  if (i.n > 0) i.mean = math::exp(i.mean);
  if (i.n > 1) {
    i.low = math::exp(i.low);
    i.high = math::exp(i.high);
  }
  return i;
}

// Least k whose score is within `share` of the best over k.
inline std::optional<std::int64_t> data_to_plateau(std::span<const std::int64_t> k, std::span<const Cell> y, double share = 0.01) {
  check(k.size() == y.size() && std::is_sorted(k.begin(), k.end()), "clt.size", "plateau: ", k.size(), " values of k, ", y.size(), " scores; wanted as many of each, k ascending");
  Cell best;
  for (const Cell& c : y)
    if (c && (!best || *c > *best)) best = c;
  if (!best) return std::nullopt;
  for (std::size_t i = 0; i < k.size(); ++i)
    if (y[i] && *y[i] >= *best - share * std::fabs(*best)) return k[i];
  return std::nullopt;
}

// Mean absolute second difference over the steps of the grid of k; a triple with an empty cell is left out.
inline Cell oscillation(std::span<const Cell> y) {
  std::vector<Cell> second;
  for (std::size_t i = 2; i < y.size(); ++i)
    if (y[i - 2] && y[i - 1] && y[i]) second.push_back(std::fabs(*y[i - 2] - 2 * *y[i - 1] + *y[i]));
  return mean(second);
}

// T[a][b] = (y[a][b] - english[b]) / (y[b][b] - english[b]): the share of what b's own data brings to b that a's data brings. y[a][b]: trained on English
// and a, tested on b. Empty where b's own data brought nothing.
inline std::vector<std::vector<Cell>> transfer_matrix(const std::vector<std::vector<Cell>>& y, std::span<const Cell> english) {
  std::vector<std::vector<Cell>> t(y.size(), std::vector<Cell>(y.size()));
  check(english.size() == y.size(), "clt.size", "transfer matrix: ", y.size(), " sources, ", english.size(), " scores after English");
  for (std::size_t a = 0; a < y.size(); ++a) {
    check(y[a].size() == y.size(), "clt.size", "transfer matrix: row ", a, " has ", y[a].size(), " of ", y.size(), " targets");
    for (std::size_t b = 0; b < y.size(); ++b) {
      Cell own = difference(y[b][b], english[b]), brought = difference(y[a][b], english[b]);
      if (own && brought && *own > 0) t[a][b] = *brought / *own;
    }
  }
  return t;
}

// One score of one run on one language (a row of results.json).
enum class Split { english, seen, unseen };
struct Score {
  std::string task, setting;  // setting: "single", "multi"
  std::int64_t size = 0;      // parameters
  std::int64_t k = 0;         // examples in each seen language
  std::string languages;      // the group of languages trained on
  std::string language;       // of the test
  Split split = Split::unseen;
  std::int64_t replicate = 0;
  std::string score;  // its name: "exact_match", "chrf" ...
  double value = 0;
  std::int64_t n = 0;             // items
  std::optional<double> chance;  // level of chance
  std::optional<double> error = std::nullopt;  // standard error of value - chance, where the score is no share of the items
};

// As told_from_chance, and for a mean of other things by its error, which one item does not have.
inline bool told_from_chance(double value, std::int64_t n, std::optional<double> chance, std::optional<double> error) {
  return error && chance ? n > 1 && value - *chance > 1.959963984540054 * *error : told_from_chance(value, n, chance);
}

// Scores of several languages or replicates together. Items say the same in all languages and are the same in all replicates, so they count once, as if cells went with each other in all
// (their errors are averaged), which makes intervals rather too wide.
struct Pooled {
  double value = 0, chance = 0, error = 0, root = 0;  // sums over cells; root: of 1 / sqrt(n), to which the error of a share is proportional
  std::int64_t cells = 0;
  bool has_chance = false, has_error = false;
  void add(double v, std::int64_t n, std::optional<double> by_chance, std::optional<double> e) {
    value += v;
    chance += by_chance.value_or(0);
    error += e.value_or(0);
    root += n > 0 ? 1 / std::sqrt(static_cast<double>(n)) : HUGE_VAL;
    ++cells;
    has_chance |= by_chance.has_value();
    has_error |= e.has_value();
  }
  double mean() const { return value / static_cast<double>(cells); }
  double by_chance() const { return chance / static_cast<double>(cells); }
  // Those of each cell; where cells have unequally many, as many as make the mean of the cells' errors.
  std::int64_t items() const { return cells ? static_cast<std::int64_t>(std::floor(std::pow(static_cast<double>(cells) / root, 2) + 1e-6)) : 0; }
  bool above_chance() const {
    return told_from_chance(mean(), items(), has_chance ? std::optional(by_chance()) : std::nullopt, has_error ? std::optional(error / static_cast<double>(cells)) : std::nullopt);
  }
};

struct DirectionOptions {
  std::string math = "math", single = "single", multi = "multi";
  std::string languages;  // the group of training languages to look at; empty: the one with the most scores
};

inline std::string main_group(const std::vector<Score>& scores, const DirectionOptions& options) {
  if (!options.languages.empty()) return options.languages;
  std::map<std::string, std::int64_t> count;
  for (auto& s : scores) ++count[s.languages];
  const auto most = std::max_element(count.begin(), count.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == count.end() ? "" : most->first;
}

// --- Shares of variance ---------------------------------------------------------------------------------------------------

// A score at one level of each factor, in one language.
struct Observation {
  std::vector<std::int32_t> levels;  // from 0
  std::int64_t replicate = 0;
  double value = 0;
  std::int64_t language = 0;
};

struct VarianceShare {
  std::string name;  // "task", "task x k", "higher"
  double share = 0;  // below 0 where replicates differ by more than they should with an effect of 0
  Cell low, high;    // by a bootstrap over replicates; empty below three
};

struct VarianceShares {
  std::vector<VarianceShare> effects;  // main effects and two-way interactions of the factors that have several levels in the grid, "higher" (all above)
  std::int64_t cells = 0, languages = 0, replicates = 0, dropped = 0;  // dropped: observations outside the complete sub-grid
  std::vector<std::size_t> levels;  // of each factor, in the sub-grid
  double variance = 0;  // of the cells, without the replicates' own spread
  double noise = 0;     // share of the variance of the cell means that is the replicates' own spread, and is taken off every effect
};

namespace detail {

// Keeps levels (of each factor, and languages and replicates as two more) so that every cell is there: while one is missing, the level with the largest share of
// missing cells goes, the last factor's first of equals. Empty dimensions mean that nothing complete was found.
inline std::vector<std::vector<std::int64_t>> complete_grid(const std::map<std::vector<std::int64_t>, double>& table, std::size_t dimensions) {
  std::vector<std::vector<std::int64_t>> levels(dimensions);
  for (std::size_t d = 0; d < dimensions; ++d) {
    std::set<std::int64_t> seen;
    for (auto& [key, value] : table) seen.insert(key[d]);
    levels[d].assign(seen.begin(), seen.end());
  }
  for (;;) {
    std::vector<std::map<std::int64_t, double>> present(dimensions);
    double inside = 0, all = 1;
    for (auto& [key, value] : table) {
      bool kept = true;
      for (std::size_t d = 0; d < dimensions; ++d) kept = kept && std::binary_search(levels[d].begin(), levels[d].end(), key[d]);
      if (!kept) continue;
      ++inside;
      for (std::size_t d = 0; d < dimensions; ++d) ++present[d][key[d]];
    }
    for (auto& l : levels) all *= static_cast<double>(l.size());
    if (inside >= all) return levels;
    std::size_t worst = 0;
    std::int64_t level = 0;
    double share = -1;
    for (std::size_t d = 0; d < dimensions; ++d)
      for (std::int64_t l : levels[d]) {
        double missing = 1 - present[d][l] * static_cast<double>(levels[d].size()) / all;
        if (missing >= share) {
          share = missing;
          worst = d;
          level = l;
        }
      }
    levels[worst].erase(std::find(levels[worst].begin(), levels[worst].end(), level));
    if (levels[worst].empty()) return {};
  }
}

// Variances of the effects of a full grid under equal weights (functional ANOVA, Sobol 1993): V_i = Var E[y | i], V_ij = Var E[y | i, j] - V_i - V_j.
// y is row-major over `sizes`. Order: total, main effects, pairs.
inline std::vector<double> effect_variances(std::span<const double> y, std::span<const std::size_t> sizes) {
  const double count = static_cast<double>(y.size());
  const double mean = std::accumulate(y.begin(), y.end(), 0.0) / count;
  std::vector<std::size_t> stride(sizes.size(), 1);
  for (std::size_t d = sizes.size(); d-- > 1;) stride[d - 1] = stride[d] * sizes[d];
  auto level = [&](std::size_t cell, std::size_t d) { return cell / stride[d] % sizes[d]; };
  auto variance = [&](std::size_t groups, auto&& group) {
    std::vector<double> sum(groups, 0);
    for (std::size_t c = 0; c < y.size(); ++c) sum[group(c)] += y[c] - mean;
    double v = 0, per_group = count / static_cast<double>(groups);
    for (double s : sum) v += (s / per_group) * (s / per_group) / static_cast<double>(groups);
    return v;
  };
  std::vector<double> out{variance(y.size(), [](std::size_t c) { return c; })};
  for (std::size_t i = 0; i < sizes.size(); ++i) out.push_back(variance(sizes[i], [&](std::size_t c) { return level(c, i); }));
  for (std::size_t i = 0; i < sizes.size(); ++i)
    for (std::size_t j = i + 1; j < sizes.size(); ++j)
      out.push_back(variance(sizes[i] * sizes[j], [&](std::size_t c) { return level(c, i) * sizes[j] + level(c, j); }) - out[1 + i] - out[1 + j]);
  return out;
}

}  // namespace detail

// Shares of the variance of the cells (means over languages) of main effects and two-way interactions, the rest as "higher". Missing cells: the largest complete sub-grid that
// detail::complete_grid finds is used, so that all cells mean the same languages, and what lies outside is counted. The variances are those that different replicates have in common, means of the
// products of their effects over all pairs, so the replicates' own spread, which would make every effect larger and the largest share smaller, is in none; of one replicate the plain ones.
// Intervals: Student's t by the bootstrap's standard error, whole replicates being drawn with replacement, as a replicate redraws everything (percentiles of so few would be too narrow); three are
// the least that part the spread from the effects. Where more than 2.5% of the draws have no variance in common there is no interval. Nothing where the sub-grid has fewer than two cells or replicates have no variance in common.
inline std::optional<VarianceShares> variance_shares(const std::vector<Observation>& observations, const std::vector<std::string>& factors, const BootstrapOptions& options = {}) {
  std::map<std::vector<std::int64_t>, double> table;
  for (auto& o : observations) {
    check(o.levels.size() == factors.size(), "clt.factors", "variance shares: an observation has ", o.levels.size(), " levels, there are ", factors.size(), " factors");
    std::vector<std::int64_t> key(o.levels.begin(), o.levels.end());
    key.push_back(o.language);
    key.push_back(o.replicate);
    check(table.emplace(std::move(key), o.value).second, "clt.twice", "variance shares: one cell of replicate ", o.replicate, " is there twice");
  }
  if (table.empty()) return std::nullopt;
  auto levels = detail::complete_grid(table, factors.size() + 2);
  if (levels.empty()) return std::nullopt;
  std::vector<std::size_t> sizes;
  std::size_t cells = 1;
  for (std::size_t d = 0; d < factors.size(); ++d) {
    sizes.push_back(levels[d].size());
    cells *= levels[d].size();
  }
  const std::vector<std::int64_t>&languages = levels[factors.size()], &replicates = levels.back();
  if (cells < 2) return std::nullopt;
  // y[replicate][cell]
  std::vector<std::vector<double>> y(replicates.size(), std::vector<double>(cells));
  for (std::size_t c = 0; c < cells; ++c) {
    std::vector<std::int64_t> key(factors.size() + 2);
    std::size_t rest = c;
    for (std::size_t d = factors.size(); d-- > 0; rest /= sizes[d]) key[d] = levels[d][rest % sizes[d]];
    for (std::size_t r = 0; r < replicates.size(); ++r)
      for (std::int64_t l : languages) {
        key[factors.size()] = l;
        key.back() = replicates[r];
        y[r][c] += table.at(key) / static_cast<double>(languages.size());
      }
  }
  std::vector<std::vector<double>> own;  // variances of each replicate
  for (const std::vector<double>& row : y) own.push_back(detail::effect_variances(row, sizes));
  // Of the replicates at `index`: the variance in common, the shares; empty where one replicate is all there is of several. plain: the variance of the means.
  auto shares = [&](std::span<const std::size_t> index, double* plain = nullptr) {
    std::vector<double> sum(cells, 0), times(y.size(), 0);
    for (std::size_t r : index) {
      ++times[r];
      for (std::size_t c = 0; c < cells; ++c) sum[c] += y[r][c];
    }
    const auto n = static_cast<double>(index.size());
    double same = 0;  // pairs of a replicate with itself
    for (double t : times) same += t * t;
    std::vector<double> v = detail::effect_variances(sum, sizes);
    if (plain) *plain = v[0] / (n * n);
    if (y.size() > 1) {
      if (!(same < n * n)) return std::vector<double>{};
      for (std::size_t i = 0; i < v.size(); ++i) {
        for (std::size_t r = 0; r < y.size(); ++r) v[i] -= times[r] * times[r] * own[r][i];
        v[i] /= n * n - same;
      }
    }
    v.push_back(v[0] - std::accumulate(v.begin() + 1, v.end(), 0.0));
    for (std::size_t i = 1; i < v.size(); ++i) v[i] /= v[0];
    return v;
  };
  std::vector<std::size_t> index(replicates.size());
  std::iota(index.begin(), index.end(), std::size_t{0});
  double plain = 0;
  const std::vector<double> point = shares(index, &plain);
  const double rounding = 1e-12 * plain;
  if (!(plain > 0 && point[0] > rounding)) return std::nullopt;
  VarianceShares result;
  result.cells = static_cast<std::int64_t>(cells);
  result.languages = static_cast<std::int64_t>(languages.size());
  result.replicates = static_cast<std::int64_t>(replicates.size());
  result.dropped = static_cast<std::int64_t>(table.size() - cells * languages.size() * replicates.size());
  result.levels = sizes;
  result.variance = point[0];
  result.noise = 1 - point[0] / plain;
  std::vector<std::size_t> at;  // where in `point` each effect's share is
  std::size_t next = 1;
  auto effect = [&](const std::string& name, bool varies) {
    if (varies) {
      result.effects.push_back({name, point[next], {}, {}});
      at.push_back(next);
    }
    ++next;
  };
  for (std::size_t i = 0; i < factors.size(); ++i) effect(factors[i], sizes[i] > 1);
  for (std::size_t i = 0; i < factors.size(); ++i)
    for (std::size_t j = i + 1; j < factors.size(); ++j) effect(factors[i] + " x " + factors[j], sizes[i] > 1 && sizes[j] > 1);
  effect("higher", true);
  if (replicates.size() < 3) return result;
  std::vector<std::vector<double>> drawn(result.effects.size());
  std::int64_t nothing_in_common = 0;
  for (std::int64_t b = 0; b < options.resamples; ++b) {
    resample(options.seed, b, index);
    const std::vector<double> v = shares(index);
    if (v.empty()) continue;
    if (!(v[0] > rounding)) ++nothing_in_common;
    else
      for (std::size_t e = 0; e < drawn.size(); ++e) drawn[e].push_back(v[at[e]]);
  }
  for (std::size_t e = 0; e < drawn.size(); ++e) {
    if (drawn[e].empty() || static_cast<double>(nothing_in_common) > 0.025 * static_cast<double>(drawn[e].size())) continue;
    const auto n = static_cast<double>(replicates.size());
    double m = 0, square = 0;
    for (double x : drawn[e]) m += x / static_cast<double>(drawn[e].size());
    for (double x : drawn[e]) square += (x - m) * (x - m) / static_cast<double>(drawn[e].size());
    if (!(square > 1e-24)) continue;
    const double half = t_quantile(result.replicates - 1) * std::sqrt(square * n / (n - 1));
    result.effects[e].low = std::max(0.0, result.effects[e].share - half);
    result.effects[e].high = std::min(1.0, result.effects[e].share + half);
  }
  return result;
}

// What is decomposed: the scores of the main group of training languages over all amounts of data; or the single-task ones of the other groups, which have equally many examples and are there at the
// largest k alone, so that no complete grid has both.
enum class Design { amounts, groups };
inline const std::vector<std::string>& factors_of(Design d) {
  static const std::vector<std::string> amounts{"task", "setting", "size", "k"}, groups{"task", "size", "language group"};
  return d == Design::amounts ? amounts : groups;
}

// What is explained: the scores themselves, whose levels tell mostly how hard a task is; or y(k) - y(0), what the examples in the seen languages changed, which is transfer where the split is unseen.
enum class Response { score, change };
inline const char* name_of(Response r) { return r == Response::score ? "score" : "change"; }

// The response in each language of one split and each replicate, by the levels of the factors. A language of a cell that cannot be told from chance, its replicates together, is left out with all of
// them. y(0) may be at chance, since nothing is divided by it.
inline std::vector<Observation> observations(const std::vector<Score>& scores, Split split, Response response, Design design = Design::amounts, const DirectionOptions& options = {}) {
  const std::string group = main_group(scores, options);
  std::map<std::pair<std::size_t, std::string>, std::int32_t> known;  // of a factor, or of languages: a name's level
  auto level = [&](std::size_t factor, const std::string& name) { return known.try_emplace({factor, name}, static_cast<std::int32_t>(known.size())).first->second; };
  using Place = std::tuple<std::string, std::string, std::int64_t, std::string, std::int64_t>;
  auto place = [](const Score& s) { return Place(s.task, s.setting, s.size, s.language, s.replicate); };
  std::map<Place, double> before;
  for (auto& s : scores)
    if (s.split == split && s.k == 0 && s.languages == group) before[place(s)] = s.value;
  struct Language {
    Pooled all;  // its replicates
    std::vector<Observation> each;
  };
  std::map<std::pair<std::vector<std::int32_t>, std::string>, Language> cells;
  for (auto& s : scores) {
    const bool change = response == Response::change;
    if (s.split != split || (change && s.k == 0) || (design == Design::amounts ? s.languages != group : s.languages == group || s.setting != options.single)) continue;
    const auto zero = before.find(place(s));
    if (change && zero == before.end()) continue;
    std::vector<std::int32_t> levels;
    for (const std::string& name : design == Design::amounts ? std::vector<std::string>{s.task, s.setting, str(s.size), str(s.k)} : std::vector<std::string>{s.task, str(s.size), s.languages})
      levels.push_back(level(levels.size(), name));
    Language& cell = cells[{levels, s.language}];
    cell.all.add(s.value, s.n, s.chance, s.error);
    cell.each.push_back({levels, s.replicate, change ? s.value - zero->second : s.value, level(levels.size(), s.language)});
  }
  std::vector<Observation> out;
  for (auto& [key, cell] : cells)
    if (cell.all.above_chance()) out.insert(out.end(), cell.each.begin(), cell.each.end());
  return out;
}

// --- Directions -----------------------------------------------------------------------------------------------------------

enum class Finding { shown, not_shown, undecided, not_testable };
inline const char* name_of(Finding f) { return f == Finding::shown ? "shown" : f == Finding::not_shown ? "not shown" : f == Finding::undecided ? "undecided" : "not testable here"; }

struct Direction {
  std::string claim;
  Finding finding = Finding::not_testable;
  std::int64_t n = 0;  // replicates
  Cell mean, low, high;  // of the quantity that decides; bounds empty below two replicates
  std::string note;      // what the quantity is, or why the data cannot test the claim
};

namespace detail {

// Scores by (task, setting, size, replicate): curves over k. A cell is judged against chance once, its replicates together: one by one, a replicate whose y(0) is high by luck would stay and fall
// back, and one whose y(0) is low would go, though it gains most.
class Table {
 public:
  Table(const std::vector<Score>& scores, const DirectionOptions& options) {
    const std::string group = main_group(scores, options);
    std::map<std::int64_t, std::set<std::string>> with;  // tasks, by k
    std::map<std::tuple<std::string, std::string, std::int64_t, std::int64_t, std::string>, Pooled> cells;
    auto cell = [](const Score& s) { return std::tuple(s.task, s.setting, s.size, s.k, s.language); };
    for (auto& s : scores)
      if (s.languages == group) cells[cell(s)].add(s.value, s.n, s.chance, s.error);
    for (auto& s : scores) {
      if (s.languages != group) continue;
      tasks.insert(s.task);
      sizes.insert(s.size);
      with[s.k].insert(s.task);
      replicates.insert(s.replicate);
      values_[{s.task, s.setting, s.size, s.replicate, s.split}][s.language][s.k] = std::isfinite(s.value) && cells.at(cell(s)).above_chance() ? Cell(s.value) : Cell();
    }
    for (auto& [k, some] : with)
      if (some == tasks) ks.insert(k);
  }
  std::set<std::string> tasks;
  std::set<std::int64_t> sizes, ks, replicates;  // ks: those at which all tasks are

  // The mean over languages at each of `at`; only languages that have a cell at each of them enter, so that all points mean the same languages.
  std::vector<Cell> curve(const std::string& task, const std::string& setting, std::int64_t size, std::int64_t replicate, Split split, const std::vector<std::int64_t>& at) const {
    std::vector<Cell> out(at.size());
    auto found = values_.find({task, setting, size, replicate, split});
    if (found == values_.end()) return out;
    double languages = 0;
    std::vector<double> sum(at.size(), 0);
    for (auto& entry : found->second) {
      const auto& by_k = entry.second;
      bool all = std::all_of(at.begin(), at.end(), [&](std::int64_t k) {
        auto c = by_k.find(k);
        return c != by_k.end() && c->second.has_value();
      });
      if (!all) continue;
      ++languages;
      for (std::size_t i = 0; i < at.size(); ++i) sum[i] += *by_k.at(at[i]);
    }
    for (std::size_t i = 0; i < at.size() && languages > 0; ++i) out[i] = sum[i] / languages;
    return out;
  }
  // Mean over languages of what multi-task training loses at one k, of the languages that have a cell in both settings.
  Cell lost_at(const std::string& task, const std::string& single, const std::string& multi, std::int64_t size, std::int64_t replicate, Split split, std::int64_t k) const {
    const auto alone = values_.find({task, single, size, replicate, split}), together = values_.find({task, multi, size, replicate, split});
    if (alone == values_.end() || together == values_.end()) return {};
    auto at = [k](const std::map<std::int64_t, Cell>& by_k) {
      const auto c = by_k.find(k);
      return c == by_k.end() ? Cell() : c->second;
    };
    std::vector<Cell> lost;
    for (auto& [language, by_k] : alone->second)
      if (const auto other = together->second.find(language); other != together->second.end()) lost.push_back(difference(at(by_k), at(other->second)));
    return mean(lost);
  }
  // Mean over languages of (y(k) - y(0)) / y(0); most: what it would be if each y(k) were 1.
  Cell gain_at(const std::string& task, const std::string& setting, std::int64_t size, std::int64_t replicate, Split split, std::int64_t k, bool most = false) const {
    auto found = values_.find({task, setting, size, replicate, split});
    if (found == values_.end()) return {};
    std::vector<Cell> gains;
    for (auto& [language, by_k] : found->second) {
      auto zero = by_k.find(0), y = by_k.find(k);
      if (zero != by_k.end() && y != by_k.end() && y->second) gains.push_back(gain(zero->second, most ? Cell(1.0) : y->second));
    }
    return mean(gains);
  }
  // Where the unseen curve reaches its plateau; k = 0 counts as the least k above 0, which a ratio can take.
  Cell plateau(const std::string& task, const std::string& setting, std::int64_t size, std::int64_t replicate) const {
    std::vector<std::int64_t> k(ks.begin(), ks.end());
    auto p = data_to_plateau(k, curve(task, setting, size, replicate, Split::unseen, k));
    auto least = ks.upper_bound(0);
    if (!p || least == ks.end()) return {};
    return static_cast<double>(std::max(*p, *least));
  }

 private:
  std::map<std::tuple<std::string, std::string, std::int64_t, std::int64_t, Split>, std::map<std::string, std::map<std::int64_t, Cell>>> values_;
};

inline void set(Direction& d, const Interval& i) {
  d.n = i.n;
  if (i.n > 0) d.mean = i.mean;
  if (i.n > 1) {
    d.low = i.low;
    d.high = i.high;
  }
}

// Claim: the quantity is above `bound`. One value a replicate; nothing to test where no replicate has one.
inline void decide_above(Direction& d, const std::vector<double>& values, double bound, std::string_view missing) {
  Interval i = t_interval(values);
  set(d, i);
  if (i.n == 0) {
    d.note = missing;
    return;
  }
  d.finding = i.low > bound ? Finding::shown : i.high < bound ? Finding::not_shown : Finding::undecided;
}

}  // namespace detail

// Math gains most from multilingual data: at the smallest size, single-task, at the largest k, its gain over unseen languages less the largest of the other tasks'. Scores end at 1: where math starts so
// high that it cannot gain as much as another task does, the claim cannot be tested.
inline Direction math_gains_most(const std::vector<Score>& scores, const DirectionOptions& options = {}) {
  Direction d;
  d.claim = "math gains most from multilingual data";
  detail::Table t(scores, options);
  std::vector<double> values;
  double possible = 0, others = 0;  // sums over replicates
  const std::int64_t largest = t.ks.empty() ? 0 : *t.ks.rbegin();  // none: no k has all tasks
  for (std::int64_t r : t.replicates) {
    Cell math = t.gain_at(options.math, options.single, *t.sizes.begin(), r, Split::unseen, largest), other;
    bool all = true;
    for (auto& task : t.tasks) {
      if (task == options.math) continue;
      Cell g = t.gain_at(task, options.single, *t.sizes.begin(), r, Split::unseen, largest);
      all = all && g;
      if (g && (!other || *g > *other)) other = g;
    }
    if (all)
      if (Cell v = difference(math, other)) {
        values.push_back(*v);
        possible += *t.gain_at(options.math, options.single, *t.sizes.begin(), r, Split::unseen, largest, true);
        others += *other;
      }
  }
  d.note = "gain of math less the largest other gain, smallest size, single-task, largest k, unseen languages";
  detail::decide_above(d, values, 0, "no replicate has a gain of math and of every other task: it needs scores at k = 0 and at the largest k that can be told from chance");
  if (values.empty() || !(possible < others)) return d;
  const auto n = static_cast<double>(values.size());
  d.finding = Finding::not_testable;
  d.note += str("; math starts so high that it can gain at most ", std::round(1000 * possible / n) / 1000, ", the other tasks' largest gain is ", std::round(1000 * others / n) / 1000);
  return d;
}

// Math needs about ten times more multilingual data: log10 of its data-to-plateau over the geometric mean of the other tasks', smallest size, single-task. Nearer to ten
// than to one is above one half. A grid of k that does not span a factor of ten cannot show it. A plateau at the largest k may lie beyond it.
inline Direction math_needs_more_data(const std::vector<Score>& scores, const DirectionOptions& options = {}) {
  Direction d;
  d.claim = "math needs about ten times more multilingual data than the other tasks";
  detail::Table t(scores, options);
  auto least = t.ks.upper_bound(0);
  if (least == t.ks.end() || *t.ks.rbegin() < 10 * *least) {
    d.note = "the values of k span less than a factor of ten";
    return d;
  }
  std::vector<double> values;
  for (std::int64_t r : t.replicates) {
    Cell math = t.plateau(options.math, options.single, *t.sizes.begin(), r);
    std::vector<Cell> others;
    bool all = true;
    for (auto& task : t.tasks)
      if (task != options.math) {
        Cell p = t.plateau(task, options.single, *t.sizes.begin(), r);
        all = all && p;
        if (p) others.push_back(math::log(*p));
      }
    Cell other = mean(others);
    if (math && other && all) values.push_back((math::log(*math) - *other) / 2.302585092994046);
  }
  d.note = "log10 of data-to-plateau of math over that of the other tasks; shown above 0.5";
  detail::decide_above(d, values, 0.5, "no replicate has a plateau of math and of every other task");
  return d;
}

// Larger models reach their plateau with less data: log10 of data-to-plateau at the smallest size over that at the largest, mean over tasks, single-task.
inline Direction larger_plateau_earlier(const std::vector<Score>& scores, const DirectionOptions& options = {}) {
  Direction d;
  d.claim = "larger models plateau earlier";
  detail::Table t(scores, options);
  if (t.sizes.size() < 2) {
    d.note = "there is one size";
    return d;
  }
  std::vector<double> values;
  for (std::int64_t r : t.replicates) {
    std::vector<Cell> logs;
    for (auto& task : t.tasks) {
      Cell small = t.plateau(task, options.single, *t.sizes.begin(), r), large = t.plateau(task, options.single, *t.sizes.rbegin(), r);
      if (small && large) logs.push_back((math::log(*small) - math::log(*large)) / 2.302585092994046);
    }
    if (Cell m = mean(logs)) values.push_back(*m);
  }
  d.note = "log10 of data-to-plateau at the smallest size over that at the largest, mean over tasks";
  detail::decide_above(d, values, 0, "no replicate has a plateau at both sizes");
  return d;
}

// The gap between seen and unseen languages does not close with data: single-task, mean over tasks and sizes, at the largest k it is above half of what it was at the least k
// above 0 (and that was above 0).
inline Direction gap_stays(const std::vector<Score>& scores, const DirectionOptions& options = {}) {
  Direction d;
  d.claim = "the seen-unseen gap does not close with data";
  detail::Table t(scores, options);
  auto least = t.ks.upper_bound(0);
  if (least == t.ks.end() || *least == *t.ks.rbegin()) {
    d.note = "there are fewer than two values of k above 0";
    return d;
  }
  std::vector<double> first, kept;
  for (std::int64_t r : t.replicates) {
    std::vector<Cell> at_first, at_last;
    for (auto& task : t.tasks)
      for (std::int64_t size : t.sizes) {
        std::vector<std::int64_t> at{*least, *t.ks.rbegin()};
        auto seen = t.curve(task, options.single, size, r, Split::seen, at), unseen = t.curve(task, options.single, size, r, Split::unseen, at);
        Cell a = seen_unseen_gap(seen[0], unseen[0]), b = seen_unseen_gap(seen[1], unseen[1]);
        if (!a || !b) continue;
        at_first.push_back(a);
        at_last.push_back(b);
      }
    if (at_first.empty()) continue;
    first.push_back(*mean(at_first));
    kept.push_back(*mean(at_last) - 0.5 * *mean(at_first));
  }
  d.note = "gap at the largest k less half of that at the least k above 0, mean over tasks and sizes";
  Interval start = t_interval(first);
  if (start.n > 1 && !(start.low > 0)) {
    detail::set(d, start);
    d.finding = start.high <= 0 ? Finding::not_testable : Finding::undecided;
    d.note = "the gap at the least k above 0 is not surely above 0, so there may be none to close";
    return d;
  }
  detail::decide_above(d, kept, 0, "no replicate has seen and unseen scores at both ends");
  return d;
}

// Multi-task training hurts math at the smallest size: single-task less multi-task at equal task data (the same k), mean over k above 0, seen and unseen languages.
inline Direction multi_task_hurts_math(const std::vector<Score>& scores, const DirectionOptions& options = {}) {
  Direction d;
  d.claim = "multi-task training hurts math at small size";
  detail::Table t(scores, options);
  std::vector<double> values;
  for (std::int64_t r : t.replicates) {
    std::vector<Cell> lost;
    for (std::int64_t k : t.ks)
      for (Split split : {Split::seen, Split::unseen}) {
        if (k == 0) continue;
        lost.push_back(t.lost_at(options.math, options.single, options.multi, *t.sizes.begin(), r, split, k));
      }
    if (Cell m = mean(lost)) values.push_back(*m);
  }
  d.note = "single-task less multi-task score of math at equal task data, smallest size, mean over k above 0 and languages";
  detail::decide_above(d, values, 0, "no replicate has math in both settings at one k");
  return d;
}

// No single variable explains transfer: the largest main effect explains less than half of the variance of the changes since k = 0 in unseen languages.
inline Direction no_single_variable(const std::optional<VarianceShares>& shares) {
  Direction d;
  d.claim = "no single variable explains transfer";
  if (!shares) {
    d.note = "there is no complete grid of changes with a spread that replicates have in common";
    return d;
  }
  std::size_t factors = 0;
  const VarianceShare* largest = nullptr;
  for (auto& e : shares->effects) {
    if (e.name == "higher" || e.name.find(" x ") != e.name.npos) continue;
    ++factors;
    if (!largest || e.share > largest->share) largest = &e;
  }
  d.n = shares->replicates;
  if (factors < 2) {
    d.note = "fewer than two variables have several levels in the grid";
    return d;
  }
  d.mean = largest->share;
  d.low = largest->low;
  d.high = largest->high;
  d.note = str("share of the largest main effect (", largest->name, ") in the variance of y(k) - y(0), ", shares->cells, " cells of ", shares->languages, " unseen languages; shown below one half; ", std::round(100 * shares->noise), "% of the variance of the means is the replicates' own spread and is taken off");
  d.finding = !d.low || !d.high ? Finding::undecided : *d.high < 0.5 ? Finding::shown : *d.low > 0.5 ? Finding::not_shown : Finding::undecided;
  return d;
}

// All directions of docs/method.md, 2.2. scores: one score name, each (task, setting, size, k, languages, language, replicate) once.
inline std::vector<Direction> directions(const std::vector<Score>& scores, const DirectionOptions& options = {}, const BootstrapOptions& bootstrap_options = {}) {
  if (scores.empty()) fail(ErrorKind::input, "clt.empty", "directions: wanted scores, got none");
  std::map<std::string, std::string> by_task;
  std::set<std::tuple<std::string, std::string, std::int64_t, std::int64_t, std::string, std::string, std::int64_t>> once;
  for (auto& s : scores) {
    if (!once.insert({s.task, s.setting, s.size, s.k, s.languages, s.language, s.replicate}).second)
      fail(ErrorKind::input, "clt.twice", "directions: ", printable(s.task, 40), ", ", printable(s.setting, 40), ", k ", s.k, ", ", printable(s.language, 40), ", replicate ", s.replicate, " is there twice");
    if (auto [at, fresh] = by_task.try_emplace(s.task, s.score); !fresh && at->second != s.score)
      fail(ErrorKind::input, "clt.scores", "directions: the task ", printable(s.task, 40), " has the scores ", printable(at->second, 40), " and ", printable(s.score, 40), "; give one of them");
  }
  return {math_gains_most(scores, options), math_needs_more_data(scores, options), larger_plateau_earlier(scores, options), gap_stays(scores, options), multi_task_hurts_math(scores, options),
          no_single_variable(variance_shares(observations(scores, Split::unseen, Response::change, Design::amounts, options), factors_of(Design::amounts), bootstrap_options))};
}

}  // namespace bam::clt
