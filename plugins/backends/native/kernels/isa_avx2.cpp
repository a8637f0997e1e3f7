// AVX2 + FMA + F16C. A group of 16 rows is two halves of 8; a tile is one half x up to 4 tokens.
// Without VNNI, u8 x s8 pairs are summed by vpmaddubsw into int16: nibbles and 6-bit weights cannot saturate there
// (63 * 127 * 2 < 32768); 8-bit ones go through |w| * sign(a, w) (128 * 127 * 2 < 32768).
#include <immintrin.h>
#include <math.h>
#include <string.h>
#include "half.h"
#include "kernels.h"

#define UNROLL _Pragma("GCC unroll 8")

namespace flyball {
namespace {

inline float f32At(const uint8_t* p) { float f; memcpy(&f, p, 4); return f; }
inline int32_t i32At(const uint8_t* p) { int32_t i; memcpy(&i, p, 4); return i; }
inline __m256 loadHalf8(const uint8_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }

inline float sum8(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
inline float max8(__m256 v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
inline int32_t sum8i(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

// e^x as in vector_avx512.h; 2^n by exponent bits, so n is clamped to the normal range.
inline __m256 exp256(__m256 x) {
  const __m256 y = _mm256_mul_ps(_mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(-87.0f)), _mm256_set1_ps(88.0f)), _mm256_set1_ps(1.44269504f));
  const __m256 n = _mm256_round_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = _mm256_sub_ps(y, n);
  __m256 p = _mm256_set1_ps(1.5403530e-4f);
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.3333558e-3f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(9.6181291e-3f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(5.5504109e-2f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(2.4022651e-1f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(6.9314718e-1f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
  return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23)));
}

template <int FORMAT> inline __m256i loadQuad(const uint8_t* q, int kk, int half) {
  if (FORMAT == kQ8) return _mm256_xor_si256(_mm256_load_si256((const __m256i*)(q + kk * 64 + half * 32)), _mm256_set1_epi8((char)0x80));
  if (FORMAT == kQ6K) return _mm256_load_si256((const __m256i*)(q + kk * 64 + half * 32));
  const __m256i packed = _mm256_load_si256((const __m256i*)(q + (kk & 3) * 64 + half * 32)), mask = _mm256_set1_epi8(15);
  return kk < 4 ? _mm256_and_si256(packed, mask) : _mm256_and_si256(_mm256_srli_epi16(packed, 4), mask);
}

constexpr int kAhead = 8192;  // as in gemm_avx512.h

// Tokens m0 .. m0 + RM of a tile, rows half * 8 .. + 8 of group g.
template <int FORMAT, int RM>
__attribute__((noinline)) void quantTile(const Panel& w, int g, int half, const uint8_t* block, int tile, int m0, float* c, size_t ldc, int accumulate) {
  constexpr int BYTES = FORMAT == kQ8 || FORMAT == kQ6K ? 512 : 256, HALVES = FORMAT == kQ6K ? 2 : 1;
  const uint8_t *q = w.q + (size_t)g * w.qStride, *s = w.scales + (size_t)g * w.scaleStride;
  const __m256i ones = _mm256_set1_epi16(1);
  __m256 f[RM];
  UNROLL for (int m = 0; m < RM; m++) f[m] = accumulate ? _mm256_loadu_ps(c + m * ldc) : _mm256_setzero_ps();
  for (int b = 0; b < w.kb; b++, block += tile * kActBytes, q += BYTES) {
    const uint8_t *x = block + m0 * 32, *scales = block + tile * 32 + m0 * 4, *sums = block + tile * 36 + m0 * 4, *halves = block + tile * 40 + m0 * 4;
    UNROLL for (int h = 0; h < HALVES; h++) {
      __m256i acc[RM];
      UNROLL for (int m = 0; m < RM; m++) {
        if (FORMAT == kQ4) acc[m] = _mm256_set1_epi32(i32At(sums + m * 4) >> 4);
        else if (FORMAT == kQ6K) acc[m] = _mm256_set1_epi32((h ? i32At(sums + m * 4) - i32At(halves + m * 4) : i32At(halves + m * 4)) >> 2);
        else acc[m] = _mm256_setzero_si256();
      }
      UNROLL for (int kk = h * 4; kk < (HALVES == 2 ? h * 4 + 4 : 8); kk++) {
        const __m256i wv = loadQuad<FORMAT>(q, kk, half);
        if (half == 0 && kk < BYTES / 64) _mm_prefetch((const char*)q + kk * 64 + kAhead, _MM_HINT_T0);  // the other half finds it in L1 or L2
        const __m256i magnitude = FORMAT == kQ8 ? _mm256_abs_epi8(wv) : wv;
        UNROLL for (int m = 0; m < RM; m++) {
          __m256i a = _mm256_set1_epi32(i32At(x + m * 32 + kk * 4));
          if (FORMAT == kQ8) a = _mm256_sign_epi8(a, wv);
          acc[m] = _mm256_add_epi32(acc[m], _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, a), ones));
        }
      }
      __m256 d, low = _mm256_setzero_ps();
      if (FORMAT == kQ4K) {
        const uint8_t *top = s + (size_t)(b >> 3) * kScaleBytesK, *rec = top + (b & 7) * 16 + half * 8;
        d = _mm256_mul_ps(loadHalf8(top + half * 16), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(rec + 64)))));
        low = _mm256_mul_ps(loadHalf8(top + 32 + half * 16), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(rec + 192)))));
      } else if (FORMAT == kQ6K) {
        const uint8_t* top = s + (size_t)(b >> 3) * kScaleBytes6K;
        d = _mm256_mul_ps(loadHalf8(top + half * 16), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)(top + 32 + ((b & 7) * 2 + h) * 16 + half * 8)))));
      } else {
        d = loadHalf8(s + (size_t)b * 32 + half * 16);
      }
      UNROLL for (int m = 0; m < RM; m++) {
        const float da = f32At(scales + m * 4);
        f[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc[m]), _mm256_mul_ps(d, _mm256_set1_ps(da)), f[m]);
        if (FORMAT == kQ4K) f[m] = _mm256_fmadd_ps(low, _mm256_set1_ps(da * (float)i32At(sums + m * 4) * 0.0078125f), f[m]);
      }
    }
  }
  UNROLL for (int m = 0; m < RM; m++) _mm256_storeu_ps(c + m * ldc, f[m]);
}

