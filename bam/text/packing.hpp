// Documents and examples to rows. Of each source an epoch is: documents shuffled, laid end to end as BOS text EOS, cut into rows of
// `context` inputs, and the rows shuffled. Each next row comes from the source that is furthest behind its share of tokens.
// Attention and positions stop at document boundaries and at row ends; a token in the last place of a row predicts the
// first of the next. EOS predicts nothing.
//
// Examples for fine-tuning are never cut: shuffled, each goes into the first of the open rows that has room (packing), or has a row of
// its own. Only targets that are the assistant's are trained.
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

// Encoded documents or examples of one source, end to end, with BOS and EOS.
struct TokenSource {
  std::string name;
  double weight = 1;
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> trained;    // of examples: 1 for each id that is trained as a target; of documents empty
  std::vector<std::int64_t> starts{0};  // of each document, and the end of the last
  std::int64_t bytes = 0;               // UTF-8 bytes of the texts

  std::int64_t documents() const { return static_cast<std::int64_t>(starts.size()) - 1; }
  std::int64_t tokens() const { return static_cast<std::int64_t>(ids.size()); }
  std::int64_t length(std::int64_t document) const { return starts[static_cast<std::size_t>(document) + 1] - starts[static_cast<std::size_t>(document)]; }
  bool chat() const { return !trained.empty(); }
  void add(std::span<const std::int32_t> document, std::int64_t text_bytes) {
    ids.insert(ids.end(), document.begin(), document.end());
    starts.push_back(tokens());
    bytes += text_bytes;
  }
};

struct StreamOptions {
  std::int64_t context = 0;
  std::uint64_t seed = 0;
  bool mask_documents = true;  // false: attention and positions of documents run over a whole row
  bool packing = true;         // false: each example has a row of its own
  std::int64_t epochs = 0;     // above 0: each source this many times, in proportion instead of by weights, then rows of pads alone
};

// A state that next() draws rows from; the same seed, sources and context give the same rows.
class DataStream {
 public:
  DataStream(std::vector<TokenSource> sources, const StreamOptions& options) : sources_(std::move(sources)), o_(options), cursors_(sources_.size()) {
    check(!sources_.empty() && o_.context >= 1, "data.sources", "data: wanted sources and a context of at least 1");
    for (std::size_t s = 0; s < sources_.size(); ++s) {
      TokenSource& source = sources_[s];
      if (source.tokens() < 2) fail(ErrorKind::input, "data.empty", source.name, ": has no tokens");
      check(source.weight > 0, "data.weight", source.name, ": wanted a weight above 0, got ", source.weight);
      check(!source.chat() || source.trained.size() == source.ids.size(), "data.trained", source.name, ": ", source.trained.size(), " marks for ", source.ids.size(), " ids");
      for (std::int64_t d = 0; source.chat() && d < source.documents(); ++d)
        check(source.length(d) <= o_.context, "data.length", source.name, ": an example of ", source.length(d), " tokens, context is ", o_.context);
      // As many tokens as it has: all sources end their epochs at the same row.
      if (o_.epochs > 0) source.weight = static_cast<double>(source.tokens());
      begin_epoch(s, 0);
      const bool varies = source.chat() && o_.packing;  // the rows of an epoch
      all_rows_ += (varies ? 1 : o_.epochs) * row_count(s) * (o_.epochs > 0);
      for (std::int64_t e = 1; varies && e < o_.epochs; ++e) {
        begin_epoch(s, e);
        all_rows_ += row_count(s);
      }
      if (cursors_[s].epoch != 0) begin_epoch(s, 0);
    }
  }
  DataStream(std::vector<TokenSource> sources, std::int64_t context, std::uint64_t seed, bool mask_documents = true)
      : DataStream(std::move(sources), {context, seed, mask_documents}) {}

  // Of all epochs, when there is such a number; else 0.
  std::int64_t all_rows() const { return all_rows_; }
  bool chat() const {
    return std::all_of(sources_.begin(), sources_.end(), [](const TokenSource& s) { return s.chat(); });
  }

  StepRows next(std::int64_t rows) {
    StepRows out;
    out.rows = rows;
    out.context = o_.context;
    auto n = static_cast<std::size_t>(rows * o_.context);
    out.inputs.reserve(n);
    out.targets.reserve(n);
    out.positions.reserve(n);
    out.real.reserve(n);
    for (std::int64_t r = 0; r < rows; ++r) {
      std::size_t s = behind();
      const bool ended = cursors_[s].row == row_count(s);
      if (ended && o_.epochs > 0 && cursors_[s].epoch + 1 == o_.epochs) {  // then every source is at its end
        append_pads(out, o_.context);
        continue;
      }
      if (ended) begin_epoch(s, cursors_[s].epoch + 1);
      const std::int64_t row = cursors_[s].rows[static_cast<std::size_t>(cursors_[s].row++)];
      cursors_[s].served += sources_[s].chat() ? append_examples(out, s, row) : append_row(out, s, row);
    }
    if (!chat()) out.weights.clear();
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
      h.update(s.trained.data(), s.trained.size());
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
    std::vector<std::int64_t> documents;  // shuffled; of examples by row
    std::vector<std::int64_t> ends;       // of documents[i] in the epoch's order; of examples, of row i in documents
  };
  static constexpr std::size_t open_rows = 64;

