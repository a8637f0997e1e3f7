// AVX-512 VNNI + BF16: attention on bfloat16 pages with vdpbf16ps; the rest is the VNNI file's.
#include "attend_avx512.h"
#include "kernels_avx512.h"

namespace flyball {
namespace {

void attend(const AttendArgs* a) {
  if (a->headDim % 16 != 0 || a->kvType != kKvBF16) return avx512Attend(a);
  attendRows<kModeBF16Dot>(*a);
}

}  // namespace

extern const Kernels kAvx512Bf16Kernels = {"avx512bf16", avx512Gemm, avx512QuantizeRow, avx512RmsNorm, avx512SiluMul, attend, avx512ReadAll, avx512Int8Peak};

}  // namespace flyball
