// Written answers: how items are read, what each metric counts, intervals, differences, prompts that are cut.
#include "bam/eval/written.hpp"

#include <cmath>

#include "bam/text/bpe_train.hpp"
#include "support.hpp"

namespace bam::written_test {

using test::error_of;
using test::has;
using test::TemporaryFolder;

namespace {

std::vector<WrittenItem> items_of(const TemporaryFolder& dir, std::string_view lines, const std::vector<Metric>& metrics) {
  io::write_file_atomic(dir / "items.jsonl", lines);
  return read_written_items(dir / "items.jsonl", metrics);
}

}  // namespace

TEST_CASE("written: what an item's answer is") {
  TemporaryFolder dir;
  using enum Metric;
  const auto items = items_of(dir,
                              R"({"prompt": "a", "completion": "x is\n#### 1,234"})"
                              "\n"
                              R"({"prompt": "b", "completion": "no", "answer": "18", "lang": "de"})"
                              "\n\n"
                              R"({"prompt": "c", "answer": 7.5})"
                              "\n"
                              R"({"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "q"}, {"role": "user", "content": "r"}, {"role": "assistant", "content": "3"}]})"
                              "\n",
                              {number, match});
  REQUIRE(items.size() == 4);
  CHECK(score_written(number, items, {"1234", "it is 18.", "7,5", "3"}).value == 1);
  CHECK(score_written(number, items, {"1", "no", "7", "4 3 2"}).value == 0);
  const auto sums = items_of(dir, R"({"prompt": "a", "completion": "3"})"
                                  "\n"
                                  R"({"prompt": "b", "completion": "3.0"})"
                                  "\n"
                                  R"({"prompt": "c", "references": ["4", "4!"], "completion": "4"})"
                                  "\n", {number, match});
  CHECK(score_written(number, sums, {"", "", ""}).further.at("constant").as_double("") == doctest::Approx(2.0 / 3));
  CHECK(score_written(match, sums, {"", "", ""}).further.at("constant").as_double("") == doctest::Approx(1.0 / 3));
  CHECK(items[1].references == std::vector<std::string>{"no"});
  CHECK(items[2].references == std::vector<std::string>{"7.5"});
  CHECK(items[3].prompt().size() == 3);
  CHECK(items[3].prompt().back().content == "r");
  const WrittenScore s = score_written(match, items, {"x", "NO!", "", "3"});
  CHECK(s.items == std::vector<double>{0, 1, 0, 1});
  const Bounds wilson = wilson_interval(2, 4);
  CHECK(s.bounds.low == wilson.low);
  CHECK(s.bounds.high == wilson.high);
  const io::Json j = written_json(match, s, items);
  CHECK(j.at("by_language").at("de").at("value").as_double("") == 1);
  CHECK_FALSE(j.at("by_language").contains(""));

  // A conversation that ends with the user, and a prompt alone: what is asked is the last turn.
  const auto asked = items_of(dir, R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "p"}], "lang": "en"})"
                                   "\n"
                                   R"({"prompt": "p", "lang": "en", "tgt_lang": "fr"})"
                                   "\n", {language});
  CHECK(asked[0].prompt().size() == 2);
  CHECK(asked[0].lang == "en");
  CHECK(asked[1].prompt().size() == 1);
  CHECK(asked[1].lang == "fr");
  CHECK(asked[1].references.empty());

  struct Wrong {
    Metric metric;
    const char *line, *message;
  };
  for (const Wrong& w : std::initializer_list<Wrong>{
           {number, R"({"prompt": "a", "completion": "C) x", "answer": "C"})", "items.jsonl:2: the metric number wants a number as \"answer\" or in \"completion\", got \"C\""},
           {number, R"({"prompt": "a"})", "items.jsonl:2: the metric number wants a number as \"answer\" or in \"completion\", got none"},
           {match, R"({"prompt": "a"})", "items.jsonl:2: the metric match wants \"completion\", \"references\" or \"answer\""},
           {rouge, R"({"messages": [{"role": "user", "content": "p"}]})", "items.jsonl:2: the metric rouge wants"},
           {instructions, R"({"prompt": "a", "completion": "b"})", "items.jsonl:2: the metric instructions wants \"checks\", or \"instruction_id_list\" with \"kwargs\""},
           {instructions, R"({"prompt": "a", "checks": []})", "items.jsonl:2: the metric instructions wants an instruction"},
           {instructions, R"({"prompt": "a", "instruction_id_list": ["en:no:such"], "kwargs": [{}]})", "items.jsonl:2: the instruction \"en:no:such\" has no check here"},
           {language, R"({"prompt": "a"})", "items.jsonl:2: the metric language wants the language of the answer"},
           {match, R"({"messages": [{"role": "assistant", "content": "p"}]})", "items.jsonl:2: wanted a turn before the answer"},
           {match, R"({"text": "a"})", "items.jsonl:2: wanted an object with messages, or prompt and completion, got one with text"}})
    CHECK_MESSAGE(has(error_of(ErrorKind::input, [&] { items_of(dir, str("\n", w.line, "\n"), {w.metric}); }), w.message), std::string(w.message));
  CHECK(has(error_of(ErrorKind::input, [&] { items_of(dir, "\n", {match}); }), "found none"));
}

