// Verdicts on claims about paired differences, one a replicate (METHOD 1.5): shown when the 95% t-interval lies in the claimed
// direction, refuted when it lies in the other, else undecided.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace bam::study {

// Bounds are infinite below two values.
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
  const double half = t_quantile(i.n - 1) * std::sqrt(square / (n - 1) / n);
  i.low = i.mean - half;
  i.high = i.mean + half;
  return i;
}

enum class Verdict { shown, refuted, undecided };
inline const char* name_of(Verdict v) { return v == Verdict::shown ? "shown" : v == Verdict::refuted ? "refuted" : "undecided"; }

inline constexpr double tolerance = 0.002;  // nats per byte: "no worse" and "no better"

// d = a - b in nats per byte. a < b.
inline Verdict below(const Interval& d) { return d.high < 0 ? Verdict::shown : d.low > 0 ? Verdict::refuted : Verdict::undecided; }
// a <= b.
inline Verdict not_above(const Interval& d) { return d.high <= tolerance ? Verdict::shown : d.low > 0 ? Verdict::refuted : Verdict::undecided; }
// a is no better than b.
inline Verdict not_below(const Interval& d) { return d.low >= -tolerance ? Verdict::shown : d.high < 0 ? Verdict::refuted : Verdict::undecided; }
// gap: a behind the best; beyond: gap less half of the baseline's gap. Close behind: 0 < gap < half.
inline Verdict close_behind(const Interval& gap, const Interval& beyond) {
  if (gap.low > 0 && beyond.high < 0) return Verdict::shown;
  return gap.high < 0 || beyond.low > 0 ? Verdict::refuted : Verdict::undecided;
}
// A claim on every domain needs all of them.
inline Verdict all_of(const std::vector<Verdict>& parts) {
  Verdict v = parts.empty() ? Verdict::undecided : Verdict::shown;
  for (Verdict p : parts) {
    if (p == Verdict::refuted) return Verdict::refuted;
    if (p == Verdict::undecided) v = Verdict::undecided;
  }
  return v;
}

}  // namespace bam::study
