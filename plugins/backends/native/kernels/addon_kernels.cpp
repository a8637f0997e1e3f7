#include "addon_kernels.h"
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>
#include "dispatch.h"
#include "half.h"
#include "memory.h"
#include "panel.h"
#include "thread_pool.h"

namespace flyball {
namespace {

const Kernels& kernelsOf(const Napi::CallbackInfo& info) {
  try {
    return chooseKernels(info[0].ToString().Utf8Value());
  } catch (const std::exception& error) {
    throw Napi::Error::New(info.Env(), error.what());
  }
}
template <class Array> Array arg(const Napi::CallbackInfo& info, size_t i, size_t length) {
  if (!info[i].IsTypedArray()) throw Napi::TypeError::New(info.Env(), "expected a typed array");
  const Array array = info[i].As<Array>();
  if (array.ElementLength() != length) throw Napi::RangeError::New(info.Env(), "an array has the wrong length");
  return array;
}
int32_t whole(const Napi::CallbackInfo& info, size_t i) { return info[i].ToNumber().Int32Value(); }
Napi::Float32Array floats(Napi::Env env, const float* from, size_t count) {
  auto out = Napi::Float32Array::New(env, count);
  std::copy(from, from + count, out.Data());
  return out;
}

// gemm(isa, ggufType, n, k, weights, x [m][k], m, start?: [m][n] to accumulate onto) -> [m][n]
Napi::Value gemm(const Napi::CallbackInfo& info) {
  const Kernels& kernels = kernelsOf(info);
  const int32_t type = whole(info, 1), n = whole(info, 2), k = whole(info, 3), m = whole(info, 6);
  const size_t rowBytes = k > 0 ? ggufRowBytes(type, static_cast<size_t>(k)) : 0;
  if (rowBytes == 0 || n < 1 || m < 1 || m > 4096) throw Napi::RangeError::New(info.Env(), "bad shape");
  const auto weights = arg<Napi::Uint8Array>(info, 4, rowBytes * static_cast<size_t>(n));
  const auto x = arg<Napi::Float32Array>(info, 5, static_cast<size_t>(m) * k);
  Arena memory;
  Matrix matrix = makeMatrix(type, n, k, memory);
  for (int32_t g = 0; g < matrix.panel.groups; g++) repackGroup(matrix, type, g, weights.Data() + static_cast<size_t>(g) * kGroup * rowBytes);
  Acts acts{};
  acts.rows = m;
  acts.k = k;
  acts.tiles = (m + kMaxTile - 1) / kMaxTile;
  acts.tile = (m + acts.tiles - 1) / acts.tiles;
  const size_t rows = static_cast<size_t>(acts.tiles) * acts.tile, stride = static_cast<size_t>(matrix.panel.groups) * kGroup;
  Region blocks(rows * static_cast<size_t>(k / kBlock + 1) * kActBytes);
  std::vector<float> plain(rows * static_cast<size_t>(k), 0.0f), out(rows * stride, 0.0f);
  for (int32_t row = 0; row < m; row++) {
    if (isQuant(matrix.panel.format))
      kernels.quantizeRow(x.Data() + static_cast<size_t>(row) * k, k, blocks.data() + static_cast<size_t>(row / acts.tile) * matrix.panel.kb * acts.tile * kActBytes, acts.tile, row % acts.tile);
    std::copy_n(x.Data() + static_cast<size_t>(row) * k, k, plain.data() + static_cast<size_t>(row) * k);
  }
  acts.blocks = blocks.data();
  acts.f = plain.data();
  acts.ldf = static_cast<size_t>(k);
  const bool accumulate = info.Length() > 7 && info[7].IsTypedArray();
  if (accumulate) {
    const auto start = arg<Napi::Float32Array>(info, 7, static_cast<size_t>(m) * n);
    for (int32_t row = 0; row < m; row++) std::copy_n(start.Data() + static_cast<size_t>(row) * n, n, out.data() + static_cast<size_t>(row) * stride);
  }
  kernels.gemm(&matrix.panel, 0, matrix.panel.groups, &acts, out.data(), stride, accumulate);
  auto result = Napi::Float32Array::New(info.Env(), static_cast<size_t>(m) * n);
  for (int32_t row = 0; row < m; row++) std::copy_n(out.data() + static_cast<size_t>(row) * stride, n, result.Data() + static_cast<size_t>(row) * n);
  return result;
}

// dequantize(ggufType, n, k, weights) -> [n][k], by way of the panel layout
Napi::Value dequantize(const Napi::CallbackInfo& info) {
  const int32_t type = whole(info, 0), n = whole(info, 1), k = whole(info, 2);
  const size_t rowBytes = k > 0 ? ggufRowBytes(type, static_cast<size_t>(k)) : 0;
  if (rowBytes == 0 || n < 1) throw Napi::RangeError::New(info.Env(), "bad shape");
  const auto weights = arg<Napi::Uint8Array>(info, 3, rowBytes * static_cast<size_t>(n));
  Arena memory;
  Matrix matrix = makeMatrix(type, n, k, memory);
  for (int32_t g = 0; g < matrix.panel.groups; g++) repackGroup(matrix, type, g, weights.Data() + static_cast<size_t>(g) * kGroup * rowBytes);
  auto out = Napi::Float32Array::New(info.Env(), static_cast<size_t>(n) * k);
  for (int32_t row = 0; row < n; row++) panelRow(matrix.panel, row, out.Data() + static_cast<size_t>(row) * k);
  return out;
}

// quantizeRow(isa, x) -> what the 8-bit blocks stand for
Napi::Value quantizeRow(const Napi::CallbackInfo& info) {
  const Kernels& kernels = kernelsOf(info);
  if (!info[1].IsTypedArray()) throw Napi::TypeError::New(info.Env(), "expected a typed array");
  const auto x = info[1].As<Napi::Float32Array>();
  const size_t k = x.ElementLength();
  if (k == 0 || k % kBlock != 0) throw Napi::RangeError::New(info.Env(), "bad length");
  std::vector<uint8_t> blocks(k / kBlock * kActBytes);
  kernels.quantizeRow(x.Data(), static_cast<int32_t>(k), blocks.data(), 1, 0);
  std::vector<float> out(k);
  for (size_t b = 0; b < k / kBlock; b++) {
    const uint8_t* block = blocks.data() + b * kActBytes;
    float d;
    int32_t sum, half, total = 0, firstHalf = 0;
    memcpy(&d, block + 32, 4);
    memcpy(&sum, block + 36, 4);
    memcpy(&half, block + 40, 4);
    for (size_t i = 0; i < 32; i++) {
      const int8_t q = static_cast<int8_t>(block[i]);
      total += q;
      if (i < 16) firstHalf += q;
      out[b * 32 + i] = d * q;
    }
    if (sum != -128 * total || half != -128 * firstHalf) throw Napi::Error::New(info.Env(), "block sums are wrong");
  }
  return floats(info.Env(), out.data(), k);
}

// rmsNorm(isa, x, weight, eps)
Napi::Value rmsNorm(const Napi::CallbackInfo& info) {
  const Kernels& kernels = kernelsOf(info);
  const auto x = info[1].As<Napi::Float32Array>();
  const auto weight = arg<Napi::Float32Array>(info, 2, x.ElementLength());
  std::vector<float> out(x.ElementLength());
  kernels.rmsNorm(x.Data(), weight.Data(), info[3].ToNumber().FloatValue(), static_cast<int32_t>(out.size()), out.data());
  return floats(info.Env(), out.data(), out.size());
}

// siluMul(isa, gate, up)
Napi::Value siluMul(const Napi::CallbackInfo& info) {
  const Kernels& kernels = kernelsOf(info);
  const auto gate = info[1].As<Napi::Float32Array>();
  const auto up = arg<Napi::Float32Array>(info, 2, gate.ElementLength());
  std::vector<float> out(gate.Data(), gate.Data() + gate.ElementLength());
  kernels.siluMul(out.data(), up.Data(), static_cast<int32_t>(out.size()));
  return floats(info.Env(), out.data(), out.size());
}

// attend(isa, kvType, headDim, k [tokens][headDim], v, q [rows][headDim] scaled, qpos [rows], window, sinks, pageOrder) -> [rows][headDim]
// Pages are laid out in memory in the order of `pageOrder`; up to 16 of them.
Napi::Value attend(const Napi::CallbackInfo& info) {
  const Kernels& kernels = kernelsOf(info);
  const int32_t type = whole(info, 1), hd = whole(info, 2), window = whole(info, 7), sinks = whole(info, 8);
  if (hd < 2 || hd > kMaxHeadDim || hd % 2 != 0 || type < kKvF32 || type > kKvHalf) throw Napi::RangeError::New(info.Env(), "bad shape");
  const auto k = info[3].As<Napi::Float32Array>();
  const size_t tokens = k.ElementLength() / static_cast<size_t>(hd), pages = (tokens + kPage - 1) / kPage;
  const auto v = arg<Napi::Float32Array>(info, 4, k.ElementLength());
  const auto qpos = info[6].As<Napi::Int32Array>();
  const size_t rows = qpos.ElementLength();
  const auto q = arg<Napi::Float32Array>(info, 5, rows * static_cast<size_t>(hd));
  const auto order = arg<Napi::Int32Array>(info, 9, pages);
  if (pages > kChunkPages || rows < 1 || rows > kMaxQueries) throw Napi::RangeError::New(info.Env(), "too large");
  const size_t headBytes = static_cast<size_t>(kPage) * hd * (type == kKvF32 ? 4 : 2);
  Region memory(pages * 2 * headBytes);
  std::vector<const uint8_t*> keys(pages), values(pages);
  std::vector<int32_t> base(pages);
  for (size_t p = 0; p < pages; p++) {
    if (order[p] < 0 || static_cast<size_t>(order[p]) >= pages) throw Napi::RangeError::New(info.Env(), "bad order");
    uint8_t *kp = memory.data() + static_cast<size_t>(order[p]) * 2 * headBytes, *vp = kp + headBytes;
    keys[p] = kp;
    values[p] = vp;
    base[p] = static_cast<int32_t>(p) * kPage;
    for (size_t t = p * kPage; t < std::min(tokens, (p + 1) * kPage); t++)
      for (size_t d = 0; d < static_cast<size_t>(hd); d++) {
        const float kv[2] = {k[t * hd + d], v[t * hd + d]};
        const size_t i = t % kPage;
        if (type == kKvF32) {
          reinterpret_cast<float*>(kp)[d * kPage + i] = kv[0];
          reinterpret_cast<float*>(vp)[i * hd + d] = kv[1];
        } else if (type == kKvHalf) {
          reinterpret_cast<uint16_t*>(kp)[i * hd + d] = floatToHalf(kv[0]);
          reinterpret_cast<uint16_t*>(vp)[i * hd + d] = floatToHalf(kv[1]);
        } else {
          reinterpret_cast<uint16_t*>(kp)[d / 2 * kPage * 2 + i * 2 + d % 2] = floatToBf16(kv[0]);
          reinterpret_cast<uint16_t*>(vp)[(i / 2 * hd + d) * 2 + i % 2] = floatToBf16(kv[1]);
        }
      }
  }
  std::vector<size_t> offsets(rows);
  for (size_t i = 0; i < rows; i++) offsets[i] = i * static_cast<size_t>(hd);
  std::vector<float> m(rows), l(rows), o(rows * static_cast<size_t>(hd));
  const AttendArgs args = {hd, static_cast<int32_t>(rows), static_cast<int32_t>(pages), type, window, sinks, 1.0f, q.Data(), offsets.data(), qpos.Data(),
                           keys.data(), values.data(), base.data(), m.data(), l.data(), o.data()};
  kernels.attend(&args);
  for (size_t i = 0; i < rows; i++)
    for (int32_t d = 0; d < hd; d++) o[i * static_cast<size_t>(hd) + static_cast<size_t>(d)] /= l[i];
  return floats(info.Env(), o.data(), o.size());
}

// limits(isa, threads, megabytes, rounds) -> [bytes read per second, 8-bit operations per second (0: no instruction)]
// The best of a few tries, all threads together.
Napi::Value limits(const Napi::CallbackInfo& info) {
  struct Work {
    const Kernels& kernels;
    Region memory;
    size_t each;
    int64_t rounds;
    bool compute;
    std::atomic<uint64_t> sink{0};
    std::atomic<uint64_t> operations{0};
  };
  ThreadPool pool(std::max(1, std::min(256, whole(info, 1))));
  const size_t each = static_cast<size_t>(std::max(1, std::min(8192, whole(info, 2)))) * (1u << 20) / static_cast<size_t>(pool.size()) / 4096 * 4096;
  Work work{kernelsOf(info), Region(each * static_cast<size_t>(pool.size())), each, whole(info, 3), false, {}, {}};
  memset(work.memory.data(), 1, work.memory.size());
  const auto run = [&] {
    const auto start = std::chrono::steady_clock::now();
    pool.run(
        [](void* context, int thread) {
          Work& w = *static_cast<Work*>(context);
          if (w.compute) w.operations += static_cast<uint64_t>(w.kernels.int8Peak(w.rounds));
          else w.sink += w.kernels.readAll(w.memory.data() + static_cast<size_t>(thread) * w.each, w.each);
        },
        &work);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  auto out = Napi::Float64Array::New(info.Env(), 2);
  out[0] = out[1] = 0;
  for (int i = 0; i < 5; i++) out[0] = std::max(static_cast<double>(out[0]), static_cast<double>(work.memory.size()) / run());
  work.compute = work.kernels.int8Peak != nullptr;
  for (int i = 0; i < 5 && work.compute; i++) {
    work.operations = 0;
    const double seconds = run();
    out[1] = std::max(static_cast<double>(out[1]), static_cast<double>(work.operations.load()) / seconds);
  }
  return out;
}

}  // namespace

void defineKernelProbes(Napi::Env env, Napi::Object exports) {
  const auto probes = Napi::Object::New(env);
  probes.Set("gemm", Napi::Function::New(env, gemm));
  probes.Set("dequantize", Napi::Function::New(env, dequantize));
  probes.Set("quantizeRow", Napi::Function::New(env, quantizeRow));
  probes.Set("rmsNorm", Napi::Function::New(env, rmsNorm));
  probes.Set("siluMul", Napi::Function::New(env, siluMul));
  probes.Set("attend", Napi::Function::New(env, attend));
  probes.Set("limits", Napi::Function::New(env, limits));
  exports.Set("probes", probes);
}

}  // namespace flyball
