// SPDX-License-Identifier: Apache-2.0
#include "ops/batch_norm.h"

#include <string>
#include <utility>

#include "ops/checks.h"
#include "ops/in_place.h"
#include "ops/norm_statistics.h"
#include "ops/registry.h"

namespace lockstep {
namespace {

constexpr std::string_view kOp = "batch_norm";

void check_state(const Tensor& x, const BatchNormState& state, const Var* residual) {
  batch_norm_shape(x.shape(), state.gamma.value.shape(), state.beta.value.shape(), state.running_mean.value.shape(),
                   state.running_var.value.shape(), residual == nullptr ? nullptr : &residual->value.shape());
  check_norm_state(kOp, x, state);
  if (residual != nullptr) check_dtype(kOp, "residual", residual->value, x.dtype());
}

// With g = dy where the output is positive (g = dy without a ReLU), xhat = (x - mean) * inv_std, n = count:
//   dgamma = sum g * xhat,  dbeta = sum g                                    (this shard's own sums)
//   dx = gamma * inv_std * (g - sum g / n - xhat * sum (g * xhat) / n)       (the group's sums and count)
//   dresidual = g
// Ioffe & Szegedy 2015, section 3, simplified. Evaluation: mean and inv_std are constants, which is n = infinity.
struct BatchNormBackward {
  Kernels& kernels;
  Stream stream;
  SavedNorm saved;
  Tensor mask;  // of a ReLU after a residual; without one the gate is recomputed from x
  bool relu, residual_is_x;

  ReluGate gate() const {
    if (!relu) return ReluGate::none();
    return mask ? ReluGate::from_bits(mask) : ReluGate::recompute();
  }

  void operator()(BackwardPass& pass) const {
    NormSums sums(pass, saved, 1);
    kernels.batch_norm_backward_sums(stream, pass.grad_output(), gate(), saved.x, saved.vectors(), sums.sum_g, sums.sum_g_xhat);
    sums.finish(kernels, stream, saved);
    if (pass.needs(0) || pass.needs(3)) put_data_gradients(pass, sums);
  }

  // dx is written over dy if nobody else holds it. It needs memory of its own if x is the residual too (one slot, two
  // contributions from one kernel) or if only the residual needs a gradient.
  void put_data_gradients(BackwardPass& pass, const NormSums& sums) const {
    GradTarget dresidual = pass.target(3);
    const bool own = residual_is_x || !pass.needs(0);
    if (!own) {
      ElementwiseGrad g = elementwise_grad(pass, 0);
      norm_apply_backward(kernels, stream, saved, g.dy, gate(), sums, g.dx, dresidual);
      return;
    }
    const Tensor& x = saved.x;
    GradTarget dx{Tensor::empty(x.shape(), x.dtype(), x.device()), GradMode::kOverwrite};
    norm_apply_backward(kernels, stream, saved, pass.grad_output(), gate(), sums, dx, dresidual);
    if (!pass.needs(0)) return;
    GradTarget target = pass.target(0);
    kernels.accumulate(stream, dx.grad, target.grad, target.mode);
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

Work batch_norm_work(const Shape& x, bool relu, bool residual) {
  Work work = elementwise_work(x, 2 + (relu ? 1 : 0) + (residual ? 1 : 0));
  work.vectors = count_product({2, x[1]});
  if (residual) work.inputs = count_product({2, x.numel()});
  return work;
}

Var batch_norm(Context& ctx, const Var& x, const BatchNormState& state, const BatchNormParams& params, const Var* residual) {
  check_state(x.value, state, residual);
  SavedNorm saved = norm_statistics(ctx, kOp, x, state, params.eps);
  const Var gamma = ctx.use(state.gamma), beta = ctx.use(state.beta), none;
  const Var& added = residual != nullptr ? *residual : none;
  Tensor y = Tensor::empty(x.value.shape(), x.value.dtype(), x.value.device());
  Tensor mask;  // parameters need gradients whenever there is a tape
  if (params.relu && residual != nullptr && ctx.recording()) mask = Tensor::empty({(y.numel() + 7) / 8}, DType::kU8, y.device());
  ctx.kernels.batch_norm_apply(ctx.stream, x.value, saved.vectors(), added.value, params.relu, y, mask);
  if (!ctx.recording()) return {std::move(y)};
  const Var* const inputs[] = {&x, &gamma, &beta, &added};
  const bool residual_is_x = x.requires_grad() && x.slot == added.slot;
  return ctx.tape->record(std::move(y), inputs,
                          BatchNormBackward{ctx.kernels, ctx.stream, std::move(saved), std::move(mask), params.relu, residual_is_x});
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
                    .training = variant.training,
                    .work = batch_norm_work(x, variant.params.relu, variant.residual || variant.residual_is_x)};
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
