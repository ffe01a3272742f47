// A conversation's turns: what the model sees, the text of a run without a cache, a full context.
#include "bam/eval/chat.hpp"
#include "bam/text/bpe_train.hpp"
#include "reference.hpp"
#include "support.hpp"

namespace bam::conversation_test {

using test::error_of;
using test::has;
using text::ChatTemplate;
using text::Role;
using Ids = std::vector<std::int32_t>;
using Messages = std::vector<text::ChatMessage>;

namespace {

struct Bench {
  text::Tokenizer tokenizer;
  Decoder model;
  Bench() : tokenizer(make_tokenizer()), model(config(tokenizer.vocab_size())) { model.initialize(3, 0.3); }
  static text::Tokenizer make_tokenizer() {
    text::BpeTrainer trainer;
    for (int i = 0; i < 3; ++i) trainer.add("What is two and two? It is four.");
    return text::Tokenizer::parse(trainer.train(320, {"<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"}), "t.json");
  }
  static ModelConfig config(std::int64_t vocabulary) {
    ModelConfig c;
    c.vocab_size = vocabulary;
    c.hidden_size = 32;
    c.intermediate_size = 24;
    c.num_hidden_layers = 2;
    c.num_attention_heads = c.num_key_value_heads = 2;
    c.head_dim = 16;
    c.max_position_embeddings = 128;
    return c;
  }
  ChatTemplate format(const char* name) const { return {name, tokenizer, 1, 2}; }
};

bool begins(const Ids& all, const Ids& part) { return part.size() <= all.size() && std::equal(part.begin(), part.end(), all.begin()); }
Ids operator+(Ids a, const Ids& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

TEST_CASE("conversation: every turn has the bits of a run without a cache, and feeds only what is new") {
  const Bench b;
  for (const char* name : {"plain", "cohere"}) {
    const ChatTemplate format = b.format(name);
    for (double temperature : {0.0, 1.2}) {
      GenerateOptions o;
      o.max_new_tokens = 7;
      o.temperature = temperature;
      o.seed = 4;
      Conversation talk(b.model, format, o, "Be short.");
      o.stop = {format.end_of_turn()};
      Ids before;
      for (const char* user : {"What is two and two?", "And four?", "<EOS>", "two two two"}) {
        CAPTURE(user);
        reference::Floats logits, fresh_logits;
        auto keep = [](reference::Floats& to) { return [&to](const GeneratedToken& t) { to.insert(to.end(), t.logits.begin(), t.logits.end()); }; };
        const Conversation::Turn turn = talk.say(user, keep(logits));
        const Completion fresh = generate(b.model, {turn.prompt}, o, keep(fresh_logits))[0];
        CHECK(turn.completion.ids == fresh.ids);
        CHECK(turn.completion.stopped_by == fresh.stopped_by);
        CHECK(reference::same_bits(logits, fresh_logits));
        CHECK(turn.dropped == 0);
        const bool first = before.empty();
        if (first) CHECK(turn.prompt == format.prompt(Messages{{Role::system, "Be short."}, {Role::user, user}}).ids);
        else CHECK(begins(turn.prompt, before + Ids{format.end_of_turn()}));
        // The last new token is not in the cache where the length ended the answer.
        const Ids asked = format.prompt(Messages{{Role::user, user}}).ids;
        if (!first) CHECK(turn.fed <= static_cast<std::int64_t>(asked.size()) - 1 + 2);
        else CHECK(turn.fed == static_cast<std::int64_t>(turn.prompt.size()));
        CHECK(turn.prompt == (first ? turn.prompt : before + Ids{format.end_of_turn()} + Ids(asked.begin() + 1, asked.end())));
        before = turn.prompt + turn.completion.ids;
      }
      CHECK(talk.turns() == 4);
      talk.reset();
      CHECK(talk.say("And four?").prompt == format.prompt(Messages{{Role::system, "Be short."}, {Role::user, "And four?"}}).ids);
    }
  }
}

TEST_CASE("conversation: turns of whole messages are what training sees") {
  const Bench b;
  const ChatTemplate format = b.format("cohere");
  text::ChatTokens t;
  for (const text::ChatMessage& m : Messages{{Role::user, "two"}, {Role::assistant, "four"}}) format.append(t, m);
  CHECK(format.encode(Messages{{Role::user, "two"}, {Role::assistant, "four"}}).ids == Ids{1} + t.ids);
}

TEST_CASE("conversation: in a full context the oldest turns give way, the system's stays") {
  const Bench b;
  const ChatTemplate format = b.format("cohere");
  GenerateOptions o;
  o.max_new_tokens = 8;
  o.context = 64;
  Conversation talk(b.model, format, o, "Be short.");
  const Ids system = format.encode(Messages{{Role::system, "Be short."}}).ids;
  std::int64_t dropped = 0;
  for (int i = 0; i < 12; ++i) {
    const Conversation::Turn turn = talk.say("two and two?");
    dropped += turn.dropped;
    CHECK(begins(turn.prompt, system));
    CHECK(turn.prompt.size() + 8 <= 64);
    GenerateOptions fresh = o;
    fresh.stop = {format.end_of_turn()};
    CHECK(generate(b.model, {turn.prompt}, fresh)[0].ids == turn.completion.ids);
    CHECK(static_cast<std::int64_t>(talk.turns()) == i + 1 - dropped);
  }
  CHECK(dropped > 0);
  CHECK(talk.turns() > 1);
  // Too long in itself: an error, and all is as it was.
  const std::size_t turns = talk.turns();
  std::string longest;
  for (int i = 0; i < 60; ++i) longest += "xy";
  CHECK(has(error_of(ErrorKind::input, [&] { talk.say(longest); }), "with the system's, the context 64; shorten it, or give a larger context"));
  CHECK(talk.turns() == turns);
  // Longer than leaves room for all new tokens: the answer is shorter.
  const Conversation::Turn turn = talk.say(longest.substr(0, 45));
  CHECK(talk.turns() == 1);
  CHECK(turn.prompt.size() > 56);
  CHECK(turn.prompt.size() + turn.completion.ids.size() <= 64);
}

}  // namespace bam::conversation_test
