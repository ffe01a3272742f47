// Mixtures of fine-tuning examples, declared: how many of which task in which language. A pool's order is drawn from the seed and each
// item's own key, so the set of n lies inside that of any larger n, stays when the pool grows, and holds the same items in all
// languages that share them. No item of a held-out file or of a source's own validation or test gets in, and every example that is written is accounted for.
#pragma once
#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../core/math.hpp"
#include "../core/random.hpp"
#include "../io/sha256.hpp"
#include "../io/toml.hpp"
#include "../text/chat_data.hpp"

namespace bam::clt {

// All examples of a task in a language.
struct Pool {
  std::string task, language;
  std::vector<std::string> lines;  // JSONL (docs/formats.md, section 3), in reading order
  std::vector<std::string> where;  // file:line of each; may be empty
  std::int64_t duplicates = 0;     // equal examples that were left out, in reading

  std::int64_t size() const { return static_cast<std::int64_t>(lines.size()); }
  std::string place(std::size_t i) const { return i < where.size() ? where[i] : str(printable(task, 60), " in ", printable(language, 60), ", example ", i + 1); }
};

struct Part {
  std::string task, language;
  std::int64_t n = 0;
  std::optional<std::uint64_t> seed = std::nullopt;  // of the pool's order, where it is not the mixture's
  bool operator==(const Part&) const = default;
};

// Parts of a mixture.

// The base whole, and k in each language for each of its tasks (CLT). Error(input): a language of the base.
inline std::vector<Part> additive(const std::vector<Part>& base, std::int64_t k, const std::vector<std::string>& languages) {
  std::vector<Part> out = base;
  std::set<std::string> tasks;
  for (const Part& b : base)
    if (tasks.insert(b.task).second)
      for (const std::string& language : languages) {
        for (const Part& p : base)
          if (p.task == b.task && p.language == language) fail(ErrorKind::input, "mixture.language", "mixture: ", printable(language, 60), " is a language of the base for ", printable(p.task, 60), "; name others");
        out.push_back({b.task, language, k});
      }
  return out;
}

// As additive, but each task's first part of the base gives way by as many: the number of examples stays. Error(input): it is too small.
inline std::vector<Part> substitution(const std::vector<Part>& base, std::int64_t k, const std::vector<std::string>& languages) {
  std::vector<Part> out = additive(base, k, languages);
  std::set<std::string> tasks;
  const auto count = static_cast<std::int64_t>(languages.size());
  for (std::size_t i = 0; i < base.size(); ++i) {
    if (!tasks.insert(base[i].task).second) continue;
    if (count > 0 && k > base[i].n / count)
      fail(ErrorKind::input, "mixture.budget", "mixture: k: wanted at most ", base[i].n / count, ", a share of the ", base[i].n, " of ", printable(base[i].task, 60), " in ",
           printable(base[i].language, 60), ", got ", k, " for each of ", count, " languages");
    out[i].n -= k * count;
  }
  return out;
}

// budget examples, shared out in proportion to size^(1 / temperature): 1 is the natural share, infinity an equal one. sizes: n of each
// pool. Largest remainders first, so the sum is exact; of equal ones the first.
inline std::vector<Part> temperature(const std::vector<Part>& sizes, std::int64_t budget, double temperature) {
  if (!(temperature > 0)) fail(ErrorKind::input, "mixture.temperature", "mixture: temperature: wanted a number above 0, got ", temperature);
  std::int64_t largest = 0;
  for (const Part& p : sizes) largest = std::max(largest, p.n);
  if (largest == 0 && budget > 0) fail(ErrorKind::input, "mixture.empty", "mixture: wanted pools with examples, all are empty");
  std::vector<double> share;
  for (const Part& p : sizes) share.push_back(p.n > 0 ? math::pow(static_cast<double>(p.n) / static_cast<double>(largest), 1 / temperature) : 0);
  const double sum = std::accumulate(share.begin(), share.end(), 0.0);
  std::vector<Part> out = sizes;
  std::vector<std::size_t> order;
  std::int64_t left = budget;
  for (std::size_t i = 0; i < out.size(); ++i) {
    share[i] *= static_cast<double>(budget) / (sum > 0 ? sum : 1);
    out[i].n = static_cast<std::int64_t>(share[i]);
    share[i] -= static_cast<double>(out[i].n);
    left -= out[i].n;
    if (sizes[i].n > 0) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return share[a] > share[b]; });
  for (std::size_t i = 0; left > 0; ++i, --left) ++out[order[i % order.size()]].n;
  return out;
}

