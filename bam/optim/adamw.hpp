// AdamW (Loshchilov & Hutter 2019) with decoupled decay and clipping by global norm. A step consumes gradients.
#pragma once
#include <cmath>
#include <utility>

#include "../nn/parameter.hpp"
#include "../tensor/tape.hpp"

namespace bam {

struct AdamWOptions {
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0;  // on matrices only
  double clip = 0;          // largest global gradient norm; 0: no clipping
  DType moments = DType::f32;  // or bf16: 4 bytes a parameter less
  static constexpr double most_beta2_of_bf16 = 0.992;  // above, what a step adds to the second moment is less than bf16 can tell
};

class AdamW {
 public:
  // Tensors of rank 1 get no weight decay.
  AdamW(std::vector<Tensor> tensors, AdamWOptions options) : options_(options) {
    for (Tensor& t : tensors) add(whole("", t), t.rank() > 1, false);
  }
  // frozen(name): left out of the update and of the gradient norm.
  AdamW(const std::vector<Parameter>& parameters, AdamWOptions options, const std::function<bool(const std::string&)>& frozen = {}) : options_(options) {
    for (const Parameter& p : parameters) add(p, !p.vector, frozen && frozen(p.name));
  }

  AdamWOptions& options() { return options_; }
  std::int64_t steps() const { return t_; }
  void set_steps(std::int64_t t) { t_ = t; }

  // Norm over all gradients, in a fixed order.
  double gradient_norm() {
    std::int64_t partials = 0;
    auto partials_of = [](const Block& b) { return b.tensor.has_grad() ? SumSquaresArgs::blocks_of(b.tensor.numel()) : 0; };
    for (const Block& b : blocks_) partials += partials_of(b);
    if (partials == 0) return 0;
    Tensor partial({partials}, DType::f64, device());
    double* at = partial.address<double>();
    SumSquaresArgs a;
    auto launch = [&] {
      if (a.parts > 0) kernel::sum_squares(a, device());
      a.parts = 0;
    };
    for (Block& b : blocks_) {
      if (!b.tensor.has_grad()) continue;
      for (const View& v : b.views)
        if (v.frozen) clear_view(b, v);
      if (a.parts == 0) a.partial = at;
      a.part[a.parts++] = {b.tensor.numel(), b.tensor.gradient()->data()};
      at += partials_of(b);
      if (a.parts == SumSquaresArgs::most_parts) launch();
    }
    launch();
    double total = 0;
    const Tensor here = partial.to(Device::cpu);
    for (double p : here.values<double>()) total += p;
    return std::sqrt(total);
  }

  // Updates and empties the gradients; returns their norm before clipping, or 0 without clipping, which alone needs it. Parameters without a gradient stay as they are.
  double step() {
    double norm = options_.clip > 0 ? gradient_norm() : 0;
    step(norm);
    return norm;
  }
  void step(double norm) {
    ++t_;
    double t = static_cast<double>(t_);
    AdamWScalars s;
    s.lr = static_cast<float>(options_.lr);
    s.correction1 = static_cast<float>(1 - math::pow(options_.beta1, t));
    s.correction2 = static_cast<float>(1 - math::pow(options_.beta2, t));
    s.factor = options_.clip > 0 && norm > options_.clip ? static_cast<float>(options_.clip / norm) : 1.0f;
    Tensor scalars({static_cast<std::int64_t>(sizeof s)}, DType::u8, device());
    copy_bytes(scalars.raw(), device(), &s, Device::cpu, sizeof s);
    AdamWArgs a;
    a.beta1 = static_cast<float>(options_.beta1);
    a.beta2 = static_cast<float>(options_.beta2);
    a.eps = static_cast<float>(options_.eps);
    a.moments = options_.moments;
    a.scalars = static_cast<const AdamWScalars*>(scalars.raw());
    auto launch = [&] {
      if (a.parts > 0) kernel::adamw(a, device());
      a.parts = 0;
    };
    for (Block& b : blocks_) {
      if (!b.tensor.has_grad()) continue;
      for (const View& v : b.views) {
        if (v.frozen) continue;
        a.part[a.parts++] = {v.rows, v.columns, v.stride, v.decay ? static_cast<float>(options_.weight_decay) : 0.0f, b.tensor.address() + v.offset, b.tensor.gradient()->data() + v.offset,
                             element(b.m.raw(), v.offset, a.moments), element(b.v.raw(), v.offset, a.moments)};
        if (a.parts == AdamWArgs::most_parts) launch();
      }
    }
    launch();
    zero_grad();
  }
  // Whether any parameter is updated.
  bool trains() const {
    for (const Block& b : blocks_)
      for (const View& v : b.views)
        if (!v.frozen) return true;
    return false;
  }
  void zero_grad() {
    for (Block& b : blocks_) b.tensor.gradient()->clear(true);
  }

