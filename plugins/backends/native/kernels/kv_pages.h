// Pages of the KV cache: who holds them, and which prefixes of which token sequences they keep for reuse.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace flyball {

// Reference counts and the free list. Every acquire is given back by exactly one release.
class PagePool {
 public:
  explicit PagePool(int32_t pages);
  int32_t capacity() const { return static_cast<int32_t>(references_.size()); }
  int32_t free() const { return static_cast<int32_t>(free_.size()); }
  int32_t references(int32_t page) const { return references_[static_cast<size_t>(page)]; }
  int32_t acquire();  // -1 when none is free
  void share(int32_t page) { references_[static_cast<size_t>(page)]++; }
  void release(int32_t page);

 private:
  std::vector<int32_t> references_;
  std::vector<int32_t> free_;
};

// A radix tree over whole pages of tokens. A node keeps one reference to its page. Roots are apart by name: prefixes
// are shared only within one.
class PrefixTree {
 public:
  static constexpr int kTokens = 32;
  using Key = std::vector<int32_t>;  // kTokens tokens
  struct Node {
    Node* parent = nullptr;
    std::string root;  // of top nodes only
    Key key;
    int32_t page = -1;
    int32_t pins = 0;  // sequences whose last full page this is
    uint64_t used = 0;
    std::map<Key, std::unique_ptr<Node>> children;
  };

  explicit PrefixTree(PagePool& pool) : pool_(pool) {}

  // The child of `parent` (null: of the root) for these tokens, or null. Marks it as used.
  Node* find(const std::string& root, Node* parent, const int32_t* tokens);
  // The same, made to hold `page` (one more reference) where it is not there yet.
  Node* insert(const std::string& root, Node* parent, const int32_t* tokens, int32_t page);
  void pin(Node* node) { if (node != nullptr) node->pins++; }
  void unpin(Node* node) { if (node != nullptr) node->pins--; }
  // Gives back the page of the least recently used leaf that no sequence holds. False when there is none.
  bool evict();
  // Pages that only the tree holds.
  int32_t evictable() const;
  void clear();
  int32_t size() const { return size_; }

 private:
  std::map<Key, std::unique_ptr<Node>>& siblings(const std::string& root, Node* parent) { return parent ? parent->children : roots_[root]; }
  void touch(Node* node);

  PagePool& pool_;
  uint64_t clock_ = 0;
  int32_t size_ = 0;
  std::map<std::string, std::map<Key, std::unique_ptr<Node>>> roots_;
  std::set<std::pair<uint64_t, Node*>> byUse_;  // all nodes; at most one per page of the pool
};

}  // namespace flyball
