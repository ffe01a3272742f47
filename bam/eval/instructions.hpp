// Checks of instructions that a program can verify (IFEval, Zhou et al. 2023; M-IFEval for Spanish and French): counts, keywords, case, format, language.
//
// A check is a kind with parameters, read from JSON in our form or in that of IFEval's data. Counting follows Unicode: words are those of text::words, digits,
// commas and sentence ends those of every script. Where the public checkers use regular expressions on ASCII, this keeps their meaning, not their accidents:
// a keyword is literal text, a row of dashes is no bullet, an underscore is no word.
#pragma once
#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../io/json.hpp"
#include "language_id.hpp"

namespace bam {

enum class Relation { at_least, at_most, less_than, exactly };

enum class CheckKind {
  words, sentences, paragraphs, bullets, highlights, sections, placeholders,  // how many: n
  nth_paragraph_start,  // n paragraphs (0: any number), the nth starts with words[0]
  keywords, forbidden_words, keyword_count, letter_count, words_with_letters, capital_words, forbidden_characters,
  starts_with, ends_with, contains_one_of, repeats_prompt, postscript, quotation, title, two_responses, json,
  upper_case, lower_case, no_commas, no_digits, no_accents, accents, question, exclamation, informal_address, language
};

struct InstructionCheck {
  CheckKind kind{};
  Relation relation = Relation::at_least;
  std::int64_t n = 0, nth = 0;
  std::vector<std::string> words;  // keywords, a phrase, a divider, the two marks of a title; accents: plain and accented in turn
  std::string lang;                // of the answer, where the kind asks for one
};

namespace detail {

struct CheckName {
  const char* name;  // ours
  CheckKind kind;
  Relation relation;
  const char* ifeval;  // without the language in front; nullptr: ours alone
  const char* relation_key;
  const char* n_key;
  const char* words_key;
};

inline constexpr CheckName check_names[] = {
    {"words", CheckKind::words, Relation::at_least, "length_constraints:number_words", "relation", "num_words", nullptr},
    {"sentences", CheckKind::sentences, Relation::at_least, "length_constraints:number_sentences", "relation", "num_sentences", nullptr},
    {"paragraphs", CheckKind::paragraphs, Relation::exactly, "length_constraints:number_paragraphs", nullptr, "num_paragraphs", nullptr},
    {"nth_paragraph_start", CheckKind::nth_paragraph_start, Relation::exactly, "length_constraints:nth_paragraph_first_word", nullptr, "num_paragraphs", "first_word"},
    {"bullets", CheckKind::bullets, Relation::exactly, "detectable_format:number_bullet_lists", nullptr, "num_bullets", nullptr},
    {"highlights", CheckKind::highlights, Relation::at_least, "detectable_format:number_highlighted_sections", "relation", "num_highlights", nullptr},
    {"sections", CheckKind::sections, Relation::at_least, "detectable_format:multiple_sections", "relation", "num_sections", "section_spliter"},
    {"placeholders", CheckKind::placeholders, Relation::at_least, "detectable_content:number_placeholders", "relation", "num_placeholders", nullptr},
    {"keywords", CheckKind::keywords, Relation::at_least, "keywords:existence", nullptr, nullptr, "keywords"},
    {"forbidden_words", CheckKind::forbidden_words, Relation::at_least, "keywords:forbidden_words", nullptr, nullptr, "forbidden_words"},
    {"keyword_count", CheckKind::keyword_count, Relation::at_least, "keywords:frequency", "relation", "frequency", "keyword"},
    {"letter_count", CheckKind::letter_count, Relation::at_least, "keywords:letter_frequency", "let_relation", "let_frequency", "letter"},
    {"words_with_letters", CheckKind::words_with_letters, Relation::exactly, "special_character:enie", nullptr, "let_frequency", nullptr},
    {"words_with_letters", CheckKind::words_with_letters, Relation::exactly, "special_character:dieresis", nullptr, "let_frequency", nullptr},
    {"words_with_letters", CheckKind::words_with_letters, Relation::at_least, "special_character:tildes", "relation", "num_words", nullptr},
    {"capital_words", CheckKind::capital_words, Relation::at_least, "change_case:capital_word_frequency", "capital_relation", "capital_frequency", nullptr},
    {"forbidden_characters", CheckKind::forbidden_characters, Relation::at_least, "special_character:ethel_or_cedilla", nullptr, nullptr, "forbidden_char"},
    {"starts_with", CheckKind::starts_with, Relation::at_least, nullptr, nullptr, nullptr, nullptr},
    {"ends_with", CheckKind::ends_with, Relation::at_least, "startend:end_checker", nullptr, nullptr, "end_phrase"},
    {"contains_one_of", CheckKind::contains_one_of, Relation::at_least, "detectable_format:constrained_response", nullptr, nullptr, nullptr},
    {"repeats_prompt", CheckKind::repeats_prompt, Relation::at_least, "combination:repeat_prompt", nullptr, nullptr, "prompt_to_repeat"},
    {"postscript", CheckKind::postscript, Relation::at_least, "detectable_content:postscript", nullptr, nullptr, "postscript_marker"},
    {"quotation", CheckKind::quotation, Relation::at_least, "startend:quotation", nullptr, nullptr, nullptr},
    {"title", CheckKind::title, Relation::at_least, "detectable_format:title", nullptr, nullptr, nullptr},
    {"two_responses", CheckKind::two_responses, Relation::at_least, "combination:two_responses", nullptr, nullptr, nullptr},
    {"json", CheckKind::json, Relation::at_least, "detectable_format:json_format", nullptr, nullptr, nullptr},
    {"upper_case", CheckKind::upper_case, Relation::at_least, "change_case:english_capital", nullptr, nullptr, nullptr},
    {"upper_case", CheckKind::upper_case, Relation::at_least, "change_case:spanish_capital", nullptr, nullptr, nullptr},
    {"upper_case", CheckKind::upper_case, Relation::at_least, "change_case:french_capital", nullptr, nullptr, nullptr},
    {"lower_case", CheckKind::lower_case, Relation::at_least, "change_case:english_lowercase", nullptr, nullptr, nullptr},
    {"lower_case", CheckKind::lower_case, Relation::at_least, "change_case:spanish_lowercase", nullptr, nullptr, nullptr},
    {"lower_case", CheckKind::lower_case, Relation::at_least, "change_case:french_lowercase", nullptr, nullptr, nullptr},
    {"no_commas", CheckKind::no_commas, Relation::at_least, "punctuation:no_comma", nullptr, nullptr, nullptr},
    {"no_digits", CheckKind::no_digits, Relation::at_least, "detectable_content:no_digits", nullptr, nullptr, nullptr},
    {"no_accents", CheckKind::no_accents, Relation::at_least, "special_character:no_accents", nullptr, nullptr, nullptr},
    {"accents", CheckKind::accents, Relation::at_least, "special_character:accents", nullptr, nullptr, "word_to_accentuate"},
    {"question", CheckKind::question, Relation::at_least, "punctuation:question_marks", nullptr, nullptr, nullptr},
    {"exclamation", CheckKind::exclamation, Relation::at_least, "punctuation:exclamation_marks", nullptr, nullptr, nullptr},
    {"informal_address", CheckKind::informal_address, Relation::at_least, "detectable_content:informal_address", nullptr, nullptr, nullptr},
    {"language", CheckKind::language, Relation::at_least, "language:response_language", nullptr, nullptr, nullptr},
};

inline Relation read_relation(const io::Json& j, std::string_view where) {
  std::string_view r = j.as_string(where);
  if (r == "at least" || r == "al menos" || r == "au moins") return Relation::at_least;
  if (r == "at most" || r == "como máximo" || r == "au plus") return Relation::at_most;
  if (r == "less than" || r == "menos de" || r == "moins de") return Relation::less_than;
  if (r == "exactly") return Relation::exactly;
  fail(ErrorKind::input, "instruction.relation", where, ": wanted at least, at most, less than or exactly, got \"", printable(r, 40), "\"");
}

inline bool holds(Relation r, std::int64_t count, std::int64_t n) {
  switch (r) {
    case Relation::at_least: return count >= n;
    case Relation::at_most: return count <= n;
    case Relation::less_than: return count < n;
    case Relation::exactly: return count == n;
  }
  return false;
}

using Points = std::u32string;
using PointsView = std::u32string_view;

inline bool is_word_point(char32_t c) { return text::is_letter(c) || text::is_mark(c) || text::is_numeric(c) || c == '_'; }
inline bool is_sentence_end(char32_t c) {
  return c == '.' || c == '!' || c == '?' || c == 0x2026 || c == 0x203c || c == 0x2047 || c == 0x2048 || c == 0x2049 || c == 0x3002 || c == 0xff01 || c == 0xff0e || c == 0xff1f || c == 0xff61 || c == 0x61f ||
         c == 0x6d4 || c == 0x964 || c == 0x965 || c == 0x1362 || c == 0x1367 || c == 0x104b || c == 0x17d4 || c == 0x17d5 || c == 0x589;
}

inline std::vector<PointsView> split(PointsView s, PointsView divider) {
  std::vector<PointsView> parts;
  for (;;) {
    std::size_t at = s.find(divider);
    parts.push_back(s.substr(0, at));
    if (at == PointsView::npos) return parts;
    s.remove_prefix(at + divider.size());
  }
}

inline bool blank(PointsView s) { return text::strip(s).empty(); }

// Occurrences, none inside another; whole: not inside a longer word, where the script has spaces between words.
inline std::int64_t occurrences(PointsView s, PointsView part, bool whole) {
  if (part.empty()) return 0;
  auto joined = [](char32_t a, char32_t b) { return is_word_point(a) && is_word_point(b) && !text::is_unsegmented(text::script_of(a)) && !text::is_unsegmented(text::script_of(b)); };
  std::int64_t n = 0;
  for (std::size_t at = 0; (at = s.find(part, at)) != PointsView::npos;) {
    std::size_t end = at + part.size();
    if (whole && ((at > 0 && joined(s[at - 1], s[at])) || (end < s.size() && joined(s[end - 1], s[end])))) {
      ++at;
      continue;
    }
    ++n;
    at = end;
  }
  return n;
}

// Stretches between two equal rows of `stars` asterisks on one line with something in between.
inline std::int64_t highlights(PointsView s, std::size_t stars) {
  std::int64_t n = 0;
  const Points mark(stars, U'*');
  for (std::size_t at = 0; (at = s.find(mark, at)) != PointsView::npos;) {
    std::size_t end = s.find_first_of(U"*\n", at + stars);
    if (end == PointsView::npos || s.substr(end, stars) != mark) {
      ++at;
      continue;
    }
    n += !blank(s.substr(at + stars, end - at - stars));
    at = end + stars;
  }
  return n;
}

// Ends at a mark of any script. A full stop ends none inside a number, an address or an initial, behind a common title, or before a small letter; a
// line break alone ends none.
inline std::int64_t sentences(PointsView s) {
  static constexpr PointsView titles[] = {U"mr", U"mrs", U"ms", U"dr", U"st", U"prof", U"vs", U"etc", U"e.g", U"i.e", U"sr", U"sra", U"m", U"mme", U"no", U"p.ej"};
  std::int64_t n = 0;
  bool content = false;
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (!is_sentence_end(s[i])) {
      content = content || text::is_letter(s[i]) || text::is_numeric(s[i]);
      continue;
    }
    bool stop = s[i] == '.' || s[i] == 0x2026;
    std::size_t start = i;
    while (start > 0 && (text::is_letter(s[start - 1]) || s[start - 1] == '.')) --start;
    Points word = text::lower(s.substr(start, i - start));
    std::size_t end = i + 1;
    while (end < s.size() && (is_sentence_end(s[end]) || s[end] == ')' || s[end] == ']' || s[end] == '"' || s[end] == '\'' || s[end] == '*' || text::category(s[end]) == UTF8PROC_CATEGORY_PF ||
                              text::category(s[end]) == UTF8PROC_CATEGORY_PE))
      ++end;
    std::size_t next = end;
    while (next < s.size() && text::is_space(s[next])) ++next;
    bool ends = content;
    if (stop && end < s.size()) {
      bool number = next < s.size() && start == i && i > 0 && text::is_numeric(s[i - 1]) && (i < 2 || s[i - 2] == '\n' || (text::is_numeric(s[i - 2]) && (i < 3 || s[i - 3] == '\n')));  // "1." of a list
      if (next == end || number) ends = false;
      else if (next < s.size() && text::is_lower(s[next])) ends = false;
      else if (word.size() == 1 || std::find(std::begin(titles), std::end(titles), word) != std::end(titles)) ends = next == s.size();
    }
    if (ends) {
      ++n;
      content = false;
    }
    i = end - 1;
  }
  return n + content;
}

inline const std::pair<char32_t, char32_t>* quotation_marks() {
  static constexpr std::pair<char32_t, char32_t> marks[] = {{'"', '"'}, {0x201c, 0x201d}, {0x201e, 0x201c}, {0x201e, 0x201d}, {0xab, 0xbb}, {0xbb, 0xab}, {0x300c, 0x300d}, {0x300e, 0x300f}, {0xff02, 0xff02}, {0, 0}};
  return marks;
}

// Text without the marks of its canonical decomposition, and whether there was one.
inline Points without_accents(PointsView s, bool* any = nullptr) {
  Points out;
  for (char32_t c : s) {
    utf8proc_int32_t parts[8];
    int last = 0;
    auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, 8, UTF8PROC_DECOMPOSE, &last);
    for (utf8proc_ssize_t i = 0; i < n && i < 8; ++i)
      if (text::category(static_cast<char32_t>(parts[i])) != UTF8PROC_CATEGORY_MN) out += static_cast<char32_t>(parts[i]);
      else if (any) *any = true;
  }
  return out;
}

