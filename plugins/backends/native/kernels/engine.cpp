#include "engine.h"
#include <algorithm>
#include <cstring>

namespace flyball {
namespace {

using Clock = std::chrono::steady_clock;

// Rows of logits held at once while a text is scored.
constexpr int32_t kScoreRows = 64;

int32_t bitsOf(float f) {
  int32_t bits;
  memcpy(&bits, &f, 4);
  return bits;
}

int32_t microseconds(Clock::duration d) { return static_cast<int32_t>(std::min<int64_t>(std::chrono::duration_cast<std::chrono::microseconds>(d).count(), INT32_MAX)); }

}  // namespace

Engine::Engine(std::unique_ptr<Device> device, ThreadPool& pool, int32_t vocabulary, int32_t context, Limits limits, TokenText text, Sink sink)
    : device_(std::move(device)), pool_(pool), vocabulary_(vocabulary),
      context_(std::min<int64_t>(context, static_cast<int64_t>(device_->pageCount()) * PrefixTree::kTokens)),
      text_(std::move(text)), sink_(std::move(sink)),
      scheduler_(device_->pageCount(), [this](int32_t page) { device_->clearPage(page); }), limits_(limits) {
  counts_.kvCapacityPages = published_.kvCapacityPages = device_->pageCount();
  thread_ = std::thread([this] { loop(); });
}

Engine::~Engine() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Engine::submit(Request request) {
  auto sequence = std::make_unique<Sequence>();
  sequence->root = request.cacheSpace + "/" + std::to_string(request.window) + "/" + std::to_string(request.sinks);
  sequence->arrived = Clock::now();
  const uint32_t id = request.id;
  sequence->request = std::move(request);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    commands_.push_back({Command::kSubmit, id, std::move(sequence)});
  }
  wake_.notify_all();
}

void Engine::cancel(uint32_t id) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    commands_.push_back({Command::kCancel, id, nullptr});
  }
  wake_.notify_all();
}

void Engine::dropCache() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    commands_.push_back({Command::kDropCache, 0, nullptr});
  }
  wake_.notify_all();
}

void Engine::setLimits(Limits limits) {
  std::lock_guard<std::mutex> lock(mutex_);
  limits_ = limits;
}

EngineStats Engine::stats() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return published_;
}

// False when the engine is to stop.
bool Engine::takeCommands(Limits* limits) {
  std::vector<Command> commands;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [this] { return stop_ || !commands_.empty() || !scheduler_.idle(); });
    if (stop_) return false;
    commands.swap(commands_);
    *limits = limits_;
  }
  for (Command& command : commands) {
    if (command.what == Command::kSubmit) scheduler_.submit(std::move(command.sequence));
    else if (command.what == Command::kCancel) scheduler_.remove(command.id);
    else scheduler_.dropCache();
  }
  return true;
}

void Engine::loop() {
  Limits limits;
  while (takeCommands(&limits)) {
    if (scheduler_.idle()) {
      publish(0, 0);
      continue;
    }
    step(limits);
  }
}

void Engine::step(const Limits& limits) {
  const Clock::time_point start = Clock::now();
  events_.clear();
  finished_.clear();
  plan_ = scheduler_.plan(limits);
  build();
  if (!batch_.tokens.empty()) device_->forward(batch_);
  sampleRows();
  for (const Planned& p : plan_) {
    if (p.count == 0) continue;
    if (p.sequence->generated == 0) counts_.promptTokens += static_cast<uint64_t>(p.count);
    scheduler_.advance(p.sequence, p.count);
  }
  for (const auto& [sequence, output] : hidden_) deliver(*sequence, output);
  for (size_t i = 0; i < rows_.size(); i++) deliver(*rows_[i].sequence, i);
  for (const Planned& p : plan_)
    if (p.sequence->failed) finish(*p.sequence, Finish::kFailed, -1);
  counts_.steps++;
  const int32_t rows = static_cast<int32_t>(batch_.tokens.size());
  for (const uint32_t id : finished_) scheduler_.remove(id);
  publish(std::chrono::duration<double, std::milli>(Clock::now() - start).count(), rows);
  if (!events_.empty()) sink_(std::move(events_));
  events_ = {};
}

