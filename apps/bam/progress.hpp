// The live line of a training run, and the signals that stop one.
#pragma once
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "bam/train/step.hpp"
#include "output.hpp"
#include "verbs.hpp"

namespace bam::app {

// The first signal asks for a save; the second, with the default action back, ends the process.
inline volatile std::sig_atomic_t stop_signal = 0;
inline void on_signal(int s) {
  stop_signal = s;
  std::signal(s, SIG_DFL);
}

inline void catch_signals() {
  for (int s : {SIGINT, SIGTERM, SIGHUP})
    if (std::signal(s, on_signal) == SIG_IGN) std::signal(s, SIG_IGN);  // nohup's, say
}

inline std::string duration(double seconds) {
  auto s = static_cast<std::int64_t>(seconds + 0.5);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

// One live line on a terminal, at most ten times a second; plain lines elsewhere, each twentieth of the run.
class Progress {
 public:
  Progress(const Common& common, double flops_per_token, double limit) : common_(common), flops_(flops_per_token), limit_(limit) {}
  void operator()(std::int64_t step, std::int64_t steps, const StepResult& r, double lr, double rate) {
    if (common_.quiet) return;
    auto now = std::chrono::steady_clock::now();
    if (first_ < 0) {
      first_ = step - 1;
      start_ = now;
    }
    double elapsed = std::chrono::duration<double>(now - start_).count();
    double per_step = step > first_ + 1 ? elapsed / static_cast<double>(step - first_ - 1) : 0;
    bool live = isatty(2);
    std::int64_t every = std::max<std::int64_t>(1, steps / 20);
    if (live ? step != steps && std::chrono::duration<double>(now - last_).count() < 0.1 : step % every != 0 && step != steps && step != first_ + 1) return;
    last_ = now;
    say(fmt::format("{}step {}/{}  loss {:.4f}  nll {:.4f}  |g| {:.3f}  lr {:.2e}  {:.0f} tok/s{}  ETA {}{}", live ? "\r\033[K" : "", step, steps, r.loss, r.nll,
                    r.gradient_norm, lr, rate, limit_ > 0 ? fmt::format("  {:.0f}% of peak", 100 * rate * flops_ / limit_) : "", per_step > 0 ? duration(per_step * static_cast<double>(steps - step)) : "?",
                    live && step != steps ? "" : "\n"));
  }

 private:
  const Common& common_;
  double flops_, limit_;
  std::int64_t first_ = -1;
  std::chrono::steady_clock::time_point start_, last_;
};

}  // namespace bam::app
