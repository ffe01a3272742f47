// What the verbs that write text share: flags, stdin, and a completion as JSON.
#pragma once
#include <unistd.h>

#include <string>

#include "bam/eval/generate.hpp"
#include "flags.hpp"
#include "output.hpp"
#include "text_model.hpp"

namespace bam::app {

inline void sampling_flags(CLI::App& verb, GenerateOptions& o) {
  integer_flag<std::int64_t>(verb, "--max-new-tokens", o.max_new_tokens, 0, 1 << 24, "New tokens of an answer at most (default 128); EOS ends it earlier");
  real_flag(verb, "--temperature", o.temperature, 0, 1e6, "0 takes the largest logit (default), more draws");
  integer_flag<std::int64_t>(verb, "--top-k", o.top_k, 0, INT32_MAX, "Draw among the k largest (default 0: all)");
  real_flag(verb, "--top-p", o.top_p, 1e-9, 1, "and among the fewest that have this probability together (default 1)");
  integer_flag<std::int64_t>(verb, "--context", o.context, 1, 1 << 24, "Most tokens of prompt and completion (default: max_position_embeddings)");
}

// The flags' options, with the seed and what they take from the model.
inline GenerateOptions sampling_options(const Common& common, GenerateOptions o, const TextModel& model) {
  o.seed = common.seed.value_or(0);
  o.stop = model.eos;
  if (o.context == 0) o.context = model.decoder().config().max_position_embeddings;
  return o;
}

inline io::Json completion_json(const TextModel& model, const Completion& c) {
  return io::Json::object({{"text", text::replace_invalid_utf8(model.decode(c.ids))}, {"ids", io::Json::array_of(c.ids)}, {"stopped_by", name_of(c.stopped_by)}});
}

// Up to 64 KiB more of stdin; false at its end.
inline bool read_more(std::string& text) {
  char block[1 << 16];
  ssize_t n;
  do n = ::read(0, block, sizeof block);
  while (n < 0 && errno == EINTR);
  if (n < 0) fail(ErrorKind::io, "stdin.read", "stdin: cannot read: ", std::strerror(errno));
  text.append(block, static_cast<std::size_t>(n));
  if (text.size() > std::size_t{1} << 30) fail(ErrorKind::limit, "stdin.size", "stdin: wanted at most 1 GiB, got more");
  return n > 0;
}
inline std::string read_stdin() {
  std::string text;
  while (read_more(text)) {
  }
  return text;
}

}  // namespace bam::app