// A language that a script belongs to alone (among those of the data sets).
inline text::Script own_script(std::string_view lang) {
  using enum text::Script;
  static constexpr std::pair<std::string_view, text::Script> table[] = {{"ko", hangul}, {"th", thai}, {"el", greek}, {"he", hebrew}, {"ka", georgian}, {"hy", armenian}, {"km", khmer}, {"lo", lao}, {"ta", tamil},
                                                                       {"te", telugu}, {"kn", kannada}, {"ml", malayalam}, {"gu", gujarati}, {"pa", gurmukhi}, {"or", oriya}, {"si", sinhala}, {"my", myanmar}, {"bo", tibetan}, {"bn", bengali}, {"am", ethiopic}};
  for (auto& [l, s] : table)
    if (l == lang) return s;
  return other;
}

// Whether a text is in a language: by the identifier where it knows it, else by a script of its own; nothing where neither can tell.
inline std::optional<bool> in_language(std::string_view text, std::string_view lang, const LanguageIdentifier* identifier) {
  if (identifier && identifier->knows(lang)) {
    LanguageGuess guess = identifier->identify(text);
    if (!guess.lang.empty()) return guess.lang == lang;
  }
  text::Script script = own_script(lang);
  ScriptShares shares = script_shares(text);
  if (script == text::Script::other || shares.letters == 0) return std::nullopt;
  return shares.largest == script;
}

