// FastKernels: convolution. Winograd (f32, and bf16 without AMX) and f32 matrix products of our own where they win; bf16:
// AMX kernels of our own where they win; depthwise ones by our own where those win; oneDNN for all else.
// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"
#include "cpu/fast/amx_data_gradient.h"
#include "cpu/fast/amx_filter_gradient.h"
#include "cpu/fast/fast_backend.h"

namespace lockstep {
namespace {

ConvProblem conv_problem(ConvPass pass, const Shape& x, const Shape& w, const Shape& y, const Conv2dParams& params, bool bias,
                         DType dtype) {
  return {.pass = pass, .n = x[0], .c = x[1], .h = x[2], .w = x[3], .k = w[0], .r = w[2], .s = w[3], .p = y[2], .q = y[3],
          .stride_h = params.stride.h, .stride_w = params.stride.w, .pad_h = params.pad.h, .pad_w = params.pad.w,
          .dilation_h = params.dilation.h, .dilation_w = params.dilation.w, .groups = params.groups, .bias = bias,
          .dtype = dtype};
}

ConvNorm conv_norm(const NormVectors& norm) {
  return {.mean = norm.mean.data<float>(), .inv_std = norm.inv_std.data<float>(), .gamma = norm.gamma.data<float>(),
          .beta = norm.beta.data<float>()};
}

}  // namespace

bool FastKernels::own_forward(const ConvProblem& problem, ConstView x, const ConvNorm& norm, ConstView w, const float* bias, View y) const {
  if (winograd_wins(problem)) {
    with_storage(x.dtype, [&]<class T>() { winograd_.forward(problem, elements<T>(x), norm, elements<T>(w), bias, elements<T>(y)); });
    return true;
  }
  if (!pointwise_.wins(problem, norm.mean != nullptr)) return false;
  pointwise_.forward(problem, x.data<float>(), norm, w.data<float>(), bias, y.data<float>());
  return true;
}

bool FastKernels::own_backward_filter(const ConvProblem& problem, ConstView x, const ConvNorm& norm, ConstView dy, View dw, GradMode mode) const {
  const bool accumulate = mode == GradMode::kAccumulate;
  float* gradient = dw.data<float>();
  if (winograd_wins(problem)) {
    with_storage(x.dtype, [&]<class T>() {
      winograd_.backward_filter(problem, elements<T>(x), norm, elements<T>(dy), gradient, accumulate);
    });
    return true;
  }
  if (!pointwise_.wins(problem, norm.mean != nullptr)) return false;
  pointwise_.backward_filter(problem, x.data<float>(), norm, dy.data<float>(), gradient, accumulate);
  return true;
}

void FastKernels::conv2d_forward(Stream stream, ConstView x, ConstView w, ConstView bias, const Conv2dParams& params, View y) {
  if (!runs_here("conv2d_forward", x.dtype)) return reference_->conv2d_forward(stream, x, w, bias, params, y);
  const ConvProblem problem = conv_problem(ConvPass::kForward, x.shape, w.shape, y.shape, params, static_cast<bool>(bias), x.dtype);
  const float* added = bias ? bias.data<float>() : nullptr;
  if (depthwise_.wins(problem, false)) return depthwise_.forward(problem, x.ptr, w.ptr, added, y.ptr);
  if (own_forward(problem, x, {}, w, added, y)) return;
  dnnl_.convolution(problem, x.ptr, w.ptr, added, y.ptr);
}

void FastKernels::norm_conv2d_forward(Stream stream, ConstView x, const NormVectors& norm, ConstView w,
                                      const Conv2dParams& params, View y) {
  const ConvProblem problem = conv_problem(ConvPass::kForward, x.shape, w.shape, y.shape, params, false, x.dtype);
  if (x.dtype != DType::kF64 && own_forward(problem, x, conv_norm(norm), w, nullptr, y)) return;
  Kernels::norm_conv2d_forward(stream, x, norm, w, params, y);
}

void FastKernels::norm_conv2d_backward_filter(Stream stream, ConstView x, const NormVectors& norm, ConstView dy,
                                              const Conv2dParams& params, View dw, GradMode mode) {
  const ConvProblem problem = conv_problem(ConvPass::kBackwardFilter, x.shape, dw.shape, dy.shape, params, false, x.dtype);
  if (x.dtype != DType::kF64 && own_backward_filter(problem, x, conv_norm(norm), dy, dw, mode)) return;
  Kernels::norm_conv2d_backward_filter(stream, x, norm, dy, params, dw, mode);
}

// oneDNN's backward passes only overwrite: accumulation goes through scratch of the output's size (bf16 then rounds the
// product and the sum).
void FastKernels::conv2d_backward_data(Stream stream, ConstView dy, ConstView w, const Conv2dParams& params, View dx, GradMode mode) {
  if (!runs_here("conv2d_backward_data", dy.dtype))
    return reference_->conv2d_backward_data(stream, dy, w, params, dx, mode);
  const ConvProblem problem = conv_problem(ConvPass::kBackwardData, dx.shape, w.shape, dy.shape, params, false, dy.dtype);
  const bool accumulate = mode == GradMode::kAccumulate;
  if (depthwise_.wins(problem, accumulate)) return depthwise_.backward_data(problem, dy.ptr, w.ptr, dx.ptr, accumulate);
  if (winograd_wins(problem))
    return with_storage(dx.dtype, [&]<class T>() { winograd_.backward_data(problem, elements<T>(dy), elements<T>(w), elements<T>(dx), accumulate); });
  if (pointwise_.wins(problem, accumulate))
    return pointwise_.backward_data(problem, dy.data<float>(), w.data<float>(), dx.data<float>(), accumulate);
  if (amx_ != nullptr && amx_data_supports(problem) && amx_data_wins(problem, accumulate))
    return amx_data_gradient(*amx_, threads_, problem, dy.data<bf16>(), w.data<bf16>(), dx.data<bf16>(), accumulate);
  if (mode == GradMode::kOverwrite)
    return dnnl_.convolution_backward_data(problem, dy.ptr, w.ptr, dx.ptr);
  Tensor fresh = Tensor::empty(dx.shape, dx.dtype);
  dnnl_.convolution_backward_data(problem, dy.ptr, w.ptr, fresh.ptr());
  add(stream, dx, fresh, dx);
}

void FastKernels::conv2d_backward_filter(Stream stream, ConstView x, ConstView dy, const Conv2dParams& params, View dw, GradMode mode) {
  if (!runs_here("conv2d_backward_filter", x.dtype))
    return reference_->conv2d_backward_filter(stream, x, dy, params, dw, mode);
  const ConvProblem problem = conv_problem(ConvPass::kBackwardFilter, x.shape, dw.shape, dy.shape, params, false, dy.dtype);
  if (depthwise_.wins(problem, false))
    return depthwise_.backward_filter(problem, x.ptr, dy.ptr, dw.data<float>(), mode == GradMode::kAccumulate);
  if (own_backward_filter(problem, x, {}, dy, dw, mode)) return;
  if (amx_ != nullptr && amx_filter_supports(problem) && amx_filter_wins(problem))
    return amx_filter_gradient(*amx_, threads_, problem, x.data<bf16>(), dy.data<bf16>(), dw.data<float>(),
                               mode == GradMode::kAccumulate);
  if (mode == GradMode::kOverwrite)
    return dnnl_.convolution_backward_filter(problem, x.ptr, dy.ptr, dw.data<float>());
  Tensor fresh = Tensor::empty(dw.shape, DType::kF32);
  dnnl_.convolution_backward_filter(problem, x.ptr, dy.ptr, fresh.host<float>().data());
  add(stream, dw, fresh, dw);
}

}  // namespace lockstep
