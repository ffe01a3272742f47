// Router and the plan of routes; formulas and sources in cpu/router.inl. Sixteen lanes a token; counts, offsets and the stable order of assignments by one block,
// which scans integers only.
#pragma once
#include "softmax.cuh"

namespace bam::cuda {

struct RouterRowsKernel {
  RouterArgs s;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(s.tokens);
    const std::int64_t E = s.experts, n = at.on ? E : 0;
    float *p = s.probs + at.row * E, *gate = s.gates + at.row * E;
    const ExpSum e = exp_sum(s.logits + at.row * E, n, 1.0f, p, at.lane);
    const float inverse = 1.0f / e.sum;
    for (std::int64_t c = at.lane; c < n; c += row_lanes) {
      p[c] = p[c] * inverse;
      gate[c] = 0.0f;
    }
    sync_warp();
    if (!at.on || at.lane != 0) return;
    const float lse = e.max + math::log(e.sum);
    if (s.lse) s.lse[at.row] = lse;
    if (s.z) s.z[at.row] = s.real && !s.real[at.row] ? 0.0f : lse * lse;
    // Each next one is the first of those after the last in the order (falling p, rising index). NaN ranks as -1: below every probability, so that the indices
    // are always K different experts.
    std::int32_t* chosen = s.chosen + at.row * s.top_k;
    float last = 2, total = 0;
    std::int32_t last_index = -1;
    for (std::int64_t j = 0; j < s.top_k; ++j) {
      float best = -2;
      std::int32_t best_index = 0;
      for (std::int32_t i = 0; i < E; ++i) {
        const float key = p[i] == p[i] ? p[i] : -1.0f;
        if (key > best && (key < last || (key == last && i > last_index))) {
          best = key;
          best_index = i;
        }
      }
      chosen[j] = last_index = best_index;
      last = best;
      total += p[best_index];
    }
    for (std::int64_t j = 0; j < s.top_k; ++j) gate[chosen[j]] = s.renormalize ? p[chosen[j]] / total : p[chosen[j]];
  }
};

inline constexpr int plan_threads = 256;

// Sum of x over the threads of a block of plan_threads, and of those before the caller. `space` holds plan_threads integers, and is free again on return.
struct Scan {
  std::int64_t before, total;
};
BAM_DEVICE Scan scan_block(std::int64_t x, std::int64_t* space) {
  const int t = thread();
  space[t] = x;
  sync();
  for (int d = 1; d < plan_threads; d *= 2) {
    const std::int64_t add = t >= d ? space[t - d] : 0;
    sync();
    space[t] += add;
    sync();
  }
  const Scan s{space[t] - x, space[plan_threads - 1]};
  sync();
  return s;
}

struct RouterCountsKernel {  // one block
  RouterArgs s;
  BAM_DEVICE void operator()() const {
    auto* space = shared<std::int64_t>();
    std::int64_t all = 0;
    if (s.counts)
      for (std::int64_t e = 0; e < s.experts; ++e) {
        std::int64_t n = 0;
        for (std::int64_t i = thread(); i < s.tokens * s.top_k; i += plan_threads) n += s.chosen[i] == e && (!s.real || s.real[i / s.top_k]);
        const std::int64_t total = scan_block(n, space).total;
        if (thread() == 0) s.counts[e] = total;
        all += total;
      }
    sync();
    if (s.f_used)
      for (std::int64_t e = thread(); e < s.experts; e += plan_threads)
        s.f_used[e] = s.f ? s.f[e] : all == 0 ? 0.0f : static_cast<float>(static_cast<double>(s.counts[e]) / static_cast<double>(all));
  }
};
struct RouterBalanceKernel {
  RouterArgs s;
  const float* f;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(s.tokens);
    float dot = 0;
    for (std::int64_t c = at.lane; c < (at.on ? s.experts : 0); c += row_lanes) dot = math::fma(f[c], s.probs[at.row * s.experts + c], dot);
    dot = sum_lanes(dot);
    if (at.on && at.lane == 0) s.balance[at.row] = s.real && !s.real[at.row] ? 0.0f : static_cast<float>(s.experts) * dot;
  }
};
inline void router_forward(const Exec& exec, const RouterArgs& s) {
  launch(exec, row_grid(s.tokens), RouterRowsKernel{s});
  launch(exec, {1, plan_threads, plan_threads * sizeof(std::int64_t)}, RouterCountsKernel{s});
  if (s.balance) launch(exec, row_grid(s.tokens), RouterBalanceKernel{s, s.f_used ? s.f_used : s.f});
}

