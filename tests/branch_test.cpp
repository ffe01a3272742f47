// Branches of a computation on two streams of a GPU, emulated or, in bam_gpu_tests, in truth: with the same bits in every order that the streams may run in, one by one and recorded; what reads across them, and memory that one would take from the
// other, is found.
#include <cstdlib>
#include <optional>

#include "bam/tensor/graph.hpp"
#include "bam/train/step.hpp"
#include "reference.hpp"
#include "support.hpp"

namespace bam::branch_test {

using cuda::emulation::counts;
using cuda::emulation::launches_of;
using cuda::emulation::options;
using reference::floats;
using reference::Floats;
using reference::same_bits;
using test::error_of;
using test::has;
using Order = cuda::emulation::Branches;

namespace {

constexpr Device gpu = Device::cuda;
constexpr Order orders[] = {Order::first, Order::second, Order::alternating};

struct Settings : reference::Settings {
  const cuda::emulation::Options before = options();
  ~Settings() {
    options() = before;
    unsetenv("BAM_CUDA_BRANCHES");
    unsetenv("BAM_CUDA_PATH");
  }
};

Tensor row(float first) { return tensor({first, 2 * first, 3 * first, 4 * first}).to(gpu); }

// Losses, gradient norms and last weights of three steps of two micro-batches.
std::vector<double> trained(const ModelConfig& c, bool graphs, bool recompute) {
  Decoder model(c);
  model.initialize(1, 0.2);
  AdamW optimizer(model.parameters(), {.clip = 1.0});
  StepRows rows;
  rows.rows = 4;
  rows.context = 16;
  Random random(4);
  for (std::int64_t i = 0; i < rows.rows * rows.context; ++i) {
    rows.inputs.push_back(static_cast<std::int32_t>(random.below(64)));
    rows.targets.push_back(static_cast<std::int32_t>(random.below(64)));
    rows.positions.push_back(static_cast<std::int32_t>(i % rows.context));
    rows.real.push_back(1);
  }
  StepOptions o;
  o.micro_batch = 2;
  o.recompute = recompute;
  std::optional<MicroGraphs> recorded;
  if (graphs) recorded.emplace();
  RouterCounts routed;
  std::vector<double> list;
  for (int step = 0; step < 3; ++step) {
    const StepResult r = train_step(model, optimizer, rows, o, step, 1e-2, routed, graphs ? &*recorded : nullptr);
    list.push_back(r.loss);
    list.push_back(r.gradient_norm);
  }
  for (const Parameter& p : model.parameters()) {
    std::vector<float> values(static_cast<std::size_t>(p.numel()));
    p.read(values.data());
    list.insert(list.end(), values.begin(), values.end());
  }
  return list;
}

}  // namespace

TEST_CASE("branches: both read what was made before them, what follows the join reads both") {
  Settings before;
  for (Order order : orders) {
    options().branches = order;
    const Tensor x = row(1);
    const std::int64_t joins = counts().joins;
    Branches branches(gpu, true);
    const Tensor twice = scale(x, 2.0f);
    branches.second();
    const Tensor thrice = scale(x, 3.0f);
    branches.join();
    CHECK(same_bits(floats(add(twice, thrice)), {5, 10, 15, 20}));
    if (reference::counted()) CHECK(counts().joins == joins + 1);
  }
}

TEST_CASE("branches: one that reads what the other writes has other bits in some order") {
  if (!reference::counted()) return;  // a GPU runs them in the order that it likes
  Settings before;
  std::vector<Floats> results;
  for (Order order : orders) {
    options().branches = order;
    const Tensor x = row(1);
    Tensor y = row(7), sum;
    {
      Branches branches(gpu, true);
      copy_bytes(y.raw(), gpu, x.raw(), gpu, 16);
      branches.second();
      sum = add(x, y);
      branches.join();
    }
    results.push_back(floats(sum));
  }
  CHECK(same_bits(results[0], {2, 4, 6, 8}));
  CHECK(same_bits(results[1], {8, 16, 24, 32}));
}

TEST_CASE("branches: memory that a branch releases is given to none that the other does not know to be free") {
  auto make = [] { return Tensor({70001}, DType::f32, gpu); };
  auto at = [](const Tensor& t) { return t.raw(); };
  Tensor early = make();
  const void* const at_early = at(early);
  Branches branches(gpu, true);
  early = {};  // the second branch may read it
  Tensor own = make();
  const void* const at_own = at(own);
  CHECK(at_own != at_early);
  own = {};
  own = make();
  CHECK(at(own) == at_own);  // which the second branch has never seen
  own = {};
  branches.second();
  Tensor other = make();
  CHECK(at(other) != at_own);
  CHECK(at(other) != at_early);
  branches.join();
  const Tensor one = make(), two = make();
  CHECK((at(one) == at_own || at(two) == at_own));
  CHECK((at(one) == at_early || at(two) == at_early));
}

TEST_CASE("branches: each has scratch memory of its own") {
  Settings before;
  constexpr std::int64_t rows = 6;
  const Tensor x = tensor({1, 2, 4, 8, 16, 32}).to(gpu);
  auto index = [](std::vector<std::int32_t> list) { return tensor(list).to(gpu); };
  const Tensor one = index({0, 0, 0, 1, 1, 1}), other = index({1, 0, 1, 0, 1, 0});
  for (Order order : orders) {
    options().branches = order;
    Tensor sums({2}, DType::f32, gpu), others({2}, DType::f32, gpu);
    auto scatter = [&](const Tensor& by, Tensor& to) {  // two kernels, of which one leaves the other a list
      ScatterArgs a;
      a.rows = rows;
      a.columns = a.x_row = a.y_row = 1;
      a.targets = 2;
      a.x = x.address();
      a.index32 = by.address<std::int32_t>();
      a.y = to.address();
      kernel::scatter(a, gpu);
    };
    Branches branches(gpu, true);
    scatter(one, sums);
    branches.second();
    scatter(other, others);
    branches.join();
    CHECK(same_bits(floats(sums), {7, 56}));
    CHECK(same_bits(floats(others), {42, 21}));
  }
}

TEST_CASE("branches: an error within leaves none behind") {
  Settings before;
  const Tensor x = row(1);
  CHECK(has(error_of(ErrorKind::usage, [&] {
    Branches branches(gpu, true);
    (void)scale(x, 2.0f);
    branches.second();
    linear(x, x);
  }), "linear"));
  CHECK(detail::branch().now == 0);
  CHECK(detail::branch().backward == 0);
  CHECK(same_bits(floats(scale(x, 2.0f)), {2, 4, 6, 8}));
  setenv("BAM_CUDA_BRANCHES", "many", 1);
  CHECK(has(error_of(ErrorKind::usage, [] { Branches branches(gpu, true); }), "BAM_CUDA_BRANCHES: wanted on or off, got 'many'"));
}

TEST_CASE("branches: models train with the same bits on one stream and on two, in every order, recorded or not") {
  Settings before;
  default_device() = gpu;
  default_dtype() = DType::bf16;
  struct Kind {
    const char* name;
    std::int64_t attention_experts, ffn_experts;
    bool share_kv;
  };
  for (const Kind& kind : {Kind{"dense", 1, 1, false}, {"btx", 1, 3, false}, {"bam", 3, 3, true}}) {
    CAPTURE(kind.name);
    ModelConfig c;
    c.vocab_size = 64;
    c.hidden_size = 32;
    c.intermediate_size = 48;
    c.num_hidden_layers = 2;
    c.num_attention_heads = c.num_key_value_heads = 1;
    c.head_dim = 32;  // of those that tensor cores take
    if (kind.ffn_experts > 1) {
      c.family = Family::bam;
      c.num_experts = kind.ffn_experts;
      c.num_experts_per_tok = 2;
      c.num_attention_experts = kind.attention_experts;
      c.share_kv = kind.share_kv;
    }
    setenv("BAM_CUDA_BRANCHES", "off", 1);
    std::int64_t joins = counts().joins;
    const std::int64_t flash = launches_of("FlashKeyGradientKernel");
    const std::vector<double> wanted = trained(c, false, false);
    const bool counted = reference::counted();
    CHECK(counts().joins == joins);
    if (counted) CHECK(launches_of("FlashKeyGradientKernel") > flash);
    unsetenv("BAM_CUDA_BRANCHES");
    for (Order order : orders) {
      CAPTURE(static_cast<int>(order));
      options().branches = order;
      joins = counts().joins;
      const bool graphs = order != Order::first, recompute = order == Order::second;
      const std::int64_t replayed = replays();
      CHECK(trained(c, graphs, recompute) == wanted);
      CHECK(replays() == replayed + (graphs ? 2 * 2 : 0));
      if (counted) CHECK(counts().joins == joins + 3 * 2 * 2 * (recompute ? 3 : 2));  // steps, micro-batches, layers, passes
      if (order == Order::alternating) CHECK(trained(c, false, false) == wanted);
    }
  }
}

}  // namespace bam::branch_test
