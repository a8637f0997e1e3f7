// ARM NEON with dot products (Armv8.2 dotprod). A group of 16 rows is four vectors of 4 rows x 4 inputs; a tile is one
// group x up to 2 tokens, which with their float sums fill half of the registers.
#include <arm_neon.h>
#include <math.h>
#include <string.h>
#include "half.h"
#include "kernels.h"

#define UNROLL _Pragma("GCC unroll 8")

namespace flyball {
namespace {

inline float f32At(const uint8_t* p) { float f; memcpy(&f, p, 4); return f; }
inline int32_t i32At(const uint8_t* p) { int32_t i; memcpy(&i, p, 4); return i; }
inline float32x4_t half4(const uint8_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t*)p))); }
inline float32x4_t bytes4(const uint8_t* p) { return vcvtq_f32_u32((uint32x4_t){p[0], p[1], p[2], p[3]}); }
inline float32x4_t signedBytes4(const uint8_t* p) { return vcvtq_f32_s32((int32x4_t){(int8_t)p[0], (int8_t)p[1], (int8_t)p[2], (int8_t)p[3]}); }

// Rows 4v .. 4v + 3, inputs 4kk .. 4kk + 3 of a block, as signed bytes.
template <int FORMAT> inline int8x16_t loadQuad(const uint8_t* q, int kk, int v) {
  if (FORMAT == kQ8) return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(q + kk * 64 + v * 16), vdupq_n_u8(0x80)));
  if (FORMAT == kQ6K) return vreinterpretq_s8_u8(vld1q_u8(q + kk * 64 + v * 16));
  const uint8x16_t packed = vld1q_u8(q + (kk & 3) * 64 + v * 16);
  return vreinterpretq_s8_u8(kk < 4 ? vandq_u8(packed, vdupq_n_u8(15)) : vshrq_n_u8(packed, 4));
}

template <int FORMAT, int RM>
__attribute__((noinline)) void quantTile(const Panel& w, int g, const uint8_t* block, int tile, int m0, float* c, size_t ldc, int accumulate) {
  constexpr int BYTES = FORMAT == kQ8 || FORMAT == kQ6K ? 512 : 256, HALVES = FORMAT == kQ6K ? 2 : 1;
  const uint8_t *q = w.q + (size_t)g * w.qStride, *s = w.scales + (size_t)g * w.scaleStride;
  float32x4_t f[RM][4];
  UNROLL for (int m = 0; m < RM; m++)
    UNROLL for (int v = 0; v < 4; v++) f[m][v] = accumulate ? vld1q_f32(c + m * ldc + v * 4) : vdupq_n_f32(0);
  for (int b = 0; b < w.kb; b++, block += tile * kActBytes, q += BYTES) {
    const uint8_t *x = block + m0 * 32, *scales = block + tile * 32 + m0 * 4, *sums = block + tile * 36 + m0 * 4, *halves = block + tile * 40 + m0 * 4;
    UNROLL for (int h = 0; h < HALVES; h++) {
      int32x4_t acc[RM][4];
      UNROLL for (int m = 0; m < RM; m++) {
        const int32_t sum = i32At(sums + m * 4), first = i32At(halves + m * 4);
        const int32_t start = FORMAT == kQ4 ? sum >> 4 : FORMAT == kQ6K ? (h ? sum - first : first) >> 2 : 0;
        UNROLL for (int v = 0; v < 4; v++) acc[m][v] = vdupq_n_s32(start);
      }
      UNROLL for (int kk = h * 4; kk < (HALVES == 2 ? h * 4 + 4 : 8); kk++)
        UNROLL for (int v = 0; v < 4; v++) {
          const int8x16_t wv = loadQuad<FORMAT>(q, kk, v);
          UNROLL for (int m = 0; m < RM; m++) acc[m][v] = vdotq_s32(acc[m][v], wv, vreinterpretq_s8_s32(vdupq_n_s32(i32At(x + m * 32 + kk * 4))));
        }
      UNROLL for (int v = 0; v < 4; v++) {
        float32x4_t d, low = vdupq_n_f32(0);
        if (FORMAT == kQ4K) {
          const uint8_t *top = s + (size_t)(b >> 3) * kScaleBytesK, *rec = top + (b & 7) * 16 + v * 4;
          d = vmulq_f32(half4(top + v * 8), bytes4(rec + 64));
          low = vmulq_f32(half4(top + 32 + v * 8), bytes4(rec + 192));
        } else if (FORMAT == kQ6K) {
          const uint8_t* top = s + (size_t)(b >> 3) * kScaleBytes6K;
          d = vmulq_f32(half4(top + v * 8), signedBytes4(top + 32 + ((b & 7) * 2 + h) * 16 + v * 4));
        } else {
          d = half4(s + (size_t)b * 32 + v * 8);
        }
        UNROLL for (int m = 0; m < RM; m++) {
          const float da = f32At(scales + m * 4);
          f[m][v] = vfmaq_f32(f[m][v], vcvtq_f32_s32(acc[m][v]), vmulq_n_f32(d, da));
          if (FORMAT == kQ4K) f[m][v] = vfmaq_n_f32(f[m][v], low, da * (float)i32At(sums + m * 4) * 0.0078125f);
        }
      }
    }
  }
  UNROLL for (int m = 0; m < RM; m++)
    UNROLL for (int v = 0; v < 4; v++) vst1q_f32(c + m * ldc + v * 4, f[m][v]);
}

