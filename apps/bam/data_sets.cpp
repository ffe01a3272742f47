// bam data generate, languages and mix: data folders, made.
#include "bam/clt/mixture.hpp"
#include "corpus.hpp"
#include "flags.hpp"
#include "output.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct SetFlags {
  std::int64_t documents = 1000;
  LanguageCounts languages;
  std::string mixture;
};

void need_out(const Common& common, const char* verb) {
  if (common.out.empty()) fail(ErrorKind::usage, "flag.missing", verb, ": wanted --out DIR");
}

void generate(const Common& common, const SetFlags& f) {
  need_out(common, "bam data generate");
  const std::int64_t bytes = write_corpus(common.out, f.documents, common.seed.value_or(1), common.force);
  if (common.json) print_json(io::Json::object({{"out", common.out}, {"documents", f.documents}, {"bytes", bytes}}));
  note(common, str(common.out, ": four domains, ", bytes_text(bytes)));
}

void languages(const Common& common, const SetFlags& f) {
  need_out(common, "bam data languages");
  const LanguageCounts& n = f.languages;
  const std::int64_t bytes = write_languages(common.out, n, common.seed.value_or(1), common.force);
  if (common.json) print_json(io::Json::object({{"out", common.out}, {"documents", n.documents}, {"examples", n.examples}, {"held_out", n.held_out}, {"bytes", bytes}}));
  note(common, str(common.out, ": ten languages, text and three tasks, ", bytes_text(bytes)));
}

void mix(const Common& common, const SetFlags& f) {
  need_out(common, "bam data mix");
  clt::Mixture m = clt::load_mixture(f.mixture, common.set);
  if (common.seed) m.seed = *common.seed;
  const io::Json manifest = clt::write_mixture(common.out, m, common.force);
  if (common.json) return print_json(manifest);
  Table table;
  table.add({"task", "language", "n", "available", "passes", "rest"});
  for (const io::Json& p : manifest.at("parts").items("parts")) {
    auto number = [&](const char* key) { return grouped(p.at(key).as_int(key)); };
    auto word = [&](const char* key) { return printable(p.at(key).as_string(key), 60); };
    table.add({word("task"), word("language"), number("n"), number("available"), number("passes"), number("rest")});
  }
  print(table.text());
  const std::int64_t dropped = manifest.at("dropped_held_out").as_int("dropped_held_out");
  if (const std::int64_t twice = manifest.at("in_two_splits").as_int("in_two_splits")) note(common, str("warning: ", grouped(twice), " held-out examples are in two of validation, test and eval"));
  note(common, str(common.out, ": ", grouped(manifest.at("examples").as_int("examples")), " examples", dropped ? str(", ", grouped(dropped), " held-out ones left out") : ""));
}

}  // namespace

void add_data_sets(CLI::App& data, Common& common) {
  auto f = std::make_shared<SetFlags>();
  CLI::App* g = data.add_subcommand("generate", "A small corpus of four domains from a seed, as a data folder");
  integer_flag<std::int64_t>(*g, "--documents", f->documents, 1, 10'000'000, "Training documents of each domain (default 1000); a tenth more for validation");
  g->callback([&common, f] { common.run = [&common, f] { generate(common, *f); }; });
  CLI::App* l = data.add_subcommand("languages", "Ten made-up languages from a seed: text (lm) and the tasks summary, instructions and arithmetic, as data folders");
  integer_flag<std::int64_t>(*l, "--documents", f->languages.documents, 1, 10'000'000, "Training documents of each language (default 2000); a tenth more for validation");
  integer_flag<std::int64_t>(*l, "--examples", f->languages.examples, 1, 10'000'000, "Training examples of each task and language (default 1000)");
  integer_flag<std::int64_t>(*l, "--held-out", f->languages.held_out, 1, 10'000'000, "Validation examples of each task and language, and as many for tests (default 200)");
  l->callback([&common, f] { common.run = [&common, f] { languages(common, *f); }; });
  CLI::App* m = data.add_subcommand("mix", "Examples to fine-tune on, as a mixture file declares them: DIR/train.jsonl and DIR/manifest.json");
  m->add_option("MIXTURE.toml", f->mixture, "The mixture file (docs/run-files.md)")->required();
  m->callback([&common, f] { common.run = [&common, f] { mix(common, *f); }; });
}

}  // namespace bam::app
