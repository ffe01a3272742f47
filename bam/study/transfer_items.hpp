// The test items of the transfer study and how a model does on them. Four scores a cell (a task in a language):
//   exact  share of greedily written answers that keep the task's rules (text::languages::accepts). Its chance is what the best constant answer
//          to each template gets, so that a model which knows the templates but reads no prompt is at chance.
//   rank   share of items whose right answer is likelier, per token, than all its rivals. Chance: mean of 1 / answers that compete.
//          Rivals are wrong for the item and of its template: the answers to other items; of an arithmetic story, its worked solution with
//          another last result.
//   likelihood  geometric mean of the probabilities of the right answer's tokens, mean over items. Chance: that of answers to other items of the template,
//          so a cell is told from chance where the paired difference is surely above 0. It measures models that are too small to write a whole answer right.
//   nll    nats per token of the right answer; no chance.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "../eval/choice.hpp"
#include "../eval/generate.hpp"
#include "../text/generated/tasks.hpp"

namespace bam::study::transfer {

namespace lang = text::languages;

// Up to `count` wrong answers to test item `index` that are right for other items of its template; the same meanings in all languages.
inline std::vector<std::string> other_answers(const lang::Example& e, std::uint64_t seed, std::uint64_t index, std::int64_t count) {
  std::vector<std::string> list;
  const auto forms = static_cast<std::uint64_t>(lang::form_count(e.task));
  for (std::uint64_t turn = 1; turn < 64 && static_cast<std::int64_t>(list.size()) < count; ++turn) {
    std::string answer = lang::task_example(e.task, e.lang, lang::Split::test, seed, index + turn * forms).completion;
    if (!lang::accepts(e, answer) && std::find(list.begin(), list.end(), answer) == list.end()) list.push_back(std::move(answer));
  }
  return list;
}
// Of an arithmetic story: its worked solution, "... = RESULT things. answer: RESULT.", with the results of other items, then with the numbers next to its own.
inline std::vector<std::string> other_results(const lang::Example& e, std::uint64_t seed, std::uint64_t index, std::int64_t count) {
  std::vector<std::string> list;
  const auto forms = static_cast<std::uint64_t>(lang::form_count(e.task));
  const std::string result = "= " + e.answer;
  const std::size_t last = e.completion.rfind(result), end = last + result.size(), answer = e.completion.rfind(e.answer);
  check(last != e.completion.npos && answer >= end, "study.solution", e.id, ": wanted a solution that ends in its result, got ", printable(e.completion, 400));
  auto add = [&](const std::string& other) {
    std::string solution = str(e.completion.substr(0, last), "= ", other, e.completion.substr(end, answer - end), other, e.completion.substr(answer + e.answer.size()));
    if (static_cast<std::int64_t>(list.size()) < count && other != e.answer && std::find(list.begin(), list.end(), solution) == list.end()) list.push_back(std::move(solution));
  };
  for (std::uint64_t turn = 1; turn < 64 && static_cast<std::int64_t>(list.size()) < count; ++turn) add(lang::task_example(e.task, e.lang, lang::Split::test, seed, index + turn * forms).answer);
  const int number = e.checks[0].number;
  for (int distance = 1; static_cast<std::int64_t>(list.size()) < count; ++distance) {
    add(lang::spell(lang::language(e.lang), str(number + distance)));
    if (number > distance) add(lang::spell(lang::language(e.lang), str(number - distance)));
  }
  return list;
}
inline std::vector<std::string> rivals_of(const lang::Example& e, std::uint64_t seed, std::uint64_t index, std::int64_t count) {
  return e.task == lang::Task::arithmetic ? other_results(e, seed, index, count) : other_answers(e, seed, index, count);
}

// Of a task: what the best constant answer to each template gets; items of all languages are right alike.
inline double constant_answer_rate(lang::Task task, std::uint64_t seed) {
  constexpr std::uint64_t candidates = 12, items = 48;
  const auto forms = static_cast<std::uint64_t>(lang::form_count(task));
  double sum = 0;
  for (std::uint64_t form = 0; form < forms; ++form) {
    std::vector<lang::Example> list;
    for (std::uint64_t turn = 0; turn < candidates + items; ++turn) list.push_back(lang::task_example(task, lang::pivot, lang::Split::test, seed, form + turn * forms));
    double best = 0;
    for (std::uint64_t c = 0; c < candidates; ++c) {
      double right = 0;
      for (std::uint64_t i = 0; i < items; ++i) right += lang::accepts(list[candidates + i], list[c].completion);
      best = std::max(best, right / static_cast<double>(items));
    }
    sum += best;
  }
  return sum / static_cast<double>(forms);
}

// Of one task in one language.
struct TestSet {
  lang::Task task;
  int language;
  std::vector<lang::Example> examples;
  std::vector<std::vector<std::int32_t>> prompts;  // BOS, prompt
  std::vector<ChoiceQuestion> questions;           // the right answer first, then its rivals; of arithmetic, then solutions of other items
  std::vector<std::size_t> rivals;                 // of each
  std::int64_t longest = 0;                        // tokens of a right answer
};

// Error(input): an answer does not fit the context.
inline TestSet test_set(lang::Task task, int language, const text::Tokenizer& tokenizer, std::int64_t items, std::int64_t rivals, std::int64_t context, std::uint64_t seed) {
  TestSet set{task, language, {}, {}, {}, {}, 0};
  for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(items); ++i) {
    lang::Example e = lang::task_example(task, language, lang::Split::test, seed, i);
    ChoiceQuestion q;
    q.prompt = tokenizer.encode(e.prompt);
    auto add = [&](const std::string& answer) { q.answers.push_back({tokenizer.encode(answer), static_cast<std::int64_t>(answer.size())}); };
    add(e.completion);
    for (const std::string& rival : rivals_of(e, seed, i, rivals)) add(rival);
    set.rivals.push_back(q.answers.size() - 1);
    if (task == lang::Task::arithmetic)
      for (const std::string& other : other_answers(e, seed, i, std::min<std::int64_t>(rivals, 3))) add(other);
    set.longest = std::max(set.longest, static_cast<std::int64_t>(q.answers[0].ids.size()));
    for (auto& a : q.answers)
      if (!answer_fits(a, context)) fail(ErrorKind::input, "study.context", e.id, ": an answer of ", a.ids.size(), " tokens in a context of ", context, "; raise study.context or study.vocab_size");
    set.prompts.push_back(q.prompt);
    set.prompts.back().insert(set.prompts.back().begin(), static_cast<std::int32_t>(tokenizer.bos_id()));
    set.questions.push_back(std::move(q));
    set.examples.push_back(std::move(e));
  }
  // Room for the longest answer; a longer prompt loses its start, as in training.
  const std::int64_t room = context - set.longest - 1;
  for (auto& p : set.prompts)
    if (static_cast<std::int64_t>(p.size()) > room) p.erase(p.begin() + 1, p.begin() + 1 + static_cast<std::ptrdiff_t>(p.size()) - room);
  return set;
}