template <int FORMAT> inline __m256 loadFloat8(const uint8_t* q, size_t at) {
  if (FORMAT == kF32) return _mm256_load_ps((const float*)q + at);
  const __m128i raw = _mm_load_si128((const __m128i*)(q + at * 2));
  if (FORMAT == kF16) return _mm256_cvtph_ps(raw);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(raw), 16));
}

template <int FORMAT, int RM>
__attribute__((noinline)) void floatTile(const Panel& w, int g, const float* x, size_t ldx, float* c, size_t ldc, int accumulate) {
  const uint8_t* q = w.q + (size_t)g * w.qStride;
  __m256 f0[RM], f1[RM];
  UNROLL for (int m = 0; m < RM; m++) {
    f0[m] = accumulate ? _mm256_loadu_ps(c + m * ldc) : _mm256_setzero_ps();
    f1[m] = accumulate ? _mm256_loadu_ps(c + m * ldc + 8) : _mm256_setzero_ps();
  }
  for (int k = 0; k < w.k; k++) {
    if (FORMAT == kF32 || k % 2 == 0) _mm_prefetch((const char*)q + (size_t)k * (FORMAT == kF32 ? 64 : 32) + kAhead, _MM_HINT_T0);
    const __m256 w0 = loadFloat8<FORMAT>(q, (size_t)k * 16), w1 = loadFloat8<FORMAT>(q, (size_t)k * 16 + 8);
    UNROLL for (int m = 0; m < RM; m++) {
      const __m256 a = _mm256_set1_ps(x[m * ldx + k]);
      f0[m] = _mm256_fmadd_ps(w0, a, f0[m]);
      f1[m] = _mm256_fmadd_ps(w1, a, f1[m]);
    }
  }
  UNROLL for (int m = 0; m < RM; m++) {
    _mm256_storeu_ps(c + m * ldc, f0[m]);
    _mm256_storeu_ps(c + m * ldc + 8, f1[m]);
  }
}

