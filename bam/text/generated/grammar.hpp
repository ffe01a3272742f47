// One function per language is its generator, parser, scorer and checker: it walks a Derivation, which either draws each
// choice and appends its text, or reads the text and finds the choice that was made. Every text has exactly one derivation:
// alternatives are prefix-free, words and numbers end at a delimiter, and what is computed must be there to the letter.
#pragma once
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../../core/error.hpp"
#include "../../core/math.hpp"
#include "../../core/random.hpp"

namespace bam::text::generated {

enum class WordClass { noun, verb, adjective, name };

// The words of all domains: common ones first, then words made of syllables; the weight of rank r is about 1 / (r + 3).
// No word is in two classes. Nouns and verbs end so that -s and -ed can follow.
class Lexicon {
 public:
  struct Class {
    std::vector<std::string> words;
    std::vector<std::uint64_t> below;  // weights of the words before each, and of all
    std::map<std::string, std::size_t, std::less<>> place;
    std::uint64_t total() const { return below.back(); }
    std::uint64_t weight(std::size_t i) const { return below[i + 1] - below[i]; }
    std::optional<std::size_t> find(std::string_view word) const {
      auto at = place.find(word);
      return at == place.end() ? std::nullopt : std::optional(at->second);
    }
  };

  static const Lexicon& get() {
    static const Lexicon lexicon;
    return lexicon;
  }
  const Class& of(WordClass c) const { return classes_[static_cast<std::size_t>(c)]; }
  std::size_t size() const { return classes_[0].words.size() + classes_[1].words.size() + classes_[2].words.size() + classes_[3].words.size(); }
  std::optional<WordClass> class_of(std::string_view word) const {
    for (WordClass c : {WordClass::noun, WordClass::verb, WordClass::adjective, WordClass::name})
      if (of(c).find(word)) return c;
    return std::nullopt;
  }

 private:
  using Parts = std::vector<const char*>;

  Lexicon() {
    // What templates and Python use as a word of its own never names a thing.
    for (const char* w : {"assert", "bool", "else", "false", "for", "from", "import", "list", "not", "pass", "print", "range", "return", "true", "while",
                          "with", "chapter", "section", "solution", "problem", "answer", "means", "shall", "number", "when", "then", "that", "than"})
      taken_.insert(w);
    build(WordClass::noun, 3000,
          {"house", "river", "letter", "door", "stone", "book", "garden", "market", "road", "lamp", "table", "field", "boat", "tower", "bridge", "wall",
           "paper", "water", "bread", "horse", "coin", "basket", "ring", "clock", "rope", "bell", "window", "harbour", "mill", "forest", "cellar", "square",
           "keeper", "owner", "baker", "captain", "teacher", "farmer", "wheel", "barrel", "seed", "drum", "chain", "candle", "mirror", "record", "permit",
           "ticket", "parcel", "machine", "engine", "signal", "queue", "node", "token", "vector", "counter", "buffer", "score", "weight"},
          {"n", "r", "l", "t", "k", "m", "d", "nd", "rt", "lk", "p", "rn", "b", "g"});
    build(WordClass::verb, 900,
          {"open", "gather", "mark", "paint", "lift", "turn", "count", "follow", "repair", "collect", "deliver", "visit", "answer", "filter", "sort", "load",
           "select", "enter", "remember", "consider", "inspect", "gain", "clean", "look", "warn", "call", "want", "need", "help", "work", "start", "walk"},
          {"en", "er", "ol", "ift", "ard", "ump", "ink", "elt"});
    build(WordClass::adjective, 1000,
          {"small", "old", "new", "long", "dark", "bright", "green", "heavy", "narrow", "warm", "quiet", "late", "cold", "strange", "wooden", "silver", "broken",
           "public", "local", "common", "whole", "first", "last", "good", "great", "high", "low", "red", "white", "empty", "early", "free", "clear"},
          {"ic", "al", "ous", "ful", "ine", "ive"});
    build(WordClass::name, 700, {"Mara", "Jonas", "Elena", "Tomas", "Rosa", "Peter", "Anna", "Martin", "Linda", "Simon", "Clara", "Victor"},
          {"a", "o", "en", "is", "ra", "ia", "us", "eth"});
  }

