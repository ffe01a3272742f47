// The generated corpus: one derivation per text, its probability, what the parser refuses, completions, and the bytes.
#include <zstd.h>

#include <array>
#include <cctype>
#include <set>
#include <utility>

#include "bam/text/generated/corpus.hpp"
#include "support.hpp"

namespace bam::generated_test {

using namespace bam::text;
using generated::Lexicon;
using generated::WordClass;

namespace {

constexpr std::uint64_t count = 2500;

// The documents 0 to count - 1 of seed 1.
const std::vector<GeneratedDocument>& documents(Domain d) {
  static const auto all = [] {
    std::array<std::vector<GeneratedDocument>, 4> lists;
    for (Domain domain : domains)
      for (std::uint64_t i = 0; i < count; ++i) lists[static_cast<std::size_t>(domain)].push_back(generate_document(domain, 1, i));
    return lists;
  }();
  return all[static_cast<std::size_t>(d)];
}

bool inside(std::string_view s, std::size_t i) { return i < s.size() && (std::isalnum(static_cast<unsigned char>(s[i])) || s[i] == '-' || s[i] == '_'); }
// The first word or number, and another of its kind that is wrong there.
std::pair<std::string, std::string> value_and_wrong(std::string_view rest) {
  std::size_t begin = rest[0] == ' ', end = begin;
  while (inside(rest, end) || (end < rest.size() && rest[end] == '.' && inside(rest, end + 1))) ++end;
  std::string value(rest.substr(0, end)), token = value.substr(begin), wrong;
  if (std::size_t dot = token.find('.'); dot != token.npos) wrong = token.substr(0, dot + 1) + "99";
  else if (token.find_first_not_of("-0123456789") == token.npos) wrong = str(std::stoll(token) + 1);
  else if (token == "True" || token == "False") wrong = token == "True" ? "False" : "True";
  else {
    const auto& words = Lexicon::get().of(*Lexicon::get().class_of(token)).words;
    wrong = words[words.size() - 1] == token ? words[words.size() - 2] : words.back();
  }
  return {value, str(begin ? " " : "", wrong)};
}

// Runs of letters, in lower case.
std::set<std::string> vocabulary(Domain d) {
  std::set<std::string> words;
  std::string word;
  for (const GeneratedDocument& g : documents(d))
    for (char c : g.text + " ") {
      if (std::isalpha(static_cast<unsigned char>(c))) word += static_cast<char>(std::tolower(c));
      else if (!word.empty()) words.insert(std::exchange(word, ""));
    }
  return words;
}

}  // namespace

TEST_CASE("generated: the parser finds the choices of the generator, and no document comes twice") {
  std::set<std::string> seen;
  for (Domain d : domains) {
    CAPTURE(domain_name(d));
    double nats = 0, bytes = 0;
    for (const GeneratedDocument& g : documents(d)) {
      auto parsed = derivation_nats(d, g.text);
      REQUIRE_MESSAGE(parsed.has_value(), g.text);
      CHECK(*parsed == g.nats);  // to the bit
      CHECK(g.text.size() >= 300);
      CHECK(g.text.size() <= 2000);
      CHECK(seen.insert(g.text).second);
      nats += g.nats;
      bytes += static_cast<double>(g.text.size());
    }
    double bits = nats / bytes / 0.6931471805599453;
    CHECK(bits > 0.3);
    CHECK(bits < 0.7);
    for (Domain other : domains)
      if (other != d) CHECK_FALSE(derivation_nats(other, documents(d)[0].text).has_value());
  }
  CHECK(generate_document(Domain::law, 1, 7).text == documents(Domain::law)[7].text);
  CHECK(generate_document(Domain::law, 2, 7).text != documents(Domain::law)[7].text);
}

TEST_CASE("generated: 20,000 documents of each domain are all different") {
  std::set<std::uint64_t> seen;
  for (Domain d : domains)
    for (std::uint64_t i = 0; i < 20'000; ++i) {
      std::string text = i < count ? documents(d)[i].text : generate_document(d, 1, i).text;
      CHECK(seen.insert(XXH3_64bits(text.data(), text.size())).second);
    }
}

TEST_CASE("generated: a wrong value is no text, and completions are judged") {
  for (Domain d : domains) {
    CAPTURE(domain_name(d));
    for (const GeneratedDocument& g : documents(d)) {
      CAPTURE(g.text);
      std::string prompt = prompt_of(d, g.text), rest = g.text.substr(prompt.size());
      CHECK(g.text.starts_with(prompt));
      CHECK(prompt.back() != ' ');
      Check c = check_completion(d, prompt, rest);
      CHECK(c.parses);
      CHECK(c.right);
      auto [value, wrong] = value_and_wrong(rest);
      std::string changed = wrong + rest.substr(value.size());
      CAPTURE(changed);
      CHECK_FALSE(derivation_nats(d, prompt + changed).has_value());
      Check w = check_completion(d, prompt, changed);
      CHECK_FALSE(w.right);
      if (d != Domain::law) CHECK(w.parses);  // in a statute, what a section says follows its number
      CHECK_FALSE(check_completion(d, prompt, value).parses);  // the sentence has no end
      CHECK_FALSE(check_completion(d, prompt, " ???.\n").parses);
    }
    const std::string& text = documents(d)[0].text;
    for (std::size_t cut : {std::size_t{0}, text.size() / 2, text.size() - 1}) CHECK_FALSE(derivation_nats(d, text.substr(0, cut)).has_value());
    CHECK_FALSE(derivation_nats(d, text + "\n").has_value());
    test::error_of(ErrorKind::usage, [&] { prompt_of(d, "The cat sat on the mat."); });
  }
}

// Some changes make another text (a free number, one word for another), most make none.
TEST_CASE("generated: one changed digit or word") {
  for (Domain d : domains) {
    CAPTURE(domain_name(d));
    int refused = 0, all = 0;
    for (std::size_t k = 0; k < 40; ++k) {
      const GeneratedDocument& g = documents(d)[k];
      for (std::size_t i = 0; i < g.text.size(); i += 3) {
        std::string text = g.text;
        if (text[i] >= '0' && text[i] <= '9') text[i] = text[i] == '9' ? '8' : static_cast<char>(text[i] + 1);
        else if (std::isalpha(static_cast<unsigned char>(text[i]))) text[i] = text[i] == 'e' ? 'o' : 'e';
        else continue;
        ++all;
        refused += !derivation_nats(d, text).has_value();
      }
    }
    CHECK(refused > all * 9 / 10);
  }
  // By hand.
  const char* sum = "Problem: Compute (17 - 22).\nSolution: 17 - 22 = -5. The answer is -5.\n\nProblem: Multiply 37 by 24.\nSolution: 24 = 20 + 4. 37 * 20 = 740. "
                    "37 * 4 = 148. 740 + 148 = 888. So the answer is 888.\n\nProblem: Solve 3x + 5 = 20 for x.\nSolution: Subtract 5 from both sides: 20 - 5 = 15. "
                    "Now 3x = 15. Divide by 3: 15 / 3 = 5. The answer is 5.\n\nProblem: Add 2 and 3.\nSolution: 2 + 3 = 5. This gives 5.";
  CHECK(derivation_nats(Domain::math, sum).has_value());
  std::string wrong = sum;
  wrong.replace(wrong.find("888. So"), 3, "889");
  CHECK_FALSE(derivation_nats(Domain::math, wrong).has_value());
  CHECK(check_completion(Domain::math, "Problem: Add 2 and 3.\nSolution: 2 + 3 =", " 5. This is more than was asked").right);
  Check c = check_completion(Domain::math, "Problem: Add 2 and 3.\nSolution: 2 + 3 =", " 6.");
  CHECK(c.parses);
  CHECK_FALSE(c.right);
}

TEST_CASE("generated: domains share their words; the lexicon") {
  std::set<std::string> words[4];
  for (Domain d : domains) words[static_cast<int>(d)] = vocabulary(d);
  for (auto& a : words)
    for (auto& b : words) {
      std::size_t both = 0;
      for (const std::string& w : a) both += b.count(w);
      CHECK(a.size() > 1000);
      CHECK(both * 10 >= (a.size() + b.size() - both) * 4);  // of the words of either
    }
  const Lexicon& lexicon = Lexicon::get();
  std::set<std::string> all;
  for (WordClass c : {WordClass::noun, WordClass::verb, WordClass::adjective, WordClass::name}) {
    const Lexicon::Class& list = lexicon.of(c);
    all.insert(list.words.begin(), list.words.end());
    for (std::size_t i = 0; i < list.words.size(); ++i) {
      CHECK(lexicon.class_of(list.words[i]) == c);
      if (i) CHECK(list.weight(i) <= list.weight(i - 1));
    }
  }
  CHECK(all.size() == lexicon.size());
  CHECK(all.size() >= 5000);
}

TEST_CASE("generated: as hard to pack as text is") {
  for (Domain d : domains) {
    CAPTURE(domain_name(d));
    std::string text;
    for (std::size_t i = 0; text.size() < 300'000; ++i) text += documents(d)[i].text;
    std::string packed(ZSTD_compressBound(text.size()), '\0');
    double bits = 8.0 * static_cast<double>(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 19)) / static_cast<double>(text.size());
    CHECK(bits > 1.5);
    CHECK(bits < 2.6);
  }
}

TEST_CASE("generated: programs nest six deep") {
  int deep = 0;
  for (const GeneratedDocument& g : documents(Domain::code)) deep += g.text.find("\n" + std::string(24, ' ')) != g.text.npos;
  CHECK(deep > 250);  // a tenth
}

TEST_CASE("generated: the bytes are the same everywhere") {
  const char* wanted[] = {"84c9edbc5522b0327b5709f01207f424", "dc539b20c7a56800183e9caf17338a64", "2ea1dd366de88edda3a227f1768bc8da",
                          "657a1b1fec3b4f0ebe7d27e57af9dc96"};
  for (Domain d : domains) {
    io::Hasher hash;
    for (std::size_t i = 0; i < 100; ++i) hash.update(documents(d)[i].text.data(), documents(d)[i].text.size());
    CAPTURE(domain_name(d));
    CHECK(hash.hex() == wanted[static_cast<int>(d)]);
  }
}

}  // namespace bam::generated_test
