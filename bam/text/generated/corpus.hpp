// Four domains of text made from nothing but a seed, each with the exact probability of what it says: programs whose asserts
// hold, arithmetic with right answers, statutes whose references resolve, stories that keep track of things. The same text
// everywhere, and as much of it as is wanted.
#pragma once
#include "../../io/hash.hpp"
#include "code.hpp"
#include "general.hpp"
#include "law.hpp"
#include "math.hpp"

namespace bam::text {

enum class Domain { general, code, law, math };
inline constexpr Domain domains[] = {Domain::general, Domain::code, Domain::law, Domain::math};
inline constexpr const char* domain_names[] = {"general", "code", "law", "math"};
inline const char* domain_name(Domain d) { return domain_names[static_cast<int>(d)]; }

struct GeneratedDocument {
  std::string text;
  double nats;  // -log of its probability: what a perfect model of the domain would pay
};
// Of a completion, up to the end of its sentence (of its line, in code).
struct Check {
  bool parses;  // it goes on in the language, with a value of the right kind
  bool right;   // and the value is right: it computes, resolves, or names who is meant
};

namespace generated {

inline void write(Domain domain, Derivation& d) {
  switch (domain) {
    case Domain::general: GeneralDocument(d).write(); break;
    case Domain::code: CodeDocument(d).write(); break;
    case Domain::law: LawDocument(d).write(); break;
    case Domain::math: MathDocument(d).write(); break;
  }
  d.finish();
}

// Up to and with the end of the sentence; nothing if it has none.
inline std::string_view first_sentence(Domain domain, std::string_view text) {
  if (domain == Domain::code) return text.substr(0, text.find('\n') + 1);
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] == '\n' || (text[i] == '.' && (i + 1 == text.size() || text[i + 1] < '0' || text[i + 1] > '9'))) return text.substr(0, i + 1);
  return {};
}

}  // namespace generated

// Document i of a domain: a function of (seed, domain, i).
inline GeneratedDocument generate_document(Domain domain, std::uint64_t seed, std::uint64_t index) {
  Philox4 key = philox(seed, static_cast<std::uint32_t>(domain), 1, index);
  generated::Derivation d(Random(static_cast<std::uint64_t>(key.v[0]) << 32 | key.v[1], key.v[2]));
  generated::write(domain, d);
  double nats = d.nats();
  return {d.take(), nats};
}

// -log of the probability of a text; nothing if it is not of the language.
inline std::optional<double> derivation_nats(Domain domain, std::string_view text) {
  generated::Derivation d(text);
  try {
    generated::write(domain, d);
  } catch (const generated::Mismatch&) {
    return std::nullopt;
  }
  return d.nats();
}

// The text up to a place, in its later half, where what follows can be worked out or checked: the value of an assert, the
// result of a step, a section, who is meant. No blank is left at the end.
inline std::string prompt_of(Domain domain, std::string_view text) {
  generated::Derivation d(text);
  try {
    generated::write(domain, d);
  } catch (const generated::Mismatch&) {
    fail(ErrorKind::usage, "generated.text", domain_name(domain), ": not a text of the language: '", printable(text, 60), "'");
  }
  const std::vector<std::size_t>& marks = d.marks();
  std::size_t at = marks[marks.size() - 1 - XXH3_64bits(text.data(), text.size()) % ((marks.size() + 1) / 2)];
  return std::string(text.substr(0, at > 0 && text[at - 1] == ' ' ? at - 1 : at));
}

inline Check check_completion(Domain domain, std::string_view prompt, std::string_view completion) {
  std::string_view sentence = generated::first_sentence(domain, completion);
  if (sentence.empty()) return {false, false};
  generated::Derivation d(str(prompt, sentence), prompt.size());
  try {
    generated::write(domain, d);
  } catch (const generated::Mismatch&) {
    return {false, false};
  } catch (const generated::TextEnded&) {
  }
  return {d.size() == prompt.size() + sentence.size(), d.right()};
}

}  // namespace bam::text
