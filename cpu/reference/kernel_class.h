// The class behind make_reference_kernels(); its functions are defined by family in this folder's .cpp files. The contract
// is ops/kernels.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/kernels.h"

namespace lockstep::reference {

class ReferenceKernels final : public Kernels {
 public:
  std::string_view name() const override { return "cpu reference"; }
  Device device() const override { return {}; }

  void conv2d_forward(Stream, ConstView x, ConstView w, ConstView bias, const Conv2dParams&, View y) override;
  void conv2d_backward_data(Stream, ConstView dy, ConstView w, const Conv2dParams&, View dx, GradMode) override;
  void conv2d_backward_filter(Stream, ConstView x, ConstView dy, const Conv2dParams&, View dw, GradMode) override;
  void bias_backward(Stream, ConstView dy, View db, GradMode) override;

  void batch_norm_moments(Stream, ConstView x, View mean, View m2) override;
  void batch_norm_inv_std(Stream, ConstView m2, double count, double eps, View inv_std, View unbiased) override;
  void batch_norm_apply(Stream, ConstView x, const NormVectors&, ConstView residual, bool relu, View y, View mask) override;
  void batch_norm_backward_sums(Stream, ConstView dy, const ReluGate&, ConstView x, const NormVectors&, View sum_g,
                                View sum_g_xhat) override;
  void batch_norm_backward_apply(Stream, ConstView dy, const ReluGate&, ConstView x, const NormVectors&, ConstView sum_g,
                                 ConstView sum_g_xhat, double count, View dx, GradMode dx_mode, View dresidual,
                                 GradMode dresidual_mode) override;

  void relu_forward(Stream, ConstView x, View y) override;
  void relu_backward(Stream, ConstView dy, ConstView y, View dx, GradMode) override;
  void add(Stream, ConstView a, ConstView b, View y) override;
  void accumulate(Stream, ConstView src, View dst, GradMode) override;
  void dropout(Stream, ConstView x, double p, const RandomKey& key, View y, GradMode) override;
  void activation_forward(Stream, ConstView x, const Activation&, View y) override;
  void activation_backward(Stream, ConstView dy, ConstView kept, const Activation&, View dx, GradMode) override;
  void response_norm_forward(Stream, ConstView x, const ResponseNorm&, View y) override;
  void response_norm_backward(Stream, ConstView dy, ConstView x, const ResponseNorm&, View dx, GradMode) override;
  void shuffle_channels(Stream, ConstView src, int groups, View dst, GradMode) override;
  void shift_channels(Stream, ConstView src, const ChannelShift&, View dst, GradMode) override;
  void convert(Stream, ConstView src, View dst) override;
  void scale(Stream, ConstView x, ConstView factor, View y, GradMode) override;
  void copy_channels(Stream, ConstView src, std::int64_t src_begin, View dst, std::int64_t dst_begin, std::int64_t count,
                     GradMode) override;
  void normalise_image(Stream, ConstView x, std::span<const float> mean, std::span<const float> inv_std, View y) override;
  void mix_images(Stream, ConstView x, ConstView mix, View y) override;

  void max_pool_forward(Stream, ConstView x, const Pool2dParams&, View y, View indices) override;
  void max_pool_backward(Stream, ConstView dy, ConstView indices, const Pool2dParams&, View dx, GradMode) override;
  void avg_pool_forward(Stream, ConstView x, const Pool2dParams&, View y) override;
  void avg_pool_backward(Stream, ConstView dy, const Pool2dParams&, View dx, GradMode) override;
  void adaptive_avg_pool_forward(Stream, ConstView x, View y) override;
  void adaptive_avg_pool_backward(Stream, ConstView dy, View dx, GradMode) override;
  void global_avg_pool_forward(Stream, ConstView x, View y) override;
  void global_avg_pool_backward(Stream, ConstView dy, View dx, GradMode) override;

  void linear_forward(Stream, ConstView x, ConstView w, ConstView bias, View y) override;
  void linear_backward_data(Stream, ConstView dy, ConstView w, View dx, GradMode) override;
  void linear_backward_weight(Stream, ConstView x, ConstView dy, View dw, GradMode) override;
  void softmax_cross_entropy(Stream, ConstView logits, ConstView labels, ConstView mix, double smoothing, View loss,
                             View dlogits, View sums) override;

  void sgd_step(Stream, std::span<const SgdTensor> tensors, const SgdParams&) override;
  void squared_norm(Stream, std::span<const ConstView> tensors, View result) override;
  void moving_average(Stream, ConstView observed, double momentum, View value) override;
};

}  // namespace lockstep::reference
