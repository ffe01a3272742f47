// Stories over a world of people, places and things: who is where and holds what, and whom a pronoun means. Questions in the
// story are answered from the state of the world.
#pragma once
#include "grammar.hpp"

namespace bam::text::generated {

class GeneralDocument {
 public:
  explicit GeneralDocument(Derivation& d) : d_(d) {}

  void write() {
    setting();
    for (;;) {
      bool enough = d_.enough(), on = d_.size() < 1300 || !enough;
      if (d_.choose({{on ? 14u : 0u, " "}, {on ? 3u : 0u, "\n\n"}, {enough ? 1u : 0u, "\nAt the end of the day "}}) == 2) break;
      sentence();
    }
    ending();
  }

 private:
  struct Person {
    std::string name;
    bool she;
    std::size_t place;
  };
  struct Thing {
    std::string name, quality;
    std::size_t holder, place;  // nobody: it lies at the place
  };
  static constexpr std::size_t nobody = ~std::size_t{0};

  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const Person& p : people_) out.push_back(p.name);
    return out;
  }
  // A pronoun means whoever of that kind was named last.
  void mention(std::size_t person) { meant_[people_[person].she] = person; }

  void place() {
    if (d_.is(adjective, 1, noun, 2)) {
      d_.word(adjective);
      d_.emit(" ");
    }
    places_.push_back(d_.fresh(noun, nouns_));
  }
  void person(std::size_t at) {
    people_.push_back({d_.fresh(name, names_), false, at});
    d_.emit(" of the ");
    if (d_.is(adjective, 1, noun, 2)) {
      d_.word(adjective);
      d_.emit(" ");
    }
    d_.word(noun, "", nouns_);
    people_.back().she = d_.choose({{1, ", and she "}, {1, ", and he "}}) == 0;
    mention(people_.size() - 1);
  }
  // "a narrow lamp": new to the story.
  void thing(std::size_t holder, std::size_t at) {
    d_.emit("a ");
    std::string quality = d_.fresh(adjective, qualities_);
    d_.emit(" ");
    things_.push_back({d_.fresh(noun, nouns_), quality, holder, at});
  }

  void setting() {
    d_.choose({{1, "In the "}, {1, "Near the "}, {1, "Once, by the "}});
    place();
    d_.emit(" there lived ");
    person(0);
    d_.emit("had ");
    thing(0, 0);
    d_.emit(". From there a road led to the ");
    place();
    d_.emit(", the home of ");
    person(1);
    d_.choose({{1, "often "}, {1, "sometimes "}, {1, "never "}});
    d_.word(verb, "ed");
    d_.emit(" ", people_[0].name, ".");
    mention(0);
  }

  // Someone who acts: by name, or by a pronoun.
  std::size_t subject() {
    std::size_t she = meant_[1], he = meant_[0];
    std::size_t kind = d_.choose({{she == nobody ? 0u : 2u, "She "}, {he == nobody ? 0u : 2u, "He "}, {3, otherwise}});
    std::size_t who = kind == 0 ? she : kind == 1 ? he : by_name();
    mention(who);
    return who;
  }
  std::size_t by_name() {
    std::size_t who = d_.among(names());
    d_.emit(" ");
    return who;
  }
  std::size_t someone_else(std::size_t but) {
    std::vector<std::string> list;
    std::vector<std::size_t> who;
    for (std::size_t i = 0; i < people_.size(); ++i)
      if (i != but) list.push_back(people_[i].name), who.push_back(i);
    std::size_t i = who[d_.among(list)];
    mention(i);
    return i;
  }
  std::size_t one_of(const std::vector<std::size_t>& list) {
    std::vector<std::string> options;
    for (std::size_t i : list) options.push_back(things_[i].name);
    return list[d_.among(options)];
  }
  // "the lamp" or "the lamp (the narrow one)": it follows from the first mention.
  void quality(std::size_t t) {
    if (d_.maybe(1, 6, " (the ")) {
      d_.answer(things_[t].quality);
      d_.emit(" one)");
    }
  }

  void sentence() {
    std::uint64_t crowd = people_.size() < 4 ? 1 : 0;
    switch (d_.choose({{2, "The "}, {2, "\"Where is the "}, {2, "\"Who has the "}, {1, "\"Whom do you mean by "}, {2 * crowd, "Then there came "}, {3, "It is said that "},
                       {4, "When "}, {2, "All the while "}, {1, "\"Tell me where "}, {18, otherwise}})) {
      case 0: {
        d_.among(places_);
        d_.choose({{2, " was "}, {1, " grew "}, {1, " seemed "}});
        d_.word(adjective);
        d_.choose({{2, " and "}, {1, " but "}});
        d_.word(adjective);
        d_.emit(".");
        break;
      }
      case 1: where_is(); break;
      case 2: who_has(); break;
      case 3: whom(); break;
      case 4: {
        std::size_t at = people_.size();
        person(0);
        d_.emit("met ");
        std::size_t other = someone_else(at);
        people_[at].place = people_[other].place;
        d_.emit(" in the ");
        d_.answer(places_[people_[at].place]);
        d_.emit(".");
        break;
      }
      case 6: {
        clause(d_);
        d_.emit(", ");
        std::size_t who = by_name();
        mention(who);
        act(who);
        break;
      }
      case 8: {
        std::size_t who = d_.among(names());
        d_.emit(" is,\" said ");
        mention(who);
        someone_else(who);
        d_.emit(". \"In the ");
        d_.answer(places_[people_[who].place]);
        d_.emit(".\"");
        break;
      }
      case 9: act(subject()); break;
      default:
        clause(d_);
        d_.emit(".");
    }
  }

  void act(std::size_t who) {
    Person& p = people_[who];
    std::vector<std::size_t> held, lying;
    for (std::size_t i = 0; i < things_.size(); ++i) {
      if (things_[i].holder == who) held.push_back(i);
      if (things_[i].holder == nobody && things_[i].place == p.place) lying.push_back(i);
    }
    std::vector<std::string> near;
    std::vector<std::size_t> near_who;
    for (std::size_t i = 0; i < people_.size(); ++i)
      if (i != who && people_[i].place == p.place) near.push_back(people_[i].name), near_who.push_back(i);
    std::uint64_t has = held.empty() ? 0 : 1, gives = has && !near.empty() ? 1 : 0;
    switch (d_.choose({{4, "went to the "}, {places_.size() < 5 ? 1u : 0u, "came upon a "}, {lying.empty() ? 0u : 4u, "picked up the "}, {has * 2, "put down the "},
                       {gives * 4, "gave the "}, {things_.size() < 6 ? 2u : 0u, "found "}, {5, "wanted to "}, {has, "showed the "}, {1, "felt "}})) {
      case 0: {
        std::vector<std::string> elsewhere;
        std::vector<std::size_t> where;
        for (std::size_t i = 0; i < places_.size(); ++i)
          if (i != p.place) elsewhere.push_back(places_[i]), where.push_back(i);
        p.place = where[d_.among(elsewhere)];
        if (has && d_.maybe(1, 2, " and took the ")) {
          one_of(held);
          d_.emit(" along");
        }
        break;
      }
      case 1:
        place();
        p.place = places_.size() - 1;
        break;
      case 2: {
        std::size_t t = one_of(lying);
        quality(t);
        things_[t].holder = who;
        break;
      }
      case 3: {
        std::size_t t = one_of(held);
        quality(t);
        things_[t].holder = nobody;
        things_[t].place = p.place;
        if (d_.maybe(1, 2, " in the ")) d_.answer(places_[p.place]);
        break;
      }
      case 4: {
        std::size_t t = one_of(held);
        d_.emit(" to ");
        std::size_t to = near_who[d_.among(near)];
        things_[t].holder = to;
        mention(to);
        break;
      }
      case 5:
        thing(who, p.place);
        break;
      case 6:
        d_.word(verb);
        d_.emit(" ");
        determined_phrase(d_);
        break;
      case 7: {
        std::size_t t = one_of(held);
        quality(t);
        d_.emit(" to ");
        determined_phrase(d_);
        break;
      }
      default: d_.word(adjective);
    }
    d_.emit(".");
  }

  std::vector<std::size_t> all_things() const {
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < things_.size(); ++i) all.push_back(i);
    return all;
  }
  void holder(const Thing& t) {
    d_.answer(people_[t.holder].name);
    mention(t.holder);
  }

  void where_is() {
    std::size_t t = one_of(all_things());
    d_.emit("?\" asked ");
    std::size_t who = d_.among(names());
    mention(who);
    d_.emit(". \"It is in the ");
    d_.answer(places_[things_[t].holder == nobody ? things_[t].place : people_[things_[t].holder].place]);
    d_.emit(",\" said ");
    someone_else(who);
    d_.emit(".");
  }
  void who_has() {
    std::size_t t = one_of(all_things());
    d_.emit("?\" asked ");
    mention(d_.among(names()));
    d_.emit(". \"");
    if (things_[t].holder == nobody) {
      d_.emit("Nobody, it lies in the ");
      d_.answer(places_[things_[t].place]);
    } else {
      holder(things_[t]);
      d_.emit(" has it");
    }
    d_.emit(".\"");
  }
  // Whoever is asked means whom the story means.
  void whom() {
    std::size_t kind = d_.choose({{meant_[1] == nobody ? 0u : 1u, "she"}, {meant_[0] == nobody ? 0u : 1u, "he"}});
    std::size_t who = meant_[kind == 0];
    d_.choose({{1, "?\" asked the "}, {1, "?\" said the "}});
    d_.word(noun, "", nouns_);
    d_.emit(". \"I mean ");
    d_.answer(people_[who].name);
    d_.emit(".\"");
  }

  // Where everything is.
  void ending() {
    for (std::size_t i = 0; i < things_.size(); ++i) {
      if (i) d_.emit(i + 1 == things_.size() ? ", and " : ", ");
      d_.emit("the ", things_[i].name, " was ");
      if (things_[i].holder != nobody) {
        d_.emit("with ");
        holder(things_[i]);
        d_.emit(" ");
      }
      d_.emit("in the ");
      d_.answer(places_[things_[i].holder == nobody ? things_[i].place : people_[things_[i].holder].place]);
    }
    d_.emit(".\n");
  }

  Derivation& d_;
  std::vector<std::string> nouns_, names_, qualities_, places_;
  std::vector<Person> people_;
  std::vector<Thing> things_;
  std::size_t meant_[2] = {nobody, nobody};  // by "he", by "she"
};

}  // namespace bam::text::generated
