// An n-gram model over token ids: what counting alone predicts of a text, beside what a network does. Interpolated modified
// Kneser-Ney (Chen & Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", 1998):
//
//   p(w | h) = max(c(hw) - D(c(hw)), 0) / sum_v c(hv) + gamma(h) p(w | h')      h' = h without its first token
//   gamma(h) = (D_1 N_1(h) + D_2 N_2(h) + D_3+ N_3+(h)) / sum_v c(hv)           N_k(h): tokens v with c(hv) = k
//   D_k      = k - (k + 1) Y n_{k+1} / n_k,  Y = n_1 / (n_1 + 2 n_2)            per order; n_k: n-grams with c = k
//
// and below the unigrams the uniform distribution 1 / V, so every token has a probability above 0. c is the count at the highest
// order and below it the number of distinct tokens in front of the n-gram; in front of an n-gram that begins a document stands
// nothing, and each such place counts as one. A context is never longer than the document up to there: BOS is the first token of
// one and no target. Where an order has no n_1 ... n_4 to take D from (a tiny text), D = 0.5, 1, 1.5.
//
// Held as a trie of sorted arrays: 8 bytes an n-gram of the highest order, 24 one below; building takes 16 bytes a token more.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "../text/packing.hpp"
#include "nll.hpp"

namespace bam {

class NgramModel {
 public:
  static constexpr int max_order = 12;
  using Documents = std::vector<std::span<const std::int32_t>>;  // each BOS text EOS

  // The nodes of the suffixes of what was read so far, by length; a fresh one has read nothing.
  struct Context {
    std::array<std::uint32_t, max_order> node{};
    int length = 0;
  };

  // Order: the tokens of an n-gram. Error(usage): an order, a vocabulary or an id out of range; Error(input): no documents; Error(limit):
  // more than 2^32 - 2 tokens.
  NgramModel(const Documents& documents, std::int64_t vocab_size, int order = 5) : order_(order), vocab_size_(vocab_size) {
    check(order >= 1 && order <= max_order, "ngram.order", "ngram: wanted an order from 1 to ", max_order, ", got ", order);
    check(vocab_size >= 1, "ngram.vocabulary", "ngram: a vocabulary of ", vocab_size);
    levels_.resize(static_cast<std::size_t>(order) + 1);
    std::vector<std::int32_t> text;  // the documents, a -1 behind each
    std::vector<std::uint32_t> starts;
    std::size_t size = 0;
    for (auto& d : documents) size += d.size() + 1;
    if (size >= none) fail(ErrorKind::limit, "ngram.size", "ngram: ", size, " tokens, at most ", none - 1, "; take fewer documents");
    if (size == documents.size()) fail(ErrorKind::input, "ngram.empty", "ngram: wanted documents to count, got none");
    text.reserve(size);
    for (auto& d : documents) {
      starts.push_back(static_cast<std::uint32_t>(text.size()));
      for (std::int32_t id : d) check(id >= 0 && id < vocab_size, "ngram.id", "ngram: id ", id, " in a vocabulary of ", vocab_size);
      text.insert(text.end(), d.begin(), d.end());
      text.push_back(-1);
    }
    count(text, starts);
    for (std::size_t n = 0; n + 1 < levels_.size(); ++n) smooth(levels_[n], levels_[n + 1]);
  }

  int order() const { return order_; }
  std::int64_t vocab_size() const { return vocab_size_; }
  std::int64_t ngrams(int n) const { return static_cast<std::int64_t>(levels_.at(static_cast<std::size_t>(n)).word.size()); }
  // D_1, D_2, D_3+ of the n-grams of n tokens.
  std::array<double, 3> discounts(int n) const { return levels_.at(static_cast<std::size_t>(n)).discount; }

  // p(token | context); the context moves on over it.
  double read(Context& context, std::int32_t token) const {
    check(token >= 0 && token < vocab_size_, "ngram.id", "ngram: id ", token, " in a vocabulary of ", vocab_size_);
    double p = 1.0 / static_cast<double>(vocab_size_);
    Context next;
    for (int k = 0; k <= context.length; ++k) {
      const Level &h = levels_[static_cast<std::size_t>(k)], &hw = levels_[static_cast<std::size_t>(k) + 1];
      const std::uint32_t node = context.node[static_cast<std::size_t>(k)];
      auto first = hw.word.begin() + h.first[node], last = hw.word.begin() + h.first[node + 1], at = std::lower_bound(first, last, token);
      const bool seen = at != last && *at == token;
      const auto child = static_cast<std::uint32_t>(at - hw.word.begin());
      if (h.total[node] > 0) p = (seen ? hw.discounted(hw.count[child]) / h.total[node] : 0.0) + h.gamma[node] * p;
      if (seen && k + 1 < order_) {
        next.node[static_cast<std::size_t>(k) + 1] = child;
        next.length = k + 1;
      }
    }
    context = next;
    return p;
  }

 private:
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

  // The n-grams of n tokens, sorted; level 0 is the empty one.
  struct Level {
    std::vector<std::int32_t> word;    // the last token
    std::vector<std::uint32_t> count;  // c
    std::vector<std::uint32_t> first;  // of the n-grams of n + 1 tokens that go on from each, and the end of the last
    std::vector<std::uint32_t> total;  // sum_v c(hv)
    std::vector<double> gamma;
    std::array<double, 3> discount{};

    double discounted(std::uint32_t c) const { return c == 0 ? 0.0 : c - discount[std::min(c, 3u) - 1]; }
  };

