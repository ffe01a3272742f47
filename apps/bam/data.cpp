// bam data show and stats: what the trainer will see.
#include <unistd.h>

#include <algorithm>
#include <map>

#include "bam/io/model_folder.hpp"
#include "bam/train/data.hpp"
#include "flags.hpp"
#include "output.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct DataFlags {
  std::int64_t rows = 4;
  std::string run;
  bool dropped = false, color = false;
};

// What a run reads its data with, as the trainer does.
struct Inputs {
  train::RunConfig config;
  std::optional<text::Tokenizer> tokenizer;
  std::int32_t bos = -1, eos = -1;

  Inputs(const Common& common, const std::string& run) : config(train::load_run_config(run, common.run_settings())) {
    const train::ModelSource& m = config.model;
    const std::string folder = m.init_from.empty() ? "" : io::resolve_model_folder(m.init_from);
    std::string file = !m.tokenizer.empty() ? m.tokenizer : folder.empty() ? "" : folder + "/tokenizer.json";
    if (file.empty()) fail(ErrorKind::input, "run.tokenizer", "[model] tokenizer: wanted a tokenizer.json, got none");
    tokenizer.emplace(text::Tokenizer::load(io::is_folder(file) ? file + "/tokenizer.json" : file));
    const io::ConfigFile model = io::read_model_config(folder.empty() ? m.config : folder + "/config.json");
    if (tokenizer->vocab_size() > model.model.vocab_size) fail(ErrorKind::input, "run.vocabulary", file, ": has ", tokenizer->vocab_size(), " ids, the model's vocab_size is ", model.model.vocab_size);
    bos = static_cast<std::int32_t>(model.bos_token_id.value_or(tokenizer->bos_id()));
    eos = static_cast<std::int32_t>(model.eos_token_ids.empty() ? tokenizer->eos_id() : model.eos_token_ids[0]);
  }
  train::DataReader reader() const { return {config, *tokenizer, bos, eos}; }
};

// The first rows of a run, as the trainer gets them: mask 1 for each id that is trained as a target.
void show(const Common& common, const DataFlags& f) {
  const Inputs in(common, f.run);
  auto stream = in.reader().stream();
  StepRows rows = stream.next(f.rows);
  auto context = static_cast<std::size_t>(rows.context);
  io::Json list = io::Json::array({});
  const bool color = f.color || (!common.json && isatty(1));
  // What a text says literally, "<EOS>" for instance, is no special token.
  const char *on = color ? "\033[32m" : "\u00ab", *off = color ? "\033[39m" : "\u00bb", *special_on = color ? "\033[7m" : "\u27e6", *special_off = color ? "\033[27m" : "\u27e7";
  for (std::size_t r = 0; r < static_cast<std::size_t>(rows.rows); ++r) {
    std::size_t end = (r + 1) * context;
    while (end > r * context && !rows.real[end - 1]) --end;
    std::vector<bool> trained;  // a row that starts within a document: its first token is the target of another row's last
    for (std::size_t t = r * context; t < end; ++t) trained.push_back(t == r * context ? rows.inputs[t] != in.bos : rows.targets[t - 1] >= 0);
    if (common.json) {
      io::Json row = io::Json::object(), ids = io::Json::array({}), mask = io::Json::array({}), positions = io::Json::array({}), special = io::Json::array({});
      for (std::size_t t = r * context; t < end; ++t) {
        ids.push_back(rows.inputs[t]);
        mask.push_back(trained[t - r * context] ? 1 : 0);
        positions.push_back(rows.positions[t]);
        special.push_back(in.tokenizer->is_special(rows.inputs[t]) ? 1 : 0);
      }
      row.set("ids", std::move(ids));
      row.set("mask", std::move(mask));
      row.set("positions", std::move(positions));
      row.set("special", std::move(special));
      list.push_back(std::move(row));
      continue;
    }
    print(str("row ", r, ", ", end - r * context, " tokens, ", std::count(trained.begin(), trained.end(), true), " trained; a sequence starts at |, ", color ? "trained is green, special tokens are inverse" : "trained stands between \u00ab and \u00bb, a special token between \u27e6 and \u27e7", "\n"));
    std::string line;
    std::vector<std::int32_t> run;
    bool marked = false;
    auto flush = [&] {  // text, or one special token
      std::string text = printable(in.tokenizer->decode(run, true), 1 << 20);
      if (run.size() == 1 && in.tokenizer->is_special(run[0])) text = special_on + text + special_off;
      line += text;
      run.clear();
    };
    for (std::size_t t = r * context; t < end; ++t) {
      const bool start = rows.positions[t] == 0, now = trained[t - r * context], special = in.tokenizer->is_special(rows.inputs[t]);
      if (start || now != marked || special || (!run.empty() && in.tokenizer->is_special(run.back()))) flush();
      if (marked && (start || !now)) line += off;
      if (start) line += "|";
      if (now && (start || !marked)) line += on;
      marked = now;
      run.push_back(rows.inputs[t]);
    }
    flush();
    if (marked) line += off;
    print(line + "\n\n");
  }
  if (common.json) print_json(io::Json::object({{"rows", std::move(list)}}));
}

