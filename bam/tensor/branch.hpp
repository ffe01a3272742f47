// Two branches of a computation on a GPU, neither of which reads what the other writes: their kernels run side by side on two streams, so that one's small kernels and last tiles fill what the other leaves idle. On the
// CPU nothing happens: a branch follows the other. The backward of what was recorded in a branch runs in that branch (tape.hpp). What both read was made before, and what is made in a branch is not read by the other.
#pragma once
#include "storage.hpp"

namespace bam {

// BAM_CUDA_BRANCHES in the environment. off: one stream; on, or nothing: two where a model has branches. Same bits. Error(usage): another word.
inline bool branches_wanted() { return on_unless_off("BAM_CUDA_BRANCHES", "cuda.branches"); }

namespace detail {
// 0: no branch. The main thread's.
struct Branch {
  int now = 0;       // in which kernels are launched and tensors are made
  int backward = 0;  // in which the backward of what is recorded will run
};
inline Branch& branch() {
  static Branch value;
  return value;
}
// From none to one both begin, from one to none they are joined: what follows may read what either made.
inline void enter_branch([[maybe_unused]] int to) {
#ifdef BAM_CUDA
  if (branch().now == to) return;
  branch().now = to;
  Allocator::get(Device::cuda).enter_branch(to);
  cuda::enter_branch(to);
#endif
}
// On the way out with an error, which is told by who met it.
inline void leave_branches() noexcept {
  try {
    enter_branch(0);
  } catch (...) {
  }
}
}  // namespace detail

// What follows is the first branch, what follows second() is the second, what follows end() may read both; what follows join() may too, while its backward still is the second branch's, which it begins.
class Branches {
 public:
  Branches(Device device, bool wanted) : on_(device == Device::cuda && wanted && detail::branch().now == 0 && branches_wanted()) {
    try {
      enter(1);
    } catch (...) {
      leave();
      throw;
    }
  }
  ~Branches() { leave(); }
  Branches(const Branches&) = delete;
  Branches& operator=(const Branches&) = delete;
  void second() { enter(2); }
  void join() {
    if (on_) detail::enter_branch(0);
  }
  void end() { enter(0); }

 private:
  void enter(int which) {
    if (!on_) return;
    detail::branch().backward = which;
    detail::enter_branch(which);
  }
  void leave() noexcept {
    if (!on_) return;
    detail::leave_branches();
    detail::branch().backward = 0;
  }
  bool on_;
};

}  // namespace bam
