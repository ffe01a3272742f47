// Scores against those of public implementations (tests/data/scores/make_cases.py says which): ROUGE on many scripts, last numbers, exact match, instruction checks.
#include <set>

#include "bam/eval/exact_match.hpp"
#include "bam/eval/instructions.hpp"
#include "bam/eval/rouge.hpp"
#include "bam/io/file.hpp"
#include "support.hpp"

namespace bam::public_scores_test {

namespace {

const io::Json& cases() {
  static const io::Json all = io::parse_json(io::read_file(test::data() + "/data/scores/cases.json"), "cases.json");
  return all;
}
std::string text_of(const io::Json& c, const char* key) { return std::string(c.at(key).as_string(key)); }

}  // namespace

TEST_CASE("ROUGE of scripts with spaces between words equals XL-Sum's, of others rouge_score's of characters") {
  std::size_t count = 0;
  for (const io::Json& c : cases().at("rouge").items("rouge")) {
    const std::string prediction = text_of(c, "prediction"), reference = text_of(c, "reference");
    CAPTURE(prediction);
    const double got[] = {rouge_n(prediction, reference, 1).f1, rouge_n(prediction, reference, 2).f1, rouge_l(prediction, reference).f1};
    for (std::size_t i = 0; i < 3; ++i) CHECK(got[i] == doctest::Approx(c.at("f1").at(i).as_double("f1")).epsilon(1e-12));
    ++count;
  }
  CHECK(count == 70 + 16);
}

TEST_CASE("last numbers and exact match equal lm_eval's") {
  std::size_t count = 0;
  for (const io::Json& c : cases().at("number").items("number")) CHECK_MESSAGE(number_match(text_of(c, "text"), text_of(c, "gold")) == c.at("right").as_bool("right"), text_of(c, "text"), ++count);
  for (const io::Json& c : cases().at("match").items("match")) CHECK_MESSAGE(exact_match(text_of(c, "text"), text_of(c, "gold")) == c.at("right").as_bool("right"), text_of(c, "text"), ++count);
}

TEST_CASE("instruction checks equal IFEval's") {
  std::vector<std::string> answers;
  for (const io::Json& a : cases().at("answers").items("answers")) answers.emplace_back(a.as_string("answers"));
  for (const io::Json& c : cases().at("instructions").items("instructions")) {
    const InstructionCheck check = read_ifeval_check(text_of(c, "id"), c.at("kwargs"), "cases.json");
    for (const char* key : {"strict", "loose"}) {
      std::set<std::size_t> wanted;
      for (const io::Json& i : c.at(key).items(key)) wanted.insert(static_cast<std::size_t>(i.as_int(key)));
      for (std::size_t i = 0; i < answers.size(); ++i) {
        const std::optional<bool> got = *key == 's' ? follows(answers[i], check) : follows_loosely(answers[i], check);
        CHECK_MESSAGE(got == std::optional<bool>(wanted.contains(i)), text_of(c, "id"), " ", io::dump(c.at("kwargs")), " ", std::string(key), ": ", answers[i]);
      }
    }
  }
}

}  // namespace bam::public_scores_test
