// Linear layers (ops/kernels.h) in terms of a MatmulEngine.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "cuda/matmul_engine.h"

namespace lockstep::cuda {

class Linear {
 public:
  Linear(std::unique_ptr<MatmulEngine> engine, const CudaOptions& options);
  void forward(Stream stream, ConstView x, ConstView w, ConstView bias, View y);
  void backward_data(Stream stream, ConstView dy, ConstView w, View dx, GradMode mode);
  void backward_weight(Stream stream, ConstView x, ConstView dy, View dw, GradMode mode);

 private:
  std::unique_ptr<MatmulEngine> engine_;
  bool tf32_;
};

}  // namespace lockstep::cuda
