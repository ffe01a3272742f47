// In-context learning of random Boolean conjunctions (Bhattamishra et al. 2023; Garg et al. 2022 for the setting): a causal
// transformer on continuous inputs with its own head and loss, built from bam's ops. Each sequence draws a hidden conjunction of
// about 3 of 28 literals; it shows 40 examples x_i in {-1, 1}^28, each followed by its label; the model predicts every label from
// the examples before it. Labels are balanced by construction: half of the examples are drawn to satisfy the conjunction.
#include <bam/bam.hpp>

#include <cstdio>
#include <cstdlib>

namespace {

constexpr std::int64_t inputs = 28, examples = 40, width = 128, layers = 4, heads = 4, tokens = 2 * examples;

struct Task {
  bam::Tensor x;       // (batch * tokens, inputs + 1): an example's row, then its label's row
  bam::Tensor labels;  // (batch * examples, 1)
};

Task draw(bam::Random& rng, std::int64_t batch) {
  std::vector<float> x(static_cast<std::size_t>(batch * tokens * (inputs + 1)), 0.0f), labels;
  for (std::int64_t b = 0; b < batch; ++b) {
    std::vector<std::pair<std::size_t, float>> literals;
    while (literals.empty())
      for (std::size_t i = 0; i < inputs; ++i)
        if (rng.uniform() < 3.0 / inputs) literals.push_back({i, rng.uniform() < 0.5 ? -1.0f : 1.0f});
    for (std::int64_t e = 0; e < examples; ++e) {
      float* row = x.data() + (b * tokens + 2 * e) * (inputs + 1);
      for (std::int64_t i = 0; i < inputs; ++i) row[i] = rng.uniform() < 0.5 ? -1.0f : 1.0f;
      if (rng.uniform() < 0.5) {
        for (auto [i, sign] : literals) row[i] = sign;
      } else {  // break one literal
        auto [i, sign] = literals[rng.below(literals.size())];
        row[i] = -sign;
      }
      bool all = true;
      for (auto [i, sign] : literals) all = all && row[i] == sign;
      labels.push_back(all ? 1.0f : 0.0f);
      row[inputs + 1 + inputs] = all ? 1.0f : -1.0f;
    }
  }
  return {bam::tensor(x, {batch * tokens, inputs + 1}), bam::tensor(labels, {batch * examples, 1})};
}

struct Model {
  struct Block {
    bam::Tensor norm, qkv, out, ffn_in, ffn_out;
  };
  bam::Tensor read_in, norm, read_out;
  std::vector<Block> blocks;
  bam::Tensor table = bam::rope_table(tokens, width / heads, 10000.0);

  explicit Model(bam::Random& rng) {
    auto matrix = [&](std::int64_t o, std::int64_t i, double gain = 1.0) { return bam::parameter(bam::randn({o, i}, rng, gain / std::sqrt(static_cast<double>(i)))); };
    read_in = matrix(width, inputs + 1);
    for (std::int64_t i = 0; i < layers; ++i)
      blocks.push_back({bam::parameter(bam::ones({width})), matrix(3 * width, width), matrix(width, width, 0.35), matrix(8 * width, width), matrix(width, 4 * width, 0.35)});
    norm = bam::parameter(bam::ones({width}));
    read_out = matrix(1, width);
  }
  std::vector<bam::Tensor> parameters() const {
    std::vector<bam::Tensor> list{read_in, norm, read_out};
    for (auto& b : blocks) list.insert(list.end(), {b.norm, b.qkv, b.out, b.ffn_in, b.ffn_out});
    return list;
  }
  // (batch * tokens, inputs + 1) -> logits (batch * examples, 1), read where an example stands
  bam::Tensor operator()(const bam::Tensor& x) const {
    std::int64_t rows = x.rows(), batch = rows / tokens;
    std::vector<std::int32_t> positions;
    std::vector<std::int64_t> at;
    for (std::int64_t r = 0; r < rows; ++r) {
      positions.push_back(static_cast<std::int32_t>(r % tokens));
      if (r % 2 == 0) at.push_back(r);
    }
    bam::Rope rope{table, bam::tensor(positions), false};
    auto sequences = bam::segments(std::vector<std::int64_t>(static_cast<std::size_t>(batch), tokens));
    bam::Tensor h = bam::linear(x, read_in);
    for (auto& b : blocks) {  // the parallel block, from its ops
      bam::Tensor u = bam::layer_norm(h, b.norm);
      bam::Tensor a = bam::attention(bam::qkv_projection(u, b.qkv, rope, 2 * heads), {}, {heads, heads, width / heads}, sequences);
      h = bam::linear_add(bam::linear_add(h, a, b.out), bam::swiglu(bam::linear(u, b.ffn_in)), b.ffn_out);
    }
    return bam::linear(bam::layer_norm(bam::take_rows(h, bam::tensor(at)), norm), read_out);
  }
};

}  // namespace

int main(int argc, char** argv) {
  int steps = argc > 1 ? std::atoi(argv[1]) : 3000;
  bam::Random rng(1);
  Model model(rng);
  bam::AdamW opt(model.parameters(), {.lr = 1e-3, .weight_decay = 0.01, .clip = 1.0});
  bam::Schedule schedule{bam::ScheduleKind::cosine, 1e-3, 0.05, steps, 100, 0};
  for (int step = 0; step < steps; ++step) {
    Task task = draw(rng, 32);
    bam::Tape tape;
    bam::Tensor loss = bam::bce_loss(model(task.x), task.labels);
    tape.backward(loss);
    opt.options().lr = schedule.at(step);
    opt.step();
    if (step % 100 == 0) {
      std::printf("step %4d  BCE %.4f\n", step, static_cast<double>(loss.item()));
      std::fflush(stdout);
    }
  }
  Task test = draw(rng, 1000);
  bam::Tensor logits = model(test.x);
  double right = 0, positive = 0;
  for (std::int64_t b = 0; b < 1000; ++b) {
    std::int64_t i = b * examples + examples - 1;
    bool label = test.labels.data()[i] > 0.5f;
    right += (logits.data()[i] > 0) == label;
    positive += label;
  }
  double constant = std::max(positive, 1000 - positive) / 1000;
  std::printf("accuracy at example %d: %.3f on 1000 sequences; best constant %.3f\n", static_cast<int>(examples), right / 1000, constant);
  return right / 1000 > 0.9 && constant <= 0.6 ? 0 : 1;
}
