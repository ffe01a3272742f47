// Answers that compete for a prompt: their likelihood against logits, the batch that leaves no trace, cuts, rivals, and how a file of
// items is read.
#include "bam/eval/choice.hpp"

#include <cmath>
#include <map>

#include "bam/text/bpe_train.hpp"
#include "support.hpp"

namespace bam::choice_test {

using test::error_of;
using test::has;
using test::TemporaryFolder;

namespace {

constexpr std::int32_t bos = 1, eos = 2;

Decoder small_model(std::int64_t vocab, double std = 0.3) {
  ModelConfig c;
  c.vocab_size = vocab;
  c.hidden_size = 16;
  c.intermediate_size = 24;
  c.num_hidden_layers = 2;
  c.num_attention_heads = c.num_key_value_heads = 2;
  c.head_dim = 8;
  Decoder model(c);
  model.initialize(4, std);
  return model;
}

std::vector<std::int32_t> draw(Random& random, std::size_t n) {
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < n; ++i) ids.push_back(3 + static_cast<std::int32_t>(random.below(47)));
  return ids;
}

// log p(answer EOS | BOS prompt) from the logits of that one sequence.
double by_logits(const Decoder& model, const std::vector<std::int32_t>& prompt, const std::vector<std::int32_t>& answer) {
  std::vector<std::int32_t> ids{bos}, positions;
  ids.insert(ids.end(), prompt.begin(), prompt.end());
  ids.insert(ids.end(), answer.begin(), answer.end());
  for (std::size_t i = 0; i < ids.size(); ++i) positions.push_back(static_cast<std::int32_t>(i));
  Tensor logits = model.logits(model.hidden(TokenBatch{tensor(ids), tensor(positions), segments({static_cast<std::int64_t>(ids.size())}), {}}));
  const std::int64_t vocab = model.config().vocab_size;
  double total = 0;
  for (std::size_t i = prompt.size(); i < ids.size(); ++i) {
    const float* row = logits.data() + static_cast<std::int64_t>(i) * vocab;
    double sum = 0;
    for (std::int64_t v = 0; v < vocab; ++v) sum += std::exp(static_cast<double>(row[v]));
    total += static_cast<double>(row[i + 1 < ids.size() ? ids[i + 1] : eos]) - std::log(sum);
  }
  return total;
}

text::Tokenizer byte_tokenizer() {  // and three specials: 259 ids
  text::BpeTrainer trainer;
  return text::Tokenizer::parse(trainer.train(259), "test");
}

std::string line(const io::Json& j) { return io::dump(j) + "\n"; }

}  // namespace

TEST_CASE("the likelihood of answers is that of each sequence alone, whatever the micro-batch") {
  Decoder model = small_model(50);
  Random random(2);
  std::vector<ChoiceQuestion> questions;
  for (std::size_t prompt : {0u, 1u, 7u, 13u}) {
    ChoiceQuestion q;
    q.prompt = draw(random, prompt);
    for (std::size_t n : {1u, 3u, 6u}) q.answers.push_back({draw(random, n), static_cast<std::int64_t>(2 * n)});
    questions.push_back(q);
  }
  const std::vector<AnswerScores> scores = score_answers(model, questions, bos, eos, 20, 5);
  for (std::size_t q = 0; q < questions.size(); ++q) {
    CHECK(!scores[q].cut);
    for (std::size_t a = 0; a < 3; ++a) {
      CHECK(scores[q].log_likelihood[a] == doctest::Approx(by_logits(model, questions[q].prompt, questions[q].answers[a].ids)).epsilon(1e-5));
      CHECK(scores[q].token_nll[a].size() == questions[q].answers[a].ids.size() + 1);
    }
  }
  for (std::int64_t micro : {1, 2, 100}) {
    const std::vector<AnswerScores> other = score_answers(model, questions, bos, eos, 20, micro);
    for (std::size_t q = 0; q < questions.size(); ++q) {
      CHECK(other[q].token_nll == scores[q].token_nll);
      CHECK(other[q].log_likelihood == scores[q].log_likelihood);
    }
  }
}

