// chrF (Popovic 2015) and chrF++ (word_order = 2): F-beta of character n-grams and word n-grams, 0 to 100; equal to sacrebleu's CHRF.
//
// Precision and recall are averaged over the orders that both sides have, then combined; whitespace counts in no character n-gram. A segment
// takes its best reference; a corpus sums the counts of its segments.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "../text/characters.hpp"

namespace bam {

struct ChrfOptions {
  std::size_t char_order = 6, word_order = 0;  // word_order = 2: chrF++
  double beta = 2;
};

struct ChrfCounts {
  std::int64_t predicted = 0, wanted = 0, matched = 0;
};
using ChrfStatistics = std::vector<ChrfCounts>;  // one an order, characters first

namespace detail {

using NgramCounts = std::unordered_map<std::u32string, std::int64_t>;

// Words as sacrebleu parts them: one ASCII punctuation mark off the end, else off the front.
inline std::vector<std::u32string> chrf_words(std::u32string_view points) {
  auto mark = [](char32_t c) { return c < 0x80 && (text::is_punctuation(c) || std::u32string_view(U"$+<=>^`|~").find(c) != std::u32string_view::npos); };
  std::vector<std::u32string> out;
  for (std::size_t i = 0; i < points.size();) {
    if (text::is_space(points[i])) {
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < points.size() && !text::is_space(points[end])) ++end;
    std::u32string_view w = points.substr(i, end - i);
    i = end;
    if (w.size() > 1 && mark(w.back())) {
      out.emplace_back(w.substr(0, w.size() - 1));
      out.emplace_back(1, w.back());
    } else if (w.size() > 1 && mark(w.front())) {
      out.emplace_back(1, w.front());
      out.emplace_back(w.substr(1));
    } else {
      out.emplace_back(w);
    }
  }
  return out;
}

inline std::vector<NgramCounts> chrf_ngrams(std::string_view text, const ChrfOptions& o) {
  std::u32string points = text::code_points(text), solid;
  for (char32_t c : points)
    if (!text::is_space(c)) solid += c;
  std::vector<NgramCounts> counts(o.char_order + o.word_order);
  for (std::size_t n = 1; n <= o.char_order; ++n)
    for (std::size_t i = 0; i + n <= solid.size(); ++i) ++counts[n - 1][solid.substr(i, n)];
  if (o.word_order == 0) return counts;
  auto w = chrf_words(points);
  for (std::size_t n = 1; n <= o.word_order; ++n)
    for (std::size_t i = 0; i + n <= w.size(); ++i) {
      std::u32string gram = w[i];
      for (std::size_t k = 1; k < n; ++k) (gram += U' ') += w[i + k];  // no word holds a space
      ++counts[o.char_order + n - 1][gram];
    }
  return counts;
}

inline ChrfStatistics chrf_matches(const std::vector<NgramCounts>& prediction, const std::vector<NgramCounts>& reference) {
  ChrfStatistics s(prediction.size());
  for (std::size_t n = 0; n < s.size(); ++n) {
    for (auto& [gram, count] : reference[n]) s[n].wanted += count;
    for (auto& [gram, count] : prediction[n]) {
      if (!reference[n].empty()) s[n].predicted += count;
      if (auto at = reference[n].find(gram); at != reference[n].end()) s[n].matched += std::min(count, at->second);
    }
  }
  return s;
}

}  // namespace detail

inline double chrf_score(const ChrfStatistics& statistics, double beta = 2) {
  double precision = 0, recall = 0, orders = 0;
  for (auto& c : statistics)
    if (c.predicted > 0 && c.wanted > 0) {
      precision += static_cast<double>(c.matched) / static_cast<double>(c.predicted);
      recall += static_cast<double>(c.matched) / static_cast<double>(c.wanted);
      ++orders;
    }
  if (!(precision + recall > 0)) return 0;
  precision /= orders;
  recall /= orders;
  return 100 * (1 + beta * beta) * precision * recall / (beta * beta * precision + recall);
}

// Counts against the best of the references, the first of equals.
inline ChrfStatistics chrf_statistics(std::string_view prediction, const std::vector<std::string>& references, const ChrfOptions& options = {}) {
  check(!references.empty(), "chrf.references", "chrf: wanted a reference, got none");
  check(options.char_order + options.word_order >= 1 && options.beta > 0, "chrf.options", "chrf: orders ", options.char_order, " and ", options.word_order, ", beta ", options.beta);
  auto grams = detail::chrf_ngrams(prediction, options);
  ChrfStatistics best;
  double score = -1;
  for (auto& reference : references) {
    auto s = detail::chrf_matches(grams, detail::chrf_ngrams(reference, options));
    if (double f = chrf_score(s, options.beta); f > score) {
      score = f;
      best = std::move(s);
    }
  }
  return best;
}

inline double sentence_chrf(std::string_view prediction, const std::vector<std::string>& references, const ChrfOptions& options = {}) {
  return chrf_score(chrf_statistics(prediction, references, options), options.beta);
}

// Sum of counts, order by order: of a whole corpus, or of a resample of its segments.
inline void add(ChrfStatistics& sum, const ChrfStatistics& s) {
  sum.resize(std::max(sum.size(), s.size()));
  for (std::size_t n = 0; n < s.size(); ++n) {
    sum[n].predicted += s[n].predicted;
    sum[n].wanted += s[n].wanted;
    sum[n].matched += s[n].matched;
  }
}

// references[i]: those of predictions[i].
inline double corpus_chrf(const std::vector<std::string>& predictions, const std::vector<std::vector<std::string>>& references, const ChrfOptions& options = {}) {
  check(predictions.size() == references.size(), "chrf.size", "chrf: ", predictions.size(), " predictions, ", references.size(), " lists of references");
  ChrfStatistics sum;
  for (std::size_t i = 0; i < predictions.size(); ++i) add(sum, chrf_statistics(predictions[i], references[i], options));
  return chrf_score(sum, options.beta);
}

}  // namespace bam
