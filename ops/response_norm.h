// response_norm: local response normalisation across channels (Krizhevsky, Sutskever, Hinton 2012, section 3.3).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

// x (N, C, H, W) -> the same. size at least 1, alpha and beta at least 0, k above 0 (so that nothing is divided by 0); else
// UserError. size may exceed C: channels that don't exist count as zeros.
Shape response_norm_shape(const Shape& x, const ResponseNorm& params);
// For each element: a square and a sum for each channel of the window, a factor, a summand, a power and a product.
Work response_norm_work(const Shape& x, const ResponseNorm& params);

// Keeps x.
Var response_norm(Context& ctx, const Var& x, const ResponseNorm& params);

OpSpec response_norm_spec();

}  // namespace lockstep
