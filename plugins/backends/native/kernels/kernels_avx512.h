// What the BF16 file borrows from the AVX-512 VNNI one.
#pragma once
#include "kernels.h"

namespace flyball {
void avx512Gemm(const Panel* w, int32_t g0, int32_t gn, const Acts* a, float* c, size_t ldc, int32_t accumulate);
void avx512QuantizeRow(const float* x, int32_t k, uint8_t* tileBlocks, int32_t tile, int32_t m);
void avx512RmsNorm(const float* x, const float* weight, float eps, int32_t n, float* out);
void avx512SiluMul(float* gate, const float* up, int32_t n);
void avx512Attend(const AttendArgs* a);
uint64_t avx512ReadAll(const uint8_t* from, size_t bytes);
double avx512Int8Peak(int64_t rounds);
}  // namespace flyball
