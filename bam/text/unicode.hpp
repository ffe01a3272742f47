// UTF-8 decoding, NFC, and the two pre-tokenizers of byte-level BPE as hand-written scanners.
//
// The GPT-2 pattern (Radford et al., 2019), as ordered alternatives:
//   's|'t|'re|'ve|'m|'ll|'d | ?\p{L}+ | ?\p{N}+ | ?[^\s\p{L}\p{N}]+ | \s+(?!\S) | \s+
// A scanner and not a regex library: no limits on match length, no JIT, no second Unicode version, and invalid bytes
// are defined: a byte that starts no valid UTF-8 sequence is one character of the class "other".
//
// Categories come from utf8proc (Unicode 15), with the letters and numbers that Unicode 16 and 17 added in the tables
// below, so that the classes are those of Hugging Face tokenizers 0.23 for every code point.
#pragma once
#include <utf8proc.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "bam/core/error.hpp"

namespace bam::text {

struct CodePoint {
  std::int32_t value;  // -1: an invalid byte
  std::uint32_t size;  // bytes, at least 1
};

// The code point at text[at], which must exist. Overlong forms, surrogates and values above U+10FFFF are invalid.
inline CodePoint decode_at(std::string_view text, std::size_t at) {
  auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[at + i])); };
  const std::size_t left = text.size() - at;
  const std::uint32_t a = byte(0);
  if (a < 0x80) return {static_cast<std::int32_t>(a), 1};
  auto tail = [&](std::size_t i) { return (byte(i) & 0xc0) == 0x80; };
  if (a >= 0xc2 && a < 0xe0 && left >= 2 && tail(1))
    return {static_cast<std::int32_t>((a & 0x1f) << 6 | (byte(1) & 0x3f)), 2};
  if (a >= 0xe0 && a < 0xf0 && left >= 3 && tail(1) && tail(2)) {
    const std::uint32_t c = (a & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f);
    if (c >= 0x800 && (c < 0xd800 || c >= 0xe000)) return {static_cast<std::int32_t>(c), 3};
  }
  if (a >= 0xf0 && a < 0xf5 && left >= 4 && tail(1) && tail(2) && tail(3)) {
    const std::uint32_t c = (a & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f);
    if (c >= 0x10000 && c < 0x110000) return {static_cast<std::int32_t>(c), 4};
  }
  return {-1, 1};
}

inline void append_utf8(std::string& out, std::uint32_t c) {
  auto put = [&](std::uint32_t x) { out += static_cast<char>(static_cast<unsigned char>(x)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6), put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 0x3f)), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  }
}

// Position of the first invalid byte, or npos.
inline std::size_t find_invalid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const CodePoint c = decode_at(text, i);
    if (c.value < 0) return i;
    i += c.size;
  }
  return std::string_view::npos;
}

// Valid UTF-8: each invalid byte becomes U+FFFD. For output that must be text, such as JSON.
inline std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = decode_at(text, i);
    if (c.value < 0) {
      out += "\xef\xbf\xbd";
    } else {
      out.append(text, i, c.size);
    }
    i += c.size;
  }
  return out;
}

enum class CharClass : std::uint8_t { other, letter, number, space };

