// Examples for fine-tuning from .jsonl files: one object a line, {"messages": [{"role", "content"} ...]} or {"prompt", "completion"}, with
// optional "lang", "task", "id", "parallel_id", "source" (docs/formats.md, section 3); and their ids, with what was cut or left out.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chat.hpp"
#include "corpus.hpp"

namespace bam::text {

struct ChatExample {
  std::vector<ChatMessage> messages;  // a prompt is the user's, a completion the assistant's
  std::string lang, task, id, parallel_id, source;
  std::string where;  // file:line

  // All contents, for a split by hash.
  std::string text() const {
    std::string all;
    for (const ChatMessage& m : messages) all += m.content + "\n";
    return all;
  }
};

namespace detail {

// A layout that others use, by its keys.
inline std::string_view known_layout(const io::Json& j) {
  auto all = [&](std::initializer_list<std::string_view> keys) { return std::all_of(keys.begin(), keys.end(), [&](std::string_view k) { return j.contains(k); }); };
  if (all({"conversations"})) return "the ShareGPT layout (conversations of from and value): write messages of role and content";
  if (all({"instruction", "output"})) return "the Alpaca layout (instruction, input, output): write instruction and input as prompt, output as completion";
  if (all({"chosen", "rejected"})) return "pairs of preferences (chosen, rejected): keep prompt, and chosen as completion";
  if (all({"inputs", "targets"})) return "the layout of xP3 and the Aya collection (inputs, targets): rename them prompt and completion";
  if (all({"question", "answer"})) return "questions and answers: rename question and answer prompt and completion";
  if (all({"text"})) return "text for pre-training: leave format = \"chat\" out";
  return "";
}

inline ChatMessage parse_message(const io::Json& j, const std::string& where) {
  if (!j.is_object()) fail(ErrorKind::input, "data.message", where, ": wanted an object with role and content, got ", j.describe());
  for (const char* key : {"role", "content"})
    if (!j.contains(key)) fail(ErrorKind::input, "data.message", where, ": wanted role and content, ", key, " is missing");
  const std::string_view role = j.at("role").as_string(where + ": role");
  ChatMessage m{Role::user, std::string(j.at("content").as_string(where + ": content"))};
  if (role == "system") m.role = Role::system;
  else if (role == "assistant") m.role = Role::assistant;
  else if (role != "user") fail(ErrorKind::input, "data.role", where, ": wanted the role system, user or assistant, got '", printable(role, 60), "'");
  return m;
}

// prompt_alone: "prompt" will do without "completion".
inline ChatExample example_of(const io::Json& j, const std::string& where, bool prompt_alone = false) {
  const std::string wanted = ": wanted an object with messages, or prompt and completion, got ";
  if (!j.is_object()) fail(ErrorKind::input, "data.example", where, wanted, j.describe());
  ChatExample e;
  e.where = where;
  const bool pair = j.contains("prompt") && j.contains("completion");
  if (const io::Json* messages = j.find("messages")) {
    if (pair) fail(ErrorKind::input, "data.example", where, ": has messages, and prompt and completion too; keep one of the two");
    std::size_t n = 0;
    for (const io::Json& m : messages->items(where + ": messages")) e.messages.push_back(parse_message(m, str(where, ": message ", ++n)));
  } else if (pair || (prompt_alone && j.contains("prompt"))) {
    e.messages.push_back({Role::user, std::string(j.at("prompt").as_string(where + ": prompt"))});
    if (pair) e.messages.push_back({Role::assistant, std::string(j.at("completion").as_string(where + ": completion"))});
  } else {
    std::string keys;
    for (auto [key, value] : j.members(where)) keys += str(keys.empty() ? "" : ", ", printable(key, 40));
    const std::string_view layout = known_layout(j);
    fail(ErrorKind::input, "data.example", where, wanted, keys.empty() ? "{}" : "one with " + keys, layout.empty() ? "" : "; this is ", layout);
  }
  auto label = [&](const char* key, std::string& value) {
    const io::Json* v = j.find(key);
    if (!v || v->is_null()) return;
    value = v->is_string() ? std::string(v->as_string(where)) : str(v->as_int(str(where, ": ", key, ", a string or an integer")));
  };
  label("lang", e.lang);
  label("task", e.task);
  label("id", e.id);
  label("parallel_id", e.parallel_id);
  label("source", e.source);
  return e;
}
inline ChatExample parse_example(std::string_view line, const std::string& where) { return example_of(io::parse_json(line, where), where); }

// Calls f(line, "file:number") for each line of a file of examples.
template <class F>
void each_example_line(const std::string& file, F&& f) {
  if (!has_suffix(file, ".jsonl")) fail(ErrorKind::input, "data.kind", printable(file, 4096), ": wanted .jsonl or .jsonl.zst, one example a line");
  const std::string content = io::read_text(file);
  each_line(file, content, f);
}
inline void append_examples(std::vector<ChatExample>& out, const std::string& file) {
  each_example_line(file, [&](std::string_view line, const std::string& where) { out.push_back(parse_example(line, where)); });
}

inline const std::vector<std::string>& example_suffixes() {
  static const std::vector<std::string> list{".jsonl", ".jsonl.zst"};
  return list;
}

}  // namespace detail

// The examples of a file, or of one split of a folder; files, splits and order as read_documents.
// Error(input): nothing there, or a line that is no example, by file and line.
inline std::vector<ChatExample> read_examples(const std::string& path, const std::string& split) {
  auto out = detail::read_split<ChatExample>(path, split, detail::example_suffixes(), detail::append_examples, [](const ChatExample& e) { return e.text(); });
  if (out.empty()) fail(ErrorKind::input, "data.empty", printable(path, 4096), ": wanted examples (", split, "), found none; name a .jsonl file, or a folder with such files or train/ and validation/");
  return out;
}

struct EncodedExample {
  enum class Fate { kept, no_answer, too_long };  // without an assistant's turn; longer than `context` without any of its prompt
  ChatExample example;
  ChatTokens tokens;
  Fate fate = Fate::kept;
  std::int64_t answer_bytes = 0;  // UTF-8 bytes of the assistant's contents