void Engine::publish(double millis, int32_t rows) {
  if (rows > 0) {
    counts_.stepMillis = millis;
    counts_.busyMillis += millis;
    counts_.lastBatchTokens = rows;
  }
  counts_.running = scheduler_.running();
  counts_.waiting = scheduler_.waiting();
  counts_.kvPages = scheduler_.usedPages();
  counts_.cachedPages = scheduler_.cachedPages();
  counts_.preemptions = scheduler_.preemptions();
  std::lock_guard<std::mutex> lock(mutex_);
  published_ = counts_;
}

void Engine::build() {
  batch_.tokens.clear();
  batch_.positions.clear();
  batch_.segments.clear();
  batch_.outputRows.clear();
  rows_.clear();
  hidden_.clear();
  std::vector<int32_t> hiddenRows;
  for (Planned& p : plan_) {
    Sequence& s = *p.sequence;
    if (p.count == 0) continue;
    if (s.admitted == Clock::time_point{}) s.admitted = Clock::now();
    if (s.request.kind == Kind::kScore) p.count = std::min(p.count, kScoreRows);
    const int32_t first = static_cast<int32_t>(batch_.tokens.size());
    batch_.segments.push_back({first, p.count, s.computed, s.pages.data(), static_cast<int32_t>(s.pages.size()), s.request.window, s.request.sinks});
    for (int32_t i = 0; i < p.count; i++) {
      batch_.tokens.push_back(s.tokens[static_cast<size_t>(s.computed + i)]);
      batch_.positions.push_back(s.computed + i);
    }
    const bool complete = s.computed + p.count == static_cast<int32_t>(s.tokens.size());
    const int32_t last = first + p.count - 1;
    switch (s.request.kind) {
      case Kind::kGenerate:
        if (complete) {
          rows_.push_back({&s, batch_.outputRows.size(), -1, {}, 0, false});
          batch_.outputRows.push_back(last);
        }
        break;
      case Kind::kScore:
        for (int32_t i = 0; i < p.count; i++) {
          const size_t next = static_cast<size_t>(s.computed + i + 1);
          if (next >= s.tokens.size()) break;
          rows_.push_back({&s, batch_.outputRows.size(), s.tokens[next], {}, 0, false});
          batch_.outputRows.push_back(first + i);
        }
        break;
      case Kind::kEmbedMean:
        for (int32_t i = 0; i < p.count; i++) {
          hidden_.emplace_back(&s, hiddenRows.size());
          hiddenRows.push_back(first + i);
        }
        break;
      case Kind::kEmbedLast:
        if (complete) {
          hidden_.emplace_back(&s, hiddenRows.size());
          hiddenRows.push_back(last);
        }
        break;
    }
  }
  batch_.logitRows = static_cast<int32_t>(batch_.outputRows.size());
  for (auto& [sequence, output] : hidden_) output += batch_.outputRows.size();
  batch_.outputRows.insert(batch_.outputRows.end(), hiddenRows.begin(), hiddenRows.end());
}

void Engine::sampleRows() {
  struct Work {
    Engine* engine;
    WorkShare share;
    void rows(int thread) {
      for (int from, to; share.take(thread, static_cast<int>(engine->rows_.size()), 1, &from, &to);) {
        Row& row = engine->rows_[static_cast<size_t>(from)];
        float* logits = engine->device_->logits(row.output);
        if (row.target >= 0) {
          row.score = logProbability(logits, engine->vocabulary_, row.target);
          row.hit = std::max_element(logits, logits + engine->vocabulary_) - logits == row.target;
          continue;
        }
        const Sequence& s = *row.sequence;
        const int32_t count = std::min<int32_t>(kRepetitionWindow, static_cast<int32_t>(s.tokens.size()));
        row.sampled = sample(logits, engine->vocabulary_, s.request.sampling, static_cast<uint64_t>(s.generated),
                             s.tokens.data() + s.tokens.size() - count, count, s.request.topLogprobs);
      }
    }
  } work{this, WorkShare(pool_.size())};
  if (rows_.size() > 1) pool_.run([](void* context, int thread) { static_cast<Work*>(context)->rows(thread); }, &work);
  else work.rows(0);
}

