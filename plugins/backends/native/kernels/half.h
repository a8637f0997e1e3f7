// Half and bfloat16 conversions without instructions of any particular CPU. Static: one copy per file (see kernels.h).
#pragma once
#include <stdint.h>
#include <string.h>

namespace flyball {

static inline float bitsToFloat(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
static inline uint32_t floatToBits(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }

static inline float halfToFloat(uint16_t h) {
  const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
  uint32_t exponent = (h >> 10) & 31, mantissa = h & 0x3ff;
  if (exponent == 31) return bitsToFloat(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    const float f = (float)mantissa * 5.9604644775390625e-8f;  // 2^-24
    return sign ? -f : f;
  }
  return bitsToFloat(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

// Round to nearest even.
static inline uint16_t floatToHalf(float f) {
  const uint32_t u = floatToBits(f), sign = (u >> 16) & 0x8000, magnitude = u & 0x7fffffff;
  if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
  if (magnitude < 0x38800000) {  // subnormal: the float adder rounds for us
    const float shifted = bitsToFloat(magnitude) + 0.5f;
    return (uint16_t)(sign | (floatToBits(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1);
  return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}

static inline float bf16ToFloat(uint16_t b) { return bitsToFloat((uint32_t)b << 16); }
static inline uint16_t floatToBf16(float f) {
  const uint32_t u = floatToBits(f);
  if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)((u >> 16) | 0x40);
  return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

}  // namespace flyball
