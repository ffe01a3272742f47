// The study of cross-lingual transfer (docs/method.md, 2): its configuration and every training that it needs.
#pragma once
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arms.hpp"
#include "transfer_files.hpp"
#include "transfer_generated.hpp"

namespace bam::study::transfer {

// A model from which all of one size and replicate are fine-tuned.
struct BaseSize : Size {
  Family family = Family::cohere;  // or llama, its embeddings tied as well
  const Arm* mixture = nullptr;    // the dense model, branched over the pivot's and the other languages' text, upcycled and trained on
  bool continued = false;          // the dense model, trained on with as many tokens of each language as a mixture's branches and the mixture itself together

  std::string base() const { return mixture ? mixture->name : continued ? "dense-continued" : "dense"; }
  // What is fine-tuned.
  ModelConfig model(std::int64_t vocab, std::int64_t context) const { return mixture ? arm_config(*mixture, dense(vocab, context)) : dense(vocab, context); }
  ModelConfig dense(std::int64_t vocab, std::int64_t context) const {
    ModelConfig c = Size::dense(vocab, context);
    c.family = family;
    c.parallel_block = family == Family::cohere;
    return c;
  }
};

// The settings: one task a model; all of them, with as much of each; all of them, with as much in all as one task alone has.
inline constexpr const char* settings[] = {"single", "multi", "multi-equal-total"};

struct TransferConfig {
  std::shared_ptr<const TransferCorpus> corpus;
  std::vector<BaseSize> sizes;
  std::vector<std::string> tasks;
  std::vector<std::string> settings{"single", "multi"};
  std::vector<std::int64_t> k{0, 30, 300};  // examples in each seen language, ascending from 0
  std::string pivot;
  std::vector<std::string> seen, unseen;
  bool groups = false;    // at the largest k: Latin, other and mixed seen languages, equally many examples each
  bool matrix = false;    // at the largest k, single-task: the pivot and one seen language at a time
  bool controls = true;
  std::int64_t replicates = 1;  // each redraws initialisation, data order and training examples
  std::int64_t english = 400;   // examples of each task in the pivot, the same in all runs of a replicate
  std::int64_t vocab_size = 1024, context = 256, batch = 16, micro_batch = 8;
  std::int64_t pretrain_tokens = 0;
  double pivot_share = 0.4;  // of the tokens of pre-training; the other languages share the rest evenly
  std::int64_t branch_tokens = 0, mix_tokens = 0;  // of a mixture: of each of three branches, and of the mixture itself
  std::int64_t tune_batch = 16, epochs = 2;        // of fine-tuning, in examples
  std::int64_t validation = 8;                     // examples of each task and language trained on, for the choice of the checkpoint; 0: the last one
  std::int64_t items = 40, rivals = 9;             // test items of each task and language; answers that compete with the right one
  std::int64_t samples = 2;                        // written answers of each task and language that are kept to be read
  std::vector<std::string> primary;                // "exact", "rank", "likelihood", or a task's own score of what is written: the score that measures and directions go by
  std::uint64_t seed = 1;
  double pretrain_lr = 3e-3, tune_lr = 1e-3;

  std::vector<std::string> languages() const {
    std::vector<std::string> all{pivot};
    all.insert(all.end(), seen.begin(), seen.end());
    all.insert(all.end(), unseen.begin(), unseen.end());
    return all;
  }
  const char* split_of(const std::string& language) const { return language == pivot ? "english" : std::find(seen.begin(), seen.end(), language) != seen.end() ? "seen" : "unseen"; }
  const std::string& primary_of(const std::string& t) const { return primary[static_cast<std::size_t>(std::find(tasks.begin(), tasks.end(), t) - tasks.begin())]; }
  std::int64_t steps(std::int64_t tokens) const { return std::max<std::int64_t>(2, tokens / (batch * context)); }
  double share_of(const std::string& language) const { return language == pivot ? pivot_share : (1 - pivot_share) / static_cast<double>(seen.size() + unseen.size()); }
};

// The demo: at most twelve minutes on two slow cores.
inline constexpr const char* demo_transfer = R"([study]
seen = ["gl1", "gl5"]
unseen = ["gl2", "gl6"]
replicates = 2
pretrain_tokens = 2_000_000
items = 32
rivals = 5
[[size]]
name = "d64"
hidden = 64
ffn = 176
layers = 3
heads = 2
[[size]]
name = "d128"
hidden = 128
ffn = 352
layers = 4
heads = 4
)";

