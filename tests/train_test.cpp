// Whole runs of a small BAM mixture: one hash over threads, instruction sets, micro-batches and devices, in fp32 and bf16.
#include <map>

#include "bam/cuda/emulator.hpp"
#include "train_bench.hpp"

namespace bam::train_test {

TEST_CASE("training: the loss falls, and what a run leaves") {
  Bench& b = bench();
  std::string out = b.fresh();
  RunResult r = b.run(out, {"train.steps=60", "train.checkpoint_every=20", "train.keep_checkpoints=2", "train.eval_every=30",
                            "eval=[{name=\"m\", path=\"" + (b.f / "math.jsonl") + "\"}]"});
  CHECK(r.steps == 60);
  CHECK(r.stopped_by == 0);
  std::vector<double> losses = losses_of(out);
  REQUIRE(losses.size() == 60);
  CHECK(losses[0] == doctest::Approx(std::log(320)).epsilon(0.03));
  CHECK(losses[59] == r.final_loss);
  CHECK(r.final_loss > r.final_nll);  // balance and z losses are not negative, and here not 0
  double last = 0;
  for (std::size_t i = 50; i < 60; ++i) last += losses[i] / 10;
  CHECK(last < losses[0] - 2);
  CHECK(checkpoints_of(out) == Set{"step-00000040", "step-00000060"});
  for (const char* file : {"config.toml", "resolved.toml", "manifest.json", "metrics.jsonl", "events.jsonl"}) CHECK(io::exists(out + "/" + file));
  CHECK(io::read_file(out + "/config.toml") == io::read_file(b.f / "run.toml"));
  io::ModelFolder model = io::load_model(out);  // its newest checkpoint
  CHECK(model.path == out + "/checkpoints/step-00000060");
  CHECK(model.has_tokenizer);
  std::int64_t parameters = 0;
  for (const Parameter& p : model.decoder->parameters()) parameters += p.numel();
  CHECK(parameters <= 100000);
  std::vector<double> evals;
  for (const io::Json& line : lines_of(out + "/metrics.jsonl"))
    if (line.find("eval")) evals.push_back(line.at("nll").as_double("nll"));
  REQUIRE(evals.size() == 2);
  CHECK(evals[1] < evals[0]);
  // Every expert gets tokens: 2 slots of each real position, per router.
  io::Json metric = lines_of(out + "/metrics.jsonl").back();
  for (const io::Json& line : lines_of(out + "/metrics.jsonl"))
    if (!line.find("eval")) metric = line;
  CHECK(metric.at("expert_tokens").size() == 2);
  // Documents of both sources come by their weights.
  CHECK(metric.at("epochs").size() == 2);
}

TEST_CASE("training: resolved.toml alone gives the same run; what matters changes it") {
  Bench& b = bench();
  std::string out = b.fresh(), again = b.fresh();
  RunResult r = b.run(out);
  CHECK(r.hash == wanted_hash());
  CHECK(Run(train::load_run_config(out + "/resolved.toml"), {again, false, false, {}, "test"}, {}).execute().hash == wanted_hash());
  CHECK(losses_of(again) == losses_of(out));
  // Six steps are enough to see a difference.
  const std::string six = b.run(b.fresh(), {"train.steps=6"}).hash;
  CHECK(six != wanted_hash());
  for (const char* set : {"train.seed=6", "train.dropout=0", "train.dropout=0.2", "train.lr=5e-3", "train.weight_decay=0", "train.gradient_leaves=1",
                          "data.0.weight=1", "train.mask_documents=false", "train.warmup=2", "train.clip=0.5", "train.schedule=constant",
                          "train.freeze=[\"model.norm.weight\"]", "train.init_std=0.03", "train.context=23"}) {
    CAPTURE(set);
    CHECK(b.run(b.fresh(), {"train.steps=6", set}).hash != six);
  }
  CHECK(b.run(b.fresh(), {"train.steps=6", "train.recompute=true"}).hash == six);
  CHECK(b.run(b.fresh(), {"train.steps=6", "train.log_every=7"}).hash == six);
}

TEST_CASE("training: one hash over threads, instruction sets and micro-batches") {
  Bench& b = bench();
  Settings before;
  for (cpu::Isa isa : {cpu::Isa::base, cpu::Isa::avx2, cpu::Isa::avx512}) {
    if (!cpu::supported(isa)) continue;
    for (auto cut : {std::pair(1, 3), std::pair(3, 8), std::pair(2, 1), std::pair(2, 2)}) {
      int threads = cut.first, micro = cut.second;
      if (isa == cpu::Isa::base && threads == 2) continue;  // slow
      CAPTURE(cpu::name_of(isa));
      CAPTURE(threads);
      CAPTURE(micro);
      cpu::use(isa);
      set_threads(threads);
      CHECK(b.run(b.fresh(), {str("train.micro_batch=", micro)}).hash == wanted_hash());
    }
  }
}

#if !defined(__SANITIZE_THREAD__)  // which cannot follow the emulation's fibers
TEST_CASE("training: the CUDA kernels, on their emulation, train to the CPU's hash") {
  Bench& b = bench();
  Settings before;
  const std::string wanted = wanted_hash();  // made on the CPU
  const std::int64_t emulated_before = launches(Device::cuda), cpu_before = launches(Device::cpu);
  default_device() = Device::cuda;
  setenv("BAM_CUDA_PATH", "portable", 1);
  const RunResult emulated = b.run(b.fresh(), {});
  unsetenv("BAM_CUDA_PATH");
  CHECK(emulated.hash == wanted);
  CHECK(launches(Device::cuda) > emulated_before + 50 * emulated.steps);
  CHECK(launches(Device::cpu) == cpu_before);
}

TEST_CASE("training: the fast CUDA kernels, emulated, in fp32 and bf16: 50 steps (200 on a GPU) with the CPU's losses, and a hash that no order of threads changes") {
  Bench& b = bench();
  Settings before;
  const cuda::emulation::Options options_before = cuda::emulation::options();
  const int most = cuda::emulated() ? 50 : 200;
  const std::string flash_config = "model.config=" + (b.f / "flash.json");
  const Set all{flash_config, "train.micro_batch=4", str("train.steps=", most)}, three{flash_config, "train.micro_batch=4", "train.steps=3"};
  const std::string cpu = b.fresh();
  b.run(cpu, all);
  const std::vector<double> wanted = losses_of(cpu);
  default_device() = Device::cuda;
  for (DType dtype : {DType::f32, DType::bf16}) {
    const std::string type = name_of(dtype);
    CAPTURE(type);
    default_dtype() = dtype;
    const std::string out = b.fresh();
    const int steps = dtype == DType::f32 ? 5 : most;
    const std::int64_t on_cpu = launches(Device::cpu), flash = cuda::emulation::launches_of("FlashKeyGradientKernel");
    b.run(out, all, false, steps);
    CHECK(launches(Device::cpu) == on_cpu);
    if (cuda::emulated()) CHECK((cuda::emulation::launches_of("FlashKeyGradientKernel") > flash) == (dtype == DType::bf16));
    const std::vector<double> losses = losses_of(out);
    REQUIRE(std::ssize(losses) == steps);
    double worst = 0;
    for (std::size_t i = 0; i < losses.size(); ++i) worst = std::max(worst, std::abs(losses[i] - wanted[i]) / wanted[i]);
    CHECK(worst < (dtype == DType::f32 ? 1e-4 : 2e-2));  // the CPU's own bf16 is off by 1.0e-2 in 200 steps
    MESSAGE(type << ": losses differ from the CPU's fp32 by at most " << worst << " (relative)");
    const std::string hash = b.run(b.fresh(), three).hash;
    cuda::emulation::options() = {.order = cuda::emulation::Order::random, .fill = 0x55, .copies = cuda::emulation::Copies::early, .multiprocessors = 132};
    CHECK(b.run(b.fresh(), three).hash == hash);
    cuda::emulation::options() = options_before;
  }
}

TEST_CASE("training: the kernels of compute capability 9.0, emulated, in bf16 with heads of 128: the CPU's losses, and one hash, recorded or not") {
  const char* const wish = std::getenv("BAM_TEST_WGMMA");  // reference.hpp
  if (wish && std::string_view(wish) == "off") return;
  Bench& b = bench();
  Settings before;
  const cuda::emulation::Options options_before = cuda::emulation::options();
  io::Json config = io::parse_json(io::read_file(b.f / "flash.json"), "flash.json");
  config.set("num_attention_heads", 2);
  config.set("head_dim", 128);
  config.set("num_hidden_layers", 1);
  io::write_file_atomic(b.f / "wide.json", io::dump(config));
  const Set set{"model.config=" + (b.f / "wide.json"), "train.steps=4", "train.batch=4", "train.micro_batch=2", "train.dropout=0", "train.gradient_leaves=1"};
  const std::string cpu = b.fresh(), one_by_one = b.fresh();
  b.run(cpu, set);
  default_device() = Device::cuda;
  default_dtype() = DType::bf16;
  setenv("BAM_CUDA_PATH", "wgmma", 1);
  setenv("BAM_CUDA_GRAPHS", "off", 1);
  const std::string hash = b.run(one_by_one, set).hash;
  unsetenv("BAM_CUDA_GRAPHS");
  const std::vector<double> wanted = losses_of(cpu), losses = losses_of(one_by_one);
  REQUIRE(losses.size() == wanted.size());
  for (std::size_t i = 0; i < losses.size(); ++i) CHECK(losses[i] == doctest::Approx(wanted[i]).epsilon(2e-2));
  const std::int64_t replayed = replays();
  cuda::emulation::options() = {.order = cuda::emulation::Order::random, .fill = 0x55, .copies = cuda::emulation::Copies::early, .multiprocessors = 132};
  CHECK(b.run(b.fresh(), set).hash == hash);
  cuda::emulation::options() = options_before;
  CHECK(replays() > replayed);
  unsetenv("BAM_CUDA_PATH");
  if (cuda::emulated())
    for (const char* kernel : {"WgmmaForwardKernel", "WgmmaQueryGradientKernel", "WgmmaKeyGradientKernel", "WgmmaGemmKernel"}) CHECK_MESSAGE(cuda::emulation::launches_of(kernel) > 0, kernel);
}
#endif

TEST_CASE("training: in bf16 one hash over threads, micro-batches, a resume and the portable CUDA kernels, and the loss of fp32") {
  Bench& b = bench();
  Settings before;
  const RunResult exact = b.run(b.fresh(), {});
  default_dtype() = DType::bf16;
  set_threads(2);
  const RunResult rounded = b.run(b.fresh(), {});
  CHECK(rounded.hash != exact.hash);
  CHECK(rounded.final_loss == doctest::Approx(exact.final_loss).epsilon(0.01));
  set_threads(3);
  CHECK(b.run(b.fresh(), {"train.micro_batch=2"}).hash == rounded.hash);

  const std::string out = b.fresh();
  b.run(out, {"train.checkpoint_every=7"}, false, 7);
  default_dtype() = DType::f32;
  CHECK(has(error_of(ErrorKind::input, [&] { b.run(out, {"train.checkpoint_every=7"}, true); }), "another dtype"));
  default_dtype() = DType::bf16;
  CHECK(b.run(out, {"train.checkpoint_every=7"}, true).hash == rounded.hash);
#if !defined(__SANITIZE_THREAD__)
  default_device() = Device::cuda;
  setenv("BAM_CUDA_PATH", "portable", 1);
  const RunResult portable = b.run(b.fresh(), {});
  unsetenv("BAM_CUDA_PATH");
  CHECK(portable.hash == rounded.hash);
#endif
}

TEST_CASE("training: moments in bf16: a resume and the portable CUDA kernels give the same bits, and the loss is that of fp32") {
  Bench& b = bench();
  Settings before;
  const Set narrow{"train.moments=bf16", "train.checkpoint_every=7"};
  const RunResult exact = b.run(b.fresh()), rounded = b.run(b.fresh(), narrow);
  CHECK(rounded.hash != exact.hash);
  CHECK(rounded.final_loss == doctest::Approx(exact.final_loss).epsilon(0.01));
  const std::string out = b.fresh();
  b.run(out, narrow, false, 7);
  CHECK(has(error_of(ErrorKind::input, [&] { b.run(out, {"train.checkpoint_every=7"}, true); }), "train.moments "));
  CHECK(b.run(out, narrow, true).hash == rounded.hash);
#if !defined(__SANITIZE_THREAD__)
  default_device() = Device::cuda;
  setenv("BAM_CUDA_PATH", "portable", 1);
  const RunResult portable = b.run(b.fresh(), narrow);
  unsetenv("BAM_CUDA_PATH");
  CHECK(portable.hash == rounded.hash);
#endif
}

TEST_CASE("training: the same for routed attention, shared keys and values, a sequential block, an untied head") {
  Bench& b = bench();
  Settings before;
  io::Json config = io::parse_json(io::read_file(b.f / "config.json"), "config.json");
  config.set("attention_routing", "top2");
  config.set("share_kv", true);
  config.set("parallel_block", false);
  config.set("tie_word_embeddings", false);
  config.set("norm_topk_prob", true);
  io::write_file_atomic(b.f / "other.json", io::dump(config));
  std::string hash;
  int threads = 1;
  for (const char* micro : {"1", "3", "8"})
    for (const char* recompute : {"false", "true"}) {
      set_threads(threads++ % 3 + 1);
      std::string out = b.fresh();
      Set set{"model.config=" + (b.f / "other.json"), str("train.micro_batch=", micro), str("train.recompute=", recompute), "train.steps=10"};
      if (micro[0] == '3') b.run(out, set, false, 4);  // router counts of attention and FFN go through the checkpoint
      RunResult r = b.run(out, set, micro[0] == '3');
      if (hash.empty()) hash = r.hash;
      CAPTURE(micro);
      CAPTURE(recompute);
      CHECK(r.hash == hash);
      CHECK(lines_of(out + "/metrics.jsonl").back().at("expert_tokens").size() == 4);
    }
}

TEST_CASE("training: from a model folder, with frozen tensors") {
  Bench& b = bench();
  std::string first = b.fresh(), second = b.fresh();
  b.run(first, {}, false, 3);
  b.run(second, {"model={init_from=\"" + first + "\"}", "train.freeze=[\"*.router.weight\", \"*.experts.1.*\", \"model.embed_tokens.weight\"]", "train.steps=4",
                 "train.warmup=0"});
  io::ModelFolder before = io::load_model(first), after = io::load_model(second);
  std::map<std::string, std::vector<float>> was;
  auto values = [](const Parameter& p) {
    std::vector<float> v(static_cast<std::size_t>(p.numel()));
    p.read(v.data());
    return v;
  };
  for (const Parameter& p : before.decoder->parameters()) was[p.name] = values(p);
  int frozen = 0;
  for (const Parameter& p : after.decoder->parameters()) {
    CAPTURE(p.name);
    bool kept = has(p.name, ".router.") || has(p.name, ".experts.1.") || has(p.name, "embed_tokens");
    frozen += kept;
    CHECK((values(p) == was.at(p.name)) == kept);
  }
  CHECK(frozen == 2 * (2 + 4 + 3) + 1);
  CHECK(after.has_tokenizer);  // that of the folder
  io::Json manifest = io::parse_json(io::read_file(second + "/manifest.json"), "manifest");
  CHECK(manifest.at("init_from").at("model.safetensors").as_string("hash") == io::sha256_file(before.path + "/model.safetensors"));
  CHECK(has(error_of(ErrorKind::input, [&] { b.run(b.fresh(), {"model={init_from=\"/nowhere\"}"}); }), "model.folder"));
  CHECK(has(error_of(ErrorKind::input, [&] { b.run(b.fresh(), {"model={config=\"" + (b.f / "config.json") + "\"}"}); }), "run.tokenizer"));
}

}  // namespace bam::train_test
