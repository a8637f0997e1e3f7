// AVX-512 F/BW/DQ/VL + VNNI + F16C.
#include "attend_avx512.h"
#include "gemm_avx512.h"
#include "kernels_avx512.h"

namespace flyball {

void avx512Gemm(const Panel* w, int32_t g0, int32_t gn, const Acts* a, float* c, size_t ldc, int32_t accumulate) {
  gemm(w, g0, gn, a, c, ldc, accumulate);
}

// k must be a multiple of 32.
void avx512QuantizeRow(const float* x, int32_t k, uint8_t* tileBlocks, int32_t tile, int32_t m) {
  for (int b = 0; b < k / kBlock; b++, x += kBlock) {
    uint8_t* block = tileBlocks + (size_t)b * tile * kActBytes;
    const __m512 x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16);
    const float largest = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(x0), _mm512_abs_ps(x1)));
    const float d = largest / 127.0f, inverse = largest > 0 ? 127.0f / largest : 0.0f;
    const __m512 scale = _mm512_set1_ps(inverse);
    const __m512i top = _mm512_set1_epi32(127), bottom = _mm512_set1_epi32(-127);
    const __m512i q0 = _mm512_max_epi32(_mm512_min_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x0, scale)), top), bottom);
    const __m512i q1 = _mm512_max_epi32(_mm512_min_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x1, scale)), top), bottom);
    _mm_storeu_si128((__m128i*)(block + m * kBlock), _mm512_cvtepi32_epi8(q0));
    _mm_storeu_si128((__m128i*)(block + m * kBlock + 16), _mm512_cvtepi32_epi8(q1));
    const int32_t half = -128 * _mm512_reduce_add_epi32(q0), sum = half - 128 * _mm512_reduce_add_epi32(q1);
    memcpy(block + tile * 32 + m * 4, &d, 4);
    memcpy(block + tile * 36 + m * 4, &sum, 4);
    memcpy(block + tile * 40 + m * 4, &half, 4);
  }
}

void avx512RmsNorm(const float* x, const float* weight, float eps, int32_t n, float* out) {
  __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
  int i = 0;
  for (; i + 64 <= n; i += 64) {
    const __m512 a = _mm512_loadu_ps(x + i), b = _mm512_loadu_ps(x + i + 16), c = _mm512_loadu_ps(x + i + 32), d = _mm512_loadu_ps(x + i + 48);
    s0 = _mm512_fmadd_ps(a, a, s0);
    s1 = _mm512_fmadd_ps(b, b, s1);
    s2 = _mm512_fmadd_ps(c, c, s2);
    s3 = _mm512_fmadd_ps(d, d, s3);
  }
  double squares = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
  for (; i < n; i++) squares += (double)x[i] * x[i];
  const float scale = (float)(1.0 / sqrt(squares / n + eps));
  const __m512 sv = _mm512_set1_ps(scale);
  for (i = 0; i + 16 <= n; i += 16)
    _mm512_storeu_ps(out + i, _mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(x + i), sv), _mm512_loadu_ps(weight + i)));
  for (; i < n; i++) out[i] = x[i] * scale * weight[i];
}

void avx512SiluMul(float* gate, const float* up, int32_t n) {
  const __m512 one = _mm512_set1_ps(1.0f);
  int i = 0;
  for (; i < n; i += 16) {
    const __mmask16 live = n - i >= 16 ? 0xffff : (__mmask16)((1u << (n - i)) - 1);
    const __m512 g = _mm512_maskz_loadu_ps(live, gate + i), u = _mm512_maskz_loadu_ps(live, up + i);
    const __m512 sigmoid = _mm512_div_ps(one, _mm512_add_ps(one, exp512(_mm512_sub_ps(_mm512_setzero_ps(), g))));
    _mm512_mask_storeu_ps(gate + i, live, _mm512_mul_ps(_mm512_mul_ps(g, sigmoid), u));
  }
}

void avx512Attend(const AttendArgs* a) {
  // Position by position there is nothing for wider vectors to win; a compiler that knows AVX-512 knows AVX2.
  if (a->headDim % 16 != 0 || a->kvType == kKvHalf) return kAvx2Kernels.attend(a);
  if (a->kvType == kKvF32) attendRows<kModeF32>(*a);
  else attendRows<kModeBF16AsF32>(*a);
}

uint64_t avx512ReadAll(const uint8_t* from, size_t bytes) {
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
  for (size_t i = 0; i < bytes; i += 256) {
    a = _mm512_xor_si512(a, _mm512_load_si512(from + i));
    b = _mm512_xor_si512(b, _mm512_load_si512(from + i + 64));
    c = _mm512_xor_si512(c, _mm512_load_si512(from + i + 128));
    d = _mm512_xor_si512(d, _mm512_load_si512(from + i + 192));
  }
  return (uint64_t)_mm512_reduce_add_epi64(_mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d)));
}

// Twelve independent chains hide the instruction's latency. All loops are unrolled, or the chains would go through memory.
double avx512Int8Peak(int64_t rounds) {
  __m512i acc[12];
  const __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(5);
  UNROLL for (int i = 0; i < 12; i++) acc[i] = _mm512_set1_epi32(i);
  for (int64_t round = 0; round < rounds; round++)
    __asm__ volatile(
        "vpdpbusd %12, %13, %0\n\tvpdpbusd %12, %13, %1\n\tvpdpbusd %12, %13, %2\n\tvpdpbusd %12, %13, %3\n\t"
        "vpdpbusd %12, %13, %4\n\tvpdpbusd %12, %13, %5\n\tvpdpbusd %12, %13, %6\n\tvpdpbusd %12, %13, %7\n\t"
        "vpdpbusd %12, %13, %8\n\tvpdpbusd %12, %13, %9\n\tvpdpbusd %12, %13, %10\n\tvpdpbusd %12, %13, %11"
        : "+v"(acc[0]), "+v"(acc[1]), "+v"(acc[2]), "+v"(acc[3]), "+v"(acc[4]), "+v"(acc[5]), "+v"(acc[6]), "+v"(acc[7]), "+v"(acc[8]),
          "+v"(acc[9]), "+v"(acc[10]), "+v"(acc[11])
        : "v"(y), "v"(x));
  volatile int32_t sink = 0;
  UNROLL for (int i = 0; i < 12; i++) sink = sink + _mm512_reduce_add_epi32(acc[i]);
  return (double)rounds * 12 * 128;
}

extern const Kernels kAvx512Kernels = {"avx512vnni", avx512Gemm, avx512QuantizeRow, avx512RmsNorm, avx512SiluMul, avx512Attend, avx512ReadAll, avx512Int8Peak};

}  // namespace flyball