// data: the folder of the files that [[task]] names; a study without [[task]] is about the generated languages, and has none.
inline TransferConfig parse_transfer(const std::string& text, const std::string& file, const std::vector<std::string>& set = {}, const std::string& data = "") {
  TransferConfig c;
  const std::string where = printable(file, 4096);
  toml::table root = io::parse_toml(text, file);
  for (const std::string& s : set) io::apply_set(root, s);
  io::TomlReader top(root, where, "");
  const toml::table* study = top.table("study");
  if (!study) top.missing("study", "a table: add [study]");
  io::TomlReader r(*study, where, "study.");
  const std::int64_t many = std::int64_t{1} << 40;
  if (top.has("task") || top.has("test")) {
    c.corpus = read_language_files(r, top, where, data);
    c.seen.clear();
  } else {
    if (!data.empty()) fail(ErrorKind::usage, "flag.excludes", where, ": has no [[task]], so it is about the generated languages; leave --data out, or name the files' tasks");
    c.corpus = std::make_shared<GeneratedLanguages>();
    for (int l : lang::seen_languages) c.seen.emplace_back(lang::language(l).code);
    for (int l : lang::unseen_languages) c.unseen.emplace_back(lang::language(l).code);
  }
  c.pivot = c.corpus->pivot();
  // One of a few words, each once.
  auto words = [&](const char* key, std::vector<std::string>& value, const std::vector<std::string>& known) {
    r.read(key, value);
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (std::find(known.begin(), known.end(), value[i]) == known.end()) {
        std::string all, near = nearest(value[i], known);
        for (const std::string& k : known) all += (all.empty() ? "" : ", ") + k;
        fail(ErrorKind::input, "study.value", where, ": study.", key, ": wanted of ", all, ", got '", printable(value[i], 60), "'", near.empty() ? "" : "; did you mean " + near + "?");
      }
      if (std::find(value.begin(), value.begin() + static_cast<std::ptrdiff_t>(i), value[i]) != value.begin() + static_cast<std::ptrdiff_t>(i))
        fail(ErrorKind::input, "study.value", where, ": study.", key, ": '", value[i], "' is named twice");
    }
    if (value.empty()) r.missing(key, "at least one");
  };
  std::vector<std::string> tasks = c.corpus->tasks(), codes;
  words("tasks", tasks, c.corpus->tasks());
  for (const std::string& t : c.corpus->tasks())
    if (std::find(tasks.begin(), tasks.end(), t) != tasks.end()) c.tasks.push_back(t);
  words("settings", c.settings, std::vector<std::string>(std::begin(settings), std::end(settings)));
  std::vector<double> ks(c.k.begin(), c.k.end());
  r.read("k", ks, 0, 1e7);
  c.k.assign(ks.begin(), ks.end());
  for (double k : ks)
    if (k != static_cast<double>(static_cast<std::int64_t>(k))) fail(ErrorKind::input, "study.value", where, ": study.k: wanted whole numbers of examples, got ", k);
  if (c.k.size() < 2 || c.k[0] != 0 || std::adjacent_find(c.k.begin(), c.k.end(), std::greater_equal<>()) != c.k.end())
    fail(ErrorKind::input, "study.value", where, ": study.k: wanted 0 and at least one more number of examples, ascending");
  for (const LanguageInfo& l : c.corpus->languages())
    if (l.code != c.pivot) codes.push_back(l.code);
  words("seen", c.seen, codes);
  words("unseen", c.unseen, codes);
  for (const std::string& l : c.seen)
    if (std::find(c.unseen.begin(), c.unseen.end(), l) != c.unseen.end()) fail(ErrorKind::input, "study.value", where, ": study.seen: ", l, " is in unseen too; it belongs in one of the two");
  // What a task has in the languages of the study.
  for (const std::string& t : c.tasks) {
    const std::vector<std::string> all = c.languages();
    std::int64_t train = 0, most = 0;
    for (const std::string& l : all) train = std::max(train, c.corpus->available(t, l));
    for (const std::string& l : c.seen) most = std::max(most, c.corpus->available(t, l));
    if (train == 0)
      fail(ErrorKind::input, "study.data", where, ": task ", t, " has no training example in the languages of the study", c.corpus->dropped(t) > 0 ? str(" (", c.corpus->dropped(t), " were left out because validation or test hold them too)") : "",
           "; name other files or languages");
    const bool tested = std::any_of(all.begin(), all.end(), [&](const std::string& l) { return !c.corpus->items(t, l, 1, 1, c.seed).empty(); });
    if (!tested) fail(ErrorKind::input, "study.data", where, ": task ", t, " has no test item in the languages of the study; name other files or languages");
    if (most > 0 && most < c.k[1]) fail(ErrorKind::input, "study.value", where, ": study.k: task ", t, " has at most ", most, " training examples in a seen language, the smallest k above 0 is ", c.k[1]);
  }
  r.read("groups", c.groups);
  auto latin = [&](const std::string& l) { return c.corpus->language(l).latin; };
  if (c.groups && (std::all_of(c.seen.begin(), c.seen.end(), latin) || std::none_of(c.seen.begin(), c.seen.end(), latin)))
    fail(ErrorKind::input, "study.value", where, ": study.groups: wanted seen languages of the Latin and of other scripts");
  r.read("matrix", c.matrix);
  if (c.matrix && std::find(c.settings.begin(), c.settings.end(), "single") == c.settings.end()) fail(ErrorKind::input, "study.value", where, ": study.matrix: wanted \"single\" among study.settings");
  r.read("controls", c.controls);
  r.read("replicates", c.replicates, 1, 1000);
  r.read("english", c.english, 1, 10'000'000);
  r.read("vocab_size", c.vocab_size, 259, 1 << 24);
  r.read("context", c.context, 16, 1 << 20);
  r.read("batch", c.batch, 1, 1 << 20);
  r.read("micro_batch", c.micro_batch, 1, 1 << 20);
  r.read("pretrain_tokens", c.pretrain_tokens, 1, many);
  if (c.pretrain_tokens == 0) r.missing("pretrain_tokens", "tokens on which each base model is trained");
  r.read("branch_tokens", c.branch_tokens, 1, many);
  r.read("mix_tokens", c.mix_tokens, 1, many);
  r.read("pivot_share", c.pivot_share, 0.01, 0.99);
  r.read("tune_batch", c.tune_batch, 1, 1 << 20);
  r.read("epochs", c.epochs, 1, 1 << 20);
  r.read("validation", c.validation, 0, 1'000'000);
  r.read("items", c.items, 1, 1'000'000);
  r.read("rivals", c.rivals, 1, 99);
  r.read("samples", c.samples, 0, 1000);
  r.read("seed", c.seed, 0, INT64_MAX / 2);  // replicates have seeds above it
  r.read("pretrain_lr", c.pretrain_lr, 0, 100);
  r.read("tune_lr", c.tune_lr, 0, 100);
  c.primary.assign(1, "rank");
  r.read("primary", c.primary);
  if (c.primary.size() == 1) c.primary.resize(c.tasks.size(), c.primary[0]);
  if (c.primary.size() != c.tasks.size()) fail(ErrorKind::input, "study.value", where, ": study.primary: wanted one, or one for each of the ", c.tasks.size(), " tasks, got ", c.primary.size());
  const std::vector<TestInfo> tests = c.corpus->tests(c.tasks);
  for (std::size_t t = 0; t < c.tasks.size(); ++t)
    if (const std::string& p = c.primary[t], &own = tests[t].text_score; p != "exact" && p != "rank" && p != "likelihood" && (p.empty() || p != own))
      fail(ErrorKind::input, "study.value", where, ": study.primary of ", c.tasks[t], ": wanted \"exact\", \"rank\" or \"likelihood\"", own.empty() ? "" : " or \"" + own + "\"", ", got '", printable(p, 60), "'");
  r.finish();
  for (const toml::table* t : top.tables("size")) {
    io::TomlReader s(*t, where, "size.");
    BaseSize size;
    std::string base = "dense";
    s.read("base", base);
    if (base == "dense-continued") size.continued = true;
    else if (const Arm* arm = find_arm(base); base != "dense" && (!arm || arm->kind != ArmKind::mixture)) s.wrong("base", *t->get("base"), "\"dense\", \"dense-continued\" or a mixture as \"bam\", \"bam-top1\" or \"btx\"");
    else if (base != "dense") size.mixture = arm;
    std::string family = "cohere";
    s.read("family", family);
    if (family != "cohere" && (family != "llama" || size.mixture)) s.wrong("family", *t->get("family"), size.mixture ? "\"cohere\", from which a mixture is made" : "\"cohere\" or \"llama\"");
    if (family == "llama") size.family = Family::llama;
    read_size(s, where, size);
    s.finish();
    check_named_once(c.sizes, size, where);
    auto weights = [&](const BaseSize& x) { return count_parameters(x.model(c.vocab_size, c.context)).total; };
    for (const BaseSize& other : c.sizes)
      if (other.mixture == size.mixture && other.continued == size.continued && other.family == size.family && weights(other) == weights(size))
        fail(ErrorKind::input, "study.size", where, ": the sizes ", printable(other.name, 60), " and ", printable(size.name, 60), " have equally many parameters, by which sizes are told apart; change one");
    if (base != "dense" && (c.branch_tokens == 0 || c.mix_tokens == 0)) r.missing(c.branch_tokens == 0 ? "branch_tokens" : "mix_tokens", str("tokens of that phase of a mixture, for base = \"", base, "\""));
    c.sizes.push_back(size);
  }
  if (c.sizes.empty()) top.missing("size", "at least one [[size]]");
  top.finish();
  return c;
}

