// A small corpus of four domains for the demo, made from nothing but a seed: programs whose asserts hold, arithmetic with
// right answers, statutes whose references resolve, stories that keep track of things. Same text everywhere.
#pragma once
#include <string>
#include <vector>

#include "../core/error.hpp"
#include "../core/random.hpp"

namespace bam::text {

inline constexpr const char* demo_domains[] = {"general", "code", "law", "math"};

namespace detail {

class DemoWriter {
 public:
  explicit DemoWriter(Random random) : random_(random) {}

  std::string general() {
    std::string who = name(), other = name(), thing = pick(things), place = pick(places), goal = pick(places), s;
    while (other == who) other = name();
    while (goal == place) goal = pick(places);
    s = str(who, " woke in the ", place, " and found a ", pick(adjectives), " ", thing, ". ");
    std::string holder = who;
    for (std::uint64_t i = 0, n = 2 + number(4); i < n; ++i) {
      switch (number(4)) {
        case 0: s += str(holder, " carried the ", thing, " to the ", goal, ". "); std::swap(place, goal); break;
        case 1: {
          std::string to = holder == who ? other : who;
          s += str(holder, " gave the ", thing, " to ", to, ", who was ", pick(moods), ". ");
          holder = to;
          break;
        }
        case 2: s += str("\"Where is the ", thing, "?\" asked ", holder == who ? other : who, ". \"", holder, " has it,\" said the ", pick(people), ". "); break;
        default: s += str("In the ", place, " it was ", pick(moods), ", and the ", pick(people), " told of a ", pick(adjectives), " ", pick(things), ". ");
      }
    }
    return s + str("At the end of the day ", holder, " had the ", thing, " in the ", place, ".");
  }

  std::string code() {
    std::string f = str(pick(verbs), "_", pick(things)), x = letter(), s;
    std::int64_t a = small(), b = small(), c = small(), n = 2 + small() % 6;
    switch (number(3)) {
      case 0:
        s = str("def ", f, "(", x, "):\n    return ", x, " * ", a, " + ", b, "\n\n");
        for (std::int64_t i = 0; i < 3; ++i) {
          std::int64_t v = small();
          s += str("assert ", f, "(", v, ") == ", v * a + b, "\n");
        }
        return s;
      case 1: {
        std::int64_t total = 0;
        for (std::int64_t i = 0; i < n; ++i) total += i % 2 == 0 ? i * a : c;
        return str("def ", f, "(n):\n    total = 0\n    for ", x, " in range(n):\n        if ", x, " % 2 == 0:\n            total += ", x, " * ", a,
                   "\n        else:\n            total += ", c, "\n    return total\n\nassert ", f, "(", n, ") == ", total, "\n");
      }
      default: {
        std::string list, sorted;
        std::vector<std::int64_t> v;
        for (std::int64_t i = 0; i < n; ++i) v.push_back(small());
        for (std::size_t i = 0; i < v.size(); ++i) list += str(i ? ", " : "", v[i]);
        std::int64_t most = v[0], sum = 0;
        for (std::int64_t k : v) {
          most = k > most ? k : most;
          sum += k;
        }
        return str("def ", f, "(values):\n    best = values[0]\n    for ", x, " in values:\n        if ", x, " > best:\n            best = ", x,
                   "\n    return best, sum(values)\n\nassert ", f, "([", list, "]) == (", most, ", ", sum, ")\n");
      }
    }
  }

  std::string law() {
    std::uint64_t chapter = 1 + number(60), n = 2 + number(4);
    std::string subject = pick(people), s = str("Chapter ", chapter, ". Of the ", subject, ".\n");
    for (std::uint64_t i = 1; i <= n; ++i) {
      s += str("Section ", chapter, ".", i, ". ");
      if (i == 1) s += str("In this chapter, \"", pick(things), "\" means any ", pick(adjectives), " ", pick(things), " kept in a ", pick(places), ".\n");
      else if (number(2)) s += str("A ", subject, " who ", pick(acts), " a ", pick(things), " contrary to section ", chapter, ".", 1 + number(i - 1), " shall pay a fine of not more than ", 100 * (1 + number(50)), " dollars.\n");
      else s += str("Subject to section ", chapter, ".", 1 + number(i - 1), ", no ", subject, " shall be required to keep a ", pick(things), " for longer than ", 2 + number(28), " days.\n");
    }
    return s;
  }

