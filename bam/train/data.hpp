// From a run file's sources to rows.
#pragma once
#include "../text/corpus.hpp"
#include "../text/packing.hpp"
#include "../text/tokenizer.hpp"
#include "run_config.hpp"

namespace bam::train {

// Reads and encodes every source.
inline text::DataStream make_data_stream(const RunConfig& config, const text::Tokenizer& tokenizer, std::int32_t bos, std::int32_t eos) {
  std::vector<text::TokenSource> sources;
  for (const DataSource& d : config.data) {
    text::TokenSource source;
    source.name = d.path;
    source.weight = d.weight;
    for (const text::Document& document : text::read_documents(d.path, "train")) {
      std::vector<std::int32_t> ids = tokenizer.encode(document.text);
      ids.insert(ids.begin(), bos);
      ids.push_back(eos);
      source.add(ids, static_cast<std::int64_t>(document.text.size()));
    }
    sources.push_back(std::move(source));
  }
  return text::DataStream(std::move(sources), config.train.context, config.train.seed, config.train.mask_documents);
}

}  // namespace bam::train
