// The test items of the transfer study and how a model does on them. Four scores a cell (a test in a language):
//   exact  share of greedily written answers that are right (TestItem::accepts). Its chance is what the best constant answer gets: of the generated
//          tasks to each template, so that a model which knows the templates but reads no prompt is at chance. Where items have no right answer but instructions, it is the share of
//          texts, up to half of the context, that follow them all, and there is no other score.
//   rank   share of items whose right answer is likelier, per token, than all its rivals. Chance: mean of 1 / answers that compete.
//          Rivals are wrong for the item; of the generated tasks they are right for others of its template, of an arithmetic story for the same story
//          with other numbers. Of files they are the answers to other items, or the item's own choices.
//   likelihood  geometric mean of the probabilities of the right answer's tokens, mean over items. Chance: that of the rivals,
//          so a cell is told from chance where the paired difference is surely above 0. It measures models that are too small to write a whole answer right.
//   nll    nats per token of the right answer; no chance.
// and of a translation or summary from files what is written is also held against the answer, as chrf or rouge, each a mean over items from 0 to 1. Chance: the same
// text against the answer to another item.
#pragma once
#include <string>
#include <vector>

#include "../eval/choice.hpp"
#include "../eval/chrf.hpp"
#include "../eval/generate.hpp"
#include "../eval/rouge.hpp"
#include "transfer_corpus.hpp"