inline void refuse_empty_words(const InstructionCheck& check, std::string_view where) {
  if (std::find(check.words.begin(), check.words.end(), "") != check.words.end()) fail(ErrorKind::input, "instruction.words", where, ": one of the words of the check is empty");
}
}  // namespace detail

// {"kind": "words", "relation": "at least", "n": 300, "words": [...], "nth": 2, "lang": "fr"}; what a kind has no use for may be absent.
inline InstructionCheck read_check(const io::Json& j, std::string_view where) {
  InstructionCheck check;
  std::string_view kind = j.at("kind", where).as_string(where);
  auto* known = std::find_if(std::begin(detail::check_names), std::end(detail::check_names), [&](auto& c) { return c.name == kind; });
  if (known == std::end(detail::check_names)) fail(ErrorKind::input, "instruction.kind", where, ": no instruction check is called \"", printable(kind, 60), "\"");
  check.kind = known->kind;
  check.relation = known->relation;
  if (auto* v = j.find("relation")) check.relation = detail::read_relation(*v, where);
  if (auto* v = j.find("n")) check.n = v->as_int(where, 0);
  if (auto* v = j.find("nth")) check.nth = v->as_int(where, 1);
  if (auto* v = j.find("lang")) check.lang = v->as_string(where);
  if (auto* v = j.find("words"))
    for (auto& w : v->items(where)) check.words.emplace_back(w.as_string(where));
  detail::refuse_empty_words(check, where);
  using enum CheckKind;
  bool needs_words = check.kind == nth_paragraph_start || check.kind == sections || check.kind == keywords || check.kind == forbidden_words || check.kind == keyword_count || check.kind == letter_count ||
                     check.kind == words_with_letters || check.kind == forbidden_characters || check.kind == starts_with || check.kind == ends_with || check.kind == contains_one_of || check.kind == repeats_prompt ||
                     check.kind == postscript || check.kind == accents;
  if (needs_words && check.words.empty()) fail(ErrorKind::input, "instruction.words", where, ": the check \"", kind, "\" needs \"words\"");
  if (check.kind == nth_paragraph_start && check.nth < 1) fail(ErrorKind::input, "instruction.nth", where, ": the check \"", kind, "\" needs \"nth\"");
  if (check.kind == language && check.lang.empty()) fail(ErrorKind::input, "instruction.lang", where, ": the check \"language\" needs \"lang\"");
  if (check.kind == accents && check.words.size() % 2) fail(ErrorKind::input, "instruction.words", where, ": the check \"accents\" needs pairs of words");
  if (check.kind == title && check.words.size() != 2) {
    if (!check.words.empty()) fail(ErrorKind::input, "instruction.words", where, ": the check \"title\" needs its two marks, or none");
    check.words = {"<<", ">>"};
  }
  return check;
}

