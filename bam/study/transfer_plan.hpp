// What a transfer study would take, before any of it runs: tokens from examples as they are drawn and a tokenizer of a few documents, seconds from
// speeds that are measured on models of its sizes.
#pragma once
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "transfer_study.hpp"

namespace bam::study::transfer {

struct Estimate {
  std::string run;
  double tokens = 0, flops = 0, seconds = 0;            // of training
  double eval_tokens = 0, eval_flops = 0, eval_seconds = 0;  // of scoring and writing the answers
};

// Tokens a second of one size, each within a second or two.
struct Speeds {
  double train = 0, score = 0, write = 0;
};

inline Speeds measure_speeds(const ModelConfig& config, const TransferConfig& c) {
  Speeds s;
  Decoder model(config);
  model.initialize(1);
  AdamW optimizer(model.parameters(), {}, [](const std::string&) { return false; });
  auto ids = [&](std::int64_t n) {
    Random random(7);
    std::vector<std::int32_t> out;
    for (std::int64_t i = 0; i < n; ++i) out.push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(config.vocab_size))));
    return out;
  };
  auto seconds_of = [](auto&& f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  // Rows of 64 tokens, about an example's.
  const std::int64_t length = std::min<std::int64_t>(64, c.context);
  StepRows rows;
  rows.rows = std::max<std::int64_t>(1, c.batch * c.context / length);
  rows.context = length;
  rows.inputs = rows.targets = ids(rows.rows * length);
  for (std::int64_t i = 0; i < rows.rows * length; ++i) rows.positions.push_back(static_cast<std::int32_t>(i % length));
  rows.real.assign(rows.inputs.size(), 1);
  StepOptions o;
  o.micro_batch = std::clamp<std::int64_t>(c.micro_batch * c.context / length, 1, rows.rows);
  RouterCounts counts;
  auto step = [&] { train_step(model, optimizer, rows, o, 0, 1e-4, counts); };
  step();
  s.train = static_cast<double>(2 * rows.rows * length) / seconds_of([&] { step(), step(); });
  std::vector<ChoiceQuestion> questions(16);
  for (ChoiceQuestion& q : questions) {
    q.prompt = ids(length / 2);
    q.answers.assign(8, {ids(length / 4), 1});
  }
  s.score = static_cast<double>(16 * 8 * (length / 2 + length / 4 + 1)) / seconds_of([&] { score_answers(model, questions, 1, 2, c.context, 32); });
  GenerateOptions g;
  g.max_new_tokens = std::min<std::int64_t>(12, c.context - length / 2);
  g.context = c.context;
  g.batch = 64;
  s.write = static_cast<double>(64 * g.max_new_tokens) / seconds_of([&] { generate(model, std::vector<std::vector<std::int32_t>>(64, ids(length / 2)), g); });
  return s;
}

// Of every training, in the order in which they run.
inline std::vector<Estimate> estimates(const TransferConfig& c, bool measure = true) {
  const text::Tokenizer tokenizer = text::Tokenizer::parse(train_tokenizer(c, 60), "tokenizer");
  constexpr std::int64_t drawn = 24;
  struct Lengths {  // of a test in a language: tokens, answers that are scored, items
    double prompt = 0, answer = 0, longest = 0, answers = 0, items = 0;
  };
  std::map<std::pair<std::string, std::string>, Lengths> lengths;
  const std::vector<TestInfo> tests = c.corpus->tests(c.tasks);
  for (const TestInfo& test : tests)
    for (const std::string& l : c.languages()) {
      const std::vector<TestItem> items = c.corpus->items(test.name, l, std::max<std::int64_t>(drawn, c.items), c.rivals, c.seed);
      if (items.empty()) continue;
      Lengths& at = lengths[{test.name, l}];
      at.items = static_cast<double>(std::min<std::int64_t>(c.items, static_cast<std::int64_t>(items.size())));
      const std::size_t n = std::min<std::size_t>(drawn, items.size());
      for (std::size_t i = 0; i < n; ++i) {
        const TestItem& item = items[i];
        const auto answer = test.answered ? static_cast<double>(tokenizer.encode(item.answer).size()) : static_cast<double>(c.context / 2);
        at.prompt += std::min(static_cast<double>(tokenizer.encode(item.prompt).size() + 1), static_cast<double>(c.context)) / static_cast<double>(n);
        at.answer += (answer + 1) / static_cast<double>(n);
        at.longest = std::max(at.longest, answer + 1);
        at.answers += static_cast<double>(test.answered + item.rivals.size()) / static_cast<double>(n);
      }
    }
  const Plan plan(c);
  std::vector<Estimate> list;
  for (const BaseSize& size : c.sizes) {
    const ModelConfig dense = size.dense(c.vocab_size, c.context), tuned = size.model(c.vocab_size, c.context);
    const Speeds speeds = measure ? measure_speeds(dense, c) : Speeds{1, 1, 1};
    const Speeds tuned_speeds = size.mixture && measure ? measure_speeds(tuned, c) : speeds;
    for (std::int64_t r = 1; r <= c.replicates; ++r) {
      auto add = [&](const std::string& name, double tokens, const ModelConfig& model, const Speeds& s) {
        list.push_back({replicate_folder(size, r) + "/" + name, tokens, tokens * static_cast<double>(count_flops(model, c.context).train_per_token), tokens / s.train});
      };
      for (const Phase& p : phases(size, c)) add(p.name, static_cast<double>(c.steps(p.tokens) * c.batch * c.context), p.model, p.model.num_experts > 0 ? tuned_speeds : speeds);
      for (const Tuning& t : plan.tunings()) {
        if (t.size != &size || t.replicate != r) continue;
        const auto train_per_token = static_cast<double>(count_flops(tuned, c.context).train_per_token);
        double tokens = 0, read = 0, written = 0;
        for (const Part& p : t.parts) {
          const auto own = lengths.find({p.task, p.language});  // a language without test items has examples as those of others
          const Lengths& at = own != lengths.end() ? own->second : std::find_if(lengths.begin(), lengths.end(), [&](const auto& x) { return x.first.first == p.task; })->second;
          tokens += static_cast<double>(p.n * c.epochs) * (at.prompt + at.answer) + static_cast<double>(c.validation * c.epochs) / 3 * (at.prompt + at.answer);
        }
        for (const TestInfo& test : tests) {
          if (!test.task.empty() && std::find(t.tasks.begin(), t.tasks.end(), test.task) == t.tasks.end()) continue;
          for (const std::string& l : c.languages()) {
            const auto of = lengths.find({test.name, l});
            if (of == lengths.end()) continue;
            const Lengths& at = of->second;
            read += at.items * ((at.prompt + at.answer) * at.answers + at.prompt);
            if (test.written) written += at.items * (at.answer + at.longest) / 2;
          }
        }
        Estimate e{t.run, tokens, tokens * train_per_token, tokens / tuned_speeds.train, read + written, (read + written) * train_per_token / 3, read / tuned_speeds.score + written / tuned_speeds.write};
        list.push_back(e);
      }
    }
  }
  return list;
}

}  // namespace bam::study::transfer
