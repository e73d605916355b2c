// add: a + b, elementwise.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/context.h"

namespace lockstep {

struct OpSpec;

// Equal shapes and dtypes. Keeps nothing; a takes over the output's gradient, b gets a copy of it.
Var add(Context& ctx, const Var& a, const Var& b);

OpSpec add_spec();

}  // namespace lockstep
