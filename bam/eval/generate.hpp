// Generation, one token at a time, with a K/V cache and any number of sequences at once.
//
// A step feeds each running sequence what its cache lacks: the prompt at first, in parts, then its newest token. All of that is
// one packed batch of segments, without padding; a finished sequence leaves and the next prompt takes its place. Key tiles are
// anchored at a sequence's first token and randomness is counted from (seed, prompt, position), so the text of a prompt and
// every bit of its logits are those of the prompt alone, and of one forward pass over the whole.
#pragma once
#include <functional>
#include <numeric>
#include <span>
#include <vector>

#include "../core/random.hpp"
#include "../nn/decoder.hpp"

namespace bam {

struct GenerateOptions {
  std::int64_t max_new_tokens = 128;
  double temperature = 0;            // 0: the largest logit, ties to the lower id
  std::int64_t top_k = 0;            // draw among the k largest, ties to the lower id; 0: all
  double top_p = 1;                  // of these, among the fewest whose probabilities reach top_p
  std::uint64_t seed = 0;
  std::uint32_t stream = 0;          // of the first prompt; the next one's is one more
  std::vector<std::int32_t> stop;    // ids that end a sequence (EOS)
  std::int64_t context = 0;          // most tokens of prompt and completion; 0: max_position_embeddings
  std::int64_t batch = 8;            // sequences at a time: speed and memory, never a bit of the result
};

enum class StoppedBy : std::uint8_t { eos, length };
inline const char* name_of(StoppedBy s) { return s == StoppedBy::eos ? "eos" : "length"; }

struct Completion {
  std::vector<std::int32_t> ids;  // new tokens, without the one that stopped it
  StoppedBy stopped_by = StoppedBy::length;
};

struct GeneratedToken {
  std::size_t prompt;
  std::int32_t id;
  std::span<const float> logits;  // (V), what it was chosen from; valid during the call
};

// The token for place `position` of a sequence. Error(numerics) when a logit is not finite.
inline std::int32_t sample(std::span<const float> logits, const GenerateOptions& o, std::uint32_t stream, std::uint64_t position) {
  check(!logits.empty() && o.temperature >= 0 && o.top_k >= 0 && o.top_p > 0 && o.top_p <= 1, "generate.options", "generate: temperature ", o.temperature, ", top_k ", o.top_k, ", top_p ", o.top_p,
        " over ", logits.size(), " logits; wanted temperature and top_k of 0 or more, top_p above 0 and at most 1");
  std::size_t best = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] - logits[i] == 0)) fail(ErrorKind::numerics, "generate.non_finite", "generate: the logit of id ", i, " is not finite; the model's weights have overflowed");
    if (logits[i] > logits[best]) best = i;
  }
  if (o.temperature == 0) return static_cast<std::int32_t>(best);
  std::vector<std::int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  auto at = [&](std::int32_t id) { return logits[static_cast<std::size_t>(id)]; };
  auto before = [&](std::int32_t a, std::int32_t b) { return at(a) > at(b) || (at(a) == at(b) && a < b); };
  if (auto k = static_cast<std::size_t>(o.top_k); k > 0 && k < ids.size()) {
    std::nth_element(ids.begin(), ids.begin() + o.top_k - 1, ids.end(), before);
    ids.resize(k);
  }
  if (ids.size() < logits.size() || o.top_p < 1) std::sort(ids.begin(), ids.end(), before);
  std::vector<double> up_to(ids.size());  // sums of probability times one factor
  double total = 0;
  for (std::size_t i = 0; i < ids.size(); ++i)
    up_to[i] = total += math::exp((static_cast<double>(at(ids[i])) - static_cast<double>(logits[best])) / o.temperature);
  if (o.top_p < 1) {
    double wanted = o.top_p * total;
    total = *std::lower_bound(up_to.begin(), up_to.end() - 1, wanted);
  }
  Philox4 bits = philox(o.seed, stream, 0, position);
  double u = static_cast<double>((std::uint64_t{bits.v[0]} << 32 | bits.v[1]) >> 11) * 0x1p-53 * total;
  // total is one of the sums, and the first that exceeds u < total is at or before it
  return ids[static_cast<std::size_t>(std::upper_bound(up_to.begin(), up_to.end(), u) - up_to.begin())];
}

