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

// real (N) U8 marks tokens that count, undefined: all. f (E) F32, undefined: this call's counts.
inline Routing route(const Tensor& logits, std::int64_t top_k, bool renormalize, const Tensor& real = {}, const Tensor& f = {}) {
  std::int64_t n = logits.rows(), e = logits.columns();
  check(logits.rank() == 2 && top_k >= 1 && top_k <= e, "router.top_k", "router: top_k is ", top_k, ", logits are ", to_string(logits.shape()));
  check(!real.defined() || (real.numel() == n && real.dtype() == DType::u8), "router.real", "router: real is ", real.defined() ? real.numel() : 0, " long, wanted ", n);
  check(!f.defined() || f.numel() == e, "router.f", "router: f has ", f.defined() ? f.numel() : 0, " entries for ", e, " experts");
  Routing r{Tensor({n, e}), Tensor({n, top_k}, DType::i32), Tensor({n}), Tensor({n}), Tensor({e}, DType::i64)};
  Tensor probs({n, e}), lse({n}), f_used({e});
  RouterArgs a;
  a.tokens = n;
  a.experts = e;
  a.top_k = top_k;
  a.renormalize = renormalize;
  a.logits = logits.data();
  a.real = real.defined() ? real.data<std::uint8_t>() : nullptr;
  a.f = f.defined() ? f.data() : nullptr;
  a.probs = probs.data();
  a.gates = r.gates.data();
  a.lse = lse.data();
  a.balance = r.balance.data();
  a.z = r.z.data();
  a.chosen = r.chosen.data<std::int32_t>();
  a.counts = r.counts.data<std::int64_t>();
  a.f_used = f_used.data();
  kernel::router_forward(a);
  record({logits}, {r.gates, r.balance, r.z},
         [a, logits, probs, lse, f_used, real, gates = r.gates.detach(), chosen = r.chosen, dg = r.gates.gradient(), db = r.balance.gradient(),
          dz = r.z.gradient()]() mutable {
           a.dgate = dg->data();
           a.dbalance = db->data();
           a.dz = dz->data();
           Gradient own;
           a.dlogits = own.target(logits.numel()).first;
           kernel::router_backward(a);
           logits.gradient()->absorb(own, logits.numel());
         });
  return r;
}

}  // namespace bam
