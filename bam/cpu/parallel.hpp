// The one thread pool. Tasks are claimed dynamically from fixed tiles, so the number of threads changes no bits.
// Workers spin for a bounded time, then park: a pure spin collapses when the cores are shared.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "../core/error.hpp"
#include "../kernels.hpp"

namespace bam::cpu {

class ThreadPool {
 public:
  explicit ThreadPool(int workers) { start(workers); }
  ~ThreadPool() { stop(); }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int workers() const { return static_cast<int>(threads_.size()) + 1; }

  // Never while work runs.
  void resize(int workers) {
    if (workers == this->workers()) return;
    stop();
    start(workers);
  }

  // Runs body(context, i, worker) for each i in [0, n); the caller is worker 0. One job at a time: callers queue.
  // A nested call from inside a body runs its tasks itself. That holds for bodies that use no scratch; ops and kernels use it, also
  // outside of a job: they are called from one thread at a time and not from inside a body.
  // The first exception of a body ends the job, and is thrown here when no body runs any more.
  void parallel(std::int64_t n, Exec::Body body, void* context) {
    if (inside() || n <= 1 || threads_.empty()) {
      for (std::int64_t i = 0; i < n; ++i) body(context, i, worker_index());
      return;
    }
    std::lock_guard one(job_mutex_);
    body_ = body;
    context_ = context;
    n_ = n;
    next_.store(0, std::memory_order_relaxed);
    running_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
    {
      std::lock_guard lock(mutex_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    inside() = true;
    claim(0);
    inside() = false;
    for (int spin = 0; running_.load(std::memory_order_acquire) != 0; ++spin)
      if (spin < spin_limit) __builtin_ia32_pause();
      else std::this_thread::yield();
    if (failed_.load(std::memory_order_relaxed)) {
      failed_.store(false, std::memory_order_relaxed);
      std::rethrow_exception(std::exchange(failure_, nullptr));
    }
  }

  void* scratch(int worker, std::size_t bytes) {
    Scratch& s = scratch_[static_cast<std::size_t>(worker)];
    if (s.size < bytes) {
      const std::size_t size = (bytes + 4095) / 4096 * 4096;
      s.block.reset(static_cast<std::byte*>(::operator new(size, std::align_val_t{64})));
      s.size = size;
    }
    return s.block.get();
  }

  Exec exec() {
    return {[](void* p, std::int64_t n, Exec::Body body, void* c) { static_cast<ThreadPool*>(p)->parallel(n, body, c); },
            [](void* p, int worker, std::size_t bytes) { return static_cast<ThreadPool*>(p)->scratch(worker, bytes); },
            this, workers()};
  }

 private:
  struct Free {
    void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t{64}); }
  };
  struct Scratch {
    std::unique_ptr<std::byte, Free> block;
    std::size_t size = 0;
  };
  static constexpr int spin_limit = 4000;  // about 50 to 100 microseconds

  static bool& inside() {
    thread_local bool value = false;
    return value;
  }
  static int& worker_index() {
    thread_local int value = 0;
    return value;
  }

  void claim(int worker) {
    try {
      for (std::int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < n_;) body_(context_, i, worker);
    } catch (...) {
      next_.store(n_, std::memory_order_relaxed);  // no further tasks
      if (!failed_.exchange(true, std::memory_order_relaxed)) failure_ = std::current_exception();
    }
  }

  void work(int worker, std::uint64_t seen) {
    inside() = true;
    worker_index() = worker;
    for (;;) {
      for (int spin = 0; generation_.load(std::memory_order_acquire) == seen && spin < spin_limit; ++spin)
        __builtin_ia32_pause();
      if (generation_.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
      }
      seen = generation_.load(std::memory_order_acquire);
      if (stopping_.load(std::memory_order_acquire)) return;
      claim(worker);
      running_.fetch_sub(1, std::memory_order_release);
    }
  }

  void start(int workers) {
    check(workers >= 1 && workers <= 1024, "threads.range", "threads: wanted 1 to 1024, got ", workers);
    stopping_.store(false);
    scratch_ = std::vector<Scratch>(static_cast<std::size_t>(workers) + 1);
    std::uint64_t now = generation_.load();
    for (int i = 1; i < workers; ++i) threads_.emplace_back([this, i, now] { work(i, now); });
  }
  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_.store(true);
      generation_.fetch_add(1);
    }
    wake_.notify_all();
    for (auto& t : threads_) t.join();
    threads_.clear();
  }

  std::vector<std::thread> threads_;
  std::vector<Scratch> scratch_;
  std::mutex mutex_, job_mutex_;
  std::condition_variable wake_;
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<std::int64_t> next_{0};
  std::atomic<int> running_{0};
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;  // of who set failed_; read when running_ is 0
  Exec::Body body_ = nullptr;
  void* context_ = nullptr;
  std::int64_t n_ = 0;
};

inline ThreadPool& pool() {
  static ThreadPool value([] {
    int n = static_cast<int>(std::thread::hardware_concurrency());
    return n < 1 ? 1 : n > 1024 ? 1024 : n;
  }());
  return value;
}

}  // namespace bam::cpu
