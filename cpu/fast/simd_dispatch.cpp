// SPDX-License-Identifier: Apache-2.0
#include "cpu/fast/simd_dispatch.h"

#include <cstdlib>
#include <string>
#include <vector>

#include "core/error.h"

namespace lockstep {
namespace simd {
namespace baseline {
extern const SimdKernels kTable;
}
#if defined(__x86_64__)
namespace avx2 {
extern const SimdKernels kTable;
}
namespace avx512 {
extern const SimdKernels kTable;
}
#endif
}  // namespace simd

namespace {

std::vector<const simd::SimdKernels*> usable_tables() {
  std::vector<const simd::SimdKernels*> tables;
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    tables.push_back(&simd::avx512::kTable);
  if (avx2) tables.push_back(&simd::avx2::kTable);
#endif
  tables.push_back(&simd::baseline::kTable);
  return tables;
}

const std::vector<const simd::SimdKernels*>& tables() {
  static const auto found = usable_tables();
  return found;
}

std::string joined_names() {
  std::string names;
  for (const std::string_view name : available_simd()) names += (names.empty() ? "" : ", ") + std::string(name);
  return names;
}

}  // namespace

std::span<const std::string_view> available_simd() {
  static const auto names = [] {
    std::vector<std::string_view> found;
    for (const auto* table : tables()) found.emplace_back(table->isa);
    return found;
  }();
  return names;
}

const simd::SimdKernels& select_simd_kernels() {
  const char* wanted = std::getenv("LOCKSTEP_SIMD");
  if (wanted == nullptr || *wanted == '\0') return *tables().front();
  const std::string_view name = wanted;
  for (const auto* table : tables())
    if (name == table->isa) return *table;
  if (name == "avx2" || name == "avx512")
    throw EnvironmentError("LOCKSTEP_SIMD=" + std::string(name) + ": this machine can't run it; it has " + joined_names());
  throw UserError("LOCKSTEP_SIMD=" + std::string(name) + ": unknown instruction set; use scalar, avx2 or avx512, or unset it");
}

}  // namespace lockstep
