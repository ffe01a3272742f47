// The part of bam eval in which models write answers: greedy text for the prompts of sets, scored, a second model's beside the first one's.
#pragma once
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bam/eval/generate.hpp"
#include "bam/eval/written.hpp"
#include "flags.hpp"
#include "output.hpp"
#include "text_model.hpp"

namespace bam::app {

struct WrittenFlags {
  std::vector<std::string> sets, metrics, languages;
  std::string generations;
  std::int64_t max_new_tokens = 0;  // 0: 128, or half of a context that is shorter than 256
};

inline void written_flags(CLI::App& verb, WrittenFlags& f) {
  auto list = [&](const char* flag, std::vector<std::string>& value, const char* help, const char* type) {
    verb.add_option(flag, value, help)->type_name(type)->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  };
  list("--generate", f.sets, "A file or folder of prompts ({prompt, completion}, {messages}, {prompt, answer} ...) to write answers to, greedily; may be repeated", "NAME=FILE");
  list("--metric", f.metrics, "What scores them: number, match, rouge, chrf, instructions or language, of one set or of all; may be repeated", "[NAME=]METRIC");
  list("--language-text", f.languages, "Texts with \"lang\" from which the metric language, and instructions, learn to tell languages; may be repeated", "PATH");
  integer_flag<std::int64_t>(verb, "--max-new-tokens", f.max_new_tokens, 1, 1 << 24, "New tokens of an answer at most (default 128, or half the context)");
  verb.add_option("--generations", f.generations, "Write every prompt, answer and score here, one a line")->type_name("FILE.jsonl");
}

class WrittenSets {
 public:
  WrittenSets(const Common& common, const WrittenFlags& f, std::int64_t limit) : common_(common), max_new_tokens_(f.max_new_tokens), file_(f.generations) {
    if (f.sets.empty()) {
      if (!f.metrics.empty() || !f.languages.empty() || f.max_new_tokens > 0 || !f.generations.empty())
        fail(ErrorKind::usage, "flag.missing", "bam eval: --metric, --language-text, --max-new-tokens and --generations want --generate NAME=FILE");
      return;
    }
    for (const std::string& s : f.sets) sets_.push_back({named(s).first, {}, {}, {}, {}});
    std::vector<std::string> names(std::begin(metric_names), std::end(metric_names));
    for (const std::string& text : f.metrics) {
      const std::size_t eq = text.rfind('=');
      const std::string of = eq == text.npos ? "" : text.substr(0, eq), name = eq == text.npos ? text : text.substr(eq + 1);
      const auto known = std::find(names.begin(), names.end(), name);
      if (known == names.end()) {
        const std::string near = nearest(name, names);
        fail(ErrorKind::usage, "flag.value", "--metric: wanted number, match, rouge, chrf, instructions or language, got '", printable(name, 60), "'", near.empty() ? "" : "; did you mean " + near + "?");
      }
      bool found = false;
      for (Set& s : sets_)
        if (eq == text.npos || s.name == of) {
          found = true;
          if (const auto m = static_cast<Metric>(known - names.begin()); std::find(s.metrics.begin(), s.metrics.end(), m) == s.metrics.end()) s.metrics.push_back(m);
        }
      if (!found) fail(ErrorKind::usage, "flag.value", "--metric: no --generate has the name '", printable(of, 100), "'");
    }
    for (const Set& s : sets_)
      if (s.metrics.empty()) fail(ErrorKind::usage, "flag.missing", "bam eval: --generate ", printable(s.name, 100), " wants a --metric: number, match, rouge, chrf, instructions or language");
    for (std::size_t i = 0; i < sets_.size(); ++i) {
      Set& s = sets_[i];
      s.items = read_written_items(named(f.sets[i]).second, s.metrics);
      if (limit > 0 && static_cast<std::int64_t>(s.items.size()) > limit) s.items.resize(static_cast<std::size_t>(limit));
    }
    if (!f.languages.empty()) identifier_.emplace(read_languages(f.languages));
    for (const Set& s : sets_)
      if (std::find(s.metrics.begin(), s.metrics.end(), Metric::language) != s.metrics.end()) {
        if (!identifier_) fail(ErrorKind::usage, "flag.missing", "bam eval: --metric language wants --language-text PATH, texts of the languages to tell");
        for (const WrittenItem& item : s.items)
          if (!identifier_->knows(item.lang)) fail(ErrorKind::input, "language_id.unknown", item.example.where, ": --language-text has no texts of the language ", printable(item.lang, 40), "; give it some");
      }
    if (file_.empty()) return;
    if (io::exists(file_) && !common_.force) fail(ErrorKind::usage, "out.exists", printable(file_, 4096), ": is there already; --force replaces it");
    io::write_file_atomic(file_, "");  // so that a place that cannot be written is told before the work
  }

