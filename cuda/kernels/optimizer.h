// The optimizer on the device: all parameters in a few launches, from a table in device memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "ops/kernels.h"

namespace lockstep::cuda {

// Keeps the tables of tensors that it was called with on the device, so that a repeated call uploads nothing and can be
// recorded. What each call computes is said in ops/kernels.h. f32 values, gradients and momentum.
class DeviceOptimizer {
 public:
  explicit DeviceOptimizer(Device device);
  ~DeviceOptimizer();

  void sgd_step(Stream stream, std::span<const SgdTensor> tensors, const SgdParams& params);
  void squared_norm(Stream stream, std::span<const ConstView> tensors, View result);
  // Launches: norms of pieces of all tensors; one block that adds them, judges and writes the control; the update; the averages.
  void finish_step(Stream stream, std::span<const SgdTensor> tensors, std::span<const AverageTensor> averages, ConstView totals,
                   const UpdateRule& rule, View control);
  void moving_average(Stream stream, ConstView observed, double momentum, View value);
  void moving_averages(Stream stream, std::span<const AverageTensor> tensors, double momentum, ConstView control);  // one launch

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::cuda
