// From a run file's sources to rows.
#pragma once
#include <map>

#include "../text/corpus.hpp"
#include "../text/packing.hpp"
#include "../text/tokenizer.hpp"
#include "run_config.hpp"

namespace bam::train {

// Encoded sources by path, for several runs in one process with one tokenizer.
using SourceCache = std::map<std::string, text::TokenSource>;

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

// Reads and encodes every source that the cache, if any, does not hold.
inline text::DataStream make_data_stream(const RunConfig& config, const text::Tokenizer& tokenizer, std::int32_t bos, std::int32_t eos, SourceCache* cache = nullptr) {
  std::vector<text::TokenSource> sources;
  for (const DataSource& d : config.data) {
    if (cache && !cache->contains(d.path)) cache->emplace(d.path, encode_source(d.path, tokenizer, bos, eos));
    sources.push_back(cache ? cache->at(d.path) : encode_source(d.path, tokenizer, bos, eos));
    sources.back().weight = d.weight;
  }
  return text::DataStream(std::move(sources), config.train.context, config.train.seed, config.train.mask_documents);
}

}  // namespace bam::train
