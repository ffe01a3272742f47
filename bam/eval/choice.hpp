// Answers that compete for a prompt, by their likelihood. An item is BOS, prompt, answer, EOS, prompt and answer encoded apart; the
// answer's tokens and EOS are scored. Where an item names no other answers, its rivals are the answers of 9 other items of the set,
// chosen by hash, so that the gold answer's rank has a chance level to stand beside.
#pragma once
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "../io/file.hpp"
#include "../io/hash.hpp"
#include "../io/json.hpp"
#include "../text/corpus.hpp"
#include "../text/tokenizer.hpp"
#include "nll.hpp"

namespace bam {

struct ChoiceItem {
  std::string prompt;
  std::vector<std::string> choices;  // one alone: the gold answer of an item without rivals of its own; none: an item that cannot be scored
  std::size_t answer = 0;            // the gold one's index
  std::string labels;                // the task whose label set the choices are, else empty
};

struct ChoiceResult {
  std::int64_t n = 0;        // items scored
  std::int64_t cut = 0;      // of these, with a prompt cut on the left to fit the context
  std::int64_t dropped = 0;  // items not scored: an answer too long for the context or empty, or no rivals
  double chance = 0;         // mean of 1 / answers that compete
  double majority = 0;       // what one answer to all prompts gets: the share of each task's most frequent label, or of the commonest answer of items without choices; 0 where no answer is there twice
  double accuracy_sum = 0, accuracy_per_byte = 0;  // the gold answer's likelihood, or that per byte, is above all others'; a tie is wrong
  Bounds sum_bounds, per_byte_bounds;              // 95%, Wilson
  double mean_reciprocal_rank = 0, reciprocal_rank_stderr = 0, reciprocal_rank_chance = 0;  // by nats per byte
  double nats_per_byte = 0, nats_per_byte_stderr = 0;                                       // of the gold answers
  NllResult answer;                // of the gold answers; documents are the items scored
  std::vector<std::int64_t> rank;  // per item of the set, by nats per byte from 1; 0: dropped
};

// One prompt as ids, and the answers that compete for it, without BOS and EOS.
struct ChoiceQuestion {
  struct Answer {
    std::vector<std::int32_t> ids;
    std::int64_t bytes = 0;
  };
  std::vector<std::int32_t> prompt;
  std::vector<Answer> answers;
};

struct AnswerScores {
  bool cut = false;                             // the prompt, on the left, so that the longest answer fits the context
  std::vector<double> log_likelihood;           // per answer: of its ids and EOS, summed, in nats
  std::vector<std::vector<float>> token_nll;    // per answer, per target
};

// An answer and the EOS behind it are targets; inputs are BOS, prompt, answer.
inline bool answer_fits(const ChoiceQuestion::Answer& answer, std::int64_t context) { return static_cast<std::int64_t>(answer.ids.size()) < context; }

// The likelihood of every answer of every question. micro_batch: answers at a time; it changes speed and memory, not results.
// Error(usage): an answer that does not fit the context.
inline std::vector<AnswerScores> score_answers(const Decoder& model, const std::vector<ChoiceQuestion>& questions, std::int32_t bos, std::int32_t eos, std::int64_t context, std::int64_t micro_batch = 8) {
  check(context >= 1 && micro_batch >= 1, "choice.context", "choice: context ", context, ", micro_batch ", micro_batch);
  struct AnswerRow {
    std::size_t question, answer, skipped;  // tokens of the prompt
  };
  std::vector<AnswerRow> rows;
  std::vector<AnswerScores> scores(questions.size());
  for (std::size_t q = 0; q < questions.size(); ++q) {
    const ChoiceQuestion& question = questions[q];
    std::size_t longest = 0, room;
    for (auto& a : question.answers) {
      check(answer_fits(a, context), "choice.context", "choice: an answer of ", a.ids.size(), " tokens and BOS in a context of ", context);
      longest = std::max(longest, a.ids.size());
    }
    room = static_cast<std::size_t>(context) - 1 - longest;
    scores[q].cut = question.prompt.size() > room;
    for (std::size_t a = 0; a < question.answers.size(); ++a) rows.push_back({q, a, scores[q].cut ? question.prompt.size() - room : 0});
    scores[q].log_likelihood.resize(question.answers.size());
    scores[q].token_nll.resize(question.answers.size());
  }
  for (std::size_t at = 0; at < rows.size();) {
    std::vector<std::int32_t> ids, targets, positions;
    std::vector<std::int64_t> lengths;
    const std::size_t end = std::min(rows.size(), at + static_cast<std::size_t>(micro_batch));
    for (std::size_t r = at; r < end; ++r) {
      const ChoiceQuestion& question = questions[rows[r].question];
      const std::vector<std::int32_t>& answer = question.answers[rows[r].answer].ids;
      const std::size_t begin = ids.size();
      ids.push_back(bos);
      ids.insert(ids.end(), question.prompt.begin() + static_cast<std::ptrdiff_t>(rows[r].skipped), question.prompt.end());
      targets.resize(ids.size() - 1, -1);
      ids.insert(ids.end(), answer.begin(), answer.end());
      targets.insert(targets.end(), answer.begin(), answer.end());
      targets.push_back(eos);
      lengths.push_back(static_cast<std::int64_t>(ids.size() - begin));
      for (std::int32_t i = 0; i < lengths.back(); ++i) positions.push_back(i);
    }
    TokenBatch batch{tensor(ids), tensor(positions), segments(lengths), {}};
    const Tensor nll = model.nll(model.hidden(batch), tensor(targets)).to(Device::cpu);
    const float* p = nll.data();
    for (std::size_t r = at; r < end; ++r) {
      const std::size_t n = questions[rows[r].question].answers[rows[r].answer].ids.size() + 1;
      p += lengths[r - at];
      AnswerScores& s = scores[rows[r].question];
      s.token_nll[rows[r].answer].assign(p - n, p);
      for (float x : s.token_nll[rows[r].answer]) s.log_likelihood[rows[r].answer] -= static_cast<double>(x);
    }
    at = end;
  }
  return scores;
}

namespace detail {

// "A)...", "B)..." ... to the end of the prompt: their texts, and the prompt up to them. Nothing if it does not end like this.
inline std::vector<std::string> lettered_options(std::string& prompt) {
  std::vector<std::string_view> lines;  // from the last
  std::string_view rest = prompt;
  for (;;) {
    std::size_t newline = rest.rfind('\n');
    std::string_view line = newline == rest.npos ? rest : rest.substr(newline + 1);
    if (line.size() < 2 || line[0] < 'A' || line[0] > 'Z' || line[1] != ')') return {};
    lines.push_back(line);
    if (line[0] == 'A') break;
    if (newline == rest.npos) return {};
    rest = rest.substr(0, newline);
  }
  std::vector<std::string> options;
  for (std::size_t i = lines.size(); i-- > 0;) {
    std::string_view text = lines[i].substr(2);
    if (lines[i][0] != static_cast<char>('A' + options.size())) return {};
    std::size_t first = text.find_first_not_of(" \t\r"), last = text.find_last_not_of(" \t\r");
    options.emplace_back(first == text.npos ? std::string_view() : text.substr(first, last + 1 - first));
  }
  if (options.size() < 2) return {};
  prompt.resize(static_cast<std::size_t>(lines.back().data() - prompt.data()));
  return options;
}

}  // namespace detail

// The items of a .jsonl file: {"prompt", "choices", "answer_index"}, or {"prompt", "completion"} with what stands for choices there:
// * "answer" is a letter and the prompt ends in lines "A)...", "B)...": the texts of these lines, behind the prompt up to them;
// * a "task" with at least twice as many items as different completions has labels: these. If such are half of the items or more, they are the
//   set, and items of other tasks cannot be scored;
// * else none: rivals are drawn by evaluate_choice.
// Error(input): a line that is no such item; a file that mixes items with and without "choices".
inline std::vector<ChoiceItem> read_choice_items(const std::string& path) {
  struct Line {
    ChoiceItem item;
    std::string letter, task;
  };
  std::vector<Line> lines;
  const std::string content = io::read_text(path), shown = printable(path, 4096);
  std::size_t with_choices = 0, with_letter = 0;
  text::detail::each_line(path, content, [&](std::string_view line, const std::string& where) {
    const io::Json j = io::parse_json(line, where);
    Line out;
    auto text = [&](const char* key) { return std::string(j.at(key, where).as_string(str(where, ": ", key))); };
    out.item.prompt = text("prompt");
    if (const io::Json* choices = j.find("choices")) {
      for (const io::Json& c : choices->items(where + ": choices")) out.item.choices.emplace_back(c.as_string(where + ": choices"));
      if (out.item.choices.size() < 2) fail(ErrorKind::input, "choice.choices", where, ": wanted two choices or more, got ", out.item.choices.size());
      out.item.answer = static_cast<std::size_t>(j.at("answer_index", where).as_int(where + ": answer_index", 0, static_cast<std::int64_t>(out.item.choices.size()) - 1));
      ++with_choices;
    } else {
      out.item.choices.push_back(text("completion"));
      if (const io::Json* task = j.find("task"); task && task->is_string()) out.task = task->as_string(where);
      if (const io::Json* answer = j.find("answer"); answer && answer->is_string() && answer->as_string(where).size() == 1) out.letter = answer->as_string(where);
      if (!out.letter.empty() && out.letter[0] >= 'A' && out.letter[0] <= 'Z') ++with_letter;
    }
    if (with_choices != 0 && with_choices != lines.size() + 1) fail(ErrorKind::input, "choice.mixed", where, ": wanted \"choices\" on every line of the file or on none");
    lines.push_back(std::move(out));
  });
  if (lines.empty()) fail(ErrorKind::input, "data.empty", shown, ": wanted items, one {\"prompt\", \"completion\"} or {\"prompt\", \"choices\", \"answer_index\"} a line, found none");

  if (with_letter == lines.size()) {
    std::vector<std::vector<std::string>> options;
    std::vector<std::string> prompts;
    std::size_t found = 0;
    for (Line& l : lines) {
      prompts.push_back(l.item.prompt);
      options.push_back(detail::lettered_options(prompts.back()));
      found += !options.back().empty();
    }
    for (std::size_t i = 0; found > 0 && i < lines.size(); ++i) {
      ChoiceItem& item = lines[i].item;
      const auto answer = static_cast<std::size_t>(lines[i].letter[0] - 'A');
      item = {prompts[i], options[i], answer, ""};
      if (answer >= item.choices.size()) item.choices.clear();
    }
    with_choices = found;
  }
  if (with_choices == 0) {
    std::map<std::string, std::pair<std::size_t, std::set<std::string>>> tasks;  // items, labels
    for (const Line& l : lines) {
      auto& [items, labels] = tasks[l.task];
      ++items;
      labels.insert(l.item.choices[0]);
    }
    auto labels_of = [&](const Line& l) {
      auto& [items, labels] = tasks.at(l.task);
      return !l.task.empty() && labels.size() >= 2 && 2 * labels.size() <= items ? &labels : nullptr;
    };
    std::size_t labelled = 0;
    for (const Line& l : lines) labelled += labels_of(l) != nullptr;
    for (std::size_t i = 0; 2 * labelled >= lines.size() && i < lines.size(); ++i) {
      ChoiceItem& item = lines[i].item;
      const std::set<std::string>* labels = labels_of(lines[i]);
      const std::string gold = item.choices[0];
      item.choices.clear();
      if (!labels) continue;
      item.labels = lines[i].task;
      item.answer = static_cast<std::size_t>(std::distance(labels->begin(), labels->find(gold)));
      item.choices.assign(labels->begin(), labels->end());
    }
  }
  std::vector<ChoiceItem> out;
  for (Line& l : lines) out.push_back(std::move(l.item));
  return out;
}

inline constexpr std::size_t distractors = 9;

// Accuracy, rank and likelihood of the gold answers of a set. An item whose choices do not all fit the context is dropped; the rivals of an
// item without choices of its own come from the answers that do fit, no two of the same text.
inline ChoiceResult evaluate_choice(const Decoder& model, const text::Tokenizer& tokenizer, std::int32_t bos, std::int32_t eos, const std::vector<ChoiceItem>& items, std::int64_t context,
                                    std::int64_t micro_batch = 8) {
  auto encode = [&](const std::string& text) { return ChoiceQuestion::Answer{tokenizer.encode(text), static_cast<std::int64_t>(text.size())}; };
  auto usable = [&](const ChoiceQuestion::Answer& a) { return a.bytes > 0 && answer_fits(a, context); };
  std::map<std::string, ChoiceQuestion::Answer> pool;  // the answers of items without rivals
  for (const ChoiceItem& item : items) {
    check(item.choices.empty() || item.answer < item.choices.size(), "choice.answer", "choice: answer ", item.answer, " of ", item.choices.size(), " choices");
    if (item.choices.size() != 1 || pool.contains(item.choices[0])) continue;
    if (auto answer = encode(item.choices[0]); usable(answer)) pool.emplace(item.choices[0], std::move(answer));
  }
  ChoiceResult r;
  r.rank.assign(items.size(), 0);
  std::vector<ChoiceQuestion> questions;
  std::vector<std::size_t> item_of, gold_of;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const ChoiceItem& item = items[i];
    ChoiceQuestion question;
    if (item.choices.size() == 1 && pool.contains(item.choices[0])) {
      const std::uint64_t seed = XXH3_64bits(item.prompt.data(), item.prompt.size());
      std::vector<std::pair<std::uint64_t, const ChoiceQuestion::Answer*>> others;
      for (auto& [text, answer] : pool)
        if (text != item.choices[0]) others.emplace_back(XXH3_64bits_withSeed(text.data(), text.size(), seed), &answer);
      std::stable_sort(others.begin(), others.end(), [](auto& a, auto& b) { return a.first < b.first; });  // equal hashes by text
      others.resize(std::min(others.size(), distractors));
      question.answers.push_back(pool.at(item.choices[0]));
      for (auto& o : others) question.answers.push_back(*o.second);
    } else if (item.choices.size() > 1) {
      for (const std::string& c : item.choices) question.answers.push_back(encode(c));
    }
    if (question.answers.size() < 2 || !std::all_of(question.answers.begin(), question.answers.end(), usable)) {
      ++r.dropped;
      continue;
    }
    question.prompt = tokenizer.encode(item.prompt);
    questions.push_back(std::move(question));
    item_of.push_back(i);
    gold_of.push_back(item.choices.size() == 1 ? 0 : item.answer);
  }
  const std::vector<AnswerScores> scores = score_answers(model, questions, bos, eos, context, micro_batch);

