// A conversation with a fine-tuned model, turn by turn, with one K/V cache: a further turn costs its new tokens only, and its text is that
// of a run without a cache on the same ids. The model's own answers stay the ids that it chose.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "../text/chat.hpp"
#include "generate.hpp"

namespace bam {

// Holds references to the model and the template.
class Conversation {
 public:
  struct Turn {
    Completion completion;
    std::vector<std::int32_t> prompt;  // all ids before the answer
    std::int64_t fed = 0;              // of these, those that the cache did not hold
    std::int64_t dropped = 0;          // oldest turns that gave way to this one
  };

  // system: the system's turn, which never gives way; empty: none. options: stop gets the template's end of turn too.
  Conversation(const Decoder& model, const text::ChatTemplate& format, GenerateOptions options, const std::string& system = "")
      : format_(&format), options_(std::move(options)), cache_(model, 1, detail::generate_context(model, options_)) {
    options_.context = cache_.rows();
    options_.stop.push_back(format.end_of_turn());
    std::vector<text::ChatMessage> messages;
    if (!system.empty()) messages.push_back({text::Role::system, system});
    begin_ = format.encode(messages).ids;
  }

  // The answer to the user's next turn. Where it and max_new_tokens new tokens do not fit into the context, the oldest turns (a question and
  // its answer) are dropped; where they do not fit without any of these either, the answer is as long as there is room.
  // Error(input): no room for one token; the conversation is as it was.
  Turn say(const std::string& user, const std::function<void(const GeneratedToken&)>& on_token = {}) {
    text::ChatTokens question;
    format_->append(question, {text::Role::user, user});
    format_->open(question, text::Role::assistant);
    std::int64_t size = static_cast<std::int64_t>(begin_.size()) + question.size();
    if (size >= options_.context)
      fail(ErrorKind::input, "chat.context", "chat: the turn has ", size, " tokens", begin_.size() > 1 ? " with the system's" : "", ", the context ", options_.context, "; shorten it, or give a larger context");
    for (const auto& turn : turns_) size += static_cast<std::int64_t>(turn.size());
    std::size_t first = 0;
    for (; first < turns_.size() && size + options_.max_new_tokens > options_.context; ++first) size -= static_cast<std::int64_t>(turns_[first].size());
    turns_.erase(turns_.begin(), turns_.begin() + static_cast<std::ptrdiff_t>(first));

    Turn out;
    out.dropped = static_cast<std::int64_t>(first);
    out.prompt = begin_;
    for (const auto& turn : turns_) out.prompt.insert(out.prompt.end(), turn.begin(), turn.end());
    out.prompt.insert(out.prompt.end(), question.ids.begin(), question.ids.end());
    cache_.rewind(0, out.prompt);
    out.fed = static_cast<std::int64_t>(out.prompt.size()) - cache_.length(0);
    out.completion = generate(cache_, {out.prompt}, options_, on_token)[0];
    question.ids.insert(question.ids.end(), out.completion.ids.begin(), out.completion.ids.end());
    question.ids.push_back(format_->end_of_turn());
    turns_.push_back(std::move(question.ids));
    return out;
  }

  // Forgets all turns but the system's.
  void reset() { turns_.clear(); }
  std::size_t turns() const { return turns_.size(); }
  const GenerateOptions& options() const { return options_; }

 private:
  const text::ChatTemplate* format_;
  GenerateOptions options_;
  SequenceCache cache_;
  std::vector<std::int32_t> begin_;               // BOS, the system's turn
  std::vector<std::vector<std::int32_t>> turns_;  // each a question with its answer
};

}  // namespace bam