// Items.

namespace detail {

struct Identity {
  std::string key;     // the task and parallel_id; without one id; without that the whole text's hash
  std::string prompt;  // hash of all that is said before the assistant's last turn, or of all where there is none
};
inline std::string hash_of(std::string_view s) {
  io::Hasher h;
  h.update(s.data(), s.size());
  return h.hex();
}
inline Identity identity_of(const text::ChatExample& e) {
  std::size_t last = e.messages.size();
  while (last > 0 && e.messages[last - 1].role != text::Role::assistant) --last;
  const std::size_t end = last > 0 ? last - 1 : e.messages.size();
  std::string before;
  for (std::size_t i = 0; i < end; ++i) before += str(static_cast<int>(e.messages[i].role), ":", e.messages[i].content.size(), ":", e.messages[i].content);
  const std::string& id = e.parallel_id.empty() ? e.id : e.parallel_id;
  return {id.empty() ? "text " + hash_of(e.text()) : str("item ", e.task, "\n", id), "prompt " + hash_of(before)};
}
inline Identity identity_of(const Pool& pool, std::size_t i) { return identity_of(text::detail::parse_example(pool.lines[i], pool.place(i))); }

}  // namespace detail

// n of the pool's lines, by index, in the order that the seed gives. repeat: where n is more than there are, whole passes over the
// pool and the first of a further one. Error(input): too few, not repeated.
inline std::vector<std::size_t> select(const Pool& pool, std::int64_t n, std::uint64_t seed, bool repeat = false) {
  if (n > 0 && (pool.lines.empty() || (n > pool.size() && !repeat)))
    fail(ErrorKind::input, "mixture.size", "mixture: wanted ", n, " examples of ", printable(pool.task, 60), " in ", printable(pool.language, 60), ", the sources have ", pool.size(),
         pool.lines.empty() ? "; add a source" : "; ask for fewer, add a source, or set repeat = true");
  struct Place {
    std::uint64_t at;
    std::string key, text;
    std::size_t index;
  };
  std::vector<Place> places;
  for (std::size_t i = 0; i < pool.lines.size(); ++i) {
    std::string key = detail::identity_of(pool, i).key;
    places.push_back({XXH3_64bits_withSeed(key.data(), key.size(), seed), std::move(key), pool.lines[i], i});
  }
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return std::tie(a.at, a.key, a.text, a.index) < std::tie(b.at, b.key, b.text, b.index); });
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) out.push_back(places[i % places.size()].index);
  return out;
}

// Files of a mixture.

struct SourceFile {
  std::string path, sha256;
};