  void build(WordClass which, std::size_t count, const Parts& common, const Parts& endings) {
    static const Parts onsets = {"b", "br", "c", "cl", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "l", "m", "n", "p", "pl", "pr", "r", "s", "sh", "st", "t", "th", "tr", "v", "w"};
    static const Parts vowels = {"a", "e", "i", "o", "u", "a", "e", "o", "ai", "ea", "ou"};
    static const Parts codas = {"", "", "", "l", "n", "r", "m", "s"};
    Class& c = classes_[static_cast<std::size_t>(which)];
    auto add = [&](const std::string& w) {
      if (c.words.size() < count && taken_.insert(w).second) c.words.push_back(w);
    };
    auto part = [&](const Parts& list) -> std::string { return list[random_.below(list.size())]; };
    for (const char* w : common) add(w);
    bool noun = which == WordClass::noun;
    while (c.words.size() < count) {
      // Rare words are longer.
      std::uint64_t syllables = c.words.size() < count / 4 ? (noun ? 2 : 1 + random_.below(2)) : 2 + random_.below(2);
      std::string w;
      for (std::uint64_t s = 0; s < syllables; ++s) {
        bool last = s + 1 == syllables;
        w += part(onsets);
        if (!last || noun) w += part(vowels);
        if (last) w += part(endings);
        else w += part(codas);
      }
      if (w.size() < 4) continue;
      if (which == WordClass::name) w[0] = static_cast<char>(w[0] - 'a' + 'A');
      add(w);
    }
    c.below.push_back(0);
    for (std::size_t i = 0; i < c.words.size(); ++i) {
      c.below.push_back(c.below.back() + (std::uint64_t{1} << 24) / (i + 3));
      c.place.emplace(c.words[i], i);
    }
  }

  Class classes_[4];
  std::set<std::string> taken_;
  Random random_{0x1e81c09, 1};
};

struct Option {
  std::uint64_t weight;  // 0: not to be had here
  std::string_view text;
};
// Two options that stand for no text: the document ends; none of the others begins here.
inline constexpr std::string_view end_of_text{"\0", 1}, otherwise{"\1", 1};

struct Mismatch {};   // the text is not of the language
struct TextEnded {};  // a text that may stop early stopped

class Derivation {
 public:
  // Draws.
  explicit Derivation(Random random) : random_(random), generating_(true) {}
  // Reads; throws Mismatch where the text is not of the language. With a cut, the text may stop anywhere (TextEnded), and at
  // the cut any value of the wanted kind is read; right() tells whether it was the wanted one.
  explicit Derivation(std::string_view text, std::optional<std::size_t> cut = {}) : random_(0), text_(text), cut_(cut) {}

  std::size_t size() const { return generating_ ? text_.size() : cursor_; }
  double nats() const { return nats_; }
  // Long enough to end, and so unlikely (e^-50) that no other document is the same.
  bool enough() const { return size() > 350 && nats_ > 50; }
  bool right() const { return right_; }
  std::string take() { return std::move(text_); }
  const std::vector<std::size_t>& marks() const { return marks_; }
  void finish() const {
    if (!generating_ && cursor_ != text_.size()) throw Mismatch{};
  }

  std::size_t choose(std::initializer_list<Option> list) {
    std::span<const Option> options(list.begin(), list.size());
    std::uint64_t total = 0;
    for (const Option& o : options) total += o.weight;
    check(total > 0, "grammar.choice", "no option has weight");
    std::size_t picked = options.size();
    if (generating_) {
      std::uint64_t r = random_.below(total);
      for (picked = 0; r >= options[picked].weight; ++picked) r -= options[picked].weight;
    } else {
      std::string_view rest = here();
      std::size_t fallback = picked;
      bool begun = rest.empty();
      for (std::size_t i = 0; i < options.size(); ++i) {
        const Option& o = options[i];
        if (o.weight == 0) continue;
        if (o.text == otherwise) fallback = i;
        else if (o.text == end_of_text ? rest.empty() : rest.starts_with(o.text)) {
          check(picked == options.size(), "grammar.prefix", "two options begin alike: '", options[std::min(picked, i)].text, "', '", o.text, "'");
          picked = i;
        } else if (o.text.starts_with(rest)) begun = true;
      }
      if (cut_ && (rest.empty() || (picked == options.size() && begun))) throw TextEnded{};
      if (picked == options.size()) picked = fallback;
      if (picked == options.size()) throw Mismatch{};
    }
    score(options[picked].weight, total);
    if (options[picked].text != otherwise && options[picked].text != end_of_text) advance(options[picked].text);
    return picked;
  }
  bool maybe(std::uint64_t yes, std::uint64_t no, std::string_view text) { return choose({{yes, text}, {no, otherwise}}) == 0; }