TEST_CASE("a prompt is cut on the left so that the longest answer fits, and an answer never") {
  Decoder model = small_model(50);
  Random random(3);
  ChoiceQuestion q{draw(random, 10), {{draw(random, 2), 2}, {draw(random, 4), 4}}};
  AnswerScores s = score_answers(model, {q}, bos, eos, 15, 8)[0];  // BOS + 10 + 4
  CHECK(!s.cut);
  s = score_answers(model, {q}, bos, eos, 14, 8)[0];
  CHECK(s.cut);
  std::vector<std::int32_t> rest(q.prompt.begin() + 1, q.prompt.end());
  for (std::size_t a = 0; a < 2; ++a) CHECK(s.log_likelihood[a] == doctest::Approx(by_logits(model, rest, q.answers[a].ids)).epsilon(1e-5));
  s = score_answers(model, {q}, bos, eos, 5, 8)[0];
  CHECK(s.log_likelihood[1] == doctest::Approx(by_logits(model, {}, q.answers[1].ids)).epsilon(1e-5));
  CHECK(has(error_of(ErrorKind::usage, [&] { score_answers(model, {q}, bos, eos, 4, 8); }), "choice.context: choice: an answer of 4 tokens and BOS in a context of 4"));
}

TEST_CASE("accuracy, rank and chance follow from the likelihoods") {
  const text::Tokenizer tokenizer = byte_tokenizer();
  Decoder model = small_model(tokenizer.vocab_size());
  std::vector<ChoiceItem> items;
  for (int i = 0; i < 40; ++i) {
    ChoiceItem item;
    item.prompt = str("question ", i * i);
    for (int c = 0; c < 2 + i % 3; ++c) item.choices.push_back(std::string(static_cast<std::size_t>(1 + (i * 7 + c * 5) % 4), static_cast<char>('a' + (i + 3 * c) % 26)) + str(c));
    item.answer = static_cast<std::size_t>(i) % item.choices.size();
    items.push_back(item);
  }
  items.push_back({"twice the same", {"x", "x"}, 0, ""});  // a tie is wrong
  items.push_back({"empty", {"", "x"}, 1, ""});
  items.push_back({"none", {}, 0, ""});
  const ChoiceResult r = evaluate_choice(model, tokenizer, bos, eos, items, 64, 3);
  CHECK(r.n == 41);
  CHECK(r.dropped == 2);
  CHECK(r.cut == 0);
  std::int64_t right_sum = 0, right_byte = 0, tokens = 0, bytes = 0;
  double chance = 0, reciprocal = 0, nats = 0;
  for (std::size_t i = 0; i < 40; ++i) {
    std::vector<double> sums, per_byte;
    for (const std::string& c : items[i].choices) {
      sums.push_back(by_logits(model, tokenizer.encode(items[i].prompt), tokenizer.encode(c)));
      per_byte.push_back(sums.back() / static_cast<double>(c.size()));
    }
    right_sum += std::max_element(sums.begin(), sums.end()) - sums.begin() == static_cast<std::ptrdiff_t>(items[i].answer);
    std::int64_t rank = 1 + std::count_if(per_byte.begin(), per_byte.end(), [&](double x) { return x > per_byte[items[i].answer]; });
    CHECK(r.rank[i] == rank);
    right_byte += rank == 1;
    reciprocal += 1.0 / static_cast<double>(rank);
    chance += 1.0 / static_cast<double>(sums.size());
    nats -= sums[items[i].answer];
    tokens += static_cast<std::int64_t>(tokenizer.encode(items[i].choices[items[i].answer]).size()) + 1;
    bytes += static_cast<std::int64_t>(items[i].choices[items[i].answer].size());
  }
  CHECK(right_sum != right_byte);  // else this could not tell one from the other
  CHECK(r.rank[40] == 2);
  CHECK(r.rank[41] == 0);
  nats -= by_logits(model, tokenizer.encode("twice the same"), tokenizer.encode("x"));
  CHECK(r.accuracy_sum == doctest::Approx(static_cast<double>(right_sum) / 41));
  CHECK(r.accuracy_per_byte == doctest::Approx(static_cast<double>(right_byte) / 41));
  CHECK(r.sum_bounds.low == wilson_interval(right_sum, 41).low);
  CHECK(r.per_byte_bounds.high == wilson_interval(right_byte, 41).high);
  CHECK(r.chance == doctest::Approx((chance + 0.5) / 41));
  CHECK(r.mean_reciprocal_rank == doctest::Approx((reciprocal + 0.5) / 41));
  CHECK(r.answer.tokens == tokens + 2);
  CHECK(r.answer.bytes == bytes + 1);
  CHECK(r.answer.nll == doctest::Approx(nats / static_cast<double>(tokens + 2)).epsilon(1e-5));
  CHECK(r.nats_per_byte == doctest::Approx(nats / static_cast<double>(bytes + 1)).epsilon(1e-5));
  CHECK(r.majority == 0.0);
  const ChoiceResult again = evaluate_choice(model, tokenizer, bos, eos, items, 64, 100);
  CHECK(again.rank == r.rank);
  CHECK(again.answer.document_nll == r.answer.document_nll);
}

