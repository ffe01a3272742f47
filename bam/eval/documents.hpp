// Documents and examples of a file or folder as evaluation wants them.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "../text/chat_data.hpp"
#include "../text/corpus.hpp"
#include "../text/tokenizer.hpp"
#include "nll.hpp"

namespace bam {

// The validation documents of path (text::read_documents), the first `limit` of them where limit > 0.
inline std::vector<DocumentTokens> encode_documents(const std::string& path, const text::Tokenizer& tokenizer, std::int32_t bos, std::int32_t eos, std::int64_t limit = 0) {
  std::vector<DocumentTokens> out;
  for (const text::Document& document : text::read_documents(path, "validation")) {
    if (limit && static_cast<std::int64_t>(out.size()) >= limit) break;
    DocumentTokens t;
    t.ids.push_back(bos);
    for (std::int32_t id : tokenizer.encode(document.text)) t.ids.push_back(id);
    t.ids.push_back(eos);
    t.bytes = static_cast<std::int64_t>(document.text.size());
    out.push_back(std::move(t));
  }
  return out;
}

// The examples that are kept, to be scored on what training trains: the assistant's tokens and the ends of its turns. bytes: of its contents.
inline std::vector<DocumentTokens> example_documents(const std::vector<text::EncodedExample>& examples) {
  std::vector<DocumentTokens> out;
  for (const text::EncodedExample& e : examples) {
    if (!e.kept()) continue;
    DocumentTokens t{e.tokens.ids, e.answer_bytes, {}, e.example.lang, e.example.task};
    for (text::TokenKind k : e.tokens.kinds) t.scored.push_back(k == text::TokenKind::answer);
    out.push_back(std::move(t));
  }
  return out;
}

// {label: {nll, tokens}} over the documents that have one; label: &DocumentTokens::lang or task.
inline io::Json nll_by(std::string DocumentTokens::*label, const std::vector<DocumentTokens>& documents, const NllResult& r) {
  std::map<std::string, std::pair<double, std::int64_t>> groups;
  for (std::size_t d = 0; d < documents.size(); ++d) {
    if ((documents[d].*label).empty()) continue;
    auto& [sum, tokens] = groups[documents[d].*label];
    sum += r.document_nll[d];
    tokens += static_cast<std::int64_t>(r.token_nll[d].size());
  }
  io::Json j = io::Json::object();
  for (const auto& [name, g] : groups) j.set(name, io::Json::object({{"nll", g.first / static_cast<double>(g.second)}, {"tokens", g.second}}));
  return j;
}

}  // namespace bam
