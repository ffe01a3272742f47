// Which kernels one training step launches, and what each costs at least: the step runs with kernels that do nothing, so that a model of any size can be asked about on any machine. Its memory
// is reserved and hardly touched.
#pragma once
#include <algorithm>
#include <vector>

#include "../nn/estimate.hpp"
#include "step.hpp"

namespace bam {

namespace detail {
template <class Args>
void nothing(const Exec&, const Args&) {}

// What the host reads of a step, and tokens spread evenly over the experts.
inline void plan_evenly(const Exec&, const RoutePlanArgs& a) {
  for (std::int64_t e = 0; e <= a.experts; ++e) a.offsets[e] = a.tokens * a.top_k * e / a.experts;
}
inline void route_nothing(const Exec& exec, const RouterArgs& a) {
  std::fill(a.counts, a.counts + a.experts, 0);
  std::fill(a.balance, a.balance + a.tokens, 0.0f);
  std::fill(a.z, a.z + a.tokens, 0.0f);
  if (a.plan.offsets) plan_evenly(exec, a.plan);
}
inline void lose_nothing(const Exec&, const CrossEntropyArgs& a) { std::fill(a.nll, a.nll + a.rows, 0.0f); }
inline void sum_nothing(const Exec&, const SumSquaresArgs& a) {
  double* at = a.partial;
  for (int i = 0; i < a.parts; ++i) at = std::fill_n(at, a.blocks_of(a.part[i].n), 0.0);
}

inline const KernelTable& idle_table() {
  static const KernelTable table = [] {
    KernelTable t;
#define BAM_ROW(name, Args) t.name = nothing<Args>;
    BAM_KERNELS(BAM_ROW)
#undef BAM_ROW
    t.route_plan = plan_evenly;
    t.router_forward = route_nothing;
    t.cross_entropy_forward = lose_nothing;
    t.sum_squares = sum_nothing;
    return t;
  }();
  return table;
}
}  // namespace detail

// Of one micro-batch, forward and backward, and the optimizer's update, in order. Not while other kernels run.
inline std::vector<Profile::Call> step_launches(const ModelConfig& config, const StepShape& shape) {
  struct Idle {
    const KernelTable* table = kernels();
    Profile* before = profile();
    LogitsChunk chunk = logits_chunk(Device::cpu);
    ~Idle() {
      kernels() = table;
      profile() = before;
      logits_chunk(Device::cpu) = chunk;
    }
  } before;
  kernels() = &detail::idle_table();
  logits_chunk(Device::cpu) = logits_chunk(shape.device);  // the step runs on the CPU, whatever it stands for
  Profile record;
  record.list = true;
  Decoder model(config, Device::cpu, shape.bf16 ? DType::bf16 : DType::f32);
  AdamW optimizer(model.parameters(), {.clip = 1.0, .moments = shape.bf16_moments ? DType::bf16 : DType::f32});
  StepRows rows;
  rows.rows = shape.micro_batch;
  rows.context = shape.context;
  for (std::int64_t i = 0; i < rows.rows * rows.context; ++i) rows.positions.push_back(static_cast<std::int32_t>(i % rows.context));
  rows.inputs.assign(rows.positions.size(), 0);
  rows.targets.assign(rows.positions.size(), 0);
  rows.real.assign(rows.positions.size(), 1);
  StepOptions options;
  options.micro_batch = rows.rows;
  options.dropout = shape.dropout ? 0.1f : 0.0f;
  RouterCounts counts;
  profile() = &record;
  accumulate_gradients(model, rows, options, 0, counts);
  optimizer.step();
  return std::move(record.calls);
}

}  // namespace bam
