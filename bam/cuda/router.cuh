// Router and the plan of routes; formulas and sources in cpu/router.inl. Sixteen lanes a token; counts, offsets and the stable order of assignments from scans of integers.
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

inline constexpr int count_threads = 1024, count_experts = 4;  // the latter: in one walk over the assignments
struct RouterCountsKernel {  // one block
  RouterArgs s;
  BAM_DEVICE void operator()() const {
    std::int64_t all = 0;
    for (std::int64_t e0 = 0; s.counts && e0 < s.experts; e0 += count_experts) {
      std::int64_t n[count_experts] = {};
      for (std::int64_t i = thread(); i < s.tokens * s.top_k; i += count_threads)
        if (!s.real || s.real[i / s.top_k]) {
          BAM_UNROLL
          for (int e = 0; e < count_experts; ++e) n[e] += s.chosen[i] == e0 + e;
        }
      for (int e = 0; e < count_experts && e0 + e < s.experts; ++e) {
        const std::int64_t total = reduce_block(n[e], [](std::int64_t a, std::int64_t b) { return a + b; });
        if (thread() == 0) s.counts[e0 + e] = total;
        all += total;
      }
    }
    sync();
    if (s.f_used)
      for (std::int64_t e = thread(); e < s.experts; e += count_threads)
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
  launch(exec, {1, count_threads, count_threads / warp_lanes * sizeof(std::int64_t)}, RouterCountsKernel{s});
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

// The plan in three steps over chunks of plan_threads assignments: of each chunk how many go to each expert, and of each assignment how many before it in its chunk go where it goes; where the
// chunk's assignments to an expert begin; the slots.
struct PlanCountKernel {
  RoutePlanArgs s;
  std::int32_t* rank;     // (assignments)
  std::int64_t* totals;   // (experts, chunks)
  BAM_DEVICE void operator()() const {
    auto* space = shared<std::int64_t>();
    const std::int64_t i = flat_index(), own = i < s.tokens * s.top_k ? s.chosen[i] : -1;
    for (std::int64_t e0 = 0; e0 < s.experts; e0 += 4) {  // four counts of 16 bits in one scan
      const bool here = own >= e0 && own < e0 + 4;
      const int field = here ? static_cast<int>(own - e0) * 16 : 0;
      const Scan scan = scan_block(here ? std::int64_t{1} << field : 0, space);
      if (here) rank[i] = static_cast<std::int32_t>(scan.before >> field & 0xffff);
      if (thread() < 4 && e0 + thread() < s.experts) totals[(e0 + thread()) * grid_blocks() + block()] = scan.total >> 16 * thread() & 0xffff;
    }
  }
};
struct PlanOffsetsKernel {  // one block; a thread some totals that follow each other
  RoutePlanArgs s;
  std::int64_t* totals;  // becomes the slot of the first
  std::int64_t chunks;
  BAM_DEVICE void operator()() const {
    const std::int64_t n = s.experts * chunks, each = ceil_div(n, plan_threads), begin = smaller(n, thread() * each), end = smaller(n, begin + each);
    std::int64_t sum = 0;
    for (std::int64_t j = begin; j < end; ++j) sum += totals[j];
    const Scan scan = scan_block(sum, shared<std::int64_t>());
    std::int64_t slot = scan.before;
    for (std::int64_t j = begin; j < end; ++j) {
      const std::int64_t count = totals[j];
      totals[j] = slot;
      if (j % chunks == 0) s.offsets[j / chunks] = slot;
      slot += count;
    }
    if (thread() == 0) s.offsets[s.experts] = scan.total;
  }
};
struct PlanSlotsKernel {
  RoutePlanArgs s;
  const std::int32_t* rank;
  const std::int64_t* first;  // totals
  std::int64_t chunks;
  BAM_DEVICE void operator()() const {
    const std::int64_t i = flat_index();
    if (i >= s.tokens * s.top_k) return;
    const std::int64_t e = s.chosen[i], slot = first[e * chunks + i / plan_threads] + rank[i], token = i / s.top_k;
    s.slot_token[slot] = token;
    if (s.slot_gate) s.slot_gate[slot] = s.gates[token * s.experts + e];
    if (s.token_slot) s.token_slot[i] = slot;
  }
};
inline void route_plan(const Exec& exec, const RoutePlanArgs& s) {
  const std::int64_t n = s.tokens * s.top_k, chunks = larger(std::int64_t{1}, ceil_div(n, plan_threads));
  auto* totals = static_cast<std::int64_t*>(exec.scratch(exec.pool, exec.workers, static_cast<std::size_t>(s.experts * chunks) * sizeof(std::int64_t) + static_cast<std::size_t>(n) * sizeof(std::int32_t)));
  auto* rank = reinterpret_cast<std::int32_t*>(totals + s.experts * chunks);
  launch(exec, {chunks, plan_threads, plan_threads * sizeof(std::int64_t)}, PlanCountKernel{s, rank, totals});
  launch(exec, {1, plan_threads, plan_threads * sizeof(std::int64_t)}, PlanOffsetsKernel{s, totals, chunks});
  launch(exec, flat_grid(n), PlanSlotsKernel{s, rank, totals, chunks});
}

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
