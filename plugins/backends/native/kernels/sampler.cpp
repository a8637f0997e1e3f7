#include "sampler.h"
#include <algorithm>
#include <cmath>
#include <cstddef>

namespace flyball {
namespace {

// A uniform number in [0, 1) from the seed and the draw's index (splitmix64's finaliser over both).
double uniform(uint64_t seed, uint64_t index) {
  uint64_t z = seed * 0x9e3779b97f4a7c15ull + (index + 1) * 0xd1b54a32d192ed03ull;
  for (int round = 0; round < 2; round++) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
  }
  return static_cast<double>(z >> 11) * 0x1p-53;
}

double logSumExp(const float* logits, int32_t n) {
  float largest = logits[0];
  for (int32_t i = 1; i < n; i++) largest = std::max(largest, logits[i]);
  double sum = 0;
  for (int32_t i = 0; i < n; i++) sum += std::exp(logits[i] - largest);
  return largest + std::log(sum);
}

int32_t argmax(const float* logits, int32_t n) {
  int32_t best = 0;
  for (int32_t i = 1; i < n; i++)
    if (logits[i] > logits[best]) best = i;
  return best;
}

int32_t draw(const float* logits, int32_t vocabulary, const Sampling& s, uint64_t index) {
  struct Candidate {
    int32_t token;
    float logit;
    double weight;
  };
  const auto better = [](const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.token < b.token; };
  std::vector<Candidate> kept;
  const float best = logits[argmax(logits, vocabulary)];
  // Below e^-60 of the best one no weight survives a double's sum; it also drops -inf and NaN.
  const float floor = best - 60.0f * s.temperature;
  for (int32_t i = 0; i < vocabulary; i++)
    if (logits[i] >= floor) kept.push_back({i, logits[i], 0});
  if (kept.empty()) return argmax(logits, vocabulary);
  if (s.topK > 0 && static_cast<size_t>(s.topK) < kept.size()) {
    std::nth_element(kept.begin(), kept.begin() + (s.topK - 1), kept.end(), better);
    kept.resize(static_cast<size_t>(s.topK));
  }
  std::sort(kept.begin(), kept.end(), better);
  double total = 0;
  for (Candidate& c : kept) total += c.weight = std::exp(static_cast<double>(c.logit - best) / s.temperature);
  if (s.topP < 1) {
    double sum = 0;
    size_t count = 0;
    while (count < kept.size() && (count == 0 || sum < s.topP * total)) sum += kept[count++].weight;
    kept.resize(count);
  }
  if (s.minP > 0) {
    const double least = s.minP * kept.front().weight;
    while (kept.size() > 1 && kept.back().weight < least) kept.pop_back();
  }
  total = 0;
  for (const Candidate& c : kept) total += c.weight;
  double left = uniform(s.seed, index) * total;
  for (const Candidate& c : kept)
    if ((left -= c.weight) < 0) return c.token;
  return kept.back().token;
}

}  // namespace

double logProbability(const float* logits, int32_t vocabulary, int32_t token) { return logits[token] - logSumExp(logits, vocabulary); }

Sampled sample(float* logits, int32_t vocabulary, const Sampling& s, uint64_t index, const int32_t* recent, int32_t recentCount, int32_t topCount) {
  Sampled out;
  double normaliser = 0;
  std::vector<float> before;  // raw logits of penalised tokens
  if (topCount >= 0) {
    normaliser = logSumExp(logits, vocabulary);
    std::vector<int32_t> best;
    const auto better = [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
    for (int32_t i = 0; topCount > 0 && i < vocabulary; i++) {
      if (static_cast<int32_t>(best.size()) == topCount && !better(i, best.back())) continue;
      if (static_cast<int32_t>(best.size()) == topCount) best.pop_back();
      best.insert(std::upper_bound(best.begin(), best.end(), i, better), i);
    }
    for (const int32_t token : best) out.top.emplace_back(token, static_cast<float>(logits[token] - normaliser));
  }
  std::vector<int32_t> seen(recent, recent + recentCount);
  if (s.repetitionPenalty != 1 && recentCount > 0) {
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    for (const int32_t token : seen) {
      before.push_back(logits[token]);
      logits[token] = logits[token] > 0 ? logits[token] / s.repetitionPenalty : logits[token] * s.repetitionPenalty;
    }
  }
  out.token = s.temperature > 0 ? draw(logits, vocabulary, s, index) : argmax(logits, vocabulary);
  out.finite = std::isfinite(logits[out.token]);
  if (topCount >= 0) {
    float raw = logits[out.token];
    for (size_t i = 0; i < before.size(); i++)
      if (seen[i] == out.token) raw = before[i];
    out.logprob = static_cast<float>(raw - normaliser);
  }
  return out;
}

}  // namespace flyball
