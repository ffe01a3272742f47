// Answers that a model writes for the prompts of a set, and their scores against what the set says of each: its answer, other references, instructions, a language.
//
//   number        share of answers whose last number is the item's (exact_match.hpp)
//   match         share equal to a reference after normalisation
//   rouge         mean F1 of ROUGE-L against the best reference, 0 to 1
//   chrf          mean chrF against the best reference, 0 to 1
//   instructions  share of prompts all of whose instructions are followed, strictly (instructions.hpp)
//   language      share of answers in the item's language (language_id.hpp)
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../text/chat_data.hpp"
#include "bootstrap.hpp"
#include "chrf.hpp"
#include "exact_match.hpp"
#include "instructions.hpp"
#include "interval.hpp"
#include "language_id.hpp"
#include "rouge.hpp"

namespace bam {

enum class Metric : std::uint8_t { number, match, rouge, chrf, instructions, language };
inline constexpr const char* metric_names[] = {"number", "match", "rouge", "chrf", "instructions", "language"};
inline const char* name_of(Metric m) { return metric_names[static_cast<std::size_t>(m)]; }

struct WrittenItem {
  text::ChatExample example;
  std::size_t turns = 0;                // of its messages: those before the answer
  std::vector<std::string> references;  // right answers
  std::string number, lang;             // the gold number; the answer's language
  std::vector<InstructionCheck> checks;

