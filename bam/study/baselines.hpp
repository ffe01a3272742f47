// What counting and compression reach on the study's validation text: an interpolated Kneser-Ney 5-gram of each domain's own training
// text, with the study's tokenizer, on the documents on which models are evaluated; and zstd -19 on the whole of the validation text.
#pragma once
#include <string>
#include <vector>

#include "../eval/compression.hpp"
#include "../eval/documents.hpp"
#include "../eval/ngram.hpp"
#include "../io/json.hpp"
#include "../train/data.hpp"

namespace bam::study {

// folder: of one domain. Figures in nats per byte, as those of models.
inline io::Json measure_baselines(const std::string& folder, const text::Tokenizer& tokenizer, const std::vector<DocumentTokens>& documents) {
  const auto bos = static_cast<std::int32_t>(tokenizer.bos_id()), eos = static_cast<std::int32_t>(tokenizer.eos_id());
  const text::TokenSource source = train::encode_source(folder, tokenizer, bos, eos);
  NgramModel::Documents train;
  append_documents(train, source);
  const NllResult ngram = evaluate_ngram(NgramModel(train, tokenizer.vocab_size(), 5), documents);
  if (ngram.bytes == 0) fail(ErrorKind::input, "data.empty", folder, ": the documents of its validation part that are read are empty; raise study.eval_documents");
  const CompressionResult zstd = evaluate_zstd(text::read_documents(folder, "validation"));
  return io::Json::object({{"ngram_nll", ngram.nll}, {"ngram_nll_per_byte", ngram.nll * static_cast<double>(ngram.tokens) / static_cast<double>(ngram.bytes)},
                           {"zstd_nats_per_byte", zstd.bits_per_byte * math::log(2.0)}});
}

}  // namespace bam::study
