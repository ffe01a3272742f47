// bam tokenizer: train, encode, decode.
#include "bam/io/model_folder.hpp"
#include "bam/text/bpe_train.hpp"
#include "bam/text/corpus.hpp"
#include "flags.hpp"
#include "output.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct TokenizerFlags {
  std::int64_t vocab_size = 0;
  std::vector<std::string> files, specials;
  std::string tokenizer, file, text;
  std::string ids;
  bool special = false;
};

// A tokenizer.json, or a folder that holds one.
text::Tokenizer load(const std::string& path) {
  return text::Tokenizer::load(io::is_folder(path) ? io::join(path, "tokenizer.json") : path);
}

void train(const Common& common, const TokenizerFlags& f) {
  if (common.out.empty()) fail(ErrorKind::usage, "flag.missing", "bam tokenizer train: wanted --out DIR");
  if (f.vocab_size == 0) fail(ErrorKind::usage, "flag.missing", "bam tokenizer train: wanted --vocab-size N");
  std::string file = io::join(common.out, "tokenizer.json");
  if (io::exists(file) && !common.force) fail(ErrorKind::usage, "out.exists", printable(file, 4096), ": is there already; --force replaces it");
  text::BpeTrainer trainer;
  std::int64_t documents = 0, bytes = 0;
  for (const std::string& path : f.files) {
    note(common, str("reading ", printable(path, 4096)));
    for (const text::Document& d : text::read_documents(path, "train")) {
      trainer.add(d.text);
      ++documents;
      bytes += static_cast<std::int64_t>(d.text.size());
    }
  }
  note(common, str(documents, " documents, ", bytes_text(bytes), "; merging to ", f.vocab_size, " tokens"));
  io::Json json = trainer.train(f.vocab_size, f.specials);
  std::int64_t size = text::Tokenizer::parse(json, file).vocab_size();  // what is written can be read
  if (size < f.vocab_size) note(common, str("warning: the text gives only ", size, " tokens of the ", f.vocab_size, " asked for"));
  io::make_folder(common.out);
  io::write_file_atomic(file, io::dump(json, 2) + "\n");
  if (common.json) {
    io::Json j = io::Json::object();
    j.set("vocab_size", size);
    j.set("documents", documents);
    j.set("bytes", bytes);
    j.set("file", file);
    return print_json(j);
  }
  print(str(file, ": ", size, " tokens\n"));
}

void encode(const Common& common, const TokenizerFlags& f) {
  text::Tokenizer tokenizer = load(f.tokenizer);
  if (f.file.empty() == f.text.empty()) fail(ErrorKind::usage, "flag.missing", "bam tokenizer encode: wanted FILE or --text, one of the two");
  if (const std::size_t at = text::detail::valid_until(f.text, 0); at < f.text.size()) fail(ErrorKind::usage, "data.utf8", "bam tokenizer encode: --text: byte ", at, " is no UTF-8");
  std::vector<text::Document> documents = f.text.empty() ? text::read_documents(f.file, "train") : std::vector<text::Document>{{f.text}};
  if (f.special && (tokenizer.bos_id() < 0 || tokenizer.eos_id() < 0))
    fail(ErrorKind::input, "tokenizer.special", f.tokenizer, ": has no BOS or EOS among its added tokens; leave --special out");
  io::Json lists = io::Json::array();
  std::int64_t tokens = 0, bytes = 0;
  for (const text::Document& d : documents) {
    std::vector<std::int32_t> ids = tokenizer.encode(d.text);
    if (f.special) {
      ids.insert(ids.begin(), tokenizer.bos_id());
      ids.push_back(tokenizer.eos_id());
    }
    tokens += static_cast<std::int64_t>(ids.size());
    bytes += static_cast<std::int64_t>(d.text.size());
    if (common.json) {
      lists.push_back(io::Json::array_of(ids));
      continue;
    }
    std::string line;
    for (std::int32_t id : ids) line += str(line.empty() ? "" : " ", id);
    print(line + "\n");
  }
  if (common.json) {
    io::Json j = io::Json::object();
    j.set("ids", std::move(lists));
    print_json(j);
  }
  note(common, str(documents.size(), " documents, ", tokens, " tokens, ", bytes, " bytes"));
}

void decode(const Common& common, const TokenizerFlags& f) {
  text::Tokenizer tokenizer = load(f.tokenizer);
  if (f.file.empty() == f.ids.empty()) fail(ErrorKind::usage, "flag.missing", "bam tokenizer decode: wanted IDS.json or --ids, one of the two");
  std::vector<std::vector<std::int32_t>> lists;
  io::Json json = f.file.empty() ? io::parse_json("[" + f.ids + "]", "--ids") : io::parse_json(io::read_file(f.file), f.file);
  auto read = [&](const io::Json& list) {
    lists.emplace_back();
    for (const io::Json& id : list.items(f.file)) lists.back().push_back(static_cast<std::int32_t>(id.as_int(f.file.empty() ? "--ids" : f.file, 0, INT32_MAX)));
  };
  if (f.file.empty()) read(json);
  else
    for (const io::Json& list : (json.is_object() ? json.at("ids", f.file) : json).items(f.file)) read(list);
  io::Json texts = io::Json::array();
  for (auto& ids : lists) {
    std::string text = tokenizer.decode(ids, f.special);
    if (common.json) texts.push_back(text::replace_invalid_utf8(text));
    else print(text + "\n");
  }
  if (common.json) {
    io::Json j = io::Json::object();
    j.set("texts", std::move(texts));
    print_json(j);
  }
}

}  // namespace

void add_tokenizer(CLI::App& app, Common& common) {
  auto f = std::make_shared<TokenizerFlags>();
  CLI::App* verb = app.add_subcommand("tokenizer", "Byte-level BPE: train, encode, decode");
  CLI::App* t = verb->add_subcommand("train", "Train a tokenizer on text; writes DIR/tokenizer.json");
  integer_flag<std::int64_t>(*t, "--vocab-size", f->vocab_size, 259, 1 << 24, "Tokens, with 3 special ones and 256 bytes");
  t->add_option("--special", f->specials, "A further special token behind <PAD>, <BOS> and <EOS>; may be repeated")->type_name("TOKEN")->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  t->add_option("FILE", f->files, ".jsonl, .txt, .zst of either, or data folders (their train part)")->required();
  t->callback([&common, f] { common.run = [&common, f] { train(common, *f); }; });
  CLI::App* e = verb->add_subcommand("encode", "Ids of each document");
  e->add_option("--tokenizer", f->tokenizer, "tokenizer.json, or a folder with one")->required();
  e->add_option("FILE", f->file, ".jsonl or .txt");
  e->add_option("--text", f->text, "A text on the command line instead");
  e->add_flag("--special", f->special, "BOS before and EOS behind each document");
  e->callback([&common, f] { common.run = [&common, f] { encode(common, *f); }; });
  CLI::App* d = verb->add_subcommand("decode", "Text of ids");
  d->add_option("--tokenizer", f->tokenizer, "tokenizer.json, or a folder with one")->required();
  d->add_option("IDS.json", f->file, "[[id,...],...], or what encode --json wrote");
  d->add_option("--ids", f->ids, "Ids on the command line instead, with commas between")->type_name("ID,...");
  d->add_flag("--special", f->special, "Show special tokens by their names");
  d->callback([&common, f] { common.run = [&common, f] { decode(common, *f); }; });
}

}  // namespace bam::app
