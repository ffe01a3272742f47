// What is said, in no language: a small world of people, animals, things and places with qualities, numbers and times, and
// clauses about them. A meaning belongs to one split for good: by its content, never by its index, so that what is tested is said
// nowhere in training, in any language. So do the numbers of a story, whatever their order.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "../../core/error.hpp"
#include "../../core/random.hpp"

namespace bam::text::languages {

using Concept = std::uint16_t;
inline constexpr Concept none = 0;

// The content concepts, by kind; concepts of a kind are numbered in a row, the commonest first.
enum class Kind : std::uint8_t { name, person, animal, thing, place, container, act, rest, move, give, gain, lose, quality, time };
inline constexpr std::array<Concept, 14> kind_counts{40, 36, 30, 100, 36, 6, 40, 14, 10, 8, 6, 6, 44, 14};
constexpr Concept count_of(Kind k) { return kind_counts[static_cast<std::size_t>(k)]; }
constexpr Concept first_of(Kind k) {
  Concept first = 1;
  for (std::size_t i = 0; i < static_cast<std::size_t>(k); ++i) first = static_cast<Concept>(first + kind_counts[i]);
  return first;
}
constexpr bool is_of(Kind k, Concept c) { return c >= first_of(k) && c < first_of(k) + count_of(k); }
inline constexpr Concept content_end = first_of(Kind::time) + count_of(Kind::time);

// The words with a part in the grammar or in a task.
namespace words {
enum : Concept {
  // verbs
  have = content_end, be, divide, write, copy, turn, sort, count, repeat, put, remove, change, choose, enumerate, join, say, shorten, find, tell,
  // nouns
  word, number, list, line, letter, text, sentence, part, occasion, animal, place, thing,
  // adjectives
  first, second, third, fourth, last, largest, smallest, each, more, fewer, times, how_many, how_many_more, important, main, brief, capital, which, fresh,
  // adverbs
  upward, downward, twice, now,
  // what a phrase is marked with
  at, to, from, with, before, after, than, by,
  // discourse words: three that mark what matters, four that do not
  above_all, in_short, remember, then, also, but, later,
  // others
  conjunction, asking, answer, solution, summary, yes, no,
  end
};
}  // namespace words

enum class Part : std::uint8_t { name, noun, verb, adjective, adverb, adposition, marker, other };
constexpr Part part_of(Concept c) {
  if (c < first_of(Kind::person)) return Part::name;
  if (c < first_of(Kind::act)) return Part::noun;
  if (c < first_of(Kind::quality)) return Part::verb;
  if (c < first_of(Kind::time)) return Part::adjective;
  if (c < content_end) return Part::adverb;
  if (c < words::word) return Part::verb;
  if (c < words::first) return Part::noun;
  if (c < words::upward) return Part::adjective;
  if (c < words::at) return Part::adverb;
  if (c < words::above_all) return Part::adposition;
  return c < words::conjunction ? Part::marker : Part::other;
}

// "5 old lamps"; "Mara and Jon"; "5 + 3 = 8 lamps". Empty where nouns is.
struct Phrase {
  std::vector<Concept> nouns;  // more than one: joined by "and"
  Concept adjective = none;
  int count = 0;               // 0: none is said
  bool many = false;           // plural, where no count says it
  char op = 0;                 // of a worked step: left op right = count
  int left = 0, right = 0;
  bool operator==(const Phrase&) const = default;
  bool empty() const { return nouns.empty(); }
  bool plural() const { return nouns.size() > 1 || (count ? count != 1 : many); }
};

enum class Mood : std::uint8_t { statement, question, command };

struct Clause {
  Mood mood = Mood::statement;
  bool past = false;
  Concept marker = none, verb = none, predicate = none, when = none;
  Phrase subject = {}, object = {};
  Concept role = none;  // of the further phrase: at ... by
  Phrase further = {};
  bool operator==(const Clause&) const = default;
};

struct Hash64 {
  std::uint64_t value = 0x9e3779b97f4a7c15ull;
  Hash64& add(std::uint64_t x) {  // splitmix64's finalizer
    value = (value ^ x) + 0x9e3779b97f4a7c15ull;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ value >> 27) * 0x94d049bb133111ebull;
    value ^= value >> 31;
    return *this;
  }
  Hash64& add(const Phrase& p) {
    add(p.nouns.size());
    for (Concept c : p.nouns) add(c);
    return add(p.adjective).add(static_cast<std::uint64_t>(p.count)).add(p.many).add(static_cast<std::uint64_t>(p.op)).add(static_cast<std::uint64_t>(p.left)).add(static_cast<std::uint64_t>(p.right));
  }
};
// What a clause says, whatever discourse word stands before it.
inline std::uint64_t content_of(const Clause& c) {
  return Hash64().add(static_cast<std::uint64_t>(c.mood)).add(c.past).add(c.verb).add(c.predicate).add(c.when).add(c.subject).add(c.object).add(c.role).add(c.further).value;
}
// Of words or numbers in any order.
inline std::uint64_t content_of(std::vector<int> values) {
  std::sort(values.begin(), values.end());
  Hash64 h;
  h.add(values.size());
  for (int v : values) h.add(static_cast<std::uint64_t>(v));
  return h.value;
}

