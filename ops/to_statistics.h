// to_statistics: a value in the statistics' dtype (ops/kernels.h): the logits of a network that doesn't end in a matrix product.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"

namespace lockstep {

struct OpSpec;

// Any shape; exact. Keeps nothing. The gradient is rounded to x's dtype. A statistic already: x itself.
Var to_statistics(Context& ctx, const Var& x);

OpSpec to_statistics_spec();

}  // namespace lockstep
