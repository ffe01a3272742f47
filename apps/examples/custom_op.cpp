// A custom op on the tape, with its gradient checked against central differences: y = x * softplus(x).
#include <bam/bam.hpp>

#include <cstdio>

bam::Tensor soft_gate(const bam::Tensor& x) {
  bam::Tensor y = bam::mul(x.detach(), bam::softplus(x.detach()));  // detached: the parts record nothing
  bam::record({x}, {y}, [x, g = y.gradient()] {
    auto [dx, write] = x.gradient()->target(x.numel());  // where to write, and whether to add
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      float v = x.data()[i];
      float d = g->data()[i] * (bam::math::softplus(v) + v * bam::math::sigmoid(v));
      dx[i] = write == bam::Write::add ? dx[i] + d : d;
    }
  });
  return y;
}

int main() {
  bam::Random rng(1);
  bam::Tensor x = bam::parameter(bam::randn({5, 7}, rng)), weight = bam::randn({5, 7}, rng);
  auto loss = [&](const bam::Tensor& at) { return bam::sum(soft_gate(at) * weight); };
  {
    bam::Tape tape;
    tape.backward(loss(x));
  }
  bam::Tensor gradient = x.grad();
  double worst = 0;
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    bam::Tensor up = x.clone(), down = x.clone();
    up.data()[i] += 1e-2f;
    down.data()[i] -= 1e-2f;
    double numeric = (static_cast<double>(loss(up).item()) - static_cast<double>(loss(down).item())) / 2e-2;
    worst = std::max(worst, std::abs(numeric - static_cast<double>(gradient.data()[i])));
  }
  std::printf("largest difference to central differences: %.2g\n", worst);
  return worst < 2e-3 ? 0 : 1;
}