struct RouterBackwardKernel {
  RouterArgs s;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(s.tokens);
    const std::int64_t E = s.experts, n = at.on ? E : 0;
    const float *p = s.probs + at.row * E, *gate = s.gates + at.row * E, *dgate = s.dgate ? s.dgate + at.row * E : nullptr, *w = s.renormalize ? gate : p;
    const bool real = at.on && (!s.real || s.real[at.row]), balance = real && s.dbalance;
    // What is not chosen has gate 0 and whatever dgate: that must not count.
    auto wanted = [&](std::int64_t c) { return gate[c] == 0.0f ? 0.0f : dgate[c]; };
    float gate_dot = 0, balance_dot = 0;
    for (std::int64_t c = at.lane; c < n; c += row_lanes) {
      if (dgate) gate_dot = math::fma(gate[c], wanted(c), gate_dot);
      if (balance) balance_dot = math::fma(p[c], s.f_used[c], balance_dot);
    }
    const float g = sum_lanes(gate_dot), b = sum_lanes(balance_dot);
    const float db = balance ? s.dbalance[at.row] * static_cast<float>(E) : 0.0f, dz = real && s.dz ? s.dz[at.row] * 2.0f * s.lse[at.row] : 0.0f;
    for (std::int64_t c = at.lane; c < n; c += row_lanes) {
      float d = p[c] * dz;
      if (balance) d = math::fma(db * p[c], s.f_used[c] - b, d);
      if (dgate) d = math::fma(w[c], wanted(c) - g, d);
      s.dlogits[at.row * E + c] = d;
    }
  }
};
inline void router_backward(const Exec& exec, const RouterArgs& s) { launch(exec, row_grid(s.tokens), RouterBackwardKernel{s}); }

struct RoutePlanKernel {  // one block: expert after expert, assignments in order, plan_threads at a time
  RoutePlanArgs s;
  BAM_DEVICE void operator()() const {
    auto* space = shared<std::int64_t>();
    const std::int64_t n = s.tokens * s.top_k;
    std::int64_t base = 0;
    if (thread() == 0) s.offsets[0] = 0;
    for (std::int64_t e = 0; e < s.experts; ++e) {
      for (std::int64_t i0 = 0; i0 < n; i0 += plan_threads) {
        const std::int64_t i = i0 + thread();
        const bool own = i < n && s.chosen[i] == e;
        const Scan scan = scan_block(own, space);
        if (own) {
          const std::int64_t slot = base + scan.before, token = i / s.top_k;
          s.slot_token[slot] = token;
          if (s.slot_gate) s.slot_gate[slot] = s.gates[token * s.experts + e];
          if (s.token_slot) s.token_slot[i] = slot;
        }
        base += scan.total;
      }
      if (thread() == 0) s.offsets[e + 1] = base;
    }
  }
};
inline void route_plan(const Exec& exec, const RoutePlanArgs& s) { launch(exec, {1, plan_threads, plan_threads * sizeof(std::int64_t)}, RoutePlanKernel{s}); }

struct RouteGradientKernel {
  RouteGradientArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t t = flat_index();
    if (t >= s.tokens) return;
    float* d = s.dgates + t * s.experts;
    if (s.write == Write::overwrite)
      for (std::int64_t e = 0; e < s.experts; ++e) d[e] = 0.0f;
    for (std::int64_t k = t * s.top_k; k < (t + 1) * s.top_k; ++k) d[s.chosen[k]] += s.dscale[s.token_slot[k]];
  }
};
inline void route_gradient(const Exec& exec, const RouteGradientArgs& s) { launch(exec, flat_grid(s.tokens), RouteGradientKernel{s}); }

}  // namespace bam::cuda
