// An MLP that tells two interleaved spirals apart. Includes bam and links nothing.
#include <bam/bam.hpp>

#include <cstdio>

int main() {
  bam::Random rng(1);
  std::vector<float> points;
  std::vector<std::int32_t> labels;
  for (int i = 0; i < 512; ++i) {
    double r = 0.1 + 0.9 * rng.uniform(), side = i % 2, angle = 6.0 * r + 3.14159 * side;
    auto [sine, cosine] = bam::math::sincos(angle);
    points.insert(points.end(), {static_cast<float>(r * cosine), static_cast<float>(r * sine)});
    labels.push_back(i % 2);
  }
  bam::Tensor x = bam::tensor(points, {512, 2}), y = bam::tensor(labels);
  bam::Tensor w1 = bam::parameter(bam::randn({64, 2}, rng, 2.0)), b1 = bam::parameter(bam::randn({64}, rng));
  bam::Tensor w2 = bam::parameter(bam::randn({64, 64}, rng, 0.15)), w3 = bam::parameter(bam::randn({2, 64}, rng, 0.1));
  bam::AdamW opt({w1, b1, w2, w3}, {.lr = 5e-3});
  float loss_value = 0;
  for (int step = 0; step < 400; ++step) {
    bam::Tape tape;  // records while alive
    auto h = bam::gelu(bam::linear(x, w1) + b1);
    auto loss = bam::cross_entropy(bam::linear(bam::gelu(bam::linear(h, w2)), w3), y);
    tape.backward(loss);
    opt.step();
    loss_value = loss.item();
    if (step % 100 == 0) std::printf("step %3d  loss %.4f\n", step, static_cast<double>(loss_value));
  }
  auto logits = bam::linear(bam::gelu(bam::linear(bam::gelu(bam::linear(x, w1) + b1), w2)), w3);
  int right = 0;
  for (std::int64_t i = 0; i < 512; ++i) right += (logits.data()[2 * i + 1] > logits.data()[2 * i]) == (labels[static_cast<std::size_t>(i)] == 1);
  std::printf("loss %.4f, %d of 512 points right\n", static_cast<double>(loss_value), right);
  return right >= 500 ? 0 : 1;
}
