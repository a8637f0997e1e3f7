// Who computes what in the next step: decode tokens first, then chunks of prompts, under a token budget; who gets pages,
// and who gives them back when they run out. No threads, no device, no clock: a function of its calls alone.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>
#include "kv_pages.h"
#include "sequence.h"

namespace flyball {

struct Limits {
  int32_t maxSequences = 32;
  int32_t tokensPerStep = 512;
};

struct Planned {
  Sequence* sequence;
  int32_t count;  // tokens from sequence->computed on
};

class Scheduler {
 public:
  // `clearPage` is called for every page before a sequence first writes to it.
  Scheduler(int32_t pages, std::function<void(int32_t)> clearPage) : pool_(pages), tree_(pool_), clearPage_(std::move(clearPage)) {}

  void submit(std::unique_ptr<Sequence> sequence);
  // Takes it out and frees its pages; null when it is not here.
  std::unique_ptr<Sequence> remove(uint32_t id);

  // The next step's work; empty when there is nothing to do. Sequences that can never fit get `failed` and are planned
  // with 0 tokens.
  std::vector<Planned> plan(const Limits& limits);
  // After the step: `count` more tokens of it are computed.
  void advance(Sequence* sequence, int32_t count);

  bool idle() const { return running_.empty() && waiting_.empty(); }
  int32_t running() const { return static_cast<int32_t>(running_.size()); }
  int32_t waiting() const { return static_cast<int32_t>(waiting_.size()); }
  int32_t capacityTokens() const { return pool_.capacity() * PrefixTree::kTokens; }
  int32_t usedPages() const { return pool_.capacity() - pool_.free(); }
  int32_t cachedPages() const { return tree_.size(); }
  uint64_t preemptions() const { return preemptions_; }
  const PagePool& pages() const { return pool_; }
  void dropCache() { tree_.clear(); }

 private:
  using List = std::vector<std::unique_ptr<Sequence>>;
  static bool before(const Sequence& a, const Sequence& b);
  static void insertSorted(List& list, std::unique_ptr<Sequence> sequence);
  void admit(const Limits& limits);
  void matchPrefix(Sequence& s);
  void freePages(Sequence& s);
  int32_t ensurePages(Sequence& s, int32_t count, const std::vector<Planned>& plan);
  void preempt(size_t index);

  PagePool pool_;
  PrefixTree tree_;
  std::function<void(int32_t)> clearPage_;
  List running_, waiting_;  // both by priority, then arrival
  uint64_t arrivals_ = 0, preemptions_ = 0;
};

}  // namespace flyball
