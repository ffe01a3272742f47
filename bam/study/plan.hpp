// Every training of a study: what stands in which folder, with its tokens and FLOPs (docs/method.md, 1.4).
#pragma once
#include <string>
#include <vector>

#include "arms.hpp"

namespace bam::study {

// One training. run: its folder under runs/.
struct Job {
  std::string run, arm, size, match;  // match: "data", "compute", "sweep"; empty for the dense models
  std::int64_t replicate = 0, tokens = 0;
  double flops = 0;
};

// The folder of a run: replicate r, mixture seed m (0: the dense models of a replicate).
inline std::string run_folder(const Size& size, std::int64_t r, std::int64_t m, const std::string& name) {
  return m ? str(size.name, "/r", r, "/m", m, "/", name) : str(size.name, "/r", r, "/", name);
}
inline std::string arm_folder(const Size& size, std::int64_t r, std::int64_t m, const Arm& arm, std::string_view match) {
  return run_folder(size, r, m, match == "compute" ? str(arm.name, "-compute") : arm.name);
}
// A trial of the sweep; all are of the first draw.
inline std::string trial_folder(const Size& size, const Arm& arm, double factor) { return run_folder(size, 1, 1, str(arm.name, "-lr", factor)); }

inline bool trained(const Arm& a) { return a.kind != ArmKind::ensemble && a.kind != ArmKind::average; }
// Arms that are not made of specialists get their tokens of each domain in their own training.
inline bool branches(const Arm& a) { return a.kind != ArmKind::dense && a.kind != ArmKind::copies; }

// Of each domain's validation text, those on which gates and loads are counted.
inline constexpr std::size_t load_documents = 8;

class Plan {
 public:
  explicit Plan(StudyConfig config) : c_(std::move(config)) {}

  double flops_per_token(const ModelConfig& c) const { return static_cast<double>(count_flops(c, c_.context).train_per_token); }
  // Tokens of whole steps.
  std::int64_t whole(std::int64_t tokens) const { return c_.steps(tokens) * c_.batch * c_.context; }

  std::vector<std::string> matches(const Arm& arm) const {
    if (!trained(arm)) return {};
    std::vector<std::string> list{"data"};
    if (c_.compute_matched && std::string_view(arm.name) != "btx") list.push_back("compute");
    return list;
  }
  // Training tokens of an arm's own run: as many of each domain after the seed as BTX, or the FLOPs of BTX after the seed.
  std::int64_t arm_tokens(const Arm& arm, const ModelConfig& dense, std::string_view match) const {
    const std::int64_t branch = branches(arm) ? 0 : 3 * c_.expert_tokens;
    if (match == "data") return branch + c_.mixture_tokens;
    const double flops = static_cast<double>(c_.mixture_tokens) * flops_per_token(arm_config(*find_arm("btx"), dense)) + static_cast<double>(branch) * flops_per_token(dense);
    return static_cast<std::int64_t>(flops / flops_per_token(arm_config(arm, dense)));
  }

  // All of them, in the order in which they run. The points of an arm share a trunk, which is counted with each.
  std::vector<Job> jobs() const {
    std::vector<Job> list;
    auto add = [&](std::string run, const std::string& arm, const Size& size, const std::string& match, std::int64_t replicate, std::int64_t tokens, const ModelConfig& model) {
      list.push_back({std::move(run), arm, size.name, match, replicate, whole(tokens), static_cast<double>(whole(tokens)) * flops_per_token(model)});
    };
    for (const Size& size : c_.sizes) {
      const ModelConfig dense = size.dense(c_.vocab_size, c_.context);
      for (std::int64_t r = 1; r <= c_.replicates; ++r) {
        add(run_folder(size, r, 0, "seed"), "seed", size, "", r, c_.seed_tokens, dense);
        for (const char* d : {"code", "law", "math"}) add(run_folder(size, r, 0, d), d, size, "", r, c_.expert_tokens, dense);
        for (std::int64_t m = 1; m <= c_.mixture_seeds; ++m)
          for (const Arm* arm : c_.arms_of(r)) {
            if (!trained(*arm)) continue;
            if (r == 1 && m == 1)
              for (double factor : c_.sweep) add(trial_folder(size, *arm, factor), arm->name, size, "sweep", 1, c_.sweep_tokens, arm_config(*arm, dense));
            for (const std::string& match : matches(*arm))
              add(arm_folder(size, r, m, *arm, match), arm->name, size, match, (r - 1) * c_.mixture_seeds + m, arm_tokens(*arm, dense, match), arm_config(*arm, dense));
          }
      }
    }
    return list;
  }

 private:
  StudyConfig c_;
};

}  // namespace bam::study