  std::int64_t row_count(std::size_t s) const { return static_cast<std::int64_t>(cursors_[s].rows.size()); }

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
    Random random(o_.seed + 0x9e3779b97f4a7c15ull * static_cast<std::uint64_t>(epoch), static_cast<std::uint32_t>(0x64000000u + s));
    auto shuffled = [&](std::int64_t n) {
      std::vector<std::int64_t> v(static_cast<std::size_t>(n));
      std::iota(v.begin(), v.end(), std::int64_t{0});
      for (std::size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[random.below(i)]);
      return v;
    };
    c.documents = shuffled(source.documents());
    c.ends.clear();
    if (source.chat()) {
      pack(c, source);
      c.rows.resize(c.ends.size());
      std::iota(c.rows.begin(), c.rows.end(), std::int64_t{0});
      return;
    }
    c.rows = shuffled((source.tokens() + o_.context - 1) / o_.context);
    std::int64_t end = 0;
    for (std::int64_t d : c.documents) c.ends.push_back(end += source.starts[static_cast<std::size_t>(d) + 1] - source.starts[static_cast<std::size_t>(d)]);
  }

  // Row `row` of the epoch's text; returns its tokens. The last one may be short and is padded.
  std::int64_t append_row(StepRows& out, std::size_t s, std::int64_t row) const {
    const Cursor& c = cursors_[s];
    const TokenSource& source = sources_[s];
    std::int64_t at = row * o_.context, end = std::min(at + o_.context, source.tokens()), tokens = end - at;
    auto i = static_cast<std::size_t>(std::upper_bound(c.ends.begin(), c.ends.end(), at) - c.ends.begin());
    for (; at < end; ++i) {
      auto d = static_cast<std::size_t>(c.documents[i]);
      std::int64_t length = source.starts[d + 1] - source.starts[d], skipped = at - (c.ends[i] - length);
      const std::int32_t* id = source.ids.data() + source.starts[d] + skipped;
      std::int64_t n = std::min(length - skipped, end - at);
      for (std::int64_t k = 0; k < n; ++k) {
        out.inputs.push_back(id[k]);
        out.targets.push_back(skipped + k + 1 < length ? id[k + 1] : -1);
        out.positions.push_back(static_cast<std::int32_t>(o_.mask_documents ? k : at - row * o_.context + k));
        out.real.push_back(1);
      }
      at += n;
    }
    append_pads(out, o_.context - tokens);
    return tokens;
  }

  // First fit among the last open_rows rows: c.documents by row, and where each row ends in it.
  void pack(Cursor& c, const TokenSource& source) const {
    std::vector<std::vector<std::int64_t>> rows;
    std::vector<std::int64_t> room;
    for (std::int64_t d : c.documents) {
      std::size_t r = !o_.packing ? rows.size() : rows.size() > open_rows ? rows.size() - open_rows : 0;
      while (r < rows.size() && room[r] < source.length(d)) ++r;
      if (r == rows.size()) {
        rows.emplace_back();
        room.push_back(o_.context);
      }
      rows[r].push_back(d);
      room[r] -= source.length(d);
    }
    c.documents.clear();
    for (const auto& row : rows) {
      c.documents.insert(c.documents.end(), row.begin(), row.end());
      c.ends.push_back(static_cast<std::int64_t>(c.documents.size()));
    }
  }

  // Row `row` of the epoch's packed examples; returns its tokens.
  std::int64_t append_examples(StepRows& out, std::size_t s, std::int64_t row) const {
    const Cursor& c = cursors_[s];
    const TokenSource& source = sources_[s];
    std::int64_t tokens = 0;
    out.weights.resize(out.inputs.size(), 0.0f);
    for (std::int64_t i = row ? c.ends[static_cast<std::size_t>(row) - 1] : 0; i < c.ends[static_cast<std::size_t>(row)]; ++i) {
      const std::int64_t d = c.documents[static_cast<std::size_t>(i)], n = source.length(d);
      const std::int32_t* id = source.ids.data() + source.starts[static_cast<std::size_t>(d)];
      const std::uint8_t* trained = source.trained.data() + source.starts[static_cast<std::size_t>(d)];
      const float weight = 1.0f / static_cast<float>(std::count(trained, trained + n, std::uint8_t{1}));
      for (std::int64_t k = 0; k < n; ++k) {
        const bool target = k + 1 < n && trained[k + 1];
        out.inputs.push_back(id[k]);
        out.targets.push_back(target ? id[k + 1] : -1);
        out.positions.push_back(static_cast<std::int32_t>(k));
        out.real.push_back(1);
        out.weights.push_back(target ? weight : 0.0f);
      }
      tokens += n;
      ++out.examples;
    }
    append_pads(out, o_.context - tokens);
    return tokens;
  }

  // Each alone; the step leaves them out.
  static void append_pads(StepRows& out, std::int64_t n) {
    const std::size_t size = out.inputs.size() + static_cast<std::size_t>(n);
    out.inputs.resize(size, 0);
    out.targets.resize(size, -1);
    out.positions.resize(size, 0);
    out.real.resize(size, 0);
    out.weights.resize(size, 0.0f);
  }

  std::vector<TokenSource> sources_;
  StreamOptions o_;
  std::vector<Cursor> cursors_;
  std::int64_t all_rows_ = 0;
};

}  // namespace bam::text
