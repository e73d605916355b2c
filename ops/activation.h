// activation: leaky ReLU, tanh, sigmoid, threshold and clamp (ReLU6 is clamp 0 to 6), elementwise; NaN stays NaN.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "ops/context.h"
#include "ops/work.h"

namespace lockstep {

struct OpSpec;

// "leaky_relu", "tanh", "sigmoid", "threshold", "clamp": the name of the op in the registry and in a network's table.
std::string_view activation_name(Activation::Kind kind);

// Throws UserError for settings that the function doesn't have: a slope that isn't positive, a clamp without room.
void check_activation(const Activation& function);

Work activation_work(const Shape& x);  // each function counts as one operation

// Any shape. Keeps x or y, whichever the gradient needs (Activation::keeps_input); the gradient is written over the output's.
Var activation(Context& ctx, const Var& x, const Activation& function);

OpSpec leaky_relu_spec();
OpSpec tanh_spec();
OpSpec sigmoid_spec();
OpSpec threshold_spec();
OpSpec clamp_spec();

}  // namespace lockstep
