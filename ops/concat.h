// concat: joins images along the channels.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

constexpr std::size_t kConcatMaxInputs = 32;

// (N, C_i, H, W) each -> (N, sum C_i, H, W); 1 to kConcatMaxInputs inputs. Throws UserError on a misfit.
Shape concat_shape(std::span<const Shape> inputs);
Work concat_work(std::span<const Shape> inputs);

// Keeps nothing.
Var concat(Context& ctx, std::span<const Var> inputs);

OpSpec concat_spec();

}  // namespace lockstep