// The pools of files and folders (of a folder the training part, as text::read_examples), each line by its "task" and "lang"; in the order
// of their first lines. Of equal examples of a pool the first stays. Error(input): a line that is no example, or has no task or lang.
inline std::vector<Pool> read_pools(const std::vector<std::string>& paths, std::vector<SourceFile>* files = nullptr) {
  struct Line {
    std::string line;
    text::ChatExample example;
  };
  std::vector<Pool> pools;
  std::map<std::pair<std::string, std::string>, std::size_t> index;
  std::vector<std::set<std::string>> known;
  for (const std::string& path : paths) {
    auto append = [&](std::vector<Line>& out, const std::string& file) {
      if (files) files->push_back({file, io::sha256_file(file)});
      text::detail::each_example_line(file, [&](std::string_view line, const std::string& where) {
        const std::size_t begin = line.find_first_not_of(" \t\r");
        out.push_back({std::string(line.substr(begin, line.find_last_not_of(" \t\r") + 1 - begin)), text::detail::parse_example(line, where)});
      });
    };
    const auto lines = text::detail::read_split<Line>(path, "train", text::detail::example_suffixes(), append, [](const Line& l) { return l.example.text(); });
    if (lines.empty()) fail(ErrorKind::input, "data.empty", printable(path, 4096), ": wanted examples, found none; name a .jsonl file, or a folder with such files or train/");
    for (const Line& l : lines) {
      const text::ChatExample& e = l.example;
      if (e.task.empty() || e.lang.empty()) fail(ErrorKind::input, "mixture.label", e.where, ": wanted an example with \"task\" and \"lang\", ", e.task.empty() ? "task" : "lang", " is missing; add it to each line");
      auto [at, is_new] = index.try_emplace({e.task, e.lang}, pools.size());
      if (is_new) pools.push_back({e.task, e.lang, {}, {}}), known.emplace_back();
      Pool& pool = pools[at->second];
      const detail::Identity id = detail::identity_of(e);
      if (!known[at->second].insert(id.key + "\n" + id.prompt + "\n" + e.text()).second) {
        ++pool.duplicates;
        continue;
      }
      pool.lines.push_back(l.line);
      pool.where.push_back(e.where);
    }
  }
  return pools;
}

// The other splits of a source, as (folder, split): validation/, test/ and eval/ in its folder, or beside it where it is, or lies in, a folder called train.
inline std::vector<std::pair<std::string, std::string>> other_splits(const std::string& source) {
  std::string folder = source.substr(0, source.find_last_not_of('/') + 1);
  if (!io::is_folder(folder)) folder = io::folder_of(folder);
  else if (io::name_of_file(folder) != "train") folder += "/train";
  if (io::name_of_file(folder) != "train") return {};
  std::vector<std::pair<std::string, std::string>> out;
  for (const char* split : {"validation", "test", "eval"})
    if (const std::string other = io::join(io::folder_of(folder), split); io::is_folder(other)) out.emplace_back(other, split);
  return out;
}

// The items of held-out files: where each stands.
class HeldOut {
 public:
  HeldOut() = default;
  // Files, or folders (their validation part); a prompt alone is an item too. Error(input): as text::read_examples.
  explicit HeldOut(const std::vector<std::string>& paths) {
    for (const std::string& path : paths) read(path);
  }
  // split: that of a source's own; an item may be in one of these alone. Error(input), both places: one is in two, and it is not to be counted only.
  void read(const std::string& path, const std::string& split = "", bool count = false) {
    auto append = [](std::vector<text::ChatExample>& out, const std::string& file) {
      text::detail::each_example_line(file, [&](std::string_view line, const std::string& where) { out.push_back(text::detail::example_of(io::parse_json(line, where), where, true)); });
    };
    const auto list = text::detail::read_split<text::ChatExample>(path, "validation", text::detail::example_suffixes(), append, [](const text::ChatExample& e) { return e.text(); });
    if (list.empty() && split.empty()) fail(ErrorKind::input, "data.empty", printable(path, 4096), ": wanted held-out examples, found none; name a .jsonl file, or a folder with such files or validation/");
    for (const text::ChatExample& e : list) add(e, split, count);
  }
  void add(const text::ChatExample& e, const std::string& split = "", bool count = false) {
    const detail::Identity id = detail::identity_of(e);
    bool twice = false;
    for (const std::string* key : {&id.key, &id.prompt}) {
      const Place& known = places_.try_emplace(*key, Place{e.where, split}).first->second;
      if (split.empty() || known.split.empty() || known.split == split) continue;
      twice = true;
      if (!count)
        fail(ErrorKind::input, "mixture.splits", e.where, ": is in ", split, " and in ", known.split, " too, by its ", key == &id.key ? "id" : "prompt", ": ", known.where, "; take it out of one of the two, or set drop_held_out = true, which counts it");
    }
    in_two_ += twice;
    ++examples_;
  }
  std::int64_t size() const { return examples_; }
  std::int64_t in_two_splits() const { return in_two_; }

