// Likelihood of the [[eval]] sets while a run trains: lines for metrics.jsonl, which step was best, and when to stop.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <unordered_map>
#include <vector>

#include "../eval/nll.hpp"
#include "data.hpp"

namespace bam::train {

class Validation {
 public:
  Validation() = default;
  Validation(const RunConfig& config, const DataReader& reader) : context_(config.train.context), micro_batch_(config.train.micro_batch), patience_(config.train.patience) {
    for (const EvalSource& e : config.eval) sets_.push_back({e.name, reader.eval_set(e)});
  }

  // One line a set; true when the mean of their nll is the least so far.
  bool evaluate(const Decoder& model, std::int64_t step, std::vector<io::Json>& lines) {
    double mean = 0;
    for (const Set& set : sets_) {
      const NllResult r = evaluate_nll(model, set.documents, context_, micro_batch_);
      io::Json j = io::Json::object({{"step", step}, {"eval", set.name}, {"nll", r.nll}, {"bits_per_byte", r.bits_per_byte}, {"stderr", r.stderr_nll}});
      for (auto [key, label] : {std::pair{"by_language", &DocumentTokens::lang}, {"by_task", &DocumentTokens::task}})
        if (io::Json groups = nll_by(label, set.documents, r); !groups.empty()) j.set(key, std::move(groups));
      lines.push_back(std::move(j));
      mean += r.nll / static_cast<double>(sets_.size());
    }
    if (sets_.empty()) return false;
    const bool better = mean < best_nll_;
    if (better) {
      best_nll_ = mean;
      best_step_ = step;
    }
    without_ = better ? 0 : without_ + 1;
    return better;
  }

  // What documents or examples of the sets are in the sources too, to the id: a sentence a set that has some.
  std::vector<std::string> overlaps(const std::vector<text::TokenSource>& sources) const {
    std::unordered_map<std::uint64_t, bool> found;
    auto hash = [](const std::int32_t* ids, std::int64_t n) { return XXH3_64bits(ids, static_cast<std::size_t>(n) * sizeof *ids); };
    auto of = [&](const DocumentTokens& d) { return hash(d.ids.data(), static_cast<std::int64_t>(d.ids.size())); };
    for (const Set& set : sets_)
      for (const DocumentTokens& d : set.documents) found[of(d)] = false;
    for (const text::TokenSource& source : sources)
      for (std::int64_t d = 0; d < source.documents() && !found.empty(); ++d)
        if (auto at = found.find(hash(source.ids.data() + source.starts[static_cast<std::size_t>(d)], source.length(d))); at != found.end()) at->second = true;
    std::vector<std::string> out;
    for (const Set& set : sets_) {
      const auto n = std::count_if(set.documents.begin(), set.documents.end(), [&](const DocumentTokens& d) { return found.at(of(d)); });
      if (n > 0) out.push_back(str("[[eval]] ", set.name, ": ", n, " of ", set.documents.size(), " are in [[data]] too, so its nll is partly that of texts trained on"));
    }
    return out;
  }

  std::int64_t best_step() const { return best_step_; }  // -1: none yet
  double best_nll() const { return best_nll_; }
  bool exhausted() const { return patience_ > 0 && without_ >= patience_; }

  io::Json state() const {
    if (best_step_ < 0) return io::Json::object({{"without", without_}});
    return io::Json::object({{"without", without_}, {"step", best_step_}, {"nll", best_nll_}});
  }
  void restore(const io::Json& state) {
    without_ = state.at("without").as_int("state.json: validation", 0);
    const io::Json* step = state.find("step");
    best_step_ = step ? step->as_int("state.json: validation", 0) : -1;
    best_nll_ = step ? state.at("nll").as_double("state.json: validation") : std::numeric_limits<double>::infinity();
  }

 private:
  struct Set {
    std::string name;
    std::vector<DocumentTokens> documents;
  };

  std::int64_t context_ = 1, micro_batch_ = 1, patience_ = 0;
  std::vector<Set> sets_;
  double best_nll_ = std::numeric_limits<double>::infinity();
  std::int64_t best_step_ = -1, without_ = 0;
};

}  // namespace bam::train