  bool kept() const { return fate == Fate::kept; }
  std::string_view reason() const { return fate == Fate::no_answer ? "no assistant's turn" : fate == Fate::too_long ? "answer longer than context" : tokens.cut ? "prompt cut" : ""; }
};

// Turns behind the assistant's last are left out: no trained token sees them. context: the most ids of an example; a longer prompt loses its
// start, an answer loses nothing, so an example may be left out.
inline EncodedExample encode_example(ChatExample example, const ChatTemplate& format, std::int64_t context) {
  EncodedExample out;
  while (!example.messages.empty() && example.messages.back().role != Role::assistant) example.messages.pop_back();
  out.tokens = format.encode(example.messages);
  for (const ChatMessage& m : example.messages)
    if (m.role == Role::assistant) out.answer_bytes += static_cast<std::int64_t>(m.content.size());
  if (example.messages.empty()) out.fate = EncodedExample::Fate::no_answer;
  else if (!out.tokens.truncate(context)) out.fate = EncodedExample::Fate::too_long;
  out.example = std::move(example);
  return out;
}

struct ExampleCounts {
  std::int64_t examples = 0, tokens = 0, trained = 0, truncated = 0, cut = 0, no_answer = 0, too_long = 0;  // examples, tokens, trained: of those kept

  void add(const EncodedExample& e) {
    no_answer += e.fate == EncodedExample::Fate::no_answer;
    too_long += e.fate == EncodedExample::Fate::too_long;
    if (!e.kept()) return;
    ++examples;
    tokens += e.tokens.size();
    trained += e.tokens.trained();
    truncated += e.tokens.cut > 0;
    cut += e.tokens.cut;
  }
  std::int64_t dropped() const { return no_answer + too_long; }
  io::Json json() const {
    return io::Json::object({{"examples", examples}, {"tokens", tokens}, {"trained", trained}, {"truncated", truncated}, {"tokens_cut", cut}, {"dropped", dropped()}, {"no_answer", no_answer}, {"too_long", too_long}});
  }
};

inline ExampleCounts count(const std::vector<EncodedExample>& examples) {
  ExampleCounts c;
  for (const EncodedExample& e : examples) c.add(e);
  return c;
}

// Every example of path, those left out too.
inline std::vector<EncodedExample> encode_examples(const std::string& path, const std::string& split, const ChatTemplate& format, std::int64_t context) {
  std::vector<EncodedExample> out;
  for (ChatExample& e : read_examples(path, split)) out.push_back(encode_example(std::move(e), format, context));
  return out;
}

// Error(input), with counts, when none of them is kept.
inline void check_trained(const std::vector<EncodedExample>& examples, const std::string& path, std::int64_t context) {
  if (const ExampleCounts c = count(examples); c.examples == 0)
    fail(ErrorKind::input, "data.untrained", printable(path, 4096), ": nothing to train on in ", examples.size(), " examples: ", c.no_answer, " without an assistant's turn, ", c.too_long, " with an answer longer than the context of ", context);
}

}  // namespace bam::text
