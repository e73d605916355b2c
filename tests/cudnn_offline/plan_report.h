// What cuDNN plans for our networks: as a table for docs/, and as checks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "cuda/cudnn/graphs.h"

namespace lockstep::cuda {

// "cuDNN 9.19.0, cudnn-frontend 1.32.0".
std::string version_line();

// Every network, batch size and dtype, in Markdown.
std::string plan_table(const cudnn::PlanDevice& device);

// One line per expectation that does not hold:
// - a problem has a plan exactly if tests/emulated's rule says so (so every plain pattern has one, and ResNet-50 in f16 fuses all
//   but its stem);
// - the plan is deterministic, sums in f32, keeps within the workspace limit, and its name brings the same plan back;
// - graphs that cuDNN is known not to plan are refused with a reason (the check can fail).
std::vector<std::string> check_expectations(const cudnn::PlanDevice& device);

}  // namespace lockstep::cuda
