// FastKernels: the class behind make_fast_kernels. Its functions are spread over fast_*.cpp by subject; each one checks
// the dtype, cuts the work into chunks and calls a vector kernel (simd/) or oneDNN (dnnl_adapter.h).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "cpu/fast/amx_dispatch.h"
#include "cpu/fast/depthwise_conv.h"
#include "cpu/fast/dnnl_adapter.h"
#include "cpu/fast/fast_kernels.h"
#include "cpu/fast/pointwise_conv.h"
#include "cpu/fast/simd/simd_kernels.h"
#include "cpu/fast/winograd.h"
#include "ops/kernels.h"

namespace lockstep {

class FastKernels final : public Kernels {
 public:
  explicit FastKernels(const FastOptions& options);

  std::string_view name() const override { return "cpu fast"; }
  Device device() const override { return {}; }

  void conv2d_forward(Stream, ConstView x, ConstView w, ConstView bias, const Conv2dParams&, View y) override;
  void conv2d_backward_data(Stream, ConstView dy, ConstView w, const Conv2dParams&, View dx, GradMode) override;
  void conv2d_backward_filter(Stream, ConstView x, ConstView dy, const Conv2dParams&, View dw, GradMode) override;
  void norm_conv2d_forward(Stream, ConstView x, const NormVectors&, ConstView w, const Conv2dParams&, View y) override;
  void norm_conv2d_backward_filter(Stream, ConstView x, const NormVectors&, ConstView dy, const Conv2dParams&, View dw,
                                   GradMode) override;
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
  void convert(Stream, ConstView src, View dst) override;
  void dropout(Stream, ConstView x, double p, const RandomKey& key, View y, GradMode) override;
  void activation_forward(Stream, ConstView x, const Activation&, View y) override;
  void activation_backward(Stream, ConstView dy, ConstView kept, const Activation&, View dx, GradMode) override;

  void response_norm_forward(Stream, ConstView x, const ResponseNorm&, View y) override;
  void response_norm_backward(Stream, ConstView dy, ConstView x, const ResponseNorm&, View dx, GradMode) override;
  void shuffle_channels(Stream, ConstView src, int groups, View dst, GradMode) override;
  void shift_channels(Stream, ConstView src, const ChannelShift&, View dst, GradMode) override;

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

  void copy_channels(Stream, ConstView src, std::int64_t src_begin, View dst, std::int64_t dst_begin, std::int64_t count,
                     GradMode) override;
  void softmax_cross_entropy(Stream, ConstView logits, ConstView labels, ConstView mix, double smoothing, View loss,
                             View dlogits, View sums) override;
  void scale(Stream, ConstView x, ConstView factor, View y, GradMode) override;
  void normalise_image(Stream, ConstView x, std::span<const float> mean, std::span<const float> inv_std, View y) override;
  void mix_images(Stream, ConstView x, ConstView mix, View y) override;

  void sgd_step(Stream, std::span<const SgdTensor> tensors, const SgdParams&) override;
  void squared_norm(Stream, std::span<const ConstView> tensors, View result) override;
  void moving_average(Stream, ConstView observed, double momentum, View value) override;

 private:
  // True: run `call` here (activations: f32 or bf16; statistics: f32). False: f64, the caller forwards to reference_. Other
  // dtypes throw.
  bool runs_here(std::string_view call, DType dtype) const;
  bool statistic_runs_here(std::string_view call, DType dtype) const;
  // sums[c] = the sum of all x[i] with i % channels == c.
  template <class T>
  void channel_sums(const T* x, std::int64_t n, std::int64_t channels, double* sums) const;
  double squared_sum(const float* x, std::int64_t n) const;

  // Our own convolutions that may normalise x as they read it: true if one of them took the call.
  bool own_forward(const ConvProblem&, ConstView x, const ConvNorm&, ConstView w, const float* bias, View y) const;
  bool own_backward_filter(const ConvProblem&, ConstView x, const ConvNorm&, ConstView dy, View dw, GradMode) const;
  bool winograd_wins(const ConvProblem& problem) const { return options_.winograd && Winograd::wins(problem, bf16_products_); }

  FastOptions options_;
  int threads_;
  const simd::SimdKernels& simd_;
  std::unique_ptr<Kernels> reference_;
  DnnlAdapter dnnl_;
  Winograd winograd_{simd_, threads_};
  PointwiseConv pointwise_{simd_, threads_};
  DepthwiseConv depthwise_{simd_, threads_};
  Bf16Products bf16_products_ = bf16_products();
  const simd::AmxKernels* amx_ = select_amx_kernels();  // null: oneDNN does it
};

// Calls f.template operator()<T>() with the storage type of f32 or bf16 (runs_here has said that it is one of them).
template <class F>
void with_storage(DType dtype, const F& f) {
  if (dtype == DType::kBF16) return f.template operator()<simd::bf16_word>();
  f.template operator()<float>();
}

// The elements as vector kernels see them. An empty view gives null; another dtype is a bug.
template <class T>
const T* elements(const ConstView& view) {
  if (!view) return nullptr;
  if constexpr (sizeof(T) == 2) {
    return reinterpret_cast<const T*>(view.data<bf16>());
  } else {
    return view.data<T>();
  }
}
template <class T>
T* elements(const View& view) { return const_cast<T*>(elements<T>(static_cast<ConstView>(view))); }

// Elements per chunk of elementwise work: a multiple of 64 (dropout's Philox groups, mask bytes).
constexpr std::int64_t kChunk = std::int64_t{1} << 16;

}  // namespace lockstep
