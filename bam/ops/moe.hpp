// Mixture of SwiGLU experts, dropless: y = residual + sum over the K chosen experts of gate * Wdown(silu(Wgate u) * (Wup u)).
// u (N, C), W_in (E, 2F, C) = [gate | up] per expert, W_out (E, C, F). Rows run through grouped GEMMs in the stable
// order of the route plan; the gate multiplies the activation, so combining is a plain sum in order and the gate's
// gradient is a row sum that SwiGLU's backward computes anyway. Nothing is scattered. u and the weights are of F32 or BF16, residual and y of F32.
#pragma once
#include "linear.hpp"
#include "router.hpp"
#include "swiglu.hpp"

namespace bam {

// branches are joined before the residual is read. plan: the routing's, from route(); null: it is made here.
inline Tensor mixture_ffn(const Tensor& residual, const Tensor& u, const Routing& routing, const Tensor& w_in, const Tensor& w_out, Branches* branches = nullptr, const RoutePlan* plan = nullptr) {
  std::int64_t n = u.rows(), c = u.columns(), e = w_in.size(0), f = w_out.size(-1), k = routing.chosen.columns(), slots = n * k;
  check(w_in.rank() == 3 && w_out.rank() == 3 && w_in.size(1) == 2 * f && w_in.size(2) == c && w_out.size(0) == e && w_out.size(1) == c, "moe.shape",
        "mixture_ffn: u is ", to_string(u.shape()), ", w_in ", to_string(w_in.shape()), ", w_out ", to_string(w_out.shape()));
  check(routing.gates.rows() == n && routing.gates.columns() == e, "moe.gates", "mixture_ffn: gates are ", to_string(routing.gates.shape()));
  check(residual.numel() == n * c, "moe.residual", "mixture_ffn: residual is ", to_string(residual.shape()));

  const DType dtype = u.dtype();
  check(w_in.dtype() == dtype && w_out.dtype() == dtype && (dtype == DType::f32 || dtype == DType::bf16), "moe.dtype", "mixture_ffn: u is of ", name_of(dtype), ", w_in of ", name_of(w_in.dtype()), ", w_out of ", name_of(w_out.dtype()), "; wanted F32 or BF16 for all");
  const Device device = detail::device_of("mixture_ffn", residual, u, routing.gates, routing.chosen, w_in, w_out);
  RoutePlan own;
  if (!plan) kernel::route_plan(detail::plan_args(own, e, routing.chosen, routing.gates), device);
  const RoutePlan routes = plan ? *plan : own;

  GroupedGemmArgs base;
  base.dtype = base.out = dtype;
  base.experts = e;
  base.offsets = routes.offsets.address<std::int64_t>();

  Tensor x({slots, 2 * f}, dtype, device), act({slots, f}, dtype, device), out({slots, c}, dtype, device);
  GroupedGemmArgs in = base;
  in.transpose_b = true;
  in.N = 2 * f;
  in.K = c;
  in.a_index = routes.slot_token.address<std::int64_t>();
  in.A = u.raw();
  in.lda = c;
  in.B = w_in.raw();
  in.ldb = c;
  in.expert_stride = 2 * f * c;
  in.C = x.raw();
  in.ldc = 2 * f;
  in.swiglu = detail::swiglu_args(x, f);
  in.swiglu.scale = routes.slot_gate.address();
  in.swiglu.y = act.raw();
  kernel::grouped_gemm(in, device);

  GroupedGemmArgs down = base;
  down.transpose_b = true;
  down.N = c;
  down.K = f;
  down.A = act.raw();
  down.lda = f;
  down.B = w_out.raw();
  down.ldb = f;
  down.expert_stride = c * f;
  down.C = out.raw();
  down.ldc = c;
  kernel::grouped_gemm(down, device);

  Tensor y(residual.shape(), DType::f32, device);
  GatherArgs combine;
  combine.dtype = dtype;
  combine.write = Write::add;
  combine.rows = n;
  combine.columns = c;
  combine.terms = k;
  combine.x = out.raw();
  combine.x_row = c;
  combine.index = routes.token_slot.address<std::int64_t>();
  combine.from = residual.address();
  combine.y = y.address();
  combine.y_row = c;
  if (branches) branches->join();
  kernel::gather(combine, device);

  record({residual, u, routing.gates, w_in, w_out}, {y},
         [=, r = residual.gradient(), gates = routing.gates.gradient(), g = y.gradient(), s = in.swiglu, kept = x]() {
           const auto [dy, rounded] = detail::gradient_in(*g, n * c, dtype);
           const std::int64_t *token = routes.slot_token.address<std::int64_t>(), *slot = routes.token_slot.address<std::int64_t>();
           Tensor dx({slots, 2 * f}, dtype, device), dscale({slots}, DType::f32, device);
           GroupedGemmArgs a = base;  // dact = dy W_out, and on to dx
           a.N = f;
           a.K = c;
           a.a_index = token;
           a.A = dy;
           a.lda = c;
           a.B = w_out.raw();
           a.ldb = f;
           a.expert_stride = c * f;
           a.C = element(dx.raw(), f, dtype);
           a.ldc = 2 * f;
           a.swiglu = s;
           a.swiglu.y = nullptr;
           a.swiglu.dy = a.C;
           a.swiglu.dy_row = a.ldc;
           a.swiglu.dx = dx.raw();
           a.swiglu.dscale = gates->wanted ? dscale.address() : nullptr;
           kernel::grouped_gemm(a, device);
           if (w_out.wants_grad()) {  // dW_out = dy^T act
             GroupedGemmArgs w = base;
             w.out = DType::f32;
             w.weights = true;
             w.M = c;
             w.N = f;
             w.a_index = token;
             w.A = dy;
             w.lda = c;
             w.B = act.raw();
             w.ldb = f;
             std::tie(w.C, w.write) = w_out.gradient()->target(w_out.numel());
             w.ldc = f;
             w.expert_stride = c * f;
             kernel::grouped_gemm(w, device);
           }
           if (gates->wanted) {
             RouteGradientArgs d;
             d.tokens = n;
             d.experts = e;
             d.top_k = k;
             d.chosen = routing.chosen.address<std::int32_t>();
             d.token_slot = slot;
             d.dscale = dscale.address();
             std::tie(d.dgates, d.write) = gates->target(n * e);
             kernel::route_gradient(d, device);
           }
           if (w_in.wants_grad()) {  // dW_in = dx^T u
             GroupedGemmArgs w = base;
             w.out = DType::f32;
             w.weights = true;
             w.M = 2 * f;
             w.N = c;
             w.A = dx.raw();
             w.lda = 2 * f;
             w.b_index = token;
             w.B = u.raw();
             w.ldb = c;
             std::tie(w.C, w.write) = w_in.gradient()->target(w_in.numel());
             w.ldc = c;
             w.expert_stride = 2 * f * c;
             kernel::grouped_gemm(w, device);
           }
           if (u.wants_grad()) {
             Tensor du({slots, c}, dtype, device);
             GroupedGemmArgs d = base;
             d.N = c;
             d.K = 2 * f;
             d.A = dx.raw();
             d.lda = 2 * f;
             d.B = w_in.raw();
             d.ldb = c;
             d.expert_stride = 2 * f * c;
             d.C = du.raw();
             d.ldc = c;
             kernel::grouped_gemm(d, device);
             GatherArgs sum;
             sum.dtype = dtype;
             sum.out = u.gradient()->dtype();
             sum.rows = n;
             sum.columns = c;
             sum.terms = k;
             sum.x = du.raw();
             sum.x_row = c;
             sum.index = slot;
             std::tie(sum.y, sum.write) = u.gradient()->target<void>(n * c);
             sum.y_row = c;
             kernel::gather(sum, device);
           }
           if (r->wanted) r->absorb(*g, n * c);
         });
  return y;
}

}  // namespace bam
