// Files of real languages as the matter of a transfer study: plain text by language, and examples of tasks, split into training, validation and test by
// whoever made the files. A training item that validation or test holds too, by its id or its prompt, is left out and counted.
#pragma once
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "../eval/exact_match.hpp"
#include "../eval/instructions.hpp"
#include "../eval/language_id.hpp"
#include "../io/hash.hpp"
#include "../io/toml.hpp"
#include "../text/corpus.hpp"
#include "transfer_corpus.hpp"

namespace bam::study::transfer {

class LanguageFiles : public TransferCorpus {
 public:
  // How what is written is judged. number: its last number; match: the whole of it, but for case, space and punctuation; chrf, rouge: as match, and by how much
  // of the answer is in it. choice: answers of its own compete, nothing is written; instructions: there is no answer, but instructions that a program can check;
  // text: there is no prompt, only text to be found likely. A task has one of the first four, a test of a task any but the last.
  static inline const std::vector<std::string> scores{"number", "match", "chrf", "rouge", "choice", "instructions", "text"};

  struct Files {
    std::string name, task, score;
    std::vector<std::string> train, validation, test;
  };

  // root: the folder to which all paths are relative. text: files and folders of lines {"text", "lang"}. The tasks have all three kinds of files, further tests
  // only test files. Error(input): a file that is not there or holds no such lines.
  LanguageFiles(std::string root, std::string pivot, const std::vector<std::string>& text, const std::vector<Files>& tasks, const std::vector<Files>& tests) : root_(std::move(root)), pivot_(std::move(pivot)) {
    for (const std::string& path : text) read_text(path);
    for (const auto& [code, documents] : documents_) {
      if (!io::is_file_name(code)) fail(ErrorKind::input, "study.language", "text: wanted \"lang\" to be a code like en or zh-TW, got '", printable(code, 60), "'");
      std::string sample;
      for (std::size_t i = 0; i < std::min<std::size_t>(documents.size(), 20); ++i) sample += documents[i];
      const text::Script script = script_shares(sample).largest;
      languages_.push_back({code, text::name_of(script), "", script == text::Script::latin});
    }
    for (const Files& f : tasks) {
      Set& set = sets_[f.name];
      set.files = f;
      set.test = read(f, f.test);
      set.validation = read(f, f.validation);
      set.train = read(f, f.train);
      tasks_.push_back(f.name);
    }
    for (const Files& f : tests) {
      Set& set = sets_[f.name];
      set.files = f;
      set.test = read(f, f.test);
      further_.push_back(f.name);
    }
    for (const std::string& t : tasks_) {
      clt::HeldOut held;
      for (const auto& [name, set] : sets_)
        if ((name == t || set.files.task == t) && set.files.score != "text")
          for (const auto* pools : {&set.validation, &set.test})
            for (const auto& [code, pool] : *pools)
              for (std::size_t i = 0; i < pool.lines.size(); ++i) held.add(text::detail::parse_example(pool.lines[i], pool.place(i)));
      for (auto& [code, pool] : sets_[t].train) dropped_[t] += held.clear(pool, true);
    }
    if (std::any_of(sets_.begin(), sets_.end(), [](const auto& set) { return set.second.files.score == "instructions"; })) {
      std::map<std::string, std::vector<std::string>> some;
      for (const auto& [code, documents] : documents_) some[code] = beginnings(documents, 100'000);
      identifier_ = LanguageIdentifier::train(some);
    }
  }

  std::string kind() const override { return "files"; }
  std::string pivot() const override { return pivot_; }
  const std::vector<LanguageInfo>& languages() const override { return languages_; }
  const std::vector<std::string>& tasks() const override { return tasks_; }
  std::vector<TestInfo> tests(const std::vector<std::string>& tasks) const override {
    std::vector<TestInfo> list;
    auto add = [&](const std::string& name, const std::string& task) {
      const std::string& score = sets_.at(name).files.score;
      const bool instructions = score == "instructions";
      list.push_back({name, task, score != "choice" && score != "text", score != "text" && !instructions, score == "chrf" || score == "rouge" ? score : "", !instructions});
    };
    for (const std::string& t : tasks) add(t, t);
    for (const std::string& name : further_)
      if (const std::string& task = sets_.at(name).files.task; task.empty() || std::find(tasks.begin(), tasks.end(), task) != tasks.end()) add(name, task);
    return list;
  }
  // Other files, or the same as something else, are another corpus.
  std::string fingerprint(const std::vector<std::string>&, const std::vector<std::string>& tasks, std::uint64_t) const override {
    io::Hasher h;
    auto add = [&](const std::string& what) { h.update((what + "\n").data(), what.size() + 1); };
    add(pivot_);
    for (const std::string& t : tasks) add(t);
    for (const auto& [name, set] : sets_)
      for (const std::string& what : {name, set.files.task, set.files.score}) add(what);
    for (const Source& f : files_) add(str(f.role, "\n", f.path, "\n", f.sha256));
    return "files " + h.hex();
  }
  void each_document(const std::string& language, std::uint64_t, std::int64_t limit, const std::function<void(const std::string&)>& f) const override {
    const std::vector<std::string>& list = documents_.at(language);
    for (std::size_t i = 0; i < list.size() && static_cast<std::int64_t>(i) < limit; ++i) f(list[i]);
  }
  std::int64_t available(const std::string& task, const std::string& language) const override {
    const auto& pools = sets_.at(task).train;
    const auto at = pools.find(language);
    return at == pools.end() ? 0 : at->second.size();
  }
  clt::Pool pool(const std::string& task, const std::string& language, std::int64_t, std::uint64_t, bool shuffled) const override {
    clt::Pool pool = sets_.at(task).train.at(language);
    if (shuffled) pool.lines = exchanged(pool.lines);
    return pool;
  }
  std::vector<std::string> validation(const std::string& task, const std::string& language, std::int64_t n, std::uint64_t seed, bool shuffled) const override {
    std::vector<std::string> lines;
    const auto& pools = sets_.at(task).validation;
    if (const auto at = pools.find(language); at != pools.end())
      for (std::size_t i : clt::select(at->second, std::min(n, at->second.size()), seed)) lines.push_back(at->second.lines[i]);
    if (shuffled) lines = exchanged(lines);
    return lines;
  }
  std::vector<TestItem> items(const std::string& test, const std::string& language, std::int64_t n, std::int64_t rivals, std::uint64_t seed) const override {
    std::vector<TestItem> list;
    const Set& set = sets_.at(test);
    const auto at = set.test.find(language);
    if (at == set.test.end()) return list;
    const clt::Pool& pool = at->second;
    const std::string& score = set.files.score;
    std::vector<Line> lines;
    for (std::size_t i : clt::select(pool, pool.size(), seed)) lines.push_back(parse(pool.lines[i], pool.place(i), score));
    auto same = [&](const Line& a, const Line& b) { return score == "number" ? number_match(b.completion, a.answer) : exact_match(b.completion, a.completion); };
    for (std::size_t i = 0; i < lines.size() && static_cast<std::int64_t>(list.size()) < n; ++i) {
      const Line& line = lines[i];
      TestItem item{line.prompt, line.completion, {}, [answer = line.answer, number = score == "number"](const std::string& text) { return number ? number_match(text, answer) : exact_match(text, answer); }};
      if (score == "instructions")
        item.accepts = [this, checks = line.checks](const std::string& text) { return follows_all(text, checks); };
      else if (score == "choice") item.rivals = line.others;
      else if (score != "text")
        for (std::size_t turn = 1; turn < lines.size() && static_cast<std::int64_t>(item.rivals.size()) < rivals; ++turn) {
          // until an answer comes twice, as GeneratedLanguages has it
          const Line& other = lines[(i + turn) % lines.size()];
          bool again = false;
          for (std::size_t before = 0; before < turn && !again; ++before) {
            const Line& drawn = lines[(i + before) % lines.size()];
            again = same(drawn, other) || same(other, drawn);
          }
          if (again) break;
          item.rivals.push_back(other.completion);
        }
      list.push_back(std::move(item));
    }
    return list;
  }
  double constant_answer_rate(const std::string& test, const std::string& language, std::uint64_t) const override {
    const Set& set = sets_.at(test);
    const auto at = set.test.find(language);
    if (at == set.test.end() || set.files.score == "choice" || set.files.score == "text") return 0;
    std::map<std::string, std::int64_t> count;
    std::int64_t most = 0;
    if (set.files.score == "instructions") {  // any text of the language, which knows nothing of the prompt: the best of twenty
      const auto own = documents_.find(language);
      std::vector<std::vector<InstructionCheck>> all;
      for (std::size_t i = 0; i < at->second.lines.size(); ++i) all.push_back(parse(at->second.lines[i], at->second.place(i), set.files.score).checks);
      if (own != documents_.end())
        for (std::size_t i = 0; i < std::min<std::size_t>(20, own->second.size()); ++i) {
          const std::string constant = beginnings({own->second[i]}, 1000)[0];
          most = std::max(most, static_cast<std::int64_t>(std::count_if(all.begin(), all.end(), [&](const auto& checks) { return follows_all(constant, checks); })));
        }
      return static_cast<double>(most) / static_cast<double>(all.size());
    }
    for (std::size_t i = 0; i < at->second.lines.size(); ++i) {
      const Line line = parse(at->second.lines[i], at->second.place(i), set.files.score);
      const auto number = set.files.score == "number" ? last_number(line.answer) : std::nullopt;
      most = std::max(most, ++count[number ? number->value : normalize_answer(line.answer)]);
    }
    return static_cast<double>(most) / static_cast<double>(at->second.size());
  }
  io::Json manifest() const override {
    io::Json sources = io::Json::array({}), dropped = io::Json::object();
    for (const Source& f : files_) sources.push_back(io::Json::object({{"role", f.role}, {"path", f.path}, {"sha256", f.sha256}}));
    for (const auto& [task, n] : dropped_) dropped.set(task, n);
    return io::Json::object({{"sources", std::move(sources)}, {"dropped_held_out", std::move(dropped)}});
  }
  std::int64_t dropped(const std::string& task) const override { return dropped_.at(task); }

 private:
  struct Set {
    Files files;
    std::map<std::string, clt::Pool> train, validation, test;  // by language
  };
  struct Line {
    std::string prompt, completion, answer;
    std::vector<std::string> others;  // choices that are wrong
    std::vector<InstructionCheck> checks;
  };
  // What cannot be told, the language of a text in one that the study has no text of, is not followed.
  bool follows_all(const std::string& text, const std::vector<InstructionCheck>& checks) const {
    return std::all_of(checks.begin(), checks.end(), [&](const InstructionCheck& c) { return follows(text, c, &*identifier_).value_or(false); });
  }
  // The first documents, up to so many bytes together; the last is cut between characters.
  static std::vector<std::string> beginnings(const std::vector<std::string>& documents, std::size_t bytes) {
    std::vector<std::string> some;
    for (const std::string& d : documents) {
      if (bytes == 0) break;
      std::size_t n = std::min(bytes, d.size());
      while (n > 0 && n < d.size() && (static_cast<unsigned char>(d[n]) & 0xc0) == 0x80) --n;
      some.push_back(d.substr(0, n));
      bytes -= std::min(bytes, d.size());
    }
    return some;
  }

  void read_text(const std::string& path) {
    const std::string at = root_ + "/" + path;
    std::vector<std::string> files{at};
    if (io::is_folder(at)) files = io::list_files(at, {".jsonl", ".jsonl.zst"});
    for (const std::string& file : files) {
      record("text", file);
      text::detail::each_line(file, io::read_text(file), [&](std::string_view line, const std::string& where) {
        const io::Json j = io::parse_json(line, where);
        std::string document = text::detail::parse_document(line, where).text;
        if (!document.empty()) documents_[std::string(j.at("lang", where).as_string(where + ": lang"))].push_back(std::move(document));
      });
    }
    if (documents_.empty()) fail(ErrorKind::input, "data.empty", printable(at, 4096), ": wanted lines {\"text\", \"lang\"}, found none");
  }
  // Examples by language, under the study's own name of the task, so that an item is known again whatever its file calls the task.
  std::map<std::string, clt::Pool> read(const Files& f, const std::vector<std::string>& paths) {
    std::map<std::string, clt::Pool> pools;
    std::map<std::string, std::set<std::string>> known;
    const char* role = &paths == &f.train ? "train" : &paths == &f.validation ? "validation" : "test";
    for (const std::string& path : paths) {
      const std::string file = root_ + "/" + path;
      if (io::is_folder(file)) fail(ErrorKind::input, "data.kind", printable(file, 4096), ": wanted a .jsonl or .jsonl.zst file of examples, this is a folder; name its files");
      record(str(f.name, " ", role), file);
      text::detail::each_example_line(file, [&](std::string_view text, const std::string& where) {
        io::Json j = io::parse_json(text, where);
        const std::string code(j.at("lang", where).as_string(where + ": lang"));
        if (f.score == "text") {
          const std::string content = text::detail::parse_document(text, where).text;
          if (content.empty()) return;
          j.set("prompt", "");
          j.set("completion", content);
          j.erase("text");
        }
        if (f.score == "instructions" && !j.contains("completion")) j.set("completion", "");
        if (const io::Json* choices = f.score == "choice" ? j.find("choices") : nullptr) {
          if (!choices->is_array() || choices->size() < 2) fail(ErrorKind::input, "choice.choices", where, ": wanted two choices or more, in an array");
          std::set<std::string> different;
          for (const io::Json& c : choices->items(where + ": choices")) different.emplace(c.as_string(where + ": choices"));
          if (different.size() < choices->size() || different.contains("")) fail(ErrorKind::input, "choice.choices", where, ": wanted different choices, none of them empty");
          const std::int64_t right = j.at("answer_index", where).as_int(where + ": answer_index", 0, static_cast<std::int64_t>(choices->size()) - 1);
          const std::string answer(choices->at(static_cast<std::size_t>(right)).as_string(where));
          j.set("completion", answer);
        }
        j.set("task", f.task.empty() ? f.name : f.task);
        std::string line = io::dump(j);
        parse(line, where, f.score);  // refuses what cannot be scored
        clt::Pool& to = pools[code];
        to.task = f.name;
        to.language = code;
        if (!known[code].insert(line).second) {
          ++to.duplicates;
          return;
        }
        to.lines.push_back(std::move(line));
        to.where.push_back(where);
      });
    }
    if (pools.empty()) fail(ErrorKind::input, "data.empty", f.name, ": wanted ", role, " examples, found none in ", printable(root_ + "/" + paths[0], 4096));
    return pools;
  }
  void record(const std::string& role, const std::string& file) { files_.push_back({role, file.substr(root_.size() + 1), io::sha256_file(file)}); }

  // Error(input): no answer that the score can go by.
  static Line parse(const std::string& text, const std::string& where, const std::string& score) {
    const io::Json j = io::parse_json(text, where);
    auto word = [&](const char* key) { return std::string(j.at(key, where).as_string(str(where, ": ", key))); };
    Line line{word("prompt"), word("completion"), "", {}, {}};
    line.answer = line.completion;
    if (score == "number") {
      if (j.contains("answer")) line.answer = word("answer");
      if (!last_number(line.answer)) fail(ErrorKind::input, "study.answer", where, ": wanted an answer with a number, got \"", printable(line.answer, 60), "\"");
    }
    if (score == "instructions") line.checks = read_checks(j, where);
    if (score == "choice") {
      const std::string here = where + ": choices";
      const io::Json& choices = j.at("choices", where);
      const std::int64_t right = j.at("answer_index", where).as_int(where + ": answer_index", 0, static_cast<std::int64_t>(choices.size()) - 1);
      std::int64_t i = 0;
      for (const io::Json& c : choices.items(here))
        if (i++ != right) line.others.emplace_back(c.as_string(here));
      line.answer = line.completion;
    }
    return line;
  }
  // Each prompt with the completion of another, where there is another.
  static std::vector<std::string> exchanged(const std::vector<std::string>& lines) {
    std::vector<io::Json> all;
    for (const std::string& line : lines) all.push_back(io::parse_json(line, "example"));
    std::vector<std::string> out;
    const std::size_t n = all.size();
    for (std::size_t i = 0; i < n; ++i) {
      std::size_t from = (i + n / 2) % n;
      auto completion = [&](std::size_t k) { return all[k].at("completion").as_string("example"); };
      for (std::size_t turn = 1; turn < n && completion(from) == completion(i); ++turn) from = (i + n / 2 + turn) % n;
      io::Json j = all[i];
      j.set("completion", all[from].at("completion"));
      out.push_back(io::dump(j));
    }
    return out;
  }

  std::string root_, pivot_;
  std::map<std::string, std::vector<std::string>> documents_;  // by language
  std::map<std::string, Set> sets_;
  std::vector<std::string> tasks_, further_;
  std::vector<LanguageInfo> languages_;
  struct Source {
    std::string role, path, sha256;  // role: "text", "math test" ...; path: from the root
  };
  std::vector<Source> files_;
  std::map<std::string, std::int64_t> dropped_;  // by task
  std::optional<LanguageIdentifier> identifier_;  // where instructions may be about a language
};

// [study] pivot and text, [[task]] and [[test]] of a study file. Error(input): as TomlReader and LanguageFiles.
inline std::shared_ptr<const TransferCorpus> read_language_files(io::TomlReader& study, io::TomlReader& top, const std::string& where, const std::string& root) {
  if (root.empty()) fail(ErrorKind::usage, "flag.missing", where, ": has [[task]], so it is about files; wanted --data DIR, the folder to which their paths are relative");
  std::string pivot = "en";
  std::vector<std::string> text;
  study.read("pivot", pivot);
  study.read("text", text);
  if (text.empty()) study.missing("text", "files and folders of text for the base models");
  std::vector<LanguageFiles::Files> lists[2];
  for (int further = 0; further < 2; ++further)
    for (const toml::table* t : top.tables(further ? "test" : "task")) {
      const std::string prefix = further ? "test." : "task.";
      io::TomlReader r(*t, where, prefix);
      LanguageFiles::Files f;
      r.read_name("name", f.name);
      if (f.name.empty()) {
        r.finish();
        r.missing("name", "a word");
      }
      f.score = "match";
      if (further) r.read("task", f.task);
      auto named = [&](const std::string& name) { return [&](const LanguageFiles::Files& x) { return x.name == name; }; };
      if (!f.task.empty()) {
        const auto of = std::find_if(lists[0].begin(), lists[0].end(), named(f.task));
        if (of == lists[0].end()) fail(ErrorKind::input, "study.value", where, ": ", prefix, "task: there is no [[task]] ", printable(f.task, 60));
        f.score = of->score;
      } else if (further) {
        f.score = "choice";
      }
      r.read("score", f.score);
      const std::size_t allowed = !further ? 4 : LanguageFiles::scores.size() - (f.task.empty() ? 0 : 1);
      const auto score = std::find(LanguageFiles::scores.begin(), LanguageFiles::scores.begin() + static_cast<std::ptrdiff_t>(allowed), f.score);
      if (score == LanguageFiles::scores.begin() + static_cast<std::ptrdiff_t>(allowed)) {
        std::string all;
        for (std::size_t i = 0; i < allowed; ++i) all += (all.empty() ? "" : ", ") + LanguageFiles::scores[i];
        fail(ErrorKind::input, "study.value", where, ": ", prefix, "score of ", printable(f.name, 60), ": wanted one of ", all, ", got '", printable(f.score, 60), "'");
      }
      r.read(further ? "files" : "test", f.test);
      if (!further) r.read("train", f.train), r.read("validation", f.validation);
      r.finish();
      if (f.test.empty()) r.missing(further ? "files" : "test", "paths of files");
      if (!further && f.train.empty()) r.missing("train", "paths of files");
      if (!further && f.validation.empty()) r.missing("validation", "paths of files");
      for (const char* model : {"base", "continued", "mixture", "branch-pivot", "branch-seen", "branch-unseen"})
        if (f.name == model) fail(ErrorKind::input, "study.value", where, ": ", prefix, "name: ", model, " is the name of a model that the study trains; give the task another");
      for (const char* setting : {"single", "multi", "multi-equal-total"})
        if (f.name == setting) fail(ErrorKind::input, "study.value", where, ": ", prefix, "name: ", setting, " is a setting's; give the task another");
      for (const auto& list : lists)
        if (std::any_of(list.begin(), list.end(), named(f.name))) fail(ErrorKind::input, "study.value", where, ": there are two tasks or tests ", printable(f.name, 60), "; give each a name of its own");
      lists[further].push_back(std::move(f));
    }
  auto corpus = std::make_shared<LanguageFiles>(root, pivot, text, lists[0], lists[1]);
  bool found = false;
  for (const LanguageInfo& l : corpus->languages()) found = found || l.code == pivot;
  if (!found) fail(ErrorKind::input, "study.value", where, ": study.pivot: the text has no language '", printable(pivot, 20), "'");
  return corpus;
}

}  // namespace bam::study::transfer
