// Documents to packed rows. Of each source an epoch is: documents shuffled, laid end to end as BOS text EOS, cut into rows of
// `context` inputs, and the rows shuffled. Each next row comes from the source that is furthest behind its share of tokens.
// Attention and positions stop at document boundaries and at row ends; a token in the last place of a row predicts the
// first of the next. EOS predicts nothing.
#pragma once
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "../core/error.hpp"
#include "../core/random.hpp"
#include "../io/hash.hpp"
#include "../io/json.hpp"
#include "../train/rows.hpp"

namespace bam::text {

// Encoded documents of one source, end to end, with BOS and EOS.
struct TokenSource {
  std::string name;
  double weight = 1;
  std::vector<std::int32_t> ids;
  std::vector<std::int64_t> starts{0};  // of each document, and the end of the last
  std::int64_t bytes = 0;               // UTF-8 bytes of the texts

  std::int64_t documents() const { return static_cast<std::int64_t>(starts.size()) - 1; }
  std::int64_t tokens() const { return static_cast<std::int64_t>(ids.size()); }
  void add(std::span<const std::int32_t> document, std::int64_t text_bytes) {
    ids.insert(ids.end(), document.begin(), document.end());
    starts.push_back(tokens());
    bytes += text_bytes;
  }
};

// A state that next() draws rows from; the same seed, sources and context give the same rows.
class DataStream {
 public:
  // mask_documents false: attention and positions run over a whole row.
  DataStream(std::vector<TokenSource> sources, std::int64_t context, std::uint64_t seed, bool mask_documents = true)
      : sources_(std::move(sources)), context_(context), seed_(seed), mask_documents_(mask_documents), cursors_(sources_.size()) {
    check(!sources_.empty() && context >= 1, "data.sources", "data: wanted sources and a context of at least 1");
    for (std::size_t s = 0; s < sources_.size(); ++s) {
      if (sources_[s].tokens() < 2) fail(ErrorKind::input, "data.empty", sources_[s].name, ": has no tokens");
      check(sources_[s].weight > 0, "data.weight", sources_[s].name, ": wanted a weight above 0, got ", sources_[s].weight);
      begin_epoch(s, 0);
    }
  }

  StepRows next(std::int64_t rows) {
    StepRows out;
    out.rows = rows;
    out.context = context_;
    auto n = static_cast<std::size_t>(rows * context_);
    out.inputs.reserve(n);
    out.targets.reserve(n);
    out.positions.reserve(n);
    out.real.reserve(n);
    for (std::int64_t r = 0; r < rows; ++r) {
      std::size_t s = behind();
      if (cursors_[s].row == row_count(s)) begin_epoch(s, cursors_[s].epoch + 1);
      cursors_[s].served += append_row(out, s, cursors_[s].rows[static_cast<std::size_t>(cursors_[s].row++)]);
    }
    return out;
  }

  // Where the stream is: enough for restore() on a stream of the same sources, seed and context.
  io::Json state() const {
    io::Json list = io::Json::array();
    for (const Cursor& c : cursors_) list.push_back(io::Json::object({{"epoch", c.epoch}, {"row", c.row}, {"served", c.served}}));
    return list;
  }
  void restore(const io::Json& state) {
    auto items = state.items("data state");
    if (items.size() != cursors_.size()) fail(ErrorKind::input, "data.state", "data state: has ", items.size(), " sources, the run file ", cursors_.size());
    for (std::size_t s = 0; s < cursors_.size(); ++s) {
      begin_epoch(s, items[s].at("epoch").as_int("data state: epoch", 0));
      cursors_[s].row = items[s].at("row").as_int("data state: row", 0, row_count(s));
      cursors_[s].served = items[s].at("served").as_int("data state: served", 0);
    }
  }

