// The pre-tokenizer of GPT-2 (Radford et al., 2019) by PCRE2:
//   's|'t|'re|'ve|'m|'ll|'d | ?\p{L}+ | ?\p{N}+ | ?[^\s\p{L}\p{N}]+ | \s+(?!\S) | \s+
// with \s spelled out as the White_Space property (PCRE2's own adds U+180E) and possessive repeats, which match the same.
#pragma once
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <memory>
#include <string>
#include <string_view>

#include "../core/error.hpp"

namespace bam::text {

// One thread at a time.
class Gpt2Pattern {
 public:
  Gpt2Pattern() : code_(nullptr, pcre2_code_free), match_(nullptr, pcre2_match_data_free) {
    const std::string s = R"(\x09-\x0d\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
    const std::string pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}++| ?\p{N}++| ?[^)" + s + R"(\p{L}\p{N}]++|[)" + s + "]+(?![^" + s + "])|[" + s + "]+";
    int error = 0;
    std::size_t at = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &error, &at, nullptr));
    if (code_) match_.reset(pcre2_match_data_create(1, nullptr));
    if (!match_) fail(ErrorKind::internal, "pattern.compile", "pattern: PCRE2 refused it at ", at, " with error ", error);
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // without it matching is slower and the same
  }
  // Calls f(piece) for each match, in order; bytes that are no UTF-8, which nothing matches, are pieces too.
  template <class F>
  void split(std::string_view text, F&& f) const {
    std::size_t at = 0;
    while (at < text.size()) {
      int n = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, 0, match_.get(), nullptr);
      if (n == PCRE2_ERROR_NOMATCH) break;
      if (n < 0) fail(ErrorKind::limit, "pattern.match", "pattern: PCRE2 gave up with error ", n, " at byte ", at, " of ", text.size());
      const std::size_t* range = pcre2_get_ovector_pointer(match_.get());
      if (range[0] > at) f(text.substr(at, range[0] - at));
      f(text.substr(range[0], range[1] - range[0]));
      at = range[1];
    }
    if (at < text.size()) f(text.substr(at));
  }

 private:
  std::unique_ptr<pcre2_code, void (*)(pcre2_code*)> code_;
  std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> match_;
};

}  // namespace bam::text
