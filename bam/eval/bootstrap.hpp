// Bootstrap over the items of a test set (Efron 1979; paired use as in Koehn 2004), and Pearson's r with its interval.
//
// Draw i of resample r is a function of (seed, r, i) alone, so a result does not depend on threads or on what was drawn before.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "../core/error.hpp"
#include "../core/math.hpp"
#include "../core/random.hpp"

namespace bam {

struct BootstrapOptions {
  std::int64_t resamples = 10000;
  std::uint64_t seed = 1;
  double level = 0.95;  // of the interval
};

struct BootstrapResult {
  std::int64_t n = 0;          // items
  double value = 0;            // of the sample itself
  double low = 0, high = 0;    // percentile interval
  double p = 1;                // two-sided, of value = 0
  std::int64_t undefined = 0;  // resamples whose statistic was NaN; they are left out
};

// Quantile by linear interpolation between order statistics (numpy's default). sorted: ascending, not empty.
inline double quantile(std::span<const double> sorted, double q) {
  check(!sorted.empty() && q >= 0 && q <= 1, "bootstrap.quantile", "quantile: of ", sorted.size(), " values at ", q);
  double at = q * static_cast<double>(sorted.size() - 1);
  auto below = static_cast<std::size_t>(at);
  std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

// Indices 0 to n - 1 drawn with replacement into out.
inline void resample(std::uint64_t seed, std::int64_t number, std::span<std::size_t> out) {
  constexpr std::uint32_t stream = 0x626f6f74;
  for (std::size_t i = 0; i < out.size(); ++i) {
    Philox4 x = philox(seed, stream, static_cast<std::uint32_t>(number), i);
    // The high half of a 64-bit draw times n: the bias is below n / 2^64.
    std::uint64_t bits = static_cast<std::uint64_t>(x.v[0]) << 32 | x.v[1], n = out.size();
    std::uint64_t low = (bits & 0xffffffffu) * n, high = (bits >> 32) * n;
    out[i] = static_cast<std::size_t>((high + (low >> 32)) >> 32);
  }
}

// statistic(indices) for a resample of n items; of the items themselves for `value`. p is the share of resamples that lie as far from the value as 0 does
// (the null is the resampled distribution moved to 0), counting the sample itself: (1 + #{|s* - s| >= |s|}) / (1 + resamples).
template <class F>
BootstrapResult bootstrap(std::size_t n, F&& statistic, const BootstrapOptions& options = {}) {
  check(n >= 1 && options.resamples >= 1 && options.level > 0 && options.level < 1, "bootstrap.options", "bootstrap: ", n, " items, ", options.resamples, " resamples, level ", options.level,
        "; wanted at least one of each and a level between 0 and 1");
  BootstrapResult r;
  r.n = static_cast<std::int64_t>(n);
  std::vector<std::size_t> index(n);
  for (std::size_t i = 0; i < n; ++i) index[i] = i;
  r.value = statistic(std::span<const std::size_t>(index));
  std::vector<double> values;
  std::int64_t far = 0;
  for (std::int64_t b = 0; b < options.resamples; ++b) {
    resample(options.seed, b, index);
    double s = statistic(std::span<const std::size_t>(index));
    if (std::isnan(s)) {
      ++r.undefined;
      continue;
    }
    values.push_back(s);
    far += std::fabs(s - r.value) >= std::fabs(r.value) * (1 - 1e-12);  // rounding must not part equal distances
  }
  if (values.empty() || std::isnan(r.value)) {
    r.low = -std::numeric_limits<double>::infinity();
    r.high = std::numeric_limits<double>::infinity();
    return r;
  }
  std::sort(values.begin(), values.end());
  r.low = quantile(values, (1 - options.level) / 2);
  r.high = quantile(values, (1 + options.level) / 2);
  r.p = static_cast<double>(far + 1) / static_cast<double>(values.size() + 1);
  return r;
}

inline BootstrapResult bootstrap_mean(std::span<const double> values, const BootstrapOptions& options = {}) {
  return bootstrap(values.size(), [&](std::span<const std::size_t> index) {
    double sum = 0;
    for (std::size_t i : index) sum += values[i];
    return sum / static_cast<double>(index.size());
  }, options);
}

// Difference of means a - b of scores of the same items.
inline BootstrapResult paired_bootstrap(std::span<const double> a, std::span<const double> b, const BootstrapOptions& options = {}) {
  check(a.size() == b.size(), "bootstrap.size", "paired bootstrap: ", a.size(), " and ", b.size(), " scores; wanted one of each per item");
  std::vector<double> d(a.size());
  for (std::size_t i = 0; i < d.size(); ++i) d[i] = a[i] - b[i];
  return bootstrap_mean(d, options);
}

struct Correlation {
  std::int64_t n = 0;
  double r = 0, low = -1, high = 1;  // 95%, by Fisher's z; [-1, 1] below four pairs
};

// Nothing below two pairs or where one side is constant.
inline std::optional<Correlation> pearson(std::span<const double> x, std::span<const double> y) {
  check(x.size() == y.size(), "pearson.size", "pearson: ", x.size(), " and ", y.size(), " values");
  if (x.size() < 2) return std::nullopt;
  const auto n = static_cast<double>(x.size());
  double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    mx += x[i] / n;
    my += y[i] / n;
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mx) * (x[i] - mx);
    yy += (y[i] - my) * (y[i] - my);
    xy += (x[i] - mx) * (y[i] - my);
  }
  // A spread that rounding alone explains is none.
  if (!(xx > 1e-26 * n * mx * mx) || !(yy > 1e-26 * n * my * my)) return std::nullopt;
  Correlation c;
  c.n = static_cast<std::int64_t>(x.size());
  c.r = std::clamp(xy / std::sqrt(xx) / std::sqrt(yy), -1.0, 1.0);
  if (c.n < 4) return c;
  auto tanh = [](double z) { return 1 - 2 / (math::exp(2 * z) + 1); };
  if (std::fabs(c.r) >= 1) {
    c.low = c.high = c.r;
    return c;
  }
  double z = 0.5 * math::log((1 + c.r) / (1 - c.r)), half = 1.959963984540054 / std::sqrt(n - 3);
  c.low = tanh(z - half);
  c.high = tanh(z + half);
  return c;
}

}  // namespace bam