enum class Split : std::uint8_t { train, validation, test };
inline constexpr const char* split_names[] = {"train", "validation", "test"};
// A tenth of all meanings is for validation, a tenth for tests.
inline Split split_of(std::uint64_t content) { return content % 10 == 9 ? Split::test : content % 10 == 8 ? Split::validation : Split::train; }

// Zipf: the weight of rank r is about 1 / (r + 3).
inline Concept draw(Random& random, Kind kind) {
  static const auto tables = [] {
    std::array<std::vector<std::uint64_t>, kind_counts.size()> t;
    for (std::size_t k = 0; k < t.size(); ++k) {
      std::uint64_t sum = 0;
      for (std::size_t r = 0; r < kind_counts[k]; ++r) t[k].push_back(sum += (std::uint64_t{1} << 20) / (r + 3));
    }
    return t;
  }();
  const auto& below = tables[static_cast<std::size_t>(kind)];
  auto at_rank = std::upper_bound(below.begin(), below.end(), random.below(below.back()));
  return static_cast<Concept>(first_of(kind) + (at_rank - below.begin()));
}
inline Concept draw_other(Random& random, Kind kind, const std::vector<Concept>& used) {
  for (;;)
    if (Concept c = draw(random, kind); std::find(used.begin(), used.end(), c) == used.end()) return c;
}
inline bool chance(Random& random, unsigned percent) { return random.below(100) < percent; }
inline int between(Random& random, int low, int high) { return low + static_cast<int>(random.below(static_cast<std::uint64_t>(high - low + 1))); }

// Who and where a text is about: most of its clauses come back to them.
struct Scene {
  std::vector<Concept> people;
  Concept place;
  std::vector<Concept> things;
  explicit Scene(Random& random) : place(draw(random, Kind::place)) {
    while (people.size() < 2) people.push_back(draw_other(random, Kind::name, people));
    while (things.size() < 2) things.push_back(draw_other(random, Kind::thing, things));
  }
};

// A statement about the scene, of the split.
inline Clause draw_clause(Random& random, const Scene& scene, Split split) {
  auto pick = [&](const std::vector<Concept>& list) { return list[random.below(list.size())]; };
  auto someone = [&]() -> Phrase {
    if (chance(random, 60)) return {.nouns = {pick(scene.people)}};
    Phrase p{.nouns = {draw(random, chance(random, 65) ? Kind::person : Kind::animal)}};
    if (chance(random, 30)) p.adjective = draw(random, Kind::quality);
    p.many = chance(random, 25);
    return p;
  };
  auto something = [&]() -> Phrase {
    Phrase p{.nouns = {chance(random, 40) ? pick(scene.things) : draw(random, chance(random, 80) ? Kind::thing : Kind::animal)}};
    if (chance(random, 40)) p.adjective = draw(random, Kind::quality);
    if (chance(random, 40)) p.count = between(random, 2, 20);
    else p.many = chance(random, 30);
    return p;
  };
  auto somewhere = [&]() -> Phrase { return {.nouns = {chance(random, 40) ? scene.place : draw(random, Kind::place)}}; };
  for (;;) {
    Clause c;
    c.past = true;
    switch (random.below(10)) {
      case 0: case 1: case 2: case 3:
        c.subject = someone();
        c.verb = draw(random, Kind::act);
        c.object = something();
        if (chance(random, 35)) c.role = words::at, c.further = somewhere();
        break;
      case 4:
        c.subject = someone();
        c.verb = draw(random, Kind::rest);
        c.role = words::at;
        c.further = somewhere();
        break;
      case 5:
        c.subject = someone();
        c.verb = draw(random, Kind::move);
        c.role = chance(random, 60) ? words::to : words::from;
        c.further = somewhere();
        break;
      case 6:
        c.subject = {.nouns = {scene.people[0]}};
        c.verb = draw(random, Kind::give);
        c.object = something();
        c.role = words::to;
        c.further = {.nouns = {draw_other(random, Kind::name, {scene.people[0]})}};
        break;
      case 7: case 8:
        c.past = false;
        c.subject = chance(random, 50) ? Phrase{.nouns = {pick(scene.things)}, .many = chance(random, 40)} : someone();
        c.verb = words::be;
        c.predicate = draw(random, Kind::quality);
        break;
      default:
        c.past = false;
        c.subject = someone();
        c.verb = words::have;
        c.object = something();
    }
    if (c.past && chance(random, 35)) c.when = draw(random, Kind::time);
    if (split_of(content_of(c)) == split) return c;
  }
}

