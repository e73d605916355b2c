// linear: x w^T + bias, a fully connected layer.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

// x (N, IN), w (OUT, IN) -> (N, OUT). Throws UserError on a misfit.
Shape linear_shape(const Shape& x, const Shape& w);
Work linear_work(const Shape& x, const Shape& w, bool bias);

// bias (OUT), of the statistics' dtype (kernels.h), or null. The output has x's dtype or, if wanted, the statistics': a
// classifier's logits are not rounded to 16 bits. Keeps x only if w needs a gradient, and w only if x does.
Var linear(Context& ctx, const Var& x, const Var& w, const Var* bias = nullptr, std::optional<DType> output = {});

OpSpec linear_spec();

}  // namespace lockstep
