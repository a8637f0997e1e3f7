// A loaded model: configuration and weights in kernel layout. Offsets, types and shapes come checked from JavaScript;
// what is read here is bounded by the file's size again, so a file that changed under us fails instead of crashing.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>
#include "panel.h"

namespace flyball {

class ThreadPool;

struct ModelConfig {
  int32_t vocabulary = 0, context = 0, dim = 0, layers = 0, ffn = 0, heads = 0, kvHeads = 0, headDim = 0, ropeDims = 0;
  bool ropeAdjacent = true;
  float eps = 1e-5f;
  int32_t window = 0;                   // the model's own sliding window; 0: none
  std::vector<double> ropeFrequencies;  // [ropeDims / 2] radians per position
};

struct TensorRef {
  bool present = false;
  int32_t type = 0;
  uint64_t offset = 0, bytes = 0;  // in the file
  int32_t columns = 0, rows = 0;   // rows = 1 for vectors
};

struct LayerRefs {
  TensorRef attentionNorm, query, key, value, queryBias, keyBias, valueBias, attentionOutput, attentionOutputBias, ffnNorm, gate, up, down;
};

struct ModelRefs {
  TensorRef embedding, outputNorm, output;  // output absent: tied to the embedding
  std::vector<LayerRefs> layers;
};

struct Layer {
  std::vector<float> attentionNorm, ffnNorm, queryBias, keyBias, valueBias, outputBias;  // biases may be empty; padded to 16
  Matrix query, key, value, attentionOutput, gate, up, down;
};

struct Model {
  ModelConfig config;
  Arena memory;           // of all matrices
  Matrix embedding;       // [vocabulary][dim]
  Matrix output;          // unused when tied
  bool tied = false;
  std::vector<float> outputNorm;
  std::vector<Layer> layers;
  size_t weightBytes = 0;
  const Panel& head() const { return tied ? embedding.panel : output.panel; }
};

// `expand`: matrices become 32-bit floats whatever the file holds, to compare against. Throws std::runtime_error with one line.
std::unique_ptr<Model> loadModel(const std::string& path, const ModelConfig& config, const ModelRefs& refs, ThreadPool& pool, bool expand = false);

}  // namespace flyball
