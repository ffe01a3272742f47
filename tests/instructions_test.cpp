// Instruction checks: answers that follow and answers that do not, for every kind; IFEval's form of the data.
#include "bam/eval/instructions.hpp"
#include "support.hpp"

namespace bam::instructions_test {

using io::parse_json;
using test::error_of;
using test::has;

namespace {
InstructionCheck check_of(const char* json) { return read_check(parse_json(json, "test"), "test"); }
InstructionCheck ifeval(const char* id, const char* kwargs = "{}") { return read_ifeval_check(id, parse_json(kwargs, "test"), "test"); }
bool yes(std::string_view answer, const InstructionCheck& c, const LanguageIdentifier* identifier = nullptr) { return follows(answer, c, identifier) == std::optional<bool>(true); }
bool no(std::string_view answer, const InstructionCheck& c, const LanguageIdentifier* identifier = nullptr) { return follows(answer, c, identifier) == std::optional<bool>(false); }
}  // namespace

TEST_CASE("counts of words, sentences, paragraphs, bullets, with every relation") {
  CHECK(yes("one two three", check_of(R"({"kind": "words", "relation": "exactly", "n": 3})")));
  CHECK(no("one two three", check_of(R"({"kind": "words", "relation": "less than", "n": 3})")));
  CHECK(yes("one two three", check_of(R"({"kind": "words", "relation": "at most", "n": 3})")));
  CHECK(no("one two", check_of(R"({"kind": "words", "n": 3})")));
  CHECK(yes("\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e", check_of(R"({"kind": "words", "relation": "exactly", "n": 2})")));
  CHECK(yes("\u6211\u7231\u4f60\u3002", check_of(R"({"kind": "words", "relation": "exactly", "n": 3})")));
  auto sentences = [](std::string_view text, int n) {
    auto c = check_of(R"({"kind": "sentences", "relation": "exactly", "n": 0})");
    c.n = n;
    return yes(text, c);
  };
  CHECK(sentences("It is. It was! Will it be?", 3));
  CHECK(sentences("Dr. Smith paid 3.50 at example.com. He left", 2));
  CHECK(sentences("He said \"Stop.\" Then he left...", 2));
  CHECK(sentences("A list:\n1. Apples are red.\n2. Pears are not.", 2));
  CHECK(sentences("\u662f\u3002\u5426\uff01\u5417\uff1f", 3));
  CHECK(sentences("\u092f\u0939 \u0939\u0948\u0964 \u0935\u0939 \u0939\u0948\u0964", 2));
  CHECK(sentences("\u0647\u0644 \u0647\u0630\u0627\u061f \u0646\u0639\u0645.", 2));
  CHECK(sentences("It took approx. five days. Then... it ended", 2));  // a small letter goes on
  CHECK(sentences("...!?", 0));
  CHECK(yes("a\n\nb\nb\n \nc", check_of(R"({"kind": "paragraphs", "relation": "exactly", "n": 3})")));
  auto starred = ifeval("en:length_constraints:number_paragraphs", R"({"num_paragraphs": 2})");
  CHECK(yes("one\n***\ntwo", starred));
  CHECK(yes("one\n***\ntwo\n***\n", starred));
  CHECK(no("one\n***\n***\ntwo", starred));
  CHECK(no("one\n\ntwo", starred));
  auto bullets = ifeval("en:detectable_format:number_bullet_lists", R"({"num_bullets": 2})");
  CHECK(yes("Here:\n* one\n - two", bullets));
  CHECK(no("* one\n* two\n* three", bullets));
  CHECK(no("**bold** line\n* one", bullets));
  CHECK(yes("* one\n---\n* two", bullets));
}

TEST_CASE("parts of the text that are marked") {
  auto highlights = ifeval("en:detectable_format:number_highlighted_sections", R"({"num_highlights": 2})");
  CHECK(yes("*a* and **b c**", highlights));
  CHECK(no("*a* and ** **", highlights));
  CHECK(no("*a\nb* **", highlights));
  auto sections = ifeval("fr:detectable_format:multiple_sections", R"({"section_spliter": "Partie", "num_sections": 2})");
  CHECK(yes("Partie 1\nx\nPartie 2\ny", sections));
  CHECK(no("Partie un\nPartie 2", sections));
  CHECK(yes("\u0642\u0633\u0645 \u0661 \u0642\u0633\u0645 \u0662", check_of("{\"kind\": \"sections\", \"n\": 2, \"words\": [\"\u0642\u0633\u0645\"]}")));
  auto placeholders = ifeval("es:detectable_content:number_placeholders", R"({"relation": "al menos", "num_placeholders": 2})");
  CHECK(yes("[nombre] y [apellido]", placeholders));
  CHECK(no("[nombre y\n apellido] [x", placeholders));
  auto title = ifeval("en:detectable_format:title");
  CHECK(yes("x\n<<A title>>\ny", title));
  CHECK(no("<< >>", title));
  CHECK(no("<<A\ntitle>>", title));
  auto french = ifeval("fr:detectable_format:title");
  CHECK(yes("##Un titre##", french));
  CHECK(no("<<Un titre>>", french));
  CHECK(no("######", french));
  auto postscript = ifeval("en:detectable_content:postscript", R"({"postscript_marker": "P.S."})");
  CHECK(yes("Text.\n\nP. S. more", postscript));
  CHECK(yes("p.s. more", postscript));
  CHECK(no("ps more", postscript));
  CHECK(yes("Nota: algo", ifeval("es:detectable_content:postscript", R"({"postscript_marker": "Nota"})")));
  auto nth = ifeval("es:length_constraints:nth_paragraph_first_word", R"({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "En mi opinión"})");
  CHECK(yes("Uno.\n\nEn mi opini\u00f3n, dos.", nth));
  CHECK(no("En mi opini\u00f3n\n\nDos", nth));
  CHECK(no("Uno.\n\nEn mi opini\u00f3n\n\nTres", nth));
  CHECK(no("Uno.\n\nEn mi opiniones", nth));
}

TEST_CASE("keywords, letters, starts and ends") {
  auto keywords = ifeval("en:keywords:existence", R"({"keywords": ["Mom", "caf\u00e9"]})");
  CHECK(yes("A MOMENT in a CAFE\u0301", keywords));
  CHECK(no("A mom in a cafe", keywords));
  auto forbidden = ifeval("en:keywords:forbidden_words", R"({"forbidden_words": ["rock"]})");
  CHECK(no("They ROCK!", forbidden));
  CHECK(yes("a rocket", forbidden));
  CHECK(no("\u6211\u7231\u97f3\u4e50", check_of("{\"kind\": \"forbidden_words\", \"words\": [\"\u97f3\u4e50\"]}")));  // no spaces, no word edges
  auto count = ifeval("fr:keywords:frequency", R"({"relation": "moins de", "keyword": "guerre", "frequency": 2})");
  CHECK(yes("La guerre", count));
  CHECK(no("La guerre, la Guerre", count));
  CHECK(yes("!!!", ifeval("en:keywords:letter_frequency", R"({"let_relation": "at least", "letter": "!", "let_frequency": 3})")));
  CHECK(yes("Ma\u00f1ana, a\u00f1o", ifeval("es:special_character:enie", R"({"let_frequency": 2})")));
  CHECK(no("Ma\u00f1ana", ifeval("es:special_character:enie", R"({"let_frequency": 2})")));
  CHECK(yes("ping\u00fcino", ifeval("es:special_character:dieresis", R"({"let_frequency": 1})")));
  CHECK(no("\u00c1rbol s\u00ed", ifeval("es:special_character:tildes", R"({"relation": "como máximo", "num_words": 1})")));
  auto capital = ifeval("en:change_case:capital_word_frequency", R"({"capital_relation": "less than", "capital_frequency": 3})");
  CHECK(yes("TOP-NOTCH and NASA", capital));
  CHECK(no("A NASA X", capital));
  auto majuscules = ifeval("fr:change_case:capital_word_frequency", R"({"capital_relation": "au moins", "capital_frequency": 1})");
  CHECK(no("L'\u00e9t\u00e9, c'est l'\u00c9T\u00c9 ; J\u2019ose", majuscules));  // an article is no word of its own
  CHECK(yes("L'\u00c9T\u00c9", majuscules));
  CHECK(yes("I'm", ifeval("en:change_case:capital_word_frequency", R"({"capital_relation": "at least", "capital_frequency": 1})")));
  CHECK(yes("fin", ifeval("fr:special_character:ethel_or_cedilla", R"({"forbidden_char": "ç"})")));
  CHECK(no("FA\u00c7ADE", ifeval("fr:special_character:ethel_or_cedilla", R"({"forbidden_char": "ç"})")));
  CHECK(yes("Dear all, x", check_of(R"({"kind": "starts_with", "words": ["dear ALL"]})")));
  CHECK(no("x Dear all", check_of(R"({"kind": "starts_with", "words": ["dear all"]})")));
  auto end = ifeval("en:startend:end_checker", R"({"end_phrase": "Peace!"})");
  CHECK(yes("So long. \"peace!\" ", end));
  CHECK(no("Peace! Bye", end));
  CHECK(yes("Adi\u00f3s. Un saludo.", ifeval("es:startend:end_checker", R"({"end_phrase": "Un saludo"})")));
  auto repeat = ifeval("en:combination:repeat_prompt", R"({"prompt_to_repeat": "Write a poem."})");
  CHECK(yes(" write a Poem.\n\nRoses", repeat));
  CHECK(no("Sure! Write a poem.", repeat));
  CHECK(yes("My answer is maybe.", ifeval("en:detectable_format:constrained_response")));
  CHECK(yes("Peut-\u00eatre.", ifeval("fr:detectable_format:constrained_response")));
  CHECK(no("Perhaps", ifeval("en:detectable_format:constrained_response")));
}

TEST_CASE("format, case and characters") {
  auto json = ifeval("en:detectable_format:json_format");
  CHECK(yes("```JSON\n{\"a\": [1, 2]}\n```", json));
  CHECK(yes("[]", json));
  CHECK(no("{\"a\": }", json));
  CHECK(no("Here: {}", json));
  CHECK(no(std::string(5000, '['), json));
  auto quote = ifeval("en:startend:quotation");
  CHECK(yes(" \"all\" ", quote));
  CHECK(yes("\u300c\u5168\u90e8\u300d", quote));
  CHECK(no("\"", quote));
  CHECK(no("'all'", quote));
  CHECK(yes("'tout'", ifeval("fr:startend:quotation")));
  CHECK(yes("\u00abtout\u00bb", ifeval("fr:startend:quotation")));
  auto two = ifeval("en:combination:two_responses");
  CHECK(yes("a\n******\nb", two));
  CHECK(no("a\n******\na", two));
  CHECK(no("a\n******\n******\nb", two));
  CHECK(no("a", two));
  auto commas = ifeval("en:punctuation:no_comma");
  CHECK(yes("no; none", commas));
  for (const char* text : {"a, b", "\u0623\u060c \u0628", "\u3042\u3001\u3044", "\u4e00\uff0c\u4e8c"}) CHECK(no(text, commas));
  auto upper = ifeval("es:change_case:spanish_capital"), lower = ifeval("en:change_case:english_lowercase");
  CHECK(yes("ADI\u00d3S 3!", upper));
  CHECK(no("ADI\u00f3S", upper));
  CHECK(no("123", upper));
  CHECK(yes("\u044d\u0442\u043e", check_of(R"({"kind": "lower_case"})")));
  CHECK(no("\u042d\u0442\u043e", lower));
  auto digits = ifeval("fr:detectable_content:no_digits");
  CHECK(yes("dix ans", digits));
  CHECK(no("10 ans", digits));
  CHECK(no("\u0661\u0660", digits));
  auto accents = ifeval("fr:special_character:no_accents");
  CHECK(yes("deja vu", accents));
  CHECK(no("d\u00e9j\u00e0", accents));
  CHECK(no("de\u0301ja", accents));
  auto corrected = ifeval("fr:special_character:accents", R"({"word_to_accentuate": {"deja": "déjà", "a": "à"}})");
  CHECK(yes("D\u00e9j\u00e0 vu \u00e0 Paris", corrected));
  CHECK(no("Deja vu", corrected));
  CHECK(no("d\u00e9ja vu", corrected));
  auto question = ifeval("es:punctuation:question_marks"), exclamation = ifeval("es:punctuation:exclamation_marks");
  CHECK(yes("\u00bfQu\u00e9?", question));
  CHECK(no("Qu\u00e9?", question));
  CHECK(no("\u00bf ?", question));
  CHECK(yes("\u00a1S\u00ed!", exclamation));
  CHECK(no("S\u00ed!", exclamation));
  CHECK(yes("\u5417\uff1f", check_of(R"({"kind": "question"})")));
  auto informal = ifeval("fr:detectable_content:informal_address");
  CHECK(yes("Je t\u2019aime", informal));
  CHECK(yes("Ton ami", informal));
  CHECK(no("Vous \u00eates tout en haut, c'est fait", informal));
}

TEST_CASE("language: by script, by the identifier, or not to be told") {
  auto kannada = ifeval("en:language:response_language", R"({"language": "kn"})"), german = ifeval("en:language:response_language", R"({"language": "de"})");
  CHECK(yes("\u0c95\u0ca8\u0ccd\u0ca8\u0ca1", kannada));
  CHECK(no("English text", kannada));
  CHECK_FALSE(follows("Das ist ein Satz", german));
  auto id = LanguageIdentifier::train({{"de", {"Das ist ein Satz in der deutschen Sprache und nicht mehr."}}, {"en", {"This is a sentence in the English language and no more."}}});
  CHECK(yes("Das ist nicht der Satz", german, &id));
  CHECK(no("This is no sentence", german, &id));
  auto upper = ifeval("en:change_case:english_capital");
  CHECK(yes("THIS IS THE SENTENCE", upper, &id));
  CHECK(no("DAS IST DER SATZ DER SPRACHE", upper, &id));
}

TEST_CASE("loose accuracy drops first and last lines and asterisks; what cannot be told is counted apart") {
  auto end = check_of(R"({"kind": "ends_with", "words": ["done."]})"), lower = check_of(R"({"kind": "lower_case"})"), plain = check_of(R"({"kind": "starts_with", "words": ["word"]})");
  CHECK(no("It is done.\nAnything else?", end));
  CHECK(follows_loosely("It is done.\nAnything else?", end) == std::optional<bool>(true));
  CHECK(follows_loosely("Sure:\nall lower\nBye", lower) == std::optional<bool>(true));
  CHECK(follows_loosely("**Word**", plain) == std::optional<bool>(true));
  CHECK(follows_loosely("Sure", lower) == std::optional<bool>(false));
  auto line = parse_json(R"({"instruction_id_list": ["en:punctuation:no_comma", "en:change_case:english_lowercase"], "kwargs": [{}, {}]})", "line");
  auto checks = read_checks(line, "line");
  InstructionAccuracy strict, loose;
  for (const char* answer : {"all fine", "a, b", "Sure!\nall fine", ""}) {
    strict.add(answer, checks);
    loose.add(answer, checks, true);
  }
  CHECK(strict.prompts == 4);
  CHECK(strict.prompts_followed == 1);
  CHECK(strict.checks == 8);
  CHECK(strict.checks_followed == 4);
  CHECK(loose.prompts_followed == 2);
  CHECK(loose.of_checks() == doctest::Approx(5.0 / 8));
  InstructionAccuracy unknown;
  unknown.add("Das ist es", {ifeval("en:language:response_language", R"({"language": "de"})"), checks[0]});
  CHECK(unknown.prompts == 0);
  CHECK(unknown.undecided == 1);
  CHECK(unknown.checks == 1);
}

TEST_CASE("wrong checks are refused, odd answers are not") {
  CHECK(has(error_of(ErrorKind::input, [] { check_of(R"({"kind": "rhymes"})"); }), "instruction.kind"));
  CHECK(has(error_of(ErrorKind::input, [] { check_of(R"({"kind": "keywords"})"); }), "instruction.words"));
  CHECK(has(error_of(ErrorKind::input, [] { check_of(R"({"kind": "words", "relation": "about"})"); }), "instruction.relation"));
  CHECK(has(error_of(ErrorKind::input, [] { check_of(R"({"kind": "words", "n": -1})"); }), "json.range"));
  CHECK(has(error_of(ErrorKind::input, [] { check_of(R"({"kind": "title", "words": ["<<"]})"); }), "instruction.words"));
  for (const char* empty : {R"({"kind": "title", "words": ["<<", ""]})", R"({"kind": "paragraphs", "n": 2, "words": [""]})"}) CHECK(has(error_of(ErrorKind::input, [&] { check_of(empty); }), "is empty"));
  CHECK(has(error_of(ErrorKind::input, [] { ifeval("en:startend:rhyme"); }), "instruction.kind"));
  CHECK(has(error_of(ErrorKind::input, [] { ifeval("en:length_constraints:number_words"); }), "json.key"));
  CHECK(has(error_of(ErrorKind::input, [] { read_checks(parse_json(R"({"instruction_id_list": ["en:startend:quotation"], "kwargs": []})", "x"), "x"); }), "instruction.kwargs"));
  CHECK(read_checks(parse_json(R"({"checks": [{"kind": "json"}]})", "x"), "x").size() == 1);
  const std::string odd[] = {"", " \n\t", "\xff\xfe", "*", "**", "***", "[", "]", "<<", ">>", "\xe2\x82", "\u202e\u0627\u0644", "\u0301", "\"", "...", "\u00bf", std::string("\0", 1), "a\n", "\n\n\n"};
  for (auto& known : detail::check_names) {
    InstructionCheck c{known.kind, known.relation, 1, 1, {"a", "b"}, known.kind == CheckKind::language ? "ko" : ""};
    for (auto& text : odd) {
      follows(text, c);
      follows_loosely(text, c);
    }
    CHECK(no("", c));
    c.words.clear();
    for (auto& text : odd) follows(text, c);
  }
}

}  // namespace bam::instructions_test
