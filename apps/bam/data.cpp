// bam data: what the trainer will see, and text to try it on.
#include "bam/io/model_folder.hpp"
#include "bam/train/data.hpp"
#include "corpus.hpp"
#include "flags.hpp"
#include "output.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct Flags {
  std::int64_t documents = 1000, rows = 4;
  std::string run;
};

void generate(const Common& common, const Flags& f) {
  if (common.out.empty()) fail(ErrorKind::usage, "flag.missing", "bam data generate: wanted --out DIR");
  const std::int64_t bytes = write_corpus(common.out, f.documents, common.seed.value_or(1), common.force);
  if (common.json) print_json(io::Json::object({{"out", common.out}, {"documents", f.documents}, {"bytes", bytes}}));
  note(common, str(common.out, ": four domains, ", bytes_text(bytes)));
}

// The first rows of a run, as the trainer gets them.
void show(const Common& common, const Flags& f) {
  train::RunConfig config = train::load_run_config(f.run, common.set);
  std::string tokenizer_file = config.model.tokenizer;
  if (tokenizer_file.empty() && !config.model.init_from.empty()) tokenizer_file = io::resolve_model_folder(config.model.init_from) + "/tokenizer.json";
  text::Tokenizer tokenizer = text::Tokenizer::load(tokenizer_file);
  auto bos = static_cast<std::int32_t>(tokenizer.bos_id()), eos = static_cast<std::int32_t>(tokenizer.eos_id());
  auto stream = train::make_data_stream(config, tokenizer, bos, eos);
  StepRows rows = stream.next(f.rows);
  auto context = static_cast<std::size_t>(rows.context);
  if (common.json) {
    io::Json list = io::Json::array({});
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows.rows); ++r) {
      io::Json row = io::Json::object(), ids = io::Json::array({}), mask = io::Json::array({}), positions = io::Json::array({});
      for (std::size_t t = r * context; t < (r + 1) * context; ++t) {
        ids.push_back(rows.inputs[t]);
        mask.push_back(rows.targets[t] >= 0 ? 1 : 0);
        positions.push_back(rows.positions[t]);
      }
      row.set("ids", std::move(ids));
      row.set("mask", std::move(mask));
      row.set("positions", std::move(positions));
      list.push_back(std::move(row));
    }
    io::Json j = io::Json::object();
    j.set("rows", std::move(list));
    return print_json(j);
  }
  for (std::size_t r = 0; r < static_cast<std::size_t>(rows.rows); ++r) {
    print(str("row ", r, ", ", rows.context, " tokens; a document starts at |\n"));
    std::string line;
    std::vector<std::int32_t> run;
    auto flush = [&] {
      line += printable(tokenizer.decode(run), 1 << 20);
      run.clear();
    };
    for (std::size_t t = r * context; t < (r + 1) * context; ++t) {
      if (rows.positions[t] == 0) {
        flush();
        line += "|";
      }
      run.push_back(rows.inputs[t]);
    }
    flush();
    print(line + "\n\n");
  }
}

}  // namespace

void add_data(CLI::App& app, Common& common) {
  auto f = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("data", "What the trainer will see: rows of a run; text to try it on");
  CLI::App* g = verb->add_subcommand("generate", "A small corpus of four domains from a seed, as a data folder");
  integer_flag<std::int64_t>(*g, "--documents", f->documents, 1, 10'000'000, "Training documents of each domain (default 1000); a tenth more for validation");
  g->callback([&common, f] { common.run = [&common, f] { generate(common, *f); }; });
  CLI::App* s = verb->add_subcommand("show", "The first rows of a run, as the trainer gets them");
  s->add_option("RUN.toml", f->run, "The run file")->required();
  integer_flag<std::int64_t>(*s, "--rows", f->rows, 1, 1 << 16, "How many (default 4)");
  s->callback([&common, f] { common.run = [&common, f] { show(common, *f); }; });
}

}  // namespace bam::app
