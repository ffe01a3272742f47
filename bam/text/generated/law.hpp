// Statutes: numbered sections, defined terms, and references that resolve to earlier sections. What a section fixed (a term,
// a fine, a period, its paragraphs) is taken up again much later, by its number.
#pragma once
#include "grammar.hpp"

namespace bam::text::generated {

class LawDocument {
 public:
  explicit LawDocument(Derivation& d) : d_(d) {}

  void write() {
    d_.emit("Chapter ");
    chapter_ = d_.number(1, 99);
    d_.choose({{2, ". Of the "}, {1, ". On the "}, {1, ". Of each "}});
    noun_phrase(d_);
    if (d_.maybe(1, 1, " and the ")) noun_phrase(d_);
    d_.emit(".\n");
    for (;;) {
      number_ = str(chapter_, ".", sections_.size() + 1);
      d_.emit("\nSection ", number_, ". ");
      section();
      switch (d_.choose({{2, " If "}, {2, " Unless "}, {1, " This does not apply when "}, {2, " It is enough that "}, {2, otherwise}})) {
        case 0: case 1:
          clause(d_);
          if (d_.choose({{1, ", this section has no effect."}, {2, ", the "}}) == 1) {
            thing();
            d_.choose({{2, " may be "}, {1, " is not to be "}});
            d_.word(verb, "ed");
            d_.emit(".");
          }
          break;
        case 4: break;
        default:
          clause(d_);
          d_.emit(".");
      }
      d_.emit("\n");
      sections_.push_back(number_);  // only now may others refer to it
      bool enough = d_.enough() && !d_.marks().empty();  // there must be something to ask about
      if (d_.choose({{d_.size() < 1150 || !enough ? 5u : 0u, otherwise}, {enough ? 1u : 0u, end_of_text}}) == 1) return;
    }
  }

 private:
  struct Fixed {
    std::size_t section;
    std::int64_t amount;
  };
  struct Listed {
    std::size_t section;
    std::int64_t paragraphs;
  };

  void section() {
    bool first = sections_.empty();
    std::uint64_t later = first ? 0 : 1;
    if (!first && d_.marks().empty() && d_.size() > 800) {  // a text without a reference would only grow
      d_.emit("Subject to section ");
      return subject();
    }
    switch (d_.choose({{first ? 6 : terms_.size() < 6 ? 3u : 0u, "In this chapter, "},
                       {first ? 0u : 3u, "A person who "},
                       {3, "A notice under this section "},
                       {2, "The following are "},
                       {terms_.empty() ? 0u : 4u, "Each "},
                       {periods_.empty() ? 0u : 3u, "The period of "},
                       {fines_.empty() ? 0u : 3u, "The fine under section "},
                       {later * 2, "Subject to section "},
                       {terms_.empty() ? 0u : 2u, "The meaning of "},
                       {1, "Where "}})) {
      case 0: definition(); break;
      case 1: penalty(); break;
      case 2: period(); break;
      case 3: paragraphs(); break;
      case 4: duty(); break;
      case 5: extension(); break;
      case 6: doubled(); break;
      case 7: subject(); break;
      case 8: meaning(); break;
      default: where();
    }
  }

  // Any earlier section is right.
  std::size_t reference() { return d_.answer_among(sections_); }
  // Of a defined term: what section says what it means.
  void defined_in(std::size_t term) { d_.answer(defined_[term]); }

  // A phrase, a defined term more often than not.
  void thing() {
    if (!terms_.empty()) {
      std::size_t i = d_.among(terms_, 2, 5);
      if (i < terms_.size()) {
        if (d_.maybe(1, 3, " (as defined in section ")) {
          defined_in(i);
          d_.emit(")");
        }
        return;
      }
    }
    if (d_.is(adjective, 3, noun, 2)) {
      d_.word(adjective);
      d_.emit(" ");
      d_.word(noun);
    } else {
      d_.word(noun, "", terms_);
    }
  }

  void definition() {
    d_.emit("\"");
    std::string term = d_.fresh(noun, used_);
    d_.choose({{2, "\" means any "}, {1, "\" means a "}, {1, "\" includes each "}});
    noun_phrase(d_);
    d_.choose({{1, " that is "}, {1, " which was "}});
    d_.word(verb, "ed");
    d_.choose({{2, " by a "}, {1, " in a "}, {1, " for the "}});
    thing();
    if (!terms_.empty() && d_.maybe(1, 1, ", but not a ")) d_.among(terms_);
    if (!sections_.empty() && d_.maybe(1, 3, ", except in section ")) reference();
    d_.emit(".");
    terms_.push_back(term);
    defined_.push_back(number_);
  }

  void penalty() {
    if (d_.choose({{1, "acts contrary to section "}, {1, "does not "}}) == 0) {
      reference();
    } else {
      d_.word(verb);
      d_.emit(" the ");
      thing();
      d_.emit(" under section ");
      reference();
    }
    d_.emit(" shall pay a fine of ");
    std::int64_t fine = 50 * (1 + d_.progression(50, 50, 60));
    d_.emit(" dollars");
    if (d_.maybe(1, 1, " to the ")) d_.word(noun);
    d_.emit(".");
    fines_.push_back({sections_.size(), fine});
  }

  void period() {
    d_.choose({{1, "shall be given to the "}, {1, "must be sent to the "}});
    thing();
    d_.emit(" within ");
    std::int64_t days = d_.number(2, 90);
    d_.choose({{1, " days after the "}, {1, " days before the "}});
    d_.word(noun);
    d_.emit(" is ");
    d_.word(verb, "ed");
    d_.emit(".");
    periods_.push_back({sections_.size(), days});
  }