template <int FORMAT> inline float32x4_t loadFloat4(const uint8_t* q, size_t at) {
  if (FORMAT == kF32) return vld1q_f32((const float*)q + at);
  if (FORMAT == kF16) return half4(q + at * 2);
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16((const uint16_t*)q + at), 16));
}

template <int FORMAT, int RM>
__attribute__((noinline)) void floatTile(const Panel& w, int g, const float* x, size_t ldx, float* c, size_t ldc, int accumulate) {
  const uint8_t* q = w.q + (size_t)g * w.qStride;
  float32x4_t f[RM][4];
  UNROLL for (int m = 0; m < RM; m++)
    UNROLL for (int v = 0; v < 4; v++) f[m][v] = accumulate ? vld1q_f32(c + m * ldc + v * 4) : vdupq_n_f32(0);
  for (int k = 0; k < w.k; k++)
    UNROLL for (int v = 0; v < 4; v++) {
      const float32x4_t wv = loadFloat4<FORMAT>(q, (size_t)k * 16 + v * 4);
      UNROLL for (int m = 0; m < RM; m++) f[m][v] = vfmaq_n_f32(f[m][v], wv, x[m * ldx + k]);
    }
  UNROLL for (int m = 0; m < RM; m++)
    UNROLL for (int v = 0; v < 4; v++) vst1q_f32(c + m * ldc + v * 4, f[m][v]);
}

template <int FORMAT, int RM> void part(const Panel& w, int g, const Acts& a, int t, int m0, float* c, size_t ldc, int accumulate) {
  float* out = c + (size_t)(t * a.tile + m0) * ldc;
  if constexpr (FORMAT >= kQ8) quantTile<FORMAT, RM>(w, g, a.blocks + (size_t)t * w.kb * a.tile * kActBytes, a.tile, m0, out, ldc, accumulate);
  else floatTile<FORMAT, RM>(w, g, a.f + (size_t)(t * a.tile + m0) * a.ldf, a.ldf, out, ldc, accumulate);
}

template <int FORMAT> void runFormat(const Panel& w, int g0, int gn, const Acts& a, float* c, size_t ldc, int accumulate) {
  for (int g = 0; g < gn; g++)
    for (int t = 0; t < a.tiles; t++)
      for (int m = 0; m < a.tile; m += 2) {
        if (a.tile - m >= 2) part<FORMAT, 2>(w, g0 + g, a, t, m, c + (size_t)g * 16, ldc, accumulate);
        else part<FORMAT, 1>(w, g0 + g, a, t, m, c + (size_t)g * 16, ldc, accumulate);
      }
}