namespace detail {
struct CodeRange {
  std::int32_t first, last;
};
template <std::size_t N>
bool in_ranges(const CodeRange (&ranges)[N], std::int32_t c) {
  for (const CodeRange& r : ranges)
    if (c >= r.first && c <= r.last) return true;
  return false;
}
inline constexpr CodeRange letters_16[] = {
    {0x1c89, 0x1c8a},   {0xa7cb, 0xa7cd},   {0xa7da, 0xa7dc},   {0x105c0, 0x105f3}, {0x10d4a, 0x10d65},
    {0x10d6f, 0x10d85}, {0x10ec2, 0x10ec4}, {0x11380, 0x11389}, {0x1138b, 0x1138b}, {0x1138e, 0x1138e},
    {0x11390, 0x113b5}, {0x113b7, 0x113b7}, {0x113d1, 0x113d1}, {0x113d3, 0x113d3}, {0x11bc0, 0x11be0},
    {0x13460, 0x143fa}, {0x16100, 0x1611d}, {0x16d40, 0x16d6c}, {0x18cff, 0x18cff}, {0x1e5d0, 0x1e5ed},
    {0x1e5f0, 0x1e5f0}, {0x2ebf0, 0x2ee5d}};
inline constexpr CodeRange numbers_16[] = {{0x10d40, 0x10d49}, {0x116d0, 0x116e3}, {0x11bf0, 0x11bf9}, {0x16130, 0x16139},
                                           {0x16d70, 0x16d79}, {0x1ccf0, 0x1ccf9}, {0x1e5f1, 0x1e5fa}};
// The reference's Digits step follows a newer Unicode than its regex engine does.
inline constexpr CodeRange digits_17[] = {{0x11de0, 0x11de9}, {0x16ff4, 0x16ff6}};

inline CharClass classify(std::int32_t c) {
  if (c < 0) return CharClass::other;
  if ((c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
      c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000)
    return CharClass::space;
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return CharClass::letter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return CharClass::number;
    case UTF8PROC_CATEGORY_CN:
      return in_ranges(letters_16, c) ? CharClass::letter : in_ranges(numbers_16, c) ? CharClass::number : CharClass::other;
    default: return CharClass::other;
  }
}

// The basic plane as a table: text is read twice (digits, pattern) and utf8proc's own look-up is a call.
inline const std::array<CharClass, 0x10000>& class_table() {
  static const auto table = [] {
    auto t = std::make_unique<std::array<CharClass, 0x10000>>();
    for (std::int32_t c = 0; c < 0x10000; ++c) (*t)[static_cast<std::size_t>(c)] = classify(c);
    return t;
  }();
  return *table;
}
}  // namespace detail

// Letter is \p{L}, number \p{N}, space the White_Space property.
inline CharClass char_class(std::int32_t c) {
  return c >= 0 && c < 0x10000 ? detail::class_table()[static_cast<std::size_t>(c)] : detail::classify(c);
}

// The numeric of the Digits pre-tokenizer: general categories Nd, Nl, No.
inline bool is_numeric(std::int32_t c) {
  return char_class(c) == CharClass::number || (c >= 0x11de0 && detail::in_ranges(detail::digits_17, c));
}

namespace detail {
// Appends NFC of valid UTF-8.
inline void append_nfc_valid(std::string& out, std::string_view text) {
  utf8proc_uint8_t* raw = nullptr;
  const auto n = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                              static_cast<utf8proc_ssize_t>(text.size()), &raw,
                              static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(raw, std::free);
  if (n < 0) {
    const ErrorKind kind = n == UTF8PROC_ERROR_NOMEM ? ErrorKind::limit : ErrorKind::internal;
    fail(kind, "unicode.nfc", "nfc: ", std::string_view(utf8proc_errmsg(n)), " on ", text.size(), " bytes of text");
  }
  out.append(reinterpret_cast<const char*>(raw), static_cast<std::size_t>(n));
}
}  // namespace detail

// Canonical composition. Stretches of valid UTF-8 are normalised, each on its own; invalid bytes are kept.
inline std::string nfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  // Code points below U+0300 are starters that NFC leaves alone and that never compose with what precedes them, so
  // the text may be cut before any of them; only a piece with something above needs the library.
  std::size_t start = 0, i = 0;
  while (i < text.size()) {
    const auto a = static_cast<unsigned char>(text[i]);
    if (a < 0x80) {
      ++i;
      continue;
    }
    const CodePoint c = decode_at(text, i);
    if (c.value >= 0 && c.value < 0x300) {
      i += c.size;
      continue;
    }
    // The starter that a mark at i may join is at most one code point back.
    std::size_t cut = i;
    if (c.value >= 0 && cut > start) {
      do --cut;
      while (cut > start && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80);
    }
    out.append(text, start, cut - start);
    std::size_t end = i;
    while (end < text.size()) {
      const CodePoint d = decode_at(text, end);
      if (d.value < 0) break;
      // An ASCII byte after an ASCII byte ends the piece: short gaps of spaces and digits stay inside.
      if (end > i && d.value < 0x80 && end + 1 < text.size() && static_cast<unsigned char>(text[end + 1]) < 0x80) break;
      end += d.size;
    }
    if (end > cut) detail::append_nfc_valid(out, text.substr(cut, end - cut));
    if (end < text.size() && decode_at(text, end).value < 0) out += text[end++];
    start = i = end;
  }
  out.append(text, start, text.size() - start);
  return out;
}

