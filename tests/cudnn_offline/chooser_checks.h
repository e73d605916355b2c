// Checks of how the product picks an engine (cuda/cudnn/plan_chooser.h), with cuDNN's real proposals and a made-up clock.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cuda/cudnn/graphs.h"

namespace lockstep::cuda {

// One line per expectation that does not hold.
std::vector<std::string> check_chooser(const cudnn::PlanDevice& device);

}  // namespace lockstep::cuda
