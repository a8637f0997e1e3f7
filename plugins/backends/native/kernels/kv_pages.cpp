#include "kv_pages.h"

namespace flyball {

PagePool::PagePool(int32_t pages) : references_(static_cast<size_t>(pages), 0) {
  for (int32_t page = pages - 1; page >= 0; page--) free_.push_back(page);
}

int32_t PagePool::acquire() {
  if (free_.empty()) return -1;
  const int32_t page = free_.back();
  free_.pop_back();
  references_[static_cast<size_t>(page)] = 1;
  return page;
}

void PagePool::release(int32_t page) {
  if (--references_[static_cast<size_t>(page)] == 0) free_.push_back(page);
}

void PrefixTree::touch(Node* node) {
  byUse_.erase({node->used, node});
  node->used = ++clock_;
  byUse_.insert({node->used, node});
}

PrefixTree::Node* PrefixTree::find(const std::string& root, Node* parent, const int32_t* tokens) {
  if (parent == nullptr && roots_.find(root) == roots_.end()) return nullptr;
  auto& among = siblings(root, parent);
  const auto found = among.find(Key(tokens, tokens + kTokens));
  if (found == among.end()) return nullptr;
  touch(found->second.get());
  return found->second.get();
}

PrefixTree::Node* PrefixTree::insert(const std::string& root, Node* parent, const int32_t* tokens, int32_t page) {
  if (Node* there = find(root, parent, tokens)) return there;
  auto node = std::make_unique<Node>();
  Node* raw = node.get();
  raw->parent = parent;
  if (parent == nullptr) raw->root = root;
  raw->key.assign(tokens, tokens + kTokens);
  raw->page = page;
  pool_.share(page);
  siblings(root, parent).emplace(raw->key, std::move(node));
  size_++;
  touch(raw);
  return raw;
}

bool PrefixTree::evict() {
  for (auto at = byUse_.begin(); at != byUse_.end(); ++at) {
    Node* const node = at->second;  // a copy: the entry goes before the node does
    if (!node->children.empty() || node->pins > 0 || pool_.references(node->page) > 1) continue;
    pool_.release(node->page);
    byUse_.erase(at);
    size_--;
    if (node->parent != nullptr) {
      node->parent->children.erase(Key(node->key));
    } else {
      const auto root = roots_.find(node->root);
      root->second.erase(Key(node->key));
      if (root->second.empty()) roots_.erase(root);
    }
    return true;
  }
  return false;
}

int32_t PrefixTree::evictable() const {
  int32_t count = 0;
  for (const auto& [used, node] : byUse_) count += pool_.references(node->page) == 1 ? 1 : 0;
  return count;
}

void PrefixTree::clear() {
  while (evict()) {
  }
}

}  // namespace flyball
