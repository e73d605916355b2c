// SPDX-License-Identifier: Apache-2.0
#include "ops/norm_conv2d.h"

#include <string>
#include <utility>

#include "ops/add.h"
#include "ops/checks.h"
#include "ops/conv2d.h"
#include "ops/norm_statistics.h"
#include "ops/registry.h"

namespace lockstep {
namespace {

constexpr std::string_view kOp = "norm_conv2d";

// With z = relu(norm(x)) and dz = the convolution's data gradient:
//   dw = filter gradient at z,  dgamma, dbeta, dx = batch norm's (ops/batch_norm.cpp) of dz through the ReLU
struct NormConv2dBackward {
  Kernels& kernels;
  Stream stream;
  SavedNorm saved;
  Tensor w;
  Conv2dParams params;

  void operator()(BackwardPass& pass) const {
    const Tensor& x = saved.x;
    Tensor dy = pass.take_grad_output();
    if (pass.needs(3)) {
      GradTarget dw = pass.target(3);
      kernels.norm_conv2d_backward_filter(stream, x, saved.vectors(), dy, params, dw.grad, dw.mode);
    }
    Tensor dz = Tensor::empty(x.shape(), x.dtype(), x.device());
    NormSums sums(pass, saved, 1);
    kernels.norm_conv2d_backward_data(stream, dy, w, params, x, saved.vectors(), dz, sums.sum_g, sums.sum_g_xhat);
    dy = Tensor();  // its memory is free for what follows
    sums.finish(kernels, stream, saved);
    if (pass.needs(0)) put_data_gradient(pass, std::move(dz), sums);
  }

  // dx is written over dz, which then becomes x's gradient, or is added to the one that is there.
  void put_data_gradient(BackwardPass& pass, Tensor dz, const NormSums& sums) const {
    {
      GradTarget in_place{dz, GradMode::kOverwrite}, no_residual;
      norm_apply_backward(kernels, stream, saved, dz, ReluGate::recompute(), sums, in_place, no_residual);
    }
    if (pass.give(0, std::move(dz))) return;
    GradTarget target = pass.target(0);
    kernels.accumulate(stream, dz, target.grad, target.mode);  // give left dz alone
  }
};

}  // namespace

Shape norm_conv2d_shape(const Shape& x, const Shape& gamma, const Shape& w, const Conv2dParams& params) {
  check_axes(kOp, "x", x, 4, "(N, C, H, W)");
  check_shape(kOp, "gamma", gamma, {x[1]});
  return conv2d_shape(x, w, params);
}

Work norm_conv2d_work(const Shape& x, const Shape& w, const Conv2dParams& params) {
  const Work norm = batch_norm_work(x, true);
  Work work = conv2d_work(x, w, params);
  work.vectors = norm.vectors;
  work.other_operations = norm.other_operations;
  return work;
}

Var norm_conv2d(Context& ctx, const Var& x, const BatchNormState& state, double eps, const Var& w, const Conv2dParams& params) {
  const Shape shape = norm_conv2d_shape(x.value.shape(), state.gamma.value.shape(), w.value.shape(), params);
  for (const Tensor* vector : {&state.beta.value, &state.running_mean.value, &state.running_var.value})
    check_shape(kOp, "beta and statistics", vector->shape(), {x.value.shape()[1]});
  check_norm_state(kOp, x.value, state);
  check_dtype(kOp, "w", w.value, x.value.dtype());
  SavedNorm saved = norm_statistics(ctx, kOp, x, state, eps);
  const Var gamma = ctx.use(state.gamma), beta = ctx.use(state.beta);
  Tensor y = Tensor::empty(shape, x.value.dtype(), x.value.device());
  ConvolutionMoments moments(ctx, x.value, w.value, params, y, true);
  if (moments)
    ctx.kernels.norm_conv2d_forward_moments(ctx.stream, x.value, saved.vectors(), w.value, params, y, moments.mean(), moments.m2());
  else
    ctx.kernels.norm_conv2d_forward(ctx.stream, x.value, saved.vectors(), w.value, params, y);
  if (!ctx.recording()) return {std::move(y), -1, moments.take()};
  const Var* const inputs[] = {&x, &gamma, &beta, &w};
  Var result = ctx.tape->record(std::move(y), inputs, NormConv2dBackward{ctx.kernels, ctx.stream, std::move(saved), w.value, params});
  result.moments = moments.take();
  return result;
}

namespace {

struct Variant {
  Conv2dParams params{};
  bool training = true, x_twice = false;
};

OpSample norm_conv_sample(std::string name, Shape x, Shape w, Variant variant) {
  const Shape c{x[1]};
  const auto run = [variant](Context& ctx, const SampleValues& in) {
    const BatchNormState state{in.parameters[0], in.parameters[1], in.buffers[0], in.buffers[1]};
    const Var y = norm_conv2d(ctx, in.vars[0], state, 1e-5, ctx.use(in.parameters[2]), variant.params);
    return variant.x_twice ? add(ctx, y, in.vars[0]) : y;
  };
  const auto argument = [](Context& ctx, const SampleValues& in) {  // the ReLU's
    return batch_norm(ctx, in.vars[0], {in.parameters[0], in.parameters[1], in.buffers[0], in.buffers[1]});
  };
  return {.name = std::move(name),
          .inputs = {{.name = "x", .shape = x},
                     {.name = "gamma", .shape = c, .role = InputRole::kParameter, .low = 0.5, .high = 1.5},
                     {.name = "beta", .shape = c, .role = InputRole::kParameter},
                     {.name = "w", .shape = w, .role = InputRole::kParameter},
                     {.name = "running_mean", .shape = c, .role = InputRole::kBuffer},
                     {.name = "running_var", .shape = c, .role = InputRole::kBuffer, .low = 0.5, .high = 1.5}},
          .run = run,
          .kink = argument,
          .training = variant.training,
          .work = variant.x_twice ? norm_conv2d_work(x, w, variant.params) + add_work(x) : norm_conv2d_work(x, w, variant.params)};
}

}  // namespace

OpSpec norm_conv2d_spec() {
  return {.name = "norm_conv2d", .samples = {
      norm_conv_sample("1x1", {2, 3, 3, 2}, {4, 3, 1, 1}, {}),
      norm_conv_sample("3x3 pad 1, odd size", {2, 3, 5, 3}, {4, 3, 3, 3}, {.params = {.pad = {1, 1}}}),
      norm_conv_sample("3x3 stride 2 pad 1", {1, 2, 7, 5}, {3, 2, 3, 3}, {.params = {.stride = {2, 2}, .pad = {1, 1}}}),
      norm_conv_sample("grouped", {2, 4, 4, 4}, {6, 2, 3, 3}, {.params = {.pad = {1, 1}, .groups = 2}}),
      norm_conv_sample("x used again", {2, 3, 3, 3}, {3, 3, 3, 3}, {.params = {.pad = {1, 1}}, .x_twice = true}),
      norm_conv_sample("17 channels", {1, 17, 2, 2}, {3, 17, 3, 3}, {.params = {.pad = {1, 1}}}),
      norm_conv_sample("evaluation", {1, 3, 4, 4}, {2, 3, 3, 3}, {.params = {.pad = {1, 1}}, .training = false}),
  }};
}

}  // namespace lockstep
