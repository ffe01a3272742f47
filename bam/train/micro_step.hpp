// One micro-batch on the model's device: forward, losses, backward. Training on a GPU has the kernels of its micro-steps recorded and replayed (MicroGraphs).
#pragma once
#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "../nn/decoder.hpp"
#include "../tensor/graph.hpp"

namespace bam {

// What a micro-step reads, N tokens. A slope is the gradient of the step's loss by a token's.
struct MicroBatch {
  TokenBatch tokens;
  Tensor targets;                         // (N) I32; below 0: not trained
  Tensor nll_slope;                       // (N)
  float balance_slope = 0, z_slope = 0;   // the same for all tokens
  std::vector<Tensor> balance_f;          // as in ForwardOptions
};
// Error(usage): an id, a position or a target is out of range.
inline MicroBatch upload(const Decoder& model, const MicroBatch& b) {
  detail::check_targets("train", b.targets, b.tokens.ids.numel(), model.config().vocab_size);
  MicroBatch there{model.upload(b.tokens), b.targets.to(model.device()), b.nll_slope.to(model.device()), b.balance_slope, b.z_slope, {}};
  for (const Tensor& f : b.balance_f) there.balance_f.push_back(f.to(model.device()));
  return there;
}

// What comes of it, on the model's device.
struct MicroLosses {
  struct Router {
    Tensor balance, z;  // (N)
    Tensor counts;      // (E) I64
  };
  Tensor nll;  // (N)
  std::vector<Router> routers;
};

// Gradients are added to the parameters'. b lies on the model's device. logits, when wanted, come to the CPU; without gradients only the losses are computed. `options` less its balance_f, which is the batch's.
inline MicroLosses micro_step(const Decoder& model, const MicroBatch& b, ForwardOptions options, bool gradients = true, Tensor* logits = nullptr) {
  options.balance_f = b.balance_f;
  std::optional<Tape> tape;
  if (gradients) tape.emplace();
  Hidden hidden = model.hidden(b.tokens, options);
  MicroLosses losses{model.nll(hidden, b.targets, b.nll_slope), {}};
  const std::int64_t n = losses.nll.numel();
  std::vector<Tensor> outputs{losses.nll}, upstream{b.nll_slope};
  for (const Routing& r : hidden.routers) {
    outputs.push_back(r.balance);
    upstream.push_back(full({n}, static_cast<double>(b.balance_slope), DType::f32, model.device()));
    outputs.push_back(r.z);
    upstream.push_back(full({n}, static_cast<double>(b.z_slope), DType::f32, model.device()));
    losses.routers.push_back({r.balance, r.z, r.counts});
  }
  if (logits) {
    Tape::Pause pause;
    *logits = model.logits(hidden).to(Device::cpu);
  }
  hidden = {};
  if (tape) tape->backward(outputs, upstream);
  return losses;
}

// Every tensor that gathers a gradient, a tied head's second use included.
inline std::vector<Tensor> gradient_tensors(const Decoder& model) {
  std::vector<Tensor> list;
  for (const Parameter& p : model.parameters())
    if (list.empty() || list.back().gradient() != p.block.gradient()) {
      bool seen = false;
      for (const Tensor& t : list) seen = seen || t.gradient() == p.block.gradient();
      if (!seen) list.push_back(p.block);
    }
  if (model.config().tie_word_embeddings) list.push_back(model.head());
  return list;
}

// The micro-steps of one model on a GPU as CUDA graphs, two: of a step's first micro-batch, whose gradients overwrite and which rounds the weights where the model computes in BF16, and of a later one. They are recorded in
// the second of two steps that run the same kernels, and replayed from then on, with the same bits. Kernel by kernel runs what hangs on more than the memory it reads: dropout, a profile; and what comes in
// changing shapes, as fine-tuning examples do. The documents of packed rows are no such change: there is room for more of them than there were.
class MicroGraphs {
 public:
  // gradients are added. b lies on the CPU. Errors as upload().
  MicroLosses run(Decoder& model, const MicroBatch& b, const ForwardOptions& options) {
    if (model.device() != Device::cuda || options.dropout > 0 || profile() || off_) return micro_step(model, upload(model, b), options);
    const MicroBatch batch = with_room(b);
    const std::int64_t positions = model.check_tokens(batch.tokens);
    detail::check_targets("train", batch.targets, batch.tokens.ids.numel(), model.config().vocab_size);
    const std::vector<Tensor> tensors = gradient_tensors(model);
    Kind kind{batch.tokens.ids.numel(), std::ssize(batch.tokens.segments.list()), batch.balance_slope, batch.z_slope, options.recompute, {}};
    bool first = true;
    for (const Tensor& t : tensors) {
      kind.filled.push_back(t.has_grad());
      first = first && !t.has_grad();
    }
    if (first) {
      before_ = std::move(now_);
      now_.clear();
      recording_ = begun_ = false;
    }
    now_.push_back(kind);
    std::optional<Recorded>& recorded = steps_[first ? 0 : 1];
    // The table of angles is as long as was needed then; and what a step's first micro-batch leaves to the later ones is this step's only if the first was replayed.
    if (recorded && recorded->kind == kind && recorded->in_place() && positions <= inputs_.tokens.turns.rows() && (first || begun_)) {
      load(batch, first);
      if (graphs_.replay(recorded->number)) {
        for (Gathered& g : recorded->gathered) g.gradient->target(g.elements);
        begun_ = true;
        return recorded->losses;
      }
    }
    const bool fits = first || (recording_ && !recorded && steps_[0]->kind.tokens == kind.tokens && steps_[0]->kind.segments == kind.segments && positions <= inputs_.tokens.turns.rows());
    if (!fits || recorded_ == most_recorded || std::find(before_.begin(), before_.end(), kind) == before_.end()) return micro_step(model, upload(model, batch), options);
    return record(model, batch, options, tensors, kind, first);
  }