// Examples whose prompt was cut or that are left out, of the run's chat data.
void dropped(const Common& common, const DataFlags& f) {
  const Inputs in(common, f.run);
  io::Json list = io::Json::array({});
  Table table;
  table.add({"example", "id", "lang", "task", "tokens", "cut", "what"});
  for (const train::DataSource& d : in.config.data) {
    if (d.format != train::DataFormat::chat) continue;
    for (const text::EncodedExample& e : in.reader().examples(d.path, "train")) {
      if (e.reason().empty()) continue;
      const text::ChatExample& x = e.example;
      list.push_back(io::Json::object({{"where", x.where}, {"id", x.id}, {"lang", x.lang}, {"task", x.task}, {"source", x.source}, {"tokens", e.tokens.size()}, {"tokens_cut", e.tokens.cut}, {"dropped", !e.kept()}, {"reason", e.reason()}}));
      table.add({x.where, printable(x.id, 60), printable(x.lang, 20), printable(x.task, 40), str(e.tokens.size()), str(e.tokens.cut), str(e.kept() ? "" : "left out: ", e.reason())});
    }
  }
  if (common.json) return print_json(io::Json::object({{"examples", std::move(list)}}));
  print(table.text());
}

// Counts of every source and evaluation set of a run.
void stats(const Common& common, const DataFlags& f) {
  const Inputs in(common, f.run);
  io::Json sets = io::Json::array({});
  Table table;
  table.add({"", "examples", "tokens", "trained", "cut", "dropped"});
  auto add = [&](const std::string& name, const std::string& path, const char* split, train::DataFormat format) {
    io::Json set = io::Json::object({{"name", name}, {"path", path}, {"split", split}, {"format", train::detail::name_of(format)}});
    if (format == train::DataFormat::text) {
      std::int64_t documents = 0, tokens = 0, bytes = 0;
      for (const text::Document& d : text::read_documents(path, split)) {
        ++documents;
        tokens += static_cast<std::int64_t>(in.tokenizer->encode(d.text).size()) + 2;
        bytes += static_cast<std::int64_t>(d.text.size());
      }
      for (auto& [key, n] : {std::pair{"documents", documents}, {"tokens", tokens}, {"bytes", bytes}}) set.set(key, n);
      table.add({printable(name, 200), grouped(documents), grouped(tokens), grouped(tokens - documents), "", ""});
    } else {
      std::map<std::string, text::ExampleCounts> languages, tasks;
      text::ExampleCounts all;
      for (const text::EncodedExample& e : in.reader().examples(path, split)) {
        all.add(e);
        languages[e.example.lang].add(e);
        tasks[e.example.task].add(e);
      }
      auto row = [&](const std::string& label, const text::ExampleCounts& c) {
        table.add({label, grouped(c.examples), grouped(c.tokens), grouped(c.trained), grouped(c.truncated), grouped(c.dropped())});
      };
      row(printable(name, 200), all);
      const io::Json counts = all.json();
      for (auto [key, value] : counts.members("counts")) set.set(key, value);
      for (auto& [key, groups] : {std::pair<const char*, const std::map<std::string, text::ExampleCounts>&>{"by_language", languages}, {"by_task", tasks}}) {
        io::Json j = io::Json::object();
        for (const auto& [label, c] : groups) {
          j.set(label, c.json());
          if (!label.empty()) row("  " + printable(label, 100), c);
        }
        set.set(key, std::move(j));
      }
    }
    sets.push_back(std::move(set));
  };
  for (const train::DataSource& d : in.config.data) add(d.path, d.path, "train", d.format);
  for (const train::EvalSource& e : in.config.eval) add(e.name, e.path, "validation", e.format);
  if (common.json) return print_json(io::Json::object({{"sets", std::move(sets)}}));
  print(table.text());
}

}  // namespace

void add_data(CLI::App& app, Common& common) {
  auto f = std::make_shared<DataFlags>();
  CLI::App* verb = app.add_subcommand("data", "What the trainer will see: rows and counts of a run; data sets made: mixtures, generated text");
  add_data_sets(*verb, common);
  CLI::App* s = verb->add_subcommand("show", "The first rows of a run, as the trainer gets them");
  s->add_option("RUN.toml", f->run, "The run file")->required();
  integer_flag<std::int64_t>(*s, "--rows", f->rows, 1, 1 << 16, "How many (default 4)");
  s->add_flag("--dropped", f->dropped, "Instead: the chat examples that are left out or whose prompt is cut, and why");
  s->add_flag("--color", f->color, "Trained tokens in green, on a terminal or not");
  s->callback([&common, f] { common.run = [&common, f] { f->dropped ? dropped(common, *f) : show(common, *f); }; });
  CLI::App* t = verb->add_subcommand("stats", "Documents, examples, tokens, trained tokens, what is cut and left out, by language and task");
  t->add_option("RUN.toml", f->run, "The run file")->required();
  t->callback([&common, f] { common.run = [&common, f] { stats(common, *f); }; });
}

}  // namespace bam::app
