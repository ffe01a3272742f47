// bam chat: a conversation with a fine-tuned model.
#include "bam/eval/chat.hpp"
#include "sampling.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct ChatFlags {
  std::string model, system, format = "plain";
  GenerateOptions options;
};

// The lines of stdin as they come, without their ends; the last one may lack it.
class Lines {
 public:
  bool next(std::string& line) {
    std::size_t end;
    while ((end = held_.find('\n')) == held_.npos && more_) more_ = read_more(held_);
    if (end == held_.npos && held_.empty()) return false;
    line = held_.substr(0, end);
    held_.erase(0, end == held_.npos ? end : end + 1);
    if (line.ends_with('\r')) line.pop_back();
    return true;
  }

 private:
  std::string held_;
  bool more_ = true;
};

void run(const Common& common, const ChatFlags& f) {
  const TextModel model = load_text_model(f.model);
  const text::ChatTemplate format(f.format, model.tokenizer, model.bos, model.end_of_text());
  Conversation conversation(model.decoder(), format, sampling_options(common, f.options, model), f.system);
  const bool terminal = isatty(0) && isatty(1) && !common.json;
  if (terminal) note(common, "one turn a line; /reset forgets all turns, /quit ends");
  Lines lines;
  std::string line;
  for (std::int64_t number = 0;;) {
    if (terminal) {
      release_notes();
      print("> ");
    }
    if (!lines.next(line) || line == "/quit") break;
    if (line.find_first_not_of(" \t") == line.npos) continue;
    if (line == "/reset") {
      conversation.reset();
      note(common, "all turns are forgotten");
      continue;
    }
    if (line[0] == '/') {
      note(common, str("'", printable(line, 40), "': wanted /reset or /quit; a turn that begins so has a blank before it"));
      continue;
    }
    TextStream out;
    try {
      const Conversation::Turn turn = conversation.say(line, [&](const GeneratedToken& t) {
        if (!common.json) out.add(model.decode({t.id}));
      });
      if (turn.dropped > 0) note(common, str("the context of ", conversation.options().context, " tokens is full: the oldest ", turn.dropped, turn.dropped == 1 ? " turn is" : " turns are", " forgotten; /reset forgets all, --context makes room"));
      if (!common.json) {
        out.end();
        continue;
      }
      io::Json j = io::Json::object({{"turn", ++number}});
      const io::Json completion = completion_json(model, turn.completion);
      for (auto [key, value] : completion.members("completion")) j.set(key, value);
      j.set("prompt_tokens", static_cast<std::int64_t>(turn.prompt.size()));
      j.set("fed_tokens", turn.fed);
      j.set("dropped_turns", turn.dropped);
      print_json(j);
    } catch (const Error& e) {
      if (!terminal || e.kind() != ErrorKind::input) throw;
      say(str(e.what(), "\n"));
    }
  }
  if (terminal) print("\n");
}

}  // namespace

void add_chat(CLI::App& app, Common& common) {
  auto f = std::make_shared<ChatFlags>();
  CLI::App* verb = app.add_subcommand("chat", "A conversation with a fine-tuned model: one turn a line on stdin; /reset forgets all turns, /quit or the end of input ends");
  verb->add_option("--model", f->model, "Model or run folder with a tokenizer")->type_name("DIR")->required();
  verb->add_option("--system", f->system, "The system's turn before all others")->type_name("TEXT");
  choice_flag(*verb, "--template", f->format, text::chat_templates(), "As in fine-tuning (default plain)");
  sampling_flags(*verb, f->options);
  verb->callback([&common, f] { common.run = [&common, f] { run(common, *f); }; });
}

}  // namespace bam::app