 private:
  struct Kind {
    std::int64_t tokens, segments;
    float balance_slope, z_slope;
    bool recompute;
    std::vector<bool> filled;  // which gradients were there before
    bool operator==(const Kind&) const = default;
  };
  struct Gathered {
    std::shared_ptr<Gradient> gradient;
    std::int64_t elements;
    const void* at;  // where it was when the kernels were recorded
  };
  struct Recorded {
    Kind kind;
    std::size_t number;
    MicroLosses losses;
    std::vector<Gathered> gathered;
    bool in_place() const {
      for (const Gathered& g : gathered)
        if (g.gradient->kept() != g.at) return false;
      return true;
    }
  };
  static constexpr int most_recorded = 16;  // what must be recorded again and again is not worth it

  // The batch with empty segments behind its own, so that it fits the kernels of others.
  MicroBatch with_room(MicroBatch b) {
    std::vector<Segment> list = b.tokens.segments.list();
    if (room_ < list.size())
      while (room_ < 2 * list.size()) room_ *= 2;
    list.resize(room_);
    b.tokens.segments = Segments(std::move(list));
    return b;
  }
  // To where the kernels read it. What a step's later micro-batches share with the first stays.
  void load(const MicroBatch& b, bool first) {
    auto put = [](Tensor& to, const Tensor& from) { copy_bytes(to.raw(), to.device(), from.raw(), Device::cpu, from.numel() * size_of(from.dtype())); };
    put(inputs_.tokens.ids, b.tokens.ids);
    put(inputs_.tokens.positions, b.tokens.positions);
    inputs_.tokens.segments.replace(b.tokens.segments.list());
    put(inputs_.targets, b.targets);
    put(inputs_.nll_slope, b.nll_slope);
    for (std::size_t r = 0; first && r < b.balance_f.size(); ++r) put(inputs_.balance_f[r], b.balance_f[r]);
  }
  MicroLosses record(Decoder& model, const MicroBatch& batch, const ForwardOptions& options, const std::vector<Tensor>& tensors, const Kind& kind, bool first) {
    if (first) {
      steps_ = {};
      graphs_.clear();
      model.forget_rounded();
      inputs_ = upload(model, batch);
      inputs_.tokens.segments.address(Device::cuda);
      recording_ = begun_ = true;
    } else {
      load(batch, false);
    }
    ++recorded_;
    try {
      Recorded made{kind, 0, {}, {}};
      made.number = graphs_.record([&] { made.losses = micro_step(model, inputs_, options); });
      for (const Tensor& t : tensors)
        if (t.has_grad()) made.gathered.push_back({t.gradient(), t.numel(), t.gradient()->kept()});
      steps_[first ? 0 : 1] = made;
      check(graphs_.replay(made.number), "train.recording", "train: what was recorded cannot be run");
      return made.losses;
    } catch (const Error& e) {
      // As if nothing had been recorded: the host believes that gradients and rounded weights were computed.
      steps_ = {};
      graphs_.clear();
      model.forget_rounded();
      for (std::size_t i = 0; i < tensors.size(); ++i)
        if (!kind.filled[i]) tensors[i].gradient()->clear(true);
      if (e.id() != "memory.exhausted") throw;
    }
    off_ = true;  // the memory does not do for an arena
    return micro_step(model, upload(model, batch), options);
  }

  Graphs graphs_;
  std::array<std::optional<Recorded>, 2> steps_;  // the first micro-batch of a step, a later one
  MicroBatch inputs_;                             // on the GPU, read by both
  std::vector<Kind> before_, now_;                // of the micro-batches of the last step and this one
  bool recording_ = false;                        // the first of this step was recorded: its rounded weights are a later one's too
  bool begun_ = false;                            // it was recorded or replayed
  bool off_ = false;
  std::size_t room_ = 1;
  int recorded_ = 0;
};

}  // namespace bam
