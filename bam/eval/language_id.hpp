// Language of a text: naive Bayes over the scripts of its letters and over character trigrams (Cavnar and Trenkle 1994; Dunning 1994), trained at run time from
// given texts. No tables of languages are shipped. Scripts tell Chinese from Japanese, whose Han letters have others among them, where trigrams are new to both.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/math.hpp"
#include "../text/characters.hpp"

namespace bam {

struct ScriptShares {
  std::int64_t letters = 0;
  std::array<double, text::script_count> share{};  // of letters, by text::Script
  text::Script largest = text::Script::other;      // the first of equals
  double of(text::Script s) const { return share[static_cast<std::size_t>(s)]; }
};

inline ScriptShares script_shares(std::string_view text) {
  ScriptShares r;
  std::array<std::int64_t, text::script_count> count{};
  for (char32_t c : text::code_points(text))
    if (text::is_letter(c)) {
      ++count[static_cast<std::size_t>(text::script_of(c))];
      ++r.letters;
    }
  for (std::size_t s = 0; s < count.size() && r.letters; ++s) {
    r.share[s] = static_cast<double>(count[s]) / static_cast<double>(r.letters);
    if (count[s] > count[static_cast<std::size_t>(r.largest)]) r.largest = static_cast<text::Script>(s);
  }
  return r;
}

struct LanguageGuess {
  std::string lang;                // "": training saw no trigram of the text, and scripts alone do not tell (1 nat)
  double log_odds = 0;             // of the best over the next, in nats; infinite with one language
  std::int64_t trigrams = 0;       // that training saw
};

class LanguageIdentifier {
 public:
  // texts[lang]: any number of texts. Every language is as likely as any other, however much text it has.
  static LanguageIdentifier train(const std::map<std::string, std::vector<std::string>>& texts) {
    check(!texts.empty(), "language_id.train", "language id: wanted texts of at least one language, got none");
    LanguageIdentifier id;
    std::vector<std::pair<std::uint64_t, std::uint32_t>> seen;  // trigram, language
    for (auto& [lang, list] : texts) {
      auto l = static_cast<std::uint32_t>(id.languages_.size());
      id.languages_.push_back(lang);
      std::size_t before = seen.size();
      std::array<double, text::script_count> letters{};
      for (auto& text : list) {
        for (std::uint64_t g : trigrams(text)) seen.push_back({g, l});
        add_letters(letters, script_shares(text));
      }
      for (double all = std::accumulate(letters.begin(), letters.end(), 0.0); double& n : letters) n /= std::max(all, 1.0);
      id.scripts_.push_back(letters);
      if (seen.size() == before) fail(ErrorKind::input, "language_id.empty", "language id: the texts of ", printable(lang, 40), " have no letter");
      id.total_.push_back(static_cast<double>(seen.size() - before));
    }
    std::sort(seen.begin(), seen.end());
    for (std::size_t i = 0; i < seen.size();) {
      std::size_t end = i;
      while (end < seen.size() && seen[end] == seen[i]) ++end;
      if (id.keys_.empty() || id.keys_.back() != seen[i].first) {
        id.keys_.push_back(seen[i].first);
        id.first_.push_back(id.entries_.size());
      }
      id.entries_.push_back({seen[i].second, static_cast<double>(end - i) / id.total_[seen[i].second]});
      i = end;
    }
    id.first_.push_back(id.entries_.size());
    return id;
  }

  const std::vector<std::string>& languages() const { return languages_; }
  bool knows(std::string_view lang) const { return std::find(languages_.begin(), languages_.end(), lang) != languages_.end(); }