// One entry of IFEval's data: id as "en:keywords:existence" or "keywords:existence", with its kwargs.
inline InstructionCheck read_ifeval_check(std::string_view id, const io::Json& kwargs, std::string_view where) {
  std::string lang = "en";
  std::string_view name = id;
  if (id.size() > 3 && id[2] == ':') {
    lang = id.substr(0, 2);
    name.remove_prefix(3);
  }
  auto* known = std::find_if(std::begin(detail::check_names), std::end(detail::check_names), [&](auto& c) { return c.ifeval && c.ifeval == name; });
  if (known == std::end(detail::check_names)) fail(ErrorKind::input, "instruction.kind", where, ": the instruction \"", printable(id, 80), "\" has no check here");
  InstructionCheck check;
  check.kind = known->kind;
  check.relation = known->relation;
  if (known->relation_key)
    if (auto* v = kwargs.find(known->relation_key); v && !v->is_null()) check.relation = detail::read_relation(*v, where);
  if (known->n_key) check.n = kwargs.at(known->n_key, where).as_int(where, 0);
  if (known->words_key) {
    const io::Json& w = kwargs.at(known->words_key, where);
    if (w.is_array()) {
      for (auto& x : w.items(where)) check.words.emplace_back(x.as_string(where));
    } else if (w.is_object()) {
      for (auto [plain, accented] : w.members(where)) {
        check.words.emplace_back(plain);
        check.words.emplace_back(accented.as_string(where));
      }
    } else {
      check.words.emplace_back(w.as_string(where));
    }
    detail::refuse_empty_words(check, where);
  }
  switch (check.kind) {
    case CheckKind::nth_paragraph_start: check.nth = kwargs.at("nth_paragraph", where).as_int(where, 1); break;
    case CheckKind::paragraphs: check.words = {"***"}; break;
    case CheckKind::title:
      if (lang == "fr") check.words = {"##", "##"};
      else check.words = {"<<", ">>"};
      break;
    case CheckKind::words_with_letters: check.words = {name.ends_with("enie") ? "ñ" : name.ends_with("dieresis") ? "ü" : "áéíóú"}; break;
    case CheckKind::contains_one_of:
      if (lang == "es") check.words = {"Sí.", "No.", "Quizás."};
      else if (lang == "fr") check.words = {"Oui.", "Non.", "Peut-être."};
      else check.words = {"My answer is yes.", "My answer is no.", "My answer is maybe."};
      break;
    case CheckKind::upper_case: case CheckKind::lower_case: check.lang = name.find("spanish") != name.npos ? "es" : name.find("french") != name.npos ? "fr" : "en"; break;
    case CheckKind::language: check.lang = kwargs.at("language", where).as_string(where); break;
    case CheckKind::question: case CheckKind::exclamation: case CheckKind::ends_with: case CheckKind::quotation: case CheckKind::capital_words: check.lang = lang; break;
    default: break;
  }
  return check;
}