  std::int64_t right_sum = 0, right_per_byte = 0;
  std::map<std::string, std::map<std::size_t, std::int64_t>> label_counts;
  std::map<std::string, std::int64_t> answer_counts;  // of items without choices: rivals are distinct texts, so a common answer is oftener right than 1 / answers
  std::vector<double> reciprocal, bytes, ones;
  r.n = r.answer.documents = static_cast<std::int64_t>(questions.size());
  for (std::size_t q = 0; q < questions.size(); ++q) {
    const std::size_t gold = gold_of[q], m = questions[q].answers.size();
    auto sum = [&](std::size_t a) { return scores[q].log_likelihood[a]; };
    auto per_byte = [&](std::size_t a) { return sum(a) / static_cast<double>(questions[q].answers[a].bytes); };
    std::int64_t above_sum = 0, rank = 1;
    double harmonic = 1;
    for (std::size_t a = 0; a < m; ++a) {
      if (a > 0) harmonic += 1.0 / static_cast<double>(a + 1);
      if (a == gold) continue;
      above_sum += !(sum(a) < sum(gold));
      rank += !(per_byte(a) < per_byte(gold));
    }
    r.cut += scores[q].cut;
    r.chance += 1.0 / static_cast<double>(m);
    r.reciprocal_rank_chance += harmonic / static_cast<double>(m);
    right_sum += above_sum == 0;
    right_per_byte += rank == 1;
    r.rank[item_of[q]] = rank;
    reciprocal.push_back(1.0 / static_cast<double>(rank));
    ones.push_back(1);
    if (const ChoiceItem& item = items[item_of[q]]; item.choices.size() == 1) ++answer_counts[item.choices[0]];
    else if (!item.labels.empty()) ++label_counts[item.labels][gold];
    r.answer.token_nll.push_back(scores[q].token_nll[gold]);
    r.answer.document_nll.push_back(-sum(gold));
    r.answer.tokens += static_cast<std::int64_t>(r.answer.token_nll.back().size());
    r.answer.bytes += questions[q].answers[gold].bytes;
    bytes.push_back(static_cast<double>(questions[q].answers[gold].bytes));
  }
  summarize(r.answer);
  r.sum_bounds = wilson_interval(right_sum, r.n);
  r.per_byte_bounds = wilson_interval(right_per_byte, r.n);
  if (r.n == 0) return r;
  const auto n = static_cast<double>(r.n);
  r.chance /= n;
  r.reciprocal_rank_chance /= n;
  r.accuracy_sum = static_cast<double>(right_sum) / n;
  r.accuracy_per_byte = static_cast<double>(right_per_byte) / n;
  for (double x : reciprocal) r.mean_reciprocal_rank += x / n;
  r.reciprocal_rank_stderr = ratio_stderr(reciprocal, ones);
  for (double x : r.answer.document_nll) r.nats_per_byte += x / static_cast<double>(r.answer.bytes);
  r.nats_per_byte_stderr = ratio_stderr(r.answer.document_nll, bytes);
  auto most = [](const auto& counts) { return std::max_element(counts.begin(), counts.end(), [](auto& a, auto& b) { return a.second < b.second; })->second; };
  for (const auto& [task, counts] : label_counts) r.majority += static_cast<double>(most(counts)) / n;
  if (!answer_counts.empty() && most(answer_counts) > 1) r.majority += static_cast<double>(most(answer_counts)) / n;
  return r;
}

