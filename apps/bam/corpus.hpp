// The generated corpora as data folders.
#pragma once
#include <algorithm>
#include <string>
#include <utility>

#include "bam/io/file.hpp"
#include "bam/io/json.hpp"
#include "bam/text/generated/corpus.hpp"
#include "bam/text/generated/tasks.hpp"

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
      staged.write(str(text::domain_name(domain), "/", split, "/generated.jsonl"), lines);
      bytes += static_cast<std::int64_t>(lines.size());
    }
  }
  staged.commit();
  return bytes;
}

struct LanguageCounts {
  std::int64_t documents = 2000, examples = 1000, held_out = 200;  // of each language; examples, held_out: and task
};

// The generated languages: folder/lm/{train,validation}/glN.jsonl, a tenth more documents for validation, and
// folder/TASK/{train,validation,test}/glN.jsonl; whole or not at all. Returns the bytes written.
inline std::int64_t write_languages(const std::string& folder, const LanguageCounts& n, std::uint64_t seed, bool replace) {
  namespace lang = text::languages;
  io::StagedDirectory staged(folder, replace ? "lm/train/gl0.jsonl" : "");
  std::int64_t bytes = 0;
  auto write = [&](const std::string& name, const std::string& lines) {
    staged.write(name, lines);
    bytes += static_cast<std::int64_t>(lines.size());
  };
  for (int l = 0; l < lang::language_count; ++l) {
    const std::string code = lang::language(l).code;
    std::string train, validation;
    const std::int64_t further = std::max<std::int64_t>(1, n.documents / 10);
    for (std::int64_t i = 0; i < n.documents + further; ++i)
      (i < n.documents ? train : validation) +=
          io::dump(io::Json::object({{"id", str(code, "/", seed, "/", i)}, {"text", lang::language_document(l, seed, static_cast<std::uint64_t>(i))}, {"lang", code}, {"source", "generated"}})) + "\n";
    write(str("lm/train/", code, ".jsonl"), train);
    write(str("lm/validation/", code, ".jsonl"), validation);
    for (lang::Task task : lang::tasks)
      for (lang::Split split : {lang::Split::train, lang::Split::validation, lang::Split::test}) {
        std::string lines;
        for (std::int64_t i = 0; i < (split == lang::Split::train ? n.examples : n.held_out); ++i) lines += lang::json_line(lang::task_example(task, l, split, seed, static_cast<std::uint64_t>(i))) + "\n";
        write(str(lang::task_names[static_cast<int>(task)], "/", lang::split_names[static_cast<int>(split)], "/", code, ".jsonl"), lines);
      }
  }
  staged.commit();
  return bytes;
}

}  // namespace bam::app