// The checks of one line of a data file: "checks" in our form, or "instruction_id_list" with "kwargs".
inline std::vector<InstructionCheck> read_checks(const io::Json& line, std::string_view where) {
  std::vector<InstructionCheck> checks;
  if (auto* own = line.find("checks")) {
    for (auto& j : own->items(where)) checks.push_back(read_check(j, where));
    return checks;
  }
  auto ids = line.at("instruction_id_list", where).items(where), kwargs = line.at("kwargs", where).items(where);
  if (ids.size() != kwargs.size()) fail(ErrorKind::input, "instruction.kwargs", where, ": ", ids.size(), " instructions, ", kwargs.size(), " kwargs");
  for (std::size_t i = 0; i < ids.size(); ++i) checks.push_back(read_ifeval_check(ids[i].as_string(where), kwargs[i], where));
  return checks;
}

// Whether an answer follows one instruction; nothing where that cannot be told (a language that identifier does not know and no script decides).
// A blank answer follows none.
inline std::optional<bool> follows(std::string_view answer, const InstructionCheck& check, const LanguageIdentifier* identifier = nullptr) {
  using namespace detail;
  const Points s = text::code_points(text::nfc(answer)), low = text::lower(s);
  if (blank(s)) return false;
  auto points = [](std::string_view w) { return text::code_points(text::nfc(w)); };
  auto lower_points = [&](std::string_view w) { return text::lower(points(w)); };
  auto count = [&](std::int64_t n) { return holds(check.relation, n, check.n); };
  auto word = [&](std::size_t i) { return i < check.words.size() ? check.words[i] : std::string(); };
  switch (check.kind) {
    case CheckKind::words: return count(static_cast<std::int64_t>(text::words(s).size()));
    case CheckKind::sentences: return count(sentences(s));
    case CheckKind::paragraphs: {
      // Between dividers, or between blank lines where there is none named.
      std::int64_t n = 0;
      if (check.words.empty()) {
        bool inside = false;
        for (PointsView line : split(s, U"\n")) {
          n += !blank(line) && !inside;
          inside = !blank(line);
        }
        return count(n);
      }
      auto parts = split(s, points(word(0)));
      for (std::size_t i = 0; i < parts.size(); ++i) {
        if (blank(parts[i]) && i > 0 && i + 1 < parts.size()) return false;
        n += !blank(parts[i]);
      }
      return count(n);
    }
    case CheckKind::nth_paragraph_start: {
      auto parts = split(low, U"\n\n");
      std::int64_t n = 0;
      for (PointsView p : parts) n += !blank(p);
      if ((check.n > 0 && n != check.n) || check.nth > n) return false;
      PointsView p = text::strip(parts[static_cast<std::size_t>(check.nth - 1)]);
      while (!p.empty() && (p[0] == '"' || p[0] == '\'' || text::category(p[0]) == UTF8PROC_CATEGORY_PI || text::category(p[0]) == UTF8PROC_CATEGORY_PS)) p.remove_prefix(1);
      Points first = lower_points(word(0));
      return p.starts_with(first) && occurrences(p.substr(0, first.size() + 1), first, true) == 1;
    }
    case CheckKind::bullets: {
      std::int64_t n = 0;
      for (PointsView line : split(s, U"\n")) {
        line = text::strip(line);
        n += (line.size() > 1 && line[0] == '*' && line[1] != '*') || (!line.empty() && line[0] == '-' && line.find_first_not_of(U'-') != PointsView::npos);
      }
      return count(n);
    }
    case CheckKind::highlights: return count(highlights(s, 1) + highlights(s, 2));
    case CheckKind::sections: {
      std::int64_t n = 0;
      Points mark = points(word(0));
      for (std::size_t at = 0; !mark.empty() && (at = s.find(mark, at)) != Points::npos;) {
        at += mark.size();
        std::size_t digit = at < s.size() && text::is_space(s[at]) ? at + 1 : at;
        n += digit < s.size() && text::digit_value(s[digit]) >= 0;
      }
      return count(n);
    }
    case CheckKind::placeholders: {
      std::int64_t n = 0;
      for (std::size_t at = 0; (at = s.find('[', at)) != Points::npos;) {
        std::size_t end = s.find_first_of(U"]\n", at);
        if (end == Points::npos) break;
        n += s[end] == ']';
        at = end;
      }
      return count(n);
    }
    // As in IFEval a keyword may stand inside a longer word ("mom" in "moment"), a forbidden word may not.
    case CheckKind::keywords: return std::all_of(check.words.begin(), check.words.end(), [&](auto& w) { return occurrences(low, lower_points(w), false) > 0; });
    case CheckKind::forbidden_words: return std::none_of(check.words.begin(), check.words.end(), [&](auto& w) { return occurrences(low, lower_points(w), true) > 0; });
    case CheckKind::keyword_count: case CheckKind::letter_count: return count(occurrences(low, lower_points(word(0)), false));
    case CheckKind::words_with_letters: {
      Points letters = lower_points(word(0));
      auto all = text::words(low);
      return count(std::count_if(all.begin(), all.end(), [&](auto& w) { return w.find_first_of(letters) != Points::npos; }));
    }
    case CheckKind::capital_words: {
      std::int64_t n = 0;
      auto joins = [&](char32_t c) { return c == '-' || (check.lang == "fr" && (c == '\'' || c == 0x2019)); };
      for (std::size_t i = 0; i < s.size();) {  // a word with hyphens is one, and so is a French one with its article: "L'été" has no capital word, nor has "l'ÉTÉ"
        bool upper = false, lower = false;
        std::size_t end = i;
        for (; end < s.size() && (is_word_point(s[end]) || (end > i && joins(s[end]) && end + 1 < s.size() && is_word_point(s[end + 1]))); ++end) {
          upper = upper || text::is_upper(s[end]);
          lower = lower || text::is_lower(s[end]);
        }
        n += upper && !lower;
        i = std::max(end, i + 1);
      }
      return count(n);
    }
    case CheckKind::forbidden_characters: return std::none_of(check.words.begin(), check.words.end(), [&](auto& w) { return low.find_first_of(lower_points(w)) != Points::npos; });
    case CheckKind::starts_with: case CheckKind::repeats_prompt: return text::strip(low).starts_with(text::strip(lower_points(word(0))));
    case CheckKind::ends_with: {
      PointsView end = text::strip(low);
      while (!end.empty() && end.front() == '"') end.remove_prefix(1);
      while (!end.empty() && end.back() == '"') end.remove_suffix(1);
      Points phrase(text::strip(lower_points(word(0))));
      if (end.ends_with(phrase)) return true;
      return check.lang == "es" && end.ends_with('.') && end.substr(0, end.size() - 1).ends_with(phrase);
    }
    case CheckKind::contains_one_of: return std::any_of(check.words.begin(), check.words.end(), [&](auto& w) { return s.find(points(w)) != Points::npos; });
    case CheckKind::postscript: {
      // "P. S." is "P.S.": one space behind a stop may stand or not.
      auto packed = [](PointsView x) {
        Points out;
        for (std::size_t i = 0; i < x.size(); ++i)
          if (!(text::is_space(x[i]) && i > 0 && x[i - 1] == '.')) out += x[i];
        return out;
      };
      return occurrences(packed(low), packed(lower_points(word(0))), false) > 0;
    }
    case CheckKind::quotation: {
      PointsView q = text::strip(s);
      if (q.size() < 2) return false;
      for (auto* m = quotation_marks(); m->first; ++m)
        if (q.front() == m->first && q.back() == m->second) return true;
      return check.lang == "fr" && q.front() == '\'' && q.back() == '\'';
    }
    case CheckKind::title: {
      Points open = points(word(0)), close = points(word(1));
      for (PointsView line : split(s, U"\n")) {
        std::size_t at = line.find(open), end = line.rfind(close);
        if (at == PointsView::npos || end == PointsView::npos || end < at + open.size()) continue;
        PointsView inside = line.substr(at + open.size(), end - at - open.size());
        while (!inside.empty() && inside.front() == open.front()) inside.remove_prefix(1);
        while (!inside.empty() && inside.back() == close.back()) inside.remove_suffix(1);
        if (!blank(inside)) return true;
      }
      return false;
    }
    case CheckKind::two_responses: {
      auto parts = split(s, U"******");
      std::vector<PointsView> full;
      for (std::size_t i = 0; i < parts.size(); ++i)
        if (!blank(parts[i])) full.push_back(text::strip(parts[i]));
        else if (i > 0 && i + 1 < parts.size()) return false;
      return full.size() == 2 && full[0] != full[1];
    }
    case CheckKind::json: {
      PointsView j = text::strip(s);
      if (j.starts_with(U"```")) j.remove_prefix(text::lower(j.substr(0, 7)) == U"```json" ? 7 : 3);
      if (j.ends_with(U"```")) j.remove_suffix(3);
      try {
        io::parse_json(text::utf8(text::strip(j)), "answer");
        return true;
      } catch (const Error&) {
        return false;
      }
    }
    case CheckKind::upper_case: case CheckKind::lower_case: {
      bool upper = std::any_of(s.begin(), s.end(), [](char32_t c) { return text::is_upper(c); }), lower = std::any_of(s.begin(), s.end(), [](char32_t c) { return text::is_lower(c); });
      bool cased = check.kind == CheckKind::upper_case ? upper && !lower : lower && !upper;
      if (!cased || check.lang.empty() || !identifier) return cased;
      return in_language(answer, check.lang, identifier);
    }
    case CheckKind::no_commas: return s.find_first_of(U",\u060c\u3001\uff0c\ufe50\uff64\u1363\u055d") == Points::npos;
    case CheckKind::no_digits: return std::none_of(s.begin(), s.end(), [](char32_t c) { return text::digit_value(c) >= 0; });
    case CheckKind::no_accents: {
      bool any = false;
      without_accents(s, &any);
      return !any;
    }
    case CheckKind::accents: {
      for (auto& w : text::words(low))
        for (std::size_t i = 0; i + 1 < check.words.size(); i += 2)
          if (without_accents(w) == lower_points(check.words[i]) && w != lower_points(check.words[i + 1])) return false;
      return true;
    }
    case CheckKind::question: case CheckKind::exclamation: {
      bool q = check.kind == CheckKind::question;
      PointsView close = q ? U"?\uff1f\u061f\u037e\u1367" : U"!\uff01";
      if (check.lang != "es") return s.find_first_of(close) != Points::npos;
      for (std::size_t at = 0; (at = s.find(q ? U'\u00bf' : U'\u00a1', at)) != Points::npos; ++at) {
        std::size_t end = s.find(q ? U'?' : U'!', at);
        if (end != Points::npos && !blank(PointsView(s).substr(at + 1, end - at - 1))) return true;
      }
      return false;
    }
    case CheckKind::informal_address: {  // French
      for (PointsView w : {PointsView(U"tu"), PointsView(U"te"), PointsView(U"toi"), PointsView(U"ton"), PointsView(U"ta"), PointsView(U"tes"), PointsView(U"t'"), PointsView(U"t\u2019"), PointsView(U"tien"),
                           PointsView(U"tienne")})
        if (occurrences(low, w, w.back() != '\'' && w.back() != 0x2019) > 0) {
          if (w.size() > 2 || (w.back() != '\'' && w.back() != 0x2019)) return true;
          for (std::size_t at = 0; (at = low.find(w, at)) != Points::npos; ++at)
            if (at == 0 || !is_word_point(low[at - 1])) return true;
        }
      return false;
    }
    case CheckKind::language: return in_language(answer, check.lang, identifier);
  }
  fail(ErrorKind::internal, "instruction.kind", "instructions: a kind without a check");
}