// --- The plan -------------------------------------------------------------------------------------------------------------

struct Part {
  std::string task, language;
  std::int64_t n;
};

enum class Control { none, shuffled, repeated };  // completions of other prompts; English alone, once more

// A fine-tuning. Several cells of the study may share it.
struct Tuning {
  std::string run;  // its folder under runs/
  const BaseSize* size;
  std::int64_t replicate;
  std::vector<std::string> tasks;
  std::vector<Part> parts;
  Control control = Control::none;

  std::int64_t examples() const {
    std::int64_t n = 0;
    for (const Part& p : parts) n += p.n;
    return n;
  }
  std::vector<std::string> languages() const {
    std::vector<std::string> list;
    for (const Part& p : parts)
      if (std::find(list.begin(), list.end(), p.language) == list.end()) list.push_back(p.language);
    return list;
  }
};

// What stands at one place of the study: a task, a setting, a size, k, a group of languages, a replicate.
struct Place {
  std::string task, setting;
  const BaseSize* size;
  std::int64_t k;
  std::string languages;  // "all gl1+gl5", "latin gl1+gl3" ...
  std::int64_t replicate;
  std::string run;
  Control control = Control::none;
  std::vector<std::string> trained_on;  // beside the pivot

  bool group() const { return languages.starts_with("latin ") || languages.starts_with("other ") || languages.starts_with("mixed "); }
};

