// Tensors on a device of their own, the emulated one or, in bam_gpu_tests, a GPU: what reaches them and what does not, and that models train, score, generate and upcycle there with the CPU's bits.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "bam/eval/generate.hpp"
#include "bam/eval/nll.hpp"
#include "bam/io/model_folder.hpp"
#include "bam/tensor/graph.hpp"
#include "bam/train/launches.hpp"
#include "bam/upcycle/upcycle.hpp"
#include "reference.hpp"
#include "support.hpp"

namespace bam::device_test {

using reference::emulation_runs;
using reference::Floats;
using reference::floats;
using reference::same_bits;
using test::error_of;
using test::has;

namespace {

constexpr Device gpu = Device::cuda;

// What f gives on the CPU, it gives on the device.
template <class F>
void same_on_both(F f) {
  reference::Settings before;
  const auto here = f();
  const std::int64_t on_cpu = launches(Device::cpu), on_gpu = launches(gpu);
  setenv("BAM_CUDA_PATH", "portable", 1);
  default_device() = gpu;
  const auto there = f();
  CHECK(launches(Device::cpu) == on_cpu);
  CHECK(launches(gpu) > on_gpu);
  CHECK(here == there);
}

io::ModelFolder golden(const std::string& name) { return io::load_model(test::data() + "/golden/" + name); }
std::vector<std::int32_t> ids_below(std::int64_t n, std::int64_t limit, std::uint64_t seed) {
  Random random(seed);
  return reference::below(n, limit, random);
}

}  // namespace

TEST_CASE("device: a tensor goes there and comes back, and says where it lies") {
  const Tensor x = tensor({1, 2, 3, 4, 5, 6}).reshape({2, 3}), y = x.to(gpu);
  CHECK(x.device() == Device::cpu);
  CHECK(y.device() == gpu);
  CHECK(y.shape() == x.shape());
  CHECK(same_bits(floats(y), floats(x)));
  CHECK(y.to(gpu).raw() == y.raw());  // it is there already
  CHECK(same_bits(floats(y.clone()), floats(x)));
  CHECK(full({1}, 2.5, DType::f32, gpu).item() == 2.5f);
  std::string told = error_of(ErrorKind::usage, [&] { (void)y.data(); });
  CHECK(has(told, "(2, 3) lies on cuda"));
  CHECK(has(told, "to(bam::Device::cpu)"));
  told = error_of(ErrorKind::usage, [&] { (void)add(x, y); });
  CHECK(has(told, "device.mixed"));
  CHECK(has(told, "move one with to()"));
  CHECK(has(error_of(ErrorKind::usage, [&] { (void)linear(x, y); }), "device.mixed: linear"));
}

TEST_CASE("device: host code that touches its memory crashes, a kernel that is given the host's is refused") {
  if (!emulation_runs) return;
  const Tensor y = zeros({1024}, DType::f32, gpu);
  const auto* const there = static_cast<const volatile float*>(y.raw());  // here: the child may lack the free store
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);  // the test's own
    (void)!freopen("/dev/null", "w", stderr);  // a sanitizer's report of it
    (void)*there;
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK_FALSE((WIFEXITED(status) && WEXITSTATUS(status) == 0));

  std::vector<float> host(8);
  FillArgs a;
  a.n = 8;
  a.y = host.data();
#if __has_builtin(__builtin_clear_padding)
  if (!reference::on_gpu) CHECK(has(error_of(ErrorKind::internal, [&] { kernel::fill(a, gpu); }), "not of the device's memory"));
#endif
}

TEST_CASE("device: memory that ends names the tensor and the knob, and what is freed serves again") {
  if (reference::on_gpu) return;  // its memory is not ours to fill
  reference::Settings before;
  Allocator::get(gpu).trim();
  cuda::emulation::options().device_bytes = std::int64_t{24} << 20;
  {
    const Tensor half({3, 1 << 20}, DType::f32, gpu);  // 12 MiB
    const std::string told = error_of(ErrorKind::limit, [] { Tensor({4, 1 << 20}, DType::f32, gpu); });
    CHECK(has(told, "(4, 1048576) of F32"));
    CHECK(has(told, "on cuda"));
    CHECK(has(told, "micro_batch"));
  }
  CHECK(Allocator::get(gpu).stats().reserved > 0);
  const Tensor more({4, 1 << 20}, DType::f32, gpu);  // of another size: what nobody has is given back first
  CHECK(more.device() == gpu);
}

TEST_CASE("device: kernels are recorded, and run again as often as wanted, until their memory is needed elsewhere") {
  Tensor x = tensor({1, 2, 3, 4}).to(gpu), y;
  Graphs graphs;
  CHECK_FALSE(graphs.valid());
  const std::size_t doubled = graphs.record([&] { y = scale(x, 2.0f); });
  const std::size_t more = graphs.record([&] { copy_bytes(x.raw(), gpu, add(y, y).raw(), gpu, 16); });
  auto is = [](const Tensor& t, float first) { return floats(t)[0] == first && floats(t)[3] == 4 * first; };
  CHECK(is(x, 1));
  CHECK(graphs.replay(doubled));
  CHECK(is(y, 2));
  const Tensor other = zeros({4}, DType::f32, gpu);  // made outside: no recording writes there
  for (float first : {4.0f, 16.0f, 64.0f}) {
    CHECK(graphs.replay(more));
    CHECK(is(x, first));
    CHECK(graphs.replay(doubled));
    CHECK(is(y, 2 * first));
  }
  CHECK(is(other, 0));
  if (emulation_runs) {  // what a GPU's runtime refuses in its own words
    CHECK(has(error_of(ErrorKind::internal, [&] { graphs.record([&] { (void)scale(x, 2.0f).to(Device::cpu); }); }), "a copy to or from the host while a recording is made"));
    CHECK(graphs.replay(doubled));
    CHECK(is(y, 128));
  }
  graphs.clear();
  CHECK_FALSE(graphs.valid());
  CHECK(is(y, 128));
}

