// Verdicts on claims about paired differences, one a replicate (docs/method.md, 1.4): shown when the 95% t-interval lies in the claimed
// direction, refuted when it lies in the other, else undecided.
#pragma once
#include <vector>

#include "../eval/interval.hpp"

namespace bam::study {

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
