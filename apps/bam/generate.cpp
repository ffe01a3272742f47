// bam generate: completions of prompts.
#include <chrono>

#include "bam/text/corpus.hpp"
#include "sampling.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct GenerateFlags {
  std::string model, prompts;
  std::optional<std::string> prompt;
  GenerateOptions options;
};

std::vector<std::string> read_prompts(const GenerateFlags& f) {
  if (f.prompt.has_value() == !f.prompts.empty()) fail(ErrorKind::usage, "flag.missing", "bam generate: wanted --prompt TEXT or --prompts FILE.jsonl, one of the two");
  if (f.prompt) return {*f.prompt == "-" ? read_stdin() : *f.prompt};
  const std::string name = f.prompts == "-" ? "stdin" : printable(f.prompts, 4096), content = f.prompts == "-" ? read_stdin() : io::read_text(f.prompts);
  std::vector<std::string> prompts;
  text::detail::each_line(name, content, [&](std::string_view line, const std::string& where) {
    prompts.emplace_back(io::parse_json(line, where).at("prompt", where).as_string(where + ": prompt"));
  });
  if (prompts.empty()) fail(ErrorKind::input, "generate.prompts", name, ": wanted a line {\"prompt\": ...}, found none");
  return prompts;
}

void run(const Common& common, const GenerateFlags& f) {
  std::vector<std::string> texts = read_prompts(f);
  TextModel model = load_text_model(f.model);
  const GenerateOptions o = sampling_options(common, f.options, model);
  std::vector<std::vector<std::int32_t>> prompts;
  for (const std::string& text : texts) {
    prompts.push_back({model.bos});
    for (std::int32_t id : model.tokenizer.encode(text)) prompts.back().push_back(id);
    if (static_cast<std::int64_t>(prompts.back().size()) > o.context)
      fail(ErrorKind::input, "generate.prompt", f.prompt ? "--prompt" : printable(f.prompts, 4096), ": prompt ", prompts.size(), " has ", prompts.back().size(), " tokens with BOS, the context ", o.context,
           "; shorten it, or raise --context");
  }
  const bool streamed = !common.json && prompts.size() == 1;
  TextStream out;
  auto start = std::chrono::steady_clock::now();
  std::vector<Completion> completions = generate(model.decoder(), prompts, o, [&](const GeneratedToken& t) {
    if (streamed) out.add(model.decode({t.id}));
  });
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (streamed) out.end();
  std::size_t tokens = 0;
  for (const Completion& c : completions) tokens += c.ids.size();
  note(common, fmt::format("{} prompts, {} new tokens in {:.2f} s, prompts included: {:.1f} tokens/s", prompts.size(), tokens, seconds, static_cast<double>(tokens) / seconds));
  if (streamed) return;
  if (common.json && f.prompt) return print_json(completion_json(model, completions[0]));
  io::Json list = io::Json::array();
  for (const Completion& c : completions) {
    if (common.json) list.push_back(completion_json(model, c));
    else print(text::replace_invalid_utf8(model.decode(c.ids)) + "\n");
  }
  if (!common.json) return;
  io::Json j = io::Json::object();
  j.set("completions", std::move(list));
  print_json(j);
}

}  // namespace

void add_generate(CLI::App& app, Common& common) {
  auto f = std::make_shared<GenerateFlags>();
  GenerateOptions& o = f->options;
  CLI::App* verb = app.add_subcommand("generate", "Completions of prompts, with a K/V cache");
  verb->add_option("--model", f->model, "Model or run folder with a tokenizer")->type_name("DIR")->required();
  verb->add_option("--prompt", f->prompt, "A text; - reads it from stdin")->type_name("TEXT");
  verb->add_option("--prompts", f->prompts, "One {\"prompt\": ...} a line; - reads them from stdin")->type_name("FILE.jsonl");
  sampling_flags(*verb, o);
  integer_flag<std::int64_t>(*verb, "--batch", o.batch, 1, 1 << 16, "Prompts at a time (default 8); never changes a result");
  verb->callback([&common, f] { common.run = [&common, f] { run(common, *f); }; });
}

}  // namespace bam::app