  void paragraphs() {
    d_.choose({{1, "duties of the "}, {1, "rights of the "}});
    thing();
    d_.emit(": ");
    std::int64_t count = 0;
    for (;; ++count) {
      d_.emit("(", static_cast<char>('a' + count), ") to ");
      d_.word(verb);
      d_.choose({{2, " the "}, {1, " each "}, {1, " any "}});
      thing();
      std::uint64_t more = count < 4 ? 2 : 0;
      if (d_.choose({{more, "; "}, {count > 0 ? 2u : 0u, "."}}) == 1) break;
    }
    listed_.push_back({sections_.size(), count + 1});
  }

  void duty() {
    std::size_t term = d_.among(terms_);
    if (d_.maybe(1, 1, ", as defined in section ")) {
      defined_in(term);
      d_.emit(",");
    }
    d_.choose({{2, " shall "}, {1, " may "}, {1, " must not "}});
    d_.word(verb);
    d_.emit(" the ");
    thing();
    if (!listed_.empty() && d_.maybe(2, 3, " under paragraph (")) {
      // The letter comes first, so it is one that some section has.
      std::int64_t most = 0;
      for (const Listed& l : listed_) most = std::max(most, l.paragraphs);
      std::vector<std::string> letters, able;
      for (std::int64_t i = 0; i < most; ++i) letters.emplace_back(1, static_cast<char>('a' + i));
      std::size_t letter = d_.among(letters);
      for (const Listed& l : listed_)
        if (static_cast<std::size_t>(l.paragraphs) > letter) able.push_back(sections_[l.section]);
      d_.emit(") of section ");
      d_.answer_among(able);
    } else if (d_.maybe(1, 1, " as if section ")) {
      reference();
      d_.emit(" were not in force");
    }
    d_.emit(".");
  }

  // The sections that fixed them.
  std::vector<std::string> where_fixed(const std::vector<Fixed>& list) const {
    std::vector<std::string> out;
    for (const Fixed& f : list) out.push_back(sections_[f.section]);
    return out;
  }

  // A period or fine is named by what it is, and its section follows; or by its section, and what it is follows.
  void extension() {
    if (d_.maybe(1, 1, "days in section ")) {
      std::vector<std::string> places = where_fixed(periods_);
      std::size_t i = d_.answer_among(places);
      d_.emit(", which is ");
      d_.answer(periods_[i].amount);
      d_.emit(" days, is extended by ");
      std::int64_t by = d_.number(1, 30);
      d_.emit(" days to ");
      d_.answer(periods_[i].amount + by);
      d_.emit(" days");
      if (d_.maybe(1, 1, " for the ")) thing();
    } else {
      std::vector<std::string> amounts;
      for (const Fixed& p : periods_)
        if (std::find(amounts.begin(), amounts.end(), str(p.amount)) == amounts.end()) amounts.push_back(str(p.amount));
      std::size_t i = d_.among(amounts);
      d_.emit(" days is that of section ");
      std::size_t at = 0;
      while (str(periods_[at].amount) != amounts[i]) ++at;
      d_.answer(sections_[periods_[at].section]);
      d_.emit(", and no ");
      thing();
      d_.emit(" may ");
      d_.word(verb);
      d_.emit(" it");
    }
    d_.emit(".");
  }

  void doubled() {
    std::vector<std::string> places = where_fixed(fines_);
    std::size_t i = d_.answer_among(places);
    std::int64_t fine = fines_[i].amount;
    d_.emit(" of ");
    d_.answer(fine);
    d_.emit(" dollars is ");
    std::size_t times = d_.choose({{2, "doubled to "}, {1, "raised by 100 dollars to "}, {1, "halved to "}});
    d_.answer(times == 0 ? fine * 2 : times == 1 ? fine + 100 : fine / 2);
    d_.emit(" dollars where the ");
    thing();
    d_.emit(" is ");
    d_.word(adjective);
    d_.emit(".");
  }

  void subject() {
    reference();
    if (d_.maybe(1, 2, " and section ")) reference();
    d_.choose({{2, ", no "}, {1, ", every "}, {1, ", a "}});
    thing();
    d_.choose({{1, " shall be required to "}, {1, " is to "}});
    d_.word(verb);
    d_.choose({{2, " the "}, {1, " a "}});
    thing();
    d_.emit(" for longer than ");
    d_.number(2, 30);
    d_.choose({{1, " days."}, {1, " months."}, {1, " years."}});
  }

  void meaning() {
    d_.emit("\"");
    std::size_t term = d_.among(terms_);
    d_.emit("\" in section ");
    defined_in(term);
    d_.choose({{1, " applies also to the "}, {1, " does not apply to a "}});
    noun_phrase(d_);
    d_.choose({{1, " of section "}, {1, " in section "}});
    reference();
    d_.emit(".");
  }

  void where() {
    clause(d_);
    d_.emit(", the ");
    thing();
    d_.choose({{1, " shall be "}, {1, " may be "}});
    d_.word(verb, "ed");
    d_.emit(".");
  }

  Derivation& d_;
  std::int64_t chapter_ = 0;
  std::string number_;                 // of this section
  std::vector<std::string> sections_;  // numbers of those that are complete
  std::vector<std::string> terms_, used_;
  std::vector<std::string> defined_;  // the section of each term
  std::vector<Fixed> fines_, periods_;
  std::vector<Listed> listed_;
};

}  // namespace bam::text::generated
