// The engine: its own thread runs one step after another while there is work, and hands each step's events over in one
// packet. Everything public may be called from any thread.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>
#include "device.h"
#include "scheduler.h"
#include "sequence.h"
#include "thread_pool.h"

namespace flyball {

// Words of an event packet, one event after the other; floats as their bits.
enum Event : int32_t {
  kEventFirst = 1,   // id, cached tokens, queue microseconds, prefill microseconds
  kEventToken = 2,   // id, token, logprob, n, n x (token, logprob)
  kEventFinish = 3,  // id, Finish, index of the stop string or -1
  kEventFloats = 4,  // id, n, n floats: an embedding, or a scored text's log probabilities and then its hits (0 or 1)
};

struct EngineStats {
  uint64_t steps = 0, promptTokens = 0, cachedTokens = 0, generatedTokens = 0, preemptions = 0;
  int32_t running = 0, waiting = 0, kvPages = 0, kvCapacityPages = 0, cachedPages = 0, lastBatchTokens = 0;
  double stepMillis = 0, busyMillis = 0;  // the last step, all steps
};

// Bytes of each token's text, for stop strings.
struct TokenText {
  std::vector<uint32_t> offsets;  // [vocabulary + 1]; empty: no text known
  std::vector<char> bytes;
};

class Engine {
 public:
  using Sink = std::function<void(std::vector<int32_t>&&)>;

  // `sink` is called on the engine's thread.
  Engine(std::unique_ptr<Device> device, ThreadPool& pool, int32_t vocabulary, int32_t context, Limits limits, TokenText text, Sink sink);
  ~Engine();

  void submit(Request request);
  void cancel(uint32_t id);  // no event follows once the next step has begun
  void setLimits(Limits limits);
  void dropCache();
  EngineStats stats() const;
  int32_t contextLength() const { return context_; }

 private:
  struct Command {
    enum { kSubmit, kCancel, kDropCache } what;
    uint32_t id;
    std::unique_ptr<Sequence> sequence;
  };

  void loop();
  bool takeCommands(Limits* limits);
  void step(const Limits& limits);
  void build();
  void sampleRows();
  void deliver(Sequence& s, size_t output);
  void finish(Sequence& s, Finish why, int32_t stopIndex);
  int32_t matchStopString(Sequence& s, int32_t token) const;
  void publish(double millis, int32_t rows);

  std::unique_ptr<Device> device_;
  ThreadPool& pool_;
  const int32_t vocabulary_, context_;
  const TokenText text_;
  const Sink sink_;
  Scheduler scheduler_;

  // Of the current step.
  struct Row {
    Sequence* sequence;
    size_t output;       // index into the batch's outputRows
    int32_t target;      // kScore: the token whose probability is wanted; -1: sample
    Sampled sampled;
    double score = 0;
    bool hit = false;
  };
  Batch batch_;
  std::vector<Planned> plan_;
  std::vector<Row> rows_;                              // with logits
  std::vector<std::pair<Sequence*, size_t>> hidden_;   // without: sequence, output
  std::vector<uint32_t> finished_;
  std::vector<int32_t> events_;
  EngineStats counts_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Command> commands_;  // bounded by the caller's cap on waiting requests
  Limits limits_;
  EngineStats published_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace flyball
