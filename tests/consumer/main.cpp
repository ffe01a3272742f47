// Somebody else's program: y = x W^T and its gradient.
#include <bam/bam.hpp>

#include <cstdio>

int main() {
  bam::Random rng(1);
  bam::Tensor x = bam::randn({3, 4}, rng), w = bam::parameter(bam::randn({2, 4}, rng));
  bam::Tape tape;
  bam::Tensor loss = bam::sum(bam::linear(x, w));
  tape.backward(loss);
  double want = 0;
  for (std::int64_t i = 0; i < 3; ++i) want += static_cast<double>(x.data()[i * 4]);
  double difference = std::abs(static_cast<double>(w.grad().data()[0]) - want);
  std::printf("difference %g\n", difference);
  return difference < 1e-5 ? 0 : 1;
}
