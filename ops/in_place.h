// Backward passes of elementwise ops write the input's gradient over the output's, so that no memory is taken.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "core/tape.h"

namespace lockstep {

struct ElementwiseGrad {
  Tensor dy;
  GradTarget dx;  // the same memory as dy, kOverwrite, when dy could be taken over
};

// For an op whose output has the shape and dtype of input i, and whose kernel allows dx to alias dy. Needs(i) must hold.
inline ElementwiseGrad elementwise_grad(BackwardPass& pass, int i) {
  Tensor dy = pass.take_grad_output();
  if (!pass.give(i, std::move(dy))) return {dy, pass.target(i)};  // give leaves dy alone when it declines
  Tensor dx = pass.target(i).grad;
  return {dx, {dx, GradMode::kOverwrite}};
}

}  // namespace lockstep
