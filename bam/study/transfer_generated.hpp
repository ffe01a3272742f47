// The generated languages as the matter of a transfer study.
#pragma once
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "../io/hash.hpp"
#include "../text/generated/tasks.hpp"
#include "transfer_corpus.hpp"

namespace bam::study::transfer {

namespace lang = text::languages;

// Up to `count` wrong answers to test item `index`, the same meanings in all languages, each a right answer to another item of its template; of an
// arithmetic story the solution of the same story with other numbers (which may end in the same result), so that only who reads the numbers can tell them
// apart. They are drawn as the item was, until a drawn one has the answer of an earlier one: then who reads no prompt finds the right answer first as
// often as any other, whatever answers he prefers (to pass over equal ones and draw on would make frequent answers right more often than rivals).
inline std::vector<std::string> rivals_of(const lang::Example& e, std::uint64_t seed, std::uint64_t index, std::int64_t count) {
  const auto forms = static_cast<std::uint64_t>(lang::form_count(e.task));
  const bool retold = e.task == lang::Task::arithmetic;
  std::vector<lang::Example> drawn{e};
  for (std::uint32_t turn = 1; turn <= count; ++turn) {
    lang::Example next = lang::task_example(e.task, e.lang, lang::Split::test, seed, index + (retold ? 0 : turn * forms), retold ? turn : 0);
    auto same = [&](const lang::Example& d) { return retold ? d.completion == next.completion : lang::accepts(d, next.completion) || lang::accepts(next, d.completion); };
    if (std::any_of(drawn.begin(), drawn.end(), same)) break;
    drawn.push_back(std::move(next));
  }
  std::vector<std::string> list;
  for (std::size_t i = 1; i < drawn.size(); ++i) list.push_back(std::move(drawn[i].completion));
  return list;
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

class GeneratedLanguages : public TransferCorpus {
 public:
  GeneratedLanguages() {
    for (int l = 0; l < lang::language_count; ++l) {
      static constexpr const char* scripts[] = {"Latin", "Armenian", "Cyrillic"};
      const lang::Language& x = lang::language(l);
      languages_.push_back({x.code, scripts[static_cast<int>(x.script)], str(x.family), x.script == lang::Script::latin});
    }
  }

  std::string kind() const override { return "generated"; }
  std::string pivot() const override { return lang::language(lang::pivot).code; }
  const std::vector<LanguageInfo>& languages() const override { return languages_; }
  const std::vector<std::string>& tasks() const override { return tasks_; }
  std::vector<TestInfo> tests(const std::vector<std::string>& tasks) const override {
    std::vector<TestInfo> list;
    for (const std::string& t : tasks) list.push_back({t, t});
    return list;
  }
  // Another version of the generator is another corpus.
  std::string fingerprint(const std::vector<std::string>& languages, const std::vector<std::string>& tasks, std::uint64_t seed) const override {
    io::Hasher generator;
    for (const std::string& l : languages) {
      const std::string document = lang::language_document(lang::find_language(l), seed, 0);
      generator.update(document.data(), document.size());
      for (const std::string& t : tasks) {
        const lang::Example example = lang::task_example(task(t), lang::find_language(l), lang::Split::test, seed, 0);
        std::string item = lang::json_line(example);
        for (const std::string& rival : rivals_of(example, seed, 0, 1)) item += rival;
        generator.update(item.data(), item.size());
      }
    }
    return "generated " + generator.hex();
  }
  void each_document(const std::string& language, std::uint64_t seed, std::int64_t limit, const std::function<void(const std::string&)>& f) const override {
    for (std::int64_t i = 0; i < limit; ++i) f(lang::language_document(lang::find_language(language), seed, static_cast<std::uint64_t>(i)));
  }
  std::int64_t available(const std::string&, const std::string&) const override { return INT64_MAX; }
  clt::Pool pool(const std::string& t, const std::string& language, std::int64_t n, std::uint64_t seed, bool shuffled) const override {
    clt::Pool pool{t, language, {}, {}};
    pool.lines = lines(t, language, lang::Split::train, n, seed, shuffled);
    return pool;
  }
  std::vector<std::string> validation(const std::string& t, const std::string& language, std::int64_t n, std::uint64_t seed, bool shuffled) const override {
    return lines(t, language, lang::Split::validation, n, seed, shuffled);
  }
  std::vector<TestItem> items(const std::string& t, const std::string& language, std::int64_t n, std::int64_t rivals, std::uint64_t seed) const override {
    std::vector<TestItem> list;
    for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(n); ++i) {
      const lang::Example e = lang::task_example(task(t), lang::find_language(language), lang::Split::test, seed, i);
      list.push_back({e.prompt, e.completion, rivals_of(e, seed, i, rivals), [e](const std::string& text) { return lang::accepts(e, text); }});
    }
    return list;
  }
  double constant_answer_rate(const std::string& t, const std::string&, std::uint64_t seed) const override {
    const auto [at, fresh] = chances_.try_emplace({t, seed});
    if (fresh) at->second = transfer::constant_answer_rate(task(t), seed);
    return at->second;
  }
  io::Json manifest() const override { return io::Json::object({{"generator", "languages"}}); }

 private:
  static lang::Task task(const std::string& name) {
    const auto at = std::find(std::begin(lang::task_names), std::end(lang::task_names), name);
    check(at != std::end(lang::task_names), "study.task", "no such task: ", name);
    return lang::tasks[at - std::begin(lang::task_names)];
  }
  static std::vector<std::string> lines(const std::string& t, const std::string& language, lang::Split split, std::int64_t n, std::uint64_t seed, bool shuffled) {
    std::vector<std::string> list;
    const int l = lang::find_language(language);
    for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(n); ++i) list.push_back(lang::json_line(shuffled ? lang::shuffled_example(task(t), l, split, seed, i) : lang::task_example(task(t), l, split, seed, i)));
    return list;
  }
  std::vector<LanguageInfo> languages_;
  mutable std::map<std::pair<std::string, std::uint64_t>, double> chances_;  // the same in all languages
  std::vector<std::string> tasks_{std::begin(lang::task_names), std::end(lang::task_names)};
};

}  // namespace bam::study::transfer
