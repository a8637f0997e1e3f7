#include "dispatch.h"
#include <stdexcept>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace flyball {

#if defined(__x86_64__)
namespace {

struct Cpu {
  bool avx2 = false, avx512vnni = false, avx512bf16 = false;
};

Cpu probe() {
  Cpu cpu;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return cpu;
  const bool osxsave = c & (1u << 27), fma = c & (1u << 12), f16c = c & (1u << 29), avx = c & (1u << 28);
  if (!osxsave || !avx) return cpu;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  const bool ymm = (low & 6) == 6, zmm = (low & 0xe6) == 0xe6;  // which registers the system saves
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return cpu;
  const unsigned leaves = a;
  cpu.avx2 = ymm && fma && f16c && (b & (1u << 5));
  const unsigned base = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);  // F, DQ, BW, VL
  cpu.avx512vnni = zmm && cpu.avx2 && (b & base) == base && (c & (1u << 11));
  if (cpu.avx512vnni && leaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) cpu.avx512bf16 = a & (1u << 5);
  return cpu;
}

}  // namespace
#endif

std::vector<const Kernels*> usableKernels() {
  std::vector<const Kernels*> usable;
#if defined(__x86_64__)
  [[maybe_unused]] const Cpu cpu = probe();
#ifdef FLYBALL_AVX512BF16
  if (cpu.avx512bf16) usable.push_back(&kAvx512Bf16Kernels);
#endif
#ifdef FLYBALL_AVX512
  if (cpu.avx512vnni) usable.push_back(&kAvx512Kernels);
#endif
#ifdef FLYBALL_AVX2
  if (cpu.avx2) usable.push_back(&kAvx2Kernels);
#endif
#endif
#ifdef FLYBALL_NEON
#if defined(__linux__)
  if (getauxval(AT_HWCAP) & (1ul << 20)) usable.push_back(&kNeonKernels);  // HWCAP_ASIMDDP
#else
  usable.push_back(&kNeonKernels);
#endif
#endif
  usable.push_back(&kScalarKernels);
  return usable;
}

const Kernels& chooseKernels(const std::string& name) {
  const std::vector<const Kernels*> usable = usableKernels();
  if (name.empty()) return *usable.front();
  std::string names;
  for (const Kernels* kernels : usable) {
    if (name == kernels->name) return *kernels;
    names += (names.empty() ? "" : ", ") + std::string(kernels->name);
  }
  throw std::runtime_error("no kernels named " + name + " here, only " + names);
}

}  // namespace flyball
