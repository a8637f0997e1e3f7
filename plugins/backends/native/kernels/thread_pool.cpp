#include "thread_pool.h"
#include <chrono>
#include <cstdio>
#include <set>
#include <string>
#include <utility>
#if defined(__linux__)
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace flyball {
namespace {

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

}  // namespace

void Gate::waitWhile(uint32_t old, int spinMicros) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point until{};
  for (int i = 0;; i++) {
    if (word_.load(std::memory_order_acquire) != old) return;
    relax();
    if ((i & 31) != 31) continue;
    const Clock::time_point now = Clock::now();
    if (i == 31) until = now + std::chrono::microseconds(spinMicros);
    else if (now >= until) break;
  }
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
#if defined(__linux__)
  while (word_.load(std::memory_order_seq_cst) == old)
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word_), FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
#else
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return word_.load(std::memory_order_acquire) != old; });
#endif
  sleepers_.fetch_sub(1, std::memory_order_seq_cst);
}

void Gate::advance() {
#if defined(__linux__)
  word_.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0)
    syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word_), FUTEX_WAKE_PRIVATE, 1 << 30, nullptr, nullptr, 0);
#else
  {
    std::lock_guard<std::mutex> lock(mutex_);
    word_.fetch_add(1, std::memory_order_seq_cst);
  }
  if (sleepers_.load(std::memory_order_seq_cst) > 0) changed_.notify_all();
#endif
}

ThreadPool::ThreadPool(int threads, int spinMicros) : threads_(threads < 1 ? 1 : threads), spinMicros_(spinMicros) {
  for (int i = 1; i < threads_; i++) workers_.emplace_back([this, i] { loop(i); });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  start_.advance();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(Job job, void* context) {
  if (threads_ > 1) {
    job_ = job;
    context_ = context;
    start_.advance();
  }
  job(context, 0);
  barrier();  // the workers' half is in loop(): nobody still runs the job when run() returns
}

void ThreadPool::loop(int thread) {
#if defined(__linux__)
  pthread_setname_np(pthread_self(), "flyball");
#endif
  for (uint32_t seen = 0;;) {
    start_.waitWhile(seen, spinMicros_);
    seen++;
    if (stop_) return;
    job_(context_, thread);
    barrier();
  }
}

int physicalCores() {
#if defined(__linux__)
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    std::set<std::pair<int, int>> cores;  // package, core
    int loose = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
      if (!CPU_ISSET(cpu, &allowed)) continue;
      int ids[2] = {-1, -1};
      const char* names[2] = {"physical_package_id", "core_id"};
      for (int i = 0; i < 2; i++) {
        const std::string path = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/" + names[i];
        if (FILE* file = fopen(path.c_str(), "r")) {
          if (fscanf(file, "%d", &ids[i]) != 1) ids[i] = -1;
          fclose(file);
        }
      }
      if (ids[1] < 0) loose++;
      else cores.insert({ids[0], ids[1]});
    }
    const int count = static_cast<int>(cores.size()) + loose;
    if (count > 0) return count;
  }
#endif
  const int all = static_cast<int>(std::thread::hardware_concurrency());
  return all > 0 ? all : 1;
}

}  // namespace flyball
