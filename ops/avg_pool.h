// avg_pool: the mean of each window.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

// x (N, C, H, W) -> (N, C, P, Q), as max_pool_shape. Throws UserError on a misfit.
Shape avg_pool_shape(const Shape& x, const Pool2dParams& params);
// Every window counts as whole.
Work avg_pool_work(const Shape& x, const Pool2dParams& params);

// Padding counts as zeros if params.count_include_pad, else it is left out of the mean. Keeps nothing.
Var avg_pool(Context& ctx, const Var& x, const Pool2dParams& params);

OpSpec avg_pool_spec();

}  // namespace lockstep
