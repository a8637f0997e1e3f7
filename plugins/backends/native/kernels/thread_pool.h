// A persistent pool for one job at a time. All threads (the caller is number 0) run the same function and meet at
// barriers inside it. Waiting is a short bounded spin and then a futex, so that shared cores are given up.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>
#if !defined(__linux__)
#include <condition_variable>
#include <mutex>
#endif

namespace flyball {

// A word that threads wait on until it changes.
class Gate {
 public:
  uint32_t value() const { return word_.load(std::memory_order_acquire); }
  void waitWhile(uint32_t old, int spinMicros);  // returns once value() != old
  void advance();                                // changes the value and wakes all

 private:
  std::atomic<uint32_t> word_{0};
  std::atomic<uint32_t> sleepers_{0};
#if !defined(__linux__)
  std::mutex mutex_;
  std::condition_variable changed_;
#endif
};

class ThreadPool {
 public:
  using Job = void (*)(void* context, int thread);

  explicit ThreadPool(int threads, int spinMicros = 30);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return threads_; }
  void run(Job job, void* context);

  // Inside a job, every thread must call it. The last to arrive runs `tail` (may be null) before the others go on.
  template <class Tail> void barrier(Tail&& tail) {
    if (threads_ == 1) {
      tail();
      return;
    }
    const uint32_t phase = gate_.value();
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
      tail();
      arrived_.store(0, std::memory_order_relaxed);
      gate_.advance();
    } else {
      gate_.waitWhile(phase, spinMicros_);
    }
  }
  void barrier() {
    barrier([] {});
  }

 private:
  void loop(int thread);

  const int threads_;
  const int spinMicros_;
  Job job_ = nullptr;
  void* context_ = nullptr;
  bool stop_ = false;
  Gate start_;
  Gate gate_;
  std::atomic<int> arrived_{0};
  std::vector<std::thread> workers_;
};

// Hands out [0, total) in chunks; one per phase, reset while nobody uses it (in a barrier's tail).
class ChunkCounter {
 public:
  void reset() { next_.store(0, std::memory_order_relaxed); }
  // False when nothing is left.
  bool take(int total, int chunk, int* from, int* to) {
    const int at = next_.fetch_add(chunk, std::memory_order_relaxed);
    if (at >= total) return false;
    *from = at;
    *to = at + chunk < total ? at + chunk : total;
    return true;
  }

 private:
  alignas(64) std::atomic<int> next_{0};
};

// Cores without their hyper-threads.
int physicalCores();

}  // namespace flyball
