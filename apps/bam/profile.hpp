// Where a run's time went.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "bam/tensor/kernel.hpp"
#include "output.hpp"

namespace bam::app {

inline std::string profile_table(const Profile& profile, double wall, double limit) {
  Table table;
  table.add({"kernel", "calls", "seconds", "of run", "GFLOP/s", "of limit"});
  std::vector<int> order;
  double total = 0;
  for (int i = 0; i < static_cast<int>(Row::count); ++i) {
    if (profile.rows[i].calls) order.push_back(i);
    total += profile.rows[i].seconds;
  }
  std::sort(order.begin(), order.end(), [&](int a, int b) { return profile.rows[a].seconds > profile.rows[b].seconds; });
  for (int i : order) {
    const auto& e = profile.rows[i];
    double rate = e.flops / e.seconds;
    table.add({name_of(static_cast<Row>(i)), str(e.calls), fmt::format("{:.3f}", e.seconds), fmt::format("{:.1f}%", 100 * e.seconds / wall),
               e.flops > 0 ? fmt::format("{:.0f}", rate / 1e9) : "-", e.flops > 0 ? fmt::format("{:.0f}%", 100 * rate / limit) : "-"});
  }
  table.add({"outside kernels", "", fmt::format("{:.3f}", wall - total), fmt::format("{:.1f}%", 100 * (wall - total) / wall), "", ""});
  return table.text();
}

}  // namespace bam::app
