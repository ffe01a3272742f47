// UTF-8, NFC, digits, and the alphabet of byte-level BPE.
#pragma once
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "../core/error.hpp"

namespace bam::text {

struct CodePoint {
  std::int32_t value;  // -1: an invalid byte
  std::uint32_t size;  // bytes, at least 1
};

// The code point at text[at], which must exist. Overlong forms, surrogates and values above U+10FFFF are invalid bytes.
inline CodePoint decode_at(std::string_view text, std::size_t at) {
  utf8proc_int32_t c = -1;
  auto n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at, static_cast<utf8proc_ssize_t>(text.size() - at), &c);
  return n > 0 ? CodePoint{c, static_cast<std::uint32_t>(n)} : CodePoint{-1, 1};
}

inline void append_utf8(std::string& out, std::int32_t c) {
  utf8proc_uint8_t bytes[4];
  out.append(reinterpret_cast<char*>(bytes), static_cast<std::size_t>(utf8proc_encode_char(c, bytes)));
}

// Each invalid byte becomes U+FFFD: for output that must be text, such as JSON.
inline std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    CodePoint c = decode_at(text, i);
    if (c.value < 0) out += "\xef\xbf\xbd";
    else out.append(text, i, c.size);
    i += c.size;
  }
  return out;
}

// Bytes of text before a character that is cut off at its end: what can be shown while more bytes are to come.
inline std::size_t whole_characters(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    auto c = static_cast<unsigned char>(text[text.size() - back]);
    if ((c & 0xc0) == 0x80) continue;  // one of the bytes behind the first
    std::size_t bytes = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
    return bytes > back ? text.size() - back : text.size();
  }
  return text.size();
}

namespace detail {
// End of the stretch of valid UTF-8 that starts at `at`.
inline std::size_t valid_until(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    CodePoint c = decode_at(text, at);
    if (c.value < 0) break;
    at += c.size;
  }
  return at;
}
}  // namespace detail

// Canonical composition. Stretches of valid UTF-8 are normalised, each on its own; invalid bytes are kept.
inline std::string nfc(std::string_view text) {
  // Text of code points below U+0300 alone (lead bytes below 0xcc) is its own NFC.
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0xcc; })) return std::string(text);
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = detail::valid_until(text, at);
    if (end > at) {
      utf8proc_uint8_t* raw = nullptr;
      auto n = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at, static_cast<utf8proc_ssize_t>(end - at), &raw,
                            static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
      std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(raw, std::free);
      if (n < 0) fail(n == UTF8PROC_ERROR_NOMEM ? ErrorKind::limit : ErrorKind::internal, "unicode.nfc", "nfc: ", std::string_view(utf8proc_errmsg(n)), " on ", end - at, " bytes of text");
      out.append(reinterpret_cast<const char*>(raw), static_cast<std::size_t>(n));
    }
    at = end;
    if (at < text.size()) out += text[at++];
  }
  return out;
}

// General categories Nd, Nl, No.
inline bool is_numeric(std::int32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  auto category = utf8proc_category(c);
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

// Calls f(piece) for each numeric character and each stretch between them; individual = false: for each run of numeric
// characters.
template <class F>
void split_digits(std::string_view text, bool individual, F&& f) {
  std::size_t start = 0;
  auto flush = [&](std::size_t end) {
    if (end > start) f(text.substr(start, end - start));
    start = end;
  };
  bool in_number = false;
  for (std::size_t i = 0; i < text.size();) {
    CodePoint c = static_cast<unsigned char>(text[i]) < 0x80 ? CodePoint{text[i], 1} : decode_at(text, i);
    bool numeric = is_numeric(c.value);
    if (numeric != in_number || (numeric && individual)) flush(i);
    in_number = numeric;
    i += c.size;
  }
  flush(text.size());
}

// Code point of the byte-level alphabet: the visible characters of Latin-1 stand for themselves, the other 68 bytes for
// U+0100 upward in byte order (GPT-2's bytes_to_unicode).
inline const std::array<std::uint16_t, 256>& byte_alphabet() {
  static const auto table = [] {
    std::array<std::uint16_t, 256> t{};
    std::uint16_t next = 256;
    for (std::uint16_t b = 0; b < 256; ++b) {
      bool visible = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
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
    CodePoint c = decode_at(token, i);
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
