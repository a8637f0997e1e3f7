#include "model.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <atomic>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include "half.h"
#include "thread_pool.h"

namespace flyball {
namespace {

class File {
 public:
  explicit File(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat info;
    if (fd_ < 0 || fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
      if (fd_ >= 0) close(fd_);
      throw std::runtime_error("cannot read the model file");
    }
    size_ = static_cast<uint64_t>(info.st_size);
  }
  ~File() { close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void check(const TensorRef& t) const {
    const size_t row = ggufRowBytes(t.type, static_cast<size_t>(t.columns));
    if (row == 0 || t.rows <= 0 || t.columns <= 0) throw std::runtime_error("a tensor has a bad type or shape");
    if (t.bytes != row * static_cast<uint64_t>(t.rows)) throw std::runtime_error("a tensor's size does not match its shape");
    if (t.offset > size_ || t.bytes > size_ - t.offset) throw std::runtime_error("a tensor lies outside the file");
  }

  // False when the file ended early (it was cut while being read).
  bool read(uint64_t offset, size_t bytes, uint8_t* out) const {
    while (bytes > 0) {
      const ssize_t got = pread(fd_, out, bytes, static_cast<off_t>(offset));
      if (got <= 0) return false;
      out += got;
      offset += static_cast<uint64_t>(got);
      bytes -= static_cast<size_t>(got);
    }
    return true;
  }

 private:
  int fd_;
  uint64_t size_ = 0;
};

Matrix loadMatrix(const File& file, const TensorRef& ref, ThreadPool& pool, bool expand, Arena& arena) {
  file.check(ref);
  struct Work {
    const File& file;
    const TensorRef& ref;
    bool expand;
    Matrix matrix;
    WorkShare share;
    std::atomic<bool> failed{false};
  } work{file, ref, expand && ref.type != kGgufF32, makeMatrix(expand ? kGgufF32 : ref.type, ref.rows, ref.columns, arena), WorkShare(pool.size()), {}};
  pool.run(
      [](void* context, int thread) {
        Work& w = *static_cast<Work*>(context);
        const size_t rowBytes = ggufRowBytes(w.ref.type, static_cast<size_t>(w.ref.columns));
        try {
          std::vector<uint8_t> rows(rowBytes * kGroup);
          for (int g, to; w.share.take(thread, w.matrix.panel.groups, 1, &g, &to);) {
            const int count = std::min(kGroup, w.ref.rows - g * kGroup);
            if (!w.file.read(w.ref.offset + static_cast<uint64_t>(g) * kGroup * rowBytes, rowBytes * static_cast<size_t>(count), rows.data())) {
              w.failed = true;
              return;
            }
            if (!w.expand) {
              repackGroup(w.matrix, w.ref.type, g, rows.data());
              continue;
            }
            Arena own;
            Matrix packed = makeMatrix(w.ref.type, count, w.ref.columns, own);
            repackGroup(packed, w.ref.type, 0, rows.data());
            std::vector<float> plain(static_cast<size_t>(count) * w.ref.columns);
            for (int row = 0; row < count; row++) panelRow(packed.panel, row, plain.data() + static_cast<size_t>(row) * w.ref.columns);
            repackGroup(w.matrix, kGgufF32, g, reinterpret_cast<const uint8_t*>(plain.data()));
          }
        } catch (...) {
          w.failed = true;
        }
      },
      &work);
  if (work.failed) throw std::runtime_error("the model file could not be read to its end");
  return work.matrix;
}

std::vector<float> loadVector(const File& file, const TensorRef& ref) {
  if (!ref.present) return {};
  file.check(ref);
  if (ref.type != kGgufF32 && ref.type != kGgufF16 && ref.type != kGgufBF16) throw std::runtime_error("a vector has a block type");
  const size_t n = static_cast<size_t>(ref.columns);
  std::vector<uint8_t> raw(static_cast<size_t>(ref.bytes));
  if (ref.rows != 1 || !file.read(ref.offset, raw.size(), raw.data())) throw std::runtime_error("the model file could not be read to its end");
  std::vector<float> out((n + 15) / 16 * 16, 0.0f);
  for (size_t i = 0; i < n; i++) {
    if (ref.type == kGgufF32) {
      memcpy(&out[i], &raw[i * 4], 4);
    } else {
      uint16_t h;
      memcpy(&h, &raw[i * 2], 2);
      out[i] = ref.type == kGgufF16 ? halfToFloat(h) : bf16ToFloat(h);
    }
  }
  return out;
}

void expectShape(const TensorRef& ref, int64_t columns, int64_t rows) {
  if (!ref.present) return;
  if (ref.columns != columns || ref.rows != rows) throw std::runtime_error("a tensor's shape does not match the configuration");
}

void checkShapes(const ModelConfig& c, const ModelRefs& refs) {
  if (c.vocabulary <= 0 || c.dim <= 0 || c.layers <= 0 || c.ffn <= 0 || c.heads <= 0 || c.kvHeads <= 0 || c.headDim <= 0 || c.context <= 0)
    throw std::runtime_error("a size in the configuration is not positive");
  if (c.heads % c.kvHeads != 0 || c.headDim % 2 != 0 || c.headDim > kMaxHeadDim || c.ropeDims > c.headDim || c.ropeDims % 2 != 0 || c.ropeDims < 0)
    throw std::runtime_error("head sizes that the engine does not support");
  if (c.ropeFrequencies.size() != static_cast<size_t>(c.ropeDims / 2)) throw std::runtime_error("rope frequencies do not match");
  if (refs.layers.size() != static_cast<size_t>(c.layers)) throw std::runtime_error("layers do not match the configuration");
  const int64_t q = static_cast<int64_t>(c.heads) * c.headDim, kv = static_cast<int64_t>(c.kvHeads) * c.headDim;
  expectShape(refs.embedding, c.dim, c.vocabulary);
  expectShape(refs.output, c.dim, c.vocabulary);
  expectShape(refs.outputNorm, c.dim, 1);
  for (const LayerRefs& l : refs.layers) {
    expectShape(l.attentionNorm, c.dim, 1);
    expectShape(l.ffnNorm, c.dim, 1);
    expectShape(l.query, c.dim, q);
    expectShape(l.key, c.dim, kv);
    expectShape(l.value, c.dim, kv);
    expectShape(l.queryBias, q, 1);
    expectShape(l.keyBias, kv, 1);
    expectShape(l.valueBias, kv, 1);
    expectShape(l.attentionOutput, q, c.dim);
    expectShape(l.attentionOutputBias, c.dim, 1);
    expectShape(l.gate, c.dim, c.ffn);
    expectShape(l.up, c.dim, c.ffn);
    expectShape(l.down, c.ffn, c.dim);
  }
}

}  // namespace

std::unique_ptr<Model> loadModel(const std::string& path, const ModelConfig& config, const ModelRefs& refs, ThreadPool& pool, bool expand) {
  checkShapes(config, refs);
  const File file(path);
  auto model = std::make_unique<Model>();
  model->config = config;
  const auto matrix = [&](const TensorRef& ref) {
    if (!ref.present) throw std::runtime_error("a tensor is missing");
    Matrix loaded = loadMatrix(file, ref, pool, expand, model->memory);
    model->weightBytes += loaded.bytes();
    return loaded;
  };
  const auto vector = [&](const TensorRef& ref) {
    if (!ref.present) throw std::runtime_error("a tensor is missing");
    return loadVector(file, ref);
  };
  model->embedding = matrix(refs.embedding);
  model->tied = !refs.output.present;
  if (!model->tied) model->output = matrix(refs.output);
  model->outputNorm = vector(refs.outputNorm);
  for (const LayerRefs& l : refs.layers) {
    Layer layer;
    layer.attentionNorm = vector(l.attentionNorm);
    layer.ffnNorm = vector(l.ffnNorm);
    layer.queryBias = loadVector(file, l.queryBias);
    layer.keyBias = loadVector(file, l.keyBias);
    layer.valueBias = loadVector(file, l.valueBias);
    layer.outputBias = loadVector(file, l.attentionOutputBias);
    layer.query = matrix(l.query);
    layer.key = matrix(l.key);
    layer.value = matrix(l.value);
    layer.attentionOutput = matrix(l.attentionOutput);
    layer.gate = matrix(l.gate);
    layer.up = matrix(l.up);
    layer.down = matrix(l.down);
    model->layers.push_back(std::move(layer));
  }
  return model;
}

}  // namespace flyball
