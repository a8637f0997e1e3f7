#include "cpu_device.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include "half.h"

namespace flyball {
namespace {

size_t padded16(size_t n) { return (n + 15) / 16 * 16; }
size_t headBytes(const ModelConfig& c, KvType type) { return static_cast<size_t>(kPage) * c.headDim * (type == kKvF32 ? 4 : 2); }
constexpr int kPadRows = kMaxTile;  // matrix products write whole tiles of tokens
constexpr int kTailRows = 2;        // up to so many rows are done by the last thread at a barrier instead of in a phase
constexpr size_t kChunkBytes = 512 << 10;        // weights taken at once: they fit in L2, where each further tile of tokens reads them
constexpr int kMaxChunk = 16;                    // groups at most: bounds the scratch of gate and up
constexpr size_t kWaitingFetchBytes = 256 << 10; // of the next phase's weights, into L2 while waiting at a barrier

}  // namespace

struct CpuDevice::ThreadScratch {
  Scratch<float> row, gate, up;
  alignas(64) float o[kMaxQueries][kMaxHeadDim], sum[kMaxQueries][kMaxHeadDim];
  float m[kMaxQueries], l[kMaxQueries], sumM[kMaxQueries], sumL[kMaxQueries];
};

CpuDevice::CpuDevice(const Model& model, const Kernels& kernels, ThreadPool& pool, int32_t pages, KvType kvType)
    : model_(model), config_(model.config), kernels_(kernels), pool_(pool), pages_(pages), kvType_(kvType),
      dimStride_(padded16(static_cast<size_t>(config_.dim))),
      qStride_(padded16(static_cast<size_t>(config_.heads) * config_.headDim)),
      kvStride_(padded16(static_cast<size_t>(config_.kvHeads) * config_.headDim)),
      logitStride_(padded16(static_cast<size_t>(config_.vocabulary))),
      headPageBytes_(headBytes(config_, kvType)), pageBytes_(pageBytesFor(config_, kvType)), share_(pool.size()),
      kv_(pageBytes_ * static_cast<size_t>(pages)) {
  for (int i = 0; i < pool.size(); i++) scratch_.push_back(std::make_unique<ThreadScratch>());
}

CpuDevice::~CpuDevice() = default;

size_t CpuDevice::pageBytesFor(const ModelConfig& c, KvType kvType) { return headBytes(c, kvType) * 2 * c.kvHeads * c.layers; }

// A page holds, layer by layer and head by head, 32 keys and then 32 values (layouts: kernels.h).
uint8_t* CpuDevice::keyPage(int32_t page, int32_t layer, int32_t head) const {
  return kv_.data() + static_cast<size_t>(page) * pageBytes_ + (static_cast<size_t>(layer) * config_.kvHeads + head) * 2 * headPageBytes_;
}

void CpuDevice::clearPage(int32_t page) { memset(kv_.data() + static_cast<size_t>(page) * pageBytes_, 0, pageBytes_); }

void CpuDevice::Input::shape(int rows, int k, bool blocksWanted, bool plainWanted) {
  wantsBlocks = blocksWanted;
  wantsPlain = plainWanted;
  acts.rows = rows;
  acts.k = k;
  acts.tiles = (rows + kMaxTile - 1) / kMaxTile;
  acts.tile = acts.tiles == 0 ? 1 : (rows + acts.tiles - 1) / acts.tiles;
  const size_t room = static_cast<size_t>(rows) + kPadRows;
  if (wantsBlocks) {
    acts.blocks = blocks.reserve(room * static_cast<size_t>(k / kBlock) * kActBytes);
    // The padding tokens of the last tile are zeros, not what an earlier step with other tiles left there.
    for (int row = rows; row < acts.tiles * acts.tile; row++) {
      const int m = row % acts.tile;
      uint8_t* block = blocks.data() + static_cast<size_t>(acts.tiles - 1) * (k / kBlock) * acts.tile * kActBytes;
      for (int b = 0; b < k / kBlock; b++, block += acts.tile * kActBytes) {
        memset(block + m * kBlock, 0, kBlock);
        for (int part = 0; part < 3; part++) memset(block + (kBlock + part * 4) * acts.tile + m * 4, 0, 4);
      }
    }
  }
  if (wantsPlain) {
    acts.f = plain.reserve(room * static_cast<size_t>(k));
    acts.ldf = static_cast<size_t>(k);
  }
}

// x[0..count) becomes columns [column, column + count) of an input's row; multiples of 32 where quantised.
void CpuDevice::put(Input& input, int slot, const float* x, int row, int column, int count) {
  const Acts& a = input.acts;
  if (!energies_.empty()) {
    std::vector<double>& energy = energies_[static_cast<size_t>(slot)];
    energy.resize(static_cast<size_t>(a.k), 0.0);
    for (int i = 0; i < count; i++) energy[static_cast<size_t>(column + i)] += static_cast<double>(x[i]) * x[i];
  }
  if (input.wantsBlocks) {
    const size_t tile = static_cast<size_t>(row / a.tile);
    uint8_t* blocks = input.blocks.data() + (tile * (a.k / kBlock) + column / kBlock) * a.tile * kActBytes;
    kernels_.quantizeRow(x, count, blocks, a.tile, row % a.tile);
  }
  if (input.wantsPlain) memcpy(input.plain.data() + static_cast<size_t>(row) * a.ldf + column, x, static_cast<size_t>(count) * 4);
}

void CpuDevice::normInto(Input& input, int slot, const float* x, const std::vector<float>& weight, int row, int thread) {
  float* out = scratch_[thread]->row.data();
  kernels_.rmsNorm(x, weight.data(), config_.eps, config_.dim, out);
  put(input, slot, out, row, 0, config_.dim);
}

// A barrier: work is shared out afresh after it, and `tail` done by the last thread to arrive.
template <class Tail> void CpuDevice::meet(int thread, const Matrices& next, Tail&& tail) {
  auto [at, end] = firstWeights(thread, next);
  pool_.barrier(
      [&] {
        tail();
        share_.reset();
      },
      [&at = at, &end = end] {
        for (int line = 0; line < 16 && at < end; line++, at += 64) __builtin_prefetch(at, 0, 2);
        return at < end;
      });
}
void CpuDevice::meet(int thread, const Matrices& next) {
  meet(thread, next, [] {});
}

// All threads call it after a phase: `each(row)` for every row, done when it returns. `next`: the matrices of the phase
// that follows.
template <class Each> void CpuDevice::rowsBetween(int rows, int thread, const Matrices& next, Each&& each) {
  if (rows > kTailRows) {
    meet(thread, {});
    for (int from, to; share_.take(thread, rows, std::max(1, rows / (pool_.size() * 16)), &from, &to);)
      for (int row = from; row < to; row++) each(row);
    return meet(thread, next);
  }
  meet(thread, next, [&] {
    for (int row = 0; row < rows; row++) each(row);
  });
}

// What this thread will read first in the next phase.
std::pair<const uint8_t*, const uint8_t*> CpuDevice::firstWeights(int thread, const Matrices& next) const {
  int group = share_.begin(thread, next.groups, next.unit);
  for (const Panel* w : next.panels) {
    if (w == nullptr) break;
    if (group < w->groups) {
      const uint8_t* at = w->q + static_cast<size_t>(group) * w->qStride;
      return {at, at + std::min(kWaitingFetchBytes, static_cast<size_t>(w->groups - group) * w->qStride)};
    }
    group -= w->groups;
  }
  return {nullptr, nullptr};
}

// Groups that a thread takes at once: some hundred kilobytes, but little enough to share the work evenly.
int CpuDevice::chunkFor(const Panel& w, int groups, int unit) const {
  const int most = static_cast<int>(std::min<size_t>(kMaxChunk, kChunkBytes / (w.qStride + w.scaleStride))), even = groups / (pool_.size() * 16);
  return std::max(1, std::min(most, even) / unit) * unit;
}

// Layers may differ in type (Q4_K_M does), so inputs carry every form that any layer wants.
void CpuDevice::shape(Flow& flow, int rows, Scratch<float>& x) {
  bool normBlocks = false, normPlain = false, outBlocks = false, outPlain = false, downBlocks = false, downPlain = false;
  for (const Layer& l : model_.layers) {
    for (const Matrix* m : {&l.query, &l.key, &l.value, &l.gate, &l.up}) (isQuant(m->panel.format) ? normBlocks : normPlain) = true;
    (isQuant(l.attentionOutput.panel.format) ? outBlocks : outPlain) = true;
    (isQuant(l.down.panel.format) ? downBlocks : downPlain) = true;
  }
  const Layer& layer = model_.layers.front();
  flow.rows = rows;
  flow.x = x.reserve((static_cast<size_t>(rows) + kPadRows) * dimStride_);
  flow.norm.shape(rows, layer.query.panel.k, normBlocks, normPlain);
  flow.attention.shape(rows, layer.attentionOutput.panel.k, outBlocks, outPlain);
  flow.ffn.shape(rows, layer.down.panel.k, downBlocks, downPlain);
}

void CpuDevice::prepare(const Batch& batch) {
  batch_ = &batch;
  rows_ = static_cast<int>(batch.tokens.size());
  outputs_ = static_cast<int>(batch.outputRows.size());
  logitRows_ = batch.logitRows;
  const size_t room = static_cast<size_t>(rows_) + kPadRows;
  q_.reserve(room * qStride_);
  k_.reserve(room * kvStride_);
  v_.reserve(room * kvStride_);
  attention_.reserve(room * qStride_);
  rope_.reserve(static_cast<size_t>(rows_) * config_.ropeDims + 1);
  normed_.reserve((static_cast<size_t>(outputs_) + kPadRows) * dimStride_);
  logits_.reserve((static_cast<size_t>(logitRows_) + kPadRows) * logitStride_);
  // Decode rows all have an output: nothing to leave behind.
  tail_ = outputs_ < rows_;
  shape(flow_, rows_, x_);
  if (tail_) shape(tailFlow_, outputs_, xTail_);
  const bool headBlocks = isQuant(model_.head().format);
  headInput_.shape(logitRows_, config_.dim, headBlocks, !headBlocks);

  segmentOf_.resize(static_cast<size_t>(rows_));
  tiles_.clear();
  const int group = config_.heads / config_.kvHeads;
  for (size_t s = 0; s < batch.segments.size(); s++) {
    const Segment& segment = batch.segments[s];
    for (int r = 0; r < segment.rows; r++) segmentOf_[static_cast<size_t>(segment.firstRow + r)] = static_cast<int>(s);
    const int flat = segment.rows * group;
    for (int head = 0; head < config_.kvHeads; head++)
      for (int first = 0; first < flat; first += kMaxQueries)
        tiles_.push_back({static_cast<int32_t>(s), head, first, std::min(kMaxQueries, flat - first)});
  }
  for (auto& scratch : scratch_) {
    scratch->row.reserve(dimStride_);
    scratch->gate.reserve(room * kMaxChunk * kGroup);
    scratch->up.reserve(room * kMaxChunk * kGroup);
  }
}

// Embedding, rotation table and first norm of a row.
void CpuDevice::startRow(int row, int thread) {
  float* x = flow_.x + static_cast<size_t>(row) * dimStride_;
  panelRow(model_.embedding.panel, batch_->tokens[static_cast<size_t>(row)], x);
  float* table = rope_.data() + static_cast<size_t>(row) * config_.ropeDims;
  for (int i = 0; i < config_.ropeDims / 2; i++) {
    const double angle = batch_->positions[static_cast<size_t>(row)] * config_.ropeFrequencies[static_cast<size_t>(i)];
    table[i * 2] = static_cast<float>(std::cos(angle));
    table[i * 2 + 1] = static_cast<float>(std::sin(angle));
  }
  normInto(flow_.norm, 0, x, model_.layers[0].attentionNorm, row, thread);
}

void CpuDevice::ropeAndStore(int layer, int row) {
  const int hd = config_.headDim, pairs = config_.ropeDims / 2;
  const float* table = rope_.data() + static_cast<size_t>(row) * config_.ropeDims;
  const auto rotate = [&](float* head) {
    for (int i = 0; i < pairs; i++) {
      const int a = config_.ropeAdjacent ? i * 2 : i, b = config_.ropeAdjacent ? i * 2 + 1 : i + pairs;
      const float x = head[a], y = head[b], c = table[i * 2], s = table[i * 2 + 1];
      head[a] = x * c - y * s;
      head[b] = x * s + y * c;
    }
  };
  float* q = q_.data() + static_cast<size_t>(row) * qStride_;
  const float scale = kvType_ == kKvHalf ? 1.0f : 1.0f / std::sqrt(static_cast<float>(hd));
  for (int h = 0; h < config_.heads; h++) {
    rotate(q + h * hd);
    for (int d = 0; d < hd; d++) q[h * hd + d] *= scale;
  }
  const int position = batch_->positions[static_cast<size_t>(row)], t = position % kPage;
  const Segment& segment = batch_->segments[static_cast<size_t>(segmentOf_[static_cast<size_t>(row)])];
  const int32_t page = segment.pages[position / kPage];
  for (int h = 0; h < config_.kvHeads; h++) {
    float* k = k_.data() + static_cast<size_t>(row) * kvStride_ + h * hd;
    const float* v = v_.data() + static_cast<size_t>(row) * kvStride_ + h * hd;
    rotate(k);
    uint8_t *keys = keyPage(page, layer, h), *values = keys + headPageBytes_;
    if (kvType_ == kKvF32) {
      for (int d = 0; d < hd; d++) reinterpret_cast<float*>(keys)[d * kPage + t] = k[d];
      memcpy(values + static_cast<size_t>(t) * hd * 4, v, static_cast<size_t>(hd) * 4);
    } else if (kvType_ == kKvHalf) {
      for (int d = 0; d < hd; d++) reinterpret_cast<uint16_t*>(keys)[t * hd + d] = floatToHalf(k[d]);
      for (int d = 0; d < hd; d++) reinterpret_cast<uint16_t*>(values)[t * hd + d] = floatToHalf(v[d]);
    } else {
      for (int d = 0; d < hd; d++) reinterpret_cast<uint16_t*>(keys)[(d / 2) * kPage * 2 + t * 2 + d % 2] = floatToBf16(k[d]);
      for (int d = 0; d < hd; d++) reinterpret_cast<uint16_t*>(values)[(static_cast<size_t>(t / 2) * hd + d) * 2 + t % 2] = floatToBf16(v[d]);
    }
  }
}

// Pages are summed in fixed runs of kChunkPages and merged by their maxima, so a row's result depends on nothing but
// its own sequence: not on the batch, the chunk of the prompt, or which thread did it.
void CpuDevice::attendTile(int layer, const Tile& tile, ThreadScratch& s) {
  const Segment& segment = batch_->segments[static_cast<size_t>(tile.segment)];
  const int hd = config_.headDim, group = config_.heads / config_.kvHeads;
  size_t qOffset[kMaxQueries];
  int32_t qpos[kMaxQueries];
  int rowOf[kMaxQueries], headOf[kMaxQueries];
  for (int i = 0; i < tile.count; i++) {
    const int token = (tile.first + i) / group;
    rowOf[i] = segment.firstRow + token;
    headOf[i] = tile.kvHead * group + (tile.first + i) % group;
    qpos[i] = segment.firstPosition + token;
    qOffset[i] = static_cast<size_t>(rowOf[i]) * qStride_ + static_cast<size_t>(headOf[i]) * hd;
    s.sumL[i] = 0;
  }
  const int last = qpos[tile.count - 1], oldest = segment.window > 0 ? qpos[0] - segment.window + 1 : 0;
  const uint8_t *keys[kChunkPages], *values[kChunkPages];
  int32_t base[kChunkPages];
  for (int from = 0; from < segment.pageCount && from * kPage <= last; from += kChunkPages) {
    int count = 0;
    for (int p = from; p < from + kChunkPages && p < segment.pageCount && p * kPage <= last; p++) {
      if (segment.pages[p] < 0) continue;
      if (p * kPage + kPage - 1 < oldest && p * kPage >= segment.sinks) continue;
      keys[count] = keyPage(segment.pages[p], layer, tile.kvHead);
      values[count] = keys[count] + headPageBytes_;
      base[count++] = p * kPage;
    }
    if (count == 0) continue;
    const AttendArgs args = {hd, tile.count, count, kvType_, segment.window, segment.sinks, 1.0f / std::sqrt(static_cast<float>(hd)), q_.data(), qOffset, qpos, keys, values, base, s.m, s.l, s.o[0]};
    kernels_.attend(&args);
    for (int i = 0; i < tile.count; i++) {
      if (s.l[i] == 0) continue;
      const float* o = s.o[0] + static_cast<size_t>(i) * hd;
      float* sum = s.sum[i];
      if (s.sumL[i] == 0) {
        memcpy(sum, o, static_cast<size_t>(hd) * 4);
        s.sumM[i] = s.m[i];
        s.sumL[i] = s.l[i];
        continue;
      }
      const float m = std::max(s.sumM[i], s.m[i]), a = std::exp(s.sumM[i] - m), b = std::exp(s.m[i] - m);
      for (int d = 0; d < hd; d++) sum[d] = sum[d] * a + o[d] * b;
      s.sumL[i] = s.sumL[i] * a + s.l[i] * b;
      s.sumM[i] = m;
    }
  }
  for (int i = 0; i < tile.count; i++) {
    const float inverse = 1.0f / s.sumL[i];
    float* out = attention_.data() + static_cast<size_t>(rowOf[i]) * qStride_ + static_cast<size_t>(headOf[i]) * hd;
    for (int d = 0; d < hd; d++) out[d] = s.sum[i][d] * inverse;
    if (hd % kBlock == 0 && !(tail_ && layer + 1 == config_.layers)) put(flow_.attention, layer * 4 + 1, out, rowOf[i], headOf[i] * hd, hd);
  }
}

// Groups [from, to) of w; out points at column 0.
void CpuDevice::multiply(const Panel& w, int from, int to, const Input& input, float* out, size_t stride, const std::vector<float>& bias, bool accumulate) {
  const int columns = (to - from) * kGroup;
  float* c = out + static_cast<size_t>(from) * kGroup;
  if (!bias.empty()) {
    for (int m = 0; m < input.acts.rows; m++)
      for (int n = 0; n < columns; n++) {
        float& value = c[static_cast<size_t>(m) * stride + n];
        value = (accumulate ? value : 0.0f) + bias[static_cast<size_t>(from * kGroup + n)];
      }
    accumulate = true;
  }
  kernels_.gemm(&w, from, to - from, &input.acts, c, stride, accumulate);
}

CpuDevice::Matrices CpuDevice::qkvOf(int l) const {
  const Layer& layer = model_.layers[static_cast<size_t>(l)];
  const Panel *q = &layer.query.panel, *k = &layer.key.panel, *v = &layer.value.panel;
  return {{q, k, v}, q->groups + k->groups + v->groups, unit()};
}
CpuDevice::Matrices CpuDevice::one(const Panel& w) const { return {{&w}, w.groups, unit()}; }
// The input of the down projection is quantised by blocks of two groups.
CpuDevice::Matrices CpuDevice::gateOf(int l) const {
  const Panel& gate = model_.layers[static_cast<size_t>(l)].gate.panel;
  return {{&gate}, gate.groups, kBlock / kGroup};
}

void CpuDevice::projectQkv(int l, int thread) {
  const Layer& layer = model_.layers[static_cast<size_t>(l)];
  const Matrices all = qkvOf(l);
  const int chunk = chunkFor(layer.query.panel, all.groups, all.unit);
  for (int from, to; share_.take(thread, all.groups, chunk, all.unit, &from, &to);) {
    int first = 0;
    const auto part = [&](const Panel& w, float* out, size_t stride, const std::vector<float>& bias) {
      const int a = std::max(from - first, 0), b = std::min(to - first, w.groups);
      if (a < b) multiply(w, a, b, flow_.norm, out, stride, bias, false);
      first += w.groups;
    };
    part(layer.query.panel, q_.data(), qStride_, layer.queryBias);
    part(layer.key.panel, k_.data(), kvStride_, layer.keyBias);
    part(layer.value.panel, v_.data(), kvStride_, layer.valueBias);
  }
}

// hidden = silu(gate x) * (up x), straight into the input of the down projection.
void CpuDevice::feedForward(int l, Flow& flow, int thread) {
  const Layer& layer = model_.layers[static_cast<size_t>(l)];
  const Panel &gate = layer.gate.panel, &up = layer.up.panel;
  ThreadScratch& s = *scratch_[static_cast<size_t>(thread)];
  const int unit = gateOf(l).unit, chunk = chunkFor(gate, gate.groups, unit);
  for (int from, to; share_.take(thread, gate.groups, chunk, unit, &from, &to);) {
    const size_t columns = static_cast<size_t>(to - from) * kGroup;
    kernels_.gemm(&gate, from, to - from, &flow.norm.acts, s.gate.data(), columns, 0);
    kernels_.gemm(&up, from, to - from, &flow.norm.acts, s.up.data(), columns, 0);
    kernels_.siluMul(s.gate.data(), s.up.data(), static_cast<int32_t>(columns) * flow.rows);
    const int count = std::min(static_cast<int>(columns), gate.n - from * kGroup);
    for (int row = 0; row < flow.rows; row++) put(flow.ffn, l * 4 + 3, s.gate.data() + static_cast<size_t>(row) * columns, row, from * kGroup, count);
  }
}

// out (+)= w input (+ bias)
void CpuDevice::project(const Panel& w, const Input& input, float* out, size_t stride, const std::vector<float>& bias, bool accumulate, int thread) {
  const int chunk = chunkFor(w, w.groups, unit());
  for (int from, to; share_.take(thread, w.groups, chunk, unit(), &from, &to);) multiply(w, from, to, input, out, stride, bias, accumulate);
}

// From the attention's output to the next layer's input.
void CpuDevice::finishLayer(int l, Flow& flow, int thread) {
  static const std::vector<float> kNoBias;
  const Layer& layer = model_.layers[static_cast<size_t>(l)];
  const auto x = [&](int row) { return flow.x + static_cast<size_t>(row) * dimStride_; };
  project(layer.attentionOutput.panel, flow.attention, flow.x, dimStride_, layer.outputBias, true, thread);
  rowsBetween(flow.rows, thread, gateOf(l), [&](int row) { normInto(flow.norm, l * 4 + 2, x(row), layer.ffnNorm, row, thread); });
  feedForward(l, flow, thread);
  meet(thread, one(layer.down.panel));
  project(layer.down.panel, flow.ffn, flow.x, dimStride_, kNoBias, true, thread);
  if (l + 1 < config_.layers)
    rowsBetween(flow.rows, thread, qkvOf(l + 1), [&](int row) { normInto(flow.norm, (l + 1) * 4, x(row), model_.layers[static_cast<size_t>(l) + 1].attentionNorm, row, thread); });
}

void CpuDevice::work(int thread) {
  static const std::vector<float> kNoBias;
  ThreadScratch& s = *scratch_[static_cast<size_t>(thread)];
  rowsBetween(rows_, thread, qkvOf(0), [&](int row) { startRow(row, thread); });
  for (int l = 0; l < config_.layers; l++) {
    const bool toTail = tail_ && l + 1 == config_.layers;
    const Matrices output = one(model_.layers[static_cast<size_t>(l)].attentionOutput.panel);
    projectQkv(l, thread);
    rowsBetween(rows_, thread, output, [&](int row) { ropeAndStore(l, row); });
    for (int from, to; share_.take(thread, static_cast<int>(tiles_.size()), 1, &from, &to);) attendTile(l, tiles_[static_cast<size_t>(from)], s);
    const auto attended = [&](int row) { return attention_.data() + static_cast<size_t>(row) * qStride_; };
    if (toTail) {
      rowsBetween(outputs_, thread, output, [&](int i) {
        const int row = batch_->outputRows[static_cast<size_t>(i)];
        memcpy(tailFlow_.x + static_cast<size_t>(i) * dimStride_, flow_.x + static_cast<size_t>(row) * dimStride_, dimStride_ * 4);
        put(tailFlow_.attention, l * 4 + 1, attended(row), i, 0, tailFlow_.attention.acts.k);
      });
    } else if (config_.headDim % kBlock == 0) {
      meet(thread, output);
    } else {
      rowsBetween(rows_, thread, output, [&](int row) { put(flow_.attention, l * 4 + 1, attended(row), row, 0, flow_.attention.acts.k); });
    }
    if (toTail && outputs_ == 0) return;  // every thread sees the same
    finishLayer(l, toTail ? tailFlow_ : flow_, thread);
  }
  rowsBetween(outputs_, thread, one(model_.head()), [&](int i) {
    const float* x = tail_ ? tailFlow_.x + static_cast<size_t>(i) * dimStride_ : flow_.x + static_cast<size_t>(batch_->outputRows[static_cast<size_t>(i)]) * dimStride_;
    float* out = normed_.data() + static_cast<size_t>(i) * dimStride_;
    kernels_.rmsNorm(x, model_.outputNorm.data(), config_.eps, config_.dim, out);
    if (i < logitRows_) put(headInput_, config_.layers * 4, out, i, 0, config_.dim);
  });
  if (logitRows_ > 0) project(model_.head(), headInput_, logits_.data(), logitStride_, kNoBias, false, thread);
}

void CpuDevice::forward(const Batch& batch) {
  prepare(batch);
  share_.reset();
  pool_.run([](void* self, int thread) { static_cast<CpuDevice*>(self)->work(thread); }, this);
}

}  // namespace flyball
