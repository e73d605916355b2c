// A library to preload where there is no GPU: it answers the CUDA runtime's questions about "the" device with an H100's public
// figures (the same as h100.json's), so that cuDNN plans for one. Nothing can be computed with it.
// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>

#include <cstdio>

namespace {

constexpr int kMajor = 9, kMinor = 0, kMultiprocessors = 132, kWarp = 32;
constexpr int kSharedPerBlock = 48 * 1024, kSharedPerBlockAtMost = 227 * 1024, kSharedPerMultiprocessor = 228 * 1024;
constexpr int kL2Bytes = 50 * 1024 * 1024, kRegisters = 64 * 1024;

}  // namespace

#undef cudaGetDeviceProperties

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "NVIDIA H100 80GB HBM3");
  properties->major = kMajor;
  properties->minor = kMinor;
  properties->multiProcessorCount = kMultiprocessors;
  properties->warpSize = kWarp;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->regsPerBlock = kRegisters;
  properties->regsPerMultiprocessor = kRegisters;
  properties->sharedMemPerBlock = kSharedPerBlock;
  properties->sharedMemPerBlockOptin = kSharedPerBlockAtMost;
  properties->sharedMemPerMultiprocessor = kSharedPerMultiprocessor;
  properties->l2CacheSize = kL2Bytes;
  properties->totalGlobalMem = std::size_t{80} << 30;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor: *value = kMajor; break;
    case cudaDevAttrComputeCapabilityMinor: *value = kMinor; break;
    case cudaDevAttrMultiProcessorCount: *value = kMultiprocessors; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = kSharedPerBlockAtMost; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = kSharedPerMultiprocessor; break;
    case cudaDevAttrL2CacheSize: *value = kL2Bytes; break;
    default: *value = 0; return cudaErrorInvalidValue;
  }
  return cudaSuccess;
}

}  // extern "C"