void gemm(const Panel* w, int32_t g0, int32_t gn, const Acts* a, float* c, size_t ldc, int32_t accumulate) {
  switch (w->format) {
    case kF32: return runFormat<kF32>(*w, g0, gn, *a, c, ldc, accumulate);
    case kF16: return runFormat<kF16>(*w, g0, gn, *a, c, ldc, accumulate);
    case kBF16: return runFormat<kBF16>(*w, g0, gn, *a, c, ldc, accumulate);
    case kQ8: return runFormat<kQ8>(*w, g0, gn, *a, c, ldc, accumulate);
    case kQ4: return runFormat<kQ4>(*w, g0, gn, *a, c, ldc, accumulate);
    case kQ4K: return runFormat<kQ4K>(*w, g0, gn, *a, c, ldc, accumulate);
    case kQ6K: return runFormat<kQ6K>(*w, g0, gn, *a, c, ldc, accumulate);
  }
}

void quantizeRow(const float* x, int32_t k, uint8_t* tileBlocks, int32_t tile, int32_t m) {
  for (int b = 0; b < k / kBlock; b++, x += kBlock) {
    uint8_t* block = tileBlocks + (size_t)b * tile * kActBytes;
    float32x4_t most = vdupq_n_f32(0);
    for (int i = 0; i < 8; i++) most = vmaxq_f32(most, vabsq_f32(vld1q_f32(x + i * 4)));
    const float largest = vmaxvq_f32(most), d = largest / 127.0f, inverse = largest > 0 ? 127.0f / largest : 0.0f;
    int32_t sum = 0, half = 0;
    for (int i = 0; i < 8; i++) {
      int32x4_t q = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i * 4), inverse));
      q = vmaxq_s32(vminq_s32(q, vdupq_n_s32(127)), vdupq_n_s32(-127));
      const int16x4_t narrow = vmovn_s32(q);
      const int8x8_t bytes = vmovn_s16(vcombine_s16(narrow, narrow));
      vst1_lane_s32((int32_t*)(void*)(block + m * kBlock + i * 4), vreinterpret_s32_s8(bytes), 0);
      sum += vaddvq_s32(q);
      if (i == 3) half = sum;
    }
    sum *= -128;
    half *= -128;
    memcpy(block + tile * 32 + m * 4, &d, 4);
    memcpy(block + tile * 36 + m * 4, &sum, 4);
    memcpy(block + tile * 40 + m * 4, &half, 4);
  }
}

void rmsNorm(const float* x, const float* weight, float eps, int32_t n, float* out) {
  float32x4_t s0 = vdupq_n_f32(0), s1 = s0;
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    s0 = vfmaq_f32(s0, vld1q_f32(x + i), vld1q_f32(x + i));
    s1 = vfmaq_f32(s1, vld1q_f32(x + i + 4), vld1q_f32(x + i + 4));
  }
  double squares = vaddvq_f32(vaddq_f32(s0, s1));
  for (; i < n; i++) squares += (double)x[i] * x[i];
  const float scale = (float)(1.0 / sqrt(squares / n + eps));
  for (i = 0; i < n; i++) out[i] = x[i] * scale * weight[i];
}

void siluMul(float* gate, const float* up, int32_t n) {
  for (int i = 0; i < n; i++) gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

inline float32x4_t lowHalf(uint16x8_t pairs) { return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_u16(pairs), 16)); }
inline float32x4_t highHalf(uint16x8_t pairs) { return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_u16(pairs), vdupq_n_u32(0xffff0000u))); }

