// relu: max(x, 0), elementwise; NaN stays NaN.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

Work relu_work(const Shape& x);

// Any shape. Keeps y; the gradient is written over the output's.
Var relu(Context& ctx, const Var& x);

OpSpec relu_spec();

}  // namespace lockstep