  // What was read, for the manifest.
  io::Json manifest() const {
    io::Json list = io::Json::array();
    for (const TokenSource& s : sources_) {
      io::Hasher h;
      h.update(s.ids.data(), s.ids.size() * sizeof s.ids[0]);
      list.push_back(io::Json::object({{"path", s.name}, {"weight", s.weight}, {"documents", s.documents()}, {"tokens", s.tokens()}, {"bytes", s.bytes}, {"hash", h.hex()}}));
    }
    return list;
  }
  // Per source, in order: tokens served over tokens of the source.
  std::vector<double> epochs() const {
    std::vector<double> list;
    for (std::size_t s = 0; s < sources_.size(); ++s) list.push_back(static_cast<double>(cursors_[s].served) / static_cast<double>(sources_[s].tokens()));
    return list;
  }
  // Epochs begun before this one, of one source.
  std::int64_t epoch(std::size_t s) const { return cursors_[s].epoch; }
  const std::vector<TokenSource>& sources() const { return sources_; }

 private:
  struct Cursor {
    std::int64_t epoch = -1, row = 0, served = 0;
    std::vector<std::int64_t> rows;       // of this epoch, shuffled
    std::vector<std::int64_t> documents;  // shuffled
    std::vector<std::int64_t> ends;       // of documents[i] in the epoch's order
  };

  std::int64_t row_count(std::size_t s) const { return (sources_[s].tokens() + context_ - 1) / context_; }

  std::size_t behind() const {
    std::size_t best = 0;
    for (std::size_t s = 1; s < sources_.size(); ++s)
      if (static_cast<double>(cursors_[s].served) / sources_[s].weight < static_cast<double>(cursors_[best].served) / sources_[best].weight) best = s;
    return best;
  }

  void begin_epoch(std::size_t s, std::int64_t epoch) {
    Cursor& c = cursors_[s];
    const TokenSource& source = sources_[s];
    c.epoch = epoch;
    c.row = 0;
    Random random(seed_ + 0x9e3779b97f4a7c15ull * static_cast<std::uint64_t>(epoch), static_cast<std::uint32_t>(0x64000000u + s));
    auto shuffled = [&](std::int64_t n) {
      std::vector<std::int64_t> v(static_cast<std::size_t>(n));
      std::iota(v.begin(), v.end(), std::int64_t{0});
      for (std::size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[random.below(i)]);
      return v;
    };
    c.documents = shuffled(source.documents());
    c.rows = shuffled(row_count(s));
    c.ends.clear();
    std::int64_t end = 0;
    for (std::int64_t d : c.documents) c.ends.push_back(end += source.starts[static_cast<std::size_t>(d) + 1] - source.starts[static_cast<std::size_t>(d)]);
  }

  // Row `row` of the epoch's text; returns its tokens. The last one may be short and is padded.
  std::int64_t append_row(StepRows& out, std::size_t s, std::int64_t row) const {
    const Cursor& c = cursors_[s];
    const TokenSource& source = sources_[s];
    std::int64_t at = row * context_, end = std::min(at + context_, source.tokens()), tokens = end - at;
    auto i = static_cast<std::size_t>(std::upper_bound(c.ends.begin(), c.ends.end(), at) - c.ends.begin());
    for (; at < end; ++i) {
      auto d = static_cast<std::size_t>(c.documents[i]);
      std::int64_t length = source.starts[d + 1] - source.starts[d], skipped = at - (c.ends[i] - length);
      const std::int32_t* id = source.ids.data() + source.starts[d] + skipped;
      std::int64_t n = std::min(length - skipped, end - at);
      for (std::int64_t k = 0; k < n; ++k) {
        out.inputs.push_back(id[k]);
        out.targets.push_back(skipped + k + 1 < length ? id[k + 1] : -1);
        out.positions.push_back(static_cast<std::int32_t>(mask_documents_ ? k : at - row * context_ + k));
        out.real.push_back(1);
      }
      at += n;
    }
    for (std::int64_t k = tokens; k < context_; ++k) {
      out.inputs.push_back(0);
      out.targets.push_back(-1);
      out.positions.push_back(0);  // each alone, so that pads cost no attention
      out.real.push_back(0);
    }
    return tokens;
  }

  std::vector<TokenSource> sources_;
  std::int64_t context_;
  std::uint64_t seed_;
  bool mask_documents_;
  std::vector<Cursor> cursors_;
};

}  // namespace bam::text