// One query row at a time; scores of a page are 8 vectors of 4 tokens.
template <bool BF16> void attendRow(const AttendArgs& a, int row) {
  const int hd = a.headDim, pos = a.qpos[row];
  const float* q = a.q + a.qOffset[row];
  float* o = a.o + (size_t)row * hd;
  float m = -1e30f, l = 0;
  for (int d = 0; d < hd; d++) o[d] = 0;
  for (int p = 0; p < a.pageCount && a.base[p] <= pos; p++) {
    float32x4_t s[8];
    for (int i = 0; i < 8; i++) s[i] = vdupq_n_f32(0);
    if (BF16) {
      const uint16_t* k = (const uint16_t*)a.k[p];
      for (int d = 0; d < hd / 2; d++)
        for (int i = 0; i < 8; i++) {
          const uint16x8_t pairs = vld1q_u16(k + d * kPage * 2 + i * 8);
          s[i] = vfmaq_n_f32(vfmaq_n_f32(s[i], lowHalf(pairs), q[d * 2]), highHalf(pairs), q[d * 2 + 1]);
        }
    } else {
      const float* k = (const float*)a.k[p];
      for (int d = 0; d < hd; d++)
        for (int i = 0; i < 8; i++) s[i] = vfmaq_n_f32(s[i], vld1q_f32(k + d * kPage + i * 4), q[d]);
    }
    float e[kPage], largest = m;
    bool seen[kPage];
    for (int i = 0; i < 8; i++) vst1q_f32(e + i * 4, s[i]);
    for (int t = 0; t < kPage; t++) {
      const int at = a.base[p] + t;
      seen[t] = at <= pos && (a.window <= 0 || at > pos - a.window || at < a.sinks);
      if (seen[t] && e[t] > largest) largest = e[t];
    }
    if (largest > m) {
      const float c = expf(m - largest);
      m = largest;
      l *= c;
      for (int d = 0; d < hd; d++) o[d] *= c;
    }
    for (int t = 0; t < kPage; t++) {
      e[t] = seen[t] ? expf(e[t] - m) : 0.0f;
      l += e[t];
    }
    for (int h = 0; h < hd; h += 4) {
      float32x4_t out = vld1q_f32(o + h);
      for (int t = 0; t < kPage / 2; t++) {
        if (BF16) {
          const uint16x8_t pairs = vld1q_u16((const uint16_t*)a.v[p] + ((size_t)t * hd + h) * 2);
          out = vfmaq_n_f32(vfmaq_n_f32(out, lowHalf(pairs), e[t * 2]), highHalf(pairs), e[t * 2 + 1]);
        } else {
          const float* v = (const float*)a.v[p] + (size_t)t * 2 * hd + h;
          out = vfmaq_n_f32(vfmaq_n_f32(out, vld1q_f32(v), e[t * 2]), vld1q_f32(v + hd), e[t * 2 + 1]);
        }
      }
      vst1q_f32(o + h, out);
    }
  }
  a.m[row] = m;
  a.l[row] = l;
}

void attend(const AttendArgs* a) {
  if (a->headDim % 4 != 0 || a->kvType == kKvHalf) return kScalarKernels.attend(a);
  for (int i = 0; i < a->rows; i++) {
    if (a->kvType == kKvBF16) attendRow<true>(*a, i);
    else attendRow<false>(*a, i);
  }
}

uint64_t readAll(const uint8_t* from, size_t bytes) {
  uint8x16_t a = vdupq_n_u8(0), b = a, c = a, d = a;
  for (size_t i = 0; i < bytes; i += 64) {
    a = veorq_u8(a, vld1q_u8(from + i));
    b = veorq_u8(b, vld1q_u8(from + i + 16));
    c = veorq_u8(c, vld1q_u8(from + i + 32));
    d = veorq_u8(d, vld1q_u8(from + i + 48));
  }
  const uint64x2_t all = vreinterpretq_u64_u8(veorq_u8(veorq_u8(a, b), veorq_u8(c, d)));
  return vgetq_lane_u64(all, 0) ^ vgetq_lane_u64(all, 1);
}

}  // namespace

extern const Kernels kNeonKernels = {"neon", gemm, quantizeRow, rmsNorm, siluMul, attend, readAll, nullptr};

}  // namespace flyball
