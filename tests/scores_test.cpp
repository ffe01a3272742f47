// Exact match, ROUGE, chrF against values of public implementations, and on awkward text.
#include "bam/core/random.hpp"
#include "bam/eval/chrf.hpp"
#include "bam/eval/exact_match.hpp"
#include "bam/eval/rouge.hpp"
#include "support.hpp"

namespace bam::scores_test {

using test::error_of;
using test::has;

namespace {
// "value" or "value|also"; "" where there is no number.
std::string number(std::string_view text) {
  auto n = last_number(text);
  return !n ? "" : n->also ? n->value + "|" + *n->also : n->value;
}
// Cut sequences, overlong forms, a surrogate, lone bytes.
const std::string invalid[] = {"\xff", "\xc3", "\xe2\x82", "\xed\xa0\x80", "\xc0\xaf", "abc \xf0\x9f\x98 12", "\x80\x80", "a\xcc\x81\xcc\x81\xcc\x81\xff", std::string("\0\0", 2)};
}  // namespace

TEST_CASE("digits of every script have their value") {
  // Zeros of the runs of ten with category Nd (Python's unicodedata, Unicode 14.0).
  static constexpr char32_t zeros[] = {0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0};
  for (char32_t zero : zeros)
    for (int v = 0; v < 10; ++v) CHECK(text::digit_value(zero + static_cast<char32_t>(v)) == v);
  std::int64_t count[10] = {};
  for (char32_t c = 0; c < 0x110000; ++c)
    if (int v = text::digit_value(c); v >= 0) ++count[v];
  for (auto n : count) CHECK(n == count[0]);
  CHECK(count[0] >= static_cast<std::int64_t>(std::size(zeros)));
  for (char32_t c : U"\u00b2\u2460\u4e09\u0bf0\u2167x") CHECK(text::digit_value(c) == -1);  // superscript, circled, Han, ten, Roman
}

TEST_CASE("last number of a text") {
  static constexpr std::pair<const char*, const char*> rows[] = {
      {"", ""}, {"no number", ""}, {"...", ""}, {"The answer is 42.", "42"}, {"12 + 30 = 42", "42"}, {"#### 72", "72"}, {"\\boxed{18}", "18"}, {"**18**", "18"},
      {"$1,234.50", "1234.5"}, {"1,234", "1234|1.234"}, {"1.234", "1234|1.234"}, {"0.125", "0.125"}, {"0,125", "0.125"}, {"3.14", "3.14"}, {"3,14", "3.14"}, {"1234,567", "1234.567"},
      {"1.234.567", "1234567"}, {"1,234,567.89", "1234567.89"}, {"1.234.567,89", "1234567.89"}, {"1 234 567", "1234567"}, {"1\u00a0234,5", "1234.5"}, {"1\u202f234", "1234"}, {"1'234.50", "1234.5"}, {"1\u2019234", "1234"},
      {"12,34,567", "1234567"}, {"1,00,000.5", "100000.5"}, {"1, 2, 3", "3"}, {"1,2,3", "3"}, {"1,234,5", "5"}, {"2023.10.05", "5"}, {"12.10.2023", "2023"}, {"in 2023 150 came", "150"}, {"3/4", "4"},
      {"-5", "-5"}, {"\u22125", "-5"}, {"\uff0d5", "-5"}, {"x = -5", "-5"}, {"5-3", "3"}, {"x-3", "3"}, {"10 - 5", "5"}, {"- 5 apples", "5"}, {"-$5", "-5"}, {"$-5", "-5"}, {"+7", "7"}, {"-0", "0"}, {"-0.0", "0"},
      {"costs .5", "0.5"}, {"-.5", "-0.5"}, {"so...5", "5"}, {"50%", "50"}, {"007", "7"}, {"2.50", "2.5"}, {"20 \u20ac", "20"}, {"5.", "5"}, {"5,", "5"}, {"72\xe5\x85\x83\xe3\x80\x82", "72"},
      {"\u0664\u0662", "42"}, {"\u0661\u066c\u0662\u0663\u0664\u066b\u0665", "1234.5"}, {"\u200f-\u0665\u200e", "-5"}, {"\u06f1\u06f2", "12"}, {"\u09e7\u09e8\u09e9", "123"}, {"\u0967\u0968,\u0969\u096a\u096b", "12345|12.345"},
      {"\u0e51\u0e52", "12"}, {"\uff11\uff0c\uff12\uff13\uff14", "1234|1.234"}, {"\uff13\uff0e\uff11", "3.1"}, {"\U0001d7d9\U0001d7da", "12"}, {"99999999999999999999999999999999.5", "99999999999999999999999999999999.5"}};
  for (auto& row : rows) {
    CAPTURE(row.first);
    CHECK(number(row.first) == row.second);
  }
  for (auto& text : invalid) CHECK(number(text) == (has(text, "12") ? "12" : ""));
  CHECK(number(std::string(100000, '7') + " 8") == "8");
}

TEST_CASE("number match with gold") {
  CHECK(number_match("Es sind 1.234 Euro.", "1234"));
  CHECK(number_match("it weighs 1.234 kg", "1.234"));
  CHECK_FALSE(number_match("1.234", "1235"));
  CHECK(number_match("70,000", "70000"));
  CHECK(number_match("70000", "70,000"));
  CHECK(number_match("18.0", "18"));
  CHECK_FALSE(number_match("18.01", "18"));
  CHECK_FALSE(number_match("first 18 then 19", "18"));
  CHECK_FALSE(number_match("", "18"));
  CHECK(number_match("\u0661\u0668", "18"));
  CHECK_FALSE(number_match("234", "1,234"));
  CHECK(has(error_of(ErrorKind::input, [] { number_match("5", "five"); }), "exact_match.gold: exact match: wanted a gold number, got \"five\""));
}

TEST_CASE("exact match after normalisation") {
  CHECK(exact_match(" The  Cat. ", "the cat"));
  CHECK(exact_match("cafe\u0301", "CAF\u00c9"));
  CHECK(exact_match("Stra\u00dfe", "STRASSE"));
  CHECK(exact_match("\uff21\uff22\uff23\uff11", "abc1"));
  CHECK(exact_match("\u00ab\u0394\u03b5\u03bb\u03c6\u03bf\u03af\u00bb", "\u03b4\u03b5\u03bb\u03c6\u03bf\u03af"));
  CHECK_FALSE(exact_match("the cat", "cat"));
  CHECK_FALSE(exact_match("", "cat"));
  CHECK_FALSE(exact_match("!", "?"));
  CHECK(exact_match("?", " ? "));
  CHECK(exact_match("", ""));
  CHECK_FALSE(exact_match("\u0915\u0941", "\u0915\u093f"));  // marks are part of the answer
  for (auto& text : invalid) CHECK(exact_match(text, text));
}

TEST_CASE("ROUGE on ASCII text equals rouge_score 0.1.2 without a stemmer") {
  struct Row {
    const char *prediction, *reference;
    double value[3][3];  // ROUGE-1, -2, -L: precision, recall, F1
  };
  static const Row rows[] = {
    {"the cat sat on the mat", "the cat is on the mat", {{0.8333333333333334, 0.8333333333333334, 0.8333333333333334}, {0.6, 0.6, 0.6}, {0.8333333333333334, 0.8333333333333334, 0.8333333333333334}}},
    {"", "a reference", {{0.0, 0.0, 0.0}, {0.0, 0.0, 0.0}, {0.0, 0.0, 0.0}}},
    {"a hypothesis", "", {{0.0, 0.0, 0.0}, {0.0, 0.0, 0.0}, {0.0, 0.0, 0.0}}},
    {"", "", {{0.0, 0.0, 0.0}, {0.0, 0.0, 0.0}, {0.0, 0.0, 0.0}}},
    {"a", "a", {{1.0, 1.0, 1.0}, {0.0, 0.0, 0.0}, {1.0, 1.0, 1.0}}},
    {"...", "!!!", {{0.0, 0.0, 0.0}, {0.0, 0.0, 0.0}, {0.0, 0.0, 0.0}}},
    {"Hello, world! (it's me)", "Hello world, it's (me).", {{1.0, 1.0, 1.0}, {1.0, 1.0, 1.0}, {1.0, 1.0, 1.0}}},
    {"aaaaaa", "aaa", {{0.0, 0.0, 0.0}, {0.0, 0.0, 0.0}, {0.0, 0.0, 0.0}}},
    {"a b c d e f g", "g f e d c b a", {{1.0, 1.0, 1.0}, {0.0, 0.0, 0.0}, {0.14285714285714285, 0.14285714285714285, 0.14285714285714285}}},
    {"The quick brown fox jumps over the lazy dog. It isn't 3.5 years-old_now", "A quick brown dog jumped over the lazy fox; it is not 3.5 years old now", {{0.7647058823529411, 0.7647058823529411, 0.7647058823529412}, {0.4375, 0.4375, 0.4375}, {0.6470588235294118, 0.6470588235294118, 0.6470588235294118}}},
    {"a b a b a b", "b a b b a", {{0.8333333333333334, 1.0, 0.9090909090909091}, {0.6, 0.75, 0.6666666666666665}, {0.6666666666666666, 0.8, 0.7272727272727272}}},
    {"don't stop (now)", "Do not STOP -- now!", {{0.5, 0.5, 0.5}, {0.3333333333333333, 0.3333333333333333, 0.3333333333333333}, {0.5, 0.5, 0.5}}},
    {"police killed the gunman", "the gunman police killed", {{1.0, 1.0, 1.0}, {0.6666666666666666, 0.6666666666666666, 0.6666666666666666}, {0.5, 0.5, 0.5}}},
    {"w1 w2 w3 w4 w5 w6 w7 w8", "w1 x w3 y w5 z w7 w8 w9 w9 w9", {{0.625, 0.45454545454545453, 0.5263157894736842}, {0.14285714285714285, 0.1, 0.11764705882352941}, {0.625, 0.45454545454545453, 0.5263157894736842}}},
  };
  for (auto& row : rows) {
    CAPTURE(row.prediction);
    Rouge got[] = {rouge_n(row.prediction, row.reference, 1), rouge_n(row.prediction, row.reference, 2), rouge_l(row.prediction, row.reference)};
    for (int i = 0; i < 3; ++i) {
      CHECK(got[i].precision == doctest::Approx(row.value[i][0]).epsilon(1e-12));
      CHECK(got[i].recall == doctest::Approx(row.value[i][1]).epsilon(1e-12));
      CHECK(got[i].f1 == doctest::Approx(row.value[i][2]).epsilon(1e-12));
    }
  }
  CHECK(has(error_of(ErrorKind::usage, [] { rouge_n("a", "b", 0); }), "rouge.order"));
}

TEST_CASE("ROUGE words of other scripts") {
  auto count = [](std::string_view text) { return rouge_tokens(text).size(); };
  CHECK(count("\u732b\u304c\u5ea7\u3063\u305f\u3002") == 5);            // Han and kana: characters, no full stop
  CHECK(count("\ud55c\uad6d\uc5b4 \ub2e8\uc5b4") == 2);                  // Hangul: by word
  CHECK(count("\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e") == 2);  // Devanagari: marks stay inside
  CHECK(count("\u0e01\u0e47\u0e44\u0e21\u0e48") == 3);                    // Thai: a consonant with its marks, a vowel of its own
  CHECK(count("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645") == 1);  // a joiner parts no word
  CHECK(count("GPT\u6a21\u578b3\u4e2a") == 5);                            // GPT, two, 3, one
  CHECK(count("\u0e51\u0e52\u0e53") == 1);                                // Thai digits are one number
  CHECK(count("?!\u2026\u3002") == 0);
  CHECK(rouge_l("caf\u00e9 NOIR", "cafe\u0301 noir").f1 == 1);
  CHECK(rouge_l("\u0421\u041b\u041e\u0412\u041e", "\u0441\u043b\u043e\u0432\u043e").f1 == 1);
  // Three of four characters in order, reference of five.
  Rouge r = rouge_l("\u732b\u72ac\u9ce5\u9b5a", "\u732b\u9b5a\u72ac\u9ce5\u9f8d");
  CHECK(r.precision == doctest::Approx(0.75));
  CHECK(r.recall == doctest::Approx(0.6));
  for (auto& text : invalid) CHECK(rouge_l(text, text).precision == (rouge_tokens(text).empty() ? 0 : 1));
}

TEST_CASE("the longest common subsequence equals the full table's") {
  Random random(7);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::int32_t> a(random.below(25)), b(random.below(25));
    for (auto* v : {&a, &b})
      for (auto& x : *v) x = static_cast<std::int32_t>(random.below(4));
    std::vector<std::vector<std::size_t>> t(a.size() + 1, std::vector<std::size_t>(b.size() + 1, 0));
    for (std::size_t i = a.size(); i-- > 0;)
      for (std::size_t j = b.size(); j-- > 0;) t[i][j] = a[i] == b[j] ? t[i + 1][j + 1] + 1 : std::max(t[i + 1][j], t[i][j + 1]);
    CHECK(longest_common_subsequence(a, b) == t[0][0]);
  }
}

