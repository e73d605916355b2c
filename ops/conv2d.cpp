// SPDX-License-Identifier: Apache-2.0
#include "ops/conv2d.h"

#include <optional>
#include <string>
#include <utility>

#include "ops/checks.h"
#include "ops/registry.h"

namespace lockstep {
namespace {

constexpr std::string_view kOp = "conv2d";

// dx[n,c,h,w] = sum over k,r,s of dy[n,k,p,q] * w[k,c,r,s]  for all (p,q) with h = p stride - pad + r dilation, same for w
// dw[k,c,r,s] = sum over n,p,q of dy[n,k,p,q] * x[n, c, p stride - pad + r dilation, q stride - pad + s dilation]
// db[k]       = sum over n,p,q of dy[n,k,p,q]
struct Conv2dBackward {
  Kernels& kernels;
  Stream stream;
  Conv2dParams params;
  Tensor x, w;

  void operator()(BackwardPass& pass) const {
    const Tensor& dy = pass.grad_output();
    if (pass.needs(2)) {
      GradTarget db = pass.target(2);
      kernels.bias_backward(stream, dy, db.grad, db.mode);
    }
    if (pass.needs(1)) {
      GradTarget dw = pass.target(1);
      kernels.conv2d_backward_filter(stream, x, dy, params, dw.grad, dw.mode);
    }
    if (pass.needs(0)) {
      GradTarget dx = pass.target(0);
      kernels.conv2d_backward_data(stream, dy, w, params, dx.grad, dx.mode);
    }
  }
};

}  // namespace

ConvolutionMoments::ConvolutionMoments(const Context& ctx, const Tensor& x, const Tensor& w, const Conv2dParams& params, const Tensor& y,
                                       bool normalised) {
  if (!ctx.training || !ctx.kernels.gives_moments(x, w, params, normalised)) return;
  const std::int64_t channels = y.shape()[1];
  const DType dtype = stats_dtype(y.dtype());
  both_ = Tensor::empty({2, channels}, dtype, y.device());
  mean_ = both_.view({channels}, dtype);
  m2_ = both_.view({channels}, dtype, both_.nbytes() / 2);
}

Shape conv2d_shape(const Shape& x, const Shape& w, const Conv2dParams& params) {
  check_axes(kOp, "x", x, 4, "(N, C, H, W)");
  check_axes(kOp, "w", w, 4, "(K, C / groups, R, S)");
  if (params.groups < 1 || x[1] % params.groups != 0 || w[0] % params.groups != 0)
    throw_bad_argument(kOp, "groups", std::to_string(params.groups),
                       "a divisor of x's " + std::to_string(x[1]) + " and of w's " + std::to_string(w[0]) + " channels");
  if (w[1] != x[1] / params.groups)
    throw_bad_argument(kOp, "w", "shape " + w.str(),
                       "(K, " + std::to_string(x[1] / params.groups) + ", R, S): x " + x.str() + " in " +
                           std::to_string(params.groups) + " group(s)");
  const std::int64_t p =
      window_count(kOp, {"height", x[2], w[2], params.stride.h, params.pad.h, params.dilation.h});
  const std::int64_t q = window_count(kOp, {"width", x[3], w[3], params.stride.w, params.pad.w, params.dilation.w});
  return {x[0], w[0], p, q};
}

Work conv2d_work(const Shape& x, const Shape& w, const Conv2dParams& params, bool bias) {
  const std::int64_t outputs = conv2d_shape(x, w, params).numel();
  return {.weights = w.numel(),
          .vectors = bias ? w[0] : 0,
          .inputs = x.numel(),
          .outputs = outputs,
          .operations = count_product({2, outputs, w[1], w[2], w[3]}),
          .other_operations = bias ? outputs : 0};
}

Var conv2d(Context& ctx, const Var& x, const Var& w, const Conv2dParams& params, const Var* bias) {
  const Shape shape = conv2d_shape(x.value.shape(), w.value.shape(), params);
  check_floating(kOp, "x", x.value);
  check_dtype(kOp, "w", w.value, x.value.dtype());
  if (bias != nullptr) {
    check_shape(kOp, "bias", bias->value.shape(), {shape[1]});
    check_dtype(kOp, "bias", bias->value, stats_dtype(x.value.dtype()));
  }
  const Var none;
  const Var& b = bias != nullptr ? *bias : none;
  Tensor y = Tensor::empty(shape, x.value.dtype(), x.value.device());
  std::optional<ConvolutionMoments> moments;
  if (bias == nullptr) moments.emplace(ctx, x.value, w.value, params, y, false);
  if (moments && *moments)
    ctx.kernels.conv2d_forward_moments(ctx.stream, x.value, w.value, params, y, moments->mean(), moments->m2());
  else
    ctx.kernels.conv2d_forward(ctx.stream, x.value, w.value, b.value, params, y);
  if (!ctx.recording()) return {std::move(y), -1, moments ? moments->take() : Tensor()};
  const Var* const inputs[] = {&x, &w, &b};
  Var result = ctx.tape->record(std::move(y), inputs,
                                Conv2dBackward{ctx.kernels, ctx.stream, params, w.requires_grad() ? x.value : Tensor(),
                                               x.requires_grad() ? w.value : Tensor()});
  if (moments) result.moments = moments->take();
  return result;
}

OpSpec conv2d_spec() {
  const auto sample = [](std::string name, Shape x, Shape w, Conv2dParams params) {
    return OpSample{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = x}, {.name = "w", .shape = w, .role = InputRole::kParameter}},
                    .run = [params](Context& ctx, const SampleValues& in) {
                      return conv2d(ctx, in.vars[0], ctx.use(in.parameters[0]), params);
                    },
                    .work = conv2d_work(x, w, params)};
  };
  OpSpec spec{.name = "conv2d", .samples = {
      sample("size 1", {1, 1, 1, 1}, {1, 1, 1, 1}, {}),
      sample("3x3 pad 1", {2, 3, 5, 4}, {4, 3, 3, 3}, {.pad = {1, 1}}),
      sample("1x1 stride 2, odd size", {2, 5, 5, 7}, {3, 5, 1, 1}, {.stride = {2, 2}}),
      sample("3x3 stride 2 pad 1, odd size", {1, 2, 7, 5}, {3, 2, 3, 3}, {.stride = {2, 2}, .pad = {1, 1}}),
      sample("stride 2, last rows unused", {1, 2, 6, 8}, {2, 2, 3, 3}, {.stride = {2, 2}}),
      sample("7x7 stride 2 pad 3", {1, 3, 9, 9}, {2, 3, 7, 7}, {.stride = {2, 2}, .pad = {3, 3}}),
      sample("dilation 2", {1, 2, 7, 6}, {2, 2, 3, 2}, {.pad = {2, 1}, .dilation = {2, 2}}),
      sample("uneven in every parameter", {2, 4, 7, 9}, {6, 2, 3, 2},
             {.stride = {2, 3}, .pad = {2, 1}, .dilation = {1, 2}, .groups = 2}),
      sample("depthwise", {2, 4, 5, 5}, {4, 1, 3, 3}, {.pad = {1, 1}, .groups = 4}),
      sample("depthwise 5x5 stride 2, odd size", {1, 5, 7, 9}, {5, 1, 5, 5}, {.stride = {2, 2}, .pad = {2, 2}, .groups = 5}),
      sample("depthwise, 2 filters per channel", {1, 3, 5, 4}, {6, 1, 3, 3}, {.pad = {1, 1}, .groups = 3}),
      sample("17 channels", {1, 17, 3, 3}, {19, 17, 3, 3}, {.pad = {1, 1}}),
  }};
  spec.samples.push_back({.name = "with bias, all variables",
                          .inputs = {{.name = "x", .shape = {2, 3, 4, 3}},
                                     {.name = "w", .shape = {5, 3, 2, 2}},
                                     {.name = "bias", .shape = {5}}},
                          .run = [](Context& ctx, const SampleValues& in) {
                            return conv2d(ctx, in.vars[0], in.vars[1], {.pad = {1, 0}}, &in.vars[2]);
                          },
                          .work = conv2d_work({2, 3, 4, 3}, {5, 3, 2, 2}, {.pad = {1, 0}}, true)});
  return spec;
}

}  // namespace lockstep