// The loose form of IFEval: followed when the answer, or it without its first line, its last or both, each with and without asterisks, follows.
inline std::optional<bool> follows_loosely(std::string_view answer, const InstructionCheck& check, const LanguageIdentifier* identifier = nullptr) {
  std::size_t first = answer.find('\n'), last = answer.rfind('\n');
  std::string_view tail = first == answer.npos ? std::string_view() : answer.substr(first + 1), head = last == answer.npos ? std::string_view() : answer.substr(0, last);
  std::string_view middle = first == answer.npos || last <= first ? std::string_view() : answer.substr(first + 1, last - first - 1);
  std::optional<bool> result = false;
  for (std::string_view variant : {answer, tail, head, middle}) {
    std::string plain;
    for (char c : variant)
      if (c != '*') plain += c;
    for (std::string_view v : {variant, std::string_view(plain)}) {
      auto f = follows(v, check, identifier);
      if (f && *f) return true;
      if (!f) result = std::nullopt;
    }
  }
  return result;
}

// Shares of prompts with all instructions followed, and of single instructions. What cannot be told is counted apart, its prompt too.
struct InstructionAccuracy {
  std::int64_t prompts = 0, prompts_followed = 0, checks = 0, checks_followed = 0, undecided = 0;
  double of_prompts() const { return prompts ? static_cast<double>(prompts_followed) / static_cast<double>(prompts) : 0; }
  double of_checks() const { return checks ? static_cast<double>(checks_followed) / static_cast<double>(checks) : 0; }

  void add(std::string_view answer, const std::vector<InstructionCheck>& list, bool loose = false, const LanguageIdentifier* identifier = nullptr) {
    bool all = true, told = true;
    for (auto& c : list) {
      auto f = loose ? follows_loosely(answer, c, identifier) : follows(answer, c, identifier);
      told = told && f.has_value();
      all = all && f.value_or(false);
      undecided += !f.has_value();
      checks += f.has_value();
      checks_followed += f.value_or(false);
    }
    prompts += told;
    prompts_followed += told && all;
  }
};

}  // namespace bam
