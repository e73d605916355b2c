// Pareto front: the choices that no other beats in both respects.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace lockstep {

struct Tradeoff {
  double cost = 0;  // less is better
  double gain = 0;  // more is better
};

// Indices, by rising cost. Of equal ones the first; values that are not finite never belong to it.
std::vector<std::size_t> pareto_front(std::span<const Tradeoff> choices);

}  // namespace lockstep
