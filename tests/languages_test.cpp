// The made-up languages: one meaning a sentence, what differs and what is shared between them, splits that share nothing, rules
// that know right from wrong, answers found again from the text alone, and the bytes.
#include <array>
#include <set>

#include "bam/io/hash.hpp"
#include "bam/text/bpe_train.hpp"
#include "bam/text/generated/tasks.hpp"
#include "bam/text/tokenizer.hpp"
#include "support.hpp"

namespace bam::languages_test {

namespace lang = bam::text::languages;
namespace words = bam::text::languages::words;
using lang::Clause;
using lang::Concept;
using lang::Example;
using lang::Form;
using lang::Kind;
using lang::Mood;
using lang::Part;
using lang::Phrase;
using lang::Split;
using lang::Task;

namespace {

constexpr Split splits[] = {Split::train, Split::validation, Split::test};

// The prompt of an example taken apart, by the parser alone.
struct Read {
  std::vector<Clause> told;        // of a text or a story
  Clause ask;                      // of a summary or an instruction
  std::vector<std::string> items;  // of a list
};

std::vector<Clause> parse_all(int l, std::string_view text) {
  std::vector<Clause> list;
  for (const std::string& s : lang::sentences_of(text)) {
    auto c = lang::parse(l, s);
    REQUIRE_MESSAGE(c.has_value(), s);
    list.push_back(*c);
  }
  return list;
}

Read read(const Example& e) {
  Read r;
  std::string text = e.prompt.substr(0, e.prompt.rfind('\n'));
  if (e.task == Task::arithmetic) {
    r.told = parse_all(e.lang, text);
    return r;
  }
  std::size_t begin = text.find_first_of(":?") + 1;
  auto ask = lang::parse(e.lang, text.substr(0, begin));
  REQUIRE_MESSAGE(ask.has_value(), text);
  r.ask = *ask;
  std::string rest = text.substr(begin + 1);
  if (e.task == Task::summary) r.told = parse_all(e.lang, rest);
  else r.items = lang::detail::items_of(rest);
  return r;
}

// The word of an item, or 0 where it is a number; and the number.
std::pair<Concept, int> item_of(int l, const std::string& item) {
  std::string ascii = lang::unspell(lang::language(l), item);
  if (lang::detail::is_number(ascii)) return {lang::none, std::stoi(ascii)};
  const lang::Reading* r = lang::Lexicon::of(l).find(ascii);
  REQUIRE_MESSAGE(r != nullptr, item);
  return {r->said, 0};
}

std::vector<int> numbers_of(const std::vector<Clause>& told) {
  std::vector<int> list;
  for (const Clause& c : told)
    for (const Phrase* p : {&c.subject, &c.object, &c.further})
      if (p->count) list.push_back(p->count);
  return list;
}

// What must not come twice: every sentence that is told, every list, every set of numbers.
std::vector<std::uint64_t> contents_of(const Example& e) {
  Read r = read(e);
  std::vector<std::uint64_t> list;
  if (e.task == Task::summary)
    for (const Clause& c : r.told) list.push_back(lang::content_of(c));
  if (e.task == Task::arithmetic) list.push_back(lang::content_of(numbers_of(r.told)));
  if (e.task == Task::instructions) {
    std::vector<int> w, n;
    for (const std::string& item : r.items) {
      auto [word, number] = item_of(e.lang, item);
      if (word) w.push_back(word);
      else n.push_back(number);
    }
    if (!w.empty()) list.push_back(lang::content_of(w));
    if (!n.empty()) list.push_back(lang::content_of(n));
  }
  return list;
}

// The answer of a story, from what is told and asked. A second way to the number: what each owns is kept as the story goes.
int solve_story(const std::vector<Clause>& told) {
  std::map<Concept, int> owned, boxes, in_box;  // by person, by person, by container
  std::map<Concept, Concept> box_of;
  int parts = 0;
  auto value = [&](Concept who) { return box_of.contains(who) ? boxes[who] * in_box[box_of[who]] + owned[who] : owned[who]; };
  for (std::size_t i = 0; i + 1 < told.size(); ++i) {
    const Clause& c = told[i];
    Concept who = c.subject.nouns[0];
    int n = c.object.count;
    if (c.verb == words::divide) parts = c.further.count;
    else if (lang::is_of(Kind::gain, c.verb)) owned[who] += n;
    else if (lang::is_of(Kind::lose, c.verb)) owned[who] -= n;
    else if (lang::is_of(Kind::give, c.verb)) owned[who] -= n, owned[c.further.nouns[0]] += n;
    else if (c.subject.adjective == words::each) in_box[who] = n;
    else if (lang::is_of(Kind::container, c.object.nouns[0])) boxes[who] = n, box_of[who] = c.object.nouns[0];
    else if (c.object.adjective == words::more) owned[who] = value(c.further.nouns[0]) + n;
    else if (c.object.adjective == words::fewer) owned[who] = value(c.further.nouns[0]) - n;
    else if (c.object.adjective == words::times) owned[who] = value(c.further.nouns[0]) * n;
    else owned[who] = n;
  }
  const Clause& ask = told.back();
  CHECK(ask.mood == Mood::question);
  if (ask.subject.nouns[0] == words::part) {
    for (const Clause& c : told)
      if (c.verb == words::divide) return value(c.subject.nouns[0]) / parts;
  }
  if (ask.object.adjective == words::how_many_more) return value(ask.subject.nouns[0]) - value(ask.further.nouns[0]);
  int sum = 0;
  for (Concept who : ask.subject.nouns) sum += value(who);
  return sum;
}

// What an instruction asks for, from its sentence: the verb, the object and the rest of it.
std::string follow(const Example& e) {
  Read r = read(e);
  const Clause& c = r.ask;
  const Phrase& o = c.object;
  const lang::Language& l = lang::language(e.lang);
  std::vector<std::string> in = r.items, out;
  auto say = [&](Concept w) { return lang::say(e.lang, w); };
  auto joined = [](const std::vector<std::string>& list, const char* between) { return lang::detail::joined(list, between); };
  auto number = [&](std::size_t n) { return lang::spell(l, str(n)); };
  auto value = [&](const std::string& s) { return item_of(e.lang, s).second; };
  auto find = [&](Concept w) { return static_cast<std::size_t>(std::find(in.begin(), in.end(), say(w)) - in.begin()); };
  Concept object = o.nouns[0];
  bool all = o.many && !o.adjective, of_words = object == words::word, of_numbers = object == words::number;
  if (c.mood == Mood::question) return say(find(object) < in.size() ? words::yes : words::no);
  switch (c.verb) {
    case words::copy: return joined(in, ", ");
    case words::turn: return joined({in.rbegin(), in.rend()}, ", ");
    case words::sort:
      std::sort(in.begin(), in.end(), [&](const auto& a, const auto& b) { return c.when == words::upward ? value(a) < value(b) : value(a) > value(b); });
      return joined(in, ", ");
    case words::count: return number(of_words || of_numbers ? in.size() : static_cast<std::size_t>(std::count(in.begin(), in.end(), say(object))));
    case words::repeat:
      for (int k = 0; k < c.further.count; ++k) {
        if (object == words::list) out.insert(out.end(), in.begin(), in.end());
        else out.push_back(in[o.adjective - words::first]);
      }
      return joined(out, ", ");
    case words::put: in.insert(c.role == words::before ? in.begin() : in.end(), say(object)); return joined(in, ", ");
    case words::remove:
      in.erase(o.adjective == words::first ? in.begin() : o.adjective == words::last ? in.end() - 1 : in.begin() + static_cast<std::ptrdiff_t>(find(object)));
      return joined(in, ", ");
    case words::change: in[find(object)] = say(c.further.nouns[0]); return joined(in, ", ");
    case words::choose: in.resize(static_cast<std::size_t>(o.count)); return joined(in, ", ");
    case words::join: return joined(in, "-");
    case words::enumerate:
      for (std::size_t i = 0; i < in.size(); ++i) in[i] = number(i + 1) + " " + in[i];
      return joined(in, ", ");
    default: break;
  }
  CHECK(c.verb == words::write);
  if (c.when == words::twice) {
    for (const std::string& s : in) out.insert(out.end(), {s, s});
    return joined(out, ", ");
  }
  if (c.role == words::at) return joined(in, "\n");
  if (c.role == words::with && all) return lang::upper_case(l, joined(in, ", "));
  if (c.role == words::after) return in[find(c.further.nouns[0]) + 1];
  if (c.role == words::before) return in[find(c.further.nouns[0]) - 1];
  if (object == words::animal || object == words::place) {
    for (const std::string& s : in)
      if (lang::is_of(object == words::animal ? Kind::animal : Kind::place, item_of(e.lang, s).first)) return s;
    return "";
  }
  if (o.count) return joined(o.adjective == words::first ? std::vector(in.begin(), in.begin() + o.count) : std::vector(in.end() - o.count, in.end()), ", ");
  if (all) {
    for (const std::string& s : in)
      if ((item_of(e.lang, s).first == lang::none) == of_numbers) out.push_back(s);
    return joined(out, ", ");
  }
  if (o.adjective == words::last) return in.back();
  if (o.adjective == words::largest || o.adjective == words::smallest) {
    std::sort(in.begin(), in.end(), [&](const auto& a, const auto& b) { return value(a) < value(b); });
    return o.adjective == words::largest ? in.back() : in.front();
  }
  std::string found = in[o.adjective - words::first];
  return c.role == words::with ? lang::upper_case(l, found) : found;
}

std::string solve(const Example& e) {
  if (e.task == Task::instructions) return follow(e);
  Read r = read(e);
  if (e.task == Task::arithmetic) return lang::spell(lang::language(e.lang), str(solve_story(r.told)));
  std::vector<std::string> list;
  for (Clause& c : r.told)
    if (c.marker == words::above_all || c.marker == words::in_short || c.marker == words::remember) {
      c.marker = lang::none;
      list.push_back(lang::say(e.lang, c));
    }
  return lang::detail::joined(list, " ");
}

std::size_t place_of(const std::string& text, const std::string& part) {
  std::size_t at = text.find(part);
  CHECK_MESSAGE(at != text.npos, text, " has no ", part);
  return at;
}

}  // namespace

TEST_CASE("languages: a sentence has one meaning, and its parser finds it") {
  for (int l = 0; l < lang::language_count; ++l) {
    CAPTURE(std::string(lang::languages[l].code));
    std::map<std::string, std::uint64_t> meaning_of;
    std::size_t parsed = 0, tokens = 0, refused = 0, changes = 0;
    auto both_ways = [&](const Clause& c, char end) {
      std::string s = lang::say(l, c, end);
      auto back = lang::parse(l, s);
      REQUIRE_MESSAGE(back.has_value(), s);
      REQUIRE_MESSAGE(*back == c, s);
      auto [found, is_new] = meaning_of.emplace(s, lang::content_of(c) ^ c.marker);
      CHECK(found->second == (lang::content_of(c) ^ c.marker));
      ++parsed;
      tokens += static_cast<std::size_t>(std::count(s.begin(), s.end(), ' ')) + 1;
      // Another order of two neighbours says something else, or nothing.
      std::size_t blank = s.find(' '), next = s.find(' ', blank + 1);
      if (next == s.npos) return;
      std::string swapped = str(s.substr(blank + 1, next - blank - 1), " ", s.substr(0, blank), s.substr(next));
      auto other = lang::parse(l, swapped);
      ++changes;
      refused += !other;
      if (other && swapped != s) CHECK_FALSE(*other == c);
    };
    Random random(5);
    for (int i = 0; i < 400; ++i) {
      lang::Scene scene(random);
      for (int k = 0; k < 10; ++k) {
        Clause c = lang::draw_clause(random, scene, splits[i % 3]);
        if (k % 3 == 0) c.marker = static_cast<Concept>(words::above_all + k % 7);
        both_ways(c, '.');
      }
    }
    for (int i = 0; i < 500; ++i)
      if (auto story = lang::draw_story(random, lang::stories[i % lang::story_count], Split::train)) {
        for (const Clause& c : story->told) both_ways(c, '.');
        for (const Clause& c : story->steps) both_ways(c, '.');
      }
    for (std::uint64_t i = 0; i < 200; ++i)
      for (int f = 0; f < lang::form_count(Task::instructions); ++f) both_ways(lang::detail::draw_instruction(random, static_cast<Form>(f), Split::train).ask, ':');
    CHECK(parsed >= 5000);
    CHECK(refused * 2 > changes);
    double mean = static_cast<double>(tokens) / static_cast<double>(parsed);
    CHECK(mean > 3.5);
    CHECK(mean < 7);
    for (const char* wrong : {"", ".", " .", "a b c.", "12.", "???"}) CHECK_FALSE(lang::parse(l, wrong).has_value());
    std::string sentence = meaning_of.begin()->first;
    CHECK_FALSE(lang::parse(l, sentence.substr(0, sentence.size() - 1)).has_value());
    for (int other = 0; other < lang::language_count; ++other)
      if (other != l) CHECK_FALSE(lang::parse(other, sentence).has_value());
  }
}

TEST_CASE("languages: scripts share no letter, and each language keeps to its own letters and digits") {
  std::set<char16_t> letters;
  for (auto& alphabet : lang::detail::alphabets)
    for (char16_t c : alphabet)
      for (unsigned distance : {0u, lang::detail::capital_distance[&alphabet - lang::detail::alphabets]}) CHECK(letters.insert(static_cast<char16_t>(c - distance)).second);
  CHECK(letters.size() == 104);
  CHECK(*letters.begin() > 0x250);  // none is Latin
  for (int l = 0; l < lang::language_count; ++l) {
    const lang::Language& language = lang::language(l);
    std::string text;
    for (std::uint64_t i = 0; i < 100; ++i) text += lang::language_document(l, 1, i, 0);
    std::string ascii = lang::unspell(language, text);
    CHECK(ascii.find('\x7f') == ascii.npos);
    CHECK(lang::spell(language, ascii) == text);
    bool latin = std::any_of(text.begin(), text.end(), [](char c) { return lang::detail::is_lower(c) || lang::detail::is_upper(c); });
    bool usual_digits = std::any_of(text.begin(), text.end(), lang::detail::is_digit);
    CHECK(latin == (language.script == lang::Script::latin));
    CHECK(usual_digits != language.own_digits);
    CHECK(std::any_of(ascii.begin(), ascii.end(), lang::detail::is_digit));
    CHECK(lang::find_language(language.code) == l);
    std::string capitals = lang::upper_case(language, text);
    CHECK(capitals.size() == text.size());
    CHECK(capitals != text);
  }
  for (int l : lang::latin_languages) CHECK(lang::language(l).script == lang::Script::latin);
  for (int l : lang::other_languages) CHECK(lang::language(l).script != lang::Script::latin);
  std::set<int> groups{lang::pivot};
  for (int l : lang::seen_languages) CHECK(groups.insert(l).second);
  for (int l : lang::unseen_languages) CHECK(groups.insert(l).second);
  CHECK(groups.size() == lang::language_count);
  CHECK(test::has(test::error_of(ErrorKind::usage, [] { lang::language_document(10, 1, 0); }), "languages.language"));
  CHECK(test::has(test::error_of(ErrorKind::usage, [] { lang::task_example(Task::summary, -1, Split::train, 1, 0); }), "got -1"));
  CHECK(test::has(test::error_of(ErrorKind::input, [] { lang::find_language("gl10"); }), "languages.code"));
}

TEST_CASE("languages: word orders and endings differ as their table says") {
  Clause c{.past = true, .verb = lang::first_of(Kind::act), .subject = {.nouns = {lang::first_of(Kind::person)}},
           .object = {.nouns = {lang::first_of(Kind::thing)}, .adjective = lang::first_of(Kind::quality), .count = 7}, .role = words::with, .further = {.nouns = {lang::first_of(Kind::animal)}}};
  std::set<std::string> orders;
  for (int l = 0; l < lang::language_count; ++l) {
    const lang::Language& language = lang::language(l);
    CAPTURE(std::string(language.code));
    std::string s = lang::say(l, c);
    auto at = [&](Concept w) { return place_of(s, lang::say(l, w)); };
    std::size_t subject = at(lang::first_of(Kind::person)), object = at(lang::first_of(Kind::thing)), verb = at(lang::first_of(Kind::act));
    CHECK(subject < object);
    CHECK((verb < subject) == (language.order == lang::Order::vso));
    CHECK((verb > object) == (language.order == lang::Order::sov));
    CHECK((at(lang::first_of(Kind::quality)) > object) == language.adjective_after);
    CHECK((place_of(s, lang::spell(language, "7")) > object) == language.number_after);
    CHECK((at(words::with) > at(lang::first_of(Kind::animal))) == language.postpositions);
    orders.insert(str(static_cast<int>(language.order), language.adjective_after, language.number_after, language.postpositions));
    // The object's ending, where there is one, and its number.
    const lang::Lexicon& lexicon = lang::Lexicon::of(l);
    lang::Case of_object = language.cases == lang::Cases::bare ? lang::Case::plain : lang::Case::object;
    CHECK(test::has(s, lang::spell(language, lexicon.noun_form(lang::first_of(Kind::thing), language.plural_after_number, of_object))));
    std::set<unsigned> genders;
    for (Concept n = lang::first_of(Kind::thing); n < lang::first_of(Kind::place); ++n) genders.insert(lexicon.gender(n));
    CHECK(genders.size() == language.genders);
  }
  CHECK(orders.size() >= 8);
  std::set<lang::Order> three;
  for (const lang::Language& l : lang::languages) three.insert(l.order);
  CHECK(three.size() == 3);
}

TEST_CASE("languages: relatives share the roots they are said to, others do not") {
  auto content = [](auto&& f) {
    for (Concept c = lang::first_of(Kind::person); c < words::end; ++c) f(c);
  };
  double all = words::end - lang::first_of(Kind::person);
  for (int a = 0; a < lang::language_count; ++a) {
    const lang::Lexicon &first = lang::Lexicon::of(a), &english = lang::Lexicon::of(lang::pivot);
    CAPTURE(std::string(lang::languages[a].code));
    double inherited = 0, borrowed = 0, own = 0, like_pivot = 0;
    content([&](Concept c) {
      lang::Origin o = first.origin(c);
      (o == lang::Origin::inherited ? inherited : o == lang::Origin::borrowed ? borrowed : own) += 1;
      if (o == lang::Origin::borrowed) CHECK(first.stem(c) == english.stem(c));
      if (o == lang::Origin::own && a != lang::pivot) like_pivot += first.stem(c) == english.stem(c);
    });
    CHECK(like_pivot <= 2);
    int relatives = 0;
    for (int b = 0; b < lang::language_count; ++b) {
      if (a == b || lang::languages[a].family != lang::languages[b].family) continue;
      ++relatives;
      const lang::Lexicon& second = lang::Lexicon::of(b);
      double both = 0, letters = 0, same = 0;
      content([&](Concept c) {
        if (first.origin(c) != lang::Origin::inherited || second.origin(c) != lang::Origin::inherited) return;
        both += 1;
        CHECK(first.stem(c).size() == second.stem(c).size());
        for (std::size_t i = 0; i < first.stem(c).size(); ++i) letters += 1, same += first.stem(c)[i] == second.stem(c)[i];
      });
      CHECK(both / all == doctest::Approx(lang::inherited_permille / 1000.0).epsilon(0.2));
      CHECK(same / letters > 0.7);
    }
    if (relatives) CHECK(inherited / all == doctest::Approx(lang::inherited_permille / 1000.0).epsilon(0.15));
    else CHECK(inherited == 0);
    if (a != lang::pivot) CHECK(borrowed / (all - inherited) == doctest::Approx(lang::borrowed_permille / 1000.0).epsilon(0.5));
    for (Concept c = 1; c < lang::first_of(Kind::person); ++c) CHECK(first.stem(c) == english.stem(c));
  }
  CHECK(lang::content_end - 1 >= 300);
}

TEST_CASE("languages: documents, alone and in two languages") {
  for (int l = 0; l < lang::language_count; ++l) {
    int doubled = 0, all = 1000, with_sums = 0;
    std::set<std::string> seen;
    for (std::uint64_t i = 0; i < static_cast<std::uint64_t>(all); ++i) {
      std::string text = lang::language_document(l, 1, i);
      CHECK(seen.insert(text).second);
      CHECK(text.size() > 40);
      CHECK(text.size() < 2000);
      with_sums += test::has(text, "=");
      bool other = lang::unspell(lang::language(l), text).find('\x7f') != std::string::npos;
      std::vector<std::string> sentences = lang::sentences_of(text);
      // Two halves that say the same, where both are stories.
      if (test::has(text, ",")) {
        doubled += other;
        continue;
      }
      std::size_t mine = 0;
      for (const std::string& s : sentences) mine += lang::parse(l, s).has_value();
      if (mine == sentences.size()) continue;
      ++doubled;
      CHECK(mine * 2 == sentences.size());
      bool mine_first = lang::parse(l, sentences[0]).has_value();
      for (std::size_t s = 0; s < mine; ++s) {
        auto here = lang::parse(l, sentences[mine_first ? s : mine + s]);
        bool found = false;
        for (int b = 0; b < lang::language_count && !found; ++b) {
          auto there = lang::parse(b, sentences[mine_first ? mine + s : s]);
          found = b != l && there && here && *there == *here;
        }
        CHECK(found);
      }
    }
    CHECK(doubled > all * static_cast<int>(lang::parallel_permille) / 1000 / 2);
    CHECK(doubled < all * static_cast<int>(lang::parallel_permille) / 1000 * 3 / 2);
    CHECK(with_sums > all * static_cast<int>(lang::counting_permille) / 1000 * 3 / 4);
    std::string twice = lang::language_document(l, 1, 3, 1000), alone = lang::language_document(l, 1, 3, 0);
    CHECK(twice != alone);
    CHECK(lang::language_document(l, 2, 3) != lang::language_document(l, 1, 3));
  }
}

TEST_CASE("languages: the tasks' templates differ, and take turns") {
  for (Task task : lang::tasks) {
    int forms = lang::form_count(task);
    CHECK(forms >= 30);
    std::set<int> turn;
    for (int i = 0; i < forms; ++i) turn.insert(lang::form_of(task, 1, static_cast<std::uint64_t>(i)));
    CHECK(turn.size() == static_cast<std::size_t>(forms));
    CHECK(lang::form_of(task, 1, 3) == lang::form_of(task, 1, static_cast<std::uint64_t>(3 + forms)));
  }
  std::set<std::string_view> plans(std::begin(lang::stories), std::end(lang::stories));
  CHECK(plans.size() == lang::story_count);
  // Prompts with the list, the words of it and the numbers left out; where those are as many, the templates are as many.
  std::map<std::uint64_t, int> form_of;
  Random random(3);
  for (int f = 0; f < lang::form_count(Task::instructions); ++f)
    for (int n = 0; n < 20; ++n) {
      lang::detail::Item item = lang::detail::draw_instruction(random, static_cast<Form>(f), Split::train);
      Clause c = item.ask;
      bool mixed = false, some_words = false;
      for (auto e : item.list) (e.word ? some_words : mixed) = true;
      for (Phrase* p : {&c.object, &c.further}) {
        if (!p->empty() && p->nouns[0] < lang::content_end) p->nouns[0] = lang::first_of(Kind::thing);
        p->count = p->count != 0;
        if (p->adjective > words::first && p->adjective <= words::fourth) p->adjective = words::first;
      }
      int found = form_of.emplace(lang::Hash64().add(lang::content_of(c)).add(mixed).add(some_words).value, f).first->second;
      CHECK(found == f);
    }
}

TEST_CASE("languages: the answer follows from the text; rules take it and refuse others") {
  for (Task task : lang::tasks)
    for (int l = 0; l < lang::language_count; ++l)
      for (Split split : splits)
        for (std::uint64_t i = 0; i < 200; ++i) {
          Example e = lang::task_example(task, l, split, 1, i);
          CAPTURE(e.prompt);
          CAPTURE(e.completion);
          CHECK(solve(e) == e.answer);
          CHECK(lang::accepts(e, e.completion));
          CHECK(e.completion.front() == ' ');
          CHECK(e.prompt.back() == ':');
          CHECK_FALSE(lang::accepts(e, ""));
          CHECK_FALSE(lang::accepts(e, "."));
          CHECK_FALSE(lang::accepts(e, e.prompt));
          if (task != Task::arithmetic) CHECK_FALSE(lang::accepts(e, e.completion.substr(0, e.completion.size() / 2)));
          std::string more = e.completion.substr(0, e.completion.size() - 1) + ", " + lang::spell(lang::language(l), "101") + ".";
          CHECK_FALSE(lang::accepts(e, more));
          if (task == Task::arithmetic) {
            // Each step computes, and the last one is the answer.
            std::size_t end = e.completion.rfind(". ");
            int value = 0;
            for (const Clause& c : parse_all(l, e.completion.substr(1, end))) {
              int a = c.object.left, b = c.object.right;
              value = c.object.count;
              CHECK(value == (c.object.op == '+' ? a + b : c.object.op == '-' ? a - b : c.object.op == '*' ? a * b : a / b));
              if (c.object.op == '/') CHECK(a % b == 0);
              CHECK(value >= 1);
              CHECK(value <= lang::largest_number);
            }
            CHECK(lang::spell(lang::language(l), str(value)) == e.answer);
            CHECK_FALSE(lang::accepts(e, lang::spell(lang::language(l), str(" ", value + 1, "."))));
          }
          if (task == Task::summary) {
            std::vector<std::string> told = lang::sentences_of(e.prompt.substr(e.prompt.find_first_of(":?") + 2));
            CHECK_FALSE(lang::accepts(e, " " + told[0] + " " + told[1] + " " + told[2]));
          }
          if (task == Task::instructions && static_cast<Form>(e.form) == Form::choose) {
            // Any of them will do, but not one twice.
            Read r = read(e);
            std::vector<std::string> last(r.items.end() - read(e).ask.object.count, r.items.end());
            CHECK(lang::accepts(e, lang::detail::joined(last, ", ")));
            last[0] = last[1];
            CHECK_FALSE(lang::accepts(e, lang::detail::joined(last, ", ")));
          }
          if (task == Task::instructions && (static_cast<Form>(e.form) == Form::upper_nth || static_cast<Form>(e.form) == Form::upper_all)) {
            std::vector<std::string> items = lang::detail::items_of(e.prompt.substr(e.prompt.find(':') + 1));
            for (const std::string& s : items) CHECK_FALSE(lang::accepts(e, s));
          }
        }
}

TEST_CASE("languages: no sentence, list or set of numbers is in two splits, in any language") {
  constexpr std::uint64_t training = 10'000, held_out = 500;
  for (Task task : lang::tasks) {
    std::set<std::uint64_t> trained, validated, tested;
    for (int l = 0; l < lang::language_count; ++l) {
      for (std::uint64_t i = 0; i < training; ++i)
        for (std::uint64_t c : contents_of(lang::task_example(task, l, Split::train, 1, i))) trained.insert(c);
      for (std::uint64_t i = 0; i < held_out; ++i) {
        for (std::uint64_t c : contents_of(lang::task_example(task, l, Split::validation, 1, i))) validated.insert(c);
        for (std::uint64_t c : contents_of(lang::task_example(task, l, Split::test, 1, i))) tested.insert(c);
      }
    }
    for (std::uint64_t c : tested) {
      CHECK_FALSE(trained.contains(c));
      CHECK_FALSE(validated.contains(c));
    }
    for (std::uint64_t c : validated) CHECK_FALSE(trained.contains(c));
    CHECK(trained.size() > 4000);
    CHECK(tested.size() > 150);
    if (task != Task::summary) continue;
    // Nor is a tested sentence in pre-training, or in a story to be solved.
    for (int l = 0; l < lang::language_count; ++l)
      for (std::uint64_t i = 0; i < 1000; ++i) {
        for (const std::string& s : lang::sentences_of(lang::language_document(l, 1, i, 0)))
          if (auto c = lang::parse(l, s)) CHECK_FALSE(tested.contains(lang::content_of(*c)));
        for (const Clause& c : read(lang::task_example(Task::arithmetic, l, Split::train, 1, i)).told) CHECK_FALSE(tested.contains(lang::content_of(c)));
      }
  }
}

TEST_CASE("languages: every story has sets of numbers for each split, and all of them are within the ranges") {
  for (int s = 0; s < lang::story_count; ++s)
    for (Split split : splits) {
      CAPTURE(std::string(lang::stories[s]));
      CAPTURE(static_cast<int>(split));
      Random random(1, 5);
      std::set<std::uint64_t> sets;
      for (int drawn = 0; drawn < 600;) {
        auto story = lang::draw_story(random, lang::stories[s], split);
        if (!story) continue;
        ++drawn;
        sets.insert(lang::content_of(story->numbers));
        for (int n : story->numbers) {
          CHECK(n >= 2);
          CHECK(n <= lang::owned_numbers.high);
        }
      }
      CHECK(sets.size() >= (split == Split::train ? 10 : 2));
    }
}

TEST_CASE("languages: examples of validation and test say the same in all languages, a share of the training examples too") {
  for (Task task : lang::tasks) {
    std::set<std::string> ids;
    int shared = 0;
    for (std::uint64_t i = 0; i < 300; ++i) {
      Example first = lang::task_example(task, 0, Split::test, 1, i);
      Read wanted = read(first);
      for (int l = 1; l < lang::language_count; ++l) {
        Example e = lang::task_example(task, l, Split::test, 1, i);
        Read r = read(e);
        CHECK(e.parallel_id == first.parallel_id);
        CHECK(e.form == first.form);
        CHECK(r.ask == wanted.ask);
        CHECK(r.told == wanted.told);
        CHECK(ids.insert(e.id).second);
      }
      CHECK(lang::task_example(task, 0, Split::test, 2, i).parallel_id != first.parallel_id);
      std::uint64_t a = lang::task_example(task, 1, Split::train, 1, i).parallel_id, b = lang::task_example(task, 2, Split::train, 1, i).parallel_id;
      shared += a == b;
    }
    CHECK(shared > 45);  // a quarter is 75
    CHECK(shared < 105);
  }
  CHECK(lang::task_example(Task::arithmetic, 3, Split::train, 1, 17).id == "arithmetic/gl3/train/1/17");
}

TEST_CASE("languages: shuffled completions are a permutation within a template, and score at chance") {
  for (Task task : lang::tasks) {
    std::uint64_t group = static_cast<std::uint64_t>(lang::form_count(task)) * lang::shuffled_turns;
    std::multiset<std::string> right, shuffled;
    int accepted = 0;
    for (std::uint64_t i = group; i < 2 * group; ++i) {
      Example e = lang::task_example(task, 4, Split::train, 1, i), s = lang::shuffled_example(task, 4, Split::train, 1, i);
      CHECK(s.prompt == e.prompt);
      CHECK(s.answer == e.answer);
      right.insert(str(e.form, e.completion));
      shuffled.insert(str(s.form, s.completion));
      accepted += lang::accepts(s, s.completion);
    }
    CHECK(right == shuffled);
    double share = static_cast<double>(accepted) / static_cast<double>(group);
    CAPTURE(share);
    CHECK(share < (task == Task::summary ? 0.001 : 0.08));  // of numbers up to 30 one in 15 or so is right by chance
  }
}

TEST_CASE("languages: examples fit a small model's context with a vocabulary of 2,048") {
  text::BpeTrainer trainer;
  for (int l = 0; l < lang::language_count; ++l)
    for (std::uint64_t i = 0; i < 400; ++i) {
      trainer.add(lang::language_document(l, 9, i));
      for (Task task : lang::tasks)
        if (i < 100) {
          Example e = lang::task_example(task, l, Split::train, 9, i);
          trainer.add(e.prompt);
          trainer.add(e.completion);
        }
    }
  text::Tokenizer tokenizer = text::Tokenizer::parse(trainer.train(2048), "trained");
  for (Task task : lang::tasks)
    for (int l = 0; l < lang::language_count; ++l) {
      CAPTURE(l);
      std::vector<std::size_t> sizes;
      for (std::uint64_t i = 0; i < 300; ++i) {
        Example e = lang::task_example(task, l, Split::test, 1, i);
        sizes.push_back(tokenizer.encode(e.prompt).size() + tokenizer.encode(e.completion).size());
      }
      std::sort(sizes.begin(), sizes.end());
      CHECK(sizes[285] <= 200);
      CHECK(sizes.back() <= 254);
    }
}

TEST_CASE("languages: the bytes are the same everywhere") {
  const char* wanted[lang::language_count] = {
      "d93989ff9c5dda9fd385df55a8dcedd7", "49be6fc71cbfb6d87daad0272be1c6cc", "679352871111478de0ab0599dbca4011", "315d664a0f27eaa0ac72bb9fb646fc89",
      "0f98973eeb5b80448d12d98eb19ac1fa", "5265d509e14f128fb323fe8e6184664d", "412dae9a64bb445b6c6bf07954c772de", "1b4c61a33dd858d0f9403c9410085ba8",
      "6bd707ff0295d7299007f3b2ecc9bb4a", "5df3a83f37ca5373b66d6de275728027"};
  for (int l = 0; l < lang::language_count; ++l) {
    io::Hasher hash;
    for (std::uint64_t i = 0; i < 1000; ++i) {
      std::string text = lang::language_document(l, 1, i);
      hash.update(text.data(), text.size());
    }
    for (Task task : lang::tasks)
      for (Split split : splits)
        for (std::uint64_t i = 0; i < 100; ++i) {
          Example e = lang::task_example(task, l, split, 1, i);
          hash.update(e.prompt.data(), e.prompt.size());
          hash.update(e.completion.data(), e.completion.size());
        }
    CAPTURE(std::string(lang::languages[l].code));
    CHECK(hash.hex() == std::string(wanted[l]));
  }
}

}  // namespace bam::languages_test
