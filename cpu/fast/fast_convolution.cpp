// FastKernels: convolution, by oneDNN.
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

}  // namespace

void FastKernels::conv2d_forward(Stream stream, ConstView x, ConstView w, ConstView bias, const Conv2dParams& params, View y) {
  if (x.dtype != DType::kBF16 && !runs_here("conv2d_forward", x.dtype))
    return reference_->conv2d_forward(stream, x, w, bias, params, y);
  dnnl_.convolution(conv_problem(ConvPass::kForward, x.shape, w.shape, y.shape, params, static_cast<bool>(bias), x.dtype),
                    x.ptr, w.ptr, bias ? bias.data<float>() : nullptr, y.ptr);
}

// oneDNN's backward passes only overwrite: accumulation goes through scratch of the output's size (bf16 then rounds the
// product and the sum).
void FastKernels::conv2d_backward_data(Stream stream, ConstView dy, ConstView w, const Conv2dParams& params, View dx, GradMode mode) {
  if (dy.dtype != DType::kBF16 && !runs_here("conv2d_backward_data", dy.dtype))
    return reference_->conv2d_backward_data(stream, dy, w, params, dx, mode);
  const ConvProblem problem = conv_problem(ConvPass::kBackwardData, dx.shape, w.shape, dy.shape, params, false, dy.dtype);
  if (amx_ != nullptr && amx_data_supports(problem) && amx_data_wins(problem, mode == GradMode::kAccumulate))
    return amx_data_gradient(*amx_, threads_, problem, dy.data<bf16>(), w.data<bf16>(), dx.data<bf16>(),
                             mode == GradMode::kAccumulate);
  if (mode == GradMode::kOverwrite)
    return dnnl_.convolution_backward_data(problem, dy.ptr, w.ptr, dx.ptr);
  Tensor fresh = Tensor::empty(dx.shape, dx.dtype);
  dnnl_.convolution_backward_data(problem, dy.ptr, w.ptr, fresh.ptr());
  add(stream, dx, fresh, dx);
}

void FastKernels::conv2d_backward_filter(Stream stream, ConstView x, ConstView dy, const Conv2dParams& params, View dw, GradMode mode) {
  if (x.dtype != DType::kBF16 && !runs_here("conv2d_backward_filter", x.dtype))
    return reference_->conv2d_backward_filter(stream, x, dy, params, dw, mode);
  const ConvProblem problem = conv_problem(ConvPass::kBackwardFilter, x.shape, dw.shape, dy.shape, params, false, dy.dtype);
  if (amx_ != nullptr && amx_filter_supports(problem))
    return amx_filter_gradient(*amx_, threads_, problem, x.data<bf16>(), dy.data<bf16>(), dw.data<float>(),
                               mode == GradMode::kAccumulate);
  if (mode == GradMode::kOverwrite)
    return dnnl_.convolution_backward_filter(problem, x.ptr, dy.ptr, dw.data<float>());
  Tensor fresh = Tensor::empty(dw.shape, DType::kF32);
  dnnl_.convolution_backward_filter(problem, x.ptr, dy.ptr, fresh.host<float>().data());
  add(stream, dw, fresh, dw);
}

}  // namespace lockstep
