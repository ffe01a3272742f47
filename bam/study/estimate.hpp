// What a study would take, before any of it runs: tokens of its trainings from the plan, of their evaluation from the text and a tokenizer of
// a few of its documents; seconds from speeds that are measured on models of its kinds. Not in it: what is done once (the tokenizer, 5-grams,
// zstd) and the few completions.
#pragma once
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "../eval/choice.hpp"
#include "../eval/documents.hpp"
#include "../io/model_config.hpp"
#include "../text/bpe_train.hpp"
#include "../text/generated/corpus.hpp"
#include "../train/step.hpp"
#include "plan.hpp"
#include "results.hpp"

namespace bam::study {

struct Estimate {
  Job job;
  double seconds = 0;  // of the training; of a trunk that two points share, with the longer one
  double eval_tokens = 0, eval_flops = 0, eval_seconds = 0;
};

// Tokens a second of one model, within a second or two.
struct Speed {
  double train = 0, read = 0;
};

// On `rows` rows of `context` tokens: two optimizer steps and one evaluation.
inline Speed measure_speed(const ModelConfig& config, std::int64_t context, std::int64_t rows) {
  Decoder model(config);
  model.initialize(1);
  AdamW optimizer(model.parameters(), {}, [](const std::string&) { return false; });
  const double tokens = static_cast<double>(rows * context);
  Random random(7);
  StepRows batch;
  batch.rows = rows;
  batch.context = context;
  std::vector<DocumentTokens> documents(static_cast<std::size_t>(rows));
  for (DocumentTokens& d : documents) {
    for (std::int64_t i = 0; i <= context; ++i) d.ids.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(config.vocab_size))));
    for (std::int64_t i = 0; i < context; ++i) batch.positions.push_back(static_cast<std::int32_t>(i));
    batch.inputs.insert(batch.inputs.end(), d.ids.begin(), d.ids.end() - 1);
    batch.targets.insert(batch.targets.end(), d.ids.begin() + 1, d.ids.end());
  }
  batch.real.assign(batch.inputs.size(), 1);
  StepOptions o;
  o.micro_batch = rows;
  RouterCounts counts;
  auto seconds_of = [](auto&& f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  auto step = [&] { train_step(model, optimizer, batch, o, 0, 1e-4, counts); };
  double seconds = seconds_of(step);
  if (seconds < 1) seconds = seconds_of([&] { step(), step(); }) / 2;  // the first one also finds its memory
  return {tokens / seconds, tokens / seconds_of([&] { evaluate_nll(model, documents, context, rows); })};
}

// Tokens that one evaluation reads.
struct EvaluationTokens {
  double validation = 0, loads = 0, choices = 0;
};

// data: the folder of the text; empty: it is generated.
inline EvaluationTokens evaluation_tokens(const StudyConfig& c, const std::string& data) {
  constexpr std::size_t sample = 60;  // documents of a domain
  auto texts = [&](std::size_t d, bool train) {
    std::vector<text::Document> list;
    if (!data.empty()) {
      list = text::read_documents(data + "/" + domains[d], train ? "train" : "validation");
    } else {  // validation text follows that of training
      const std::int64_t held_out = std::max<std::int64_t>(1, c.documents / 10), first = train ? 0 : c.documents, n = train ? static_cast<std::int64_t>(sample) : held_out;
      for (std::int64_t i = 0; i < n; ++i) list.push_back({text::generate_document(text::domains[d], c.seed, static_cast<std::uint64_t>(first + i)).text});
    }
    return spread(std::move(list), train ? static_cast<std::int64_t>(sample) : c.eval_documents);
  };
  text::BpeTrainer trainer;
  for (std::size_t d = 0; d < 4; ++d)
    for (const text::Document& document : texts(d, true)) trainer.add(document.text);
  const text::Tokenizer tokenizer = text::Tokenizer::parse(trainer.train(c.vocab_size), "tokenizer");
  auto count = [&](const std::string& text) { return static_cast<double>(tokenizer.encode(text).size()); };
  EvaluationTokens t;
  for (std::size_t d = 0; d < 4; ++d) {
    std::vector<DocumentTokens> documents;
    for (const text::Document& document : texts(d, false)) documents.push_back({std::vector<std::int32_t>(tokenizer.encode(document.text).size() + 2)});
    for (const EvalWindow& w : eval_windows(documents, c.context)) t.validation += static_cast<double>(w.inputs);
    for (std::size_t i = 0; i < std::min(load_documents, documents.size()); ++i) t.loads += std::min(static_cast<double>(c.context), static_cast<double>(documents[i].ids.size()));
    if (const std::string folder = str(data, "/", domains[d], "/eval"); !data.empty() && io::is_folder(folder))
      for (const std::string& set : io::list_files(folder, {".jsonl"}))
        for (const ChoiceItem& item : spread(read_choice_items(set), c.choice_items)) {
          const double prompt = 1 + count(item.prompt), answers = item.choices.size() == 1 ? 1 + static_cast<double>(distractors) : 1;  // rivals about as long as the gold answer
          for (const std::string& choice : item.choices) t.choices += answers * std::min(static_cast<double>(c.context), prompt + count(choice));
        }
  }
  return t;
}

// Of every training, and of what is evaluated without one, in the order of the plan; speed_of is asked once for each kind of model.
inline std::vector<Estimate> estimates(const StudyConfig& c, const std::string& data, const std::function<Speed(const ModelConfig&)>& speed_of) {
  const Plan plan(c);
  const EvaluationTokens tokens = evaluation_tokens(c, data);
  std::map<std::string, Speed> speeds;
  auto speed = [&](const ModelConfig& config) {
    io::ConfigFile file;
    file.model = config;
    const std::string kind = io::dump(io::model_config_json(file));
    if (auto known = speeds.find(kind); known != speeds.end()) return known->second;
    return speeds[kind] = speed_of(config);
  };
  const std::vector<Job> jobs = plan.jobs();
  std::vector<Estimate> list;
  auto add = [&](const Job& job, const ModelConfig& config, double share, double evaluated) {
    const Speed s = speed(config);
    list.push_back({job, share * static_cast<double>(job.tokens) / s.train, evaluated, evaluated * plan.flops_per_token(config) / 3, evaluated / s.read});
  };
  for (const Size& size : c.sizes) {
    const ModelConfig dense = size.dense(c.vocab_size, c.context);
    for (const Job& job : jobs) {
      if (job.size != size.name) continue;
      const Arm* arm = find_arm(job.arm);
      const ModelConfig config = arm ? arm_config(*arm, dense) : dense;
      const bool point = job.match == "data" || job.match == "compute";
      // A shorter point branches from the longer one where its own decay starts, at four fifths.
      const bool shorter = point && std::any_of(jobs.begin(), jobs.end(), [&](const Job& other) {
        return other.arm == job.arm && other.size == job.size && other.replicate == job.replicate && (other.match == "data" || other.match == "compute") &&
               std::pair(other.tokens, other.run) > std::pair(job.tokens, job.run);
      });
      const double evaluated = tokens.validation + (config.moa() || config.moe() ? tokens.loads : 0) + (job.match == "data" || job.match.empty() ? tokens.choices : 0);
      add(job, config, shorter ? 0.2 : 1, evaluated);
    }
    for (std::int64_t r = 1; r <= c.replicates; ++r)
      for (const Arm* arm : c.arms_of(r))
        if (!trained(*arm)) add({arm_folder(size, r, 1, *arm, "data"), arm->name, size.name, "data", r, 0, 0}, dense, 1, (arm->kind == ArmKind::ensemble ? 4 : 1) * tokens.validation);
  }
  return list;
}

}  // namespace bam::study
