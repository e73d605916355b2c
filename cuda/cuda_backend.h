// The CUDA backend's front door: what there is on this machine, its kernels, its devices. In a build without CUDA the same
// functions exist (no_cuda.cpp) and say how to enable it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "core/accelerator.h"
#include "ops/kernels.h"

namespace lockstep {

struct GpuFacts {
  std::string name;  // "NVIDIA H200"
  std::string pci_bus_id;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  std::size_t memory_bytes = 0, l2_bytes = 0;
  double memory_bytes_per_s = 0;  // theoretical; 0: unknown
};

struct CudaReport {
  bool built = false;  // with the CUDA backend
  std::string driver, runtime, cudnn, cublas, nccl;  // versions; "": missing
  std::vector<GpuFacts> gpus;
  std::string missing;  // what keeps it from running here, and the fix; "": nothing
};

// Never throws; starts the driver, if there is one.
CudaReport cuda_report();

struct CudaOptions {
  int device = 0;                // index among the GPUs that this process sees
  bool tf32 = true;              // fp32 convolutions and products with 10-bit mantissas (tensor cores)
  bool fuse = true;              // fused convolution + batch norm graphs (fp16, sm_80 and sm_90)
  bool time_choices = false;     // pick each convolution's engine by timing, not by cuDNN's heuristics
  std::string plan_cache;        // file of engine choices that is read and extended; "": none
};

// Starts the device (once per process) and registers its memory pool and accelerator. Throws EnvironmentError: no CUDA in this
// build, no driver, no such GPU, a library that is missing or too old, each with the fix.
std::unique_ptr<Kernels> make_cuda_kernels(const CudaOptions& options);
Accelerator& start_accelerator(int device);

}  // namespace lockstep
