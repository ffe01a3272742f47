// Code points, their classes and scripts, and words: what scores of text in any language count.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "unicode.hpp"

namespace bam::text {

// Code points of a text; an invalid byte b is 0xDC00 + b (Python's surrogateescape), so that different bytes stay different.
inline std::u32string code_points(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    CodePoint c = decode_at(text, i);
    out += c.value >= 0 ? static_cast<char32_t>(c.value) : static_cast<char32_t>(0xDC00 + static_cast<unsigned char>(text[i]));
    i += c.size;
  }
  return out;
}

// The inverse of code_points, invalid bytes included.
inline std::string utf8(std::u32string_view points) {
  std::string out;
  for (char32_t c : points)
    if (c >= 0xDC80 && c <= 0xDCFF) out += static_cast<char>(c - 0xDC00);
    else append_utf8(out, static_cast<std::int32_t>(c));
  return out;
}

inline utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

inline bool is_letter(char32_t c) {
  auto k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}
inline bool is_mark(char32_t c) {
  auto k = category(c);
  return k >= UTF8PROC_CATEGORY_MN && k <= UTF8PROC_CATEGORY_ME;
}
inline bool is_punctuation(char32_t c) {
  auto k = category(c);
  return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}
inline bool is_format(char32_t c) { return category(c) == UTF8PROC_CATEGORY_CF; }  // joiners, direction marks, soft hyphen
inline bool is_numeric(char32_t c) { return is_numeric(static_cast<std::int32_t>(c)); }
inline bool is_upper(char32_t c) {
  auto k = category(c);
  return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LT;
}
inline bool is_lower(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LL; }
inline char32_t lower(char32_t c) { return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))); }

// Python's str.isspace, which public scores split at.
inline bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

inline std::u32string lower(std::u32string_view points) {
  std::u32string out(points);
  for (char32_t& c : out) c = lower(c);
  return out;
}

inline std::u32string_view strip(std::u32string_view s) {
  while (!s.empty() && is_space(s.front())) s.remove_prefix(1);
  while (!s.empty() && is_space(s.back())) s.remove_suffix(1);
  return s;
}

// Value 0 to 9 of a decimal digit of any script (general category Nd), else -1. Such digits come in runs of ten from zero
// (Unicode Standard, section 4.6), a few runs next to each other.
inline int digit_value(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9' ? static_cast<int>(c - '0') : -1;
  if (category(c) != UTF8PROC_CATEGORY_ND) return -1;
  char32_t first = c;
  while (category(first - 1) == UTF8PROC_CATEGORY_ND) --first;
  return static_cast<int>((c - first) % 10);
}

enum class Script : unsigned char {
  other, latin, greek, cyrillic, armenian, hebrew, arabic, devanagari, bengali, gurmukhi, gujarati, oriya, tamil, telugu, kannada, malayalam,
  sinhala, thai, lao, tibetan, myanmar, georgian, hangul, ethiopic, khmer, hiragana, katakana, han
};
inline constexpr std::size_t script_count = 28;

inline const char* name_of(Script s) {
  static constexpr const char* names[script_count] = {"other",     "Latin",  "Greek",   "Cyrillic",  "Armenian", "Hebrew", "Arabic", "Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Oriya",    "Tamil", "Telugu",
                                                      "Kannada",   "Malayalam", "Sinhala", "Thai",   "Lao",      "Tibetan", "Myanmar", "Georgian",   "Hangul",  "Ethiopic", "Khmer",    "Hiragana", "Katakana", "Han"};
  return names[static_cast<std::size_t>(s)];
}

