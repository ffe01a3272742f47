// One optimizer step: micro-batches -> gradients -> one hook -> update. The cut into micro-batches leaves no trace: every sum
// over tokens is a chain in token order that the next micro-batch continues, and losses are scaled by the step's two
// counts (trained targets, real positions), known before its first micro-batch (on a GPU by the portable kernels alone). With gradient_leaves L the step's rows are L
// equal parts, each a chain, added in a fixed tree. Pads are left out before the model sees them.
#pragma once
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "../optim/adamw.hpp"
#include "micro_step.hpp"
#include "rows.hpp"

namespace bam {

struct StepOptions {
  std::int64_t micro_batch = 8;      // rows at a time
  std::int64_t gradient_leaves = 1;  // divides rows
  float dropout = 0;
  std::uint64_t seed = 0;
  bool recompute = false;
  bool batch_balance = false;  // f of the micro-batch instead of the previous step's
  bool example_loss = false;   // the mean over examples of the mean over their targets, instead of over all targets
};

struct StepResult {
  double loss = 0, nll = 0, load_balance = 0, z = 0, gradient_norm = 0;
  double example_nll = 0;  // mean over examples of the mean over their targets, where rows have weights
  std::int64_t targets = 0, positions = 0, examples = 0;
};

// Shares of assignments per router of the last step: what the balance loss reads in the next (docs/method.md, 1.1).
struct RouterCounts {
  std::vector<std::vector<std::int64_t>> counts;  // per router, per expert; empty: uniform
};

// Runs of tokens that see each other: a sequence starts where position is 0 and at each row. Pads are passed over.
inline Segments row_segments(const StepRows& rows, std::int64_t first, std::int64_t end) {
  std::vector<Segment> list;
  std::int64_t token = 0;
  for (std::int64_t at = first * rows.context; at < end * rows.context; ++at) {
    const auto i = static_cast<std::size_t>(at);
    if (!rows.real[i]) continue;
    if (at % rows.context == 0 || rows.positions[i] == 0) list.push_back({token, 0, token, 0});
    ++list.back().q_length;
    ++list.back().k_length;
    ++token;
  }
  return list;
}

namespace detail {
// Adds leaves two by two as they come: 1 + 1, 2 + 2, ... The tree depends on their number alone.
class GradientTree {
 public:
  explicit GradientTree(std::vector<Tensor> tensors) : tensors_(std::move(tensors)) {}
  void push() {
    Level top{1, {}};
    for (Tensor& t : tensors_) {
      top.gradients.emplace_back(t.device());
      top.gradients.back().swap(*t.gradient());
    }
    stack_.push_back(std::move(top));
    while (stack_.size() > 1 && stack_[stack_.size() - 2].leaves == stack_.back().leaves) join();
  }
  void finish() {
    while (stack_.size() > 1) join();
    for (std::size_t i = 0; i < tensors_.size(); ++i) tensors_[i].gradient()->swap(stack_.back().gradients[i]);
    stack_.clear();
  }