struct CellScores {
  std::int64_t items = 0, exact = 0, rank = 0, tokens = 0;  // exact, rank: items that are right
  double rank_chance = 0, nll = 0, nll_stderr = 0;
  double likelihood = 0, likelihood_stderr = 0, rivals = 0, above_stderr = 0;  // rivals: mean likelihood of answers to other items; above_stderr: of the paired difference
  std::vector<std::string> written;
  std::vector<std::uint8_t> right;  // of each item, exact
};

inline CellScores score(const Decoder& model, const TestSet& set, const text::Tokenizer& tokenizer, std::int64_t context, std::int64_t batch = 64) {
  CellScores s;
  const auto bos = static_cast<std::int32_t>(tokenizer.bos_id()), eos = static_cast<std::int32_t>(tokenizer.eos_id());
  s.items = static_cast<std::int64_t>(set.examples.size());
  GenerateOptions o;
  o.max_new_tokens = set.longest + 1;
  o.context = context;
  o.stop = {eos};
  o.batch = batch;
  const std::vector<Completion> completions = generate(model, set.prompts, o);
  for (std::size_t i = 0; i < completions.size(); ++i) {
    s.written.push_back(tokenizer.decode(completions[i].ids));
    s.right.push_back(completions[i].stopped_by == StoppedBy::eos && lang::accepts(set.examples[i], s.written.back()));
    s.exact += s.right.back();
  }
  const std::vector<AnswerScores> answers = score_answers(model, set.questions, bos, eos, context, 32);
  std::vector<double> sums, sizes, right, above;
  for (std::size_t item = 0; item < answers.size(); ++item) {
    const AnswerScores& a = answers[item];
    std::vector<double> per_token;
    for (std::size_t i = 0; i < a.log_likelihood.size(); ++i) per_token.push_back(a.log_likelihood[i] / static_cast<double>(a.token_nll[i].size()));
    const std::size_t ranked = 1 + set.rivals[item], first = ranked < per_token.size() ? ranked : 1;  // of answers to other items
    double rivals = 0;
    for (std::size_t i = first; i < per_token.size(); ++i) rivals += math::exp(per_token[i]) / static_cast<double>(per_token.size() - first);
    s.rank += std::all_of(per_token.begin() + 1, per_token.begin() + static_cast<std::ptrdiff_t>(ranked), [&](double x) { return per_token[0] > x; });
    s.rank_chance += 1 / static_cast<double>(ranked) / static_cast<double>(answers.size());
    right.push_back(math::exp(per_token[0]));
    above.push_back(right.back() - rivals);
    sums.push_back(-a.log_likelihood[0]);
    sizes.push_back(static_cast<double>(a.token_nll[0].size()));
    s.tokens += static_cast<std::int64_t>(a.token_nll[0].size());
    s.nll -= a.log_likelihood[0];
  }
  s.nll /= static_cast<double>(s.tokens);
  s.nll_stderr = ratio_stderr(sums, sizes);
  const std::vector<double> ones(right.size(), 1);
  for (std::size_t i = 0; i < right.size(); ++i) {
    s.likelihood += right[i] / static_cast<double>(right.size());
    s.rivals += (right[i] - above[i]) / static_cast<double>(right.size());
  }
  s.likelihood_stderr = ratio_stderr(right, ones);
  s.above_stderr = ratio_stderr(above, ones);
  return s;
}

}  // namespace bam::study::transfer
