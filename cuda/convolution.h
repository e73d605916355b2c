// Convolution: ops/kernels.h's convolutions in terms of a ConvEngine's patterns.
//
// What it adds: images of few channels are padded in scratch; filter gradients in 16 bits become f32, and accumulate; biases; moments
// from the epilogue's sums; and which pattern serves which call, layer by layer: a fused one where the engine has a plan, else
// batch norm's own kernels beside a plain one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "cuda/conv_engine.h"

namespace lockstep::cuda {

class Convolution {
 public:
  Convolution(std::unique_ptr<ConvEngine> engine, const CudaOptions& options);

  void forward(Stream stream, ConstView x, ConstView w, ConstView bias, const Conv2dParams& params, View y);
  void backward_data(Stream stream, ConstView dy, ConstView w, const Conv2dParams& params, View dx, GradMode mode);
  void backward_filter(Stream stream, ConstView x, ConstView dy, const Conv2dParams& params, View dw, GradMode mode);
  void norm_forward(Stream stream, ConstView x, const NormVectors& norm, ConstView w, const Conv2dParams& params, View y);
  void norm_backward_filter(Stream stream, ConstView x, const NormVectors& norm, ConstView dy, const Conv2dParams& params, View dw, GradMode mode);
  void norm_backward_data(Stream stream, ConstView dy, ConstView w, const Conv2dParams& params, ConstView x, const NormVectors& norm, View dz,
                          View sum_g, View sum_g_xhat);
  bool gives_moments(ConstView x, ConstView w, const Conv2dParams& params, bool normalised);
  void forward_moments(Stream stream, ConstView x, ConstView w, const Conv2dParams& params, View y, View mean, View m2);
  void norm_forward_moments(Stream stream, ConstView x, const NormVectors& norm, ConstView w, const Conv2dParams& params, View y, View mean, View m2);

  ConvEngine& engine() { return *engine_; }
  const ConvEngine& engine() const { return *engine_; }

 private:
  // A fused convolution's per-channel sums of its output and of its squares, (K) f32.
  struct Sums {
    Tensor sum, square_sum;
    explicit Sums(ConstView y);
  };

  ConvProblem problem(ConvPattern pattern, DType dtype, const Shape& x, const Shape& w, const Conv2dParams& params) const;
  bool fuses(const ConvProblem& problem);
  void run(Stream stream, const ConvProblem& problem, const ConvArguments& arguments, Device device);
  Sums run_norm_forward(Stream stream, const ConvProblem& fused, ConstView x, const NormVectors& norm, ConstView w, View y);
  void put_filter_gradient(Stream stream, const ConvProblem& computed, ConvArguments arguments, View dw, GradMode mode);

  std::unique_ptr<ConvEngine> engine_;
  bool fuse_, tf32_;
};

}  // namespace lockstep::cuda