// The figures of a set by name; low and high are those of accuracy_per_byte.
inline io::Json choice_json(const ChoiceResult& r) {
  io::Json j = io::Json::object({{"n", r.n}, {"cut", r.cut}, {"dropped", r.dropped}, {"chance", r.chance}});
  if (r.majority > 0) j.set("majority", r.majority);
  j.set("accuracy_sum", r.accuracy_sum);
  j.set("accuracy_sum_interval", io::Json::array_of(std::vector<double>{r.sum_bounds.low, r.sum_bounds.high}));
  j.set("accuracy_per_byte", r.accuracy_per_byte);
  j.set("low", r.per_byte_bounds.low);
  j.set("high", r.per_byte_bounds.high);
  j.set("mean_reciprocal_rank", r.mean_reciprocal_rank);
  j.set("mean_reciprocal_rank_stderr", r.reciprocal_rank_stderr);
  j.set("mean_reciprocal_rank_chance", r.reciprocal_rank_chance);
  j.set("nll", r.answer.nll);
  j.set("stderr", r.answer.stderr_nll);
  j.set("nats_per_byte", r.nats_per_byte);
  j.set("nats_per_byte_stderr", r.nats_per_byte_stderr);
  j.set("tokens", r.answer.tokens);
  j.set("bytes", r.answer.bytes);
  return j;
}

}  // namespace bam