  // Uniform in [low, high].
  std::int64_t number(std::int64_t low, std::int64_t high) { return low + progression(low, 1, high - low + 1); }
  // One of first + i * step, i in [0, count); returns i.
  std::int64_t progression(std::int64_t first, std::int64_t step, std::int64_t count) {
    check(count > 0 && step > 0, "grammar.number", "empty range");
    std::int64_t i;
    if (generating_) {
      i = static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(count)));
      text_ += str(first + i * step);
    } else {
      std::string_view token = digits();
      if (token.empty() || token.size() > 17) throw Mismatch{};
      std::int64_t v = 0;
      for (char c : token)
        if (c != '-') v = v * 10 + (c - '0');
      if (token[0] == '-') v = -v;
      if (str(v) != token || v < first || (v - first) % step != 0 || (v - first) / step >= count) throw Mismatch{};
      i = (v - first) / step;
      cursor_ += token.size();
    }
    score(1, static_cast<std::uint64_t>(count));
    return i;
  }

  // A word of a class, by its Zipf weight, with an ending; none of those in `without`.
  std::string word(WordClass which, std::string_view ending = "", std::span<const std::string> without = {}) {
    const Lexicon::Class& c = Lexicon::get().of(which);
    auto taken = [&](const std::string& w) { return std::find(without.begin(), without.end(), w) != without.end(); };
    std::uint64_t total = c.total();
    for (const std::string& w : without)
      if (auto at = c.find(w)) total -= c.weight(*at);
    std::size_t i = 0;
    if (generating_) {
      do {
        std::uint64_t r = random_.below(c.total());
        i = static_cast<std::size_t>(std::upper_bound(c.below.begin(), c.below.end(), r) - c.below.begin()) - 1;
      } while (taken(c.words[i]));
      text_ += c.words[i];
      text_ += ending;
    } else {
      std::string_view token = letters();
      if (!token.ends_with(ending)) throw Mismatch{};
      auto at = c.find(token.substr(0, token.size() - ending.size()));
      if (!at || taken(c.words[*at])) throw Mismatch{};
      i = *at;
      cursor_ += token.size();
    }
    score(c.weight(i), total);
    return c.words[i];
  }
  // A word that was not used yet, and now is.
  std::string fresh(WordClass which, std::vector<std::string>& used, std::string_view ending = "") {
    std::string w = word(which, ending, used);
    used.push_back(w);
    return w;
  }
  // Which class the next word has: true for a, which is weighted yes : no against b. Neither has an ending.
  bool is(WordClass a, std::uint64_t yes, WordClass b, std::uint64_t no) {
    bool first = generating_ && random_.below(yes + no) < yes;
    if (!generating_) {
      auto which = Lexicon::get().class_of(letters());
      if (which != a && which != b) throw Mismatch{};
      first = which == a;
    }
    score(first ? yes : no, yes + no);
    return first;
  }

  // One of the names, which differ, all with the same weight; or names.size() and no text, where another word follows.
  std::size_t among(std::span<const std::string> names, std::uint64_t each = 1, std::uint64_t other = 0) {
    std::uint64_t total = each * names.size() + other;
    check(total > 0, "grammar.among", "there is no name");
    std::size_t i = names.size();
    if (generating_) {
      std::uint64_t r = random_.below(total);
      if (each > 0 && r / each < names.size()) i = static_cast<std::size_t>(r / each);
    } else {
      i = static_cast<std::size_t>(std::find(names.begin(), names.end(), token()) - names.begin());
    }
    std::uint64_t weight = i < names.size() ? each : other;
    if (weight == 0) throw Mismatch{};
    score(weight, total);
    if (i < names.size()) advance(names[i]);
    return i;
  }

  // Text that follows from what was chosen before.
  template <class... Args>
  void emit(const Args&... args) {
    std::string s = str(args...);
    if (!generating_) {
      std::string_view rest = here();
      if (cut_ && s.starts_with(rest)) {
        cursor_ = text_.size();
        throw TextEnded{};
      }
      if (!rest.starts_with(s)) throw Mismatch{};
    }
    advance(s);
  }
  // The same for one word or number that a reader can work out: a place to cut a prompt.
  template <class T>
  void answer(const T& value) {
    std::string s = str(value);
    marks_.push_back(size());
    if (at_cut()) return read_any(s, s);
    emit(s);
  }
  // One of the names, any of which is right, where others would not be: a place to cut a prompt.
  std::size_t answer_among(std::span<const std::string> names) {
    marks_.push_back(size());
    if (at_cut() && std::find(names.begin(), names.end(), token()) == names.end()) {
      read_any(names[0], "");
      return 0;
    }
    if (at_cut()) right_ = true;
    return among(names);
  }

 private:
  static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  std::string_view here() const { return std::string_view(text_).substr(cursor_); }
  std::string_view ended_or(std::string_view s) const {
    if (cut_ && cursor_ == text_.size()) throw TextEnded{};
    return s;
  }
  std::string_view letters() const {
    std::string_view rest = here();
    std::size_t n = 0;
    while (n < rest.size() && is_letter(rest[n])) ++n;
    return ended_or(rest.substr(0, n));
  }
  std::string_view digits() const {
    std::string_view rest = here();
    std::size_t n = !rest.empty() && rest[0] == '-';
    while (n < rest.size() && is_digit(rest[n])) ++n;
    return ended_or(rest.substr(0, n));
  }
  // A name, a number, or a number of a section (12.3).
  std::string_view token() const {
    std::string_view rest = here();
    auto inside = [&](std::size_t i) {
      if (i >= rest.size()) return false;
      char c = rest[i];
      return is_letter(c) || is_digit(c) || c == '_' || (c == '-' && i == 0) || (c == '.' && i > 0 && is_digit(rest[i - 1]) && i + 1 < rest.size() && is_digit(rest[i + 1]));
    };
    std::size_t n = 0;
    while (inside(n)) ++n;
    return ended_or(rest.substr(0, n));
  }
  bool at_cut() const { return cut_ && (cursor_ == *cut_ || (cursor_ == *cut_ + 1 && text_[*cut_] == ' ')); }
  // What kind of value a token is: number, section, truth value, letter, word of the lexicon, identifier.
  static char kind(std::string_view s) {
    if (s.empty()) return 0;
    if (s.find_first_not_of("-0123456789") == s.npos && is_digit(s.back())) return 'n';
    if (s.find_first_not_of(".0123456789") == s.npos) return 's';
    if (s == "True" || s == "False") return 't';
    if (s.size() == 1) return 'l';
    if (auto c = Lexicon::get().class_of(s)) return c == WordClass::name ? 'N' : 'w';
    return 'i';
  }
  void read_any(std::string_view like, std::string_view wanted) {
    std::string_view got = token();
    if (kind(got) != kind(like)) throw Mismatch{};
    right_ = got == wanted;
    cursor_ += got.size();
  }
  void advance(std::string_view s) {
    if (generating_) text_ += s;
    else if (here().starts_with(s)) cursor_ += s.size();
    else throw Mismatch{};
  }
  void score(std::uint64_t weight, std::uint64_t total) {
    if (weight != total) nats_ += math::log(static_cast<double>(total) / static_cast<double>(weight));
  }

  Random random_;
  bool generating_ = false;
  std::string text_;
  std::size_t cursor_ = 0;
  double nats_ = 0;
  std::vector<std::size_t> marks_;
  std::optional<std::size_t> cut_;
  bool right_ = false;
};

