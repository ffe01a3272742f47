// Learning-rate schedules over steps 0 .. steps - 1: linear warmup to lr, then constant, cosine down to min_ratio * lr, or WSD
// (warmup, stable, decay; Hu et al. 2024): lr until the last decay_steps, then linear down to min_ratio * lr.
#pragma once
#include "../core/math.hpp"

namespace bam {

enum class ScheduleKind { constant, cosine, wsd };
struct Schedule {
  ScheduleKind kind = ScheduleKind::cosine;
  double lr = 1e-3, min_ratio = 0.1;
  std::int64_t steps = 1, warmup = 0, decay_steps = 0;

  double at(std::int64_t step) const {
    if (step < warmup) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
    auto part = [](std::int64_t a, std::int64_t b) { return b > 0 ? static_cast<double>(a) / static_cast<double>(b) : 1.0; };
    if (kind == ScheduleKind::cosine) {
      double x = part(step - warmup, steps - warmup);
      return lr * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math::cos(3.141592653589793 * (x < 1 ? x : 1))));
    }
    if (kind == ScheduleKind::wsd && step >= steps - decay_steps) {
      double x = part(step - (steps - decay_steps), decay_steps);
      return lr * (1 - (1 - min_ratio) * (x < 1 ? x : 1));
    }
    return lr;
  }
};

}  // namespace bam
