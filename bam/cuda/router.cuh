// Router and the plan of routes; formulas and sources in cpu/router.inl. Sixteen lanes a token. At most three kernels: choices, and of each chunk of tokens how many go where; counts and offsets,
// from sums of integers alone; the slots of the stable order.
#pragma once
#include "softmax.cuh"

namespace bam::cuda {

// A block takes a chunk of tokens. What the kernels tell each other of the chunks:
inline constexpr int router_rows = 32, router_threads = router_rows * row_lanes;
struct RouteChunks {
  std::int64_t chunks = 0;
  std::int64_t* totals = nullptr;   // (experts, chunks): a chunk's assignments to an expert; then the slot of the first of them
  std::int64_t* counted = nullptr;  // (experts, chunks): those of real tokens
  std::int32_t* rank = nullptr;     // (tokens, top_k): how many before it in its chunk go where it goes
};
// Of the block's chunk, whose choices all of its threads see.
BAM_DEVICE void count_chunk(const RouterArgs& s, const RouteChunks& w) {
  const std::int64_t begin = block() * router_rows * s.top_k, end = smaller(s.tokens * s.top_k, begin + router_rows * s.top_k);
  for (std::int64_t i = begin + thread(); w.rank && i < end; i += router_threads) {
    const std::int32_t own = s.chosen[i];
    std::int32_t before = 0;
    for (std::int64_t j = begin; j < i; ++j) before += s.chosen[j] == own;
    w.rank[i] = before;
  }
  for (std::int64_t e = thread(); e < s.experts; e += router_threads) {
    std::int64_t all = 0, counted = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      if (s.chosen[i] != e) continue;
      ++all;
      counted += !s.real || s.real[i / s.top_k];
    }
    if (w.totals) w.totals[e * w.chunks + block()] = all;
    if (w.counted) w.counted[e * w.chunks + block()] = counted;
  }
}
// f: of the experts.
BAM_DEVICE void set_balance(const RouterArgs& s, const float* f, const RowLane& at) {
  float dot = 0;
  for (std::int64_t c = at.lane; c < (at.on ? s.experts : 0); c += row_lanes) dot = math::fma(f[c], s.probs[at.row * s.experts + c], dot);
  dot = sum_lanes(dot);
  if (at.on && at.lane == 0) s.balance[at.row] = s.real && !s.real[at.row] ? 0.0f : static_cast<float>(s.experts) * dot;
}