TEST_CASE("device: the program of the README trains there by moving its inputs") {
  if (!emulation_runs) return;
  auto train = [](Device device) {
    Random rng(1);
    Tensor w = parameter(randn({6, 3}, rng).to(device));
    AdamW opt({w}, {.lr = 1e-2, .weight_decay = 0.1, .clip = 1.0});
    for (int step = 0; step < 5; ++step) {
      const Tensor x = randn({16, 6}, rng).to(device), y = tensor(reference::below(16, 3, rng)).to(device);
      Tape tape;
      Tensor loss = cross_entropy(dropout(matmul(x, w), 0.1f, {1, 0, static_cast<std::uint32_t>(step), 0}), y);
      tape.backward(loss);
      opt.step();
    }
    return floats(w);
  };
  CHECK(same_bits(train(Device::cpu), train(gpu)));
}

TEST_CASE("device: a step starts as many kernels as the list of its launches says") {
  if (!reference::counted()) return;
  reference::Settings before;
  setenv("BAM_CUDA_PATH", "mma", 1);
  for (Family family : {Family::cohere, Family::bam, Family::llama})
    for (bool bf16 : {true, false}) {
      CAPTURE(static_cast<int>(family));
      CAPTURE(bf16);
      ModelConfig c;
      c.family = family;
      c.parallel_block = family != Family::llama;
      c.vocab_size = 64;
      c.hidden_size = 32;
      c.intermediate_size = 48;
      c.num_hidden_layers = 1;
      c.num_attention_heads = 1;
      c.num_key_value_heads = 1;
      c.head_dim = 32;
      if (family == Family::bam) c.num_experts = c.num_attention_experts = 2, c.num_experts_per_tok = 1;
      StepRows rows;
      rows.rows = 2;
      rows.context = 144;  // more rows than one chain of a norm's gradient has
      for (std::int32_t i = 0; i < 288; ++i) {
        rows.positions.push_back(i % 144);
        rows.inputs.push_back(i % 64);
        rows.targets.push_back((i + 1) % 64);
        rows.real.push_back(1);
      }
      std::int64_t told = 0;
      for (const Profile::Call& call : step_launches(c, {.micro_batch = rows.rows, .context = rows.context, .bf16 = bf16, .device = gpu})) told += call.cost.kernels;
      Decoder model(c, gpu, bf16 ? DType::bf16 : DType::f32);
      model.initialize(1);
      AdamW optimizer(model.parameters(), {.clip = 1.0});
      StepOptions options;
      options.micro_batch = rows.rows;
      RouterCounts counts;
      const std::int64_t launched = cuda::emulation::counts().launches;
      accumulate_gradients(model, rows, options, 0, counts);
      optimizer.step();
      CHECK(cuda::emulation::counts().launches - launched == told);
    }
}

TEST_CASE("device: likelihoods, generation and upcycling have the CPU's bits") {
  if (!emulation_runs) return;
  for (const char* name : {"dense", "llama", "bam-top2", "bam-shared-kv", "btx-idle-expert"}) {
    CAPTURE(name);
    same_on_both([&] {
      const io::ModelFolder m = golden(name);
      const std::int64_t v = m.decoder->config().vocab_size;
      std::vector<DocumentTokens> documents;
      for (std::uint64_t d = 0; d < 3; ++d) documents.push_back({ids_below(20 + static_cast<std::int64_t>(d), v, d), 30});
      NllResult r = evaluate_nll(*m.decoder, documents, 8, 2);
      GenerateOptions o;
      o.max_new_tokens = 6;
      o.context = 24;
      o.batch = 2;
      std::vector<std::vector<std::int32_t>> out;
      for (auto& c : generate(*m.decoder, {ids_below(3, v, 8), ids_below(7, v, 9), ids_below(1, v, 10)}, o)) out.push_back(c.ids);
      return std::pair(r.token_nll, out);
    });
  }
}

TEST_CASE("device: a seed is upcycled there, and copies of it mixed softly are the seed") {
  if (!emulation_runs) return;
  reference::Settings before;
  default_device() = gpu;
  ModelConfig c;
  c.vocab_size = 50;
  c.hidden_size = 16;
  c.intermediate_size = 24;
  c.num_hidden_layers = 2;
  c.num_attention_heads = c.num_key_value_heads = 2;
  c.head_dim = 8;
  Decoder seed(c);
  seed.initialize(3, 0.3);
  CHECK(seed.device() == gpu);
  UpcycleOptions o;
  const double difference = upcycle_identity(seed, 3, o);
  CHECK(difference < 1e-6);
  CHECK(difference >= 0);
}

}  // namespace bam::device_test
