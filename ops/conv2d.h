// conv2d: two-dimensional cross-correlation with stride, padding, dilation and groups; bias optional.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"

namespace lockstep {

struct OpSpec;

// x (N, C, H, W), w (K, C / groups, R, S) -> (N, K, P, Q) with P = floor((H + 2 pad - dilation (R - 1) - 1) / stride) + 1.
// Throws UserError on a misfit.
Shape conv2d_shape(const Shape& x, const Shape& w, const Conv2dParams& params);

// bias (K), of the statistics' dtype (kernels.h). Keeps x only if w needs a gradient, and w only if x does.
Var conv2d(Context& ctx, const Var& x, const Var& w, const Conv2dParams& params = {}, const Var* bias = nullptr);

OpSpec conv2d_spec();

}  // namespace lockstep
