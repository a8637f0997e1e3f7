// Attention over one chunk of KV pages with AVX-512. R query rows at a time, 32 keys (one page) per step:
//   S[R][32] = Q[R][hd] K[hd][32];  P = exp(S - m);  O[R][hd] += P[R][32] V[32][hd]
// A row's result does not depend on the other rows of its tile.
#pragma once
#include "kernels.h"
#include "vector_avx512.h"

namespace flyball {
namespace {

enum AttendMode { kModeF32, kModeBF16AsF32, kModeBF16Dot };

inline __m512 lowHalf(__m512i pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)); }
inline __m512 highHalf(__m512i pairs) { return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000))); }

// Two cache lines, into L1.
inline void fetchPair(const uint8_t* p) {
  _mm_prefetch((const char*)p, _MM_HINT_T0);
  _mm_prefetch((const char*)p + 64, _MM_HINT_T0);
}

template <int MODE, int R> __attribute__((noinline)) void attendTile(const AttendArgs& a, int row0) {
  const int hd = a.headDim;
  alignas(64) float O[R][kMaxHeadDim];
  [[maybe_unused]] alignas(64) float P[R][kPage];
  [[maybe_unused]] alignas(64) uint16_t P16[R][kPage];
  [[maybe_unused]] alignas(64) uint16_t Q16[R][kMaxHeadDim];
  const float* Q[R];
  float m[R], l[R];
  for (int i = 0; i < R; i++) {
    m[i] = -1e30f;
    l[i] = 0;
    Q[i] = a.q + a.qOffset[row0 + i];
    for (int d = 0; d < hd; d += 16) _mm512_store_ps(O[i] + d, _mm512_setzero_ps());
    if (MODE == kModeBF16Dot) for (int d = 0; d < hd; d++) Q16[i][d] = floatToBf16(Q[i][d]);
  }
  int first = a.qpos[row0], last = first;
  for (int i = 1; i < R; i++) {
    const int pos = a.qpos[row0 + i];
    first = pos < first ? pos : first;
    last = pos > last ? pos : last;
  }
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (int p = 0; p < a.pageCount; p++) {
    const int base = a.base[p];
    if (base > last) break;
    // Pages lie anywhere: the hardware does not find the next one by itself.
    const int next = p + 1 < a.pageCount ? p + 1 : p;
    const uint8_t *nextK = a.k[next], *nextV = a.v[next];
    __m512 s0[R], s1[R];
    UNROLL for (int i = 0; i < R; i++) s0[i] = s1[i] = _mm512_setzero_ps();
    if constexpr (MODE == kModeF32) {
      const float* k = (const float*)a.k[p];
      for (int d = 0; d < hd; d++) {
        const __m512 k0 = _mm512_load_ps(k + d * kPage), k1 = _mm512_load_ps(k + d * kPage + 16);
        fetchPair(nextK + d * 128);
        UNROLL for (int i = 0; i < R; i++) {
          const __m512 q = _mm512_set1_ps(Q[i][d]);
          s0[i] = _mm512_fmadd_ps(k0, q, s0[i]);
          s1[i] = _mm512_fmadd_ps(k1, q, s1[i]);
        }
      }
    } else {
      const uint16_t* k = (const uint16_t*)a.k[p];
      for (int d = 0; d < hd / 2; d++) {
        const __m512i k0 = _mm512_load_si512(k + d * kPage * 2), k1 = _mm512_load_si512(k + d * kPage * 2 + 32);
        fetchPair(nextK + d * 128);
#ifdef __AVX512BF16__
        if constexpr (MODE == kModeBF16Dot) {
          UNROLL for (int i = 0; i < R; i++) {
            int32_t pair;
            memcpy(&pair, &Q16[i][d * 2], 4);
            const __m512bh q = (__m512bh)_mm512_set1_epi32(pair);
            s0[i] = _mm512_dpbf16_ps(s0[i], (__m512bh)k0, q);
            s1[i] = _mm512_dpbf16_ps(s1[i], (__m512bh)k1, q);
          }
        }
#endif
        if constexpr (MODE == kModeBF16AsF32) {
          UNROLL for (int i = 0; i < R; i++) {
            const __m512 qa = _mm512_set1_ps(Q[i][d * 2]), qb = _mm512_set1_ps(Q[i][d * 2 + 1]);
            s0[i] = _mm512_fmadd_ps(highHalf(k0), qb, _mm512_fmadd_ps(lowHalf(k0), qa, s0[i]));
            s1[i] = _mm512_fmadd_ps(highHalf(k1), qb, _mm512_fmadd_ps(lowHalf(k1), qa, s1[i]));
          }
        }
      }
    }
    const bool edge = base + kPage - 1 > first || (a.window > 0 && base <= last - a.window);
    UNROLL for (int i = 0; i < R; i++) {
      __mmask16 see0 = 0xffff, see1 = 0xffff;
      if (edge) {
        const int pos = a.qpos[row0 + i];
        const __m512i t0 = _mm512_add_epi32(lane, _mm512_set1_epi32(base)), t1 = _mm512_add_epi32(t0, _mm512_set1_epi32(16));
        see0 = _mm512_cmple_epi32_mask(t0, _mm512_set1_epi32(pos));
        see1 = _mm512_cmple_epi32_mask(t1, _mm512_set1_epi32(pos));
        if (a.window > 0) {
          const __m512i from = _mm512_set1_epi32(pos - a.window), sinks = _mm512_set1_epi32(a.sinks);
          see0 &= _mm512_cmpgt_epi32_mask(t0, from) | _mm512_cmplt_epi32_mask(t0, sinks);
          see1 &= _mm512_cmpgt_epi32_mask(t1, from) | _mm512_cmplt_epi32_mask(t1, sinks);
        }
        const __m512 none = _mm512_set1_ps(-1e30f);
        s0[i] = _mm512_mask_mov_ps(none, see0, s0[i]);
        s1[i] = _mm512_mask_mov_ps(none, see1, s1[i]);
      }
      const float largest = _mm512_reduce_max_ps(_mm512_max_ps(s0[i], s1[i]));
      if (largest > m[i]) {
        const float c = expf(m[i] - largest);
        m[i] = largest;
        l[i] *= c;
        const __m512 cv = _mm512_set1_ps(c);
        for (int d = 0; d < hd; d += 16) _mm512_store_ps(O[i] + d, _mm512_mul_ps(_mm512_load_ps(O[i] + d), cv));
      }
      const __m512 mv = _mm512_set1_ps(m[i]);
      const __m512 e0 = _mm512_maskz_mov_ps(see0, exp512(_mm512_sub_ps(s0[i], mv)));
      const __m512 e1 = _mm512_maskz_mov_ps(see1, exp512(_mm512_sub_ps(s1[i], mv)));
      l[i] += _mm512_reduce_add_ps(_mm512_add_ps(e0, e1));
#ifdef __AVX512BF16__
      if constexpr (MODE == kModeBF16Dot) _mm512_store_si512(P16[i], (__m512i)_mm512_cvtne2ps_pbh(e1, e0));
#endif
      if constexpr (MODE != kModeBF16Dot) {
        _mm512_store_ps(P[i], e0);
        _mm512_store_ps(P[i] + 16, e1);
      }
    }
    for (int h = 0; h < hd; h += 16) {
      __m512 o[R];
      UNROLL for (int i = 0; i < R; i++) o[i] = _mm512_load_ps(O[i] + h);
      if constexpr (MODE == kModeF32) {
        const float* v = (const float*)a.v[p] + h;
        for (int t = 0; t < kPage; t++) {
          const __m512 row = _mm512_load_ps(v + t * hd);
          if (t % 2 == 0) fetchPair(nextV + (size_t)(h / 16 * kPage + t) * 64);
          UNROLL for (int i = 0; i < R; i++) o[i] = _mm512_fmadd_ps(row, _mm512_set1_ps(P[i][t]), o[i]);
        }
      } else {
        const uint16_t* v = (const uint16_t*)a.v[p] + h * 2;
        for (int t = 0; t < kPage / 2; t++) {
          const __m512i pairs = _mm512_load_si512(v + (size_t)t * hd * 2);
          if (t % 2 == 0) fetchPair(nextV + (size_t)(h / 16 * (kPage / 2) + t) * 64);
#ifdef __AVX512BF16__
          if constexpr (MODE == kModeBF16Dot) {
            UNROLL for (int i = 0; i < R; i++) {
              int32_t pair;
              memcpy(&pair, &P16[i][t * 2], 4);
              o[i] = _mm512_dpbf16_ps(o[i], (__m512bh)pairs, (__m512bh)_mm512_set1_epi32(pair));
            }
          }
#endif
          if constexpr (MODE == kModeBF16AsF32) {
            UNROLL for (int i = 0; i < R; i++)
              o[i] = _mm512_fmadd_ps(highHalf(pairs), _mm512_set1_ps(P[i][t * 2 + 1]), _mm512_fmadd_ps(lowHalf(pairs), _mm512_set1_ps(P[i][t * 2]), o[i]));
          }
        }
      }
      UNROLL for (int i = 0; i < R; i++) _mm512_store_ps(O[i] + h, o[i]);
    }
  }
  for (int i = 0; i < R; i++) {
    a.m[row0 + i] = m[i];
    a.l[row0 + i] = l[i];
    for (int d = 0; d < hd; d += 16) _mm512_storeu_ps(a.o + (size_t)(row0 + i) * hd + d, _mm512_load_ps(O[i] + d));
  }
}

template <int MODE> void attendRows(const AttendArgs& a) {
  int row = 0;
  while (row < a.rows) {
    const int left = a.rows - row;
    if (left >= 12) { attendTile<MODE, 12>(a, row); row += 12; }
    else if (left >= 8) { attendTile<MODE, 8>(a, row); row += 8; }
    else if (left >= 4) { attendTile<MODE, 4>(a, row); row += 4; }
    else if (left >= 2) { attendTile<MODE, 2>(a, row); row += 2; }
    else { attendTile<MODE, 1>(a, row); row += 1; }
  }
}

}  // namespace
}  // namespace flyball
