// SPDX-License-Identifier: Apache-2.0
#include "ops/norm_statistics.h"

#include <limits>
#include <string>
#include <utility>

#include "ops/checks.h"

namespace lockstep {
namespace {

void use_running_statistics(Context& ctx, const BatchNormState& state, double eps, SavedNorm& saved) {
  const Tensor& var = state.running_var.value;
  saved.mean = state.running_mean.value;
  saved.inv_std = Tensor::empty(var.shape(), var.dtype(), var.device());
  saved.count = std::numeric_limits<double>::infinity();
  ctx.kernels.batch_norm_inv_std(ctx.stream, var, 1.0, eps, saved.inv_std, {});
}

Tensor half_of(const Tensor& sums, int half) {
  const Shape channels{sums.shape()[1]};
  return sums.view(channels, sums.dtype(), static_cast<std::size_t>(half) * sums.nbytes() / 2);
}

void use_batch_statistics(Context& ctx, std::string_view op, const Tensor& known, const BatchNormState& state, double eps,
                          SavedNorm& saved) {
  const Tensor& x = saved.x;
  const Shape channels{x.shape()[1]};
  const auto vector = [&] { return Tensor::empty(channels, stats_dtype(x.dtype()), x.device()); };
  Tensor mean = known ? half_of(known, 0) : vector(), m2 = known ? half_of(known, 1) : vector(), inv_std = vector();
  if (!known) ctx.kernels.batch_norm_moments(ctx.stream, x, mean, m2);
  double count = static_cast<double>(x.shape()[0] * x.shape()[2] * x.shape()[3]);
  if (ctx.norm_sync != nullptr) count = ctx.norm_sync->merge_moments(count, mean, m2);
  if (count < 2)
    throw_bad_argument(op, "x", "shape " + x.shape().str() + ", " + std::to_string(static_cast<int>(count)) +
                                    " value(s) per channel for " + state.gamma.name,
                       "at least 2 in training: raise shard_batch, or widen the batch-norm scope");
  Tensor unbiased;
  if (ctx.observations != nullptr) {
    Tensor observed = ctx.observations->observation(state.running_mean);
    ctx.kernels.accumulate(ctx.stream, mean, observed, GradMode::kOverwrite);
    unbiased = ctx.observations->observation(state.running_var);
  }
  ctx.kernels.batch_norm_inv_std(ctx.stream, m2, count, eps, inv_std, unbiased);
  saved.mean = std::move(mean);
  saved.inv_std = std::move(inv_std);
  saved.count = count;
  saved.sync = ctx.norm_sync;
}

}  // namespace

void check_norm_state(std::string_view op, const Tensor& x, const BatchNormState& state) {
  check_floating(op, "x", x);
  const DType stats = stats_dtype(x.dtype());
  check_dtype(op, state.gamma.name, state.gamma.value, stats);
  check_dtype(op, state.beta.name, state.beta.value, stats);
  check_dtype(op, state.running_mean.name, state.running_mean.value, stats);
  check_dtype(op, state.running_var.name, state.running_var.value, stats);
}

SavedNorm norm_statistics(Context& ctx, std::string_view op, const Var& x, const BatchNormState& state, double eps) {
  SavedNorm saved{.x = x.value, .gamma = state.gamma.value, .beta = state.beta.value, .mean = {}, .inv_std = {}};
  if (ctx.training)
    use_batch_statistics(ctx, op, ctx.norm_sync == nullptr ? x.moments : Tensor(), state, eps, saved);  // merging changes them
  else
    use_running_statistics(ctx, state, eps, saved);
  return saved;
}

NormSums::NormSums(BackwardPass& pass, const SavedNorm& saved, int gamma_input) {
  if (pass.needs(gamma_input)) gamma_ = pass.target(gamma_input);
  if (pass.needs(gamma_input + 1)) beta_ = pass.target(gamma_input + 1);
  if (saved.sync == nullptr && gamma_.mode == GradMode::kOverwrite && beta_.mode == GradMode::kOverwrite) {
    sum_g_xhat = gamma_.grad;
    sum_g = beta_.grad;
    return;
  }
  both_ = Tensor::empty({2, saved.x.shape()[1]}, saved.mean.dtype(), saved.x.device());
  sum_g = half_of(both_, 0);
  sum_g_xhat = half_of(both_, 1);
}

void NormSums::finish(Kernels& kernels, Stream stream, const SavedNorm& saved) {
  if (!both_) return;
  if (gamma_.mode != GradMode::kSkip) kernels.accumulate(stream, sum_g_xhat, gamma_.grad, gamma_.mode);
  if (beta_.mode != GradMode::kSkip) kernels.accumulate(stream, sum_g, beta_.grad, beta_.mode);
  if (saved.sync != nullptr) saved.sync->sum(both_);
}

void norm_apply_backward(Kernels& kernels, Stream stream, const SavedNorm& saved, const Tensor& dy, const ReluGate& gate,
                         const NormSums& sums, GradTarget& dx, GradTarget& dresidual) {
  kernels.batch_norm_backward_apply(stream, dy, gate, saved.x, saved.vectors(), sums.sum_g, sums.sum_g_xhat,
                                    saved.count, dx.grad, dx.mode, dresidual.grad, dresidual.mode);
}

}  // namespace lockstep