// Keys and values of `slots` sequences of up to `rows` tokens each, and which tokens they are of.
class SequenceCache {
 public:
  struct Part {
    std::size_t slot;
    std::span<const std::int32_t> ids;  // at least one: what comes next in this slot
  };

  SequenceCache(const Decoder& model, std::int64_t slots, std::int64_t rows) : model_(&model), rows_(rows), ids_(static_cast<std::size_t>(slots)) {
    check(slots >= 1 && rows >= 1, "generate.cache", "generate: ", slots, " sequences of ", rows, " tokens");
    for (std::int64_t i = 0; i < model.config().num_hidden_layers; ++i) {
      Shape shape{slots * rows, model.config().kv_width()};
      layers_.push_back({Tensor(shape, model.dtype(), model.device()), Tensor(shape, model.dtype(), model.device())});
    }
  }

  const Decoder& model() const { return *model_; }
  std::size_t slots() const { return ids_.size(); }
  std::int64_t rows() const { return rows_; }
  std::int64_t length(std::size_t slot) const { return static_cast<std::int64_t>(ids_[slot].size()); }

  // Keeps of a slot what is also the beginning of `ids`, but at least their last token is left to feed.
  void rewind(std::size_t slot, std::span<const std::int32_t> ids) {
    auto& held = ids_[slot];
    std::size_t same = 0;
    while (same < held.size() && same + 1 < ids.size() && held[same] == ids[same]) ++same;
    held.resize(same);
  }

  // Appends each part to its slot, which no other part may have. Returns the logits (parts, V) behind each part's last token.
  Tensor feed(const std::vector<Part>& parts) {
    std::vector<std::int32_t> ids, positions, last;
    std::vector<std::int64_t> cache_rows;
    std::vector<Segment> segments;
    for (const Part& part : parts) {
      auto n = static_cast<std::int64_t>(part.ids.size()), past = length(part.slot), first = static_cast<std::int64_t>(part.slot) * rows_;
      check(n >= 1 && past + n <= rows_, "generate.cache", "generate: ", n, " tokens behind ", past, " in a cache of ", rows_);
      segments.push_back({static_cast<std::int64_t>(ids.size()), n, first, past + n});
      for (std::int64_t i = 0; i < n; ++i) {
        std::int32_t id = part.ids[static_cast<std::size_t>(i)];
        check(id >= 0 && id < model_->config().vocab_size, "generate.ids", "generate: id ", id, ", the vocabulary has ", model_->config().vocab_size);
        ids.push_back(id);
        positions.push_back(static_cast<std::int32_t>(past + i));
        cache_rows.push_back(first + past + i);
      }
      last.push_back(static_cast<std::int32_t>(ids.size()) - 1);
    }
    for (const Part& part : parts) ids_[part.slot].insert(ids_[part.slot].end(), part.ids.begin(), part.ids.end());
    ForwardOptions options;
    options.cache = &layers_;
    options.cache_rows = tensor(cache_rows);
    Hidden hidden = model_->hidden({tensor(ids), tensor(positions), segments, {}}, options);
    hidden.states = embedding(hidden.states, tensor(last).to(model_->device()));  // the output layer sees one row a part
    return model_->logits(hidden).to(Device::cpu);
  }

 private:
  const Decoder* model_;
  std::int64_t rows_;
  std::vector<std::vector<std::int32_t>> ids_;  // per slot, what its rows hold
  std::vector<KvCache> layers_;
};

namespace detail {
inline std::int64_t generate_context(const Decoder& model, const GenerateOptions& o) { return o.context > 0 ? o.context : model.config().max_position_embeddings; }
}  // namespace detail