// Clauses that all domains use: in comments, preambles and asides.

inline constexpr WordClass noun = WordClass::noun, verb = WordClass::verb, adjective = WordClass::adjective, name = WordClass::name;

// "narrow stone", "stone"
inline void noun_phrase(Derivation& d) {
  if (d.is(adjective, 2, noun, 3)) {
    d.word(adjective);
    d.emit(" ");
  }
  d.word(noun);
}
inline void determined_phrase(Derivation& d) {
  d.choose({{8, "the "}, {3, "a "}, {2, "each "}, {1, "this "}, {1, "another "}, {1, "no "}});
  noun_phrase(d);
  switch (d.choose({{3, " of the "}, {2, " in the "}, {1, " from the "}, {14, otherwise}})) {
    case 3: break;
    default: d.word(noun);
  }
}
// "the stone of the river was opened by a narrow lamp", without an end.
inline void clause(Derivation& d) {
  determined_phrase(d);
  switch (d.choose({{3, " is "}, {2, " may be "}, {2, " must not "}, {2, " will "}, {2, " was "}, {1, " has not been "}})) {
    case 0: d.word(adjective); break;
    case 1: case 4: case 5:
      d.word(verb, "ed");
      switch (d.choose({{3, " by "}, {2, " before "}, {2, " with "}, {1, " after "}, {4, otherwise}})) {
        case 4: break;
        default: determined_phrase(d);
      }
      break;
    default:
      d.word(verb);
      d.emit(" ");
      determined_phrase(d);
  }
}

}  // namespace bam::text::generated
