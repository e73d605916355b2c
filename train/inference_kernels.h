// InferenceKernels: base of backends that only follow a forward pass in evaluation mode. Everything that training alone calls is
// an internal error.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/error.h"
#include "ops/kernels.h"

namespace lockstep {

class InferenceKernels : public Kernels {
 public:
  Device device() const final { return {}; }

  void conv2d_backward_data(Stream, ConstView, ConstView, const Conv2dParams&, View, GradMode) final { refuse("conv2d_backward_data"); }
  void conv2d_backward_filter(Stream, ConstView, ConstView, const Conv2dParams&, View, GradMode) final { refuse("conv2d_backward_filter"); }
  void bias_backward(Stream, ConstView, View, GradMode) final { refuse("bias_backward"); }
  void batch_norm_moments(Stream, ConstView, View, View) final { refuse("batch_norm_moments"); }
  void batch_norm_backward_sums(Stream, ConstView, const ReluGate&, ConstView, const NormVectors&, View, View) final {
    refuse("batch_norm_backward_sums");
  }
  void batch_norm_backward_apply(Stream, ConstView, const ReluGate&, ConstView, const NormVectors&, ConstView, ConstView, double, View,
                                 GradMode, View, GradMode) final {
    refuse("batch_norm_backward_apply");
  }
  void relu_backward(Stream, ConstView, ConstView, View, GradMode) final { refuse("relu_backward"); }
  void activation_backward(Stream, ConstView, ConstView, const Activation&, View, GradMode) final { refuse("activation_backward"); }
  void response_norm_backward(Stream, ConstView, ConstView, const ResponseNorm&, View, GradMode) final { refuse("response_norm_backward"); }
  void adaptive_avg_pool_backward(Stream, ConstView, View, GradMode) final { refuse("adaptive_avg_pool_backward"); }
  void accumulate(Stream, ConstView, View, GradMode) final { refuse("accumulate"); }
  void dropout(Stream, ConstView, double, const RandomKey&, View, GradMode) final { refuse("dropout"); }
  void max_pool_backward(Stream, ConstView, ConstView, const Pool2dParams&, View, GradMode) final { refuse("max_pool_backward"); }
  void avg_pool_backward(Stream, ConstView, const Pool2dParams&, View, GradMode) final { refuse("avg_pool_backward"); }
  void global_avg_pool_backward(Stream, ConstView, View, GradMode) final { refuse("global_avg_pool_backward"); }
  void linear_backward_data(Stream, ConstView, ConstView, View, GradMode) final { refuse("linear_backward_data"); }
  void linear_backward_weight(Stream, ConstView, ConstView, View, GradMode) final { refuse("linear_backward_weight"); }
  void softmax_cross_entropy(Stream, ConstView, ConstView, ConstView, double, View, View, View) final { refuse("softmax_cross_entropy"); }
  void scale(Stream, ConstView, ConstView, View, GradMode) final { refuse("scale"); }
  void normalise_image(Stream, ConstView, std::span<const float>, std::span<const float>, View) final { refuse("normalise_image"); }
  void mix_images(Stream, ConstView, ConstView, View) final { refuse("mix_images"); }
  void sgd_step(Stream, std::span<const SgdTensor>, const SgdParams&) final { refuse("sgd_step"); }
  void squared_norm(Stream, std::span<const ConstView>, View) final { refuse("squared_norm"); }
  void moving_average(Stream, ConstView, double, View) final { refuse("moving_average"); }

 private:
  [[noreturn]] void refuse(const char* kernel) const {
    throw InternalError(std::string(name()) + ": " + kernel + " is called by a forward pass in evaluation mode");
  }
};

}  // namespace lockstep
