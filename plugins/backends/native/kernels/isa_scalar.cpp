// The reference kernels: plain C, one obvious loop each. Every other variant is tested against these.
#include <math.h>
#include "half.h"
#include "kernels.h"

namespace flyball {
namespace {

struct BlockWeights {
  int32_t value[kBlock];  // offset already taken off
  float scale[2];         // of the first and the second 16
  float min;              // subtracted, times the sum of the activations
};

inline uint16_t half16(const uint8_t* p) { uint16_t h; memcpy(&h, p, 2); return h; }

// Row r (0..15) of group g, block b, in any of the integer formats.
void loadBlock(const Panel& w, int g, int b, int r, BlockWeights* out) {
  const bool nibbles = w.format == kQ4 || w.format == kQ4K;
  const uint8_t* q = w.q + (size_t)g * w.qStride + (size_t)b * (nibbles ? 256 : 512);
  const uint8_t* s = w.scales + (size_t)g * w.scaleStride;
  const int offset = w.format == kQ8 ? 128 : w.format == kQ4 ? 8 : w.format == kQ6K ? 32 : 0;
  for (int i = 0; i < kBlock; i++) {
    const int quad = i / 4, within = i % 4;
    int value;
    if (nibbles) {
      const uint8_t byte = q[(quad % 4) * 64 + r * 4 + within];
      value = quad < 4 ? byte & 15 : byte >> 4;
    } else {
      value = q[quad * 64 + r * 4 + within];
    }
    out->value[i] = value - offset;
  }
  out->min = 0;
  if (w.format == kQ4K) {
    const uint8_t* rec = s + (size_t)(b / 8) * kScaleBytesK;
    out->scale[0] = out->scale[1] = halfToFloat(half16(rec + r * 2)) * (float)rec[64 + (b % 8) * 16 + r];
    out->min = halfToFloat(half16(rec + 32 + r * 2)) * (float)rec[192 + (b % 8) * 16 + r];
  } else if (w.format == kQ6K) {
    const uint8_t* rec = s + (size_t)(b / 8) * kScaleBytes6K;
    const float d = halfToFloat(half16(rec + r * 2));
    for (int h = 0; h < 2; h++) out->scale[h] = d * (float)(int8_t)rec[32 + ((b % 8) * 2 + h) * 16 + r];
  } else {
    out->scale[0] = out->scale[1] = halfToFloat(half16(s + ((size_t)b * 16 + r) * 2));
  }
}

void gemmQuant(const Panel& w, int g, const Acts& a, int t, float* c, size_t ldc, int accumulate) {
  const int tile = a.tile;
  for (int r = 0; r < kGroup; r++) {
    float sum[kMaxTile];
    for (int m = 0; m < tile; m++) sum[m] = accumulate ? c[(size_t)m * ldc + r] : 0.0f;
    for (int b = 0; b < w.kb; b++) {
      BlockWeights bw;
      loadBlock(w, g, b, r, &bw);
      const uint8_t* block = a.blocks + ((size_t)t * w.kb + b) * tile * kActBytes;
      for (int m = 0; m < tile; m++) {
        const int8_t* x = (const int8_t*)block + m * kBlock;
        float d;
        int32_t s;
        memcpy(&d, block + tile * 32 + m * 4, 4);
        memcpy(&s, block + tile * 36 + m * 4, 4);
        int32_t lo = 0, hi = 0;
        for (int i = 0; i < 16; i++) lo += bw.value[i] * x[i];
        for (int i = 16; i < 32; i++) hi += bw.value[i] * x[i];
        if (w.format == kQ6K) {
          sum[m] = fmaf((float)lo, bw.scale[0] * d, sum[m]);
          sum[m] = fmaf((float)hi, bw.scale[1] * d, sum[m]);
        } else {
          sum[m] = fmaf((float)(lo + hi), bw.scale[0] * d, sum[m]);
          if (w.format == kQ4K) sum[m] = fmaf(bw.min, d * (float)s * 0.0078125f, sum[m]);  // s = -128 * sum
        }
      }
    }
    for (int m = 0; m < tile; m++) c[(size_t)m * ldc + r] = sum[m];
  }
}

void gemmFloat(const Panel& w, int g, const Acts& a, int t, float* c, size_t ldc, int accumulate) {
  const uint8_t* q = w.q + (size_t)g * w.qStride;
  for (int m = 0; m < a.tile; m++) {
    const float* x = a.f + (size_t)(t * a.tile + m) * a.ldf;
    for (int r = 0; r < kGroup; r++) {
      float sum = accumulate ? c[(size_t)m * ldc + r] : 0.0f;
      for (int k = 0; k < w.k; k++) {
        const size_t at = (size_t)k * kGroup + r;
        const float value = w.format == kF32   ? ((const float*)q)[at]
                            : w.format == kF16 ? halfToFloat(((const uint16_t*)q)[at])
                                               : bf16ToFloat(((const uint16_t*)q)[at]);
        sum = fmaf(value, x[k], sum);
      }
      c[(size_t)m * ldc + r] = sum;
    }
  }
}

void gemm(const Panel* w, int32_t g0, int32_t gn, const Acts* a, float* c, size_t ldc, int32_t accumulate) {
  for (int t = 0; t < a->tiles; t++)
    for (int g = 0; g < gn; g++) {
      float* out = c + (size_t)t * a->tile * ldc + (size_t)g * kGroup;
      (isQuant(w->format) ? gemmQuant : gemmFloat)(*w, g0 + g, *a, t, out, ldc, accumulate);
    }
}

void quantizeRow(const float* x, int32_t k, uint8_t* tileBlocks, int32_t tile, int32_t m) {
  for (int b = 0; b < k / kBlock; b++, x += kBlock) {
    uint8_t* block = tileBlocks + (size_t)b * tile * kActBytes;
    float largest = 0;
    for (int i = 0; i < kBlock; i++) largest = fmaxf(largest, fabsf(x[i]));
    const float d = largest / 127.0f, inverse = largest > 0 ? 127.0f / largest : 0.0f;
    int32_t sum = 0, half = 0;
    for (int i = 0; i < kBlock; i++) {
      int32_t v = (int32_t)lrintf(x[i] * inverse);
      v = v > 127 ? 127 : v < -127 ? -127 : v;
      ((int8_t*)block)[m * kBlock + i] = (int8_t)v;
      sum += v;
      if (i == 15) half = sum;
    }
    sum *= -128;
    half *= -128;
    memcpy(block + tile * 32 + m * 4, &d, 4);
    memcpy(block + tile * 36 + m * 4, &sum, 4);
    memcpy(block + tile * 40 + m * 4, &half, 4);
  }
}

void rmsNorm(const float* x, const float* weight, float eps, int32_t n, float* out) {
  double squares = 0;
  for (int i = 0; i < n; i++) squares += (double)x[i] * x[i];
  const float scale = (float)(1.0 / sqrt(squares / n + eps));
  for (int i = 0; i < n; i++) out[i] = x[i] * scale * weight[i];
}

void siluMul(float* gate, const float* up, int32_t n) {
  for (int i = 0; i < n; i++) gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

inline float kAt(const uint8_t* page, int type, int token, int d) {
  if (type == kKvF32) return ((const float*)page)[d * kPage + token];
  return bf16ToFloat(((const uint16_t*)page)[(d / 2) * kPage * 2 + token * 2 + d % 2]);
}
inline float vAt(const uint8_t* page, int type, int token, int d, int headDim) {
  if (type == kKvF32) return ((const float*)page)[token * headDim + d];
  return bf16ToFloat(((const uint16_t*)page)[((size_t)(token / 2) * headDim + d) * 2 + token % 2]);
}

// Keys, values and query in half precision, one position after the other, and a half-precision sum of values.
void attendHalf(const AttendArgs& a, int row) {
  const int hd = a.headDim, pos = a.qpos[row];
  const float* q = a.q + a.qOffset[row];
  float* o = a.o + (size_t)row * hd;
  float m = -1e30f, l = 0;
  for (int d = 0; d < hd; d++) o[d] = 0;
  for (int p = 0; p < a.pageCount; p++)
    for (int t = 0; t < kPage; t++) {
      const int at = a.base[p] + t;
      if (at > pos || !(a.window <= 0 || at > pos - a.window || at < a.sinks)) continue;
      const uint16_t *k = (const uint16_t*)a.k[p] + t * hd, *v = (const uint16_t*)a.v[p] + t * hd;
      float score = 0, weight = 1;
      for (int d = 0; d < hd; d++) score = fmaf(halfToFloat(floatToHalf(q[d])), halfToFloat(k[d]), score);
      score *= a.scale;
      if (score > m) {
        const float shrink = expf(m - score);
        m = score;
        l *= shrink;
        for (int d = 0; d < hd; d++) o[d] = halfToFloat(floatToHalf(o[d] * shrink));
      } else {
        weight = expf(score - m);
      }
      for (int d = 0; d < hd; d++) o[d] = halfToFloat(floatToHalf(fmaf(weight, halfToFloat(v[d]), o[d])));
      l += weight;
    }
  a.m[row] = m;
  a.l[row] = l;
}

void attend(const AttendArgs* a) {
  if (a->kvType == kKvHalf) {
    for (int i = 0; i < a->rows; i++) attendHalf(*a, i);
    return;
  }
  for (int i = 0; i < a->rows; i++) {
    const float* q = a->q + a->qOffset[i];
    float* o = a->o + (size_t)i * a->headDim;
    float m = -1e30f, l = 0;
    for (int d = 0; d < a->headDim; d++) o[d] = 0;
    for (int p = 0; p < a->pageCount; p++) {
      float s[kPage];
      bool seen[kPage];
      float largest = m;
      for (int t = 0; t < kPage; t++) {
        const int pos = a->base[p] + t;
        seen[t] = pos <= a->qpos[i] && (a->window <= 0 || pos > a->qpos[i] - a->window || pos < a->sinks);
        if (!seen[t]) continue;
        float dot = 0;
        for (int d = 0; d < a->headDim; d++) dot = fmaf(kAt(a->k[p], a->kvType, t, d), q[d], dot);
        s[t] = dot;
        largest = fmaxf(largest, dot);
      }
      if (largest > m) {
        const float c = expf(m - largest);
        l *= c;
        for (int d = 0; d < a->headDim; d++) o[d] *= c;
        m = largest;
      }
      for (int t = 0; t < kPage; t++) {
        if (!seen[t]) continue;
        const float e = expf(s[t] - m);
        l += e;
        for (int d = 0; d < a->headDim; d++) o[d] = fmaf(e, vAt(a->v[p], a->kvType, t, d, a->headDim), o[d]);
      }
    }
    a->m[i] = m;
    a->l[i] = l;
  }
}

uint64_t readAll(const uint8_t* from, size_t bytes) {
  const uint64_t* words = (const uint64_t*)from;
  uint64_t a = 0, b = 0, c = 0, d = 0;
  for (size_t i = 0; i < bytes / 8; i += 4) {
    a ^= words[i];
    b ^= words[i + 1];
    c ^= words[i + 2];
    d ^= words[i + 3];
  }
  return a ^ b ^ c ^ d;
}

}  // namespace

extern const Kernels kScalarKernels = {"scalar", gemm, quantizeRow, rmsNorm, siluMul, attend, readAll, nullptr};

}  // namespace flyball
