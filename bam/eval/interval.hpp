// Uncertainty of a measured share or ratio.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "../core/error.hpp"

namespace bam {

struct Bounds {
  double low = 0, high = 1;
};

// 95% score interval of a share, right of n (Wilson, 1927); the whole of [0, 1] where n is 0.
inline Bounds wilson_interval(std::int64_t right, std::int64_t n) {
  check(n >= 0 && right >= 0 && right <= n, "interval.share", "wilson_interval: ", right, " of ", n);
  if (n == 0) return {};
  const double z = 1.959963984540054, m = static_cast<double>(n), p = static_cast<double>(right) / m;
  const double centre = p + z * z / (2 * m), half = z * std::sqrt(p * (1 - p) / m + z * z / (4 * m * m)), scale = 1 + z * z / m;
  return {right == 0 ? 0.0 : std::max(0.0, (centre - half) / scale), right == n ? 1.0 : std::min(1.0, (centre + half) / scale)};
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

}  // namespace bam
