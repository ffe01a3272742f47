// Mixtures of fine-tuning examples (bam/clt/mixture.hpp).
#include "bam/clt/mixture.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "support.hpp"

namespace bam::mixture_test {

using namespace bam::clt;
using test::error_of;
using test::has;

namespace {

std::string line(const std::string& task, const std::string& lang, int i, const std::string& parallel = "") {
  return str("{\"id\": \"", lang, i, "\", \"task\": \"", task, "\", \"lang\": \"", lang, "\", ", parallel.empty() ? "" : "\"parallel_id\": \"" + parallel + "\", ", "\"prompt\": \"", task, " ", lang, " ", i, "\", \"completion\": \"", i,
             "\"}");
}
Pool pool_of(const std::string& task, const std::string& lang, int n, bool parallel = true) {
  Pool p{task, lang, {}, {}};
  for (int i = 0; i < n; ++i) p.lines.push_back(line(task, lang, i, parallel ? str("p", i) : ""));
  return p;
}
std::vector<std::string> chosen(const Pool& p, std::int64_t n, std::uint64_t seed, bool repeat = false) {
  std::vector<std::string> out;
  for (std::size_t i : select(p, n, seed, repeat)) out.push_back(p.lines[i]);
  return out;
}
std::vector<std::int64_t> counts(const std::vector<Part>& parts) {
  std::vector<std::int64_t> out;
  for (const Part& p : parts) out.push_back(p.n);
  return out;
}
bool is_prefix(const std::vector<std::string>& a, const std::vector<std::string>& b) { return a.size() <= b.size() && std::equal(a.begin(), a.end(), b.begin()); }

}  // namespace

TEST_CASE("mixture: the set of k lies inside every larger one, and stays when the pool grows") {
  const Pool pool = pool_of("math", "en", 200);
  std::vector<std::string> before;
  for (std::int64_t k : {0, 1, 10, 50, 100, 200}) {
    const auto now = chosen(pool, k, 7);
    CHECK(now.size() == static_cast<std::size_t>(k));
    CHECK(std::set<std::string>(now.begin(), now.end()).size() == now.size());
    CHECK(is_prefix(before, now));
    before = now;
  }
  CHECK(chosen(pool, 200, 8) != before);
  CHECK(chosen(pool, 200, 7) == before);
  // The order goes by the items, not by where they stand.
  Pool turned = pool;
  std::reverse(turned.lines.begin(), turned.lines.end());
  CHECK(chosen(turned, 50, 7) == chosen(pool, 50, 7));
  // Further lines push some out of the first 50; those that stay are in the same order.
  Pool grown = pool_of("math", "en", 260);
  std::set<std::string> known(pool.lines.begin(), pool.lines.end());
  std::vector<std::string> rest;
  for (const std::string& l : chosen(grown, 260, 7))
    if (known.contains(l)) rest.push_back(l);
  CHECK(rest == before);
}

TEST_CASE("mixture: languages that share items have the same ones first") {
  const Pool en = pool_of("math", "en", 100), fr = pool_of("math", "fr", 100);
  CHECK(select(en, 30, 3) == select(fr, 30, 3));
  // Without parallel_id the id decides, and these differ by language.
  CHECK(select(pool_of("math", "en", 100, false), 30, 3) != select(pool_of("math", "fr", 100, false), 30, 3));
  // Without both, the text.
  Pool bare{"math", "en", {}, {}};
  for (int i = 0; i < 40; ++i) bare.lines.push_back(str("{\"prompt\": \"a", i, "\", \"completion\": \"b\"}"));
  CHECK(is_prefix(chosen(bare, 10, 1), chosen(bare, 40, 1)));
  CHECK(select(bare, 40, 1) != select(bare, 40, 2));
}

TEST_CASE("mixture: more than there are is an error, or exact repeats") {
  const Pool pool = pool_of("math", "fr", 7);
  const std::string message = error_of(ErrorKind::input, [&] { select(pool, 8, 1); });
  CHECK(has(message, "mixture.size: mixture: wanted 8 examples of math in fr, the sources have 7"));
  CHECK(has(message, "repeat = true"));
  CHECK(error_of(ErrorKind::input, [&] { select(pool, 7, 1); }) == "");
  const auto once = select(pool, 7, 1), more = select(pool, 17, 1, true);
  CHECK(more.size() == 17);
  for (std::size_t i = 0; i < more.size(); ++i) CHECK(more[i] == once[i % 7]);
  const Mixed m = mix({pool}, {{"math", "fr", 17}}, 1, true);
  const io::Json& part = *m.parts.items("parts").begin();
  CHECK(part.at("passes").as_int("") == 2);
  CHECK(part.at("rest").as_int("") == 3);
  CHECK(part.at("available").as_int("") == 7);
  CHECK(has(error_of(ErrorKind::input, [&] { select(Pool{"math", "de", {}, {}}, 1, 1, true); }), "the sources have 0"));
}

TEST_CASE("mixture: additive and substitution") {
  const std::vector<Part> base{{"math", "en", 1000}, {"sum", "en", 400}};
  const std::vector<std::string> languages{"es", "fr"};
  const auto added = additive(base, 100, languages);
  CHECK(added == std::vector<Part>{{"math", "en", 1000}, {"sum", "en", 400}, {"math", "es", 100}, {"math", "fr", 100}, {"sum", "es", 100}, {"sum", "fr", 100}});
  for (std::int64_t k : {0, 1, 57, 200}) {
    const auto n = counts(substitution(base, k, languages));
    CHECK(n == std::vector<std::int64_t>{1000 - 2 * k, 400 - 2 * k, k, k, k, k});
    CHECK(std::accumulate(n.begin(), n.end(), std::int64_t{0}) == 1400);
  }
  CHECK(has(error_of(ErrorKind::input, [&] { substitution(base, 201, languages); }), "wanted at most 200, a share of the 400 of sum in en, got 201 for each of 2 languages"));
  CHECK(has(error_of(ErrorKind::input, [&] { additive(base, 1, {"en"}); }), "en is a language of the base for math"));
}

TEST_CASE("mixture: temperature") {
  const std::vector<Part> sizes{{"math", "en", 10000}, {"math", "es", 1600}, {"math", "fr", 100}};
  // T = 2: weights 100 : 40 : 10; T = 1: 10000 : 1600 : 100 of 11700; infinity: equal, the remainder to the first.
  CHECK(counts(temperature(sizes, 1500, 2)) == std::vector<std::int64_t>{1000, 400, 100});
  CHECK(counts(temperature(sizes, 1170, 1)) == std::vector<std::int64_t>{1000, 160, 10});
  CHECK(counts(temperature(sizes, 100, 1)) == std::vector<std::int64_t>{85, 14, 1});  // 85.47, 13.68, 0.85
  CHECK(counts(temperature(sizes, 100, INFINITY)) == std::vector<std::int64_t>{34, 33, 33});
  // T = 5: weights 1 : 0.69314 : 0.39811, of 1000: 478.19, 331.45, 190.37.
  CHECK(counts(temperature(sizes, 1000, 5)) == std::vector<std::int64_t>{478, 332, 190});
  for (std::int64_t budget : {1, 2, 7, 999, 12345}) {
    const auto n = counts(temperature(sizes, budget, 3.3));
    CHECK(std::accumulate(n.begin(), n.end(), std::int64_t{0}) == budget);
  }
  CHECK(counts(temperature({{"a", "x", 0}, {"a", "y", 5}}, 4, INFINITY)) == std::vector<std::int64_t>{0, 4});
  CHECK(has(error_of(ErrorKind::input, [&] { temperature(sizes, 1, 0); }), "above 0"));
  CHECK(has(error_of(ErrorKind::input, [&] { temperature({{"a", "x", 0}}, 1, 1); }), "all are empty"));
}

TEST_CASE("mixture: the base is the same in every run, and the order is a shuffle of the whole") {
  std::vector<Pool> pools{pool_of("math", "en", 50), pool_of("math", "fr", 50)};
  auto of = [](const Mixed& m, const char* lang) {
    std::set<std::string> s;
    for (const std::string& l : m.lines)
      if (has(l, str("\"lang\": \"", lang, "\""))) s.insert(l);
    return s;
  };
  const std::vector<Part> base{{"math", "en", 30}};
  const Mixed a = mix(pools, additive(base, 5, {"fr"}), 3), b = mix(pools, additive(base, 20, {"fr"}), 3);
  CHECK(of(a, "en") == of(b, "en"));
  const auto small = of(a, "fr"), large = of(b, "fr");
  CHECK(small.size() == 5);
  CHECK(std::includes(large.begin(), large.end(), small.begin(), small.end()));
  CHECK(io::dump(*a.parts.items("").begin()) == io::dump(*b.parts.items("").begin()));
  CHECK(a.lines.size() == 35);
  // Not by part: some of the other language are among the first 30.
  CHECK(std::any_of(a.lines.begin(), a.lines.begin() + 30, [](const std::string& l) { return has(l, "\"fr\""); }));
  CHECK(mix(pools, base, 3).lines == mix(pools, base, 3).lines);
  CHECK(mix(pools, base, 3).lines != mix(pools, base, 4).lines);
  // A part may have a seed of its own.
  CHECK(of(mix(pools, {{"math", "en", 30, 9}}, 3), "en") != of(a, "en"));
  CHECK(has(error_of(ErrorKind::input, [&] { mix(pools, {{"math", "en", 1}, {"math", "en", 2}}, 3); }), "math in en is there twice"));
  CHECK(has(error_of(ErrorKind::input, [&] { mix(pools, {{"math", "de", 1}}, 3); }), "no source has math in de; there are math in en (50), math in fr (50)"));
}

TEST_CASE("mixture: from files to a folder with a manifest") {
  test::TemporaryFolder dir;
  auto write = [&](const std::string& name, const std::string& text) {
    io::make_folder(io::folder_of(dir / name));
    io::write_file_atomic(dir / name, text);
  };
  std::string en, fr, held;
  for (int i = 0; i < 20; ++i) en += line("math", "en", i, str("p", i)) + "\n", fr += line("math", "fr", i, str("p", i)) + (i % 2 ? "\r\n" : "\n");
  write("s/train/en.jsonl", en);
  write("s/train/fr.jsonl", fr + line("math", "fr", 3, "p3") + "\n");  // twice
  write("s/validation/en.jsonl", line("math", "en", 90, "p90") + "\n");
  write("held.jsonl", line("math", "de", 4, "p4") + "\n" + "{\"prompt\": \"math fr 5\", \"completion\": \"other\"}\n");
  const std::string toml = "sources = [\"s\"]\nseed = 5\n[[part]]\ntask = \"math\"\nlanguage = \"en\"\nn = 10\n";
  auto run = [&](const std::string& text, const std::string& out) { return write_mixture(dir / out, parse_mixture(text, dir / "mix.toml"), false); };

  const io::Json m = run(toml + "[additive]\nlanguages = [\"fr\"]\nk = 4\n", "a");
  CHECK(m.at("examples").as_int("") == 14);
  CHECK(m.at("mode").as_string("") == "additive");
  CHECK(m.at("sha256").as_string("") == io::sha256_file(dir / "a/train.jsonl"));
  CHECK(io::read_file(dir / "a/manifest.json") == io::dump(m) + "\n");
  std::vector<std::string> sources;
  for (const io::Json& s : m.at("sources").items("")) {
    sources.push_back(std::string(s.at("path").as_string("")));
    CHECK(s.at("sha256").as_string("") == io::sha256_file(sources.back()));
  }
  CHECK(sources == std::vector<std::string>{dir / "s/train/en.jsonl", dir / "s/train/fr.jsonl"});
  std::int64_t total = 0;
  for (const io::Json& p : m.at("parts").items("")) {
    total += p.at("n").as_int("");
    CHECK(p.at("available").as_int("") == 20);
    CHECK(p.at("duplicates").as_int("") == (p.at("language").as_string("") == "fr" ? 1 : 0));
    // The hash is that of the part's lines in the order of choice.
    io::Sha256 sha;
    for (const Pool& pool : read_pools({dir / "s"}))
      if (pool.language == p.at("language").as_string(""))
        for (const std::string& l : chosen(pool, p.at("n").as_int(""), 5)) {
          sha.update(l.data(), l.size());
          sha.update("\n", 1);
        }
    CHECK(p.at("sha256").as_string("") == sha.hex());
  }
  CHECK(total == 14);
  CHECK(text::read_examples(dir / "a/train.jsonl", "train").size() == 14);

  // Held-out items, by their id in another language and by their prompt.
  const std::string all = "sources = [\"s\"]\nheld_out = [\"held.jsonl\"]\n[[part]]\ntask = \"math\"\nlanguage = \"fr\"\nn = 18\n";
  const std::string refused = error_of(ErrorKind::input, [&] { run(all, "b"); });
  CHECK(has(refused, str("mixture.held_out: ", dir / "s/train/fr.jsonl", ":5: is held out too, by its id: ", dir / "held.jsonl", ":1;")));
  CHECK(!io::exists(dir / "b"));
  const io::Json dropped = run("drop_held_out = true\n" + all, "b");
  CHECK(dropped.at("dropped_held_out").as_int("") == 2);
  CHECK(dropped.at("held_out_examples").as_int("") == 3);
  const std::string written = io::read_file(dir / "b/train.jsonl");
  CHECK(!has(written, "\"math fr 4\""));
  CHECK(!has(written, "\"math fr 5\""));
  CHECK(has(error_of(ErrorKind::input, [&] { run("drop_held_out = true\n" + all + "[temperature]\nbudget = 1\n", "c"); }), "[temperature] shares out all pools"));
  // The prompt alone.
  HeldOut by_prompt;
  by_prompt.add(text::detail::parse_example("{\"prompt\": \"math en 2\", \"completion\": \"x\"}", "h:1"));
  Pool pool = pool_of("math", "en", 5);
  CHECK(has(error_of(ErrorKind::input, [&] { by_prompt.clear(pool, false); }), "math in en, example 3: is held out too, by its prompt: h:1"));
  CHECK(by_prompt.clear(pool, true) == 1);
  CHECK(pool.size() == 4);

  // A source's own validation and test are held out, whether the source is the folder, its train/ or a file in that; a listed one counts once.
  CHECK(m.at("held_out").items("").size() == 1);
  CHECK(m.at("held_out_examples").as_int("") == 1);
  CHECK(run("held_out = [\"s/validation/\"]\n" + toml, "e").at("held_out_examples").as_int("") == 1);
  write("s/test/prompts.jsonl", "{\"prompt\": \"math en 7\"}\n");
  for (const char* source : {"s", "s/", "s/train", "s/train/en.jsonl"}) {
    const std::string text = str("sources = [\"", source, "\"]\n", toml.substr(toml.find("seed")));
    CHECK(has(error_of(ErrorKind::input, [&] { run(text, "d"); }), ":8: is held out too, by its prompt: " + dir.path + "/s/test/prompts.jsonl:1; take it out"));
    CHECK(run("own_splits = false\n" + text, str("own", std::string(source).size())).at("dropped_held_out").as_int("") == 0);
  }
  CHECK(run("drop_held_out = true\n" + toml, "d").at("dropped_held_out").as_int("") == 1);
  // No item in validation and in test.
  write("s/test/en.jsonl", line("math", "de", 1, "p90") + "\n");
  CHECK(has(error_of(ErrorKind::input, [&] { run(toml, "c"); }), str("mixture.splits: ", dir / "s/test/en.jsonl", ":1: is in test and in validation too, by its id: ", dir / "s/validation/en.jsonl", ":1; take it out of one of the two, or set drop_held_out = true")));
  CHECK(!io::exists(dir / "c"));
  CHECK(run("drop_held_out = true\n" + toml, "two").at("in_two_splits").as_int("") == 1);
  io::write_file_atomic(dir / "s/test/en.jsonl", "");
  io::write_file_atomic(dir / "s/test/prompts.jsonl", "");

  // What is there already stays.
  CHECK(has(error_of(ErrorKind::io, [&] { run(toml, "a"); }), "file.exists"));
  write_mixture(dir / "a", parse_mixture(toml, dir / "mix.toml"), true);
  CHECK(text::read_examples(dir / "a/train.jsonl", "train").size() == 10);
}

TEST_CASE("mixture: temperature over the pools of files") {
  Mixture m;
  m.mode = MixtureMode::temperature;
  m.budget = 30;
  m.temperature = 2;
  const std::vector<Pool> pools{pool_of("math", "en", 100), pool_of("math", "fr", 25), pool_of("sum", "en", 100)};
  m.tasks = {"math"};
  CHECK(m.resolved(pools) == std::vector<Part>{{"math", "en", 20}, {"math", "fr", 10}});
  m.languages = {"fr"};
  CHECK(m.resolved(pools) == std::vector<Part>{{"math", "fr", 30}});
  m.languages = {"de"};
  CHECK(has(error_of(ErrorKind::input, [&] { m.resolved(pools); }), "no source has the language 'de'"));
}

TEST_CASE("mixture: files that say too much or too little") {
  test::TemporaryFolder dir;
  auto refused = [&](const std::string& text) { return error_of(ErrorKind::input, [&] { parse_mixture(text, "/m/mix.toml"); }); };
  const std::string sources = "sources = [\"/d\"]\n", part = "[[part]]\ntask = \"a\"\nlanguage = \"b\"\nn = 1\n";
  CHECK(refused(sources + part) == "");
  CHECK(has(refused(part), "wanted sources, a list"));
  CHECK(has(refused(sources), "wanted part, at least one [[part]]"));
  CHECK(has(refused(sources + "sed = 1\n" + part), "did you mean seed"));
  CHECK(has(refused(sources + "[[part]]\ntask = \"a\"\nlanguage = \"b\"\n"), "wanted part.n"));
  CHECK(has(refused(sources + "[[part]]\ntask = \"a\"\nn = 1\n"), "wanted part.language"));
  CHECK(has(refused(sources + "[[part]]\nlanguage = \"a\"\nn = 1\n"), "wanted part.task"));
  CHECK(has(refused(sources + "[[part]]\ntask = \"a\"\nlanguage = \"b\"\nn = -1\n"), "part.n: wanted an integer from 0"));
  CHECK(has(refused(sources + "part = 3\n"), "part: wanted tables: [[part]], got 3"));
  CHECK(has(refused(sources + part + "[additive]\nlanguages = [\"c\"]\n"), "wanted additive.k"));
  CHECK(has(refused(sources + part + "[additive]\nk = 1\n"), "wanted additive.languages"));
  CHECK(has(refused(sources + "[substitution]\nk = 1\nlanguages = [\"c\"]\n"), "the base of [substitution]: add [[part]]"));
  CHECK(has(refused(sources + part + "[additive]\nk = 1\nlanguages = [\"c\"]\n[substitution]\nk = 1\nlanguages = [\"c\"]\n"), "got [additive] and [substitution]"));
  CHECK(has(refused(sources + "[temperature]\ntemperature = 2\n"), "wanted temperature.budget"));
  CHECK(has(refused(sources + "[temperature]\nbudget = 5\ntemperature = 0\n"), "temperature.temperature: wanted a number"));
  // Lines without a task or language.
  io::write_file_atomic(dir / "x.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\", \"task\": \"t\"}\n");
  CHECK(has(error_of(ErrorKind::input, [&] { read_pools({dir / "x.jsonl"}); }), str("mixture.label: ", dir / "x.jsonl", ":1: wanted an example with \"task\" and \"lang\", lang is missing")));
  CHECK(has(error_of(ErrorKind::input, [&] { read_pools({dir / "y.jsonl"}); }), "y.jsonl"));
}

}  // namespace bam::mixture_test
