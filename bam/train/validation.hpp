// Likelihood of the [[eval]] sets while a run trains: lines for metrics.jsonl, which step was best, and when to stop.
#pragma once
#include <cstdint>
#include <limits>
#include <string>
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
