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

  // Inside a job, every thread must call it. The last to arrive runs `tail` before the others go on; those call
  // `meanwhile` again and again, each time a microsecond's work at most, until it returns false or they may go on.
  template <class Tail, class Meanwhile> void barrier(Tail&& tail, Meanwhile&& meanwhile) {
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
      while (gate_.value() == phase && meanwhile()) {
      }
      gate_.waitWhile(phase, spinMicros_);
    }
  }
  template <class Tail> void barrier(Tail&& tail) {
    barrier(tail, [] { return false; });
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

// Shares [0, total) out, one phase at a time. Each thread walks a part of its own, so that it reads memory as one
// stream; whoever is done takes chunks from the others' parts. Reset while nobody uses it (in a barrier's tail).
class WorkShare {
 public:
  explicit WorkShare(int threads) : parts_(static_cast<size_t>(threads)) {}

  void reset() {
    for (Part& part : parts_) part.taken.store(0, std::memory_order_relaxed);
  }
  // Where the part of `thread` begins: a multiple of `unit`, as every chunk is.
  int begin(int thread, int total, int unit) const { return static_cast<int>(static_cast<int64_t>(total / unit) * thread / static_cast<int64_t>(parts_.size())) * unit; }
  // False when nothing is left.
  bool take(int thread, int total, int chunk, int unit, int* from, int* to) {
    const int threads = static_cast<int>(parts_.size());
    for (int i = 0; i < threads; i++) {
      const int owner = (thread + i) % threads;
      const int first = begin(owner, total, unit), end = owner + 1 < threads ? begin(owner + 1, total, unit) : total;
      std::atomic<int>& taken = parts_[static_cast<size_t>(owner)].taken;
      if (taken.load(std::memory_order_relaxed) >= end - first) continue;
      const int at = first + taken.fetch_add(chunk, std::memory_order_relaxed);
      if (at >= end) continue;
      *from = at;
      *to = at + chunk < end ? at + chunk : end;
      return true;
    }
    return false;
  }
  bool take(int thread, int total, int chunk, int* from, int* to) { return take(thread, total, chunk, 1, from, to); }

 private:
  struct alignas(64) Part {
    std::atomic<int> taken{0};
  };
  std::vector<Part> parts_;
};

// Cores without their hyper-threads.
int physicalCores();

}  // namespace flyball
