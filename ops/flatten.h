// flatten: images to feature vectors, without moving a byte.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

// (N, C, H, W) -> (N, C * H * W). Throws UserError on a misfit.
Shape flatten_shape(const Shape& x);
inline Work flatten_work(const Shape&) { return {}; }  // nothing moves

// The features are in memory order: h, then w, then c. (Weights from a framework that flattens in the order c, h, w need
// their columns permuted; for H = W = 1 both orders are the same.) Shares x's memory; keeps nothing.
Var flatten(Context& ctx, const Var& x);

OpSpec flatten_spec();

}  // namespace lockstep
