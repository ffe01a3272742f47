// Whole runs of a small BAM mixture: one hash over threads, instruction sets, micro-batches, stops and resumes; what stops a
// run and what it leaves on disk.
#include <array>
#include <map>

#include "bam/cuda/backend.hpp"
#include "bam/cuda/emulator.hpp"
#include "bam/text/bpe_train.hpp"
#include "bam/text/generated/corpus.hpp"
#include "bam/train/run.hpp"
#include "support.hpp"

namespace bam::train_test {

using train::Run;
using train::RunConfig;
using train::RunEvents;
using train::RunOptions;
using train::RunResult;
using test::error_of;
using test::has;
using test::TemporaryFolder;
using Set = std::vector<std::string>;

namespace {

// A folder with text, tokenizer, config.json and run.toml.
struct Bench {
  TemporaryFolder f;
  int runs = 0;

  Bench() {
    text::BpeTrainer trainer;
    for (int domain = 0; domain < 2; ++domain) {
      std::string lines;
      for (std::uint64_t i = 0; i < 60; ++i) {
        // Short documents, so that a row holds several, and ends within some.
        std::string text = text::generate_document(domain ? text::Domain::math : text::Domain::general, 7, i).text;
        text.resize(std::min<std::size_t>(text.size(), 20 + i * 3));
        trainer.add(text);
        io::Json line = io::Json::object({{"text", text}});
        lines += io::dump(line) + "\n";
      }
      io::write_file_atomic(f / (domain ? "math.jsonl" : "general.jsonl"), lines);
    }
    io::write_file_atomic(f / "tokenizer.json", io::dump(trainer.train(320)));
    io::write_file_atomic(f / "config.json", R"({"model_type": "bam", "vocab_size": 320, "hidden_size": 32, "intermediate_size": 40,
      "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "tie_word_embeddings": true, "num_experts": 4,
      "num_experts_per_tok": 2, "num_attention_experts": 3, "attention_routing": "soft", "router_aux_loss_coef": 0.01, "router_z_loss_coef": 0.001})");
    io::write_file_atomic(f / "run.toml", R"([model]
config = "config.json"
tokenizer = "tokenizer.json"
[[data]]
path = "general.jsonl"
weight = 2
[[data]]
path = "math.jsonl"
[train]
context = 24
batch = 8
micro_batch = 3
gradient_leaves = 2
steps = 20
lr = 6e-3
warmup = 3
dropout = 0.1
seed = 5
checkpoint_every = 1000
)");
  }

