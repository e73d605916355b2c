// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/amx_dispatch.h"

#include <cstdlib>
#include <string_view>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lockstep {
#if defined(__x86_64__) && defined(__linux__)
namespace simd {
extern const AmxKernels kAmxKernels;
}
namespace {

// Intel SDM: leaf 7.0, EDX bit 22 AMX-BF16, bit 24 AMX-TILE.
bool processor_has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kWanted = (1u << 22) | (1u << 24);
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kWanted) != kWanted) return false;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}

// Linux gives the 8 KB of tile registers only to processes that ask (arch_prctl ARCH_REQ_XCOMP_PERM, feature 18).
bool system_allows_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool forbidden(const char* variable, std::string_view allowed) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' && value != allowed;
}

}  // namespace

const simd::AmxKernels* select_amx_kernels() {
  static const bool usable = processor_has_amx() && system_allows_tiles();
  if (!usable || forbidden("LOCKSTEP_SIMD", "avx512") || forbidden("LOCKSTEP_AMX", "1")) return nullptr;
  return &simd::kAmxKernels;
}
#else
const simd::AmxKernels* select_amx_kernels() { return nullptr; }
#endif

}  // namespace lockstep
