// Exact match: the last number of a text against a gold number (the score of MGSM, MSVAMP and GSM8K), and texts after normalisation.
//
// Numbers are compared as decimal strings, so nothing is rounded. Read: digits of every script, full-width forms, signs (also U+2212),
// groups of three ("1,234" "1.234" "1 234" "1'234", with any of the usual spaces) and Indian groups ("12,34,567"), decimal points, commas and
// U+066B. Whatever stands around a number (currency, percent, markup) is passed over. Not read: numerals of words or Han characters, exponents, fractions ("3/4" is 3, then 4).
#pragma once
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../text/characters.hpp"

namespace bam {

// One mark with three digits behind it, "1.234" or "1,234", is a group in one language and a fraction in another.
struct NumberReading {
  std::string value;               // shortest decimal form: "-1234.5", "0"
  std::optional<std::string> also;  // the reading as a fraction, where the number can be read both ways
};

namespace detail {

struct DigitGroup {
  std::string digits;
  char32_t separator = 0;  // between the group before and this one
};

inline std::string decimal_form(bool negative, std::string whole, std::string fraction) {
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size()));
  fraction.erase(fraction.find_last_not_of('0') + 1);
  if (whole.empty()) whole = "0";
  if (!fraction.empty()) whole += "." + fraction;
  return negative && whole != "0" ? "-" + whole : whole;
}

// 0, or the mark that a separator stands for: '.', ',', a space, an apostrophe, U+066B, U+066C.
inline char32_t number_separator(char32_t c) {
  switch (c) {
    case '.': case 0xff0e: return '.';
    case ',': case 0xff0c: return ',';
    case ' ': case 0xa0: case 0x2009: case 0x202f: case 0x2007: return ' ';
    case '\'': case 0x2019: case 0xff07: return '\'';
    case 0x66b: case 0x66c: return c;
    default: return 0;
  }
}

// The number that starts at groups[at]; moves `at` behind it.
inline NumberReading read_number(const std::vector<DigitGroup>& groups, std::size_t& at, bool negative) {
  const std::size_t first = at;
  std::string whole = groups[at++].digits;
  auto separator = [&](std::size_t i) { return i < groups.size() ? groups[i].separator : char32_t{0}; };
  auto length = [&](std::size_t i) { return groups[i].digits.size(); };
  const char32_t mark = separator(at);
  std::size_t end = at;  // behind the groups of this number
  if (mark && mark != 0x66b && whole.size() <= 3) {
    while (separator(end) == mark && length(end) == 3) ++end;
    // Indian: pairs, then three.
    std::size_t pairs = at;
    while (separator(pairs) == mark && length(pairs) == 2) ++pairs;
    if (mark == ',' && pairs > at && separator(pairs) == mark && length(pairs) == 3 && whole.size() <= 2) end = pairs + 1;
    // A list of unequal parts, "1,234,5", is no number of groups.
    if (mark != ' ' && separator(end) == mark) end = at;
  }
  const bool one_mark = end == at + 1 && (mark == '.' || mark == ',');
  for (; at < end; ++at) whole += groups[at].digits;
  if (end == first + 1 && mark && mark != ' ' && separator(at + 1) == mark) {  // a list or a date, "1,2,3", "12.10.2023": its last part
    negative = false;
    while (separator(at) == mark) whole = groups[at++].digits;
  }
  std::string fraction;
  const char32_t point = separator(at);
  if ((point == '.' || point == ',' || point == 0x66b) && (at == first + 1 || point != mark) && separator(at + 1) != point) fraction = groups[at++].digits;
  NumberReading reading{decimal_form(negative, whole, fraction), std::nullopt};
  if (one_mark && fraction.empty()) {
    const std::string& before = groups[first].digits;
    std::string as_fraction = decimal_form(negative, before, groups[first + 1].digits);
    if (before.front() == '0') reading.value = as_fraction;  // 0.125 has no groups
    else reading.also = as_fraction;
  }
  return reading;
}

}  // namespace detail