  void count(const std::vector<std::int32_t>& text, const std::vector<std::uint32_t>& starts) {
    // at: places where an n-gram begins, by n-gram; bounds: of each n-gram's places.
    std::vector<std::uint32_t> at, bounds{0}, longer, longer_bounds, node_of;
    for (std::size_t p = 0; p < text.size(); ++p)
      if (text[p] >= 0) at.push_back(static_cast<std::uint32_t>(p));
    bounds.push_back(static_cast<std::uint32_t>(at.size()));
    std::vector<std::uint64_t> next;  // token << 32 | place
    for (std::size_t n = 0; n + 1 < levels_.size(); ++n) {
      Level &level = levels_[n], &child = levels_[n + 1];
      const std::size_t nodes = bounds.size() - 1;
      if (n > 0) {
        node_of.assign(text.size(), none);
        for (std::size_t i = 0; i < nodes; ++i)
          for (std::uint32_t k = bounds[i]; k < bounds[i + 1]; ++k) node_of[at[k]] = static_cast<std::uint32_t>(i);
        level.count.assign(nodes, 0);
        if (n > 1)
          for (std::uint32_t p : starts)
            if (node_of[p] != none) ++level.count[node_of[p]];
      }
      longer.clear();
      longer_bounds.clear();
      level.first.assign(1, 0);
      for (std::size_t i = 0; i < nodes; ++i) {
        next.clear();
        for (std::uint32_t k = bounds[i]; k < bounds[i + 1]; ++k)
          if (std::int32_t token = text[at[k] + n]; token >= 0) next.push_back(static_cast<std::uint64_t>(token) << 32 | at[k]);
        std::sort(next.begin(), next.end());
        for (std::size_t k = 0; k < next.size(); ++k) {
          const auto place = static_cast<std::uint32_t>(next[k]);
          if (k == 0 || next[k] >> 32 != next[k - 1] >> 32) {
            child.word.push_back(static_cast<std::int32_t>(next[k] >> 32));
            longer_bounds.push_back(static_cast<std::uint32_t>(longer.size()));
            if (n > 0) ++level.count[node_of[place + 1]];  // a further token in front of the n-gram that begins one later
          }
          longer.push_back(place);
        }
        level.first.push_back(static_cast<std::uint32_t>(child.word.size()));
      }
      longer_bounds.push_back(static_cast<std::uint32_t>(longer.size()));
      at.swap(longer);
      bounds.swap(longer_bounds);
    }
    Level& highest = levels_.back();
    for (std::size_t i = 0; i + 1 < bounds.size(); ++i) highest.count.push_back(bounds[i + 1] - bounds[i]);
    if (order_ == 1)  // a document's first token is no target
      for (std::uint32_t p : starts)
        if (text[p] >= 0) --highest.count[static_cast<std::size_t>(std::lower_bound(highest.word.begin(), highest.word.end(), text[p]) - highest.word.begin())];
  }

  static void smooth(Level& h, Level& hw) {
    std::array<double, 5> n{};
    for (std::uint32_t c : hw.count)
      if (c <= 4) ++n[c];
    hw.discount = {0.5, 1, 1.5};
    if (n[1] > 0 && n[2] > 0 && n[3] > 0 && n[4] > 0) {
      const double y = n[1] / (n[1] + 2 * n[2]);
      std::array<double, 3> d{1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]};
      if (d[0] > 0 && d[1] > 0 && d[2] > 0) hw.discount = d;  // of 0 the unseen would have nothing; they are never above 1, 2 and 3
    }
    const std::size_t nodes = h.first.size() - 1;
    h.total.assign(nodes, 0);
    h.gamma.assign(nodes, 0.0);
    for (std::size_t i = 0; i < nodes; ++i) {
      std::array<std::uint32_t, 4> kinds{};
      for (std::uint32_t k = h.first[i]; k < h.first[i + 1]; ++k) {
        h.total[i] += hw.count[k];
        ++kinds[std::min(hw.count[k], 3u)];
      }
      if (h.total[i] > 0) h.gamma[i] = (hw.discount[0] * kinds[1] + hw.discount[1] * kinds[2] + hw.discount[2] * kinds[3]) / h.total[i];
    }
  }

  int order_;
  std::int64_t vocab_size_;
  std::vector<Level> levels_;
};

// The documents of a training source; they point into it.
inline void append_documents(NgramModel::Documents& documents, const text::TokenSource& source) {
  for (std::size_t d = 0; d + 1 < source.starts.size(); ++d)
    documents.push_back(std::span(source.ids).subspan(static_cast<std::size_t>(source.starts[d]), static_cast<std::size_t>(source.starts[d + 1] - source.starts[d])));
}

// The figures that evaluate_nll gives of a network, over the same targets; the context is order - 1 tokens.
inline NllResult evaluate_ngram(const NgramModel& model, const std::vector<DocumentTokens>& documents) {
  NllResult r;
  r.documents = static_cast<std::int64_t>(documents.size());
  for (auto& d : documents) {
    check(d.ids.size() >= 2, "eval.document", "eval: a document has ", d.ids.size(), " tokens, wanted BOS and one more");
    NgramModel::Context context;
    model.read(context, d.ids[0]);
    double sum = 0;
    std::vector<float> token_nll;
    for (std::size_t i = 1; i < d.ids.size(); ++i) {
      const double nll = -math::log(model.read(context, d.ids[i]));
      sum += nll;
      token_nll.push_back(static_cast<float>(nll));
    }
    r.bytes += d.bytes;
    r.tokens += static_cast<std::int64_t>(d.ids.size()) - 1;
    r.document_nll.push_back(sum);
    r.token_nll.push_back(std::move(token_nll));
  }
  summarize(r);
  return r;
}

}  // namespace bam
