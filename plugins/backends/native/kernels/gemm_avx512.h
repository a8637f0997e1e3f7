// Matrix products with AVX-512 VNNI: u8 weights x s8 activations into int32, per-block scales applied in float.
// A tile is RG groups of 16 rows x RM tokens, summed over the whole of K before it is stored.
#pragma once
#include "kernels.h"
#include "vector_avx512.h"

namespace flyball {
namespace {

// The 8 vectors (16 rows x 4 inputs) of one 32-block: quad(kk) for kk = 0..7.
template <int FORMAT> inline __m512i loadQuad(const uint8_t* q, int kk) {
  if (FORMAT == kQ8 || FORMAT == kQ6K) return _mm512_load_si512(q + kk * 64);
  const __m512i packed = _mm512_load_si512(q + (kk & 3) * 64), mask = _mm512_set1_epi8(15);
  return kk < 4 ? _mm512_and_si512(packed, mask) : _mm512_and_si512(_mm512_srli_epi16(packed, 4), mask);
}

inline __m512 loadHalf16(const uint8_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }

// The activations carry -128 * sum; the offset of a format is 128 >> SHIFT, so accumulators start at sum >> SHIFT.
template <int FORMAT> inline __m512i startAt(const uint8_t* p) {
  int32_t s;
  memcpy(&s, p, 4);
  return FORMAT == kQ8 ? _mm512_set1_epi32(s) : FORMAT == kQ4 ? _mm512_set1_epi32(s >> 4) : _mm512_setzero_si512();
}

inline float f32At(const uint8_t* p) { float f; memcpy(&f, p, 4); return f; }
inline int32_t i32At(const uint8_t* p) { int32_t i; memcpy(&i, p, 4); return i; }

// Weights come from memory once per step: what is needed kAhead bytes later is asked for now. One stream fetched 8 KiB
// ahead reaches 90-95% of a plain read of the same memory; four streams fetched 3 KiB ahead 73%, unfetched 64%.
constexpr int kAhead = 8192, kScalesAhead = 512;  // 16 blocks of each
inline void fetchAhead(const uint8_t* p, int ahead = kAhead) { _mm_prefetch((const char*)p + ahead, _MM_HINT_T0); }

template <int FORMAT, int RG, int RM>
__attribute__((noinline)) void quantTile(const Panel& w, int g, const uint8_t* block, float* c, size_t ldc, int accumulate) {
  constexpr int BYTES = FORMAT == kQ8 || FORMAT == kQ6K ? 512 : 256;
  __m512 f[RG][RM];
  const uint8_t *q[RG], *s[RG];
  for (int i = 0; i < RG; i++) {
    q[i] = w.q + (size_t)(g + i) * w.qStride;
    s[i] = w.scales + (size_t)(g + i) * w.scaleStride;
  }
  UNROLL for (int i = 0; i < RG; i++)
    UNROLL for (int m = 0; m < RM; m++) f[i][m] = accumulate ? _mm512_loadu_ps(c + m * ldc + i * 16) : _mm512_setzero_ps();
  for (int b = 0; b < w.kb; b++, block += RM * kActBytes) {
    const uint8_t *scales = block + RM * 32, *sums = block + RM * 36;
    constexpr int CHAINS = RG * RM < 4 ? 2 : 1;
    __m512i acc[RG][RM], more[RG][RM];
    UNROLL for (int m = 0; m < RM; m++) {
      const __m512i start = startAt<FORMAT>(sums + m * 4);
      UNROLL for (int i = 0; i < RG; i++) acc[i][m] = start, more[i][m] = _mm512_setzero_si512();
    }
    UNROLL for (int kk = 0; kk < 8; kk++) {
      __m512i wv[RG];
      UNROLL for (int i = 0; i < RG; i++) wv[i] = loadQuad<FORMAT>(q[i], kk);
      if (kk < BYTES / 64) UNROLL for (int i = 0; i < RG; i++) fetchAhead(q[i] + kk * 64);
      UNROLL for (int m = 0; m < RM; m++) {
        const __m512i a = _mm512_set1_epi32(i32At(block + m * 32 + kk * 4));
        UNROLL for (int i = 0; i < RG; i++) {
          __m512i& sum = kk % CHAINS ? more[i][m] : acc[i][m];
          sum = _mm512_dpbusd_epi32(sum, wv[i], a);
        }
      }
    }
    if (CHAINS == 2) UNROLL for (int i = 0; i < RG; i++) UNROLL for (int m = 0; m < RM; m++) acc[i][m] = _mm512_add_epi32(acc[i][m], more[i][m]);
    UNROLL for (int i = 0; i < RG; i++) {
      q[i] += BYTES;
      if (FORMAT == kQ4K) {
        const uint8_t* rec = s[i] + (size_t)(b >> 3) * kScaleBytesK + (b & 7) * 16;
        const uint8_t* top = s[i] + (size_t)(b >> 3) * kScaleBytesK;
        const __m512 d = _mm512_mul_ps(loadHalf16(top), _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)(rec + 64)))));
        const __m512 low = _mm512_mul_ps(loadHalf16(top + 32), _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)(rec + 192)))));
        UNROLL for (int m = 0; m < RM; m++) {
          const float da = f32At(scales + m * 4), sum = da * (float)i32At(sums + m * 4) * 0.0078125f;
          f[i][m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[i][m]), _mm512_mul_ps(d, _mm512_set1_ps(da)), f[i][m]);
          f[i][m] = _mm512_fmadd_ps(low, _mm512_set1_ps(sum), f[i][m]);
        }
      } else {
        const __m512 d = loadHalf16(s[i] + (size_t)b * 32);
        if (b % 2 == 0) fetchAhead(s[i] + (size_t)b * 32, kScalesAhead);
        UNROLL for (int m = 0; m < RM; m++)
          f[i][m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[i][m]), _mm512_mul_ps(d, _mm512_set1_ps(f32At(scales + m * 4))), f[i][m]);
      }
    }
  }
  UNROLL for (int i = 0; i < RG; i++)
    UNROLL for (int m = 0; m < RM; m++) _mm512_storeu_ps(c + m * ldc + i * 16, f[i][m]);
}

