// bam eval: likelihood and perplexity per data set, answers that compete for a prompt and answers that a model writes, one model or several
// side by side, with what an n-gram model and a compressor reach.
#include <chrono>
#include <cmath>
#include <set>

#include "bam/eval/choice.hpp"
#include "bam/eval/compression.hpp"
#include "bam/eval/documents.hpp"
#include "bam/eval/ngram.hpp"
#include "bam/train/data.hpp"
#include "eval_written.hpp"
#include "flags.hpp"
#include "output.hpp"
#include "text_model.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct EvalFlags {
  std::vector<std::string> models, data, choice, ngram_train;
  WrittenFlags written;
  std::string format;  // the template of --data's examples and of what is written; empty: these are documents, that is plain
  std::int64_t context = 0, micro_batch = 8, limit = 0;
  int ngram = 0;
  bool zstd = false;
};

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

// A set of --data with the model's ids; counts: of examples.
std::vector<DocumentTokens> read_set(const EvalFlags& f, const std::string& path, const TextModel& model, std::int32_t eos, std::int64_t context, text::ExampleCounts& counts) {
  if (f.format.empty()) return encode_documents(path, model.tokenizer, model.bos, eos, f.limit);
  auto list = text::encode_examples(path, "validation", text::ChatTemplate(f.format, model.tokenizer, model.bos, eos), context);
  if (f.limit && static_cast<std::int64_t>(list.size()) > f.limit) list.resize(static_cast<std::size_t>(f.limit));
  text::check_trained(list, path, context);
  counts = text::count(list);
  return example_documents(list);
}

// The table of likelihoods, and the same figures in bits per byte where something without tokens stands beside them.
struct Likelihoods {
  Table table, bytes;

  explicit Likelihoods(const EvalFlags& f) {
    std::vector<std::string> head{"perplexity (nats per token +- stderr)"};
    for (const std::string& d : f.data) head.push_back(named(d).first);
    head.push_back("mean nats");
    table.add(head);
    head.front() = "bits per byte";
    head.back() = "mean bits";
    bytes.add(head);
  }
  // One result a set.
  void add(const std::string& name, const std::vector<NllResult>& results) {
    std::vector<std::string> row{name}, bits{name};
    double mean = 0, mean_bits = 0;
    for (const NllResult& r : results) {
      row.push_back(fmt::format("{:.2f} ({:.3f} +- {:.3f})", r.ppl, r.nll, r.stderr_nll));
      bits.push_back(fmt::format("{:.4f}", r.bits_per_byte));
      mean += r.nll / static_cast<double>(results.size());
      mean_bits += r.bits_per_byte / static_cast<double>(results.size());
    }
    row.push_back(fmt::format("{:.4f}", mean));
    bits.push_back(fmt::format("{:.4f}", mean_bits));
    table.add(row);
    bytes.add(bits);
  }
};

Table choice_table(const std::string& name) {
  Table t;
  t.add({name, "n", "chance", "accuracy per byte", "accuracy of sum", "reciprocal rank (chance)", "nats per token", "nats per byte"});
  return t;
}
void add_row(Table& table, const std::string& name, const ChoiceResult& r) {
  table.add({name, str(r.n), r.majority > 0 ? fmt::format("{:.3f}, majority {:.3f}", r.chance, r.majority) : fmt::format("{:.3f}", r.chance),
             fmt::format("{:.3f} [{:.3f}, {:.3f}]", r.accuracy_per_byte, r.per_byte_bounds.low, r.per_byte_bounds.high),
             fmt::format("{:.3f} [{:.3f}, {:.3f}]", r.accuracy_sum, r.sum_bounds.low, r.sum_bounds.high),
             fmt::format("{:.3f} +- {:.3f} ({:.3f})", r.mean_reciprocal_rank, r.reciprocal_rank_stderr, r.reciprocal_rank_chance),
             fmt::format("{:.3f} +- {:.3f}", r.answer.nll, r.answer.stderr_nll), fmt::format("{:.4f} +- {:.4f}", r.nats_per_byte, r.nats_per_byte_stderr)});
}

// The n-gram model of --ngram: with the first model's tokenizer, and an nll of the same ids as the models'.
io::Json run_ngram(const Common& common, const EvalFlags& f, const TextModel& first, Likelihoods& out) {
  const std::int32_t eos = first.end_of_text();
  std::vector<text::TokenSource> sources;
  NgramModel::Documents documents;
  std::int64_t tokens = 0;
  for (const std::string& path : f.ngram_train) sources.push_back(train::encode_source(path, first.tokenizer, first.bos, eos));
  for (const text::TokenSource& source : sources) {
    append_documents(documents, source);
    tokens += source.tokens();
  }
  const NgramModel model(documents, first.tokenizer.vocab_size(), f.ngram);
  note(common, fmt::format("{}-gram model: {} tokens in {} documents, {} n-grams of the highest order", f.ngram, grouped(tokens), grouped(static_cast<std::int64_t>(documents.size())), grouped(model.ngrams(f.ngram))));
  io::Json sets = io::Json::object();
  std::vector<NllResult> results;
  for (const std::string& d : f.data) {
    results.push_back(evaluate_ngram(model, encode_documents(named(d).second, first.tokenizer, first.bos, eos, f.limit)));
    io::Json j = result_json(results.back());
    j.set("order", f.ngram);
    sets.set(named(d).first, std::move(j));
  }
  out.add(fmt::format("{}-gram", f.ngram), results);
  return sets;
}