// Script of a letter or mark, by the blocks of Unicode 15; `other` for what no block here holds, and for what all scripts share.
inline Script script_of(char32_t c) {
  struct Block {
    char32_t first, last;
    Script script;
  };
  using enum Script;
  static constexpr Block blocks[] = {
      {0x41, 0x5a, latin},         {0x61, 0x7a, latin},          {0xaa, 0xaa, latin},        {0xba, 0xba, latin},        {0xc0, 0xd6, latin},          {0xd8, 0xf6, latin},          {0xf8, 0x2af, latin},
      {0x370, 0x3e1, greek},       {0x3f0, 0x3ff, greek},        {0x400, 0x52f, cyrillic},   {0x531, 0x58f, armenian},   {0x591, 0x5f4, hebrew},       {0x600, 0x6ff, arabic},       {0x750, 0x77f, arabic},
      {0x870, 0x8ff, arabic},      {0x900, 0x963, devanagari},   {0x966, 0x97f, devanagari}, {0x980, 0x9fe, bengali},    {0xa00, 0xa7f, gurmukhi},     {0xa80, 0xaff, gujarati},     {0xb00, 0xb7f, oriya},
      {0xb80, 0xbff, tamil},       {0xc00, 0xc7f, telugu},       {0xc80, 0xcff, kannada},    {0xd00, 0xd7f, malayalam},  {0xd80, 0xdff, sinhala},      {0xe00, 0xe7f, thai},         {0xe80, 0xeff, lao},
      {0xf00, 0xfff, tibetan},     {0x1000, 0x109f, myanmar},    {0x10a0, 0x10ff, georgian}, {0x1100, 0x11ff, hangul},   {0x1200, 0x139f, ethiopic},   {0x1780, 0x17ff, khmer},      {0x1c80, 0x1c8f, cyrillic},
      {0x1c90, 0x1cbf, georgian},  {0x1d00, 0x1d25, latin},      {0x1d2b, 0x1d2b, cyrillic}, {0x1d2c, 0x1d5c, latin},    {0x1d62, 0x1d65, latin},      {0x1d6b, 0x1d77, latin},      {0x1d79, 0x1dbe, latin},
      {0x1e00, 0x1eff, latin},     {0x1f00, 0x1fff, greek},      {0x2071, 0x2071, latin},    {0x207f, 0x207f, latin},    {0x2090, 0x209c, latin},      {0x2c60, 0x2c7f, latin},      {0x2d00, 0x2d2d, georgian},
      {0x2d80, 0x2ddf, ethiopic},  {0x2de0, 0x2dff, cyrillic},   {0x2e80, 0x2fd5, han},      {0x3005, 0x3007, han},      {0x3021, 0x3029, han},        {0x3041, 0x3096, hiragana},   {0x309d, 0x309f, hiragana},
      {0x30a1, 0x30fa, katakana},  {0x30fc, 0x30ff, katakana},   {0x3131, 0x318e, hangul},   {0x31f0, 0x31ff, katakana}, {0x3400, 0x4dbf, han},        {0x4e00, 0x9fff, han},        {0xa640, 0xa69f, cyrillic},
      {0xa722, 0xa787, latin},     {0xa78b, 0xa7ff, latin},      {0xa8e0, 0xa8ff, devanagari}, {0xa960, 0xa97f, hangul}, {0xa9e0, 0xa9fe, myanmar},    {0xaa60, 0xaa7f, myanmar},    {0xab30, 0xab64, latin},
      {0xac00, 0xd7fb, hangul},    {0xf900, 0xfad9, han},        {0xfb00, 0xfb06, latin},    {0xfb13, 0xfb17, armenian}, {0xfb1d, 0xfb4f, hebrew},     {0xfb50, 0xfdff, arabic},     {0xfe70, 0xfefc, arabic},
      {0xff21, 0xff3a, latin},     {0xff41, 0xff5a, latin},      {0xff66, 0xff9d, katakana}, {0xffa0, 0xffdc, hangul},   {0x1b000, 0x1b16f, katakana}, {0x20000, 0x323af, han},
  };
  auto at = std::upper_bound(std::begin(blocks), std::end(blocks), c, [](char32_t x, const Block& b) { return x < b.first; });
  return at != std::begin(blocks) && c <= at[-1].last ? at[-1].script : other;
}

// Scripts written without spaces between words.
inline bool is_unsegmented(Script s) {
  return s == Script::han || s == Script::hiragana || s == Script::katakana || s == Script::thai || s == Script::lao || s == Script::khmer || s == Script::myanmar;
}

// Words of a text. Where a script sets spaces, a word is a longest run of letters, marks and numbers (\w+ without the underscore; marks
// belong to it, else Devanagari would fall apart). Han, kana, Thai, Lao, Khmer and Myanmar: each letter with its marks is one word; Hangul goes by spaces. Format
// characters (joiners, direction marks) neither part words nor stay in them. Everything else parts words.
inline std::vector<std::u32string> words(std::u32string_view points) {
  std::vector<std::u32string> out;
  enum { between, in_single, in_run } state = between;
  for (char32_t c : points) {
    if (is_format(c)) continue;
    if (is_mark(c) && state != between) {
      out.back() += c;
    } else if (is_letter(c) && is_unsegmented(script_of(c))) {
      out.emplace_back(1, c);
      state = in_single;
    } else if (is_letter(c) || is_mark(c) || is_numeric(c)) {
      if (state == in_run) out.back() += c;
      else out.emplace_back(1, c);
      state = in_run;
    } else {
      state = between;
    }
  }
  return out;
}

}  // namespace bam::text