// Q6_K has a scale per 16 weights: two half-blocks one after the other.
template <int RM>
__attribute__((noinline)) void quantTile6(const Panel& w, int g, const uint8_t* block, float* c, size_t ldc, int accumulate) {
  const uint8_t *q = w.q + (size_t)g * w.qStride, *s = w.scales + (size_t)g * w.scaleStride;
  __m512 f[RM];
  UNROLL for (int m = 0; m < RM; m++) f[m] = accumulate ? _mm512_loadu_ps(c + m * ldc) : _mm512_setzero_ps();
  for (int b = 0; b < w.kb; b++, block += RM * kActBytes, q += 512) {
    const uint8_t* rec = s + (size_t)(b >> 3) * kScaleBytes6K;
    const __m512 d = loadHalf16(rec);
    UNROLL for (int h = 0; h < 2; h++) {
      const __m512 scale = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)(rec + 32 + ((b & 7) * 2 + h) * 16)))));
      __m512i acc[RM];
      UNROLL for (int m = 0; m < RM; m++) {
        const int32_t first = i32At(block + RM * 40 + m * 4), sum = h ? i32At(block + RM * 36 + m * 4) - first : first;
        acc[m] = _mm512_set1_epi32(sum >> 2);
      }
      UNROLL for (int kk = h * 4; kk < h * 4 + 4; kk++) {
        const __m512i wv = _mm512_load_si512(q + kk * 64);
        fetchAhead(q + kk * 64);
        UNROLL for (int m = 0; m < RM; m++) acc[m] = _mm512_dpbusd_epi32(acc[m], wv, _mm512_set1_epi32(i32At(block + m * 32 + kk * 4)));
      }
      UNROLL for (int m = 0; m < RM; m++)
        f[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[m]), _mm512_mul_ps(scale, _mm512_set1_ps(f32At(block + RM * 32 + m * 4))), f[m]);
    }
  }
  UNROLL for (int m = 0; m < RM; m++) _mm512_storeu_ps(c + m * ldc, f[m]);
}