template <int FORMAT, int RM> void part(const Panel& w, int g, const Acts& a, int t, int m0, float* c, size_t ldc, int accumulate) {
  float* out = c + (size_t)(t * a.tile + m0) * ldc;
  if constexpr (FORMAT >= kQ8) {
    const uint8_t* block = a.blocks + (size_t)t * w.kb * a.tile * kActBytes;
    for (int half = 0; half < 2; half++) quantTile<FORMAT, RM>(w, g, half, block, a.tile, m0, out + half * 8, ldc, accumulate);
  } else {
    floatTile<FORMAT, RM>(w, g, a.f + (size_t)(t * a.tile + m0) * a.ldf, a.ldf, out, ldc, accumulate);
  }
}

template <int FORMAT> void runFormat(const Panel& w, int g0, int gn, const Acts& a, float* c, size_t ldc, int accumulate) {
  for (int g = 0; g < gn; g++)
    for (int t = 0; t < a.tiles; t++)
      for (int m = 0; m < a.tile;) {
        const int left = a.tile - m;
        float* out = c + (size_t)g * 16;
        if (left >= 4) { part<FORMAT, 4>(w, g0 + g, a, t, m, out, ldc, accumulate); m += 4; }
        else if (left >= 2) { part<FORMAT, 2>(w, g0 + g, a, t, m, out, ldc, accumulate); m += 2; }
        else { part<FORMAT, 1>(w, g0 + g, a, t, m, out, ldc, accumulate); m += 1; }
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
  const __m256 absolute = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  for (int b = 0; b < k / kBlock; b++, x += kBlock) {
    uint8_t* block = tileBlocks + (size_t)b * tile * kActBytes;
    __m256 v[4], most = _mm256_setzero_ps();
    for (int i = 0; i < 4; i++) {
      v[i] = _mm256_loadu_ps(x + i * 8);
      most = _mm256_max_ps(most, _mm256_and_ps(v[i], absolute));
    }
    const float largest = max8(most), d = largest / 127.0f, inverse = largest > 0 ? 127.0f / largest : 0.0f;
    __m256i q[4];
    for (int i = 0; i < 4; i++) {
      q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], _mm256_set1_ps(inverse)));
      q[i] = _mm256_max_epi32(_mm256_min_epi32(q[i], _mm256_set1_epi32(127)), _mm256_set1_epi32(-127));
    }
    const __m256i packed = _mm256_permutevar8x32_epi32(
        _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3])), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i*)(block + m * kBlock), packed);
    const int32_t half = -128 * sum8i(_mm256_add_epi32(q[0], q[1])), sum = half - 128 * sum8i(_mm256_add_epi32(q[2], q[3]));
    memcpy(block + tile * 32 + m * 4, &d, 4);
    memcpy(block + tile * 36 + m * 4, &sum, 4);
    memcpy(block + tile * 40 + m * 4, &half, 4);
  }
}

void rmsNorm(const float* x, const float* weight, float eps, int32_t n, float* out) {
  __m256 s0 = _mm256_setzero_ps(), s1 = s0;
  int i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + 8);
    s0 = _mm256_fmadd_ps(a, a, s0);
    s1 = _mm256_fmadd_ps(b, b, s1);
  }
  double squares = sum8(_mm256_add_ps(s0, s1));
  for (; i < n; i++) squares += (double)x[i] * x[i];
  const float scale = (float)(1.0 / sqrt(squares / n + eps));
  for (i = 0; i + 8 <= n; i += 8)
    _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(scale)), _mm256_loadu_ps(weight + i)));
  for (; i < n; i++) out[i] = x[i] * scale * weight[i];
}