  // Takes the pool's lines that are held out away and returns how many; an item is the same by its id (of one task) or its prompt.
  // Error(input), both places: there is one and drop is false.
  std::int64_t clear(Pool& pool, bool drop) const {
    std::vector<std::size_t> keep;
    for (std::size_t i = 0; i < pool.lines.size(); ++i) {
      const detail::Identity id = detail::identity_of(pool, i);
      auto at = places_.find(id.key);
      const bool by_id = at != places_.end();
      if (!by_id) at = places_.find(id.prompt);
      if (at == places_.end()) keep.push_back(i);
      else if (!drop) fail(ErrorKind::input, "mixture.held_out", pool.place(i), ": is held out too, by its ", by_id ? "id" : "prompt", ": ", at->second.where, "; take it out of one of the two, or set drop_held_out = true");
    }
    Pool kept{pool.task, pool.language, {}, {}, pool.duplicates};
    for (std::size_t i : keep) {
      kept.lines.push_back(std::move(pool.lines[i]));
      if (i < pool.where.size()) kept.where.push_back(std::move(pool.where[i]));
    }
    const std::int64_t dropped = pool.size() - kept.size();
    pool = std::move(kept);
    return dropped;
  }

 private:
  struct Place {
    std::string where, split;
  };
  std::map<std::string, Place> places_;
  std::int64_t examples_ = 0, in_two_ = 0;
};

enum class MixtureMode : std::uint8_t { parts, additive, substitution, temperature };
inline constexpr const char* mixture_mode_names[] = {"parts", "additive", "substitution", "temperature"};

// A mixture file.
struct Mixture {
  std::vector<std::string> sources, held_out;  // files and folders
  std::uint64_t seed = 1;
  bool repeat = false, drop_held_out = false, own_splits = true;  // own_splits: what the sources have beside their training part is held out too
  std::vector<Part> parts;  // as they are declared; the base of additive and substitution
  MixtureMode mode = MixtureMode::parts;
  std::vector<std::string> tasks, languages;  // of additive and substitution: the further languages; of temperature: which pools, none given: all
  std::int64_t k = 0, budget = 0;
  double temperature = 1;

  std::vector<Part> resolved(const std::vector<Pool>& pools) const {
    if (mode == MixtureMode::parts) return parts;
    if (mode == MixtureMode::additive) return clt::additive(parts, k, languages);
    if (mode == MixtureMode::substitution) return clt::substitution(parts, k, languages);
    auto named = [](const std::vector<std::string>& list, const std::string& s) { return list.empty() || std::find(list.begin(), list.end(), s) != list.end(); };
    std::vector<Part> sizes;
    for (const Pool& p : pools)
      if (named(tasks, p.task) && named(languages, p.language)) sizes.push_back({p.task, p.language, p.size()});
    auto known = [&](const std::vector<std::string>& names, const char* what, std::string Pool::*label) {
      for (const std::string& s : names)
        if (std::none_of(pools.begin(), pools.end(), [&](const Pool& p) { return p.*label == s; })) fail(ErrorKind::input, "mixture.pool", "temperature: no source has the ", what, " '", printable(s, 60), "'");
    };
    known(tasks, "task", &Pool::task);
    known(languages, "language", &Pool::language);
    return clt::temperature(sizes, budget, temperature);
  }
};

