// What the tests of the CUDA backend share. They run on the emulated device (cuda_tests) and, unchanged, on a GPU
// (cuda_gpu_tests, preset cuda), so they touch device memory through to_device, to_host and the accelerator only.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include "core/accelerator.h"
#include "cuda/cuda_backend.h"

namespace lockstep {

inline Accelerator& test_accelerator() {
  static Accelerator& accelerator = start_accelerator(0);
  return accelerator;
}
inline Device gpu() { return test_accelerator().device(); }
inline Stream gpu_stream() { return test_accelerator().compute_stream(); }
inline Tensor on_gpu(const Tensor& host) { return to_device(host, gpu()); }
inline Tensor empty_on_gpu(const Shape& shape, DType dtype) { return Tensor::empty(shape, dtype, gpu()); }

}  // namespace lockstep