// Completes the prompts (ids, BOS in front already) in the slots of a cache, all of them at a time. What a slot holds from before is
// used again as far as a prompt begins with it: the next turn of a dialogue costs its new tokens only.
// Error(input): a prompt is empty or longer than the context. Error(numerics): a logit is not finite.
inline std::vector<Completion> generate(SequenceCache& cache, const std::vector<std::vector<std::int32_t>>& prompts, const GenerateOptions& o,
                                        const std::function<void(const GeneratedToken&)>& on_token = {}) {
  const std::int64_t most_fed = 512;  // tokens of a step: bounds its memory
  const std::int64_t context = detail::generate_context(cache.model(), o);
  struct Running {
    std::size_t prompt = 0;
    std::vector<std::int32_t> ids;  // of the prompt and since; empty: nothing runs here
    std::int64_t left = 0;          // new tokens to go
  };
  std::vector<Completion> completions(prompts.size());
  std::vector<Running> running(cache.slots());
  auto new_tokens = [&](std::size_t prompt) { return std::min(o.max_new_tokens, context - static_cast<std::int64_t>(prompts[prompt].size())); };
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    auto n = static_cast<std::int64_t>(prompts[i].size());
    if (n == 0 || n > context) fail(ErrorKind::input, "generate.prompt", "generate: prompt ", i, " has ", n, " tokens, wanted 1 to ", context, ", the context");
    // the last new token is not fed again
    check(new_tokens(i) <= 0 || n + new_tokens(i) - 1 <= cache.rows(), "generate.cache", "generate: prompt ", i, " of ", n, " tokens and ", new_tokens(i), " new ones in a cache of ", cache.rows());
  }
  for (std::size_t next = 0;;) {
    std::vector<SequenceCache::Part> parts;
    std::int64_t fed = 0;
    for (std::size_t slot = 0; slot < running.size(); ++slot) {
      Running& r = running[slot];
      while (next < prompts.size() && new_tokens(next) <= 0) ++next;
      if (r.ids.empty() && next < prompts.size()) {
        r = {next, prompts[next], new_tokens(next)};
        cache.rewind(slot, r.ids);
        ++next;
      }
      if (r.ids.empty() || fed == most_fed) continue;
      std::int64_t n = std::min(static_cast<std::int64_t>(r.ids.size()) - cache.length(slot), most_fed - fed);
      parts.push_back({slot, std::span(r.ids).subspan(static_cast<std::size_t>(cache.length(slot)), static_cast<std::size_t>(n))});
      fed += n;
    }
    if (parts.empty()) return completions;
    Tensor logits = cache.feed(parts);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      Running& r = running[parts[i].slot];
      if (cache.length(parts[i].slot) < static_cast<std::int64_t>(r.ids.size())) continue;  // more of its prompt to come
      auto row = logits.values().subspan(i * static_cast<std::size_t>(logits.columns()), static_cast<std::size_t>(logits.columns()));
      Completion& completion = completions[r.prompt];
      std::int32_t id = sample(row, o, o.stream + static_cast<std::uint32_t>(r.prompt), r.ids.size());
      bool stop = std::find(o.stop.begin(), o.stop.end(), id) != o.stop.end();
      if (stop) {
        completion.stopped_by = StoppedBy::eos;
      } else {
        completion.ids.push_back(id);
        r.ids.push_back(id);
        if (on_token) on_token({r.prompt, id, row});
      }
      if (stop || --r.left == 0) r.ids.clear();
    }
  }
}

// The same with a cache of its own.
inline std::vector<Completion> generate(const Decoder& model, const std::vector<std::vector<std::int32_t>>& prompts, const GenerateOptions& o,
                                        const std::function<void(const GeneratedToken&)>& on_token = {}) {
  check(o.batch >= 1, "generate.options", "generate: batch ", o.batch, ", wanted 1 or more");
  std::int64_t rows = 1, context = detail::generate_context(model, o), slots = std::min(o.batch, std::max<std::int64_t>(1, static_cast<std::int64_t>(prompts.size())));
  for (auto& prompt : prompts) rows = std::max(rows, std::min(context, static_cast<std::int64_t>(prompt.size()) + std::max<std::int64_t>(0, o.max_new_tokens)));
  SequenceCache cache(model, slots, rows);
  return generate(cache, prompts, o, on_token);
}

}  // namespace bam