  // Per block: the parameter and its moments, for checkpoints and hashes.
  struct State {
    Tensor parameter, m, v;
  };
  std::vector<State> state() const {
    std::vector<State> s;
    for (const Block& b : blocks_) s.push_back({b.tensor, b.m, b.v});
    return s;
  }

 private:
  struct View {
    std::int64_t offset, rows, columns, stride;
    bool decay, frozen;
  };
  struct Block {
    Tensor tensor, m, v;
    std::vector<View> views;
  };
  void add(const Parameter& p, bool decay, bool frozen) {
    View view{p.offset, p.rows, p.columns, p.stride, decay, frozen};
    if (p.stride == p.columns) view = {p.offset, 1, p.numel(), p.numel(), decay, frozen};
    for (Block& b : blocks_) {
      if (b.tensor.gradient() != p.block.gradient()) continue;
      for (const View& v : b.views)
        if (v.rows == 1 && view.rows == 1) check(view.offset >= v.offset + v.columns || v.offset >= view.offset + view.columns, "adamw.twice", "adamw: '", p.name, "' is there twice");
      View& last = b.views.back();  // neighbours that are treated alike become one
      if (last.rows == 1 && view.rows == 1 && last.offset + last.columns == view.offset && last.decay == decay && last.frozen == frozen) {
        last.columns += view.columns;
        last.stride = last.columns;
      } else {
        b.views.push_back(view);
      }
      // a block whose parameters are all there and treated alike is one run, whatever they look like
      std::int64_t held = 0;
      bool alike = true;
      for (const View& v : b.views) held += v.rows * v.columns, alike = alike && v.decay == decay && v.frozen == frozen;
      if (const std::int64_t n = b.tensor.numel(); alike && held == n) b.views = {{0, 1, n, n, decay, frozen}};
      return;
    }
    for (const Block& b : blocks_) check(std::as_const(b.tensor).raw() != std::as_const(p.block).raw(), "adamw.twice", "adamw: '", p.name, "' shares the memory of another parameter; give each once");
    check(p.block.wants_grad(), "adamw.parameter", "adamw: '", p.name, "' wants no gradient; mark it with parameter()");
    check(blocks_.empty() || p.block.device() == device(), "device.mixed", "adamw: '", p.name, "' lies on ", name_of(p.block.device()), ", others on ", name_of(device()));
    check(options_.moments == DType::f32 || options_.moments == DType::bf16, "adamw.moments", "adamw: moments of F32 or BF16, not of ", name_of(options_.moments));
    check(options_.moments == DType::f32 || options_.beta2 <= AdamWOptions::most_beta2_of_bf16, "adamw.moments", "adamw: moments of BF16 want a beta2 of at most ", AdamWOptions::most_beta2_of_bf16, ", got ", options_.beta2);
    auto moment = [&] { return zeros(p.block.shape(), options_.moments, p.block.device()); };
    blocks_.push_back({p.block, moment(), moment(), {view}});
  }
  Device device() const { return blocks_.empty() ? Device::cpu : blocks_[0].tensor.device(); }
  static void clear_view(Block& b, const View& v) {
    const Tensor zero = zeros({1}, DType::f32, b.tensor.device());
    CopyArgs a;
    a.rank = 2;
    a.shape[0] = v.rows;
    a.shape[1] = v.columns;
    a.y_stride[0] = v.stride;
    a.y_stride[1] = 1;
    a.x = zero.raw();
    a.y = b.tensor.gradient()->data() + v.offset;
    kernel::copy(a, b.tensor.device());
  }

  AdamWOptions options_;
  std::vector<Block> blocks_;
  std::int64_t t_ = 0;
};

}  // namespace bam