namespace bam::study::transfer {

// A test in one language.
struct TestSet {
  TestInfo info;
  std::string language;
  std::vector<TestItem> items;
  std::vector<std::vector<std::int32_t>> prompts;  // BOS, prompt
  std::vector<ChoiceQuestion> questions;           // the right answer first, then its rivals
  std::vector<std::size_t> place;                  // of each item in the corpus's list, which is the same in all languages
  std::int64_t longest = 0;                        // tokens of a right answer
  std::int64_t dropped = 0, alone = 0;             // items whose answer does not fit, or that have no rival which does
};

// Empty where the corpus has no such items. Of a context, the answers of a test that is written may take half, so that no prompt is without the other; with BOS all, where they are only
// scored. Error(input): there are items, but none fits, or none has a rival.
inline TestSet test_set(const TransferCorpus& corpus, const TestInfo& info, const std::string& language, const text::Tokenizer& tokenizer, std::int64_t items, std::int64_t rivals, std::int64_t context, std::uint64_t seed) {
  TestSet set{info, language, {}, {}, {}, {}};
  std::size_t longest = 0, seen = 0;
  const std::int64_t most = info.written ? context / 2 : context - 1;
  auto fits = [&](const ChoiceQuestion::Answer& a) { return static_cast<std::int64_t>(a.ids.size()) <= most; };
  for (TestItem& item : corpus.items(info.name, language, items, rivals, seed)) {
    ChoiceQuestion q;
    q.prompt = tokenizer.encode(item.prompt);
    auto encoded = [&](const std::string& answer) { return ChoiceQuestion::Answer{tokenizer.encode(answer), static_cast<std::int64_t>(answer.size())}; };
    ++seen;
    if (info.answered) {
      q.answers.push_back(encoded(item.answer));
      longest = std::max(longest, q.answers[0].ids.size());
      if (!fits(q.answers[0])) {
        ++set.dropped;
        continue;
      }
    }
    std::vector<std::string> fitting;
    for (std::string& rival : item.rivals)
      if (ChoiceQuestion::Answer a = encoded(rival); fits(a)) {
        q.answers.push_back(std::move(a));
        fitting.push_back(std::move(rival));
      }
    item.rivals = std::move(fitting);
    if (info.competes && item.rivals.empty()) {
      ++set.alone;
      continue;
    }
    set.longest = std::max(set.longest, info.answered ? static_cast<std::int64_t>(q.answers[0].ids.size()) : context / 2);
    set.prompts.push_back(q.prompt);
    set.prompts.back().insert(set.prompts.back().begin(), static_cast<std::int32_t>(tokenizer.bos_id()));
    set.questions.push_back(std::move(q));
    set.place.push_back(seen - 1);
    set.items.push_back(std::move(item));
  }
  if (set.items.empty() && set.dropped > 0)
    fail(ErrorKind::input, "study.context", info.name, " in ", language, ": no test item fits, with answers of up to ", longest, " tokens in a context of ", context, ", of which they may take ", most, "; raise study.context or study.vocab_size");
  if (set.items.empty() && set.alone > 0)
    fail(ErrorKind::input, "study.rivals", info.name, " in ", language, ": none of ", seen, " test items has a rival, a wrong answer that competes: it needs items with different answers");
  if (!info.written) return set;
  // Room for the longest answer; a longer prompt loses its start, as in training.
  const std::int64_t room = context - set.longest - 1;
  for (auto& p : set.prompts)
    if (static_cast<std::int64_t>(p.size()) > room) p.erase(p.begin() + 1, p.begin() + 1 + static_cast<std::ptrdiff_t>(p.size()) - room);
  return set;
}

struct CellScores {
  std::int64_t items = 0, exact = 0, rank = 0, tokens = 0;  // exact, rank: items that are right
  double rank_chance = 0, nll = 0, nll_stderr = 0;
  double likelihood = 0, likelihood_stderr = 0, rivals = 0, above_stderr = 0;  // rivals: their mean likelihood; above_stderr: of the paired difference
  double text = 0, text_stderr = 0, text_others = 0, text_above_stderr = 0;    // of TestInfo::text_score, as of the likelihood
  std::int64_t bytes = 0;  // of the right answers
  std::vector<std::string> written;
  std::vector<std::uint8_t> right, first;  // of each item: exact, rank
};

inline CellScores score(const Decoder& model, const TestSet& set, const text::Tokenizer& tokenizer, std::int64_t context, std::int64_t batch = 64) {
  CellScores s;
  const auto bos = static_cast<std::int32_t>(tokenizer.bos_id()), eos = static_cast<std::int32_t>(tokenizer.eos_id());
  s.items = static_cast<std::int64_t>(set.items.size());
  const std::vector<double> ones(set.items.size(), 1);
  auto mean = [&](const std::vector<double>& v) {
    double sum = 0;
    for (double x : v) sum += x / static_cast<double>(v.size());
    return sum;
  };
  GenerateOptions o;
  o.max_new_tokens = set.longest + 1;
  o.context = context;
  o.stop = {eos};
  o.batch = batch;
  const std::vector<Completion> completions = set.info.written ? generate(model, set.prompts, o) : std::vector<Completion>();
  for (std::size_t i = 0; i < completions.size(); ++i) {
    s.written.push_back(tokenizer.decode(completions[i].ids));
    s.right.push_back((completions[i].stopped_by == StoppedBy::eos || !set.info.answered) && set.items[i].accepts(s.written.back()));
    s.exact += s.right.back();
  }
  if (!set.info.text_score.empty()) {
    std::vector<double> values, above;
    auto against = [&](std::size_t i, const std::string& answer) { return set.info.text_score == "chrf" ? sentence_chrf(s.written[i], {answer}) / 100 : rouge_l(s.written[i], answer).f1; };
    for (std::size_t i = 0; i < set.items.size(); ++i) {
      values.push_back(against(i, set.items[i].answer));
      const double other = set.items[i].rivals.empty() ? 0 : against(i, set.items[i].rivals[0]);
      above.push_back(values.back() - other);
      s.text_others += other / static_cast<double>(set.items.size());
    }
    s.text = mean(values);
    s.text_stderr = ratio_stderr(values, ones);
    s.text_above_stderr = ratio_stderr(above, ones);
  }
  if (!set.info.answered) return s;
  const std::vector<AnswerScores> answers = score_answers(model, set.questions, bos, eos, context, 32);
  std::vector<double> sums, sizes, right, above;
  for (std::size_t item = 0; item < answers.size(); ++item) {
    const AnswerScores& a = answers[item];
    std::vector<double> per_token;
    for (std::size_t i = 0; i < a.log_likelihood.size(); ++i) per_token.push_back(a.log_likelihood[i] / static_cast<double>(a.token_nll[i].size()));
    double rivals = 0;
    for (std::size_t i = 1; i < per_token.size(); ++i) rivals += math::exp(per_token[i]) / static_cast<double>(per_token.size() - 1);
    s.first.push_back(std::all_of(per_token.begin() + 1, per_token.end(), [&](double x) { return per_token[0] > x; }));
    s.rank += s.first.back();
    s.rank_chance += 1 / static_cast<double>(per_token.size()) / static_cast<double>(answers.size());
    right.push_back(math::exp(per_token[0]));
    above.push_back(right.back() - rivals);
    sums.push_back(-a.log_likelihood[0]);
    sizes.push_back(static_cast<double>(a.token_nll[0].size()));
    s.tokens += static_cast<std::int64_t>(a.token_nll[0].size());
    s.bytes += set.questions[item].answers[0].bytes;
    s.nll -= a.log_likelihood[0];
  }
  s.nll /= static_cast<double>(s.tokens);
  s.nll_stderr = ratio_stderr(sums, sizes);
  for (std::size_t i = 0; i < right.size(); ++i) {
    s.likelihood += right[i] / static_cast<double>(right.size());
    s.rivals += (right[i] - above[i]) / static_cast<double>(right.size());
  }
  s.likelihood_stderr = ratio_stderr(right, ones);
  s.above_stderr = ratio_stderr(above, ones);
  return s;
}

}  // namespace bam::study::transfer