struct RouterRowsKernel {
  RouterArgs s;
  RouteChunks w;
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
    if (at.on && at.lane == 0) choose(at.row, e, p, gate);
    sync_warp();
    if (s.balance && s.f) set_balance(s, s.f, at);
    sync();
    count_chunk(s, w);
  }
  BAM_DEVICE void choose(std::int64_t row, const ExpSum& e, const float* p, float* gate) const {
    const float lse = e.max + math::log(e.sum);
    if (s.lse) s.lse[row] = lse;
    if (s.z) s.z[row] = s.real && !s.real[row] ? 0.0f : lse * lse;
    // Each next one is the first of those after the last in the order (falling p, rising index). NaN ranks as -1: below every probability, so that the indices
    // are always K different experts.
    std::int32_t* chosen = s.chosen + row * s.top_k;
    float last = 2, total = 0;
    std::int32_t last_index = -1;
    for (std::int64_t j = 0; j < s.top_k; ++j) {
      float best = -2;
      std::int32_t best_index = 0;
      for (std::int32_t i = 0; i < s.experts; ++i) {
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
struct RouteChoicesKernel {  // in place of the one above, where the choice is made
  RouterArgs s;
  RouteChunks w;
  BAM_DEVICE void operator()() const { count_chunk(s, w); }
};

inline constexpr int scan_threads = 1024;
struct RouteOffsetsKernel {  // one block: counts and f; where the assignments to an expert begin, and those of each chunk
  RouterArgs s;
  RouteChunks w;
  static constexpr int most_threads = scan_threads, resident_blocks = 1;
  static constexpr std::int64_t shared_bytes = scan_threads * sizeof(std::int64_t);
  BAM_DEVICE void operator()() const {
    for (std::int64_t e = thread() / warp_lanes; w.counted && e < s.experts; e += scan_threads / warp_lanes) {
      std::int64_t total = 0;
      for (std::int64_t c = thread() % warp_lanes; c < w.chunks; c += warp_lanes) total += w.counted[e * w.chunks + c];
      for (int h = warp_lanes / 2; h > 0; h /= 2) total += shuffle_xor(total, h);
      if (thread() % warp_lanes == 0) s.counts[e] = total;
    }
    sync();
    if (s.f_used)
      for (std::int64_t e = thread(); e < s.experts; e += scan_threads) {
        std::int64_t all = 0;
        for (std::int64_t i = 0; s.counts && i < s.experts; ++i) all += s.counts[i];
        s.f_used[e] = s.f ? s.f[e] : all == 0 ? 0.0f : static_cast<float>(static_cast<double>(s.counts[e]) / static_cast<double>(all));
      }
    if (!w.totals) return;  // by the whole block
    const std::int64_t n = s.experts * w.chunks, each = ceil_div(n, scan_threads), begin = smaller(n, thread() * each), end = smaller(n, begin + each);  // a thread has totals that follow each other
    std::int64_t sum = 0;
    for (std::int64_t j = begin; j < end; ++j) sum += w.totals[j];
    const std::int64_t before = scan_block<scan_threads>(sum, shared<std::int64_t>());
    std::int64_t slot = before;
    for (std::int64_t j = begin; j < end; ++j) {
      const std::int64_t count = w.totals[j];
      w.totals[j] = slot;
      if (j % w.chunks == 0) s.plan.offsets[j / w.chunks] = slot;
      slot += count;
    }
    if (thread() == scan_threads - 1) s.plan.offsets[s.experts] = before + sum;
  }
};
struct RouteSlotsKernel {  // the slots; the balance, where it hangs on the counts
  RouterArgs s;
  RouteChunks w;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(s.tokens);
    if (s.balance && !s.f) set_balance(s, s.f_used, at);
    const RoutePlanArgs& to = s.plan;
    for (std::int64_t i = at.row * s.top_k + at.lane; w.rank && at.on && i < (at.row + 1) * s.top_k; i += row_lanes) {
      const std::int64_t e = s.chosen[i], slot = w.totals[e * w.chunks + at.row / router_rows] + w.rank[i];
      to.slot_token[slot] = at.row;
      if (to.slot_gate) to.slot_gate[slot] = s.gates[at.row * s.experts + e];
      if (to.token_slot) to.token_slot[i] = slot;
    }
  }
};
template <class First>
void route(const Exec& exec, const RouterArgs& s) {
  RouteChunks w{larger(1, ceil_div(s.tokens, router_rows))};
  const std::int64_t n = s.experts * w.chunks;
  auto* space = static_cast<std::int64_t*>(exec.scratch(exec.pool, exec.workers, static_cast<std::size_t>(2 * n) * sizeof(std::int64_t) + static_cast<std::size_t>(s.tokens * s.top_k) * sizeof(std::int32_t)));
  if (s.counts) w.counted = space;
  if (s.plan.offsets) {
    w.totals = space + n;
    w.rank = reinterpret_cast<std::int32_t*>(space + 2 * n);
  }
  launch(exec, {w.chunks, router_threads}, First{s, w});
  launch(exec, {1, scan_threads}, RouteOffsetsKernel{s, w});
  if (s.plan.offsets || (s.balance && !s.f)) launch(exec, row_grid(s.tokens), RouteSlotsKernel{s, w});
}
inline void router_forward(const Exec& exec, const RouterArgs& s) { route<RouterRowsKernel>(exec, s); }
inline void route_plan(const Exec& exec, const RoutePlanArgs& s) {
  RouterArgs made;
  made.tokens = s.tokens;
  made.experts = s.experts;
  made.top_k = s.top_k;
  made.chosen = const_cast<std::int32_t*>(s.chosen);  // read alone
  made.gates = const_cast<float*>(s.gates);
  made.plan = s;
  route<RouteChoicesKernel>(exec, made);
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
