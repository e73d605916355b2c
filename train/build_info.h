// What this binary is made of: recorded in checkpoints, printed by `lockstep version`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace lockstep {

std::string build_id();  // "0.1.0 (51a9fb2c0de1, Release)"
// Name and version of each library, the GPUs and what is missing to use them, and the processor's SIMD level, in a fixed order.
// Starts the GPUs' driver, if the CUDA backend is built and there is one.
std::vector<std::pair<std::string, std::string>> build_components();

}  // namespace lockstep
