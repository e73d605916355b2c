// max_pool: the largest value of each window.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

// x (N, C, H, W) -> (N, C, P, Q), P = floor((H + 2 pad - kernel) / stride) + 1 or, with params.ceil, ceil(...) + 1 without windows that
// begin in the padding behind. Padding is never chosen; it may be at most
// half the kernel, and a window has at most 256 positions. Throws UserError on a misfit.
Shape max_pool_shape(const Shape& x, const Pool2dParams& params);
// Every window counts as whole.
Work max_pool_work(const Shape& x, const Pool2dParams& params);

// Keeps one byte per output element: which position of its window was the first maximum.
Var max_pool(Context& ctx, const Var& x, const Pool2dParams& params);

OpSpec max_pool_spec();

}  // namespace lockstep