inline std::string joined_codes(const std::vector<std::string>& languages) {
  std::string s;
  for (const std::string& l : languages) s += (s.empty() ? "" : "+") + l;
  return s;
}

// The folders of a size and replicate.
inline std::string replicate_folder(const BaseSize& size, std::int64_t replicate) { return str(size.name, "/r", replicate); }

// The trainings of a base, in their order; the last one's model is fine-tuned.
struct Phase {
  const char* name;  // of its folder
  std::int64_t tokens;
  ModelConfig model;
};
inline std::vector<Phase> phases(const BaseSize& size, const TransferConfig& c) {
  const ModelConfig dense = size.dense(c.vocab_size, c.context);
  std::vector<Phase> list{{"base", c.pretrain_tokens, dense}};
  if (size.continued) list.push_back({"continued", 3 * c.branch_tokens + c.mix_tokens, dense});
  if (!size.mixture) return list;
  for (const char* branch : {"branch-pivot", "branch-seen", "branch-unseen"}) list.push_back({branch, c.branch_tokens, dense});
  list.push_back({"mixture", c.mix_tokens, size.model(c.vocab_size, c.context)});
  return list;
}

class Plan {
 public:
  explicit Plan(const TransferConfig& config) : c_(config) {
    for (const BaseSize& size : c_.sizes)
      for (std::int64_t r = 1; r <= c_.replicates; ++r) {
        for (const std::string& setting : c_.settings)
          for (std::int64_t k : c_.k) {
            if (setting == "single")
              for (const std::string& task : c_.tasks) add(size, r, {task}, setting, k, k, "all", c_.seen);
            else add(size, r, c_.tasks, setting, k, k, "all", c_.seen);
          }
        if (c_.groups) add_groups(size, r);
        if (c_.matrix)
          for (const std::string& l : c_.seen)
            for (const std::string& task : c_.tasks) add(size, r, {task}, "single", largest_k(task), largest_k(task), "only", {l});
      }
    if (!c_.controls) return;
    const auto multi = std::find(c_.settings.begin(), c_.settings.end(), "multi");
    const std::string& setting = multi != c_.settings.end() ? *multi : c_.settings[0];
    for (const auto& [group, languages, control] : {std::tuple<const char*, std::vector<std::string>, Control>{"all", c_.seen, Control::shuffled}, {"none", {}, Control::repeated}}) {
      if (setting == "single")
        for (const std::string& task : c_.tasks) add(c_.sizes[0], 1, {task}, setting, c_.k.back(), c_.k.back(), group, languages, control);
      else add(c_.sizes[0], 1, c_.tasks, setting, c_.k.back(), c_.k.back(), group, languages, control);
    }
  }

