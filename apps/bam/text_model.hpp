// A model folder with what text needs: its tokenizer and the ids that begin and end a text.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "bam/io/model_folder.hpp"
#include "bam/text/tokenizer.hpp"
#include "output.hpp"

namespace bam::app {

struct TextModel {
  io::ModelFolder folder;
  text::Tokenizer tokenizer;
  std::int32_t bos;
  std::vector<std::int32_t> eos;  // may be empty

  const Decoder& decoder() const { return *folder.decoder; }
  // The first of eos. Error(input) where there is none.
  std::int32_t end_of_text() const {
    return static_cast<std::int32_t>(io::special_id(eos.empty() ? std::nullopt : std::optional<std::int64_t>(eos[0]), folder.config.model, "eos_token_id"));
  }
  // The bytes of ids; a model may have more ids than its tokenizer, and these have none.
  std::string decode(std::vector<std::int32_t> ids) const {
    std::erase_if(ids, [&](std::int32_t id) { return id >= tokenizer.vocab_size(); });
    return tokenizer.decode(ids);
  }
};

inline TextModel load_text_model(const std::string& path) {
  io::ModelFolder m = io::load_model(path);
  if (!m.has_tokenizer) fail(ErrorKind::input, "model.tokenizer", printable(m.path, 4096), ": wanted tokenizer.json, there is none");
  text::Tokenizer tokenizer = text::Tokenizer::load(m.path + "/tokenizer.json");
  const ModelConfig& c = m.config.model;
  if (tokenizer.vocab_size() > c.vocab_size)
    fail(ErrorKind::input, "model.tokenizer", printable(m.path, 4096), ": the tokenizer has ", tokenizer.vocab_size(), " ids, the model ", c.vocab_size);
  auto bos = static_cast<std::int32_t>(io::special_id(m.config.bos_token_id, c, "bos_token_id"));
  std::vector<std::int32_t> eos;
  for (std::int64_t id : m.config.eos_token_ids) eos.push_back(static_cast<std::int32_t>(io::special_id(id, c, "eos_token_id")));
  return {std::move(m), std::move(tokenizer), bos, std::move(eos)};
}

// Writes text to stdout as its bytes come; a character is held until it is whole, and bytes that are none become U+FFFD.
class TextStream {
 public:
  void add(std::string_view bytes) {
    held_ += bytes;
    std::size_t n = text::whole_characters(held_);
    if (n > 0) print(text::replace_invalid_utf8(std::string_view(held_).substr(0, n)));
    held_.erase(0, n);
  }
  void end() {
    print(text::replace_invalid_utf8(held_) + "\n");
    held_.clear();
  }

 private:
  std::string held_;
};

}  // namespace bam::app
