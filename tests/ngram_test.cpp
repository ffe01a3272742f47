// The n-gram model against values by hand, against another implementation, and against what a distribution has to be.
#include "bam/eval/ngram.hpp"

#include <cmath>

#include "bam/text/generated/corpus.hpp"
#include "support.hpp"

namespace bam::ngram_test {

using test::error_of;
using test::has;

namespace {

using Ids = std::vector<std::int32_t>;

NgramModel::Documents spans(const std::vector<Ids>& documents) { return {documents.begin(), documents.end()}; }

double probability(const NgramModel& model, const Ids& context, std::int32_t token) {
  NgramModel::Context c;
  for (std::int32_t id : context) model.read(c, id);
  return model.read(c, token);
}

// Documents of ids 2 ... V - 1 between BOS 0 and EOS 1, from the linear congruential generator of ANSI C.
std::vector<Ids> draw_documents(std::uint32_t seed, int n, int vocab) {
  auto next = [&] {
    seed = (seed * 1103515245u + 12345u) & 0x7fffffffu;
    return static_cast<int>(seed >> 16);
  };
  std::vector<Ids> documents;
  for (int i = 0; i < n; ++i) {
    Ids d{0};
    int word = 2;
    for (int length = 3 + next() % 30; length > 0; --length) {
      int x = next() % 10;
      word = x < 5 ? 2 + (word * 3 + 1) % (vocab - 2) : x < 8 ? 2 + next() % (vocab - 2) : 2 + next() % 3;
      d.push_back(word);
    }
    d.push_back(1);
    documents.push_back(d);
  }
  return documents;
}

std::vector<DocumentTokens> as_tokens(const std::vector<Ids>& documents) {
  std::vector<DocumentTokens> out;
  for (const Ids& d : documents) out.push_back({d, static_cast<std::int64_t>(3 * d.size())});
  return out;
}

}  // namespace

TEST_CASE("n-gram: counts that give a discount of 0 leave something for what a context has not seen") {
  // Words once (6), twice (3), three times (4) and four times (1), each between BOS and EOS: n = 12, 6, 8, 2, so Y = 1/2 and D_2 = 2 - 3 Y n_3 / n_2 = 0.
  std::vector<Ids> documents;
  std::int32_t word = 2;
  for (auto [times, words] : {std::pair{1, 6}, {2, 3}, {3, 4}, {4, 1}})
    for (int i = 0; i < words; ++i, ++word) documents.insert(documents.end(), static_cast<std::size_t>(times), Ids{0, word, 1});
  const NgramModel model(spans(documents), word, 2);
  CHECK(model.discounts(2) == std::array<double, 3>{0.5, 1, 1.5});
  for (std::int32_t context = 0; context < word; ++context)
    for (std::int32_t next = 0; next < word; ++next) CHECK(probability(model, {context}, next) > 0);
}

TEST_CASE("n-gram: a tiny text by hand") {
  // BOS 0, EOS 1. Tokens in front of 2: 0, 2, 3; of 1: 2; of 3: 0. So c = 3, 1, 1 of 5, D = 0.5, 1, 1.5 (no n_2 to take it from),
  // gamma = (0.5 + 0.5 + 1.5) / 5 = 0.5 and p(2) = 1.5 / 5 + 0.5 / 4 = 0.425, p(1) = p(3) = 0.225, p(0) = 0.125.
  std::vector<Ids> documents{{0, 2, 2, 1}, {0, 3, 2, 1}};
  NgramModel model(spans(documents), 4, 2);
  CHECK(model.discounts(1) == std::array<double, 3>{0.5, 1, 1.5});
  for (auto [token, p] : {std::pair{0, 0.125}, {1, 0.225}, {2, 0.425}, {3, 0.225}}) CHECK(probability(model, {}, token) == doctest::Approx(p).epsilon(1e-14));
  // Behind 2: 2 once, 1 twice. gamma = (0.5 + 1) / 3.
  CHECK(probability(model, {0, 2}, 1) == doctest::Approx(1.0 / 3 + 0.5 * 0.225).epsilon(1e-14));
  CHECK(probability(model, {0, 2}, 2) == doctest::Approx(0.5 / 3 + 0.5 * 0.425).epsilon(1e-14));
  CHECK(probability(model, {0}, 2) == doctest::Approx(0.25 + 0.5 * 0.425).epsilon(1e-14));
  CHECK(probability(model, {0}, 1) == doctest::Approx(0.5 * 0.225).epsilon(1e-14));
  CHECK(probability(model, {0, 2, 1}, 2) == doctest::Approx(0.425).epsilon(1e-14));  // nothing stands behind EOS
  NllResult r = evaluate_ngram(model, {{documents[0], 7}});
  double nats = -std::log(0.4625) - std::log(0.5 / 3 + 0.2125) - std::log(1.0 / 3 + 0.1125);
  CHECK(r.tokens == 3);
  CHECK(r.nll == doctest::Approx(nats / 3).epsilon(1e-14));
  CHECK(r.bits_per_byte == doctest::Approx(nats / 7 / std::log(2)).epsilon(1e-14));
}

TEST_CASE("n-gram: equal to an implementation on dictionaries and exact fractions") {
  // Python's fractions; the definition of the header, written down per probability.
  struct Row {
    int order;
    double nll, first, second, third, last, begin_again;
    std::array<double, 3> discount2;
  };
  const std::vector<Ids> train = draw_documents(7, 60, 12), test = draw_documents(99, 5, 12);
  REQUIRE(train[0] == Ids{0, 10, 3, 2, 6, 11, 5, 8, 1});
  REQUIRE(test[0] == Ids{0, 9, 2, 3, 2, 4, 1});
  for (const Row& row : {Row{1, 2.4087726156431635, 0.12981231953801733, 0.1634985563041386, 0.1355871029836381, 0.057627526467757456, 0.0013233878729547641, {}},
                         Row{2, 1.6179728462922545, 0.4634021078787246, 0.0892932640776996, 0.07092926894077789, 0.051479021923256325, 0.0014012464889337378, {0.30612244897959184, 1.4057623049219687, 1.4415584415584415}},
                         Row{3, 1.6397246983996863, 0.456955828412954, 0.07776000054038537, 0.021428413365927854, 0.05595337846597438, 0.0011700525692112035, {0.25925925925925924, 1.4555555555555555, 2.3580246913580245}},
                         Row{5, 1.6983732687695372, 0.456955828412954, 0.06956569709376427, 0.026953998912480726, 0.16639230767087243, 0.0018506871591692125, {0.25925925925925924, 1.4555555555555555, 2.3580246913580245}}}) {
    CAPTURE(row.order);
    NgramModel model(spans(train), 12, row.order);
    auto begin = test[0].begin();
    CHECK(probability(model, Ids(begin, begin + 1), 9) == doctest::Approx(row.first).epsilon(1e-13));
    CHECK(probability(model, Ids(begin, begin + 2), 2) == doctest::Approx(row.second).epsilon(1e-13));
    CHECK(probability(model, Ids(begin, begin + 3), 3) == doctest::Approx(row.third).epsilon(1e-13));
    CHECK(probability(model, Ids(begin, begin + 6), 1) == doctest::Approx(row.last).epsilon(1e-13));
    CHECK(probability(model, {0, 2, 9}, 0) == doctest::Approx(row.begin_again).epsilon(1e-13));
    NllResult r = evaluate_ngram(model, as_tokens(test));
    CHECK(r.tokens == 106);
    CHECK(r.nll == doctest::Approx(row.nll).epsilon(1e-13));
    if (row.order > 1)
      for (std::size_t k = 0; k < 3; ++k) CHECK(model.discounts(2)[k] == doctest::Approx(row.discount2[k]).epsilon(1e-13));
  }
}

TEST_CASE("n-gram: the probabilities of all tokens sum to 1, whatever the context") {
  const std::vector<Ids> train = draw_documents(3, 400, 40);
  std::vector<Ids> contexts = draw_documents(4, 30, 40);
  contexts.push_back({});
  contexts.push_back({1, 1, 0, 39, 39, 39});  // never seen together
  for (int order : {1, 2, 5, 7}) {
    NgramModel model(spans(train), 40, order);
    for (const Ids& ids : contexts) {
      NgramModel::Context context;
      for (std::size_t i = 0; i <= ids.size(); ++i) {
        double sum = 0, least = 1;
        for (std::int32_t v = 0; v < 40; ++v) {
          NgramModel::Context copy = context;
          double p = model.read(copy, v);
          sum += p;
          least = std::min(least, p);
        }
        CHECK(std::abs(sum - 1) < 1e-12);
        CHECK(least > 0);
        if (i < ids.size()) model.read(context, ids[i]);
      }
    }
  }
}

TEST_CASE("n-gram: on generated text a higher order is better, and the text it saw is known best") {
  std::vector<std::string> train, validation;
  for (std::uint64_t i = 0; i < 660; ++i) (i < 600 ? train : validation).push_back(text::generate_document(text::Domain::law, 1, i).text);
  auto encode = [](const std::vector<std::string>& texts) {  // bytes as ids 3 ... 258
    std::vector<DocumentTokens> out;
    for (const std::string& t : texts) {
      DocumentTokens d{{1}, static_cast<std::int64_t>(t.size())};
      for (char c : t) d.ids.push_back(3 + static_cast<unsigned char>(c));
      d.ids.push_back(2);
      out.push_back(d);
    }
    return out;
  };
  text::TokenSource source;
  const std::vector<DocumentTokens> known = encode(train), fresh = encode(validation);
  for (auto& d : known) source.add(d.ids, d.bytes);
  NgramModel::Documents documents;
  append_documents(documents, source);
  REQUIRE(documents.size() == 600);
  double before = 1e9;
  for (int order : {1, 2, 3, 5}) {
    NgramModel model(documents, 259, order);
    NllResult r = evaluate_ngram(model, fresh);
    CHECK(r.bits_per_byte < before - 0.1);
    before = r.bits_per_byte;
    if (order == 5) {
      CHECK(evaluate_ngram(model, known).nll < r.nll);
      CHECK(r.bits_per_byte > 0.3);
    }
  }
}

TEST_CASE("n-gram: the order of the documents is nothing; bad arguments") {
  std::vector<Ids> train = draw_documents(5, 50, 20), test = draw_documents(6, 5, 20);
  double nll = evaluate_ngram(NgramModel(spans(train), 20), as_tokens(test)).nll;
  std::reverse(train.begin(), train.end());
  CHECK(evaluate_ngram(NgramModel(spans(train), 20), as_tokens(test)).nll == nll);
  CHECK(has(error_of(ErrorKind::usage, [&] { NgramModel(spans(train), 20, 0); }), "ngram.order: ngram: wanted an order from 1 to 12, got 0"));
  CHECK(has(error_of(ErrorKind::usage, [&] { NgramModel(spans(train), 19); }), "ngram.id: ngram: id 19 in a vocabulary of 19"));
  CHECK(has(error_of(ErrorKind::input, [&] { NgramModel({}, 20); }), "ngram.empty"));
  NgramModel model(spans(train), 20);
  NgramModel::Context context;
  CHECK(has(error_of(ErrorKind::usage, [&] { model.read(context, -1); }), "ngram.id: ngram: id -1"));
}

}  // namespace bam::ngram_test