TEST_CASE("chrF and chrF++ equal sacrebleu 2.6.0") {
  struct Row {
    const char *prediction, *reference;
    double chrf, chrf_plus_plus;
  };
  static const Row rows[] = {
    {"the cat sat on the mat", "the cat is on the mat", 64.5779420625287, 66.36067072084818},
    {"", "a reference", 0.0, 0.0},
    {"a hypothesis", "", 0.0, 0.0},
    {"", "", 0.0, 0.0},
    {"a", "a", 100.0, 100.0},
    {"...", "!!!", 0.0, 0.0},
    {"Hello, world! (it's me)", "Hello world, it's (me).", 42.555469556243544, 39.815270243646026},
    {"Die Katze sa\303\237 auf der Matte.", "Die Katze ist auf der Matte.", 73.00440935452377, 73.80092606351187},
    {"\347\214\253\343\201\214\343\203\236\343\203\203\343\203\210\343\201\256\344\270\212\343\201\253\345\272\247\343\201\243\343\201\237\343\200\202", "\347\214\253\343\201\257\343\203\236\343\203\203\343\203\210\343\201\256\344\270\212\343\201\253\345\272\247\343\201\243\343\201\246\343\201\204\343\202\213\343\200\202", 50.76219623647542, 43.510453916978925},
    {"\330\247\331\204\331\202\330\267\330\251 \330\254\331\204\330\263\330\252 \330\271\331\204\331\211 \330\247\331\204\330\263\330\254\330\247\330\257\330\251", "\330\254\331\204\330\263\330\252 \330\247\331\204\331\202\330\267\330\251 \330\271\331\204\331\211 \330\247\331\204\330\263\330\254\330\247\330\257\330\251", 68.37340491752255, 67.94672035480859},
    {"\340\270\201\340\271\207\340\271\204\340\270\241\340\271\210\340\270\243\340\270\271\340\271\211\340\270\247\340\271\210\340\270\262\340\270\227\340\270\263\340\271\204\340\270\241", "\340\271\204\340\270\241\340\271\210\340\270\243\340\270\271\340\271\211\340\270\247\340\271\210\340\270\262\340\270\227\340\270\263\340\271\204\340\270\241", 96.24885110294119, 82.49901523109243},
    {"cafe\314\201 noir", "caf\303\251 noir", 37.07384040111085, 34.07152032706032},
    {"aaaaaa", "aaa", 75.6578947368421, 56.74342105263158},
    {"x\302\240y\343\200\200z", "x y z", 100.0, 100.0},
    {"\327\251\327\234\327\225\327\235, \327\242\327\225\327\234\327\235", "\327\251\327\234\327\225\327\235 \327\242\327\225\327\234\327\235!", 42.3941798941799, 40.12896825396825},
    {"a b c d e f g", "g f e d c b a", 16.666666666666664, 25.0},
    {"The quick brown fox jumps over the lazy dog. It isn't 3.5 years-old_now", "A quick brown dog jumped over the lazy fox; it is not 3.5 years old now", 55.07575347433969, 49.911934633832125},
    {"\360\237\230\200 ok \360\237\230\200", "\360\237\230\200 ok", 89.84375, 88.9423076923077},
  };
  std::vector<std::string> predictions;
  std::vector<std::vector<std::string>> references;
  for (auto& row : rows) {
    CAPTURE(row.prediction);
    CHECK(sentence_chrf(row.prediction, {row.reference}) == doctest::Approx(row.chrf).epsilon(1e-12));
    CHECK(sentence_chrf(row.prediction, {row.reference}, {.word_order = 2}) == doctest::Approx(row.chrf_plus_plus).epsilon(1e-12));
    predictions.push_back(row.prediction);
    references.push_back({row.reference});
  }
  CHECK(corpus_chrf(predictions, references) == doctest::Approx(56.20551076621619).epsilon(1e-12));
  CHECK(corpus_chrf(predictions, references, {.word_order = 2}) == doctest::Approx(54.061621470835696).epsilon(1e-12));
  CHECK(corpus_chrf(predictions, references, {.beta = 1}) == doctest::Approx(56.25228998441566).epsilon(1e-12));
  CHECK(sentence_chrf("the cat sat on the mat", {"a dog", "the cat is on the mat", "the cat sat"}) == doctest::Approx(79.73855444246794).epsilon(1e-12));
  for (auto& text : invalid) CHECK(sentence_chrf(text, {text}) == doctest::Approx(100));
  CHECK(sentence_chrf("\xff", {"\xfe"}) == 0);  // different bytes stay different
  CHECK(has(error_of(ErrorKind::usage, [] { sentence_chrf("a", {}); }), "chrf.references"));
  CHECK(has(error_of(ErrorKind::usage, [] { corpus_chrf({"a"}, {}); }), "chrf.size"));
}

}  // namespace bam::scores_test
