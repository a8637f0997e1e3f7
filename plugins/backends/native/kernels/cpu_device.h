// The forward pass on the CPU: llama and qwen2. One job per step; its threads walk the layers together, phase by phase.
#pragma once
#include <array>
#include <memory>
#include <utility>
#include <vector>
#include "device.h"
#include "kernels.h"
#include "memory.h"
#include "model.h"
#include "thread_pool.h"

namespace flyball {

class CpuDevice final : public Device {
 public:
  // Attention of `count` flat rows (token * group + head in group) of one segment and KV head.
  struct Tile {
    int32_t segment, kvHead, first, count;
  };
  struct ThreadScratch;

  CpuDevice(const Model& model, const Kernels& kernels, ThreadPool& pool, int32_t pages, KvType kvType);
  ~CpuDevice() override;

  int32_t pageCount() const override { return pages_; }
  size_t pageBytes() const override { return pageBytes_; }
  static size_t pageBytesFor(const ModelConfig& config, KvType kvType);
  void clearPage(int32_t page) override;
  void forward(const Batch& batch) override;
  // From now on adds up the squares of every matrix input's columns; only with a pool of one thread. Slots: four per
  // layer (attention, its output, feed-forward, its output), then the output matrix.
  void collectEnergies() { energies_.resize(static_cast<size_t>(config_.layers) * 4 + 1); }
  const std::vector<std::vector<double>>& energies() const { return energies_; }
  float* logits(size_t i) override { return logits_.data() + i * logitStride_; }
  const float* hidden(size_t i) const override { return normed_.data() + i * dimStride_; }
  size_t hiddenSize() const override { return static_cast<size_t>(config_.dim); }

 private:
  // The input of the matrix products of a phase, in the forms that their weight formats need.
  struct Input {
    Acts acts{};
    Scratch<uint8_t> blocks;
    Scratch<float> plain;
    bool wantsBlocks = false, wantsPlain = false;
    void shape(int rows, int k, bool blocksWanted, bool plainWanted);
  };

  // A set of rows on their way through a layer. From the last layer's attention on only rows with an output go further.
  struct Flow {
    int rows = 0;
    float* x = nullptr;  // [rows][dimStride_]
    Input norm, attention, ffn;
  };

  // Matrices that a phase multiplies one after the other, shared out by groups in multiples of `unit`.
  struct Matrices {
    std::array<const Panel*, 3> panels{};
    int groups = 0, unit = 1;
  };

  uint8_t* keyPage(int32_t page, int32_t layer, int32_t head) const;
  void prepare(const Batch& batch);
  void shape(Flow& flow, int rows, Scratch<float>& x);
  void put(Input& input, int slot, const float* x, int row, int column, int count);
  void normInto(Input& input, int slot, const float* x, const std::vector<float>& weight, int row, int thread);
  void startRow(int row, int thread);
  void ropeAndStore(int layer, int row);
  void attendTile(int layer, const Tile& tile, ThreadScratch& scratch);
  void multiply(const Panel& w, int from, int to, const Input& input, float* out, size_t stride, const std::vector<float>& bias, bool accumulate);
  Matrices qkvOf(int layer) const;
  Matrices gateOf(int layer) const;
  Matrices one(const Panel& w) const;
  void projectQkv(int layer, int thread);
  void feedForward(int layer, Flow& flow, int thread);
  void project(const Panel& w, const Input& input, float* out, size_t stride, const std::vector<float>& bias, bool accumulate, int thread);
  void finishLayer(int layer, Flow& flow, int thread);
  void work(int thread);
  int unit() const { return rows_ > kMaxTile ? 2 : 1; }  // kernels pair groups for the tiles after the first
  int chunkFor(const Panel& w, int groups, int unit) const;
  std::pair<const uint8_t*, const uint8_t*> firstWeights(int thread, const Matrices& next) const;
  template <class Tail> void meet(int thread, const Matrices& next, Tail&& tail);
  void meet(int thread, const Matrices& next);
  template <class Each> void rowsBetween(int rows, int thread, const Matrices& next, Each&& each);

  const Model& model_;
  const ModelConfig& config_;
  const Kernels& kernels_;
  ThreadPool& pool_;
  const int32_t pages_;
  const KvType kvType_;
  const size_t dimStride_, qStride_, kvStride_, logitStride_;
  const size_t headPageBytes_, pageBytes_;
  WorkShare share_;
  Region kv_;
  std::vector<std::unique_ptr<ThreadScratch>> scratch_;

  std::vector<std::vector<double>> energies_;  // empty: not collected

  // Of the current step.
  const Batch* batch_ = nullptr;
  int rows_ = 0, outputs_ = 0, logitRows_ = 0;
  bool tail_ = false;  // the last layer's second half takes tailFlow_
  Scratch<float> x_, xTail_, q_, k_, v_, attention_, normed_, logits_, rope_;
  Flow flow_, tailFlow_;
  Input headInput_;
  std::vector<Tile> tiles_;
  std::vector<int> segmentOf_;
};

}  // namespace flyball
