// What this binary is made of: recorded in checkpoints, printed by `lockstep version`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace lockstep {

std::string build_id();  // "0.1.0 (51a9fb2c0de1, Release)"
// Name and version of each library and of the processor's SIMD level, in a fixed order.
std::vector<std::pair<std::string, std::string>> build_components();

}  // namespace lockstep
