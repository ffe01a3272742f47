// Scripts of letters, and languages that share one told apart by texts given at run time.
#include "bam/eval/language_id.hpp"
#include "support.hpp"

namespace bam::language_id_test {

using test::error_of;
using test::has;
using text::Script;

namespace {
const std::map<std::string, std::vector<std::string>> small{
    {"en", {"The weather was cold in the morning, but the children went out to play with their friends and did not come back before the evening.",
            "She thought that there should be another way of reading the letter which her brother had written from the north."}},
    {"de", {"Das Wetter war am Morgen kalt, aber die Kinder gingen hinaus, um mit ihren Freunden zu spielen, und kamen nicht vor dem Abend zur\u00fcck.",
            "Sie dachte, dass es noch einen anderen Weg geben m\u00fcsse, den Brief zu lesen, den ihr Bruder aus dem Norden geschrieben hatte."}},
    {"es", {"El tiempo estaba fr\u00edo por la ma\u00f1ana, pero los ni\u00f1os salieron a jugar con sus amigos y no volvieron antes de la noche.",
            "Ella pens\u00f3 que deb\u00eda haber otra manera de leer la carta que su hermano hab\u00eda escrito desde el norte."}},
    {"ru", {"\u0423\u0442\u0440\u043e\u043c \u0431\u044b\u043b\u043e \u0445\u043e\u043b\u043e\u0434\u043d\u043e, \u043d\u043e \u0434\u0435\u0442\u0438 \u0432\u044b\u0448\u043b\u0438 \u0438\u0433\u0440\u0430\u0442\u044c \u0441 \u0434\u0440\u0443\u0437\u044c\u044f\u043c\u0438."}}};
}  // namespace

TEST_CASE("script of a letter") {
  static constexpr std::pair<char32_t, Script> rows[] = {{U'a', Script::latin}, {U'\u00df', Script::latin}, {U'\u1ea1', Script::latin}, {U'\u03bb', Script::greek}, {U'\u0416', Script::cyrillic}, {U'\u0561', Script::armenian},
      {U'\u05d0', Script::hebrew}, {U'\u0639', Script::arabic}, {U'\ufe8d', Script::arabic}, {U'\u0905', Script::devanagari}, {U'\u0985', Script::bengali}, {U'\u0a05', Script::gurmukhi}, {U'\u0a85', Script::gujarati},
      {U'\u0b05', Script::oriya}, {U'\u0b85', Script::tamil}, {U'\u0c05', Script::telugu}, {U'\u0c85', Script::kannada}, {U'\u0d05', Script::malayalam}, {U'\u0d85', Script::sinhala}, {U'\u0e01', Script::thai},
      {U'\u0e81', Script::lao}, {U'\u0f40', Script::tibetan}, {U'\u1000', Script::myanmar}, {U'\u10d0', Script::georgian}, {U'\uac00', Script::hangul}, {U'\u1100', Script::hangul}, {U'\u1200', Script::ethiopic},
      {U'\u1780', Script::khmer}, {U'\u3042', Script::hiragana}, {U'\u30a2', Script::katakana}, {U'\uff71', Script::katakana}, {U'\u4e00', Script::han}, {U'\U00020000', Script::han}, {U'\uff41', Script::latin},
      {U' ', Script::other}, {U'1', Script::other}, {U'\u00d7', Script::other}, {U'\u0964', Script::other}, {U'\U0001f600', Script::other}};
  for (auto& row : rows) {
    CAPTURE(static_cast<std::uint32_t>(row.first));
    CHECK(text::script_of(row.first) == row.second);
  }
  for (std::size_t s = 0; s < text::script_count; ++s) CHECK(std::string(text::name_of(static_cast<Script>(s))) != "");
  CHECK(std::string(text::name_of(Script::han)) == "Han");
}

TEST_CASE("shares of scripts count letters alone") {
  ScriptShares s = script_shares("ab\u4e00\u4e8c, 123 \u3042\u0301!");
  CHECK(s.letters == 5);
  CHECK(s.of(Script::latin) == doctest::Approx(0.4));
  CHECK(s.of(Script::han) == doctest::Approx(0.4));
  CHECK(s.of(Script::hiragana) == doctest::Approx(0.2));
  CHECK(s.largest == Script::latin);
  CHECK(script_shares("").letters == 0);
  CHECK(script_shares("123 ?! \xff\xfe").letters == 0);
  CHECK(script_shares("\u202e\u0627\u0644\u0633\u0644\u0627\u0645").of(Script::arabic) == 1);
}

TEST_CASE("languages of one script by trigrams") {
  auto id = LanguageIdentifier::train(small);
  CHECK(id.languages() == std::vector<std::string>{"de", "en", "es", "ru"});
  CHECK(id.identify("the brother of the children").lang == "en");
  CHECK(id.identify("der Bruder und die Kinder").lang == "de");
  CHECK(id.identify("EL HERMANO DE LOS NI\u00d1OS").lang == "es");
  CHECK(id.identify("EL HERMANO DE LOS NIN\u0303OS").log_odds == doctest::Approx(id.identify("el hermano de los ni\u00f1os").log_odds));
  CHECK(id.identify("\u0434\u0435\u0442\u0438 \u0438\u0433\u0440\u0430\u043b\u0438").lang == "ru");
  CHECK(id.identify("the the the the").log_odds > id.identify("the").log_odds);
  for (const char* text : {"", "...", "123", "\xff\xc3", "\u4e00\u4e8c\u4e09"}) {
    LanguageGuess guess = id.identify(text);
    CHECK(guess.lang == "");
    CHECK(guess.trigrams == 0);
  }
}

TEST_CASE("log-likelihoods by hand") {
  // x: " a", "a " of " a "; one trigram each language: " a " and " b ".
  auto id = LanguageIdentifier::train({{"x", {"a"}}, {"y", {"b"}}});
  auto l = id.log_likelihoods("a a");  // trigrams " a ", "a a", " a "; the middle one is new to both
  const double latin = 2 * std::log(0.999 + 0.001 / text::script_count);  // two letters
  CHECK(l[0] == doctest::Approx(2 * std::log(0.98 + 0.02 * 0.5) + latin));
  CHECK(l[1] == doctest::Approx(2 * std::log(0.02 * 0.5) + latin));
  CHECK(id.identify("a a").log_odds == doctest::Approx(2 * std::log(99.0)));
  CHECK(std::isinf(LanguageIdentifier::train({{"x", {"a"}}}).identify("a").log_odds));
}

TEST_CASE("scripts tell languages that share letters, where trigrams are new to both or speak for the wrong one") {
  // z: Han alone; j: Han and Hiragana, half of each, with one more trigram of Han.
  auto id = LanguageIdentifier::train({{"j", {"\u4e00\u3042\u4e8c\u3044 \u570b\u5bb6 \u3042\u3044"}}, {"z", {"\u4e00\u4e8c\u4e09 \u5bb6\u4eba"}}});
  CHECK(id.identify("\u570b\u5bb6").lang == "j");
  CHECK(id.identify("\u570b\u5bb6\u5b97\u6559\u6587\u5b57\u6cd5\u5f8b\u5b78\u6821\u7d93\u6fdf").lang == "z");
  CHECK(id.identify("\u4e09\u4eba\u306e\u3042\u3044").lang == "j");
  CHECK(id.identify("\u4e01\u4e02").lang == "z");  // no trigram is known
  CHECK(id.identify("\u4e01").lang == "");          // and one letter is not enough
  CHECK(id.identify("abc").lang == "");
  CHECK(LanguageIdentifier::train({{"x", {"a"}}}).identify("\u4e01\u4e02").lang == "");
  auto l = id.log_likelihoods("\u4e01");  // its one trigram is new to both
  CHECK(l[0] == doctest::Approx(std::log(0.999 / 2 + 0.001 / text::script_count)));
  CHECK(l[1] == doctest::Approx(std::log(0.999 + 0.001 / text::script_count)));
}

TEST_CASE("share of answers in the wanted language") {
  auto id = LanguageIdentifier::train(small);
  auto r = language_consistency(id, {"the weather in the morning", "das Wetter am Morgen", "42", ""}, "en");
  CHECK(r.n == 4);
  CHECK(r.in_language == 1);
  CHECK(r.without_letters == 2);
  CHECK(r.share() == doctest::Approx(0.25));
  CHECK(has(error_of(ErrorKind::input, [&] { language_consistency(id, {"x"}, "fi"); }), "language_id.unknown"));
  CHECK(has(error_of(ErrorKind::input, [] { LanguageIdentifier::train({{"x", {"123"}}}); }), "language_id.empty"));
  CHECK(has(error_of(ErrorKind::usage, [] { LanguageIdentifier::train({}); }), "language_id.train"));
}

}  // namespace bam::language_id_test
