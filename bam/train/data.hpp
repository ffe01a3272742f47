// From a run file's sources to rows and evaluation sets.
#pragma once
#include <map>

#include "../eval/documents.hpp"
#include "../text/chat_data.hpp"
#include "../text/packing.hpp"
#include "run_config.hpp"

namespace bam::train {

struct EncodedSource {
  text::TokenSource tokens;
  text::ExampleCounts examples;  // of a chat source
};

// Encoded sources by path (and, of examples, template and context), for several runs in one process with one tokenizer.
using SourceCache = std::map<std::string, EncodedSource>;

// The training documents of a file or folder: BOS, text, EOS.
inline text::TokenSource encode_source(const std::string& path, const text::Tokenizer& tokenizer, std::int32_t bos, std::int32_t eos) {
  text::TokenSource source;
  source.name = path;
  for (const text::Document& document : text::read_documents(path, "train")) {
    std::vector<std::int32_t> ids = tokenizer.encode(document.text);
    ids.insert(ids.begin(), bos);
    ids.push_back(eos);
    source.add(ids, static_cast<std::int64_t>(document.text.size()));
  }
  return source;
}

// Reads and encodes what a run file names. Holds a reference to the tokenizer.
class DataReader {
 public:
  DataReader(const RunConfig& config, const text::Tokenizer& tokenizer, std::int32_t bos, std::int32_t eos, SourceCache* cache = nullptr)
      : config_(config), tokenizer_(tokenizer), bos_(bos), eos_(eos), cache_(cache) {}

  EncodedSource source(const DataSource& d) const {
    const std::string key = d.format == DataFormat::text ? d.path : str(d.path, "\n", config_.train.chat_template, "\n", config_.train.context);
    if (!cache_) return encode(d);
    if (!cache_->contains(key)) cache_->emplace(key, encode(d));
    return cache_->at(key);
  }

  // counts: per source, where wanted.
  text::DataStream stream(std::vector<text::ExampleCounts>* counts = nullptr) const {
    std::vector<text::TokenSource> sources;
    for (const DataSource& d : config_.data) {
      EncodedSource s = source(d);
      s.tokens.weight = d.weight;
      sources.push_back(std::move(s.tokens));
      if (counts) counts->push_back(s.examples);
    }
    const TrainOptions& t = config_.train;
    return text::DataStream(std::move(sources), {t.context, t.seed, t.mask_documents, t.packing, t.epochs});
  }

  // Every example of a chat source, those left out too; split: "train" or "validation".
  std::vector<text::EncodedExample> examples(const std::string& path, const std::string& split) const {
    return text::encode_examples(path, split, text::ChatTemplate(config_.train.chat_template, tokenizer_, bos_, eos_), config_.train.context);
  }

  std::vector<DocumentTokens> eval_set(const EvalSource& e) const {
    if (e.format == DataFormat::text) return encode_documents(e.path, tokenizer_, bos_, eos_);
    const auto list = examples(e.path, "validation");
    text::check_trained(list, e.path, config_.train.context);
    return example_documents(list);
  }

 private:
  EncodedSource encode(const DataSource& d) const {
    EncodedSource out;
    text::TokenSource& source = out.tokens;
    if (d.format == DataFormat::chat) {
      const auto list = examples(d.path, "train");
      text::check_trained(list, d.path, config_.train.context);
      source.name = d.path;
      for (const text::EncodedExample& e : list) {
        out.examples.add(e);
        if (!e.kept()) continue;
        source.add(e.tokens.ids, e.answer_bytes);
        for (text::TokenKind k : e.tokens.kinds) source.trained.push_back(k == text::TokenKind::answer);
      }
      return out;
    }
    source = encode_source(d.path, tokenizer_, bos_, eos_);
    return out;
  }

  const RunConfig& config_;
  const text::Tokenizer& tokenizer_;
  std::int32_t bos_, eos_;
  SourceCache* cache_;
};

}  // namespace bam::train
