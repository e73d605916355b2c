// SPDX-License-Identifier: Apache-2.0
#include "cuda/convolution.h"

#include <cstdint>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/rehearsal.h"
#include "cuda/kernels/batch_norm.h"
#include "cuda/kernels/depthwise.h"
#include "cuda/kernels/elementwise.h"

namespace lockstep::cuda {
namespace {

Tensor like(ConstView view) { return Tensor::empty(view.shape, view.dtype, view.device); }
Tensor vector_like(ConstView x, std::int64_t channels, DType dtype) { return Tensor::empty({channels}, dtype, x.device); }

// relu(norm(x)), for the patterns that can't normalise while they read.
Tensor normalised(Stream stream, ConstView x, const NormVectors& norm) {
  Tensor z = like(x);
  batch_norm_apply(stream, x, norm, {}, true, z, {});
  return z;
}

// What the fused patterns read instead of the four vectors.
struct ScaleBias {
  Tensor scale, bias;
  ScaleBias(Stream stream, ConstView x, const NormVectors& norm)
      : scale(vector_like(x, x.shape[1], x.dtype)), bias(vector_like(x, x.shape[1], x.dtype)) {
    norm_scale_bias(stream, norm, scale, bias);
  }
};

double count_of(const Shape& y) { return static_cast<double>(y.numel() / y[1]); }

bool is_aligned(const void* address) { return reinterpret_cast<std::uintptr_t>(address) % 16 == 0; }

}  // namespace

Convolution::Sums::Sums(ConstView y) : sum(vector_like(y, y.shape[1], DType::kF32)), square_sum(vector_like(y, y.shape[1], DType::kF32)) {}

Convolution::Convolution(std::unique_ptr<ConvEngine> engine, const CudaOptions& options)
    : engine_(std::move(engine)), fuse_(options.fuse), tf32_(options.tf32) {}

ConvProblem Convolution::problem(ConvPattern pattern, DType dtype, const Shape& x, const Shape& w, const Conv2dParams& params) const {
  if (dtype != DType::kF32 && dtype != DType::kBF16 && dtype != DType::kF16)
    throw EnvironmentError("cuda: a convolution in " + std::string(dtype_name(dtype)) +
                           ": the GPU computes in f32, bf16 and f16; use precision FP32, BF16 or FP16, or backend: REFERENCE");
  return {.pattern = pattern, .dtype = dtype, .x = x, .w = w, .params = params, .tf32 = dtype == DType::kF32 && tf32_};
}

// cuDNN has them for f16 only; asking for others would only cost time.
bool Convolution::fuses(const ConvProblem& problem) {
  return fuse_ && problem.dtype == DType::kF16 && !is_depthwise(problem.x, problem.w, problem.params) && engine_->supports(problem);
}

void Convolution::run(Stream stream, const ConvProblem& problem, const ConvArguments& arguments, Device device) {
  const std::size_t nbytes = engine_->workspace_bytes(problem);
  Tensor workspace;
  if (nbytes > 0) workspace = Tensor::empty({static_cast<std::int64_t>(nbytes)}, DType::kU8, device);
  if (!Rehearsal::active()) engine_->run(stream, problem, arguments, workspace.ptr());
}

void Convolution::forward(Stream stream, ConstView x, ConstView w, ConstView bias, const Conv2dParams& params, View y) {
  if (is_depthwise(x.shape, w.shape, params)) {
    depthwise_forward(stream, x, w, params, y);
    if (bias) add_bias(stream, bias, y);
    return;
  }
  const ConvProblem asked = problem(ConvPattern::kForward, x.dtype, x.shape, w.shape, params), computed = with_padded_channels(asked);
  Tensor wide_x, wide_w;
  if (computed != asked) {
    wide_x = Tensor::empty(computed.x, x.dtype, x.device);
    wide_w = Tensor::empty(computed.w, w.dtype, w.device);
    pad_channels(stream, x, wide_x);
    pad_channels(stream, w, wide_w);
    x = wide_x;
    w = wide_w;
  }
  run(stream, computed, {.x = x.ptr, .w = w.ptr, .out = y.ptr}, y.device);
  if (bias) add_bias(stream, bias, y);
}

void Convolution::backward_data(Stream stream, ConstView dy, ConstView w, const Conv2dParams& params, View dx, GradMode mode) {
  if (is_depthwise(dx.shape, w.shape, params)) return depthwise_backward_data(stream, dy, w, params, dx, mode);
  const bool add = mode == GradMode::kAccumulate;
  const ConvPattern pattern = add ? ConvPattern::kBackwardDataAdd : ConvPattern::kBackwardData;
  run(stream, problem(pattern, dy.dtype, dx.shape, w.shape, params), {.w = w.ptr, .dy = dy.ptr, .out = dx.ptr}, dx.device);
}

void Convolution::backward_filter(Stream stream, ConstView x, ConstView dy, const Conv2dParams& params, View dw, GradMode mode) {
  if (is_depthwise(x.shape, dw.shape, params)) return depthwise_backward_filter(stream, x, dy, params, dw, mode);
  const ConvProblem asked = problem(ConvPattern::kBackwardFilter, x.dtype, x.shape, dw.shape, params), computed = with_padded_channels(asked);
  if (computed == asked) return put_filter_gradient(stream, computed, {.x = x.ptr, .dy = dy.ptr}, dw, mode);
  Tensor wide_x = Tensor::empty(computed.x, x.dtype, x.device), wide_dw = Tensor::empty(computed.w, x.dtype, x.device);
  pad_channels(stream, x, wide_x);
  run(stream, computed, {.x = wide_x.ptr(), .dy = dy.ptr, .out = wide_dw.ptr()}, dw.device);
  unpad_channels(stream, wide_dw, dw, mode);
}

// The engine's filter gradient has the operands' dtype; dw is f32.
void Convolution::put_filter_gradient(Stream stream, const ConvProblem& computed, ConvArguments arguments, View dw, GradMode mode) {
  if (computed.dtype == dw.dtype && mode == GradMode::kOverwrite && is_aligned(dw.ptr)) {
    arguments.out = dw.ptr;
    return run(stream, computed, arguments, dw.device);
  }
  Tensor scratch = Tensor::empty(dw.shape, computed.dtype, dw.device);
  arguments.out = scratch.ptr();
  run(stream, computed, arguments, dw.device);
  convert_accumulate(stream, scratch, dw, mode);
}

void Convolution::norm_forward(Stream stream, ConstView x, const NormVectors& norm, ConstView w, const Conv2dParams& params, View y) {
  const ConvProblem fused = problem(ConvPattern::kNormForwardSums, x.dtype, x.shape, w.shape, params);
  if (fuses(fused))
    run_norm_forward(stream, fused, x, norm, w, y);
  else
    forward(stream, normalised(stream, x, norm), w, {}, params, y);
}

Convolution::Sums Convolution::run_norm_forward(Stream stream, const ConvProblem& fused, ConstView x, const NormVectors& norm, ConstView w,
                                                View y) {
  ScaleBias read(stream, x, norm);
  Sums sums(y);
  run(stream, fused,
      {.x = x.ptr, .w = w.ptr, .scale = read.scale.ptr(), .bias = read.bias.ptr(), .out = y.ptr, .sum = sums.sum.ptr(),
       .square_sum = sums.square_sum.ptr()},
      y.device);
  return sums;
}

void Convolution::norm_backward_filter(Stream stream, ConstView x, const NormVectors& norm, ConstView dy, const Conv2dParams& params, View dw,
                                       GradMode mode) {
  const ConvProblem fused = problem(ConvPattern::kNormBackwardFilter, x.dtype, x.shape, dw.shape, params);
  if (!fuses(fused)) return backward_filter(stream, normalised(stream, x, norm), dy, params, dw, mode);
  ScaleBias read(stream, x, norm);
  put_filter_gradient(stream, fused, {.x = x.ptr, .dy = dy.ptr, .scale = read.scale.ptr(), .bias = read.bias.ptr()}, dw, mode);
}

void Convolution::norm_backward_data(Stream stream, ConstView dy, ConstView w, const Conv2dParams& params, ConstView x, const NormVectors& norm,
                                     View dz, View sum_g, View sum_g_xhat) {
  const ConvProblem fused = problem(ConvPattern::kNormBackwardData, x.dtype, x.shape, w.shape, params);
  if (!fuses(fused)) {
    backward_data(stream, dy, w, params, dz, GradMode::kOverwrite);
    return batch_norm_backward_sums(stream, dz, ReluGate::recompute(), x, norm, sum_g, sum_g_xhat);
  }
  run(stream, fused,
      {.x = x.ptr, .w = w.ptr, .dy = dy.ptr, .mean = norm.mean.ptr, .inv_std = norm.inv_std.ptr, .gamma = norm.gamma.ptr, .beta = norm.beta.ptr,
       .out = dz.ptr, .sum = sum_g.ptr, .square_sum = sum_g_xhat.ptr},
      dz.device);
}

bool Convolution::gives_moments(ConstView x, ConstView w, const Conv2dParams& params, bool normalised) {
  return fuses(problem(normalised ? ConvPattern::kNormForwardSums : ConvPattern::kForwardSums, x.dtype, x.shape, w.shape, params));
}

void Convolution::forward_moments(Stream stream, ConstView x, ConstView w, const Conv2dParams& params, View y, View mean, View m2) {
  const ConvProblem fused = problem(ConvPattern::kForwardSums, x.dtype, x.shape, w.shape, params);
  if (!fuses(fused)) {
    forward(stream, x, w, {}, params, y);
    return batch_norm_moments(stream, y, mean, m2);
  }
  Sums sums(y);
  run(stream, fused, {.x = x.ptr, .w = w.ptr, .out = y.ptr, .sum = sums.sum.ptr(), .square_sum = sums.square_sum.ptr()}, y.device);
  moments_from_sums(stream, sums.sum, sums.square_sum, count_of(y.shape), mean, m2);
}

void Convolution::norm_forward_moments(Stream stream, ConstView x, const NormVectors& norm, ConstView w, const Conv2dParams& params, View y,
                                       View mean, View m2) {
  const ConvProblem fused = problem(ConvPattern::kNormForwardSums, x.dtype, x.shape, w.shape, params);
  if (!fuses(fused)) {
    norm_forward(stream, x, norm, w, params, y);
    return batch_norm_moments(stream, y, mean, m2);
  }
  const Sums sums = run_norm_forward(stream, fused, x, norm, w, y);
  moments_from_sums(stream, sums.sum, sums.square_sum, count_of(y.shape), mean, m2);
}

}  // namespace lockstep::cuda
