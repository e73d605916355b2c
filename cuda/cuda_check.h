// Errors of the CUDA runtime and driver as EnvironmentErrors. For the files that call them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

namespace lockstep::cuda {

// Throws EnvironmentError: device, call, CUDA's words for it, and a fix if one is known.
[[noreturn]] void throw_cuda_error(cudaError_t error, const char* call);
inline void check_cuda(cudaError_t error, const char* call) {
  if (error != cudaSuccess) [[unlikely]]
    throw_cuda_error(error, call);
}

}  // namespace lockstep::cuda
