// A small BAM mixture to train in tests of whole runs, and what is read of the folders that runs leave.
#pragma once

#include "bam/cuda/backend.hpp"
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
    io::Json config = io::parse_json(R"({"model_type": "bam", "vocab_size": 320, "hidden_size": 32, "intermediate_size": 40,
      "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "tie_word_embeddings": true, "num_experts": 4,
      "num_experts_per_tok": 2, "num_attention_experts": 3, "attention_routing": "soft", "router_aux_loss_coef": 0.01, "router_z_loss_coef": 0.001})", "config.json");
    io::write_file_atomic(f / "config.json", io::dump(config));
    // With heads that the GPU's kernels for tensor cores take.
    config.set("head_dim", 32);
    config.set("num_attention_heads", 1);
    config.set("num_attention_experts", 2);
    io::write_file_atomic(f / "flash.json", io::dump(config));
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

inline Bench& bench() {
  static Bench b;
  return b;
}
// The run that all others are compared with.
inline const std::string& wanted_hash() {
  static const std::string hash = bench().run(bench().fresh()).hash;
  return hash;
}

inline std::vector<io::Json> lines_of(const std::string& file) {
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
inline std::vector<double> losses_of(const std::string& out) {
  std::vector<double> list;
  for (const io::Json& line : lines_of(out + "/metrics.jsonl")) {
    if (line.find("eval")) continue;
    CHECK(line.at("step").as_int("step") == static_cast<std::int64_t>(list.size()) + 1);
    list.push_back(line.at("loss").as_double("loss"));
  }
  return list;
}
inline std::vector<std::string> checkpoints_of(const std::string& out) {
  std::vector<std::string> names;
  for (auto& e : std::filesystem::directory_iterator(out + "/checkpoints")) names.push_back(e.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
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

}  // namespace bam::train_test