void siluMul(float* gate, const float* up, int32_t n) {
  const __m256 one = _mm256_set1_ps(1.0f);
  int i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 g = _mm256_loadu_ps(gate + i);
    const __m256 sigmoid = _mm256_div_ps(one, _mm256_add_ps(one, exp256(_mm256_sub_ps(_mm256_setzero_ps(), g))));
    _mm256_storeu_ps(gate + i, _mm256_mul_ps(_mm256_mul_ps(g, sigmoid), _mm256_loadu_ps(up + i)));
  }
  for (; i < n; i++) gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

// One query row at a time; scores of a page are 4 vectors of 8 tokens.
template <bool BF16> void attendRow(const AttendArgs& a, int row) {
  const int hd = a.headDim, pos = a.qpos[row];
  const float* q = a.q + a.qOffset[row];
  float* o = a.o + (size_t)row * hd;
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), high = _mm256_set1_epi32((int)0xffff0000);
  float m = -1e30f, l = 0;
  for (int d = 0; d < hd; d++) o[d] = 0;
  for (int p = 0; p < a.pageCount && a.base[p] <= pos; p++) {
    __m256 s[4];
    for (int i = 0; i < 4; i++) s[i] = _mm256_setzero_ps();
    if (BF16) {
      const uint16_t* k = (const uint16_t*)a.k[p];
      for (int d = 0; d < hd / 2; d++) {
        const __m256 qa = _mm256_set1_ps(q[d * 2]), qb = _mm256_set1_ps(q[d * 2 + 1]);
        UNROLL for (int i = 0; i < 4; i++) {
          const __m256i pairs = _mm256_load_si256((const __m256i*)(k + d * kPage * 2 + i * 16));
          s[i] = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)), qa, s[i]);
          s[i] = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(pairs, high)), qb, s[i]);
        }
      }
    } else {
      const float* k = (const float*)a.k[p];
      for (int d = 0; d < hd; d++) {
        const __m256 qv = _mm256_set1_ps(q[d]);
        UNROLL for (int i = 0; i < 4; i++) s[i] = _mm256_fmadd_ps(_mm256_load_ps(k + d * kPage + i * 8), qv, s[i]);
      }
    }
    __m256 seen[4], most = _mm256_set1_ps(-1e30f);
    for (int i = 0; i < 4; i++) {
      const __m256i t = _mm256_add_epi32(lane, _mm256_set1_epi32(a.base[p] + i * 8));
      __m256i see = _mm256_cmpgt_epi32(_mm256_set1_epi32(pos + 1), t);
      if (a.window > 0)
        see = _mm256_and_si256(see, _mm256_or_si256(_mm256_cmpgt_epi32(t, _mm256_set1_epi32(pos - a.window)), _mm256_cmpgt_epi32(_mm256_set1_epi32(a.sinks), t)));
      seen[i] = _mm256_castsi256_ps(see);
      s[i] = _mm256_blendv_ps(_mm256_set1_ps(-1e30f), s[i], seen[i]);
      most = _mm256_max_ps(most, s[i]);
    }
    const float largest = max8(most);
    if (largest > m) {
      const float c = expf(m - largest);
      m = largest;
      l *= c;
      for (int d = 0; d < hd; d++) o[d] *= c;
    }
    alignas(32) float e[kPage];
    __m256 total = _mm256_setzero_ps();
    for (int i = 0; i < 4; i++) {
      const __m256 v = _mm256_and_ps(seen[i], exp256(_mm256_sub_ps(s[i], _mm256_set1_ps(m))));
      _mm256_store_ps(e + i * 8, v);
      total = _mm256_add_ps(total, v);
    }
    l += sum8(total);
    for (int h = 0; h < hd; h += 8) {
      __m256 out = _mm256_loadu_ps(o + h);
      if (BF16) {
        const uint16_t* v = (const uint16_t*)a.v[p] + h * 2;
        for (int t = 0; t < kPage / 2; t++) {
          const __m256i pairs = _mm256_load_si256((const __m256i*)(v + (size_t)t * hd * 2));
          out = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)), _mm256_set1_ps(e[t * 2]), out);
          out = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(pairs, high)), _mm256_set1_ps(e[t * 2 + 1]), out);
        }
      } else {
        const float* v = (const float*)a.v[p] + h;
        for (int t = 0; t < kPage; t++) out = _mm256_fmadd_ps(_mm256_load_ps(v + (size_t)t * hd), _mm256_set1_ps(e[t]), out);
      }
      _mm256_storeu_ps(o + h, out);
    }
  }
  a.m[row] = m;
  a.l[row] = l;
}

