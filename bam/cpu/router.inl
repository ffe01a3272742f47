// Router: p = softmax(logits) (N, E); the K largest are chosen, ties to the lower index; gate = p, or p over the sum
// of the chosen, for the chosen and 0 for the others. z = lse^2 (ST-MoE, Zoph et al. 2022, equation 5);
// balance = E sum_e f_e p_e (Switch, Fedus et al. 2021, equation 4), f without gradient.
// Saves probs, gates, lse and f_used. The selection carries no gradient, so with t = dgate of the chosen, 0 elsewhere:
// dlogit = w (t - sum_j gate_j t_j), w = gate when renormalized (a softmax over the chosen), else p;
//        + dbalance E p (f - sum_j p_j f_j) + dz 2 lse p.

[[gnu::noinline]] inline void router_row(const RouterArgs& s, std::int64_t r) {
  const std::int64_t E = s.experts;
  float *p = s.probs + r * E, *gate = s.gates + r * E;
  std::int32_t* chosen = s.chosen + r * s.top_k;
  const ExpSum e = exp_sum(s.logits + r * E, E, 1.0f, p);
  const float lse = e.lse();
  if (s.lse) s.lse[r] = lse;
  if (s.z) s.z[r] = s.real && !s.real[r] ? 0.0f : lse * lse;
  const F32x16 inverse(1.0f / e.sum);
  for (std::int64_t c = 0; c < E; c += 16) {
    store_up_to(p + c, load_up_to(p + c, E - c) * inverse, E - c);
    store_up_to(gate + c, F32x16(0.0f), E - c);
  }
  // Each next one is the first of those after the last in the order (falling p, rising index). NaN ranks as -1: below
  // every probability, so that the indices are always K different experts.
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

// Counting sort of the assignments, stable: by expert, then token. Serial: it reads N * K small numbers twice.
[[gnu::noinline]] inline void route_plan(const Exec&, const RoutePlanArgs& s) {
  const std::int64_t n = s.tokens * s.top_k;
  for (std::int64_t e = 0; e <= s.experts; ++e) s.offsets[e] = 0;
  for (std::int64_t i = 0; i < n; ++i) ++s.offsets[s.chosen[i] + 1];
  for (std::int64_t e = 0; e < s.experts; ++e) s.offsets[e + 1] += s.offsets[e];
  for (std::int64_t t = 0; t < s.tokens; ++t)
    for (std::int64_t i = t * s.top_k; i < (t + 1) * s.top_k; ++i) {
      const std::int64_t e = s.chosen[i], slot = s.offsets[e]++;
      s.slot_token[slot] = t;
      if (s.slot_gate) s.slot_gate[slot] = s.gates[t * s.experts + e];
      if (s.token_slot) s.token_slot[i] = slot;
    }
  // Each offset has moved to the begin of its successor.
  for (std::int64_t e = s.experts; e > 0; --e) s.offsets[e] = s.offsets[e - 1];
  s.offsets[0] = 0;
}

inline void router_forward(const Exec& exec, const RouterArgs& s) {
  const std::int64_t E = s.experts;
  parallel_ranges(exec, s.tokens, E * 4, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) router_row(s, r);
  });
  if (s.plan.offsets) route_plan(exec, s.plan);
  std::int64_t total = 0;
  if (s.counts) {
    for (std::int64_t e = 0; e < E; ++e) s.counts[e] = 0;
    for (std::int64_t r = 0; r < s.tokens; ++r) {
      if (s.real && !s.real[r]) continue;
      for (std::int64_t j = 0; j < s.top_k; ++j) ++s.counts[s.chosen[r * s.top_k + j]];
      total += s.top_k;
    }
  }
  if (s.f_used)
    for (std::int64_t e = 0; e < E; ++e)
      s.f_used[e] = s.f ? s.f[e] : total == 0 ? 0.0f
                        : static_cast<float>(static_cast<double>(s.counts[e]) / static_cast<double>(total));
  if (!s.balance) return;
  const float* f = s.f_used ? s.f_used : s.f;
  parallel_ranges(exec, s.tokens, E, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) {
      F32x16 dot(0.0f);
      for (std::int64_t c = 0; c < E; c += 16) dot = fma(load_up_to(f + c, E - c), load_up_to(s.probs + r * E + c, E - c), dot);
      s.balance[r] = s.real && !s.real[r] ? 0.0f : static_cast<float>(E) * sum(dot);
    }
  });
}

[[gnu::noinline]] inline void router_backward_row(const RouterArgs& s, std::int64_t r) {
  const std::int64_t E = s.experts;
  const float *p = s.probs + r * E, *gate = s.gates + r * E, *dgate = s.dgate ? s.dgate + r * E : nullptr;
  const float *w = s.renormalize ? gate : p;
  float* dlogits = s.dlogits + r * E;
  const bool real = !s.real || s.real[r];
  const F32x16 zero(0.0f);
  // What is not chosen has gate 0 and whatever dgate: that must not count.
  auto wanted = [&](std::int64_t c) {
    return select(load_up_to(gate + c, E - c) == zero, zero, load_up_to(dgate + c, E - c));
  };
  F32x16 gate_dot(0.0f), balance_dot(0.0f);
  const bool balance = real && s.dbalance;
  for (std::int64_t c = 0; c < E; c += 16) {
    if (dgate) gate_dot = fma(load_up_to(gate + c, E - c), wanted(c), gate_dot);
    if (balance) balance_dot = fma(load_up_to(p + c, E - c), load_up_to(s.f_used + c, E - c), balance_dot);
  }
  const F32x16 g(sum(gate_dot)), b(sum(balance_dot));
  const F32x16 db(balance ? s.dbalance[r] * static_cast<float>(E) : 0.0f);
  const F32x16 dz(real && s.dz ? s.dz[r] * 2.0f * s.lse[r] : 0.0f);
  for (std::int64_t c = 0; c < E; c += 16) {
    const F32x16 probability = load_up_to(p + c, E - c);
    F32x16 d = probability * dz;
    if (balance) d = fma(db * probability, load_up_to(s.f_used + c, E - c) - b, d);
    if (dgate) d = fma(load_up_to(w + c, E - c), wanted(c) - g, d);
    store_up_to(dlogits + c, d, E - c);
  }
}

inline void router_backward(const Exec& exec, const RouterArgs& s) {
  parallel_ranges(exec, s.tokens, s.experts * 4, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t r = begin; r < end; ++r) router_backward_row(s, r);
  });
}