template <int FORMAT> inline __m512 loadFloat16(const uint8_t* q, size_t k) {
  if (FORMAT == kF32) return _mm512_load_ps((const float*)q + k * 16);
  const __m256i raw = _mm256_load_si256((const __m256i*)(q + k * 32));
  if (FORMAT == kF16) return _mm512_cvtph_ps(raw);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
}

template <int FORMAT, int RG, int RM>
__attribute__((noinline)) void floatTile(const Panel& w, int g, const float* x, size_t ldx, float* c, size_t ldc, int accumulate) {
  __m512 f[RG][RM];
  const uint8_t* q[RG];
  for (int i = 0; i < RG; i++) q[i] = w.q + (size_t)(g + i) * w.qStride;
  UNROLL for (int i = 0; i < RG; i++)
    UNROLL for (int m = 0; m < RM; m++) f[i][m] = accumulate ? _mm512_loadu_ps(c + m * ldc + i * 16) : _mm512_setzero_ps();
  for (int k = 0; k < w.k; k++) {
    __m512 wv[RG];
    UNROLL for (int i = 0; i < RG; i++) wv[i] = loadFloat16<FORMAT>(q[i], k);
    if (FORMAT == kF32 || k % 2 == 0) UNROLL for (int i = 0; i < RG; i++) fetchAhead(q[i] + (size_t)k * (FORMAT == kF32 ? 64 : 32));
    UNROLL for (int m = 0; m < RM; m++) {
      const __m512 a = _mm512_set1_ps(x[m * ldx + k]);
      UNROLL for (int i = 0; i < RG; i++) f[i][m] = _mm512_fmadd_ps(wv[i], a, f[i][m]);
    }
  }
  UNROLL for (int i = 0; i < RG; i++)
    UNROLL for (int m = 0; m < RM; m++) _mm512_storeu_ps(c + m * ldc + i * 16, f[i][m]);
}

// Tiles outside: the first tile brings the chunk's weights from memory, as one stream; the others find them in L2 and take
// two groups at once, which halves the loads of activations. One tile's activations stay in L1 and L2 meanwhile.
template <int FORMAT, int RM> void runTiles(const Panel& w, int g0, int gn, const Acts& a, float* c, size_t ldc, int accumulate) {
  for (int t = 0; t < a.tiles; t++)
    for (int g = 0; g < gn;) {
      const bool two = FORMAT != kQ6K && t > 0 && gn - g >= 2;
      float* out = c + (size_t)t * RM * ldc + (size_t)g * 16;
      if constexpr (FORMAT >= kQ8) {
        const uint8_t* block = a.blocks + (size_t)t * w.kb * RM * kActBytes;
        if constexpr (FORMAT == kQ6K) quantTile6<RM>(w, g0 + g, block, out, ldc, accumulate);
        else if (two) quantTile<FORMAT, 2, RM>(w, g0 + g, block, out, ldc, accumulate);
        else quantTile<FORMAT, 1, RM>(w, g0 + g, block, out, ldc, accumulate);
      } else {
        const float* x = a.f + (size_t)t * RM * a.ldf;
        if (two) floatTile<FORMAT, 2, RM>(w, g0 + g, x, a.ldf, out, ldc, accumulate);
        else floatTile<FORMAT, 1, RM>(w, g0 + g, x, a.ldf, out, ldc, accumulate);
      }
      g += two ? 2 : 1;
    }
}

template <int FORMAT> void runFormat(const Panel& w, int g0, int gn, const Acts& a, float* c, size_t ldc, int accumulate) {
  switch (a.tile) {
#define FLYBALL_TILE(RM) case RM: return runTiles<FORMAT, RM>(w, g0, gn, a, c, ldc, accumulate);
    FLYBALL_TILE(1) FLYBALL_TILE(2) FLYBALL_TILE(3) FLYBALL_TILE(4) FLYBALL_TILE(5) FLYBALL_TILE(6)
    FLYBALL_TILE(7) FLYBALL_TILE(8)
#undef FLYBALL_TILE
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

}  // namespace
}  // namespace flyball
