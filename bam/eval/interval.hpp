// Uncertainty of a measured share, ratio or mean.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "../core/error.hpp"
#include "../core/math.hpp"

namespace bam {

struct Bounds {
  double low = 0, high = 1;
};

// 95% score interval of a share of n (Wilson, 1927); the whole of [0, 1] where n is 0. The share may be a mean over several samples of n, and then no whole number of them.
inline Bounds wilson_of_share(double p, double m) {
  if (!(m > 0)) return {};
  const double z = 1.959963984540054;
  const double centre = p + z * z / (2 * m), half = z * std::sqrt(p * (1 - p) / m + z * z / (4 * m * m)), scale = 1 + z * z / m;
  return {p <= 0 ? 0.0 : std::max(0.0, (centre - half) / scale), p >= 1 ? 1.0 : std::min(1.0, (centre + half) / scale)};
}
inline Bounds wilson_interval(std::int64_t right, std::int64_t n) {
  check(n >= 0 && right >= 0 && right <= n, "interval.share", "wilson_interval: ", right, " of ", n);
  return wilson_of_share(n == 0 ? 0 : static_cast<double>(right) / static_cast<double>(n), static_cast<double>(n));
}

// P(X >= hits) of a binomial X of n trials that succeed with probability p; between whole numbers of hits, in between.
inline double binomial_tail(double hits, std::int64_t n, double p) {
  check(n >= 0 && p >= 0 && p <= 1, "interval.binomial", "binomial_tail: ", n, " trials, probability ", p);
  const double whole = std::floor(hits);
  if (hits > whole) return (whole + 1 - hits) * binomial_tail(whole, n, p) + (hits - whole) * binomial_tail(whole + 1, n, p);
  if (hits <= 0 || p == 1) return hits <= static_cast<double>(n) ? 1 : 0;
  if (hits > static_cast<double>(n) || p == 0) return 0;
  const auto h = static_cast<std::int64_t>(hits);
  double log_term = static_cast<double>(n - h) * math::log(1 - p);
  for (std::int64_t i = 1; i <= h; ++i) log_term += math::log(static_cast<double>(n - h + i) / static_cast<double>(i) * p);
  double term = math::exp(log_term), tail = 0;
  for (std::int64_t i = h; i <= n; ++i) {
    tail += term;
    term *= static_cast<double>(n - i) / static_cast<double>(i + 1) * p / (1 - p);
  }
  return std::min(1.0, tail);
}

// Standard error of sum(x) / sum(size) as a ratio estimator over items; 0 below two items.
inline double ratio_stderr(const std::vector<double>& x, const std::vector<double>& size) {
  check(x.size() == size.size(), "interval.ratio", "ratio_stderr: ", x.size(), " values, ", size.size(), " sizes");
  double total = 0, all = 0, spread = 0;
  for (double v : x) total += v;
  for (double s : size) all += s;
  if (x.size() < 2 || !(all > 0)) return 0;
  const double ratio = total / all, n = static_cast<double>(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    double e = x[i] - ratio * size[i];
    spread += e * e;
  }
  return std::sqrt(spread * n / (n - 1)) / all;
}

// Mean and its 95% interval (Student's t); bounds are infinite below two values, and where all are equal but for rounding: a grid of items or of amounts of data makes that so by chance, and then
// the spread is not known.
struct Interval {
  std::int64_t n = 0;
  double mean = 0, low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
};

// 97.5% quantile of Student's t.
inline double t_quantile(std::int64_t freedom) {
  static constexpr std::array<double, 30> table{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
                                                2.120,  2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042};
  if (freedom <= 30) return table[static_cast<std::size_t>(freedom - 1)];
  return 1.96 + 2.4 / static_cast<double>(freedom);  // within 0.001
}

inline Interval t_interval(const std::vector<double>& values) {
  Interval i;
  i.n = static_cast<std::int64_t>(values.size());
  if (values.empty()) return i;
  const auto n = static_cast<double>(i.n);
  for (double v : values) i.mean += v / n;
  if (i.n < 2) return i;
  double square = 0;
  for (double v : values) square += (v - i.mean) * (v - i.mean);
  if (!(square > 1e-24 * n * i.mean * i.mean)) return i;
  const double half = t_quantile(i.n - 1) * std::sqrt(square / (n - 1) / n);
  i.low = i.mean - half;
  i.high = i.mean + half;
  return i;
}

}  // namespace bam
