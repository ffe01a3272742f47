// Three tasks in the ten made-up languages, each with its prompt, a completion, and rules that tell right answers from wrong ones:
//   summary       the sentences of a text that a discourse word marks, without that word
//   instructions  something to do with a short list: pick, sort, count, repeat, capitals ...
//   arithmetic    a story with numbers; a worked solution of one to four steps, then the number
// An example is a function of (task, language, split, seed, index), so the first k of a seed are the set of k, whatever else is
// drawn. Templates take turns. Splits share no sentence, no list and no set of numbers, in any language.
#pragma once
#include "../../io/json.hpp"
#include "languages.hpp"

namespace bam::text::languages {

enum class Task : std::uint8_t { summary, instructions, arithmetic };
inline constexpr Task tasks[] = {Task::summary, Task::instructions, Task::arithmetic};
inline constexpr const char* task_names[] = {"summary", "instructions", "arithmetic"};

// Of 1,000 training examples, those that say the same in all languages at the same index. In validation and test all do.
inline constexpr unsigned parallel_examples_permille = 250;
// The control draws its completions within so many examples of a template.
inline constexpr std::uint64_t shuffled_turns = 8;

// What a right answer keeps to.
struct Rule {
  enum class Kind : std::uint8_t {
    items,        // its items, between commas or lines, are the values
    one_of,       // it is `number` different values
    upper,        // it has letters, none of them small
    starts,       // its first item is the value
    ends,         // its last item is the value
    lines,        // it has `number` lines
    text,         // it is the value
    sentences,    // it has the values, in this order, and no other sentence
    last_number,  // the last number in it is `number`
  };
  Kind kind;
  std::vector<std::string> values = {};
  int number = 0;
};

struct Example {
  std::string prompt, completion;
  std::string answer;  // what is scored: the summary, the list, the number as the language writes it
  Task task;
  int lang, form;             // form: which template
  std::string id;             // "arithmetic/gl3/train/1/17": task, language, split, seed, index
  std::uint64_t parallel_id;  // the same for the same meaning, in whatever language
  std::vector<Rule> checks;
};

namespace detail {

inline std::string trimmed(std::string_view s) {
  std::size_t begin = s.find_first_not_of(" \n");
  if (begin == s.npos) return "";
  return std::string(s.substr(begin, s.find_last_not_of(" \n") + 1 - begin));
}
// Without blanks around it and a full stop at its end.
inline std::string bare_answer(std::string_view response) {
  std::string s = trimmed(response);
  if (s.ends_with('.')) s.pop_back();
  return trimmed(s);
}
inline std::vector<std::string> items_of(std::string_view response) {
  std::string s = bare_answer(response);
  std::vector<std::string> list;
  for (std::size_t begin = 0; begin <= s.size();) {
    std::size_t end = std::min(s.find_first_of(",\n", begin), s.size());
    list.push_back(trimmed(std::string_view(s).substr(begin, end - begin)));
    begin = end + 1;
  }
  return list;
}

}  // namespace detail

inline bool satisfies(const Rule& rule, int lang, std::string_view response) {
  const Language& l = language(lang);
  std::string s = detail::bare_answer(response);
  std::vector<std::string> items = detail::items_of(response);
  switch (rule.kind) {
    case Rule::Kind::items: return items == rule.values;
    case Rule::Kind::one_of: {
      std::set<std::string> different(items.begin(), items.end());
      return items.size() == static_cast<std::size_t>(rule.number) && different.size() == items.size() &&
             std::all_of(items.begin(), items.end(), [&](const std::string& i) { return std::find(rule.values.begin(), rule.values.end(), i) != rule.values.end(); });
    }
    case Rule::Kind::upper: {
      std::string ascii = unspell(l, s);
      return std::none_of(ascii.begin(), ascii.end(), detail::is_lower) && std::any_of(ascii.begin(), ascii.end(), detail::is_upper);
    }
    case Rule::Kind::starts: return items.front() == rule.values[0];
    case Rule::Kind::ends: return items.back() == rule.values[0];
    case Rule::Kind::lines: return std::count(s.begin(), s.end(), '\n') + 1 == rule.number;
    case Rule::Kind::text: return s == rule.values[0];
    case Rule::Kind::sentences: return sentences_of(detail::trimmed(response)) == rule.values;
    case Rule::Kind::last_number: {
      std::string ascii = unspell(l, s);
      std::size_t end = ascii.find_last_of("0123456789");
      if (end == ascii.npos) return false;
      std::size_t begin = end;
      while (begin > 0 && detail::is_digit(ascii[begin - 1])) --begin;
      return std::string_view(ascii).substr(begin, end + 1 - begin) == str(rule.number);
    }
  }
  return false;
}
// All rules of the example hold.
inline bool accepts(const Example& e, std::string_view response) {
  return std::all_of(e.checks.begin(), e.checks.end(), [&](const Rule& r) { return satisfies(r, e.lang, response); });
}

// What is to be done with a list. Each is one sentence, said in the words and the order of the language.
enum class Form : std::uint8_t {
  nth_word, last_word, nth_number, last_number, copy_words, copy_numbers, turn_words, turn_numbers, sort_up, sort_down, largest, smallest, count_words, count_numbers,
  repeat_nth, each_twice, upper_nth, upper_all, put_before, put_after, word_after, word_before, remove_word, change_word, first_few, last_few, pick_animal, pick_place,
  pick_numbers, pick_words, count_word, contains, choose, lines, enumerate, join, drop_first, drop_last, repeat_list, end
};
// Wordings of a summary's prompt; each asks for one or two sentences, marked by one of three discourse words.
inline constexpr int summary_wordings = 5, summary_markers = 3, summary_sentences = 2;

inline int form_count(Task task) {
  switch (task) {
    case Task::summary: return summary_wordings * summary_sentences * summary_markers;
    case Task::instructions: return static_cast<int>(Form::end);
    default: return story_count;
  }
}

namespace detail {

struct Element {  // of a list
  Concept word = none;
  int number = 0;
  bool operator==(const Element&) const = default;
};

// An example in no language.
struct Item {
  Clause ask;                   // of a summary or an instruction
  std::vector<Clause> told;     // of a text or a story
  std::vector<Clause> answered; // the sentences of a summary, the steps of a solution
  std::vector<Element> list, result;
  enum class Layout : std::uint8_t { commas, dashes, lines, numbered, capitals, choice } layout = Layout::commas;
  bool pinned_front = false, pinned_back = false;  // what was put first or last must stay there
  int answer = 0;
};

inline Item draw_summary(Random& random, int form, Split split) {
  int marked = form / summary_wordings % summary_sentences + 1, count = between(random, 4, 5);
  Concept marker = static_cast<Concept>(words::above_all + form / summary_wordings / summary_sentences);
  Item item;
  switch (form % summary_wordings) {
    case 0: item.ask = {.mood = Mood::command, .verb = words::write, .object = {.nouns = {words::sentence}, .adjective = words::important, .count = marked}}; break;
    case 1:
      item.ask = {.mood = Mood::question, .verb = words::say, .subject = {.nouns = {words::text}}, .object = {.nouns = {words::sentence}, .adjective = words::which, .count = marked}};
      break;
    case 2:
      item.ask = {.mood = Mood::command, .verb = words::shorten, .object = {.nouns = {words::text}}, .role = words::to, .further = {.nouns = {words::sentence}, .count = marked}};
      break;
    case 3: item.ask = {.mood = Mood::command, .verb = words::find, .object = {.nouns = {words::part}, .adjective = words::main, .count = marked}}; break;
    default:
      item.ask = {.mood = Mood::command,
                  .verb = words::tell,
                  .object = {.nouns = {words::text}},
                  .role = words::with,
                  .further = {.nouns = {words::sentence}, .adjective = words::brief, .count = marked}};
  }
  Scene scene(random);
  std::set<std::uint64_t> said;
  while (static_cast<int>(item.told.size()) < count) {
    Clause c = draw_clause(random, scene, split);
    if (!said.insert(content_of(c)).second) continue;
    if (chance(random, 30)) c.marker = static_cast<Concept>(words::then + random.below(words::later - words::then + 1));
    item.told.push_back(c);
  }
  for (int left = marked; left > 0;) {
    Clause& c = item.told[random.below(item.told.size())];
    if (c.marker == marker) continue;
    c.marker = marker;
    --left;
  }
  for (const Clause& c : item.told)
    if (c.marker == marker) {
      item.answered.push_back(c);
      item.answered.back().marker = none;
    }
  return item;
}

inline std::vector<Element> list_of_words(const std::vector<Concept>& list) {
  std::vector<Element> out;
  for (Concept c : list) out.push_back({c, 0});
  return out;
}
inline std::vector<Element> draw_numbers(Random& random, int n, Split split) {
  for (;;) {
    std::vector<int> list;
    while (static_cast<int>(list.size()) < n)
      if (int v = between(random, 2, 60); std::find(list.begin(), list.end(), v) == list.end()) list.push_back(v);
    if (split_of(content_of(list)) != split) continue;
    std::vector<Element> out;
    for (int v : list) out.push_back({none, v});
    return out;
  }
}
template <class T>
void shuffle(Random& random, std::vector<T>& list) {
  for (std::size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[random.below(i)]);
}

inline Item draw_instruction(Random& random, Form form, Split split) {
  static constexpr Kind nouns[] = {Kind::thing, Kind::thing, Kind::animal, Kind::place, Kind::person};
  Item item;
  auto words_of = [&](int n) {
    std::vector<Kind> kinds;
    while (static_cast<int>(kinds.size()) < n) kinds.push_back(nouns[random.below(std::size(nouns))]);
    return list_of_words(draw_words(random, kinds, split));
  };
  auto word_like = [&](Concept adjective = none, int count = 0, bool many = false) -> Phrase { return {.nouns = {words::word}, .adjective = adjective, .count = count, .many = many}; };
  auto number_like = [&](Concept adjective = none, bool many = false) -> Phrase { return {.nouns = {words::number}, .adjective = adjective, .many = many}; };
  auto thing = [&](Element e) -> Phrase { return {.nouns = {e.word}}; };
  auto command = [&](Concept verb, Phrase object, Concept role = none, Phrase further = {}, Concept when = none) {
    item.ask = {.mood = Mood::command, .verb = verb, .when = when, .object = std::move(object), .role = role, .further = std::move(further)};
  };
  auto other_word = [&] {
    std::vector<Concept> used;
    for (Element e : item.list) used.push_back(e.word);
    return Element{draw_other(random, Kind::thing, used), 0};
  };
  auto nth = [&](int n) { return static_cast<Concept>(words::first + n); };
  const Phrase all_words = word_like(none, 0, true), all_numbers = number_like(none, true);
  const Phrase capitals{.nouns = {words::letter}, .adjective = words::capital, .many = true};
  auto& list = item.list;
  auto& result = item.result;
  switch (form) {
    case Form::nth_word: case Form::nth_number: case Form::repeat_nth: case Form::upper_nth: {
      list = form == Form::nth_number ? draw_numbers(random, between(random, 4, 5), split) : words_of(4);
      int n = between(random, 0, 3);
      result = {list[static_cast<std::size_t>(n)]};
      if (form == Form::nth_word) command(words::write, word_like(nth(n)));
      if (form == Form::nth_number) command(words::write, number_like(nth(n)));
      if (form == Form::upper_nth) command(words::write, word_like(nth(n)), words::with, capitals), item.layout = Item::Layout::capitals;
      if (form == Form::repeat_nth) {
        int k = between(random, 2, 4);
        command(words::repeat, word_like(nth(n)), words::by, {.nouns = {words::occasion}, .count = k});
        result.resize(static_cast<std::size_t>(k), result[0]);
      }
      break;
    }
    case Form::last_word: list = words_of(between(random, 3, 5)), result = {list.back()}, command(words::write, word_like(words::last)); break;
    case Form::last_number: list = draw_numbers(random, between(random, 3, 5), split), result = {list.back()}, command(words::write, number_like(words::last)); break;
    case Form::copy_words: list = words_of(between(random, 3, 5)), result = list, command(words::copy, all_words); break;
    case Form::copy_numbers: list = draw_numbers(random, between(random, 3, 5), split), result = list, command(words::copy, all_numbers); break;
    case Form::turn_words: list = words_of(between(random, 3, 4)), result.assign(list.rbegin(), list.rend()), command(words::turn, all_words); break;
    case Form::turn_numbers: list = draw_numbers(random, between(random, 3, 4), split), result.assign(list.rbegin(), list.rend()), command(words::turn, all_numbers); break;
    case Form::sort_up: case Form::sort_down: case Form::largest: case Form::smallest: {
      list = draw_numbers(random, 3, split);
      result = list;
      bool rising = form == Form::sort_up || form == Form::smallest;
      std::sort(result.begin(), result.end(), [&](Element a, Element b) { return rising ? a.number < b.number : a.number > b.number; });
      if (form == Form::sort_up || form == Form::sort_down) command(words::sort, all_numbers, none, {}, rising ? words::upward : words::downward);
      else command(words::write, number_like(rising ? words::smallest : words::largest)), result.resize(1);
      break;
    }
    case Form::count_words: list = words_of(between(random, 2, 6)), result = {{none, static_cast<int>(list.size())}}, command(words::count, all_words); break;
    case Form::count_numbers: list = draw_numbers(random, between(random, 2, 6), split), result = {{none, static_cast<int>(list.size())}}, command(words::count, all_numbers); break;
    case Form::each_twice:
      list = words_of(3);
      for (Element e : list) result.insert(result.end(), 2, e);
      command(words::write, word_like(words::each), none, {}, words::twice);
      break;
    case Form::upper_all: list = words_of(3), result = list, item.layout = Item::Layout::capitals, command(words::write, all_words, words::with, capitals); break;
    case Form::put_before: case Form::put_after: {
      list = words_of(3);
      Element x = other_word();
      result = list;
      bool front = form == Form::put_before;
      result.insert(front ? result.begin() : result.end(), x);
      (front ? item.pinned_front : item.pinned_back) = true;
      command(words::put, thing(x), front ? words::before : words::after, all_words);
      break;
    }
    case Form::word_after: case Form::word_before: {
      list = words_of(between(random, 3, 5));
      std::size_t i = random.below(list.size() - 1);
      bool after = form == Form::word_after;
      result = {list[after ? i + 1 : i]};
      command(words::write, word_like(), after ? words::after : words::before, thing(list[after ? i : i + 1]));
      break;
    }
    case Form::remove_word: case Form::change_word: {
      list = words_of(4);
      std::size_t i = random.below(list.size());
      result = list;
      if (form == Form::remove_word) {
        result.erase(result.begin() + static_cast<std::ptrdiff_t>(i));
        command(words::remove, thing(list[i]));
      } else {
        result[i] = other_word();
        command(words::change, thing(list[i]), words::with, thing(result[i]));
      }
      break;
    }
    case Form::first_few: case Form::last_few: {
      list = words_of(5);
      int k = between(random, 2, 3);
      if (form == Form::first_few) result.assign(list.begin(), list.begin() + k);
      else result.assign(list.end() - k, list.end());
      command(words::write, word_like(form == Form::first_few ? words::first : words::last, k));
      break;
    }
    case Form::pick_animal: case Form::pick_place: {
      Kind kind = form == Form::pick_animal ? Kind::animal : Kind::place;
      list = list_of_words(draw_words(random, {kind, Kind::thing, Kind::thing, Kind::person}, split));
      result = {list[0]};
      shuffle(random, list);
      command(words::write, {.nouns = {form == Form::pick_animal ? words::animal : words::place}});
      break;
    }
    case Form::pick_numbers: case Form::pick_words: {
      std::vector<Element> some_words = words_of(3), some_numbers = draw_numbers(random, 2, split);
      list = some_words;
      list.insert(list.end(), some_numbers.begin(), some_numbers.end());
      shuffle(random, list);
      for (Element e : list)
        if ((e.word == none) == (form == Form::pick_numbers)) result.push_back(e);
      command(words::write, form == Form::pick_numbers ? all_numbers : all_words);
      break;
    }
    case Form::count_word: {
      list = words_of(3);
      int k = between(random, 1, 4);
      command(words::count, thing(list[0]));
      list.insert(list.end(), static_cast<std::size_t>(k - 1), list[0]);
      shuffle(random, list);
      result = {{none, k}};
      break;
    }
    case Form::contains: {
      list = words_of(4);
      bool is_there = chance(random, 50);
      Element x = is_there ? list[random.below(4)] : other_word();
      item.ask.mood = Mood::question;
      item.ask.verb = words::have;
      item.ask.subject = {.nouns = {words::list}};
      item.ask.object = thing(x);
      result = {{is_there ? static_cast<Concept>(words::yes) : static_cast<Concept>(words::no), 0}};
      break;
    }
    case Form::choose: {
      list = words_of(4);
      int k = between(random, 2, 3);
      result.assign(list.begin(), list.begin() + k);
      item.layout = Item::Layout::choice;
      command(words::choose, word_like(none, k));
      break;
    }
    case Form::lines:
      list = words_of(3), result = list, item.layout = Item::Layout::lines;
      command(words::write, word_like(words::each), words::at, {.nouns = {words::line}, .adjective = words::fresh});
      break;
    case Form::enumerate: list = words_of(between(random, 3, 4)), result = list, item.layout = Item::Layout::numbered, command(words::enumerate, all_words); break;
    case Form::join: list = words_of(3), result = list, item.layout = Item::Layout::dashes, command(words::join, all_words); break;
    case Form::drop_first: list = words_of(4), result.assign(list.begin() + 1, list.end()), command(words::remove, word_like(words::first)); break;
    case Form::drop_last: list = words_of(4), result.assign(list.begin(), list.end() - 1), command(words::remove, word_like(words::last)); break;
    case Form::repeat_list:
      list = words_of(3), result = list;
      result.insert(result.end(), list.begin(), list.end());
      command(words::repeat, {.nouns = {words::list}}, words::by, {.nouns = {words::occasion}, .count = 2});
      break;
    case Form::end: fail(ErrorKind::internal, "languages.form", "no such instruction");
  }
  return item;
}

inline Item draw_arithmetic(Random& random, int form, Split split, std::uint32_t retelling) {
  std::optional<Story> story;
  Random start = random;
  while (!(story = draw_story(random, stories[form], split))) start = random;
  if (retelling > 0) {
    // "How many more has A than B?" asks for the one who has more.
    const std::vector<Concept> asked = story->told.back().subject.nouns;
    Random numbers(random.seed(), retelling);
    do {
      Random again = start;
      story = draw_story(again, stories[form], split, &numbers);
    } while (!story || story->told.back().subject.nouns != asked);
  }
  Item item;
  item.told = std::move(story->told);
  item.answered = std::move(story->steps);
  item.answer = story->answer;
  return item;
}

inline std::string say_all(int lang, const std::vector<Clause>& list) {
  std::vector<std::string> out;
  for (const Clause& c : list) out.push_back(say(lang, c));
  return joined(out, " ");
}
inline std::string say(int lang, Element e) { return e.word ? languages::say(lang, e.word) : spell(language(lang), str(e.number)); }

inline void render(const Item& item, Example& e) {
  const Language& l = language(e.lang);
  auto label = [&](Concept c) { return languages::say(e.lang, c) + ":"; };
  switch (e.task) {
    case Task::summary: {
      e.prompt = str(languages::say(e.lang, item.ask, ':'), " ", say_all(e.lang, item.told), "\n", label(words::summary));
      e.answer = say_all(e.lang, item.answered);
      e.completion = " " + e.answer;
      e.checks = {{Rule::Kind::sentences, sentences_of(e.answer)}};
      break;
    }
    case Task::instructions: {
      std::vector<std::string> list, result;
      for (Element x : item.list) list.push_back(say(e.lang, x));
      for (Element x : item.result) result.push_back(say(e.lang, x));
      if (item.layout == Item::Layout::capitals)
        for (std::string& s : result) s = upper_case(l, s);
      if (item.layout == Item::Layout::numbered)
        for (std::size_t i = 0; i < result.size(); ++i) result[i] = str(spell(l, str(i + 1)), " ", result[i]);
      e.prompt = str(languages::say(e.lang, item.ask, ':'), " ", joined(list, ", "), ".\n", label(words::answer));
      e.answer = joined(result, item.layout == Item::Layout::dashes ? "-" : item.layout == Item::Layout::lines ? "\n" : ", ");
      e.completion = str(" ", e.answer, ".");
      if (item.layout == Item::Layout::dashes) e.checks = {{Rule::Kind::text, {e.answer}}};
      else if (item.layout == Item::Layout::choice) e.checks = {{Rule::Kind::one_of, list, static_cast<int>(result.size())}};
      else e.checks = {{Rule::Kind::items, result}};
      if (item.layout == Item::Layout::lines) e.checks.push_back({Rule::Kind::lines, {}, static_cast<int>(result.size())});
      if (item.layout == Item::Layout::capitals) e.checks.push_back({Rule::Kind::upper});
      if (item.pinned_front) e.checks.push_back({Rule::Kind::starts, {result.front()}});
      if (item.pinned_back) e.checks.push_back({Rule::Kind::ends, {result.back()}});
      break;
    }
    case Task::arithmetic:
      e.prompt = str(say_all(e.lang, item.told), "\n", label(words::solution));
      e.answer = spell(l, str(item.answer));
      e.completion = str(" ", say_all(e.lang, item.answered), " ", label(words::answer), " ", e.answer, ".");
      e.checks = {{Rule::Kind::last_number, {}, item.answer}};
  }
}

}  // namespace detail

// One line of a .jsonl file of examples (docs/formats.md, section 3).
inline std::string json_line(const Example& e) {
  return io::dump(io::Json::object({{"id", e.id}, {"task", task_names[static_cast<int>(e.task)]}, {"lang", language(e.lang).code}, {"prompt", e.prompt}, {"completion", e.completion}, {"answer", e.answer},
                                    {"parallel_id", str(e.parallel_id)}, {"source", "generated"}}));
}

// The template of an example: they take turns, in an order of the seed's, the same in all languages.
inline int form_of(Task task, std::uint64_t seed, std::uint64_t index) {
  int count = form_count(task);
  std::vector<int> order;
  for (int i = 0; i < count; ++i) order.push_back(i);
  Random random(seed, 0x70000000u + static_cast<std::uint32_t>(task));
  detail::shuffle(random, order);
  return order[index % static_cast<std::uint64_t>(count)];
}

// Example `index` of a task in a language. retelling > 0: an arithmetic story told again, with other numbers of the same split (other tasks have none).
// Error(usage): no such language.
inline Example task_example(Task task, int lang, Split split, std::uint64_t seed, std::uint64_t index, std::uint32_t retelling = 0) {
  const Language& l = language(lang);
  std::uint32_t stream = static_cast<std::uint32_t>(task) << 8 | static_cast<std::uint32_t>(split) << 4;
  bool parallel = split != Split::train || philox(seed, stream, 22, index).v[3] % 1000 < parallel_examples_permille;
  Philox4 key = philox(seed, stream, 23 + (parallel ? 0 : 1 + static_cast<std::uint32_t>(lang)), index);
  std::uint64_t own = static_cast<std::uint64_t>(key.v[0]) << 32 | key.v[1];
  Random random(own, key.v[2]);
  Example e;
  e.task = task;
  e.lang = lang;
  e.form = form_of(task, seed, index);
  e.id = str(task_names[static_cast<int>(task)], "/", l.code, "/", split_names[static_cast<int>(split)], "/", seed, "/", index);
  e.parallel_id = Hash64().add(own).add(key.v[2]).value;
  switch (task) {
    case Task::summary: detail::render(detail::draw_summary(random, e.form, split), e); break;
    case Task::instructions: detail::render(detail::draw_instruction(random, static_cast<Form>(e.form), split), e); break;
    case Task::arithmetic: detail::render(detail::draw_arithmetic(random, e.form, split, retelling), e); break;
  }
  return e;
}

// The control: the same prompts with each other's completions, within groups of examples of one template (shuffled_turns of them,
// a cycle). What is right (answer, checks) is that of the prompt, so who learns from these scores at chance.
inline Example shuffled_example(Task task, int lang, Split split, std::uint64_t seed, std::uint64_t index) {
  Example e = task_example(task, lang, split, seed, index);
  std::uint64_t forms = static_cast<std::uint64_t>(form_count(task)), group = forms * shuffled_turns, start = index / group * group;
  std::uint64_t turn = (index - start) / forms;
  e.completion = task_example(task, lang, split, seed, start + (turn + 1) % shuffled_turns * forms + (index - start) % forms).completion;
  return e;
}

}  // namespace bam::text::languages
