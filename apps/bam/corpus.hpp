// The generated corpus as a data folder.
#pragma once
#include <algorithm>
#include <string>
#include <utility>

#include "bam/io/file.hpp"
#include "bam/io/json.hpp"
#include "bam/text/generated/corpus.hpp"

namespace bam::app {

// folder/<domain>/{train,validation}/generated.jsonl, whole or not at all; `documents` training documents of each domain and a tenth
// more for validation. Returns the bytes written.
inline std::int64_t write_corpus(const std::string& folder, std::int64_t documents, std::uint64_t seed, bool replace) {
  io::StagedDirectory staged(folder, replace ? "general/train/generated.jsonl" : "");
  std::int64_t bytes = 0;
  for (text::Domain domain : text::domains) {
    std::string train, validation;
    const std::int64_t held_out = std::max<std::int64_t>(1, documents / 10);
    for (std::int64_t i = 0; i < documents + held_out; ++i) {
      text::GeneratedDocument d = text::generate_document(domain, seed, static_cast<std::uint64_t>(i));
      // nats: -log of the probability of the text; on average no model does better.
      (i < documents ? train : validation) += io::dump(io::Json::object({{"text", d.text}, {"source", "generated"}, {"nats", d.nats}})) + "\n";
    }
    for (auto& [split, lines] : {std::pair<const char*, std::string&>{"train", train}, {"validation", validation}}) {
      const std::string at = str(staged.path(), "/", text::domain_name(domain), "/", split);
      io::make_folder(at);
      io::write_file(at + "/generated.jsonl", lines);
      bytes += static_cast<std::int64_t>(lines.size());
    }
  }
  staged.commit();
  return bytes;
}

}  // namespace bam::app