  // Log-likelihoods by language (up to a constant), in nats, in the order of languages(): of the letters' scripts and of the trigrams. p(trigram | language) is its relative
  // frequency, mixed with the mean over languages, so that a trigram new to one costs it the same whatever its amount of text; one new to all of them counts nothing.
  std::vector<double> log_likelihoods(std::string_view text, std::int64_t* counted = nullptr) const {
    std::vector<double> sum(languages_.size(), 0), p(languages_.size());
    for (std::uint64_t g : trigrams(text)) {
      auto at = std::lower_bound(keys_.begin(), keys_.end(), g);
      if (at == keys_.end() || *at != g) continue;
      auto k = static_cast<std::size_t>(at - keys_.begin());
      double mean = 0;
      for (std::size_t e = first_[k]; e < first_[k + 1]; ++e) mean += entries_[e].frequency / static_cast<double>(languages_.size());
      std::fill(p.begin(), p.end(), mixed * mean);
      for (std::size_t e = first_[k]; e < first_[k + 1]; ++e) p[entries_[e].language] += (1 - mixed) * entries_[e].frequency;
      for (std::size_t l = 0; l < p.size(); ++l) sum[l] += math::log(p[l]);
      if (counted) ++*counted;
    }
    std::array<double, text::script_count> letters{};
    add_letters(letters, script_shares(text));
    for (std::size_t i = 0; i < letters.size(); ++i)
      for (std::size_t l = 0; letters[i] > 0 && l < sum.size(); ++l) sum[l] += letters[i] * math::log((1 - mixed_scripts) * scripts_[l][i] + mixed_scripts / text::script_count);
    return sum;
  }

  LanguageGuess identify(std::string_view text) const {
    LanguageGuess guess;
    auto sum = log_likelihoods(text, &guess.trigrams);
    const ScriptShares s = script_shares(text);
    if (guess.trigrams == 0 && s.letters == 0) return guess;
    const auto best = static_cast<std::size_t>(std::max_element(sum.begin(), sum.end()) - sum.begin());
    guess.log_odds = std::numeric_limits<double>::infinity();
    for (std::size_t l = 0; l < sum.size(); ++l)
      if (l != best) guess.log_odds = std::min(guess.log_odds, sum[best] - sum[l]);
    if (guess.trigrams > 0 || (guess.log_odds > 1 && scripts_[best][static_cast<std::size_t>(s.largest)] > 0)) guess.lang = languages_[best];
    return guess;
  }

 private:
  static constexpr double mixed = 0.02, mixed_scripts = 0.001;
  struct Entry {
    std::uint32_t language;
    double frequency;
  };
  std::vector<std::string> languages_;
  std::vector<double> total_;
  std::vector<std::array<double, text::script_count>> scripts_;  // their shares of a language's letters
  std::vector<std::uint64_t> keys_;  // sorted; entries of keys_[k]: first_[k] to first_[k + 1]
  std::vector<std::size_t> first_;
  std::vector<Entry> entries_;

  // Latin letters within other writing are names and quotations, and tell nothing.
  static void add_letters(std::array<double, text::script_count>& letters, const ScriptShares& s) {
    for (std::size_t i = 0; i < letters.size(); ++i)
      if (static_cast<text::Script>(i) != text::Script::latin || s.largest == text::Script::latin) letters[i] += s.share[i] * static_cast<double>(s.letters);
  }

  // Of the letters and marks in lower case after NFC; each stretch of anything else is one space, and so are both ends.
  static std::vector<std::uint64_t> trigrams(std::string_view text) {
    std::vector<std::uint64_t> out;
    std::u32string s(1, U' ');
    for (char32_t c : text::code_points(text::nfc(text))) {
      if (text::is_format(c)) continue;
      if (text::is_letter(c) || text::is_mark(c)) s += text::lower(c);
      else if (s.back() != ' ') s += U' ';
    }
    if (s.back() != ' ') s += U' ';
    for (std::size_t i = 2; i < s.size(); ++i) out.push_back(static_cast<std::uint64_t>(s[i - 2]) << 42 | static_cast<std::uint64_t>(s[i - 1]) << 21 | static_cast<std::uint64_t>(s[i]));
    return out;
  }
};

// How many texts are in the wanted language; a text without letters is in none.
struct LanguageConsistency {
  std::int64_t n = 0, in_language = 0, without_letters = 0;
  double share() const { return n ? static_cast<double>(in_language) / static_cast<double>(n) : 0; }
};

inline LanguageConsistency language_consistency(const LanguageIdentifier& identifier, const std::vector<std::string>& texts, std::string_view wanted) {
  if (!identifier.knows(wanted)) fail(ErrorKind::input, "language_id.unknown", "language id: was not trained on ", printable(wanted, 40), "; give it texts of that language");
  LanguageConsistency r;
  for (auto& text : texts) {
    LanguageGuess guess = identifier.identify(text);
    ++r.n;
    r.in_language += guess.lang == wanted;
    r.without_letters += script_shares(text).letters == 0;
  }
  return r;
}

}  // namespace bam
