// SPDX-License-Identifier: Apache-2.0
#include "train/build_info.h"

#include "build_id.h"

namespace lockstep {
namespace {

std::string simd_level() {
  __builtin_cpu_init();
  std::string level = __builtin_cpu_supports("avx512f")  ? "AVX-512"
                      : __builtin_cpu_supports("avx2") ? "AVX2"
                                                       : "baseline";
  if (__builtin_cpu_supports("avx512bf16")) level += " + BF16";
  return level;
}

}  // namespace

std::string build_id() { return LOCKSTEP_VERSION " (" LOCKSTEP_COMMIT ", " LOCKSTEP_BUILD_TYPE ")"; }

std::vector<std::pair<std::string, std::string>> build_components() {
  return {{"compiler", "g++ " __VERSION__},
          {"oneDNN", LOCKSTEP_DNNL_VERSION},
          {"MPI", LOCKSTEP_MPI_VERSION},
          {"protobuf", LOCKSTEP_PROTOBUF_VERSION},
          {"CUDA", "not built: the CUDA backend is not available yet"},
          {"processor", simd_level()}};
}

}  // namespace lockstep
