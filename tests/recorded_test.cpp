// Micro-steps that a GPU records and replays have the bits of its kernels launched one by one.
#if !defined(__SANITIZE_THREAD__)  // which cannot follow the emulation's fibers
#include <array>

#include "bam/cuda/emulator.hpp"
#include "train_bench.hpp"

namespace bam::train_test {

namespace {
// Rows of 24, two of them a micro-batch: documents of `length` tokens, and so many pads at the end of each micro-batch.
StepRows rows_of_documents(std::int64_t rows, std::int64_t length, std::array<int, 3> pads) {
  StepRows r;
  r.rows = rows;
  r.context = 24;
  Random random(4);
  for (std::int64_t i = 0; i < r.rows * r.context; ++i) {
    const bool real = i % 48 < 48 - pads[static_cast<std::size_t>(i / 48)];
    r.inputs.push_back(static_cast<std::int32_t>(random.below(320)));
    r.targets.push_back(real ? static_cast<std::int32_t>(random.below(320)) : -1);
    r.positions.push_back(static_cast<std::int32_t>(i % length));
    r.real.push_back(real);
  }
  return r;
}
}  // namespace

TEST_CASE("training: the GPU's recorded micro-steps, emulated, have the bits of its kernels launched one by one") {
  Bench& b = bench();
  Settings before;
  const cuda::emulation::Options options_before = cuda::emulation::options();
  default_device() = Device::cuda;
  default_dtype() = DType::bf16;
  const Set plain{"model.config=" + (b.f / "flash.json"), "train.steps=4", "train.dropout=0", "train.gradient_leaves=1", "train.lr=0.02"};
  auto with = [&](Set more) {
    more.insert(more.begin(), plain.begin(), plain.end());
    return more;
  };
  auto told = [&](const Set& set, std::int64_t& replayed) {  // the hash
    const std::int64_t start = replays();
    const std::string hash = b.run(b.fresh(), with(set)).hash;
    replayed = replays() - start;
    return hash;
  };
  std::int64_t replayed = 0;
  for (const Set& set : {Set{"train.micro_batch=2"}, {"train.micro_batch=3", "train.recompute=true"}}) {
    CAPTURE(set[0]);
    setenv("BAM_CUDA_GRAPHS", "off", 1);
    const std::string hash = told(set, replayed);
    CHECK(replayed == 0);
    if (cuda::emulated()) CHECK(cuda::emulation::launches_of("FlashKeyGradientKernel") > 0);
    unsetenv("BAM_CUDA_GRAPHS");
    const std::int64_t before_run = launches(Device::cuda);
    CHECK(told(set, replayed) == hash);
    // The first step has pads, the second is the first of its kind; then four micro-batches, or two, for the third is smaller.
    CHECK(replayed == 2 * (set[0] == "train.micro_batch=2" ? 4 : 2));
    CHECK(launches(Device::cuda) > before_run + 4 * 50);
    if (set[0] != "train.micro_batch=2") continue;
    cuda::emulation::options() = {.order = cuda::emulation::Order::random, .fill = 0x55, .copies = cuda::emulation::Copies::early, .multiprocessors = 132};
    CHECK(told(set, replayed) == hash);
    cuda::emulation::options() = options_before;
  }
  setenv("BAM_CUDA_PATH", "portable", 1);  // less to emulate
  // Kernel by kernel goes what a recording cannot hold.
  for (const char* set : {"train.dropout=0.1", "train.gradient_leaves=2"}) {
    told({"train.micro_batch=2", set}, replayed);
    CHECK(replayed == 0);
  }
  setenv("BAM_CUDA_GRAPHS", "never", 1);
  CHECK(has(error_of(ErrorKind::usage, [&] { b.run(b.fresh(), plain); }), "BAM_CUDA_GRAPHS: wanted on or off, got 'never'"));
  unsetenv("BAM_CUDA_GRAPHS");
  unsetenv("BAM_CUDA_PATH");
}

TEST_CASE("training: evaluation between recorded micro-steps, a longer context than theirs, and memory that another needs change no bit") {
  Bench& b = bench();
  Settings before;
  const cuda::emulation::Options options_before = cuda::emulation::options();
  default_device() = Device::cuda;
  default_dtype() = DType::bf16;
  setenv("BAM_CUDA_PATH", "portable", 1);
  const ModelConfig shape = io::read_model_config(b.f / "config.json").model;
  const StepRows rows = rows_of_documents(4, 12, {});
  StepRows longer = rows;  // one document of 96, which RoPE's table has no angles for
  longer.rows = 1;
  longer.context = 96;
  for (std::size_t i = 0; i < longer.positions.size(); ++i) longer.positions[i] = static_cast<std::int32_t>(i);
  enum class Between { evaluation, a_step_of_other_rows, all_memory };
  auto losses = [&](bool graphs, Between between) {
    Decoder model(shape);
    model.initialize(1);
    AdamW optimizer(model.parameters(), {.clip = 1.0});
    MicroGraphs recorded;
    RouterCounts counts;
    StepOptions o;
    o.micro_batch = 2;
    std::vector<double> list;
    for (int step = 0; step < 5; ++step) {
      list.push_back(train_step(model, optimizer, rows, o, step, 1e-2, counts, graphs ? &recorded : nullptr).loss);
      RouterCounts own;
      if (between == Between::evaluation) list.push_back(accumulate_gradients(model, longer, o, 0, own, nullptr, false).loss);
      if (between == Between::a_step_of_other_rows) list.push_back(train_step(model, optimizer, step % 2 ? longer : rows, o, step, 1e-2, counts, graphs ? &recorded : nullptr).loss);
      if (between == Between::all_memory && step == 3 && graphs) {
        cuda::emulation::options().device_bytes = Allocator::get(Device::cuda).stats().reserved + (16 << 20);
        std::vector<Tensor> hoard;
        const std::int64_t replayed = replays();
        CHECK_THROWS_AS(for (;;) hoard.push_back(zeros({1 << 18}, DType::f32, Device::cuda)), Error);
        hoard.clear();
        cuda::emulation::options() = options_before;
        list.push_back(train_step(model, optimizer, rows, o, 100, 1e-2, counts, &recorded).loss);
        CHECK(replays() == replayed + 2);  // recorded again at once, for the step before was alike
      } else if (between == Between::all_memory && step == 3) {
        list.push_back(train_step(model, optimizer, rows, o, 100, 1e-2, counts).loss);
      }
    }
    return list;
  };
  for (const Between between : {Between::evaluation, Between::a_step_of_other_rows, Between::all_memory}) {
    const std::int64_t start = replays();
    CHECK(losses(true, between) == losses(false, between));
    CHECK(replays() >= start + (between == Between::a_step_of_other_rows ? 2 : 8));
  }
  unsetenv("BAM_CUDA_PATH");
}

TEST_CASE("training: recorded micro-steps before longer documents than theirs, other orders of shapes, tokens that do not exist") {
  Bench& b = bench();
  Settings before;
  default_device() = Device::cuda;
  default_dtype() = DType::bf16;
  setenv("BAM_CUDA_PATH", "portable", 1);
  const ModelConfig shape = io::read_model_config(b.f / "config.json").model;
  const StepRows short_ones = rows_of_documents(6, 6, {}), longer = rows_of_documents(6, 24, {}), last_padded = rows_of_documents(6, 6, {0, 0, 5}), first_padded = rows_of_documents(6, 6, {5, 0, 0});
  struct Case {
    std::vector<const StepRows*> steps;
    std::int64_t replayed;
  };
  for (const Case& c : {Case{{&short_ones, &short_ones, &short_ones, &longer, &longer, &short_ones}, 5 * 3}, Case{{&last_padded, &last_padded, &last_padded, &first_padded, &last_padded}, 3 * 2}}) {
    auto losses = [&](bool graphs) {
      Decoder model(shape);
      model.initialize(1);
      AdamW optimizer(model.parameters(), {.clip = 1.0});
      MicroGraphs recorded;
      RouterCounts counts;
      StepOptions o;
      o.micro_batch = 2;
      std::vector<double> list;
      for (std::size_t i = 0; i < c.steps.size(); ++i) {
        const StepResult r = train_step(model, optimizer, *c.steps[i], o, static_cast<std::int64_t>(i), 1e-2, counts, graphs ? &recorded : nullptr);
        list.push_back(r.loss);
        list.push_back(r.gradient_norm);
      }
      if (graphs) {
        StepRows bad = *c.steps[0];
        bad.inputs[3] = 320;
        CHECK(has(error_of(ErrorKind::usage, [&] { train_step(model, optimizer, bad, o, 9, 1e-2, counts, &recorded); }), "320"));
        bad = *c.steps[0];
        bad.targets[3] = 320;
        CHECK(has(error_of(ErrorKind::usage, [&] { train_step(model, optimizer, bad, o, 9, 1e-2, counts, &recorded); }), "320"));
      }
      return list;
    };
    const std::vector<double> wanted = losses(false);
    const std::int64_t start = replays();
    CHECK(losses(true) == wanted);
    CHECK(replays() == start + c.replayed);
  }
  unsetenv("BAM_CUDA_PATH");
}

}  // namespace bam::train_test
#endif