  std::string math() {
    std::int64_t a = 2 + small() % 40, b = 2 + small() % 40, c = 2 + small() % 9;
    switch (number(3)) {
      case 0: {
        std::string who = name(), thing = pick(things);
        return str("Problem: ", who, " has ", a, " ", thing, "s and buys ", c, " boxes with ", b, " in each. How many are there?\nSolution: ", c, " * ", b, " = ", c * b, ". ", a,
                   " + ", c * b, " = ", a + c * b, ". The answer is ", a + c * b, ".");
      }
      case 1:
        return str("Problem: Solve ", c, "x + ", b, " = ", c * a + b, ".\nSolution: Subtract ", b, ": ", c, "x = ", c * a, ". Divide by ", c, ": x = ", a, ". The answer is ", a, ".");
      default: {
        std::int64_t x = a + b, y = x * c, z = y - a;
        return str("Problem: Compute (", a, " + ", b, ") * ", c, " - ", a, ".\nSolution: ", a, " + ", b, " = ", x, ". ", x, " * ", c, " = ", y, ". ", y, " - ", a, " = ", z, ". The answer is ", z, ".");
      }
    }
  }

 private:
  using Words = std::vector<const char*>;
  std::uint64_t number(std::uint64_t n) { return random_.below(n); }
  std::int64_t small() { return static_cast<std::int64_t>(number(100)); }
  std::string letter() { return std::string(1, static_cast<char>('a' + number(26))); }
  // Zipf-like: early words come oftener.
  std::string pick(const Words& words) {
    std::uint64_t n = words.size(), i = number(n), j = number(n);
    return words[i < j ? i : j];
  }
  std::string name() {
    static const Words first = {"Mar", "Jon", "El", "Tam", "Ro", "Bel", "Kas", "Nor", "Lin", "Per", "Sa", "Wil"};
    static const Words last = {"a", "en", "is", "ok", "ian", "dra", "bert", "elle", "ton", "wyn"};
    return pick(first) + pick(last);
  }
  inline static const Words things = {"lamp", "letter", "key", "stone", "book", "coin", "basket", "ring", "map", "clock", "rope", "bell", "knife", "mirror", "wheel", "barrel", "seed", "drum", "candle", "chain"};
  inline static const Words places = {"garden", "kitchen", "harbour", "tower", "market", "mill", "forest", "cellar", "square", "library", "stable", "bridge"};
  inline static const Words adjectives = {"small", "old", "silver", "broken", "heavy", "strange", "green", "wooden", "bright", "hollow", "narrow", "warm"};
  inline static const Words moods = {"quiet", "glad", "late", "cold", "afraid", "patient", "tired", "curious"};
  inline static const Words people = {"keeper", "miller", "tenant", "captain", "baker", "clerk", "weaver", "carrier", "owner", "warden"};
  inline static const Words verbs = {"count", "scale", "find", "merge", "shift", "pack", "rank", "fold", "scan"};
  inline static const Words acts = {"sells", "removes", "hides", "breaks", "lends", "imports", "alters"};
  Random random_;
};

}  // namespace detail

// Document i of a domain: a function of (seed, domain, i).
inline std::string demo_document(std::string_view domain, std::uint64_t seed, std::uint64_t i) {
  std::uint32_t stream = 0;
  while (stream < 4 && domain != demo_domains[stream]) ++stream;
  check(stream < 4, "demo.domain", "demo: wanted general, code, law or math, got '", printable(domain), "'");
  detail::DemoWriter writer(Random(seed + i * 0x9E3779B97F4A7C15ull, stream));
  return stream == 0 ? writer.general() : stream == 1 ? writer.code() : stream == 2 ? writer.law() : writer.math();
}

}  // namespace bam::text