io::Json run_zstd(const EvalFlags& f, Likelihoods& out) {
  io::Json sets = io::Json::object();
  std::vector<std::string> row{"zstd -19"};
  double mean = 0;
  for (const std::string& d : f.data) {
    std::vector<text::Document> documents = text::read_documents(named(d).second, "validation");
    if (f.limit && static_cast<std::int64_t>(documents.size()) > f.limit) documents.resize(static_cast<std::size_t>(f.limit));
    CompressionResult r = evaluate_zstd(documents);
    sets.set(named(d).first, io::Json::object({{"documents", r.documents}, {"bytes", r.bytes}, {"compressed_bytes", r.compressed_bytes}, {"bits_per_byte", r.bits_per_byte}}));
    row.push_back(fmt::format("{:.4f}", r.bits_per_byte));
    mean += r.bits_per_byte / static_cast<double>(f.data.size());
  }
  row.push_back(fmt::format("{:.4f}", mean));
  out.bytes.add(row);
  return sets;
}

void run(const Common& common, const EvalFlags& f) {
  const std::vector<std::string>& generate = f.written.sets;
  if (f.models.empty() || (f.data.empty() && f.choice.empty() && generate.empty())) fail(ErrorKind::usage, "flag.missing", "bam eval: wanted --model DIR and --data NAME=FILE, --choice NAME=FILE or --generate NAME=FILE");
  if ((f.ngram > 0) != !f.ngram_train.empty()) fail(ErrorKind::usage, "flag.missing", "bam eval: --ngram N and --ngram-train PATH go together");
  if ((f.ngram > 0 || f.zstd) && f.data.empty()) fail(ErrorKind::usage, "flag.missing", "bam eval: --ngram and --zstd want --data NAME=FILE");
  const bool unused = f.data.empty() && generate.empty();
  if (!f.format.empty() && (f.ngram > 0 || f.zstd || unused)) fail(ErrorKind::usage, "flag.missing", "bam eval: --template scores the answers of --data NAME=FILE, or is for --generate NAME=FILE; ", unused ? "name such a file" : "leave --ngram and --zstd out");
  for (const auto* list : {&f.models, &f.data, &f.choice, &generate}) {
    std::set<std::string> seen;
    for (const std::string& text : *list)
      if (!seen.insert(named(text).first).second) fail(ErrorKind::usage, "flag.twice", "bam eval: the name ", printable(named(text).first, 100), " is given twice; write NAME=PATH with names of your own");
  }
  io::Json all = io::Json::object(), beside = io::Json::object();
  Likelihoods likelihoods(f);
  std::optional<TextModel> first;  // with its ids the n-gram model counts
  std::vector<std::vector<ChoiceItem>> items;
  std::vector<Table> choices;
  for (const std::string& c : f.choice) {
    items.push_back(read_choice_items(named(c).second));
    if (f.limit && static_cast<std::int64_t>(items.back().size()) > f.limit) items.back().resize(static_cast<std::size_t>(f.limit));
    choices.push_back(choice_table(named(c).first));
  }
  WrittenSets written(common, f.written, f.limit);
  auto finite = [](double x, const std::string& name, const std::string& set) {
    if (!std::isfinite(x)) fail(ErrorKind::numerics, "eval.non_finite", printable(name, 200), " on ", printable(set, 200), ": the likelihood is not finite; the model's weights have overflowed");
  };
  for (const std::string& m : f.models) {
    auto [name, path] = named(m);
    TextModel model = load_text_model(path);
    const std::int32_t eos = model.end_of_text();
    const std::int64_t context = f.context ? f.context : model.decoder().config().max_position_embeddings;
    io::Json sets = io::Json::object(), choice = io::Json::object();
    std::vector<NllResult> results;
    auto start = std::chrono::steady_clock::now();
    auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
    for (const std::string& d : f.data) {
      auto [set, file] = named(d);
      text::ExampleCounts counts;
      const std::vector<DocumentTokens> documents = read_set(f, file, model, eos, context, counts);
      start = std::chrono::steady_clock::now();
      NllResult r = evaluate_nll(model.decoder(), documents, context, f.micro_batch);
      finite(r.nll, name, set);
      note(common, fmt::format("{} on {}: {} documents, {} tokens, {:.4f} nats, {:.0f} tokens/s", name, set, r.documents, r.tokens, r.nll, static_cast<double>(r.tokens) / seconds()));
      io::Json j = result_json(r);
      if (!f.format.empty()) {
        j.set("cut", counts.truncated);
        j.set("dropped", counts.dropped());
        if (counts.truncated + counts.dropped() > 0) note(common, fmt::format("{}: {} prompts cut to fit {} tokens, {} examples left out", set, counts.truncated, context, counts.dropped()));
        j.set("by_language", nll_by(&DocumentTokens::lang, documents, r));
        j.set("by_task", nll_by(&DocumentTokens::task, documents, r));
      }
      sets.set(set, std::move(j));
      results.push_back(std::move(r));
    }
    if (!f.data.empty()) likelihoods.add(name, results);
    for (std::size_t c = 0; c < f.choice.size(); ++c) {
      auto [set, file] = named(f.choice[c]);
      start = std::chrono::steady_clock::now();
      ChoiceResult r = evaluate_choice(model.decoder(), model.tokenizer, model.bos, eos, items[c], context, f.micro_batch);
      finite(r.answer.nll, name, set);
      if (r.n == 0) fail(ErrorKind::input, "choice.none", printable(file, 4096), ": none of ", r.dropped, " items fits a context of ", context, " with two answers or more; give --context, or other items");
      note(common, fmt::format("{} on {}: {} items, {} prompts cut to fit {} tokens, {} dropped, {:.0f} s", name, set, r.n, r.cut, context, r.dropped, seconds()));
      choice.set(set, choice_json(r));
      add_row(choices[c], name, r);
    }
    io::Json answers = written.run(name, model, text::ChatTemplate(f.format.empty() ? "plain" : f.format, model.tokenizer, model.bos, eos), context, f.micro_batch);
    if (f.ngram > 0 && !first) first = std::move(model);
    io::Json one = io::Json::object();
    one.set("sets", std::move(sets));
    if (!f.choice.empty()) one.set("choice", std::move(choice));
    if (!generate.empty()) one.set("generate", std::move(answers));
    all.set(name, std::move(one));
  }
  if (f.ngram > 0) beside.set("ngram", run_ngram(common, f, *first, likelihoods));
  if (f.zstd) beside.set("zstd", run_zstd(f, likelihoods));
  if (!common.json) {
    std::string text = f.data.empty() ? "" : likelihoods.table.text();
    if (!beside.empty()) text += "\n" + likelihoods.bytes.text();
    for (const Table& t : written.tables()) choices.push_back(t);
    for (const Table& t : choices) text += (text.empty() ? "" : "\n") + t.text();
    return print(text);
  }
  io::Json j = io::Json::object();
  if (f.models.size() == 1) j = std::move(*all.find(named(f.models[0]).first));
  else j.set("models", std::move(all));
  for (auto [key, value] : beside.members("eval")) j.set(key, value);
  print_json(j);
}

}  // namespace