TEST_CASE("written: means, the best of several references, and figures beside the score") {
  TemporaryFolder dir;
  const auto items = items_of(dir, R"({"prompt": "a", "references": ["the cat sat", "a dog"]})"
                                   "\n"
                                   R"({"prompt": "b", "completion": "one two three four"})"
                                   "\n", {Metric::rouge, Metric::chrf});
  const std::vector<std::string> texts{"a dog", "one two four"};
  const WrittenScore rouge = score_written(Metric::rouge, items, texts);
  CHECK(rouge.items[0] == 1);
  CHECK(rouge.items[1] == doctest::Approx(6.0 / 7));
  CHECK(rouge.value == doctest::Approx((1 + 6.0 / 7) / 2));
  CHECK(rouge.bounds.low == doctest::Approx(6.0 / 7));
  CHECK(rouge.bounds.high == 1);
  CHECK(rouge.further.at("rouge_2").as_double("") == doctest::Approx((1 + 2.0 / 5) / 2));
  const WrittenScore chrf = score_written(Metric::chrf, items, texts);
  CHECK(chrf.items[0] == 1);
  CHECK(chrf.items[1] == doctest::Approx(sentence_chrf(texts[1], {"one two three four"}) / 100));
  CHECK(chrf.further.at("corpus").as_double("") == doctest::Approx(corpus_chrf(texts, {{"the cat sat", "a dog"}, {"one two three four"}}) / 100));
  const BootstrapResult d = written_difference(score_written(Metric::rouge, items, {"nothing", "one two four"}), rouge);
  CHECK(d.n == 2);
  CHECK(d.value == doctest::Approx(-0.5));
  CHECK(d.low == -1);
  CHECK(d.high == 0);
}

TEST_CASE("written: instructions and languages, and what cannot be told") {
  TemporaryFolder dir;
  const auto items = items_of(dir, R"({"prompt": "a", "lang": "en", "instruction_id_list": ["en:punctuation:no_comma", "en:length_constraints:number_words"], "kwargs": [{}, {"relation": "at least", "num_words": 2}]})"
                                   "\n"
                                   R"({"prompt": "b", "lang": "en", "checks": [{"kind": "language", "lang": "de"}]})"
                                   "\n"
                                   R"({"prompt": "c", "lang": "en", "checks": [{"kind": "no_digits"}]})"
                                   "\n", {Metric::instructions, Metric::language});
  const std::vector<std::string> texts{"Sure:\nno, never\nbut yes", "der Hund schl\u00e4ft", "word"};
  const WrittenScore untold = score_written(Metric::instructions, items, texts);
  CHECK(untold.n == 2);
  CHECK(untold.value == 0.5);
  CHECK(std::isnan(untold.items[1]));
  CHECK(untold.further.at("undecided").as_int("") == 1);
  CHECK(untold.further.at("of_instructions").as_double("") == doctest::Approx(2.0 / 3));
  CHECK(untold.further.at("loose").as_double("") == 0.5);

  io::make_folder(dir / "lm");
  io::make_folder(dir / "lm/train");
  io::write_file_atomic(dir / "lm/train/all.jsonl", "{\"text\": \"the dog sleeps and the word is here\", \"lang\": \"en\"}\n{\"text\": \"der Hund schl\u00e4ft und das Wort ist hier\", \"lang\": \"de\"}\n");
  const LanguageIdentifier identifier = read_languages({dir / "lm"});
  CHECK(identifier.languages() == std::vector<std::string>{"de", "en"});
  const WrittenScore told = score_written(Metric::instructions, items, texts, &identifier);
  CHECK(told.items == std::vector<double>{0, 1, 1});
  CHECK(written_difference(told, untold).n == 2);
  const WrittenScore language = score_written(Metric::language, items, {"the dog", "der Hund", "123"}, &identifier);
  CHECK(language.items == std::vector<double>{1, 0, 0});
  CHECK(language.further.at("without_letters").as_int("") == 1);
  io::write_file_atomic(dir / "lm/train/all.jsonl", "{\"text\": \"the dog\"}\n");
  CHECK(has(error_of(ErrorKind::input, [&] { read_languages({dir / "lm"}); }), "all.jsonl:1: wanted the key \"lang\""));
}

TEST_CASE("written: a prompt that is too long loses its start, the template's tokens stay") {
  TemporaryFolder dir;
  text::BpeTrainer trainer;
  const text::Tokenizer tokenizer = text::Tokenizer::parse(trainer.train(259), "test");
  const text::ChatTemplate plain("plain", tokenizer, 1, 2);
  const auto items = items_of(dir, R"({"prompt": "abcdef", "completion": "x"})"
                                   "\n"
                                   R"({"prompt": "ab", "completion": "x"})"
                                   "\n", {Metric::match});
  std::int64_t cut = 0;
  const auto prompts = encode_prompts(items, plain, 4, cut);
  CHECK(cut == 1);
  REQUIRE(prompts[0].size() == 4);
  CHECK(prompts[0][0] == 1);
  CHECK(tokenizer.decode(prompts[0]) == "def");
  CHECK(tokenizer.decode(prompts[1]) == "ab");
  // The assistant's earlier turns are no prompt that may be cut.
  const auto talk = items_of(dir, R"({"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "long answer"}, {"role": "user", "content": "r"}]})"
                                  "\n", {});
  CHECK(has(error_of(ErrorKind::input, [&] { encode_prompts(talk, plain, 8, cut); }), "items.jsonl:1: the earlier turns alone have more than the 8 tokens"));
}

}  // namespace bam::written_test