  const std::vector<Tuning>& tunings() const { return tunings_; }
  const std::vector<Place>& places() const { return places_; }
  // The largest k for which there are examples of the task in all seen languages that have any.
  std::int64_t largest_k(const std::string& task) const {
    std::int64_t largest = 0;
    for (std::int64_t k : c_.k)
      if (reaches(task, c_.seen, k)) largest = k;
    return largest;
  }

 private:
  bool reaches(const std::string& task, const std::vector<std::string>& languages, std::int64_t n) const {
    if (n == 0) return true;
    bool any = false;
    for (const std::string& l : languages)
      if (const std::int64_t there = c_.corpus->available(task, l); there > 0) {
        any = true;
        if (there < n) return false;
      }
    return any;
  }

  // Latin, other, and as many of both as the smaller of them has; each group has the same number of examples.
  void add_groups(const BaseSize& size, std::int64_t r) {
    std::vector<std::string> latin, other, mixed;
    for (const std::string& l : c_.seen) (c_.corpus->language(l).latin ? latin : other).push_back(l);
    const std::size_t n = std::min(latin.size(), other.size()), half = (n + 1) / 2;
    latin.resize(n);
    other.resize(n);
    mixed.assign(latin.begin(), latin.begin() + static_cast<std::ptrdiff_t>(half));
    mixed.insert(mixed.end(), other.begin(), other.begin() + static_cast<std::ptrdiff_t>(std::max<std::size_t>(1, n - half)));
    for (const auto& [name, list] : {std::pair<const char*, const std::vector<std::string>&>{"latin", latin}, {"other", other}, {"mixed", mixed}})
      for (const std::string& task : c_.tasks) add(size, r, {task}, "single", largest_k(task), largest_k(task) * static_cast<std::int64_t>(n) / static_cast<std::int64_t>(list.size()), name, list);
  }

  // Fine-tuning on some tasks. each: examples of each language, k but for groups. A language without examples of a task adds none; a task of which some
  // language has too few is not measured here, and where it is the only one nothing is trained.
  void add(const BaseSize& size, std::int64_t r, const std::vector<std::string>& tasks, const std::string& setting, std::int64_t k, std::int64_t each, const std::string& group, const std::vector<std::string>& languages,
           Control control = Control::none) {
    if (each == 0 && group != "all" && control == Control::none) return;
    const auto share = static_cast<std::int64_t>(setting == "multi-equal-total" ? c_.tasks.size() : 1);
    const bool single = setting == "single";
    const std::int64_t own = std::max<std::int64_t>(1, each / share), pivot = std::max<std::int64_t>(1, c_.english / share);
    Tuning t;
    t.size = &size;
    t.replicate = r;
    t.tasks = tasks;
    t.control = control;
    std::vector<std::string> with, measured;
    for (const std::string& task : tasks) {
      if (control != Control::none || each == 0 || reaches(task, languages, own)) measured.push_back(task);
      auto part = [&](const std::string& l, std::int64_t n) {
        if (n = std::min(n, c_.corpus->available(task, l)); n > 0) t.parts.push_back({task, l, n});
        return n > 0;
      };
      part(c_.pivot, pivot);
      if (each > 0)
        for (const std::string& l : languages)
          if (part(l, own) && std::find(with.begin(), with.end(), l) == with.end()) with.push_back(l);
    }
    if (measured.empty()) return;
    std::vector<std::string> named;  // in the order of the languages, whichever task has them
    for (const std::string& l : languages)
      if (std::find(with.begin(), with.end(), l) != with.end()) named.push_back(l);
    const char* kind = control == Control::shuffled ? "shuffled-" : control == Control::repeated ? "repeated-" : "";
    t.run = str(replicate_folder(size, r), "/", kind, single ? tasks[0] : setting, "/", named.empty() ? "en" : str(joined_codes(named), "-k", each));
    for (const std::string& task : measured) {
      std::vector<std::string> own_languages;  // those that have examples of it
      std::copy_if(languages.begin(), languages.end(), std::back_inserter(own_languages), [&](const std::string& l) { return c_.corpus->available(task, l) > 0; });
      places_.push_back({task, setting, &size, k, group == "none" ? group : str(group, " ", joined_codes(languages)), r, t.run, control, own_languages});
    }
    if (std::none_of(tunings_.begin(), tunings_.end(), [&](const Tuning& other) { return other.run == t.run; })) tunings_.push_back(std::move(t));
  }

  const TransferConfig& c_;
  std::vector<Tuning> tunings_;
  std::vector<Place> places_;
};

}  // namespace bam::study::transfer
