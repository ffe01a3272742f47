// The tape: while one lives, ops append how to undo themselves; backward walks the list once, from the end, and frees
// what each record saved as it passes. Thread-local, last in first out. Without a tape nothing is recorded.
#pragma once
#include <functional>

#include "branch.hpp"
#include "tensor.hpp"

namespace bam {

class Tape {
 public:
  Tape() : below_(current()) { current() = this; }
  ~Tape() { current() = below_; }
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  static Tape* active() { return current(); }

  // While one lives, nothing is recorded.
  struct Pause {
    Pause() : tape(current()) { current() = nullptr; }
    ~Pause() { current() = tape; }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;
    Tape* tape;
  };

  // Appends a custom op: `backward` reads the gradients of `outputs` and adds to those of `inputs` that want one
  // (Gradient::target). Outputs want a gradient when an input does; otherwise nothing is recorded and false returned.
  // Capture only what backward needs: an output's gradient is reached through output.gradient().
  bool record(std::initializer_list<Tensor> inputs, std::initializer_list<Tensor> outputs, std::function<void()> backward) {
    return record(inputs, std::span(outputs.begin(), outputs.size()), std::move(backward));
  }
  bool record(std::initializer_list<Tensor> inputs, std::span<const Tensor> outputs, std::function<void()> backward) {
    check(!used_, "tape.used", "tape: an op was recorded after backward; open a new Tape");
    bool wanted = false;
    for (const Tensor& t : inputs) wanted = wanted || t.wants_grad();
    if (!wanted) return false;
    Record r;
    for (const Tensor& t : outputs) {
      t.gradient()->wanted = true;
      r.outputs.push_back(t.gradient());
    }
    r.backward = std::move(backward);
    r.branch = detail::branch().backward;
    records_.push_back(std::move(r));
    return true;
  }

  // Gradients of sum over i of sum(upstream_i * output_i); one upstream per output, of its shape.
  void backward(std::span<const Tensor> outputs, std::span<const Tensor> upstream) {
    check(!used_, "tape.used", "tape: backward ran already; a tape is used once");
    check(outputs.size() == upstream.size(), "tape.upstream", "backward: ", outputs.size(), " outputs, ", upstream.size(), " gradients");
    used_ = true;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const Tensor& t = outputs[i];
      if (!t.wants_grad()) continue;
      check(t.numel() == upstream[i].numel(), "tape.upstream", "backward: output ", to_string(t.shape()), ", gradient ", to_string(upstream[i].shape()));
      auto [y, write] = t.gradient()->target(t.numel());
      CopyArgs a;
      a.write = write;
      a.rank = 1;
      a.shape[0] = t.numel();
      a.x_stride[0] = a.y_stride[0] = 1;
      a.x = upstream[i].raw();
      a.y = y;
      kernel::copy(a, detail::device_of("backward", t, upstream[i]));
    }
    Pause pause;
    struct Joined {
      ~Joined() { detail::leave_branches(); }
    } joined;
    while (!records_.empty()) {
      Record r = std::move(records_.back());
      records_.pop_back();
      bool any = false;
      for (auto& g : r.outputs) any = any || !g->empty();
      detail::enter_branch(r.branch);
      if (any) r.backward();
      for (auto& g : r.outputs) g->clear();
    }
    detail::enter_branch(0);
  }
  void backward(const Tensor& loss) {
    check(loss.numel() == 1, "tape.loss", "backward: wanted a scalar loss, shape is ", to_string(loss.shape()));
    Tensor one = ones(loss.shape(), DType::f32, loss.device());
    backward(std::span(&loss, 1), std::span<const Tensor>(&one, 1));
  }

 private:
  struct Record {
    std::vector<std::shared_ptr<Gradient>> outputs;
    std::function<void()> backward;
    int branch = 0;
  };
  static Tape*& current() {
    thread_local Tape* value = nullptr;
    return value;
  }
  std::vector<Record> records_;
  Tape* below_;
  bool used_ = false;
};

// What an op calls: does nothing without a live tape.
inline void record(std::initializer_list<Tensor> inputs, std::initializer_list<Tensor> outputs, std::function<void()> backward) {
  if (Tape* tape = Tape::active()) tape->record(inputs, outputs, std::move(backward));
}

}  // namespace bam
