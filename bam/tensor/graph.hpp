// Kernels of a GPU that are recorded once and then run again and again as one (CUDA graphs; PyTorch's are the model): hundreds of launches cost what one does. The same kernels run at the same addresses, so a recording
// holds for the shapes that it was made with, and reads and writes the tensors that it was made with.
#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "kernel.hpp"
#include "storage.hpp"

namespace bam {

// BAM_CUDA_GRAPHS in the environment: off, and every kernel is launched by itself; on, or nothing, and training records its steps. Error(usage): another word.
inline bool graphs_wanted() { return on_unless_off("BAM_CUDA_GRAPHS", "cuda.graphs"); }

// How many recordings this process has run.
inline std::int64_t& replays() {
  static std::int64_t value = 0;
  return value;
}

// Recordings that share their memory, of a GPU alone: what one leaves in tensors of its own, the next may overwrite.
class Graphs {
 public:
  Graphs() = default;
  ~Graphs() { clear(); }
  Graphs(const Graphs&) = delete;
  Graphs& operator=(const Graphs&) = delete;

  // Runs f on the host; its kernels are recorded, not run. f makes no copy from or to the host, and has run before, at these shapes. What it reads and did not make must be kept alive and where it is. Returns the number of
  // the recording.
  template <class F>
  std::size_t record([[maybe_unused]] F f) {
    require_device(Device::cuda);
#ifdef BAM_CUDA
    Allocator& memory = Allocator::get(Device::cuda);
    memory.trim();  // what the kernels used when they were not recorded
    if (!valid()) {
      clear();
      arena_ = memory.make_arena();
    }
    struct Inside {
      Allocator& memory;
      Inside(Allocator& m, int arena) : memory(m) {
        cuda::begin_recording();
        memory.enter_arena(arena);
      }
      ~Inside() {
        if (!ended) cuda::abandon_recording();
        memory.enter_arena(0);
      }
      bool ended = false;
    } inside(memory, arena_);
    const std::int64_t before = launches(Device::cuda);
    f();
    inside.ended = true;
    recordings_.push_back({cuda::end_recording(), std::exchange(launches(Device::cuda), before) - before});
#endif
    return recordings_.size() - 1;
  }
  // Runs a recording; false: it cannot be run any more, for its memory was needed elsewhere. Record again, then.
  bool replay([[maybe_unused]] std::size_t recording) {
#ifdef BAM_CUDA
    const Recording& r = recordings_[recording];
    if (!valid() || !cuda::replay(*r.kernels)) return false;
    launches(Device::cuda) += r.launches;
    ++replays();
    return true;
#else
    return false;
#endif
  }
  // Whether recordings have memory.
  bool valid() const { return arena_ != 0 && Allocator::get(Device::cuda).has_arena(arena_); }
  void clear() {
    recordings_.clear();
    if (valid()) Allocator::get(Device::cuda).dissolve_arena(arena_);
    arena_ = 0;
  }

 private:
  int arena_ = 0;
  struct Recording {
#ifdef BAM_CUDA
    std::shared_ptr<cuda::Recording> kernels;
#endif
    std::int64_t launches = 0;
  };
  std::vector<Recording> recordings_;
};

}  // namespace bam