// Stories that end in a number. One letter a piece; each but h and H is one step of the solution, s is one or two:
//   h X has n things         H another person has n things       b X has k boxes, each box has n things   B another person has
//   m another person has k more than the one before, f fewer, t k times as many   + X finds k, - X loses k
//   g the person before gives k to X       / X divides them into k parts
// and what is asked: q how many has X, s how many have all together, d how many more has one than the other, p how many has each part.
inline constexpr std::string_view stories[] = {
    "h+q",  "h-q",  "bq",    "h/p",   "hmq",   "hfq",   "htq",   "hHs",   "hHd",   "hHgq",  "h++q",   "h+-q",   "h-+q",
    "h--q", "b+q",  "b-q",   "hms",   "hfs",   "hts",   "h+/p",  "h-/p",  "bHs",   "hHHs",  "hmmq",   "hmfq",   "htmq",
    "hm+q", "ht-q", "h+-+q", "h-+-q", "b+-q",  "b-+q",  "hm+s",  "ht-s",  "bBs",   "h+-/p", "h+-+-q", "b+-+q",  "hmms", "bB+s"};
inline constexpr int story_count = static_cast<int>(std::size(stories));
// No number is above the largest. The others bound what is told: h and H; the k of b and B, and their n; k of + - m f g; of t; of /.
// They are small, so that a model of a million parameters learns the sums from some thousand stories: with numbers up to 99 it tells the
// steps right and the results wrong. Every story still has sets of numbers for each split.
inline constexpr int largest_number = 30;
struct Range {
  int low, high;
};
inline constexpr Range owned_numbers{3, 24}, box_numbers{2, 5}, each_numbers{2, 9}, change_numbers{2, 9}, times_numbers{2, 4}, part_numbers{2, 5};

struct Story {
  std::vector<Clause> told;  // the last one asks
  std::vector<Clause> steps;
  std::vector<int> numbers;  // as they are told
  int answer = 0;
};