 private:
  struct Level {
    std::int64_t leaves;
    std::vector<Gradient> gradients;
  };
  void join() {
    Level right = std::move(stack_.back());
    stack_.pop_back();
    Level& left = stack_.back();
    left.leaves += right.leaves;
    for (std::size_t i = 0; i < tensors_.size(); ++i)
      if (!right.gradients[i].empty()) left.gradients[i].absorb(right.gradients[i], tensors_[i].numel());
  }
  std::vector<Tensor> tensors_;
  std::vector<Level> stack_;
};
}  // namespace detail

// Experts of the model's r-th router: of a layer that routes attention too, attention's comes first.
inline std::int64_t experts_of_router(const ModelConfig& c, std::size_t r) {
  const bool attention = c.moa() && c.attention_routing != AttentionRouting::soft && (!c.moe() || r % 2 == 0);
  return attention ? c.num_attention_experts : c.num_experts;
}

// Forward and backward of all rows; gradients are left in the parameters. `step` is the global step number, for dropout.
// counts is read (f of the step before) and replaced by this step's. logits, when wanted, are those of the last micro-batch;
// without gradients only the losses are computed. graphs: of this model's training, where gradients are wanted and logits are not.
inline StepResult accumulate_gradients(Decoder& model, const StepRows& rows, const StepOptions& o, std::int64_t step, RouterCounts& counts,
                                       Tensor* logits = nullptr, bool gradients = true, MicroGraphs* graphs = nullptr) {
  const ModelConfig& c = model.config();
  check(o.micro_batch >= 1 && o.gradient_leaves >= 1 && rows.rows % o.gradient_leaves == 0, "train.gradient_leaves",
        "train: ", rows.rows, " rows do not divide into ", o.gradient_leaves, " leaves");
  StepResult result;
  for (std::int32_t t : rows.targets) result.targets += t >= 0;
  for (std::uint8_t r : rows.real) result.positions += r;
  check(result.targets > 0, "train.targets", "train: step ", step, " has no trained target");
  check(!o.example_loss || rows.weights.size() == rows.targets.size(), "train.weights", "train: step ", step, ": loss per example wants rows of examples alone");
  result.examples = rows.examples;
  double weight_sum = 0, weighted_sum = 0;  // the first is the number of examples, but for rounding
  for (float w : rows.weights) weight_sum += static_cast<double>(w);
  float per_target = 1.0f / static_cast<float>(result.targets), per_position = 1.0f / static_cast<float>(result.positions);

  std::size_t routers = model.routers();
  std::vector<Tensor> f;
  if (!o.batch_balance)
    for (std::size_t r = 0; r < routers; ++r) {
      const std::int64_t experts = experts_of_router(c, r);
      std::vector<float> share(static_cast<std::size_t>(experts), static_cast<float>(1.0 / static_cast<double>(experts)));
      if (r < counts.counts.size()) {
        std::int64_t total = 0;
        for (std::int64_t n : counts.counts[r]) total += n;
        for (std::int64_t e = 0; e < experts && total > 0; ++e)
          share[static_cast<std::size_t>(e)] = static_cast<float>(static_cast<double>(counts.counts[r][static_cast<std::size_t>(e)]) / static_cast<double>(total));
      }
      f.push_back(tensor(share));
    }
  RouterCounts now;
  now.counts.resize(routers);
  std::vector<double> balance(routers, 0.0), z(routers, 0.0);
  double nll_sum = 0;

  std::int64_t leaf_rows = rows.rows / o.gradient_leaves, context = rows.context, before = 0;  // tokens of the step so far
  detail::GradientTree tree(o.gradient_leaves > 1 ? gradient_tensors(model) : std::vector<Tensor>());
  for (std::int64_t leaf = 0; leaf < o.gradient_leaves; ++leaf) {
    for (std::int64_t row = leaf * leaf_rows, end = row + leaf_rows; row < end; row += o.micro_batch) {
      const std::int64_t last = std::min(row + o.micro_batch, end);
      auto part = [&](const auto& v) {
        std::remove_cvref_t<decltype(v)> kept;
        kept.reserve(static_cast<std::size_t>((last - row) * context));
        for (auto i = static_cast<std::size_t>(row * context); i < static_cast<std::size_t>(last * context); ++i)
          if (rows.real[i]) kept.push_back(v[i]);
        return tensor(kept);
      };
      MicroBatch batch{{part(rows.inputs), part(rows.positions), row_segments(rows, row, last)}, part(rows.targets), {}, c.router_aux_loss_coef * per_position, c.router_z_loss_coef * per_position, f};
      const std::int64_t n = batch.tokens.ids.numel();
      if (n == 0) continue;
      std::vector<float> per_token(static_cast<std::size_t>(n), per_target);
      const Tensor weights = rows.weights.empty() ? Tensor() : part(rows.weights);
      for (std::int64_t i = 0; o.example_loss && i < n; ++i) per_token[static_cast<std::size_t>(i)] = static_cast<float>(static_cast<double>(weights.data()[i]) / weight_sum);
      batch.nll_slope = tensor(per_token);
      ForwardOptions options;
      options.dropout = o.dropout;
      options.key = {o.seed, 0, static_cast<std::uint32_t>(step), before};
      before += n;
      options.recompute = o.recompute;

      const MicroLosses losses = graphs && o.gradient_leaves == 1 ? graphs->run(model, batch, options) : micro_step(model, upload(model, batch), options, gradients, logits);
      const Tensor nll = losses.nll.to(Device::cpu);
      for (std::int64_t i = 0; i < n; ++i) {
        const auto x = static_cast<double>(nll.data()[i]);
        nll_sum += x;
        if (weights.defined()) weighted_sum += static_cast<double>(weights.data()[i]) * x;
      }
      for (std::size_t r = 0; r < losses.routers.size(); ++r) {
        const Tensor of_balance = losses.routers[r].balance.to(Device::cpu), of_z = losses.routers[r].z.to(Device::cpu), of_counts = losses.routers[r].counts.to(Device::cpu);
        for (float v : of_balance.values()) balance[r] += static_cast<double>(v);
        for (float v : of_z.values()) z[r] += static_cast<double>(v);
        auto experts = of_counts.values<std::int64_t>();
        now.counts[r].resize(experts.size());
        for (std::size_t e = 0; e < experts.size(); ++e) now.counts[r][e] += experts[e];
      }
    }
    if (o.gradient_leaves > 1) tree.push();
  }
  if (o.gradient_leaves > 1) tree.finish();
  model.join_tied_gradients();
  counts = std::move(now);
  result.nll = nll_sum / static_cast<double>(result.targets);
  for (std::size_t r = 0; r < routers; ++r) {
    result.load_balance += balance[r] / static_cast<double>(result.positions);
    result.z += z[r] / static_cast<double>(result.positions);
  }
  result.example_nll = weight_sum > 0 ? weighted_sum / weight_sum : 0;
  result.loss = (o.example_loss ? result.example_nll : result.nll) + static_cast<double>(c.router_aux_loss_coef) * result.load_balance + static_cast<double>(c.router_z_loss_coef) * result.z;
  return result;
}

// The first parameter whose values (or gradient) are not finite; empty when all are.
inline std::string first_non_finite(const Decoder& model, bool gradient) {
  for (const Parameter& p : model.parameters()) {
    std::vector<float> v(static_cast<std::size_t>(p.numel()));
    if (gradient) p.read_gradient(v.data());
    else p.read(v.data());
    for (float x : v)
      if (!(x - x == 0)) return p.name;
  }
  return "";
}

// Gradients, checks and the update at learning rate lr; messages count steps from 1. Nothing non-finite ever reaches the weights: Error(numerics) names
// step and tensor and leaves model and optimizer as they were.
inline StepResult train_step(Decoder& model, AdamW& optimizer, const StepRows& rows, const StepOptions& o, std::int64_t step, double lr, RouterCounts& counts, MicroGraphs* graphs = nullptr) {
  RouterCounts next = counts;
  StepResult r = accumulate_gradients(model, rows, o, step, next, nullptr, true, graphs);
  r.gradient_norm = optimizer.gradient_norm();
  if (!std::isfinite(r.loss) || !std::isfinite(r.gradient_norm)) {
    std::string weight = first_non_finite(model, false), gradient = first_non_finite(model, true);
    optimizer.zero_grad();
    fail(ErrorKind::numerics, "train.non_finite", "step ", step + 1, ": loss ", r.loss, ", gradient norm ", r.gradient_norm, "; first non-finite ",
         weight.empty() ? (gradient.empty() ? std::string("value is the loss itself") : "gradient is that of " + gradient) : "weight is " + weight,
         "; nothing was updated; lower lr, or look at the data of this step");
  }
  if (r.gradient_norm == 0 && optimizer.trains()) {
    optimizer.zero_grad();
    fail(ErrorKind::numerics, "train.diverged", "step ", step + 1, ": loss ", r.loss, " and every gradient is zero: the weights have overflowed; nothing was updated; lower lr, or set clip");
  }
  counts = std::move(next);
  optimizer.options().lr = lr;
  optimizer.step(r.gradient_norm);
  return r;
}

}  // namespace bam
