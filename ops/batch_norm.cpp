// SPDX-License-Identifier: Apache-2.0
#include "ops/batch_norm.h"

#include <limits>
#include <string>
#include <utility>

#include "ops/checks.h"
#include "ops/in_place.h"
#include "ops/registry.h"

namespace lockstep {
namespace {

constexpr std::string_view kOp = "batch_norm";

struct ChannelStatistics {
  Tensor mean, inv_std;  // (C)
  double count;          // values per channel; infinity: constants, as in evaluation
};

void check_state(const Tensor& x, const BatchNormState& state, const Var* residual) {
  batch_norm_shape(x.shape(), state.gamma.value.shape(), state.beta.value.shape(), state.running_mean.value.shape(),
                   state.running_var.value.shape(), residual == nullptr ? nullptr : &residual->value.shape());
  check_floating(kOp, "x", x);
  const DType stats = stats_dtype(x.dtype());
  check_dtype(kOp, state.gamma.name, state.gamma.value, stats);
  check_dtype(kOp, state.beta.name, state.beta.value, stats);
  check_dtype(kOp, state.running_mean.name, state.running_mean.value, stats);
  check_dtype(kOp, state.running_var.name, state.running_var.value, stats);
  if (residual != nullptr) check_dtype(kOp, "residual", residual->value, x.dtype());
}

ChannelStatistics running_statistics(Context& ctx, const BatchNormState& state, double eps) {
  const Tensor& var = state.running_var.value;
  Tensor inv_std = Tensor::empty(var.shape(), var.dtype(), var.device());
  ctx.kernels.batch_norm_inv_std(ctx.stream, var, 1.0, eps, inv_std, {});
  return {state.running_mean.value, std::move(inv_std), std::numeric_limits<double>::infinity()};
}

ChannelStatistics batch_statistics(Context& ctx, const Tensor& x, const BatchNormState& state, double eps) {
  const Shape channels{x.shape()[1]};
  const auto vector = [&] { return Tensor::empty(channels, stats_dtype(x.dtype()), x.device()); };
  Tensor mean = vector(), m2 = vector(), inv_std = vector();
  ctx.kernels.batch_norm_moments(ctx.stream, x, mean, m2);
  double count = static_cast<double>(x.shape()[0] * x.shape()[2] * x.shape()[3]);
  if (ctx.norm_sync != nullptr) count = ctx.norm_sync->merge_moments(count, mean, m2);
  if (count < 2)
    throw_bad_argument(kOp, "x", "shape " + x.shape().str() + ", " + std::to_string(static_cast<int>(count)) +
                                     " value(s) per channel for " + state.gamma.name,
                       "at least 2 in training: raise shard_batch, or widen the batch-norm scope");
  Tensor unbiased;
  if (ctx.observations != nullptr) {
    Tensor observed = ctx.observations->observation(state.running_mean);
    ctx.kernels.accumulate(ctx.stream, mean, observed, GradMode::kOverwrite);
    unbiased = ctx.observations->observation(state.running_var);
  }
  ctx.kernels.batch_norm_inv_std(ctx.stream, m2, count, eps, inv_std, unbiased);
  return {std::move(mean), std::move(inv_std), count};
}

// With g = dy where the output is positive (g = dy without a ReLU), xhat = (x - mean) * inv_std, n = count:
//   dgamma = sum g * xhat,  dbeta = sum g                                    (this shard's own sums)
//   dx = gamma * inv_std * (g - sum g / n - xhat * sum (g * xhat) / n)       (the group's sums and count)
//   dresidual = g
// Ioffe & Szegedy 2015, section 3, simplified. Evaluation: mean and inv_std are constants, which is n = infinity.
struct BatchNormBackward {
  Kernels& kernels;
  Stream stream;
  NormSync* norm_sync;   // null in evaluation
  Tensor x, gamma, mask;  // mask: empty without a ReLU
  ChannelStatistics statistics;
  bool residual_is_x;

  void operator()(BackwardPass& pass) const {
    const std::int64_t channels = x.shape()[1];
    Tensor sums = Tensor::empty({2, channels}, mean().dtype(), x.device());
    Tensor sum_g = sums.view({channels}, sums.dtype());
    Tensor sum_g_xhat = sums.view({channels}, sums.dtype(), sum_g.nbytes());
    kernels.batch_norm_backward_sums(stream, pass.grad_output(), mask, x, mean(), inv_std(), sum_g, sum_g_xhat);
    put_parameter_gradient(pass, 1, sum_g_xhat);
    put_parameter_gradient(pass, 2, sum_g);
    if (!pass.needs(0) && !pass.needs(3)) return;
    if (norm_sync != nullptr) norm_sync->sum(sums);
    put_data_gradients(pass, sum_g, sum_g_xhat);
  }

  const Tensor& mean() const { return statistics.mean; }
  const Tensor& inv_std() const { return statistics.inv_std; }

  void put_parameter_gradient(BackwardPass& pass, int input, const Tensor& sum) const {
    if (!pass.needs(input)) return;
    GradTarget target = pass.target(input);
    kernels.accumulate(stream, sum, target.grad, target.mode);
  }

  // dx is written over dy if nobody else holds it. It needs memory of its own if x is the residual too (one slot, two
  // contributions from one kernel) or if only the residual needs a gradient.
  void put_data_gradients(BackwardPass& pass, const Tensor& sum_g, const Tensor& sum_g_xhat) const {
    GradTarget dresidual = pass.target(3);
    const bool own = residual_is_x || !pass.needs(0);
    if (!own) {
      ElementwiseGrad g = elementwise_grad(pass, 0);
      apply(g.dy, sum_g, sum_g_xhat, g.dx, dresidual);
      return;
    }
    GradTarget dx{Tensor::empty(x.shape(), x.dtype(), x.device()), GradMode::kOverwrite};
    apply(pass.grad_output(), sum_g, sum_g_xhat, dx, dresidual);
    if (!pass.needs(0)) return;
    GradTarget target = pass.target(0);
    kernels.accumulate(stream, dx.grad, target.grad, target.mode);
  }