  std::span<const text::ChatMessage> prompt() const { return std::span(example.messages).first(turns); }
};

namespace detail {

inline WrittenItem parse_written_item(std::string_view line, const std::string& where, const std::vector<Metric>& metrics) {
  const io::Json j = io::parse_json(line, where);
  WrittenItem item;
  item.example = text::detail::example_of(j, where, true);
  const auto& messages = item.example.messages;
  item.turns = messages.size();
  if (!messages.empty() && messages.back().role == text::Role::assistant) {
    --item.turns;
    item.references.push_back(messages.back().content);
  }
  if (item.turns == 0) fail(ErrorKind::input, "written.prompt", where, ": wanted a turn before the answer, there is none");
  auto text = [&](const char* key) {
    const io::Json* v = j.find(key);
    return !v || v->is_null() ? "" : v->is_number() ? io::dump(*v) : std::string(v->as_string(str(where, ": ", key)));
  };
  auto wanted = [&](Metric m, const std::string& what) { fail(ErrorKind::input, "written.item", where, ": the metric ", name_of(m), " wants ", what); };
  for (Metric m : metrics) switch (m) {
      case Metric::number:
        item.number = j.contains("answer") || item.references.empty() ? text("answer") : item.references[0];
        if (!gold_number(item.number)) wanted(m, str("a number as \"answer\" or in \"completion\", got ", item.number.empty() ? "none" : str('"', printable(item.number, 60), '"')));
        break;
      case Metric::match: case Metric::rouge: case Metric::chrf:
        if (const io::Json* list = j.find("references"); list && !list->is_null()) {
          item.references.clear();
          for (const io::Json& r : list->items(where + ": references")) item.references.emplace_back(r.as_string(where + ": references"));
        }
        if (item.references.empty() && j.contains("answer")) item.references.push_back(text("answer"));
        if (item.references.empty()) wanted(m, "\"completion\", \"references\" or \"answer\", or an assistant's last turn; there is none");
        break;
      case Metric::instructions:
        if (!j.contains("checks") && !j.contains("instruction_id_list")) wanted(m, "\"checks\", or \"instruction_id_list\" with \"kwargs\"; there is none");
        item.checks = read_checks(j, where);
        if (item.checks.empty()) wanted(m, "an instruction; the list is empty");
        break;
      case Metric::language:
        item.lang = text("tgt_lang").empty() ? item.example.lang : text("tgt_lang");
        if (item.lang.empty()) wanted(m, "the language of the answer as \"tgt_lang\" or \"lang\"; there is none");
        break;
    }
  return item;
}

}  // namespace detail

// The items of a file, or of the validation part of a folder (as text::read_examples): examples for fine-tuning, a prompt alone, or a
// conversation that ends with the user. Error(input), by file and line: no such item, or one without what a metric wants.
inline std::vector<WrittenItem> read_written_items(const std::string& path, const std::vector<Metric>& metrics) {
  auto append = [&](std::vector<WrittenItem>& out, const std::string& file) {
    text::detail::each_example_line(file, [&](std::string_view line, const std::string& where) { out.push_back(detail::parse_written_item(line, where, metrics)); });
  };
  auto out = text::detail::read_split<WrittenItem>(path, "validation", text::detail::example_suffixes(), append, [](const WrittenItem& i) { return i.example.text(); });
  if (out.empty()) fail(ErrorKind::input, "data.empty", printable(path, 4096), ": wanted items, one {\"prompt\", \"completion\"} or {\"messages\"} a line, found none");
  return out;
}

// Learns languages from {"text", "lang"} a line, of files or the training part of folders: of each language the first half million bytes.
inline LanguageIdentifier read_languages(const std::vector<std::string>& paths) {
  struct Line {
    std::string text, lang;
  };
  std::map<std::string, std::vector<std::string>> texts;
  std::map<std::string, std::size_t> bytes;
  for (const std::string& path : paths) {
    auto append = [](std::vector<Line>& out, const std::string& file) {
      text::detail::each_example_line(file, [&](std::string_view line, const std::string& where) {
        const io::Json j = io::parse_json(line, where);
        out.push_back({std::string(j.at("text", where).as_string(where + ": text")), std::string(j.at("lang", where).as_string(where + ": lang"))});
      });
    };
    for (Line& l : text::detail::read_split<Line>(path, "train", text::detail::example_suffixes(), append, [](const Line& l) { return std::string_view(l.text); })) {
      std::size_t& n = bytes[l.lang];
      if (n < 500'000) n += l.text.size(), texts[l.lang].push_back(std::move(l.text));
    }
  }
  if (texts.empty()) fail(ErrorKind::input, "data.empty", paths.empty() ? "" : printable(paths[0], 4096), ": wanted texts to learn languages from, one {\"text\", \"lang\"} a line, found none");
  return LanguageIdentifier::train(texts);
}

// Ids of the prompts, up to the answer's opening. room: the most ids; a longer prompt loses its start, and is counted in cut.
// Error(input): the template alone is longer.
inline std::vector<std::vector<std::int32_t>> encode_prompts(const std::vector<WrittenItem>& items, const text::ChatTemplate& format, std::int64_t room, std::int64_t& cut) {
  std::vector<std::vector<std::int32_t>> out;
  for (const WrittenItem& item : items) {
    text::ChatTokens tokens = format.prompt(item.prompt());
    if (!tokens.truncate(room)) fail(ErrorKind::input, "written.context", item.example.where, ": the earlier turns alone have more than the ", room, " tokens that the context leaves beside the new ones");
    cut += tokens.cut > 0;
    out.push_back(std::move(tokens.ids));
  }
  return out;
}

// A score over items.
struct WrittenScore {
  std::int64_t n = 0;         // items that count: not those of which the score cannot be told
  double value = 0;
  Bounds bounds;              // 95%: Wilson's of a share, of the bootstrap of a mean
  std::vector<double> items;  // of each; NaN: cannot be told
  io::Json further = io::Json::object();  // related figures, by name
};

// Of the values that are numbers.
inline WrittenScore written_score(std::vector<double> items, bool share) {
  WrittenScore s;
  std::vector<double> told;
  std::copy_if(items.begin(), items.end(), std::back_inserter(told), [](double x) { return !std::isnan(x); });
  s.items = std::move(items);
  s.n = static_cast<std::int64_t>(told.size());
  for (double x : told) s.value += x / static_cast<double>(s.n);
  if (share) {
    s.bounds = wilson_interval(std::count(told.begin(), told.end(), 1.0), s.n);
  } else if (s.n > 0) {
    const BootstrapResult b = bootstrap_mean(told);
    s.bounds = {b.low, b.high};
  }
  return s;
}
inline bool is_share(Metric m) { return m != Metric::rouge && m != Metric::chrf; }

// identifier: wanted by Metric::language; of instructions about a language, without it most cannot be told.
inline WrittenScore score_written(Metric m, const std::vector<WrittenItem>& items, const std::vector<std::string>& texts, const LanguageIdentifier* identifier = nullptr) {
  check(items.size() == texts.size() && (m != Metric::language || identifier), "written.size", "written: ", items.size(), " items, ", texts.size(), " texts");
  std::vector<double> values, rouge_1, rouge_2;
  InstructionAccuracy strict, loose;
  std::int64_t without_letters = 0;
  std::vector<std::vector<std::string>> references;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const WrittenItem& item = items[i];
    const std::string& text = texts[i];
    auto best = [&](auto&& score) {
      double most = 0;
      for (const std::string& r : item.references) most = std::max(most, score(r));
      return most;
    };
    switch (m) {
      case Metric::number: values.push_back(number_match(text, item.number)); break;
      case Metric::match: values.push_back(best([&](const std::string& r) { return exact_match(text, r) ? 1.0 : 0.0; })); break;
      case Metric::rouge:
        values.push_back(best([&](const std::string& r) { return rouge_l(text, r).f1; }));
        rouge_1.push_back(best([&](const std::string& r) { return rouge_n(text, r, 1).f1; }));
        rouge_2.push_back(best([&](const std::string& r) { return rouge_n(text, r, 2).f1; }));
        break;
      case Metric::chrf:
        values.push_back(sentence_chrf(text, item.references) / 100);
        references.push_back(item.references);
        break;
      case Metric::instructions: {
        const InstructionAccuracy before = strict;
        strict.add(text, item.checks, false, identifier);
        loose.add(text, item.checks, true, identifier);
        values.push_back(strict.prompts > before.prompts ? static_cast<double>(strict.prompts_followed - before.prompts_followed) : std::numeric_limits<double>::quiet_NaN());
        break;
      }
      case Metric::language: {
        const LanguageConsistency c = language_consistency(*identifier, {text}, item.lang);
        values.push_back(static_cast<double>(c.in_language));
        without_letters += c.without_letters;
      }
    }
  }
  WrittenScore s = written_score(std::move(values), is_share(m));
  auto mean = [](const std::vector<double>& v) {
    double sum = 0;
    for (double x : v) sum += x / static_cast<double>(v.size());
    return sum;
  };
  if (m == Metric::number || m == Metric::match) {  // what the best answer that is always the same gets
    std::map<std::string, std::int64_t> golds;
    std::int64_t most = 0;
    for (const WrittenItem& item : items) {
      std::set<std::string> right;
      if (m == Metric::number) right.insert(*gold_number(item.number));
      else for (const std::string& r : item.references) right.insert(normalize_answer(r));
      for (const std::string& r : right) most = std::max(most, ++golds[r]);
    }
    s.further.set("constant", items.empty() ? 0.0 : static_cast<double>(most) / static_cast<double>(items.size()));
  }
  if (m == Metric::rouge) s.further = io::Json::object({{"rouge_1", mean(rouge_1)}, {"rouge_2", mean(rouge_2)}});
  if (m == Metric::chrf && !items.empty()) s.further.set("corpus", corpus_chrf(texts, references) / 100);
  if (m == Metric::instructions)
    s.further = io::Json::object({{"instructions", strict.checks}, {"of_instructions", strict.of_checks()}, {"loose", loose.of_prompts()}, {"loose_of_instructions", loose.of_checks()}, {"undecided", strict.undecided}});
  if (m == Metric::language) s.further.set("without_letters", without_letters);
  return s;
}

// Of score - first, over the items that both can tell.
inline BootstrapResult written_difference(const WrittenScore& score, const WrittenScore& first) {
  std::vector<double> a, b;
  for (std::size_t i = 0; i < score.items.size(); ++i)
    if (!std::isnan(score.items[i]) && !std::isnan(first.items[i])) a.push_back(score.items[i]), b.push_back(first.items[i]);
  return a.empty() ? BootstrapResult{} : paired_bootstrap(a, b);
}

// The figures by name, each language's apart where the items have one.
inline io::Json written_json(Metric m, const WrittenScore& s, const std::vector<WrittenItem>& items) {
  auto figures = [](const WrittenScore& x) { return io::Json::object({{"n", x.n}, {"value", x.value}, {"low", x.bounds.low}, {"high", x.bounds.high}}); };
  io::Json j = figures(s);
  for (auto [key, value] : s.further.members("further")) j.set(key, value);
  std::map<std::string, std::vector<double>> languages;
  for (std::size_t i = 0; i < items.size(); ++i)
    if (!items[i].example.lang.empty()) languages[items[i].example.lang].push_back(s.items[i]);
  io::Json groups = io::Json::object();
  for (auto& [lang, values] : languages) groups.set(lang, figures(written_score(std::move(values), is_share(m))));
  if (!groups.empty()) j.set("by_language", std::move(groups));
  return j;
}

}  // namespace bam