inline __m256 roundHalf(__m256 v) { return _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }

// As attendHalf of isa_scalar.cpp.
void attendRowHalf(const AttendArgs& a, int row) {
  const int hd = a.headDim, pos = a.qpos[row];
  alignas(32) float q[kMaxHeadDim], o[kMaxHeadDim];
  for (int d = 0; d < hd; d += 8) {
    _mm256_store_ps(q + d, roundHalf(_mm256_loadu_ps(a.q + a.qOffset[row] + d)));
    _mm256_store_ps(o + d, _mm256_setzero_ps());
  }
  float m = -1e30f, l = 0;
  for (int p = 0; p < a.pageCount; p++)
    for (int t = 0; t < kPage; t++) {
      const int at = a.base[p] + t;
      if (at > pos || !(a.window <= 0 || at > pos - a.window || at < a.sinks)) continue;
      const uint8_t *k = a.k[p] + (size_t)t * hd * 2, *v = a.v[p] + (size_t)t * hd * 2;
      __m256 dot = _mm256_setzero_ps();
      for (int d = 0; d < hd; d += 8) dot = _mm256_fmadd_ps(_mm256_load_ps(q + d), loadHalf8(k + d * 2), dot);
      const float score = sum8(dot) * a.scale;
      float weight = 1;
      if (score > m) {
        const float shrink = expf(m - score);
        m = score;
        l *= shrink;
        for (int d = 0; d < hd; d += 8) _mm256_store_ps(o + d, roundHalf(_mm256_mul_ps(_mm256_load_ps(o + d), _mm256_set1_ps(shrink))));
      } else {
        weight = expf(score - m);
      }
      for (int d = 0; d < hd; d += 8) _mm256_store_ps(o + d, roundHalf(_mm256_fmadd_ps(_mm256_set1_ps(weight), loadHalf8(v + d * 2), _mm256_load_ps(o + d))));
      l += weight;
    }
  for (int d = 0; d < hd; d += 8) _mm256_storeu_ps(a.o + (size_t)row * hd + d, _mm256_load_ps(o + d));
  a.m[row] = m;
  a.l[row] = l;
}

void attend(const AttendArgs* a) {
  if (a->headDim % 8 != 0) return kScalarKernels.attend(a);
  if (a->kvType == kKvHalf) {
    for (int i = 0; i < a->rows; i++) attendRowHalf(*a, i);
    return;
  }
  for (int i = 0; i < a->rows; i++) {
    if (a->kvType == kKvBF16) attendRow<true>(*a, i);
    else attendRow<false>(*a, i);
  }
}

uint64_t readAll(const uint8_t* from, size_t bytes) {
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  for (size_t i = 0; i < bytes; i += 128) {
    a = _mm256_xor_si256(a, _mm256_load_si256((const __m256i*)(from + i)));
    b = _mm256_xor_si256(b, _mm256_load_si256((const __m256i*)(from + i + 32)));
    c = _mm256_xor_si256(c, _mm256_load_si256((const __m256i*)(from + i + 64)));
    d = _mm256_xor_si256(d, _mm256_load_si256((const __m256i*)(from + i + 96)));
  }
  a = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
  return (uint64_t)(_mm256_extract_epi64(a, 0) ^ _mm256_extract_epi64(a, 1) ^ _mm256_extract_epi64(a, 2) ^ _mm256_extract_epi64(a, 3));
}

}  // namespace

extern const Kernels kAvx2Kernels = {"avx2", gemm, quantizeRow, rmsNorm, siluMul, attend, readAll, nullptr};

}  // namespace flyball
