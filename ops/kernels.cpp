// The composed forms of the fused kernels, for backends without a form of their own.
// SPDX-License-Identifier: Apache-2.0
#include "ops/kernels.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "core/error.h"

namespace lockstep {
namespace {

Tensor normalised(Kernels& kernels, Stream stream, ConstView x, const NormVectors& norm) {
  Tensor y = Tensor::empty(x.shape, x.dtype, x.device);
  kernels.batch_norm_apply(stream, x, norm, {}, true, y, {});
  return y;
}

}  // namespace

void Kernels::norm_conv2d_forward(Stream stream, ConstView x, const NormVectors& norm, ConstView w,
                                  const Conv2dParams& params, View y) {
  conv2d_forward(stream, normalised(*this, stream, x, norm), w, {}, params, y);
}

void Kernels::norm_conv2d_backward_filter(Stream stream, ConstView x, const NormVectors& norm, ConstView dy,
                                          const Conv2dParams& params, View dw, GradMode mode) {
  conv2d_backward_filter(stream, normalised(*this, stream, x, norm), dy, params, dw, mode);
}

void Kernels::norm_conv2d_backward_data(Stream stream, ConstView dy, ConstView w, const Conv2dParams& params, ConstView x,
                                        const NormVectors& norm, View dz, View sum_g, View sum_g_xhat) {
  conv2d_backward_data(stream, dy, w, params, dz, GradMode::kOverwrite);
  batch_norm_backward_sums(stream, dz, ReluGate::recompute(), x, norm, sum_g, sum_g_xhat);
}

bool Kernels::gives_moments(ConstView, ConstView, const Conv2dParams&, bool) const { return false; }

void Kernels::conv2d_forward_moments(Stream stream, ConstView x, ConstView w, const Conv2dParams& params, View y, View mean, View m2) {
  conv2d_forward(stream, x, w, {}, params, y);
  batch_norm_moments(stream, y, mean, m2);
}

void Kernels::norm_conv2d_forward_moments(Stream stream, ConstView x, const NormVectors& norm, ConstView w, const Conv2dParams& params,
                                          View y, View mean, View m2) {
  norm_conv2d_forward(stream, x, norm, w, params, y);
  batch_norm_moments(stream, y, mean, m2);
}

namespace {

// The norm of all gradients before unscaling; notes the first tensor that is not finite.
double gradient_norm(Kernels& kernels, Stream stream, std::span<const SgdTensor> tensors, std::int64_t& first_bad) {
  Tensor result = Tensor::zeros({1}, DType::kF64);
  double sum = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    kernels.squared_norm(stream, std::span(&tensors[i].grad, 1), result);
    const double square = result.host<double>()[0];
    if (!std::isfinite(square) && first_bad < 0) first_bad = static_cast<std::int64_t>(i);
    sum += square;
  }
  return std::sqrt(sum);
}

void note_bad_step(StepControl& control, const LossScaling& scaling) {
  control.good_steps = 0;
  if (!scaling.enabled || control.loss_scale <= scaling.floor) {
    control.halted = 1;
    return;
  }
  control.loss_scale = std::fmax(control.loss_scale / 2, scaling.floor);
  ++control.skipped;
}

void note_good_step(StepControl& control, const LossScaling& scaling) {
  if (!scaling.enabled || static_cast<double>(++control.good_steps) < scaling.growth_steps) return;
  control.good_steps = 0;
  control.loss_scale = std::fmin(control.loss_scale * 2, scaling.ceiling);
}

}  // namespace

void Kernels::finish_step(Stream stream, std::span<const SgdTensor> tensors, std::span<const AverageTensor> averages, ConstView totals,
                          const UpdateRule& rule, View control_view) {
  LS_CHECK(device() == Device{}, "finish_step's composed form reads the control, which lies on " + device().str());
  StepControl& control = *static_cast<StepControl*>(control_view.ptr);
  std::memcpy(control.totals, totals.ptr, sizeof control.totals);
  control.done_step = control.step;
  if (control.halted != 0) {
    control.finite = 0;
    return;
  }
  control.first_bad = -1;
  control.grad_norm = gradient_norm(*this, stream, tensors, control.first_bad) / control.loss_scale;
  control.finite = std::isfinite(control.grad_norm) && std::isfinite(control.totals[0]) ? 1 : 0;
  if (control.finite == 0) return note_bad_step(control, rule.scaling);
  SgdParams params{.momentum = rule.momentum, .nesterov = rule.nesterov, .grad_scale = 1 / control.loss_scale};
  if (rule.clip_norm > 0 && control.grad_norm > rule.clip_norm) params.grad_scale *= rule.clip_norm / control.grad_norm;
  std::vector<SgdTensor> at_rate(tensors.begin(), tensors.end());
  for (SgdTensor& tensor : at_rate) {
    tensor.lr *= control.lr;
    tensor.ratio = lars_ratio(*this, stream, tensor, rule.lars, params.grad_scale);
  }
  sgd_step(stream, at_rate, params);
  for (const AverageTensor& each : averages) moving_average(stream, each.observed, each.momentum, each.value);
  note_good_step(control, rule.scaling);
}

void Kernels::moving_averages(Stream stream, std::span<const AverageTensor> tensors, double momentum, ConstView control) {
  LS_CHECK(device() == Device{}, "moving_averages' composed form reads the control, which lies on " + device().str());
  if (control && static_cast<const StepControl*>(control.ptr)->finite == 0) return;
  for (const AverageTensor& each : tensors) moving_average(stream, each.observed, momentum, each.value);
}

void Kernels::attach_control(View) {}

double lars_ratio(Kernels& kernels, Stream stream, const SgdTensor& tensor, const Lars& lars, double grad_scale) {
  if (!lars.enabled || tensor.weight_decay == 0) return 1;
  Tensor result = Tensor::zeros({1}, DType::kF64);
  const auto norm = [&](ConstView view) {
    kernels.squared_norm(stream, std::span(&view, 1), result);
    return std::sqrt(result.host<double>()[0]);
  };
  return lars.ratio(norm(tensor.value), norm(tensor.grad) * grad_scale, tensor.weight_decay);
}

}  // namespace lockstep
