// Activation recompute (Chen et al. 2016): forward keeps only the input of f; backward runs f again and then backward
// through it. Same bits as without.
#pragma once
#include "../tensor/tape.hpp"

namespace bam {

// f: Tensor -> std::vector<Tensor>, deterministic; it may read parameters.
template <class F>
std::vector<Tensor> recompute(const Tensor& x, F f) {
  Tape* tape = Tape::active();
  if (!tape) return f(x);
  std::vector<Tensor> y;
  {
    Tape::Pause pause;
    y = f(x);
  }
  Tensor marker = x.detach();
  marker.requires_grad();  // parameters inside f want gradients even where x does not
  tape->record({marker}, std::span<const Tensor>(y), [x, f, outputs = [&] {
    std::vector<std::pair<std::shared_ptr<Gradient>, Shape>> o;
    for (auto& t : y) o.push_back({t.gradient(), t.shape()});
    return o;
  }()] {
    Tensor input = x.detach();
    input.requires_grad(x.wants_grad());
    Tape inner;
    std::vector<Tensor> again = f(input), wanted, upstream;
    for (std::size_t i = 0; i < again.size(); ++i) {
      auto& [gradient, shape] = outputs[i];
      if (gradient->empty()) continue;
      Tensor g(shape, gradient->dtype(), gradient->device());
      copy_bytes(g.raw(), g.device(), gradient->template data<void>(), g.device(), g.numel() * size_of(g.dtype()));
      wanted.push_back(again[i]);
      upstream.push_back(g);
    }
    inner.backward(wanted, upstream);
    if (x.wants_grad() && input.has_grad()) x.gradient()->absorb(*input.gradient(), x.numel());
  });
  return y;
}

}  // namespace bam
