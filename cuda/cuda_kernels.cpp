// The CUDA backend's Kernels: each call to the file that computes it.
// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "core/error.h"
#include "cuda/convolution.h"
#include "cuda/cuda_backend.h"
#include "cuda/kernels/batch_norm.h"
#include "cuda/kernels/elementwise.h"
#include "cuda/kernels/loss.h"
#include "cuda/kernels/optimizer.h"
#include "cuda/kernels/pool.h"
#include "cuda/linear.h"
#include "cuda/runtime.h"
#include "cuda/runtime.h"

namespace lockstep {
namespace {

class CudaKernels final : public Kernels {
 public:
  CudaKernels(const CudaOptions& options, Accelerator& accelerator)
      : device_(accelerator.device()),
        compute_(accelerator.compute_stream()),
        convolution_(cuda::make_conv_engine(options, accelerator), options),
        linear_(cuda::make_matmul_engine(options, accelerator), options),
        optimizer_(accelerator.device()) {}

  std::string_view name() const override { return "cuda"; }
  Device device() const override { return device_; }

  void conv2d_forward(Stream s, ConstView x, ConstView w, ConstView bias, const Conv2dParams& p, View y) override {
    convolution_.forward(on(s), x, w, bias, p, y);
  }
  void conv2d_backward_data(Stream s, ConstView dy, ConstView w, const Conv2dParams& p, View dx, GradMode mode) override {
    convolution_.backward_data(on(s), dy, w, p, dx, mode);
  }
  void conv2d_backward_filter(Stream s, ConstView x, ConstView dy, const Conv2dParams& p, View dw, GradMode mode) override {
    convolution_.backward_filter(on(s), x, dy, p, dw, mode);
  }
  void norm_conv2d_forward(Stream s, ConstView x, const NormVectors& norm, ConstView w, const Conv2dParams& p, View y) override {
    convolution_.norm_forward(on(s), x, norm, w, p, y);
  }
  void norm_conv2d_backward_filter(Stream s, ConstView x, const NormVectors& norm, ConstView dy, const Conv2dParams& p, View dw,
                                   GradMode mode) override {
    convolution_.norm_backward_filter(on(s), x, norm, dy, p, dw, mode);
  }
  void norm_conv2d_backward_data(Stream s, ConstView dy, ConstView w, const Conv2dParams& p, ConstView x, const NormVectors& norm, View dz,
                                 View sum_g, View sum_g_xhat) override {
    convolution_.norm_backward_data(on(s), dy, w, p, x, norm, dz, sum_g, sum_g_xhat);
  }
  bool gives_moments(ConstView x, ConstView w, const Conv2dParams& p, bool normalised) const override {
    return convolution_.gives_moments(x, w, p, normalised);
  }
  void conv2d_forward_moments(Stream s, ConstView x, ConstView w, const Conv2dParams& p, View y, View mean, View m2) override {
    convolution_.forward_moments(on(s), x, w, p, y, mean, m2);
  }
  void norm_conv2d_forward_moments(Stream s, ConstView x, const NormVectors& norm, ConstView w, const Conv2dParams& p, View y, View mean,
                                   View m2) override {
    convolution_.norm_forward_moments(on(s), x, norm, w, p, y, mean, m2);
  }
  void bias_backward(Stream s, ConstView dy, View db, GradMode mode) override { cuda::bias_backward(on(s), dy, db, mode); }

  void batch_norm_moments(Stream s, ConstView x, View mean, View m2) override { cuda::batch_norm_moments(on(s), x, mean, m2); }
  void batch_norm_inv_std(Stream s, ConstView m2, double count, double eps, View inv_std, View unbiased) override {
    cuda::batch_norm_inv_std(on(s), m2, count, eps, inv_std, unbiased);
  }
  void batch_norm_apply(Stream s, ConstView x, const NormVectors& norm, ConstView residual, bool relu, View y, View mask) override {
    cuda::batch_norm_apply(on(s), x, norm, residual, relu, y, mask);
  }
  void batch_norm_backward_sums(Stream s, ConstView dy, const ReluGate& gate, ConstView x, const NormVectors& norm, View sum_g,
                                View sum_g_xhat) override {
    cuda::batch_norm_backward_sums(on(s), dy, gate, x, norm, sum_g, sum_g_xhat);
  }
  void batch_norm_backward_apply(Stream s, ConstView dy, const ReluGate& gate, ConstView x, const NormVectors& norm, ConstView sum_g,
                                 ConstView sum_g_xhat, double count, View dx, GradMode dx_mode, View dresidual,
                                 GradMode dresidual_mode) override {
    cuda::batch_norm_backward_apply(on(s), dy, gate, x, norm, sum_g, sum_g_xhat, count, dx, dx_mode, dresidual, dresidual_mode);
  }

  void relu_forward(Stream s, ConstView x, View y) override { cuda::relu_forward(on(s), x, y); }
  void relu_backward(Stream s, ConstView dy, ConstView y, View dx, GradMode mode) override { cuda::relu_backward(on(s), dy, y, dx, mode); }
  void add(Stream s, ConstView a, ConstView b, View y) override { cuda::add(on(s), a, b, y); }
  void accumulate(Stream s, ConstView src, View dst, GradMode mode) override { cuda::accumulate(on(s), src, dst, mode); }
  void dropout(Stream s, ConstView x, double p, const RandomKey& key, View y, GradMode mode) override {
    cuda::dropout(on(s), x, p, key, control_, y, mode);
  }

  void activation_forward(Stream s, ConstView x, const Activation& function, View y) override {
    cuda::activation_forward(on(s), x, function, y);
  }
  void activation_backward(Stream s, ConstView dy, ConstView kept, const Activation& function, View dx, GradMode mode) override {
    cuda::activation_backward(on(s), dy, kept, function, dx, mode);
  }