  // Writes and scores the answers of one more model: {set: {"n", "cut", "unfinished", "tokens", "metrics": {metric: ...}}}.
  io::Json run(const std::string& model_name, const TextModel& model, const text::ChatTemplate& format, std::int64_t context, std::int64_t batch) {
    if (first_name_.empty()) first_name_ = model_name;
    io::Json out = io::Json::object();
    GenerateOptions o;
    o.max_new_tokens = max_new_tokens_ > 0 ? max_new_tokens_ : std::min<std::int64_t>(128, context / 2);
    o.context = context;
    o.batch = batch;
    o.stop = model.eos;
    o.stop.push_back(format.end_of_turn());
    if (!sets_.empty() && o.max_new_tokens >= context) fail(ErrorKind::input, "written.context", "--max-new-tokens: wanted less than the context of ", context, " tokens, which the prompt shares, got ", o.max_new_tokens);
    for (Set& s : sets_) {
      const auto start = std::chrono::steady_clock::now();
      std::int64_t cut = 0, unfinished = 0, tokens = 0;
      const std::vector<Completion> completions = generate(model.decoder(), encode_prompts(s.items, format, context - o.max_new_tokens, cut), o);
      std::vector<std::string> texts;
      for (const Completion& c : completions) {
        texts.push_back(text::replace_invalid_utf8(model.decode(c.ids)));
        unfinished += c.stopped_by == StoppedBy::length;
        tokens += static_cast<std::int64_t>(c.ids.size());
      }
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      const auto n = static_cast<std::int64_t>(s.items.size());
      note(common_, fmt::format("{} on {}: {} answers, {} prompts cut to fit {} tokens, {} answers without an end in {}, {:.1f} tokens/s", model_name, s.name, n, cut, context - o.max_new_tokens, unfinished, o.max_new_tokens,
                                static_cast<double>(tokens) / seconds));
      std::vector<std::string> head{s.name, "n", "cut", "no end"}, row{model_name, str(n), str(cut), str(unfinished)};
      io::Json metrics = io::Json::object();
      std::vector<WrittenScore> scores;
      for (std::size_t i = 0; i < s.metrics.size(); ++i) {
        const Metric m = s.metrics[i];
        const WrittenScore& score = scores.emplace_back(score_written(m, s.items, texts, identifier_ ? &*identifier_ : nullptr));
        io::Json j = written_json(m, score, s.items);
        const io::Json* constant = j.find("constant");
        head.push_back(str(name_of(m), constant ? fmt::format(" (constant {:.3f})", constant->as_double("constant")) : ""));
        row.push_back(fmt::format("{:.3f} [{:.3f}, {:.3f}]{}", score.value, score.bounds.low, score.bounds.high, score.n < n ? fmt::format(" of {}", score.n) : ""));
        if (!s.first.empty()) {
          const BootstrapResult d = written_difference(score, s.first[i]);
          j.set("difference", io::Json::object({{"to", first_name_}, {"n", d.n}, {"value", d.value}, {"low", d.low}, {"high", d.high}, {"p", d.p}}));
          row.back() += fmt::format(", {:+.3f} [{:+.3f}, {:+.3f}]", d.value, d.low, d.high);
        }
        if (const io::Json* undecided = j.find("undecided"); undecided && undecided->as_int("undecided") > 0)
          note(common_, str(s.name, ": ", undecided->as_int("undecided"), " instructions about a language cannot be told and their prompts do not count", identifier_ ? "" : "; --language-text PATH tells more"));
        metrics.set(name_of(m), std::move(j));
      }
      if (s.table.rows.empty()) s.table.add(head);
      s.table.add(row);
      for (std::size_t i = 0; !file_.empty() && i < s.items.size(); ++i) record(model_name, s, i, texts[i], completions[i].stopped_by, scores);
      if (!file_.empty()) io::write_file_atomic(file_, lines_);
      if (s.first.empty()) s.first = std::move(scores);
      out.set(s.name, io::Json::object({{"n", n}, {"cut", cut}, {"unfinished", unfinished}, {"tokens", tokens}, {"metrics", std::move(metrics)}}));
    }
    return out;
  }

  // One a set: a row a model.
  std::vector<Table> tables() const {
    std::vector<Table> out;
    for (const Set& s : sets_) {
      out.push_back(s.table);
      if (s.table.rows.size() > 2)
        for (std::size_t i = 4; i < s.table.rows[0].size(); ++i) out.back().rows[0][i] += ", difference to " + first_name_;
    }
    return out;
  }

 private:
  struct Set {
    std::string name;
    std::vector<Metric> metrics;
    std::vector<WrittenItem> items;
    std::vector<WrittenScore> first;  // the first model's, by metric
    Table table;
  };

  void record(const std::string& model, const Set& s, std::size_t i, const std::string& text, StoppedBy stopped_by, const std::vector<WrittenScore>& scores) {
    const WrittenItem& item = s.items[i];
    io::Json values = io::Json::object();
    for (std::size_t m = 0; m < scores.size(); ++m) values.set(name_of(s.metrics[m]), std::isnan(scores[m].items[i]) ? io::Json() : io::Json(scores[m].items[i]));
    io::Json line = io::Json::object({{"model", model}, {"set", s.name}, {"where", item.example.where}, {"id", item.example.id}, {"lang", item.example.lang}, {"prompt", item.prompt().back().content}, {"text", text},
                                      {"stopped_by", name_of(stopped_by)}, {"references", io::Json::array_of(item.references)}, {"scores", std::move(values)}});
    lines_ += io::dump(line) + "\n";
  }

  const Common& common_;
  std::int64_t max_new_tokens_;
  std::string file_, lines_, first_name_;
  std::vector<Set> sets_;
  std::optional<LanguageIdentifier> identifier_;
};

}  // namespace bam::app
