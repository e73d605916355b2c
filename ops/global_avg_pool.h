// global_avg_pool: the mean of each channel's image.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

// (N, C, H, W) -> (N, C). Throws UserError on a misfit.
Shape global_avg_pool_shape(const Shape& x);
Work global_avg_pool_work(const Shape& x);

// Keeps nothing.
Var global_avg_pool(Context& ctx, const Var& x);

OpSpec global_avg_pool_spec();

}  // namespace lockstep
