// norm_conv2d: conv2d(relu(batch_norm(x)), w) as one op. The normalised image is never kept: backward recomputes it from x,
// which batch norm keeps anyway. That is a third of a bottleneck network's activation memory, and lets a backend normalise
// while it reads x.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/batch_norm.h"

namespace lockstep {

struct OpSpec;

// x (N, C, H, W), w (K, C/groups, R, S), state (C) -> (N, K, P, Q). Throws UserError on a misfit.
Shape norm_conv2d_shape(const Shape& x, const Shape& gamma, const Shape& w, const Conv2dParams& params);
// The normalised image is never written, nor read.
Work norm_conv2d_work(const Shape& x, const Shape& w, const Conv2dParams& params);

// Statistics, observations and norm_sync as batch_norm; padding is 0 after the normalisation. Keeps x, w and the channel
// statistics.
Var norm_conv2d(Context&, const Var& x, const BatchNormState& state, double eps, const Var& w, const Conv2dParams& params = {});

OpSpec norm_conv2d_spec();

}  // namespace lockstep