TEST_CASE("an answer without rivals meets those of 9 other items, the same whatever the order of the file") {
  const text::Tokenizer tokenizer = byte_tokenizer();
  Decoder model = small_model(tokenizer.vocab_size());
  std::vector<ChoiceItem> items;
  for (int i = 0; i < 30; ++i) items.push_back({str("problem ", i), {str("return ", i * 17 % 23)}, 0, ""});  // 23 different answers
  items.push_back({"long", {std::string(64, 'x')}, 0, ""});
  ChoiceResult r = evaluate_choice(model, tokenizer, bos, eos, items, 40, 8);
  CHECK(r.n == 30);
  CHECK(r.dropped == 1);
  CHECK(r.chance == doctest::Approx(0.1));
  CHECK(r.majority == doctest::Approx(2.0 / 30));
  CHECK(r.reciprocal_rank_chance == doctest::Approx(7381.0 / 2520 / 10));
  CHECK(*std::max_element(r.rank.begin(), r.rank.end()) > 2);
  CHECK(*std::max_element(r.rank.begin(), r.rank.end()) <= 10);
  std::vector<std::int64_t> rank = r.rank;
  std::reverse(items.begin(), items.end());
  std::reverse(rank.begin(), rank.end());
  CHECK(evaluate_choice(model, tokenizer, bos, eos, items, 40, 8).rank == rank);

  items = {{"a", {"yes"}, 0, ""}, {"b", {"no"}, 0, ""}, {"c", {"no"}, 0, ""}};  // as many as there are
  CHECK(evaluate_choice(model, tokenizer, bos, eos, items, 40, 8).chance == doctest::Approx(0.5));
  CHECK(evaluate_choice(model, tokenizer, bos, eos, items, 40, 8).majority == doctest::Approx(2.0 / 3));  // "no", whatever the prompt
  items = {{"a", {"no"}, 0, ""}, {"b", {"no"}, 0, ""}};
  r = evaluate_choice(model, tokenizer, bos, eos, items, 40, 8);
  CHECK(r.n == 0);
  CHECK(r.dropped == 2);
  CHECK(r.per_byte_bounds.high == 1.0);
}

TEST_CASE("a model that knows nothing is not above chance") {
  // Every token is as likely as any other: longer is better per byte (EOS weighs less), and answers of equal length tie, which is wrong.
  const text::Tokenizer tokenizer = byte_tokenizer();
  Decoder model = small_model(tokenizer.vocab_size(), 0.0);
  std::vector<ChoiceItem> items;
  for (int i = 0; i < 200; ++i) items.push_back({str("p", i), {std::string(static_cast<std::size_t>(i / 10 + 1), static_cast<char>('a' + i % 10))}, 0, ""});
  ChoiceResult r = evaluate_choice(model, tokenizer, bos, eos, items, 40, 64);
  CHECK(r.n == 200);
  CHECK(r.answer.nll == doctest::Approx(std::log(static_cast<double>(tokenizer.vocab_size()))).epsilon(1e-6));
  CHECK(r.per_byte_bounds.low < 0.1);
  CHECK(r.accuracy_per_byte < 0.15);
  CHECK(r.mean_reciprocal_rank < r.reciprocal_rank_chance + 4 * r.reciprocal_rank_stderr);
}