  void response_norm_forward(Stream s, ConstView x, const ResponseNorm& params, View y) override {
    cuda::response_norm_forward(on(s), x, params, y);
  }
  void response_norm_backward(Stream s, ConstView dy, ConstView x, const ResponseNorm& params, View dx, GradMode mode) override {
    cuda::response_norm_backward(on(s), dy, x, params, dx, mode);
  }
  void shuffle_channels(Stream s, ConstView src, int groups, View dst, GradMode mode) override {
    cuda::shuffle_channels(on(s), src, groups, dst, mode);
  }
  void shift_channels(Stream s, ConstView src, const ChannelShift& shift, View dst, GradMode mode) override {
    cuda::shift_channels(on(s), src, shift, dst, mode);
  }

  void max_pool_forward(Stream s, ConstView x, const Pool2dParams& p, View y, View indices) override {
    cuda::max_pool_forward(on(s), x, p, y, indices);
  }
  void max_pool_backward(Stream s, ConstView dy, ConstView indices, const Pool2dParams& p, View dx, GradMode mode) override {
    cuda::max_pool_backward(on(s), dy, indices, p, dx, mode);
  }
  void avg_pool_forward(Stream s, ConstView x, const Pool2dParams& p, View y) override { cuda::avg_pool_forward(on(s), x, p, y); }
  void avg_pool_backward(Stream s, ConstView dy, const Pool2dParams& p, View dx, GradMode mode) override {
    cuda::avg_pool_backward(on(s), dy, p, dx, mode);
  }
  void adaptive_avg_pool_forward(Stream s, ConstView x, View y) override { cuda::adaptive_avg_pool_forward(on(s), x, y); }
  void adaptive_avg_pool_backward(Stream s, ConstView dy, View dx, GradMode mode) override {
    cuda::adaptive_avg_pool_backward(on(s), dy, dx, mode);
  }
  void global_avg_pool_forward(Stream s, ConstView x, View y) override { cuda::global_avg_pool_forward(on(s), x, y); }
  void global_avg_pool_backward(Stream s, ConstView dy, View dx, GradMode mode) override {
    cuda::global_avg_pool_backward(on(s), dy, dx, mode);
  }

  void convert(Stream s, ConstView src, View dst) override { cuda::convert(on(s), src, dst); }
  void linear_forward(Stream s, ConstView x, ConstView w, ConstView bias, View y) override { linear_.forward(on(s), x, w, bias, y); }
  void linear_backward_data(Stream s, ConstView dy, ConstView w, View dx, GradMode mode) override {
    linear_.backward_data(on(s), dy, w, dx, mode);
  }
  void linear_backward_weight(Stream s, ConstView x, ConstView dy, View dw, GradMode mode) override {
    linear_.backward_weight(on(s), x, dy, dw, mode);
  }
  void copy_channels(Stream s, ConstView src, std::int64_t src_begin, View dst, std::int64_t dst_begin, std::int64_t count,
                     GradMode mode) override {
    cuda::copy_channels(on(s), src, src_begin, dst, dst_begin, count, mode);
  }
  void softmax_cross_entropy(Stream s, ConstView logits, ConstView labels, ConstView mix, double smoothing, View loss, View dlogits,
                             View sums) override {
    cuda::softmax_cross_entropy(on(s), logits, labels, mix, smoothing, loss, dlogits, sums);
  }
  void scale(Stream s, ConstView x, ConstView factor, View y, GradMode mode) override { cuda::scale(on(s), x, factor, y, mode); }
  void normalise_image(Stream s, ConstView x, std::span<const float> mean, std::span<const float> inv_std, View y) override {
    cuda::normalise_image(on(s), x, mean, inv_std, y);
  }
  void mix_images(Stream s, ConstView x, ConstView mix, View y) override { cuda::mix_images(on(s), x, mix, y); }

  void sgd_step(Stream s, std::span<const SgdTensor> tensors, const SgdParams& params) override { optimizer_.sgd_step(on(s), tensors, params); }
  void squared_norm(Stream s, std::span<const ConstView> tensors, View result) override { optimizer_.squared_norm(on(s), tensors, result); }
  void moving_average(Stream s, ConstView observed, double momentum, View value) override {
    optimizer_.moving_average(on(s), observed, momentum, value);
  }
  void moving_averages(Stream s, std::span<const AverageTensor> tensors, double momentum, ConstView control) override {
    optimizer_.moving_averages(on(s), tensors, momentum, control);
  }
  void finish_step(Stream s, std::span<const SgdTensor> tensors, std::span<const AverageTensor> averages, ConstView totals,
                   const UpdateRule& rule, View control) override {
    optimizer_.finish_step(on(s), tensors, averages, totals, rule, control);
  }
  void attach_control(View control) override { control_ = control; }

  std::map<std::string, std::string> choices() const override { return convolution_.engine().choices(); }
  void use_choices(const std::map<std::string, std::string>& choices) override { convolution_.engine().use_choices(choices); }

 private:
  // Threads start with device 0; kernels are launched on the thread's.
  Stream on(Stream stream) const {
    cuda::runtime::use_device(device_.index);
    return stream.handle != nullptr ? stream : compute_;
  }

  const Device device_;
  const Stream compute_;
  mutable cuda::Convolution convolution_;
  cuda::Linear linear_;
  cuda::DeviceOptimizer optimizer_;
  View control_;
};

}  // namespace

std::unique_ptr<Kernels> make_cuda_kernels(const CudaOptions& options) {
  return std::make_unique<CudaKernels>(options, start_accelerator(options.device));
}

}  // namespace lockstep
