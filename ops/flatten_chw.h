// flatten_chw: images to feature vectors in torch's order: channel, then row, then column.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

// (N, C, H, W) -> (N, C * H * W), so that fully connected layers have other frameworks' weights. Throws UserError on a misfit. As
// images lie in the order h, w, c the values are moved, but for one pixel or one channel, which share x's memory. Keeps nothing.
Var flatten_chw(Context& ctx, const Var& x);

Work flatten_chw_work(const Shape& x);

OpSpec flatten_chw_spec();

}  // namespace lockstep