// Length in bytes of the GPT-2 pattern's match at text[at]; some alternative matches anywhere. The text's end is the
// end of the piece: what follows it is not seen by the look-ahead.
inline std::size_t gpt2_match(std::string_view text, std::size_t at) {
  const auto& table = detail::class_table();
  auto class_at = [&](std::size_t i, std::uint32_t& size) {
    const auto a = static_cast<unsigned char>(text[i]);
    if (a < 0x80) {
      size = 1;
      return table[a];
    }
    const CodePoint c = decode_at(text, i);
    size = c.size;
    return char_class(c.value);
  };
  const char first = text[at];
  if (first == '\'' && at + 1 < text.size()) {
    const char b = text[at + 1], c = at + 2 < text.size() ? text[at + 2] : '\0';
    if (b == 's' || b == 't' || b == 'm' || b == 'd') return 2;
    if ((b == 'r' && c == 'e') || (b == 'v' && c == 'e') || (b == 'l' && c == 'l')) return 3;
  }
  std::uint32_t size = 0;
  std::size_t i = at;
  CharClass kind = class_at(i, size);
  if (first == ' ' && at + 1 < text.size()) {
    std::uint32_t next_size = 0;
    const CharClass next = class_at(at + 1, next_size);
    if (next != CharClass::space) {
      kind = next;
      i = at + 1;
      size = next_size;
    }
  }
  std::uint32_t last = size;
  for (i += size; i < text.size(); i += size, last = size)
    if (class_at(i, size) != kind) {
      // A run of spaces before a non-space gives its last one back, unless it is the only one.
      if (kind == CharClass::space && i - last > at) return i - last - at;
      break;
    }
  return i - at;
}

// Calls f(piece) for each match of the GPT-2 pattern, in order.
template <class F>
void split_gpt2(std::string_view text, F&& f) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t n = gpt2_match(text, at);
    f(text.substr(at, n));
    at += n;
  }
}

// Calls f(piece) for each numeric character and each stretch between them; with individual = false, for each run of
// numeric characters.
template <class F>
void split_digits(std::string_view text, bool individual, F&& f) {
  std::size_t start = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto a = static_cast<unsigned char>(text[i]);
    if (a < 0x80 && (a < '0' || a > '9')) {
      ++i;
      continue;
    }
    CodePoint c = decode_at(text, i);
    if (!is_numeric(c.value)) {
      i += c.size;
      continue;
    }
    if (i > start) f(text.substr(start, i - start));
    start = i;
    i += c.size;
    while (!individual && i < text.size() && is_numeric((c = decode_at(text, i)).value)) i += c.size;
    f(text.substr(start, i - start));
    start = i;
  }
  if (start < text.size()) f(text.substr(start));
}

// Code point of the byte-level alphabet: the visible characters of Latin-1 stand for themselves, the other 68 bytes for
// U+0100 upward in byte order (GPT-2's bytes_to_unicode).
inline const std::array<std::uint16_t, 256>& byte_alphabet() {
  static const auto table = [] {
    std::array<std::uint16_t, 256> t{};
    std::uint16_t next = 256;
    for (std::uint16_t b = 0; b < 256; ++b) {
      const bool visible = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      t[b] = visible ? b : next++;
    }
    return t;
  }();
  return table;
}

// The bytes that a string of the alphabet stands for; false when a character is not of the alphabet.
inline bool alphabet_to_bytes(std::string_view token, std::string& out) {
  static const auto inverse = [] {
    std::array<std::int16_t, 324> t{};
    t.fill(-1);
    for (std::size_t b = 0; b < 256; ++b) t[byte_alphabet()[b]] = static_cast<std::int16_t>(b);
    return t;
  }();
  out.clear();
  for (std::size_t i = 0; i < token.size();) {
    const CodePoint c = decode_at(token, i);
    if (c.value < 0 || c.value >= 324 || inverse[static_cast<std::size_t>(c.value)] < 0) return false;
    out += static_cast<char>(static_cast<unsigned char>(inverse[static_cast<std::size_t>(c.value)]));
    i += c.size;
  }
  return true;
}

inline std::string bytes_to_alphabet(std::string_view bytes) {
  std::string out;
  for (char b : bytes) append_utf8(out, byte_alphabet()[static_cast<unsigned char>(b)]);
  return out;
}

}  // namespace bam::text
