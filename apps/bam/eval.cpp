// bam eval: likelihood and perplexity per data set, one model or several side by side.
#include <chrono>
#include <cmath>
#include <set>

#include "bam/eval/documents.hpp"
#include "bam/io/model_folder.hpp"
#include "flags.hpp"
#include "output.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct Flags {
  std::vector<std::string> models, data;
  std::int64_t context = 0, micro_batch = 8, limit = 0;
};

// NAME=PATH, or PATH alone, which is its own name.
std::pair<std::string, std::string> named(const std::string& text) {
  auto eq = text.find('=');
  return eq == text.npos || eq == 0 ? std::pair{text, text} : std::pair{text.substr(0, eq), text.substr(eq + 1)};
}

io::Json result_json(const NllResult& r) {
  io::Json j = io::Json::object();
  j.set("documents", r.documents);
  j.set("tokens", r.tokens);
  j.set("bytes", r.bytes);
  j.set("nll", r.nll);
  j.set("ppl", r.ppl);
  j.set("bits_per_byte", r.bits_per_byte);
  j.set("stderr", r.stderr_nll);
  return j;
}

void run(const Common& common, const Flags& f) {
  if (common.bf16()) fail(ErrorKind::usage, "dtype.bf16", "--dtype bf16: this build computes in fp32 only; leave the flag out");
  if (f.models.empty() || f.data.empty()) fail(ErrorKind::usage, "flag.missing", "bam eval: wanted --model DIR and --data NAME=FILE");
  for (const auto* list : {&f.models, &f.data}) {
    std::set<std::string> seen;
    for (const std::string& text : *list)
      if (!seen.insert(named(text).first).second) fail(ErrorKind::usage, "flag.twice", "bam eval: the name ", printable(named(text).first, 100), " is given twice; write NAME=PATH with names of your own");
  }
  io::Json all = io::Json::object();
  Table table;
  std::vector<std::string> head{"perplexity (nats per token +- stderr)"};
  for (const std::string& d : f.data) head.push_back(named(d).first);
  head.push_back("mean nats");
  table.add(head);
  for (const std::string& m : f.models) {
    auto [name, path] = named(m);
    io::ModelFolder model = io::load_model(path);
    if (!model.has_tokenizer) fail(ErrorKind::input, "model.tokenizer", model.path, ": wanted tokenizer.json, there is none");
    text::Tokenizer tokenizer = text::Tokenizer::load(model.path + "/tokenizer.json");
    if (tokenizer.vocab_size() > model.config.model.vocab_size)
      fail(ErrorKind::input, "model.tokenizer", model.path, ": the tokenizer has ", tokenizer.vocab_size(), " ids, the model ", model.config.model.vocab_size);
    auto bos = static_cast<std::int32_t>(io::special_id(model.config.bos_token_id, model.config.model, "bos_token_id"));
    auto eos = model.config.eos_token_ids.empty() ? std::optional<std::int64_t>() : std::optional(model.config.eos_token_ids[0]);
    auto eos_id = static_cast<std::int32_t>(io::special_id(eos, model.config.model, "eos_token_id"));
    std::int64_t context = f.context ? f.context : model.config.model.max_position_embeddings;
    io::Json sets = io::Json::object();
    std::vector<std::string> row{name};
    double mean = 0;
    for (const std::string& d : f.data) {
      auto [set, file] = named(d);
      std::vector<DocumentTokens> documents = encode_documents(file, tokenizer, bos, eos_id, f.limit);
      auto start = std::chrono::steady_clock::now();
      NllResult r = evaluate_nll(*model.decoder, documents, context, f.micro_batch);
      if (!std::isfinite(r.nll)) fail(ErrorKind::numerics, "eval.non_finite", printable(name, 200), " on ", printable(set, 200), ": the likelihood is not finite; the model's weights have overflowed");
      double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      note(common, fmt::format("{} on {}: {} documents, {} tokens, {:.4f} nats, {:.0f} tokens/s", name, set, r.documents, r.tokens, r.nll, static_cast<double>(r.tokens) / seconds));
      sets.set(set, result_json(r));
      row.push_back(fmt::format("{:.2f} ({:.3f} +- {:.3f})", r.ppl, r.nll, r.stderr_nll));
      mean += r.nll / static_cast<double>(f.data.size());
    }
    row.push_back(fmt::format("{:.4f}", mean));
    table.add(row);
    io::Json one = io::Json::object();
    one.set("sets", std::move(sets));
    all.set(name, std::move(one));
  }
  if (!common.json) return print(table.text());
  if (f.models.size() == 1) return print_json(all.at(named(f.models[0]).first));
  io::Json j = io::Json::object();
  j.set("models", std::move(all));
  print_json(j);
}

}  // namespace

void add_eval(CLI::App& app, Common& common) {
  auto f = std::make_shared<Flags>();
  CLI::App* verb = app.add_subcommand("eval", "Likelihood and perplexity per data set, stderr with every number");
  verb->add_option("--model", f->models, "Model or run folder; several make a table")->type_name("[NAME=]DIR")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->add_option("--data", f->data, "A file or folder of documents; may be repeated")->type_name("NAME=FILE")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  integer_flag<std::int64_t>(*verb, "--context", f->context, 1, 1 << 24, "Window (default: max_position_embeddings)");
  integer_flag<std::int64_t>(*verb, "--micro-batch", f->micro_batch, 1, 1 << 20, "Windows at a time (default 8)");
  integer_flag<std::int64_t>(*verb, "--limit", f->limit, 0, INT64_MAX, "Documents of each set (default: all)");
  verb->callback([&common, f] { common.run = [&common, f] { run(common, *f); }; });
}

}  // namespace bam::app
