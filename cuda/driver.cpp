// SPDX-License-Identifier: Apache-2.0
#include "cuda/driver.h"

#include <string>

#include "core/error.h"
#include "cuda/cuda_check.h"

namespace lockstep::cuda {
namespace {

template <class Function>
void find(Function& function, const char* name) {
  constexpr unsigned kVersion = 12040;  // of the functions' signatures: the oldest toolkit that we build with
  void* address = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  check_cuda(cudaGetDriverEntryPointByVersion(name, &address, kVersion, cudaEnableDefault, &result), name);
#else
  static_cast<void>(kVersion);
  check_cuda(cudaGetDriverEntryPoint(name, &address, cudaEnableDefault, &result), name);
#endif
  if (result != cudaDriverEntryPointSuccess || address == nullptr)
    throw EnvironmentError(std::string("cuda: the NVIDIA driver has no ") + name + ": it is too old for this build; update it");
  function = reinterpret_cast<Function>(address);
}

}  // namespace

const Driver& driver() {
  static const Driver functions = [] {
    Driver found{};
    find(found.get_granularity, "cuMemGetAllocationGranularity");
    find(found.address_reserve, "cuMemAddressReserve");
    find(found.address_free, "cuMemAddressFree");
    find(found.create, "cuMemCreate");
    find(found.release, "cuMemRelease");
    find(found.map, "cuMemMap");
    find(found.unmap, "cuMemUnmap");
    find(found.set_access, "cuMemSetAccess");
    find(found.error_string, "cuGetErrorString");
    find(found.device_attribute, "cuDeviceGetAttribute");
    return found;
  }();
  return functions;
}

void check_driver(CUresult result, const char* call) {
  if (result == CUDA_SUCCESS) return;
  const char* words = nullptr;
  driver().error_string(result, &words);
  throw EnvironmentError(std::string("cuda: ") + call + ": " + (words == nullptr ? "unknown error" : words) + " (" + std::to_string(result) + ")");
}

}  // namespace lockstep::cuda
