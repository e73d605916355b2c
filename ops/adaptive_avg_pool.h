// adaptive_avg_pool: the means of as many windows as are wanted, whatever the image's size (torch.nn.AdaptiveAvgPool2d).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

// x (N, C, H, W) -> (N, C, output.h, output.w). Throws UserError on a misfit.
Shape adaptive_avg_pool_shape(const Shape& x, Pair output);
Work adaptive_avg_pool_work(const Shape& x, Pair output);

// Window p of P rows covers rows floor(p H / P) to ceil((p + 1) H / P) - 1, columns alike: neighbours may overlap, and P may
// exceed H. Keeps nothing. An output of the image's size: x itself.
Var adaptive_avg_pool(Context& ctx, const Var& x, Pair output);

OpSpec adaptive_avg_pool_spec();

}  // namespace lockstep