void add_eval(CLI::App& app, Common& common) {
  auto f = std::make_shared<EvalFlags>();
  CLI::App* verb = app.add_subcommand("eval", "Likelihood and perplexity per data set, answers that compete for a prompt, answers that are written; stderr or interval with every number");
  verb->add_option("--model", f->models, "Model or run folder; several make a table")->type_name("[NAME=]DIR")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->add_option("--data", f->data, "A file or folder of documents, or of examples with --template; may be repeated")->type_name("NAME=FILE")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  choice_flag(*verb, "--template", f->format, text::chat_templates(), "--data are examples (format = \"chat\") in this template: their trained tokens are scored; --generate's prompts are in it (default plain)");
  verb->add_option("--choice", f->choice, "Items of {prompt, choices, answer_index} or {prompt, completion}; may be repeated")->type_name("NAME=FILE")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  written_flags(*verb, f->written);
  integer_flag(*verb, "--ngram", f->ngram, 1, NgramModel::max_order, "A Kneser-Ney model of this order beside the models, with the first one's tokenizer");
  verb->add_option("--ngram-train", f->ngram_train, "What it counts: a file, or the training part of a folder; may be repeated")->type_name("PATH")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->add_flag("--zstd", f->zstd, "Bits per byte of zstd, level 19, on each set alone, beside the models");
  integer_flag<std::int64_t>(*verb, "--context", f->context, 1, 1 << 24, "Window (default: max_position_embeddings)");
  integer_flag<std::int64_t>(*verb, "--micro-batch", f->micro_batch, 1, 1 << 20, "Windows, answers or prompts at a time (default 8)");
  integer_flag<std::int64_t>(*verb, "--limit", f->limit, 0, INT64_MAX, "Documents or items of each set (default: all)");
  verb->callback([&common, f] { common.run = [&common, f] { run(common, *f); }; });
}

}  // namespace bam::app
