// dropout: zeroes each element with probability p and scales the others by 1 / (1 - p), in training only.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

Work dropout_work(const Shape& x);  // in training

// Any shape; 0 <= p < 1, else UserError. In evaluation, and for p = 0, x itself is returned. Each call in training takes the
// context's next dropout key. Keeps the key only: the mask is drawn again in the backward pass.
Var dropout(Context& ctx, const Var& x, double p);

// Throws UserError unless 0 <= p < 1.
void check_dropout(double p);

OpSpec dropout_spec();

}  // namespace lockstep
