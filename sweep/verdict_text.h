// The verdict in words, from its numbers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "sweep/sweep_result.h"

namespace lockstep {

// A paragraph each: accuracy, speed, critical batch, scaling rule, what to be careful about.
std::vector<std::string> verdict_text(const SweepResult& result);

}  // namespace lockstep