  RunConfig config(const Set& set = {}) const { return train::load_run_config(f / "run.toml", set); }
  std::string fresh() { return f / str("run", runs++); }
  RunResult run(const std::string& out, const Set& set = {}, bool resume = false, std::optional<std::int64_t> stop = {}, RunEvents events = {}) const {
    return Run(config(set), {out, resume, false, stop, "test"}, events).execute();
  }
  // Notes of a resumed run, and its result.
  RunResult resumed(const std::string& out, std::string& notes, const Set& set = {}) const {
    RunEvents events;
    events.note = [&](const std::string& text) { notes += text + "\n"; };
    return run(out, set, true, {}, events);
  }
};

Bench& bench() {
  static Bench b;
  return b;
}
// The run that all others are compared with.
const std::string& wanted_hash() {
  static const std::string hash = bench().run(bench().fresh()).hash;
  return hash;
}

std::vector<io::Json> lines_of(const std::string& file) {
  std::vector<io::Json> list;
  std::string text = io::read_file(file);
  for (std::size_t at = 0, end; at < text.size(); at = end + 1) {
    end = text.find('\n', at);
    REQUIRE(end != text.npos);
    list.push_back(io::parse_json(text.substr(at, end - at), file));
  }
  return list;
}
// Loss by step; each step once, in order.
std::vector<double> losses_of(const std::string& out) {
  std::vector<double> list;
  for (const io::Json& line : lines_of(out + "/metrics.jsonl")) {
    if (line.find("eval")) continue;
    CHECK(line.at("step").as_int("step") == static_cast<std::int64_t>(list.size()) + 1);
    list.push_back(line.at("loss").as_double("loss"));
  }
  return list;
}
std::vector<std::string> checkpoints_of(const std::string& out) {
  std::vector<std::string> names;
  for (auto& e : std::filesystem::directory_iterator(out + "/checkpoints")) names.push_back(e.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}
void flip_byte(const std::string& file) {
  std::string bytes = io::read_file(file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  io::write_file_atomic(file, bytes);
}

struct Settings {  // put back whatever a test did
  int threads = bam::threads();
  cpu::Isa isa = cpu::isa();
  ~Settings() {
    set_threads(threads);
    cpu::use(isa);
    default_device() = Device::cpu;
    default_dtype() = DType::f32;
  }
};

}  // namespace

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
  const Set all{str("train.steps=", most)}, three{"train.steps=3"};
  const std::string cpu = b.fresh();
  b.run(cpu, all);
  const std::vector<double> wanted = losses_of(cpu);
  default_device() = Device::cuda;
  for (DType dtype : {DType::f32, DType::bf16}) {
    const std::string type = name_of(dtype);
    CAPTURE(type);
    default_dtype() = dtype;
    const std::string out = b.fresh();
    const int steps = dtype == DType::f32 ? 10 : most;
    b.run(out, all, false, steps);
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
  const Set plain{"train.steps=4", "train.dropout=0", "train.gradient_leaves=1", "train.lr=0.02"};
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

TEST_CASE("training: stop and resume at any step give the uninterrupted run") {
  Bench& b = bench();
  Settings before;
  std::string whole = b.fresh();
  b.run(whole);
  for (std::int64_t k : {0, 1, 7, 19, 20}) {
    CAPTURE(k);
    std::string out = b.fresh();
    RunResult first = b.run(out, {}, false, k);
    CHECK(first.steps == k);
    CHECK(checkpoints_of(out) == Set{train::detail::step_folder(k)});
    set_threads(static_cast<int>(k % 3) + 1);
    RunResult r = b.run(out, {str("train.micro_batch=", k % 8 + 1)}, true);
    CHECK(r.steps == 20);
    CHECK(r.hash == wanted_hash());
    CHECK(losses_of(out) == losses_of(whole));
  }
  // In several parts, with resume asked for from the start.
  std::string out = b.fresh();
  for (std::int64_t k : {3, 4, 11, 20}) CHECK(b.run(out, {}, true, k).steps == k);
  RunResult done = b.run(out, {}, true);  // nothing left to do
  CHECK(done.steps == 20);
  CHECK(done.hash == wanted_hash());
  CHECK(losses_of(out) == losses_of(whole));
}

TEST_CASE("training: a crash loses the steps since the last checkpoint and nothing else") {
  Bench& b = bench();
  for (std::int64_t crash : {3, 10, 14}) {
    CAPTURE(crash);
    std::string out = b.fresh();
    struct Crash {};
    RunEvents events;
    events.step = [&](std::int64_t step, std::int64_t, const StepResult&, double, double) {
      if (step == crash) throw Crash{};
    };
    CHECK_THROWS_AS(b.run(out, {"train.checkpoint_every=5"}, false, {}, events), Crash);
    // A torn line, and a staged checkpoint that was never finished.
    io::write_file_atomic(out + "/metrics.jsonl", io::read_file(out + "/metrics.jsonl") + "{\"step\": ");
    std::filesystem::create_directories(out + "/checkpoints/.step-00000015.tmp");
    std::string notes;
    RunResult r = b.resumed(out, notes, {"train.checkpoint_every=5"});
    CHECK(has(notes, "resuming from") == (crash > 5));
    CHECK(r.hash == wanted_hash());
    CHECK(losses_of(out).size() == 20);
  }
}

TEST_CASE("training: a signal saves and stops") {
  Bench& b = bench();
  std::string out = b.fresh();
  RunEvents events;
  int asked = 0;
  events.stop_signal = [&] { return ++asked == 6 ? 15 : 0; };
  RunResult r = b.run(out, {}, false, {}, events);
  CHECK(r.stopped_by == 15);
  CHECK(r.steps == 6);
  CHECK(checkpoints_of(out) == Set{"step-00000006"});
  CHECK(b.run(out, {}, true).hash == wanted_hash());
}

TEST_CASE("training: settings do not change under a run; its length may, and is recorded") {
  Bench& b = bench();
  std::string out = b.fresh();
  b.run(out, {"train.steps=4", "train.schedule=constant"});
  for (const char* set : {"train.lr=1e-4", "train.seed=6", "train.batch=6", "train.context=8", "train.dropout=0.2", "train.schedule=wsd", "train.moments=bf16"}) {
    std::string message = error_of(ErrorKind::input, [&] { b.run(out, {"train.steps=4", "train.schedule=constant", set}, true); });
    CAPTURE(message);
    CHECK(message.starts_with("run.changed: "));
    CHECK(has(message, std::string(set).substr(0, std::string(set).find('='))));
  }
  CHECK(b.run(out, {"train.steps=6", "train.schedule=constant", "train.micro_batch=2", "train.log_every=2"}, true).steps == 6);
  CHECK(b.run(out, {"train.steps=6", "train.schedule=constant"}, true).hash == b.run(b.fresh(), {"train.steps=6", "train.schedule=constant"}).hash);
  // A cosine has its length from the start.
  std::string cosine = b.fresh();
  b.run(cosine, {"train.steps=6", "train.warmup=0", "train.schedule=cosine"});
  std::string longer = error_of(ErrorKind::input, [&] { b.run(cosine, {"train.steps=9", "train.warmup=0", "train.schedule=cosine"}, true); });
  CAPTURE(longer);
  CHECK(longer.starts_with("run.changed: "));
  CHECK(has(longer, "learning rate"));
  bool recorded = false;
  for (const io::Json& line : lines_of(out + "/events.jsonl")) recorded = recorded || (line.at("event").as_string("event") == "changed" && has(std::string(line.at("detail").as_string("detail")), "train.steps 4 -> 6"));
  CHECK(recorded);
  CHECK(train::load_run_config(out + "/resolved.toml").train.steps == 6);
}

TEST_CASE("training: a run folder that is in use or done is not touched") {
  Bench& b = bench();
  std::string out = b.fresh();
  b.run(out, {}, false, 2);
  std::string metrics = io::read_file(out + "/metrics.jsonl");
  CHECK(has(error_of(ErrorKind::usage, [&] { b.run(out); }), "run.exists: "));
  {
    io::FileLock lock(out);
    std::string message = error_of(ErrorKind::locked, [&] { b.run(out, {}, true); });
    CHECK(has(message, "in use by pid"));
  }
  CHECK(io::read_file(out + "/metrics.jsonl") == metrics);
  CHECK(checkpoints_of(out) == Set{"step-00000002"});
  // The run itself holds the lock, and gives it back.
  RunEvents events;
  int locked = 0;
  events.step = [&](std::int64_t, std::int64_t, const StepResult&, double, double) {
    if (!locked++) CHECK(has(error_of(ErrorKind::locked, [&] { b.run(out, {}, true); }), "in use"));
  };
  CHECK(b.run(out, {}, true, 4, events).steps == 4);
  CHECK(locked == 2);
  // --force starts over.
  RunOptions force{out, false, true, 1, "test"};
  CHECK(Run(b.config(), force, {}).execute().steps == 1);
  CHECK(checkpoints_of(out) == Set{"step-00000001"});
  CHECK(losses_of(out).size() == 1);
}

TEST_CASE("training: a loss that is not finite stops the run; what is on disk stays") {
  Bench& b = bench();
  std::string out = b.fresh();
  b.run(out, {}, false, 5);
  std::string folder = out + "/checkpoints/step-00000005", weights = io::sha256_file(folder + "/model.safetensors");
  RunConfig wild = b.config({"train.checkpoint_every=1", "train.warmup=0", "train.keep_checkpoints=9"});
  wild.train.lr = 1e30;
  std::string message = error_of(ErrorKind::numerics, [&] { Run(wild, {out, true, true, {}, "test"}, {}).execute(); });
  CAPTURE(message);
  CHECK(message.starts_with("train.non_finite: step 7: loss "));
  CHECK(has(message, "model."));  // the tensor
  CHECK(has(message, "nothing was updated"));
  CHECK(io::sha256_file(folder + "/model.safetensors") == weights);
  // Step 6 itself was finite and is saved; the step that was not left no checkpoint, and no line but its error.
  CHECK(checkpoints_of(out) == Set{"step-00000005", "step-00000006"});
  CHECK_NOTHROW(io::load_model(folder));
  CHECK_NOTHROW(io::load_model(out));
  CHECK(losses_of(out).size() == 6);
  io::Json last = lines_of(out + "/events.jsonl").back();
  CHECK(last.at("event").as_string("event") == "error");
  // Without the wild step the run goes on as if nothing had been.
  std::filesystem::remove_all(out + "/checkpoints/step-00000006");
  CHECK(Run(b.config(), {out, true, true, {}, "test"}, {}).execute().hash == wanted_hash());
}

TEST_CASE("training: a damaged checkpoint is named and the one before is used") {
  Bench& b = bench();
  for (const std::string file : {"model.safetensors", "optimizer.safetensors", "config.json", "tokenizer.json", "state.json"}) {
    CAPTURE(file);
    std::string out = b.fresh(), newest = out + "/checkpoints/step-00000015";
    b.run(out, {"train.checkpoint_every=5"}, false, 15);
    if (file == "state.json") std::filesystem::resize_file(newest + "/state.json", 40);
    else flip_byte(newest + "/" + file);
    std::string notes;
    RunResult r = b.resumed(out, notes, {"train.checkpoint_every=5"});
    CAPTURE(notes);
    CHECK(has(notes, "warning: " + newest + " cannot be used: "));
    if (file != "state.json") CHECK(has(notes, newest + "/" + file + ": SHA-256 is "));
    CHECK(has(notes, "resuming from " + out + "/checkpoints/step-00000010"));
    CHECK(r.hash == wanted_hash());
    CHECK(io::exists(out + "/checkpoints/damaged-step-00000015/" + file));
    // The step is saved again, whole.
    for (const char* name : {"step-00000015", "step-00000020"}) {
      std::string folder = out + "/checkpoints/" + name;
      io::Json state = io::parse_json(io::read_file(folder + "/state.json"), "state.json");
      for (io::Json::Member entry : state.at("files").members("files")) {
        std::string saved = folder + "/" + std::string(entry.key);
        CAPTURE(saved);
        CHECK(io::sha256_file(saved) == entry.value.as_string("hash"));
      }
    }
  }
  // No other one: an error, not a fresh start over what is there.
  std::string out = b.fresh();
  b.run(out, {}, false, 3);
  flip_byte(out + "/checkpoints/step-00000003/model.safetensors");
  std::string message = error_of(ErrorKind::input, [&] { b.run(out, {}, true); });
  CHECK(has(message, "checkpoint.damaged: "));
  CHECK(has(message, "step-00000003/model.safetensors: SHA-256"));
  CHECK(io::exists(out + "/checkpoints/step-00000003/model.safetensors"));
}

TEST_CASE("training: with one checkpoint kept, a damaged one never outlives a good one") {
  Bench& b = bench();
  std::string out = b.fresh();
  b.run(out, {"train.checkpoint_every=4", "train.keep_checkpoints=2"}, false, 8);
  flip_byte(out + "/checkpoints/step-00000008/model.safetensors");
  b.run(out, {"train.keep_checkpoints=1"}, true, 6);
  std::string notes;
  CHECK(b.resumed(out, notes, {"train.keep_checkpoints=1"}).hash == wanted_hash());
  CHECK(has(notes, "resuming from " + out + "/checkpoints/step-00000006"));
}

TEST_CASE("training: resume with other data, tokenizer or model is refused") {
  Bench& b = bench();
  std::string out = b.fresh();
  b.run(out, {}, false, 4);
  auto refused = [&](const Set& set) { return error_of(ErrorKind::input, [&] { b.run(out, set, true); }); };
  std::string text = io::read_file(b.f / "math.jsonl");
  io::write_file_atomic(b.f / "changed.jsonl", text + "{\"text\": \"one more\"}\n");
  CHECK(has(refused({"data.1.path=" + (b.f / "changed.jsonl")}), "checkpoint.other: " + out + "/checkpoints/step-00000004: was made with another data"));
  io::write_file_atomic(b.f / "math.jsonl", text + "{\"text\": \"one more\"}\n");
  CHECK(has(refused({}), "checkpoint.other: "));
  // --force goes on all the same.
  CHECK(Run(b.config(), {out, true, true, 5, "test"}, {}).execute().steps == 5);
  io::write_file_atomic(b.f / "math.jsonl", text);
  out = b.fresh();
  b.run(out, {}, false, 4);
  CHECK(has(refused({"data.0.weight=3"}), "another data"));
  io::Json tokenizer = io::parse_json(io::read_file(b.f / "tokenizer.json"), "t");
  io::write_file_atomic(b.f / "t2.json", io::dump(tokenizer, 1));
  CHECK(has(refused({"model.tokenizer=" + (b.f / "t2.json")}), "another tokenizer"));
  io::Json config = io::parse_json(io::read_file(b.f / "config.json"), "config.json");
  config.set("num_experts_per_tok", 1);
  io::write_file_atomic(b.f / "top1.json", io::dump(config));
  CHECK(has(refused({"model.config=" + (b.f / "top1.json")}), "checkpoint.other: "));
  CHECK(b.run(out, {}, true).hash == wanted_hash());
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
