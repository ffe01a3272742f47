// Conversations to ids. A template is built in and chosen by name; one in a model's files is data, never run.
//
//   plain    BOS, then each content; EOS behind each of the assistant's
//   cohere   BOS, then each turn as <|START_OF_TURN_TOKEN|> <|USER_TOKEN|> content <|END_OF_TURN_TOKEN|>, with <|CHATBOT_TOKEN|> for the
//            assistant and <|SYSTEM_TOKEN|> for the system (Command-R, Aya 23)
//
// Each content is encoded alone, as it is; a special token's string in it is text. Trained are the assistant's tokens and what
// ends its turn, nothing else.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer.hpp"

namespace bam::text {

enum class Role : std::uint8_t { system, user, assistant };

struct ChatMessage {
  Role role;
  std::string content;
};

enum class TokenKind : std::uint8_t { frame, prompt, answer };  // the template's; system's and user's; trained

struct ChatTokens {
  std::vector<std::int32_t> ids;
  std::vector<TokenKind> kinds;  // of each id
  std::int64_t cut = 0;          // prompt tokens that truncate() took

  std::int64_t size() const { return static_cast<std::int64_t>(ids.size()); }
  std::int64_t trained() const { return std::count(kinds.begin(), kinds.end(), TokenKind::answer); }
  // To at most `most` ids: prompt tokens go, the earliest first; the template's and the answers stay. False, and nothing is cut, when those alone are more.
  bool truncate(std::int64_t most) {
    const std::int64_t excess = size() - most;
    if (excess <= 0) return true;
    if (std::count(kinds.begin(), kinds.end(), TokenKind::prompt) < excess) return false;
    std::size_t to = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (kinds[i] == TokenKind::prompt && cut < excess) {
        ++cut;
        continue;
      }
      ids[to] = ids[i];
      kinds[to++] = kinds[i];
    }
    ids.resize(to);
    kinds.resize(to);
    return true;
  }
};

inline const std::vector<std::string>& chat_templates() {
  static const std::vector<std::string> names{"plain", "cohere"};
  return names;
}

// Holds a reference to the tokenizer.
class ChatTemplate {
 public:
  // bos, eos: the model's. Error(input): no such template, or the tokenizer lacks its tokens.
  ChatTemplate(const std::string& name, const Tokenizer& tokenizer, std::int32_t bos, std::int32_t eos) : tokenizer_(&tokenizer), bos_(bos), end_(eos) {
    if (name == "plain") return;
    if (name != "cohere") fail(ErrorKind::input, "chat.template", "template: wanted \"plain\" or \"cohere\", got '", printable(name, 100), "'; templates are built in, a file's own are not run");
    std::string missing, flags;
    auto id = [&](const char* content) {
      const std::int32_t found = tokenizer.special_id(content);
      if (found < 0) {
        missing += str(missing.empty() ? "" : ", ", content);
        flags += str(" --special '", content, "'");
      }
      return found;
    };
    start_ = id("<|START_OF_TURN_TOKEN|>");
    end_ = id("<|END_OF_TURN_TOKEN|>");
    role_[0] = id("<|SYSTEM_TOKEN|>");
    role_[1] = id("<|USER_TOKEN|>");
    role_[2] = id("<|CHATBOT_TOKEN|>");
    if (!missing.empty())
      fail(ErrorKind::input, "chat.tokens", "template cohere: the tokenizer has no special token ", missing, "; train one with bam tokenizer train", flags, ", or use template = \"plain\"");
  }

  ChatTokens encode(std::span<const ChatMessage> messages) const {
    ChatTokens out;
    add(out, bos_, TokenKind::frame);
    for (const ChatMessage& m : messages) append(out, m);
    return out;
  }
  // What the assistant's next turn follows: all turns, then its opening. The ids of encode() of the same turns and that answer begin with these.
  ChatTokens prompt(std::span<const ChatMessage> messages) const {
    ChatTokens out = encode(messages);
    open(out, Role::assistant);
    return out;
  }
  // One more turn; and what opens a turn.
  void append(ChatTokens& out, const ChatMessage& m) const {
    const bool answer = m.role == Role::assistant;
    open(out, m.role);
    for (std::int32_t id : tokenizer_->encode(m.content)) add(out, id, answer ? TokenKind::answer : TokenKind::prompt);
    if (answer) add(out, end_, TokenKind::answer);
    else if (start_ >= 0) add(out, end_, TokenKind::frame);
  }
  void open(ChatTokens& out, Role role) const {
    if (start_ < 0) return;
    add(out, start_, TokenKind::frame);
    add(out, role_[static_cast<std::size_t>(role)], TokenKind::frame);
  }
  // What ends the assistant's turn: generation stops there.
  std::int32_t end_of_turn() const { return end_; }

 private:
  static void add(ChatTokens& out, std::int32_t id, TokenKind kind) {
    out.ids.push_back(id);
    out.kinds.push_back(kind);
  }

  const Tokenizer* tokenizer_;
  std::int32_t bos_, end_, start_ = -1;
  std::int32_t role_[3] = {-1, -1, -1};
};

}  // namespace bam::text