TEST_CASE("items of a file: choices, lettered options, label sets, or none") {
  TemporaryFolder folder;
  auto read = [&](const std::string& content) {
    io::write_file_atomic(folder / "items.jsonl", content);
    return read_choice_items(folder / "items.jsonl");
  };
  using io::Json;
  std::string choices = line(Json::object({{"prompt", "p"}, {"choices", Json::array({"a", "b", "c"})}, {"answer_index", 2}, {"completion", "c"}}));
  auto items = read(choices + "\n" + choices);
  REQUIRE(items.size() == 2);
  CHECK(items[0].prompt == "p");
  CHECK(items[0].choices == std::vector<std::string>{"a", "b", "c"});
  CHECK(items[0].answer == 2);

  auto lettered = [](const char* prompt, const char* answer) { return line(Json::object({{"prompt", prompt}, {"completion", "because"}, {"answer", answer}, {"task", "t"}})); };
  items = read(lettered("How many?\nA) 3 km\nB)4\nC)x\xc2\xb2", "B") + lettered("No options here", "A") + lettered("Two\nA)1\nB)2", "C") + lettered("A)1\nB)2", "A") + lettered("Out\nA)1\nC)2", "A"));
  CHECK(items[0].prompt == "How many?\n");
  CHECK(items[0].choices == std::vector<std::string>{"3 km", "4", "x\xc2\xb2"});
  CHECK(items[0].answer == 1);
  CHECK(items[1].choices.empty());
  CHECK(items[2].choices.empty());  // the answer is none of the options
  CHECK(items[3].prompt == "");
  CHECK(items[3].choices == std::vector<std::string>{"1", "2"});
  CHECK(items[4].choices.empty());

  auto task = [](const char* name, const char* answer) { return line(Json::object({{"prompt", "p"}, {"completion", answer}, {"task", name}})); };
  items = read(task("a", "Yes") + task("a", "No") + task("a", "Yes") + task("a", "Yes") + task("b", "Rule") + task("b", "Facts") + task("b", "Issue"));
  CHECK(items[0].choices == std::vector<std::string>{"No", "Yes"});
  CHECK(items[0].answer == 1);
  CHECK(items[1].answer == 0);
  CHECK(items[0].labels == "a");
  CHECK(items[4].choices.empty());  // what else it could be is not known
  const text::Tokenizer tokenizer = byte_tokenizer();
  ChoiceResult r = evaluate_choice(small_model(tokenizer.vocab_size()), tokenizer, bos, eos, items, 40, 8);
  CHECK(r.n == 4);
  CHECK(r.dropped == 3);
  CHECK(r.majority == doctest::Approx(0.75));

  items = read(task("code", "x = 1") + task("code", "y = 2") + task("code", "z = 3"));
  CHECK(items[2].choices == std::vector<std::string>{"z = 3"});
  CHECK(items[2].labels.empty());

  auto error = [&](const std::string& content) { return error_of(ErrorKind::input, [&] { read(content); }); };
  CHECK(has(error(choices + task("a", "b")), "items.jsonl:2: wanted \"choices\" on every line of the file or on none"));
  CHECK(has(error(task("a", "b") + choices), "choice.mixed"));
  CHECK(has(error(R"({"prompt": "p", "choices": ["a"], "answer_index": 0})"), "choice.choices"));
  CHECK(has(error(R"({"prompt": "p", "choices": ["a", "b"], "answer_index": 2})"), "answer_index: wanted an integer from 0 to 1, got 2"));
  CHECK(has(error(R"({"prompt": "p"})"), "items.jsonl:1: wanted the key \"completion\""));
  CHECK(has(error(R"({"text": "p"})"), "wanted the key \"prompt\""));
  CHECK(has(error("{\"prompt\":\n"), "items.jsonl:1"));
  CHECK(has(error("{\n\"prompt\": \"p\"}\n"), "items.jsonl: wanted one JSON object a line, this is JSON over several lines"));
  CHECK(has(error("prompt,completion\np,c\n"), "this is a table"));
  CHECK(has(error("\n \n"), "data.empty"));
}

}  // namespace bam::choice_test
