#include "scheduler.h"
#include <algorithm>

namespace flyball {
namespace {

constexpr int32_t kPageTokens = PrefixTree::kTokens;
int32_t pagesFor(int32_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

}  // namespace

bool Scheduler::before(const Sequence& a, const Sequence& b) {
  if (a.request.priority != b.request.priority) return a.request.priority > b.request.priority;
  return a.arrival < b.arrival;
}

void Scheduler::insertSorted(List& list, std::unique_ptr<Sequence> sequence) {
  const auto at = std::upper_bound(list.begin(), list.end(), sequence, [](const auto& a, const auto& b) { return before(*a, *b); });
  list.insert(at, std::move(sequence));
}

void Scheduler::submit(std::unique_ptr<Sequence> sequence) {
  sequence->arrival = ++arrivals_;
  sequence->tokens = sequence->request.prompt;
  insertSorted(waiting_, std::move(sequence));
}

std::unique_ptr<Sequence> Scheduler::remove(uint32_t id) {
  for (List* list : {&running_, &waiting_}) {
    const auto found = std::find_if(list->begin(), list->end(), [&](const auto& s) { return s->request.id == id; });
    if (found == list->end()) continue;
    std::unique_ptr<Sequence> sequence = std::move(*found);
    list->erase(found);
    freePages(*sequence);
    return sequence;
  }
  return nullptr;
}

void Scheduler::freePages(Sequence& s) {
  tree_.unpin(s.treeNode);
  s.treeNode = nullptr;
  for (const int32_t page : s.pages)
    if (page >= 0) pool_.release(page);
  s.pages.clear();
  s.computed = s.windowPassed = s.treePages = 0;
}

void Scheduler::preempt(size_t index) {
  std::unique_ptr<Sequence> sequence = std::move(running_[index]);
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(index));
  freePages(*sequence);
  sequence->pooled.clear();
  sequence->scores.clear();
  sequence->hits.clear();
  preemptions_++;
  insertSorted(waiting_, std::move(sequence));
}

// Takes whole pages of the tokens' beginning from the prefix tree; at least one token stays to be computed.
void Scheduler::matchPrefix(Sequence& s) {
  if (!s.request.cache || s.request.kind != Kind::kGenerate) return;
  const int32_t most = (static_cast<int32_t>(s.tokens.size()) - 1) / kPageTokens;
  PrefixTree::Node* node = nullptr;
  while (s.treePages < most) {
    PrefixTree::Node* next = tree_.find(s.root, node, s.tokens.data() + s.treePages * kPageTokens);
    if (next == nullptr) break;
    node = next;
    pool_.share(node->page);
    s.pages.push_back(node->page);
    s.treePages++;
  }
  tree_.pin(node);
  s.treeNode = node;
  s.computed = s.treePages * kPageTokens;
}

void Scheduler::admit(const Limits& limits) {
  if (waiting_.empty()) return;
  int32_t promised = 0;  // pages that those running will still take for what they have to compute
  for (const auto& s : running_) promised += pagesFor(static_cast<int32_t>(s->tokens.size()) + 1) - static_cast<int32_t>(s->pages.size());
  while (!waiting_.empty() && static_cast<int32_t>(running_.size()) < limits.maxSequences) {
    Sequence& s = *waiting_.front();
    matchPrefix(s);
    const int32_t wanted = pagesFor(static_cast<int32_t>(s.tokens.size()) + 1) - static_cast<int32_t>(s.pages.size());
    if (!running_.empty() && promised + wanted > pool_.free() + tree_.evictable()) {
      freePages(s);
      return;  // in order: a smaller one behind does not overtake
    }
    promised += wanted;
    if (!s.admittedBefore) s.cachedTokens = s.computed;
    s.admittedBefore = true;
    std::unique_ptr<Sequence> admitted = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    insertSorted(running_, std::move(admitted));
  }
}

// As many of `count` tokens as pages can be had for: free ones, then the cache's, then those of the last in order that
// is behind `s` and has no work planned yet.
int32_t Scheduler::ensurePages(Sequence& s, int32_t count, const std::vector<Planned>& plan) {
  while (static_cast<int32_t>(s.pages.size()) * kPageTokens < s.computed + count) {
    int32_t page = pool_.acquire();
    while (page < 0) {
      if (!tree_.evict()) {
        size_t victim = running_.size();
        while (victim-- > 0) {
          Sequence* candidate = running_[victim].get();
          if (candidate == &s || !before(s, *candidate)) { victim = running_.size(); break; }
          if (candidate->pages.empty()) continue;
          if (std::none_of(plan.begin(), plan.end(), [&](const Planned& p) { return p.sequence == candidate; })) break;
        }
        if (victim >= running_.size()) return std::max(0, static_cast<int32_t>(s.pages.size()) * kPageTokens - s.computed);
        preempt(victim);
      }
      page = pool_.acquire();
    }
    clearPage_(page);
    s.pages.push_back(page);
  }
  return count;
}

std::vector<Planned> Scheduler::plan(const Limits& limits) {
  admit(limits);
  std::vector<Planned> plan;
  int32_t budget = std::max(1, limits.tokensPerStep);
  for (const bool decode : {true, false}) {
    // Copied: preemption takes sequences out of running_ while we walk.
    std::vector<Sequence*> order;
    for (const auto& s : running_)
      if (s->decoding() == decode) order.push_back(s.get());
    for (Sequence* s : order) {
      if (budget == 0) break;
      if (std::none_of(running_.begin(), running_.end(), [&](const auto& r) { return r.get() == s; })) continue;
      const int32_t left = static_cast<int32_t>(s->tokens.size()) - s->computed;
      const int32_t count = ensurePages(*s, std::min(left, budget), plan);
      if (count == 0) continue;
      plan.push_back({s, count});
      budget -= count;
    }
  }
  if (plan.empty() && !running_.empty()) {
    // The first in order could not get a page though nobody else has work planned: everything is its own or pinned.
    Sequence* s = running_.front().get();
    if (running_.size() > 1) {
      preempt(running_.size() - 1);
      return this->plan(limits);
    }
    s->failed = true;
    plan.push_back({s, 0});
  }
  return plan;
}

void Scheduler::advance(Sequence* s, int32_t count) {
  s->computed += count;
  if (s->request.cache && s->request.kind == Kind::kGenerate) {
    while ((s->treePages + 1) * kPageTokens <= s->computed && s->pages[static_cast<size_t>(s->treePages)] >= 0) {
      const size_t index = static_cast<size_t>(s->treePages);
      PrefixTree::Node* node = tree_.insert(s->root, s->treeNode, s->tokens.data() + index * kPageTokens, s->pages[index]);
      tree_.pin(node);
      tree_.unpin(s->treeNode);
      s->treeNode = node;
      s->treePages++;
    }
  }
  if (s->request.window > 0) {
    // The next position sees those above computed - window; whole pages below that and behind the sinks go back.
    while ((s->windowPassed + 1) * kPageTokens - 1 <= s->computed - s->request.window && s->windowPassed < static_cast<int32_t>(s->pages.size())) {
      int32_t& page = s->pages[static_cast<size_t>(s->windowPassed)];
      if (s->windowPassed * kPageTokens >= s->request.sinks && page >= 0) {
        pool_.release(page);
        page = -1;
      }
      s->windowPassed++;
    }
  }
}

}  // namespace flyball
