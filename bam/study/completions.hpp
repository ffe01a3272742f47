// What a model writes after beginnings of the generated validation texts, and whether it is right: the generator's own parser checks it
// (text::check_completion).
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "../eval/generate.hpp"
#include "../io/json.hpp"
#include "../text/corpus.hpp"
#include "../text/generated/corpus.hpp"
#include "../text/tokenizer.hpp"

namespace bam::study {

struct Prompt {
  text::Domain domain;
  std::string text, truth;  // truth: the sentence that follows
};

// Of the first `each` validation texts of every domain under `data`, a generated corpus.
inline std::vector<Prompt> completion_prompts(const std::string& data, std::int64_t each) {
  std::vector<Prompt> prompts;
  for (text::Domain domain : text::domains) {
    std::int64_t n = 0;
    for (const text::Document& document : text::read_documents(data + "/" + text::domain_name(domain), "validation")) {
      if (n++ == each) break;
      std::string prompt = text::prompt_of(domain, document.text);
      std::string truth(text::generated::first_sentence(domain, std::string_view(document.text).substr(prompt.size())));
      prompts.push_back({domain, std::move(prompt), std::move(truth)});
    }
  }
  return prompts;
}

// Greedy, to the end of the sentence. A prompt that leaves less than a quarter of the context is cut on its left.
inline io::Json complete(const Decoder& model, const text::Tokenizer& tokenizer, const std::vector<Prompt>& prompts, std::int64_t context) {
  GenerateOptions o;
  o.max_new_tokens = std::min<std::int64_t>(48, context / 4);
  o.context = context;
  o.stop = {static_cast<std::int32_t>(tokenizer.eos_id())};
  std::vector<std::vector<std::int32_t>> ids;
  for (const Prompt& p : prompts) {
    std::vector<std::int32_t> all = tokenizer.encode(p.text);
    const auto room = static_cast<std::size_t>(context - o.max_new_tokens - 1);
    if (all.size() > room) all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(room));
    all.insert(all.begin(), static_cast<std::int32_t>(tokenizer.bos_id()));
    ids.push_back(std::move(all));
  }
  const std::vector<Completion> written = generate(model, ids, o);
  io::Json list = io::Json::array();
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const Prompt& p = prompts[i];
    std::string text = tokenizer.decode(written[i].ids);
    if (std::string_view sentence = text::generated::first_sentence(p.domain, text); !sentence.empty()) text = std::string(sentence);
    const text::Check check = text::check_completion(p.domain, p.text, text);
    list.push_back(io::Json::object({{"domain", text::domain_name(p.domain)}, {"prompt", p.text}, {"truth", p.truth}, {"text", text}, {"parses", check.parses}, {"right", check.right}}));
  }
  return list;
}

}  // namespace bam::study
