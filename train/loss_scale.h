// LossScale: the state of dynamic loss scaling (ops/step_control.h) between steps, as the host knows it: part of the
// training state.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace lockstep {

struct LossScale {
  double scale = 1;
  std::int64_t good_steps = 0;  // since the scale last changed
  std::int64_t skipped = 0;     // in the whole run
};

}  // namespace lockstep
