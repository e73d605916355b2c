// SPDX-License-Identifier: Apache-2.0
#include "train/build_info.h"

#include "build_id.h"
#include "cuda/cuda_backend.h"

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

std::string or_missing(const std::string& version) { return version.empty() ? "missing" : version; }

std::string size_of(std::size_t bytes) { return std::to_string((bytes + 500'000'000) / 1'000'000'000) + " GB"; }

// "NVIDIA H200 (9.0, 132 SMs, 141 GB)", one after the other.
std::string names_of(const std::vector<GpuFacts>& gpus) {
  std::string names;
  for (const GpuFacts& gpu : gpus)
    names += (names.empty() ? "" : "; ") + gpu.name + " (" + std::to_string(gpu.major) + "." + std::to_string(gpu.minor) + ", " +
             std::to_string(gpu.multiprocessors) + " SMs, " + size_of(gpu.memory_bytes) + ")";
  return names.empty() ? "none" : names;
}

}  // namespace

std::string build_id() { return LOCKSTEP_VERSION " (" LOCKSTEP_COMMIT ", " LOCKSTEP_BUILD_TYPE ")"; }

std::vector<std::pair<std::string, std::string>> build_components() {
  std::vector<std::pair<std::string, std::string>> components{{"compiler", "g++ " __VERSION__},
                                                              {"oneDNN", LOCKSTEP_DNNL_VERSION},
                                                              {"MPI", LOCKSTEP_MPI_VERSION},
                                                              {"protobuf", LOCKSTEP_PROTOBUF_VERSION}};
  static const CudaReport cuda = cuda_report();  // the same as long as the process lives
  if (cuda.built) {
    components.insert(components.end(), {{"CUDA", cuda.runtime},
                                         {"driver", or_missing(cuda.driver)},
                                         {"cuDNN", or_missing(cuda.cudnn)},
                                         {"cuBLASLt", or_missing(cuda.cublas)},
                                         {"NCCL", or_missing(cuda.nccl)},
                                         {"GPUs", names_of(cuda.gpus)}});
    if (!cuda.missing.empty()) components.emplace_back("no GPU run", cuda.missing);
  } else {
    components.emplace_back("CUDA", "not built: " + cuda.missing);
  }
  components.emplace_back("processor", simd_level());
  return components;
}

}  // namespace lockstep
