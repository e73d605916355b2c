// add: a + b, elementwise.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

Work add_work(const Shape& a);

// Equal shapes and dtypes. Keeps nothing; a takes over the output's gradient, b gets a copy of it.
Var add(Context& ctx, const Var& a, const Var& b);

OpSpec add_spec();

}  // namespace lockstep