// One output of the step to its sequence: a sampled token, a score, or a hidden state (`output` then counts outputs).
void Engine::deliver(Sequence& s, size_t output) {
  const auto first = [&] {
    if (s.started) return;
    s.started = true;
    const Clock::time_point now = Clock::now();
    counts_.cachedTokens += static_cast<uint64_t>(s.cachedTokens);
    events_.insert(events_.end(), {kEventFirst, static_cast<int32_t>(s.request.id), s.cachedTokens, microseconds(s.admitted - s.arrived), microseconds(now - s.admitted)});
  };
  const auto floats = [&](const auto& values) {
    events_.insert(events_.end(), {kEventFloats, static_cast<int32_t>(s.request.id), static_cast<int32_t>(values.size())});
    for (const auto value : values) events_.push_back(bitsOf(static_cast<float>(value)));
  };
  if (s.request.kind == Kind::kEmbedMean || s.request.kind == Kind::kEmbedLast) {
    const float* hidden = device_->hidden(output);
    const size_t dim = device_->hiddenSize();
    if (s.pooled.empty()) s.pooled.assign(dim + 1, 0.0);  // the last one counts tokens
    for (size_t d = 0; d < dim; d++) s.pooled[d] += hidden[d];
    s.pooled[dim] += 1;
    const double wanted = s.request.kind == Kind::kEmbedMean ? static_cast<double>(s.tokens.size()) : 1.0;
    if (s.pooled[dim] < wanted) return;
    s.pooled.pop_back();
    for (double& value : s.pooled) value /= wanted;
    first();
    floats(s.pooled);
    finish(s, Finish::kDone, -1);
    return;
  }
  const Row& row = rows_[output];
  if (s.request.kind == Kind::kScore) {
    s.scores.push_back(static_cast<float>(row.score));
    s.hits.push_back(row.hit ? 1.0f : 0.0f);
    if (s.scores.size() + 1 < s.tokens.size()) return;
    first();
    s.scores.insert(s.scores.end(), s.hits.begin(), s.hits.end());
    floats(s.scores);
    finish(s, Finish::kDone, -1);
    return;
  }
  first();
  if (!row.sampled.finite) return finish(s, Finish::kFailed, -1);
  const int32_t token = row.sampled.token;
  if (s.request.maxTokens <= 0) return finish(s, Finish::kLength, -1);
  if (std::find(s.request.stopTokens.begin(), s.request.stopTokens.end(), token) != s.request.stopTokens.end()) return finish(s, Finish::kStop, -1);
  s.tokens.push_back(token);
  s.generated++;
  counts_.generatedTokens++;
  events_.insert(events_.end(), {kEventToken, static_cast<int32_t>(s.request.id), token, bitsOf(row.sampled.logprob), static_cast<int32_t>(row.sampled.top.size())});
  for (const auto& [other, logprob] : row.sampled.top) events_.insert(events_.end(), {other, bitsOf(logprob)});
  const int32_t stop = matchStopString(s, token);
  if (stop >= 0) return finish(s, Finish::kStop, stop);
  if (s.generated >= s.request.maxTokens || static_cast<int32_t>(s.tokens.size()) >= context_) finish(s, Finish::kLength, -1);
}

void Engine::finish(Sequence& s, Finish why, int32_t stopIndex) {
  events_.insert(events_.end(), {kEventFinish, static_cast<int32_t>(s.request.id), static_cast<int32_t>(why), stopIndex});
  finished_.push_back(s.request.id);
}

// The stop string that this token completes, the one that ends first; -1: none.
int32_t Engine::matchStopString(Sequence& s, int32_t token) const {
  if (s.request.stopStrings.empty() || static_cast<size_t>(token) + 1 >= text_.offsets.size()) return -1;
  const uint32_t from = text_.offsets[static_cast<size_t>(token)], to = text_.offsets[static_cast<size_t>(token) + 1];
  s.tail.append(text_.bytes.data() + from, to - from);
  int32_t best = -1;
  size_t bestEnd = std::string::npos, longest = 0;
  for (size_t i = 0; i < s.request.stopStrings.size(); i++) {
    const std::string& stop = s.request.stopStrings[i];
    longest = std::max(longest, stop.size());
    const size_t at = s.tail.find(stop);
    if (at == std::string::npos || at + stop.size() >= bestEnd) continue;
    bestEnd = at + stop.size();
    best = static_cast<int32_t>(i);
  }
  if (best < 0 && s.tail.size() >= longest) s.tail.erase(0, s.tail.size() - (longest - 1));
  return best;
}

}  // namespace flyball