// text: the file's content. A relative path is looked for beside the file, then in the current folder.
// Error(input): an unknown key, a value out of its range, two modes, nothing to mix.
inline Mixture parse_mixture(const std::string& text, const std::string& file, const std::vector<std::string>& set = {}) {
  Mixture m;
  const std::string where = printable(file, 4096);
  const std::int64_t many = 100'000'000;
  toml::table root = io::parse_toml(text, file);
  for (const std::string& s : set) io::apply_set(root, s);
  io::TomlReader top(root, where, "");
  top.read("sources", m.sources);
  top.read("held_out", m.held_out);
  top.read("seed", m.seed, 0, INT64_MAX);
  top.read("repeat", m.repeat);
  top.read("drop_held_out", m.drop_held_out);
  top.read("own_splits", m.own_splits);
  if (m.sources.empty()) top.missing("sources", "a list of files and folders with examples");
  for (auto* list : {&m.sources, &m.held_out})
    for (std::string& p : *list) p = io::path_beside(file, p);
  for (const toml::table* t : top.tables("part")) {
    io::TomlReader r(*t, where, "part.");
    Part p;
    r.read("task", p.task);
    r.read("language", p.language);
    r.read("n", p.n, 0, many);
    if (std::uint64_t seed = 0; r.has("seed")) r.read("seed", seed, 0, INT64_MAX), p.seed = seed;
    else r.take("seed");
    r.finish();
    if (p.task.empty() || p.language.empty() || !t->contains("n")) r.missing(p.task.empty() ? "task" : p.language.empty() ? "language" : "n", "of each [[part]]: task, language and n");
    m.parts.push_back(std::move(p));
  }
  for (MixtureMode mode : {MixtureMode::additive, MixtureMode::substitution, MixtureMode::temperature}) {
    const char* name = mixture_mode_names[static_cast<int>(mode)];
    const toml::table* t = top.table(name);
    if (!t) continue;
    if (m.mode != MixtureMode::parts) fail(ErrorKind::input, "run.value", where, ": wanted one of [additive], [substitution] and [temperature], got [", mixture_mode_names[static_cast<int>(m.mode)], "] and [", name, "]");
    m.mode = mode;
    io::TomlReader r(*t, where, str(name, "."));
    r.read("languages", m.languages);
    if (mode == MixtureMode::temperature) {
      r.read("tasks", m.tasks);
      r.read("budget", m.budget, 1, many);
      r.read("temperature", m.temperature, 1e-3, 1e9);
      if (m.budget == 0) r.missing("budget", "the number of examples");
      if (!m.parts.empty()) fail(ErrorKind::input, "run.value", where, ": [temperature] shares out all pools, a [[part]] has no place beside it; leave one of the two out");
    } else {
      r.read("k", m.k, 0, many);
      if (!t->contains("k")) r.missing("k", "the number of examples in each language");
      if (m.languages.empty()) r.missing("languages", "a list");
      if (m.parts.empty()) top.missing("part", str("the base of [", name, "]: add [[part]]"));
    }
    r.finish();
  }
  top.finish();
  if (m.mode == MixtureMode::parts && m.parts.empty()) top.missing("part", "at least one [[part]], or [temperature]");
  return m;
}
inline Mixture load_mixture(const std::string& file, const std::vector<std::string>& set = {}) { return parse_mixture(io::read_file(file, std::uint64_t{1} << 24), file, set); }

// A finished mixture: what a manifest says of it.
struct Mixed {
  std::vector<std::string> lines;  // in an order that the seed shuffles
  io::Json parts = io::Json::array({});
};

// Parts of pools. Error(input): a pool that is not there, or too small; a part twice.
inline Mixed mix(const std::vector<Pool>& pools, const std::vector<Part>& parts, std::uint64_t seed, bool repeat = false) {
  Mixed out;
  std::set<std::pair<std::string, std::string>> seen;
  for (const Part& part : parts) {
    if (!seen.insert({part.task, part.language}).second) fail(ErrorKind::input, "mixture.part", "mixture: ", printable(part.task, 60), " in ", printable(part.language, 60), " is there twice; make one part of them");
    auto pool = std::find_if(pools.begin(), pools.end(), [&](const Pool& p) { return p.task == part.task && p.language == part.language; });
    if (pool == pools.end()) {
      std::string all;
      for (const Pool& p : pools) all += str(all.empty() ? "" : ", ", printable(p.task, 60), " in ", printable(p.language, 60), " (", p.size(), ")");
      fail(ErrorKind::input, "mixture.pool", "mixture: no source has ", printable(part.task, 60), " in ", printable(part.language, 60), "; there are ", all);
    }
    io::Sha256 sha;
    for (std::size_t i : select(*pool, part.n, part.seed.value_or(seed), repeat)) {
      sha.update(pool->lines[i].data(), pool->lines[i].size());
      sha.update("\n", 1);
      out.lines.push_back(pool->lines[i]);
    }
    const std::int64_t size = std::max<std::int64_t>(pool->size(), 1);
    out.parts.push_back(io::Json::object({{"task", part.task}, {"language", part.language}, {"n", part.n}, {"seed", static_cast<std::int64_t>(part.seed.value_or(seed))}, {"available", pool->size()},
                                          {"passes", part.n / size}, {"rest", part.n % size}, {"duplicates", pool->duplicates}, {"sha256", sha.hex()}}));
  }
  Random random(seed, 0x6d697800u);
  for (std::size_t i = out.lines.size(); i > 1; --i) std::swap(out.lines[i - 1], out.lines[random.below(i)]);
  return out;
}

