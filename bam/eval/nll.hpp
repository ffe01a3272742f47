// Likelihood of documents, each alone, in windows of T inputs that start at 0, T/2, T ...: the first window scores all its
// targets, a later one those not yet scored (docs/formats.md, section 3).
#pragma once
#include <string>

#include "../nn/decoder.hpp"
#include "interval.hpp"

namespace bam {

struct DocumentTokens {
  std::vector<std::int32_t> ids;  // BOS text EOS
  std::int64_t bytes = 0;         // UTF-8 bytes of the text
  std::vector<std::uint8_t> scored = {};  // of each id, whether it counts as a target; empty: all but the first
  std::string lang = {}, task = {};       // where the data say

  bool scores(std::size_t i) const { return scored.empty() || scored[i]; }
};

struct NllResult {
  std::int64_t documents = 0, tokens = 0, bytes = 0;
  double nll = 0, ppl = 0, bits_per_byte = 0;  // nll: nats per token
  double stderr_nll = 0;  // of nll as a ratio estimator over documents
  std::vector<double> document_nll;  // summed, per document
  std::vector<std::vector<float>> token_nll;  // per document, per target
};

struct EvalWindow {
  std::size_t document;
  std::int64_t begin, inputs, first_scored;  // targets begin + first_scored + 1 ... are scored here
};

inline std::vector<EvalWindow> eval_windows(const std::vector<DocumentTokens>& documents, std::int64_t context) {
  std::vector<EvalWindow> windows;
  std::int64_t stride = std::max<std::int64_t>(1, context / 2);
  for (std::size_t d = 0; d < documents.size(); ++d) {
    std::int64_t targets = static_cast<std::int64_t>(documents[d].ids.size()) - 1, scored = 0;
    for (std::int64_t at = 0; scored < targets; at += stride) {
      std::int64_t n = std::min(context, targets - at);
      windows.push_back({d, at, n, scored - at});
      scored = at + n;
    }
  }
  return windows;
}

// Fills the figures from tokens, bytes and the sums per document.
inline void summarize(NllResult& r) {
  double total = 0, tokens = static_cast<double>(r.tokens);
  for (double d : r.document_nll) total += d;
  if (r.tokens == 0) return;
  r.nll = total / tokens;
  r.ppl = math::exp(r.nll);
  r.bits_per_byte = r.bytes ? total / (static_cast<double>(r.bytes) * 0.6931471805599453) : 0;
  std::vector<double> sizes;
  for (auto& t : r.token_nll) sizes.push_back(static_cast<double>(t.size()));
  r.stderr_nll = ratio_stderr(r.document_nll, sizes);
}

// micro_batch: windows at a time; it changes speed and memory, not results.
inline NllResult evaluate_nll(const Decoder& model, const std::vector<DocumentTokens>& documents, std::int64_t context, std::int64_t micro_batch = 8) {
  check(context >= 1 && micro_batch >= 1, "eval.context", "eval: context ", context, ", micro_batch ", micro_batch);
  NllResult r;
  r.documents = static_cast<std::int64_t>(documents.size());
  r.document_nll.assign(documents.size(), 0.0);
  r.token_nll.resize(documents.size());
  for (auto& d : documents) {
    check(d.ids.size() >= 2, "eval.document", "eval: a document has ", d.ids.size(), " tokens, wanted BOS and one more");
    check(d.scored.empty() || d.scored.size() == d.ids.size(), "eval.document", "eval: a document has ", d.ids.size(), " tokens and ", d.scored.size(), " marks");
    r.bytes += d.bytes;
    for (std::size_t i = 1; i < d.ids.size(); ++i) r.tokens += d.scores(i);
  }
  auto windows = eval_windows(documents, context);
  for (std::size_t at = 0; at < windows.size();) {
    std::vector<std::int32_t> ids, targets, positions;
    std::vector<std::int64_t> lengths;
    std::size_t end = std::min(windows.size(), at + static_cast<std::size_t>(micro_batch));
    for (std::size_t w = at; w < end; ++w) {
      const EvalWindow& window = windows[w];
      const DocumentTokens& d = documents[window.document];
      auto first = d.ids.begin() + window.begin;
      ids.insert(ids.end(), first, first + window.inputs);
      for (std::int64_t i = 0; i < window.inputs; ++i) {
        positions.push_back(static_cast<std::int32_t>(i));
        targets.push_back(i < window.first_scored || !d.scores(static_cast<std::size_t>(window.begin + i + 1)) ? -1 : *(first + i + 1));
      }
      lengths.push_back(window.inputs);
    }
    TokenBatch batch{tensor(ids), tensor(positions), segments(lengths), {}};
    const Tensor nll = model.nll(model.hidden(batch), tensor(targets)).to(Device::cpu);
    const float* p = nll.data();
    for (std::size_t w = at; w < end; ++w)
      for (std::int64_t i = 0; i < windows[w].inputs; ++i, ++p) {
        if (i < windows[w].first_scored || !documents[windows[w].document].scores(static_cast<std::size_t>(windows[w].begin + i + 1))) continue;
        r.document_nll[windows[w].document] += static_cast<double>(*p);
        r.token_nll[windows[w].document].push_back(*p);
      }
    at = end;
  }
  summarize(r);
  return r;
}

}  // namespace bam