  void apply(const Tensor& dy, const Tensor& sum_g, const Tensor& sum_g_xhat, GradTarget& dx, GradTarget& dresidual) const {
    kernels.batch_norm_backward_apply(stream, dy, mask, x, mean(), inv_std(), gamma, sum_g, sum_g_xhat, statistics.count,
                                      dx.grad, dx.mode, dresidual.grad, dresidual.mode);
  }
};

}  // namespace

Shape batch_norm_shape(const Shape& x, const Shape& gamma, const Shape& beta, const Shape& running_mean,
                       const Shape& running_var, const Shape* residual) {
  check_axes(kOp, "x", x, 4, "(N, C, H, W)");
  const Shape channels{x[1]};
  check_shape(kOp, "gamma", gamma, channels);
  check_shape(kOp, "beta", beta, channels);
  check_shape(kOp, "running_mean", running_mean, channels);
  check_shape(kOp, "running_var", running_var, channels);
  if (residual != nullptr) check_shape(kOp, "residual", *residual, x);
  return x;
}

Var batch_norm(Context& ctx, const Var& x, const BatchNormState& state, const BatchNormParams& params, const Var* residual) {
  check_state(x.value, state, residual);
  ChannelStatistics statistics = ctx.training ? batch_statistics(ctx, x.value, state, params.eps)
                                              : running_statistics(ctx, state, params.eps);
  const Var gamma = ctx.use(state.gamma), beta = ctx.use(state.beta), none;
  const Var& added = residual != nullptr ? *residual : none;
  Tensor y = Tensor::empty(x.value.shape(), x.value.dtype(), x.value.device());
  Tensor mask;  // parameters need gradients whenever there is a tape
  if (params.relu && ctx.recording()) mask = Tensor::empty({(y.numel() + 7) / 8}, DType::kU8, y.device());
  ctx.kernels.batch_norm_apply(ctx.stream, x.value, statistics.mean, statistics.inv_std, gamma.value, beta.value,
                               added.value, params.relu, y, mask);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x, &gamma, &beta, &added};
  const bool residual_is_x = x.requires_grad() && x.slot == added.slot;
  return ctx.tape->record(std::move(y), inputs,
                          BatchNormBackward{ctx.kernels, ctx.stream, ctx.training ? ctx.norm_sync : nullptr, x.value,
                                            gamma.value, std::move(mask), std::move(statistics), residual_is_x});
}

OpSpec batch_norm_spec() {
  struct Variant {
    BatchNormParams params{};
    bool residual = false, residual_is_x = false, training = true;
    double low = -1, high = 1;  // of x
  };
  const auto run = [](Variant variant, bool relu) {
    return [variant, relu](Context& ctx, const SampleValues& in) {
      const Var* residual = variant.residual_is_x ? &in.vars[0] : variant.residual ? &in.vars[1] : nullptr;
      const BatchNormState state{in.parameters[0], in.parameters[1], in.buffers[0], in.buffers[1]};
      return batch_norm(ctx, in.vars[0], state, {.eps = variant.params.eps, .relu = relu}, residual);
    };
  };
  const auto sample = [&](std::string name, Shape x, Variant variant) {
    const Shape c{x[1]};
    OpSample result{.name = std::move(name),
                    .inputs = {{.name = "x", .shape = x, .low = variant.low, .high = variant.high},
                               {.name = "gamma", .shape = c, .role = InputRole::kParameter, .low = 0.5, .high = 1.5},
                               {.name = "beta", .shape = c, .role = InputRole::kParameter},
                               {.name = "running_mean", .shape = c, .role = InputRole::kBuffer},
                               {.name = "running_var", .shape = c, .role = InputRole::kBuffer, .low = 0.5, .high = 1.5}},
                    .run = run(variant, variant.params.relu),
                    .training = variant.training};
    if (variant.residual) result.inputs.push_back({.name = "residual", .shape = x});
    if (variant.params.relu) result.kink = run(variant, false);  // the ReLU's argument
    return result;
  };
  return {.name = "batch_norm", .samples = {
      sample("two values", {2, 1, 1, 1}, {.params = {.eps = 0.1}}),  // a small eps would make y a step function of x
      sample("odd size", {3, 5, 3, 1}, {}),
      sample("mean far from 0", {2, 3, 4, 3}, {.low = 100, .high = 101}),
      sample("relu", {2, 3, 3, 5}, {.params = {.relu = true}}),
      sample("residual", {2, 3, 3, 2}, {.residual = true}),
      sample("residual, relu", {3, 3, 3, 3}, {.params = {.relu = true}, .residual = true}),
      sample("x as its own residual, relu", {2, 3, 3, 3}, {.params = {.relu = true}, .residual_is_x = true}),
      sample("evaluation", {2, 3, 3, 1}, {.training = false}),
      sample("evaluation, size 1", {1, 1, 1, 1}, {.training = false}),
      sample("evaluation, residual, relu", {1, 5, 3, 3}, {.params = {.relu = true}, .residual = true, .training = false}),
      sample("17 channels, relu", {2, 17, 2, 2}, {.params = {.relu = true}}),
  }};
}

}  // namespace lockstep
