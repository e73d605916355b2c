// batch_norm: normalises each channel over (N, H, W); optionally adds a residual, optionally applies a ReLU, all in one
// pass over the data. Training uses the batch's statistics (the group's, with Context::norm_sync), evaluation the buffers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

struct BatchNormParams {
  double eps = 1e-5;
  bool relu = false;
};

// All four are (C), of the statistics' dtype (kernels.h).
struct BatchNormState {
  const Parameter& gamma;
  const Parameter& beta;
  const Buffer& running_mean;
  const Buffer& running_var;
};

// x (N, C, H, W) -> x's shape. Throws UserError on a misfit.
Shape batch_norm_shape(const Shape& x, const Shape& gamma, const Shape& beta, const Shape& running_mean,
                       const Shape& running_var, const Shape* residual);
// As it is applied: a factor and a summand for each element, then the residual, then the ReLU.
Work batch_norm_work(const Shape& x, bool relu = false, bool residual = false);

// y = (x - mean) / sqrt(var + eps) * gamma + beta [+ residual], then max(y, 0) if `relu`. var is the biased variance.
// In training the batch mean and the unbiased variance (count / (count - 1)) go to Context::observations. Fewer than two
// values per channel in training are a UserError. With norm_sync the call blocks until all shards of the group have made it,
// forward and backward. Keeps x, the channel statistics and, with a residual and a ReLU, one bit per element (without a
// residual backward recomputes what the ReLU let through).
Var batch_norm(Context& ctx, const Var& x, const BatchNormState& state, const BatchNormParams& params = {},
               const Var* residual = nullptr);

OpSpec batch_norm_spec();

}  // namespace lockstep
