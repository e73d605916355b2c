// Starting a GPU: once per process and device, after asking what there is.
// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <mutex>

#include "core/error.h"
#include "cuda/accelerator.h"
#include "cuda/cuda_backend.h"
#include "cuda/runtime.h"

namespace lockstep {
namespace {

constexpr int kMostDevices = 64;

void check_device(int device) {
  const CudaReport report = cuda_report();
  if (!report.missing.empty()) throw EnvironmentError("cuda: " + report.missing);
  const int count = static_cast<int>(report.gpus.size());
  if (device < 0 || device >= std::min(count, kMostDevices))
    throw EnvironmentError("cuda: GPU " + std::to_string(device) + " is asked for, and this process sees " + std::to_string(count) +
                           " (numbered from 0); start as many ranks per node as it has GPUs, or see CUDA_VISIBLE_DEVICES");
  const std::string problem = cuda::runtime::gpu_problem(device);
  if (!problem.empty()) throw EnvironmentError("cuda: " + problem);
}

}  // namespace

Accelerator& start_accelerator(int device) {
  static std::mutex mutex;
  static std::array<cuda::CudaAccelerator*, kMostDevices> started{};  // never destroyed: tensors may outlive every static
  const std::lock_guard lock(mutex);
  if (device >= 0 && device < kMostDevices && started[static_cast<std::size_t>(device)] != nullptr) {
    cuda::runtime::use_device(device);
    return *started[static_cast<std::size_t>(device)];
  }
  check_device(device);
  auto*& accelerator = started[static_cast<std::size_t>(device)];
  accelerator = new cuda::CudaAccelerator(device);
  register_accelerator({DeviceKind::kCuda, device}, accelerator);
  return *accelerator;
}

}  // namespace lockstep
