// From logits to a token: penalty, temperature, filters, and the log probabilities beside it.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

namespace flyball {

struct Sampling {
  float temperature = 0, topP = 1, minP = 0, repetitionPenalty = 1;
  int32_t topK = 0;
  uint64_t seed = 0;
};

struct Sampled {
  int32_t token = 0;
  bool finite = true;                            // false: the model computed something that is no number
  float logprob = 0;                             // natural logarithm, before penalty, temperature and filters
  std::vector<std::pair<int32_t, float>> top;    // the most likely ones, best first
};

constexpr int kRepetitionWindow = 64;

// `index` numbers the draws of a request, so that a preempted one draws the same again. `recent`: its last tokens.
// `topCount` < 0: no log probabilities. `logits` is overwritten.
Sampled sample(float* logits, int32_t vocabulary, const Sampling& sampling, uint64_t index, const int32_t* recent, int32_t recentCount, int32_t topCount);

// log softmax of one entry.
double logProbability(const float* logits, int32_t vocabulary, int32_t token);

}  // namespace flyball
