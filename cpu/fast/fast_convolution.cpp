// FastKernels: convolution and linear, by oneDNN.
// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"
#include "cpu/fast/fast_backend.h"

namespace lockstep {
namespace {

ConvProblem conv_problem(ConvPass pass, const Shape& x, const Shape& w, const Shape& y, const Conv2dParams& params, bool bias) {
  return {.pass = pass, .n = x[0], .c = x[1], .h = x[2], .w = x[3], .k = w[0], .r = w[2], .s = w[3], .p = y[2], .q = y[3],
          .stride_h = params.stride.h, .stride_w = params.stride.w, .pad_h = params.pad.h, .pad_w = params.pad.w,
          .dilation_h = params.dilation.h, .dilation_w = params.dilation.w, .groups = params.groups, .bias = bias};
}

}  // namespace

void FastKernels::conv2d_forward(Stream stream, ConstView x, ConstView w, ConstView bias, const Conv2dParams& params, View y) {
  if (!runs_here("conv2d_forward", x.dtype)) return reference_->conv2d_forward(stream, x, w, bias, params, y);
  dnnl_.convolution(conv_problem(ConvPass::kForward, x.shape, w.shape, y.shape, params, static_cast<bool>(bias)),
                    x.data<float>(), w.data<float>(), bias ? bias.data<float>() : nullptr, y.data<float>());
}

// oneDNN's backward passes only overwrite: accumulation goes through scratch of the output's size.
void FastKernels::conv2d_backward_data(Stream stream, ConstView dy, ConstView w, const Conv2dParams& params, View dx, GradMode mode) {
  if (!runs_here("conv2d_backward_data", dy.dtype)) return reference_->conv2d_backward_data(stream, dy, w, params, dx, mode);
  const ConvProblem problem = conv_problem(ConvPass::kBackwardData, dx.shape, w.shape, dy.shape, params, false);
  if (mode == GradMode::kOverwrite)
    return dnnl_.convolution_backward_data(problem, dy.data<float>(), w.data<float>(), dx.data<float>());
  Tensor fresh = Tensor::empty(dx.shape, DType::kF32);
  dnnl_.convolution_backward_data(problem, dy.data<float>(), w.data<float>(), fresh.host<float>().data());
  add(stream, dx, fresh, dx);
}

void FastKernels::conv2d_backward_filter(Stream stream, ConstView x, ConstView dy, const Conv2dParams& params, View dw, GradMode mode) {
  if (!runs_here("conv2d_backward_filter", x.dtype)) return reference_->conv2d_backward_filter(stream, x, dy, params, dw, mode);
  const ConvProblem problem = conv_problem(ConvPass::kBackwardFilter, x.shape, dw.shape, dy.shape, params, false);
  if (mode == GradMode::kOverwrite)
    return dnnl_.convolution_backward_filter(problem, x.data<float>(), dy.data<float>(), dw.data<float>());
  Tensor fresh = Tensor::empty(dw.shape, DType::kF32);
  dnnl_.convolution_backward_filter(problem, x.data<float>(), dy.data<float>(), fresh.host<float>().data());
  add(stream, dw, fresh, dw);
}

void FastKernels::linear_forward(Stream stream, ConstView x, ConstView w, ConstView bias, View y) {
  if (!runs_here("linear_forward", x.dtype)) return reference_->linear_forward(stream, x, w, bias, y);
  dnnl_.matmul({.m = x.shape[0], .n = w.shape[0], .k = x.shape[1], .b_transposed = true, .bias = static_cast<bool>(bias)},
               x.data<float>(), w.data<float>(), bias ? bias.data<float>() : nullptr, y.data<float>());
}

void FastKernels::linear_backward_data(Stream stream, ConstView dy, ConstView w, View dx, GradMode mode) {
  if (!runs_here("linear_backward_data", dy.dtype)) return reference_->linear_backward_data(stream, dy, w, dx, mode);
  dnnl_.matmul({.m = dy.shape[0], .n = w.shape[1], .k = w.shape[0], .accumulate = mode == GradMode::kAccumulate},
               dy.data<float>(), w.data<float>(), nullptr, dx.data<float>());
}

void FastKernels::linear_backward_weight(Stream stream, ConstView x, ConstView dy, View dw, GradMode mode) {
  if (!runs_here("linear_backward_weight", x.dtype)) return reference_->linear_backward_weight(stream, x, dy, dw, mode);
  dnnl_.matmul({.m = dy.shape[1], .n = x.shape[1], .k = x.shape[0], .a_transposed = true,
                .accumulate = mode == GradMode::kAccumulate},
               dy.data<float>(), x.data<float>(), nullptr, dw.data<float>());
}

}  // namespace lockstep
