// Router: logits (N, E) -> softmax, the K largest, and the balance and z losses per token.
// Its gates are differentiable; the choice is not. The balance loss reads f, the share of assignments per expert, which
// carries no gradient: of the step before, or, when absent, of this call (then cutting a batch changes the result).
#pragma once
#include "../tensor/tape.hpp"

namespace bam {

struct Routing {
  Tensor gates;    // (N, E): the chosen experts' probability (renormalised on request), 0 elsewhere
  Tensor chosen;   // (N, K) I32, by falling probability, ties to the lower index
  Tensor balance;  // (N): E * sum_e f_e p_e; its mean over real tokens is the balance loss
  Tensor z;        // (N): logsumexp^2
  Tensor counts;   // (E) I64: assignments of real tokens
};

// The stable order of the N * K assignments by expert, then token: slots offsets[e] .. offsets[e + 1] belong to e.
struct RoutePlan {
  Tensor offsets;     // (E + 1) I64
  Tensor slot_token;  // (N * K) I64
  Tensor token_slot;  // (N, K) I64, the way back
  Tensor slot_gate;   // (N * K) F32
};

namespace detail {
// The plan's tensors, to be filled by the kernel.
inline RoutePlanArgs plan_args(RoutePlan& plan, std::int64_t experts, const Tensor& chosen, const Tensor& gates) {
  const std::int64_t n = chosen.rows(), k = chosen.columns();
  const Device device = chosen.device();
  plan = {Tensor({experts + 1}, DType::i64, device), Tensor({n * k}, DType::i64, device), Tensor({n, k}, DType::i64, device), Tensor({n * k}, DType::f32, device)};
  return {n, experts, k, chosen.address<std::int32_t>(), gates.address(), plan.offsets.address<std::int64_t>(), plan.slot_token.address<std::int64_t>(), plan.token_slot.address<std::int64_t>(), plan.slot_gate.address()};
}
}  // namespace detail

// real (N) U8 marks tokens that count, undefined: all. f (E) F32, undefined: this call's counts. plan, where wanted: what mixture_ffn makes of the routing otherwise.
inline Routing route(const Tensor& logits, std::int64_t top_k, bool renormalize, const Tensor& real = {}, const Tensor& f = {}, RoutePlan* plan = nullptr) {
  std::int64_t n = logits.rows(), e = logits.columns();
  check(logits.rank() == 2 && top_k >= 1 && top_k <= e, "router.top_k", "router: top_k is ", top_k, ", logits are ", to_string(logits.shape()));
  check(!real.defined() || (real.numel() == n && real.dtype() == DType::u8), "router.real", "router: real is ", real.defined() ? real.numel() : 0, " long, wanted ", n);
  check(!f.defined() || f.numel() == e, "router.f", "router: f has ", f.defined() ? f.numel() : 0, " entries for ", e, " experts");
  const Device device = detail::device_of("router", logits, real, f);
  auto floats = [&](Shape shape) { return Tensor(std::move(shape), DType::f32, device); };
  Routing r{floats({n, e}), Tensor({n, top_k}, DType::i32, device), floats({n}), floats({n}), Tensor({e}, DType::i64, device)};
  Tensor probs = floats({n, e}), lse = floats({n}), f_used = floats({e});
  RouterArgs a;
  a.tokens = n;
  a.experts = e;
  a.top_k = top_k;
  a.renormalize = renormalize;
  a.logits = logits.address();
  a.real = real.defined() ? real.address<std::uint8_t>() : nullptr;
  a.f = f.defined() ? f.address() : nullptr;
  a.probs = probs.address();
  a.gates = r.gates.address();
  a.lse = lse.address();
  a.balance = r.balance.address();
  a.z = r.z.address();
  a.chosen = r.chosen.address<std::int32_t>();
  a.counts = r.counts.address<std::int64_t>();
  a.f_used = f_used.address();
  if (plan) a.plan = detail::plan_args(*plan, e, r.chosen, r.gates);
  kernel::router_forward(a, device);
  record({logits}, {r.gates, r.balance, r.z},
         [a, logits, probs, lse, f_used, real, gates = r.gates.detach(), chosen = r.chosen, dg = r.gates.gradient(), db = r.balance.gradient(),
          dz = r.z.gradient()]() mutable {
           a.dgate = dg->data();
           a.dbalance = db->data();
           a.dz = dz->data();
           Gradient own(logits.device());
           a.dlogits = own.target(logits.numel()).first;
           kernel::router_backward(a, logits.device());
           logits.gradient()->absorb(own, logits.numel());
         });
  return r;
}

}  // namespace bam