// folder/train.jsonl and folder/manifest.json, both or neither; further: added to the manifest, which is returned. replace: a mixture
// that is there already gives way.
inline io::Json write_mixture(const std::string& folder, const Mixed& mixed, const io::Json& further, bool replace = false) {
  io::StagedDirectory staged(folder, replace ? "manifest.json" : "");
  std::string text;
  for (const std::string& line : mixed.lines) text += line + "\n";
  io::Sha256 sha;
  sha.update(text.data(), text.size());
  io::Json manifest = io::Json::object({{"examples", static_cast<std::int64_t>(mixed.lines.size())}, {"sha256", sha.hex()}, {"parts", mixed.parts}});
  for (const auto& [key, value] : further.members("manifest")) manifest.set(key, value);
  staged.write("train.jsonl", text);
  staged.write("manifest.json", io::dump(manifest) + "\n");
  staged.commit();
  return manifest;
}

// All of a mixture file: reads, keeps held-out items out, chooses and writes. Returns the manifest.
inline io::Json write_mixture(const std::string& folder, const Mixture& m, bool replace = false) {
  std::vector<SourceFile> files;
  std::vector<Pool> pools = read_pools(m.sources, &files);
  HeldOut held_out;
  std::vector<std::string> held_paths;
  auto hold = [&](const std::string& path, const std::string& split) {
    std::error_code ec;
    auto same = [&](const std::string& p) { return std::filesystem::equivalent(p, path, ec); };
    if (std::any_of(held_paths.begin(), held_paths.end(), same)) return;
    held_paths.push_back(path);
    held_out.read(path, split, m.drop_held_out);
  };
  for (const std::string& source : m.sources)
    if (m.own_splits)
      for (const auto& [path, split] : other_splits(source)) hold(path, split);
  for (const std::string& path : m.held_out) hold(path, "");
  std::int64_t dropped = 0;
  const std::vector<Part> named = m.resolved(pools);
  for (Pool& pool : pools)
    if (std::any_of(named.begin(), named.end(), [&](const Part& p) { return p.task == pool.task && p.language == pool.language; })) dropped += held_out.clear(pool, m.drop_held_out);
  const Mixed mixed = mix(pools, m.resolved(pools), m.seed, m.repeat);
  io::Json sources = io::Json::array({}), held = io::Json::array({});
  for (const SourceFile& f : files) sources.push_back(io::Json::object({{"path", f.path}, {"sha256", f.sha256}}));
  for (const std::string& p : held_paths) held.push_back(p);
  return write_mixture(folder, mixed,
                       io::Json::object({{"mode", mixture_mode_names[static_cast<int>(m.mode)]}, {"seed", static_cast<std::int64_t>(m.seed)}, {"repeat", m.repeat}, {"sources", std::move(sources)},
                                         {"held_out", std::move(held)}, {"held_out_examples", held_out.size()}, {"in_two_splits", held_out.in_two_splits()}, {"dropped_held_out", dropped}}),
                       replace);
}

}  // namespace bam::clt
