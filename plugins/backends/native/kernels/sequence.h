// A request and what the engine knows about it while it lives.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>
#include "kv_pages.h"
#include "sampler.h"

namespace flyball {

enum class Kind : int32_t { kGenerate = 0, kEmbedMean = 1, kEmbedLast = 2, kScore = 3 };

struct Request {
  uint32_t id = 0;
  Kind kind = Kind::kGenerate;
  std::vector<int32_t> prompt;  // at least one, all inside the vocabulary
  int32_t maxTokens = 0;
  Sampling sampling;
  std::vector<int32_t> stopTokens;
  std::vector<std::string> stopStrings;  // bytes, none empty
  int32_t topLogprobs = -1;              // -1: no log probabilities
  int32_t window = 0, sinks = 0;         // window 0: full
  int32_t priority = 0;                  // larger first
  bool cache = false;                    // share prefixes within cacheSpace
  std::string cacheSpace;
};

enum class Finish : int32_t { kStop = 0, kLength = 1, kFailed = 2, kDone = 3 };

struct Sequence {
  using Time = std::chrono::steady_clock::time_point;

  Request request;
  uint64_t arrival = 0;
  std::vector<int32_t> tokens;    // prompt, then what was generated
  int32_t computed = 0;           // tokens whose keys and values are in pages
  std::vector<int32_t> pages;     // -1 where a sliding window has passed
  int32_t windowPassed = 0;       // pages looked at for freeing
  int32_t treePages = 0;          // leading pages offered to the prefix tree
  PrefixTree::Node* treeNode = nullptr;  // pinned
  std::string root;
  int32_t generated = 0;
  int32_t cachedTokens = 0;
  bool started = false;           // the first event is out
  bool admittedBefore = false;
  bool cancelled = false;
  bool failed = false;
  std::string tail;               // last bytes of the text, for stop strings over several tokens
  std::vector<double> pooled;     // sum of hidden states, for kEmbedMean
  std::vector<float> scores;      // log probability of each prompt token after the first, for kScore
  std::vector<float> hits;        // 1 where it was the most likely one
  Time arrived, admitted;

  bool decoding() const { return computed + 1 == static_cast<int32_t>(tokens.size()) && generated > 0; }
};

}  // namespace flyball