// The last number of a text, nothing where there is none.
inline std::optional<NumberReading> last_number(std::string_view text) {
  std::u32string points;
  for (char32_t c : text::code_points(text))
    if (!text::is_format(c)) points += c;  // direction marks stand between a sign and its digits
  auto is_number = [&](std::size_t i) { return i < points.size() && text::digit_value(points[i]) >= 0; };
  // The last stretch of digits and single separators.
  std::size_t end = points.size();
  while (end > 0 && !is_number(end - 1)) --end;
  if (end == 0) return std::nullopt;
  std::size_t begin = end - 1;
  while (begin > 0 && (is_number(begin - 1) || (begin > 1 && detail::number_separator(points[begin - 1]) && is_number(begin - 2)))) --begin;
  std::vector<detail::DigitGroup> groups(1);
  for (std::size_t i = begin; i < end; ++i)
    if (is_number(i)) groups.back().digits += static_cast<char>('0' + text::digit_value(points[i]));
    else groups.push_back({"", detail::number_separator(points[i])});

  auto word = [&](char32_t c) { return text::is_letter(c) || text::digit_value(c) >= 0; };
  std::size_t before = begin;
  bool bare_fraction = before > 0 && points[before - 1] == '.' && (before == 1 || (!word(points[before - 2]) && points[before - 2] != '.'));
  if (bare_fraction) {  // ".5"
    groups.front().separator = '.';
    groups.insert(groups.begin(), {"0", 0});
    --before;
  }
  // A sign is no sign behind a number, a letter or a bracket ("5-3", "x-3"), nor with a space behind it ("- 5 apples"); a currency may stand between.
  if (before > 0 && text::category(points[before - 1]) == UTF8PROC_CATEGORY_SC) --before;
  bool negative = false;
  if (before > 0) {
    char32_t sign = points[before - 1];
    bool operand = before > 1 && (word(points[before - 2]) || text::is_mark(points[before - 2]) || points[before - 2] == ')' || points[before - 2] == ']' || points[before - 2] == '%');
    negative = (sign == '-' || sign == 0x2212 || sign == 0xff0d || sign == 0xfe63) && !operand;
  }
  NumberReading reading;
  for (std::size_t at = 0; at < groups.size(); negative = false) reading = detail::read_number(groups, at, negative);
  return reading;
}

// A gold number as data sets write it ("1234", "1,234", "-2.50"): a point in it is a decimal point, commas are groups. Nothing where there is none.
inline std::optional<std::string> gold_number(std::string_view gold) {
  std::string plain;
  for (char c : gold)
    if (c != ',') plain += c;
  auto wanted = last_number(plain);
  if (!wanted) return std::nullopt;
  return wanted->also ? *wanted->also : wanted->value;
}

// Whether the last number of a text is the gold number, in one of its readings.
inline bool number_match(std::string_view text, std::string_view gold) {
  auto found = last_number(text);
  auto g = gold_number(gold);
  if (!g) fail(ErrorKind::input, "exact_match.gold", "exact match: wanted a gold number, got \"", printable(gold, 60), "\"");
  return found && (found->value == *g || (found->also && *found->also == *g));
}

// NFKC with case folding, punctuation out (as SQuAD's exact match does; articles stay, they belong to one language), one space between words.
inline std::string normalize_answer(std::string_view text, bool keep_punctuation = false) {
  std::string valid = text::replace_invalid_utf8(text);
  utf8proc_uint8_t* raw = nullptr;
  auto n = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(valid.data()), static_cast<utf8proc_ssize_t>(valid.size()), &raw,
                        static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE | UTF8PROC_STABLE));
  std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(raw, std::free);
  if (n < 0) fail(n == UTF8PROC_ERROR_NOMEM ? ErrorKind::limit : ErrorKind::internal, "exact_match.normalize", "exact match: ", std::string_view(utf8proc_errmsg(n)), " on ", valid.size(), " bytes");
  std::u32string out;
  for (char32_t c : text::code_points({reinterpret_cast<const char*>(raw), static_cast<std::size_t>(n)})) {
    if (text::is_space(c)) {
      if (!out.empty() && out.back() != ' ') out += U' ';
    } else if (keep_punctuation || !text::is_punctuation(c)) {
      out += c;
    }
  }
  return text::utf8(text::strip(out));
}

// Equal after normalisation. A gold answer of punctuation alone is compared with its punctuation.
inline bool exact_match(std::string_view text, std::string_view gold) {
  std::string wanted = normalize_answer(gold);
  return wanted.empty() ? normalize_answer(text, true) == normalize_answer(gold, true) : normalize_answer(text) == wanted;
}

}  // namespace bam
