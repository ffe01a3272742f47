// ROUGE-N and ROUGE-L (Lin 2004): overlap of n-grams, and the longest common subsequence, as precision, recall and F1.
//
// On ASCII text equal to the rouge_score package without a stemmer, on other scripts with spaces between words to multilingual-rouge (XL-Sum), on scripts without to rouge_score of characters. A word is what text::words says, after NFC
// and lower case: runs of letters, marks and numbers where a script sets spaces, single characters for Han, kana, Thai, Lao, Khmer and Myanmar.
#pragma once
#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "../text/characters.hpp"

namespace bam {

struct Rouge {
  double precision = 0, recall = 0, f1 = 0;
};

using RougeTokens = std::vector<std::u32string>;

inline RougeTokens rouge_tokens(std::string_view text) { return text::words(text::lower(text::code_points(text::nfc(text)))); }

namespace detail {
inline Rouge rouge_of(std::size_t hits, std::size_t predicted, std::size_t wanted) {
  Rouge r;
  if (predicted == 0 || wanted == 0) return r;
  r.precision = static_cast<double>(hits) / static_cast<double>(predicted);
  r.recall = static_cast<double>(hits) / static_cast<double>(wanted);
  if (hits > 0) r.f1 = 2 * r.precision * r.recall / (r.precision + r.recall);
  return r;
}
}  // namespace detail

// Tokens as numbers, equal where the tokens are.
class RougeIds {
 public:
  std::vector<std::int32_t> operator()(const RougeTokens& tokens) {
    std::vector<std::int32_t> ids;
    for (auto& t : tokens) ids.push_back(ids_.try_emplace(t, static_cast<std::int32_t>(ids_.size())).first->second);
    return ids;
  }

 private:
  std::map<std::u32string, std::int32_t> ids_;
};

inline Rouge rouge_n(const RougeTokens& prediction, const RougeTokens& reference, std::size_t n) {
  check(n >= 1, "rouge.order", "rouge: wanted n of at least 1, got ", n);
  RougeIds number;
  auto grams = [&](const RougeTokens& tokens) {
    auto ids = number(tokens);
    std::vector<std::vector<std::int32_t>> g;
    for (std::size_t i = 0; i + n <= ids.size(); ++i) g.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(i), ids.begin() + static_cast<std::ptrdiff_t>(i + n));
    std::sort(g.begin(), g.end());
    return g;
  };
  auto p = grams(prediction), r = grams(reference);
  std::size_t hits = 0;  // of the multisets
  for (std::size_t i = 0, j = 0; i < p.size() && j < r.size();) {
    if (p[i] == r[j]) ++hits, ++i, ++j;
    else if (p[i] < r[j]) ++i;
    else ++j;
  }
  return detail::rouge_of(hits, p.size(), r.size());
}

// Length of the longest common subsequence: two rows of the table, O(|a| |b|) time.
inline std::size_t longest_common_subsequence(const std::vector<std::int32_t>& a, const std::vector<std::int32_t>& b) {
  std::vector<std::size_t> above(b.size() + 1, 0), row(b.size() + 1, 0);
  for (std::int32_t x : a) {
    for (std::size_t j = 0; j < b.size(); ++j) row[j + 1] = x == b[j] ? above[j] + 1 : std::max(above[j + 1], row[j]);
    std::swap(above, row);
  }
  return above.back();
}

inline Rouge rouge_l(const RougeTokens& prediction, const RougeTokens& reference) {
  RougeIds number;
  auto p = number(prediction), r = number(reference);
  return detail::rouge_of(longest_common_subsequence(p, r), p.size(), r.size());
}

inline Rouge rouge_n(std::string_view prediction, std::string_view reference, std::size_t n) { return rouge_n(rouge_tokens(prediction), rouge_tokens(reference), n); }
inline Rouge rouge_l(std::string_view prediction, std::string_view reference) { return rouge_l(rouge_tokens(prediction), rouge_tokens(reference)); }

}  // namespace bam
