// What there is of CUDA on this machine (cuda_backend.h): versions, GPUs, what is missing and how to get it.
// SPDX-License-Identifier: Apache-2.0
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>
#include <nccl.h>

#include <fstream>

#include "core/error.h"
#include "cuda/cuda_backend.h"
#include "cuda/libraries/library.h"
#include "cuda/runtime.h"

namespace lockstep {
namespace {

constexpr int kOldestCudnn = 90000;

// 13020 -> "13.2"
std::string cuda_version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }
// 91900 -> "9.19.0", in steps of 10000 and 100
std::string dotted(std::size_t number) {
  return std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." + std::to_string(number % 100);
}

template <class Function>
std::size_t ask(const cuda::Library& library, const char* symbol, Function function) {
  void* found = library.find(symbol);
  return found == nullptr ? 0 : function(found);
}

std::size_t cudnn_version() {
  return ask(cuda::cudnn_library(), "cudnnGetVersion", [](void* f) { return reinterpret_cast<decltype(&cudnnGetVersion)>(f)(); });
}
std::size_t cublas_version() {  // 130101: as dotted() reads it
  return ask(cuda::cublas_lt_library(), "cublasLtGetVersion", [](void* f) { return reinterpret_cast<decltype(&cublasLtGetVersion)>(f)(); });
}
std::size_t nccl_version() {  // 22809
  return ask(cuda::nccl_library(), "ncclGetVersion", [](void* f) {
    int version = 0;
    return reinterpret_cast<decltype(&ncclGetVersion)>(f)(&version) == ncclSuccess ? static_cast<std::size_t>(version) : std::size_t{0};
  });
}

// The release of the kernel driver, "580.65.06", and the CUDA that it is made for; "": there is none.
std::string driver_version() {
  int cuda = 0;
  if (cudaDriverGetVersion(&cuda) != cudaSuccess || cuda == 0) return "";
  std::string release;
  std::ifstream("/sys/module/nvidia/version") >> release;
  return (release.empty() ? "" : release + ", ") + "CUDA " + cuda_version(cuda);
}

std::string missing_driver() {
  int cuda = 0;
  if (cudaDriverGetVersion(&cuda) != cudaSuccess || cuda == 0)
    return "no NVIDIA driver (libcuda.so.1 is not found): install it, in a container start with --gpus all; nvidia-smi must list the GPU";
  if (cuda / 1000 < CUDART_VERSION / 1000)
    return "the NVIDIA driver is for CUDA " + cuda_version(cuda) + " and this build for " + cuda_version(CUDART_VERSION) +
           ": update the driver, or build with toolkit " + std::to_string(cuda / 1000);
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return std::string("no GPU: ") + cudaGetErrorString(error) + "; nvidia-smi must list it, see also CUDA_VISIBLE_DEVICES";
  }
  return count == 0 ? "no GPU is visible: see nvidia-smi and CUDA_VISIBLE_DEVICES" : "";
}

std::string missing_here() {
  if (const std::string driver = missing_driver(); !driver.empty()) return driver;
  for (const cuda::Library* library : {&cuda::cudnn_library(), &cuda::cublas_lt_library()})
    if (!library->problem().empty()) return library->problem();
  if (cudnn_version() < kOldestCudnn) return "cuDNN " + dotted(cudnn_version()) + " is too old: install cuDNN 9";
  return "";
}

}  // namespace

CudaReport cuda_report() {
  CudaReport report;
  report.built = true;
  try {
    const auto version = [](std::size_t number) { return number == 0 ? std::string() : dotted(number); };
    report.driver = driver_version();
    report.runtime = cuda_version(CUDART_VERSION);
    report.cudnn = version(cudnn_version());
    report.cublas = version(cublas_version());
    report.nccl = version(nccl_version());
    report.missing = missing_here();
    const int count = report.driver.empty() ? 0 : cuda::runtime::device_count();
    for (int device = 0; device < count; ++device) report.gpus.push_back(cuda::runtime::gpu_facts(device));
  } catch (const Error& error) {
    report.missing = error.what();
  }
  return report;
}

}  // namespace lockstep