// Nothing where the draw has no whole numbers of a fitting size, or is of another split. numbers: what is told is the same as without, but for the
// numbers, which come from there.
inline std::optional<Story> draw_story(Random& random, std::string_view plan, Split split, Random* numbers = nullptr) {
  struct Owner {
    Concept name;
    int value;
  };
  Story s;
  std::vector<Owner> owners;
  std::vector<Concept> people, boxes;
  Concept thing = draw(random, Kind::thing);
  bool fits = true, changed = false;
  auto counted = [&](Concept noun, int n, Concept adjective = none) -> Phrase { return {.nouns = {noun}, .adjective = adjective, .count = n}; };
  auto say_number = [&](int n) {
    s.numbers.push_back(n);
    return n;
  };
  auto from = [&](Range r) {
    const int n = between(random, r.low, r.high);
    return numbers ? between(*numbers, r.low, r.high) : n;
  };
  auto tell = [&](bool past, Concept verb, Phrase subject, Phrase object, Concept role = none, Phrase further = {}) {
    Clause c;
    c.past = past;
    c.verb = verb;
    c.subject = std::move(subject);
    c.object = std::move(object);
    c.role = role;
    c.further = std::move(further);
    s.told.push_back(std::move(c));
  };
  auto named = [](Concept c) -> Phrase { return {.nouns = {c}}; };
  auto owner = [&](int value) {
    people.push_back(draw_other(random, Kind::name, people));
    owners.push_back({people.back(), value});
  };
  auto all = [&](std::size_t n) {
    Phrase p;
    for (std::size_t i = 0; i < n; ++i) p.nouns.push_back(owners[i].name);
    return p;
  };
  auto step = [&](Phrase who, int a, char op, int b) {
    int v = op == '+' ? a + b : op == '-' ? a - b : op == '*' ? a * b : a / b;
    fits = fits && v >= 1 && v <= largest_number;
    s.steps.push_back({.verb = words::have, .subject = std::move(who), .object = {.nouns = {thing}, .count = v, .op = op, .left = a, .right = b}});
    return v;
  };
  int parts = 0;
  for (char code : plan) {
    if (!fits) return std::nullopt;
    switch (code) {
      case 'h': case 'H':
        owner(from(owned_numbers));
        tell(false, words::have, named(owners.back().name), counted(thing, say_number(owners.back().value)));
        break;
      case 'b': case 'B': {
        int k = from(box_numbers), n = from(each_numbers);
        boxes.push_back(draw_other(random, Kind::container, boxes));
        owner(0);
        tell(false, words::have, named(owners.back().name), counted(boxes.back(), say_number(k)));
        tell(false, words::have, {.nouns = {boxes.back()}, .adjective = words::each}, counted(thing, say_number(n)));
        owners.back().value = step(named(owners.back().name), k, '*', n);
        break;
      }
      case 'm': case 'f': case 't': {
        Owner before_them = owners.back();
        int k = from(code == 't' ? times_numbers : change_numbers);
        owner(0);
        tell(false, words::have, named(owners.back().name), counted(thing, say_number(k), code == 'm' ? words::more : code == 'f' ? words::fewer : words::times), words::than, named(before_them.name));
        owners.back().value = step(named(owners.back().name), before_them.value, code == 'm' ? '+' : code == 'f' ? '-' : '*', k);
        break;
      }
      case '+': case '-': {
        int k = from(change_numbers);
        changed = true;
        tell(true, draw(random, code == '+' ? Kind::gain : Kind::lose), named(owners.back().name), counted(thing, say_number(k)));
        owners.back().value = step(named(owners.back().name), owners.back().value, code, k);
        break;
      }
      case 'g': {
        Owner& giver = owners[owners.size() - 2];
        int k = from(change_numbers);
        changed = true;
        tell(true, first_of(Kind::give), named(giver.name), counted(thing, say_number(k)), words::to, named(owners.back().name));
        fits = fits && giver.value > k;
        giver.value -= k;
        owners.back().value = step(named(owners.back().name), owners.back().value, '+', k);
        break;
      }
      case '/': {
        parts = from(part_numbers);
        fits = owners.back().value % parts == 0;
        tell(true, words::divide, named(owners.back().name), {.nouns = {thing}, .many = true}, words::by, counted(words::part, say_number(parts)));
        break;
      }
      default: {
        Clause ask{.mood = Mood::question, .verb = words::have, .object = {.nouns = {thing}, .adjective = words::how_many, .many = true}};
        if (code == 'q') {
          ask.subject = named(owners.back().name);
          s.answer = owners.back().value;
          if (changed) ask.when = words::now;
        } else if (code == 's') {
          ask.subject = all(owners.size());
          s.answer = owners[0].value;
          for (std::size_t i = 1; i < owners.size(); ++i) s.answer = step(all(i + 1), s.answer, '+', owners[i].value);
        } else if (code == 'd') {
          if (owners[0].value < owners[1].value) std::swap(owners[0], owners[1]);
          ask.subject = {.nouns = {owners[0].name}};
          ask.object.adjective = words::how_many_more;
          ask.role = words::than;
          ask.further = {.nouns = {owners[1].name}};
          s.answer = step(ask.subject, owners[0].value, '-', owners[1].value);
          s.steps.back().object.adjective = words::more;
          s.steps.back().role = words::than;
          s.steps.back().further = ask.further;
        } else {
          ask.subject = {.nouns = {words::part}, .adjective = words::each};
          s.answer = step(ask.subject, owners.back().value, '/', parts);
        }
        s.told.push_back(ask);
      }
    }
  }
  // Who says a number of the story again is wrong.
  fits = fits && std::find(s.numbers.begin(), s.numbers.end(), s.answer) == s.numbers.end();
  if (!fits || split_of(content_of(s.numbers)) != split) return std::nullopt;
  // "Mara has 5 lamps" may be a sentence of a text too, and is held out there.
  bool free = split != Split::train || std::all_of(s.told.begin(), s.told.end(), [](const Clause& c) { return split_of(content_of(c)) == Split::train; });
  if (!free) return std::nullopt;
  return s;
}

}  // namespace bam::text::languages
