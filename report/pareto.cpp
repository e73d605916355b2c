// SPDX-License-Identifier: Apache-2.0
#include "report/pareto.h"

#include <algorithm>
#include <cmath>

namespace lockstep {

std::vector<std::size_t> pareto_front(std::span<const Tradeoff> choices) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < choices.size(); ++i)
    if (std::isfinite(choices[i].cost) && std::isfinite(choices[i].gain)) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return choices[a].cost != choices[b].cost ? choices[a].cost < choices[b].cost : choices[a].gain > choices[b].gain;
  });
  std::vector<std::size_t> front;
  for (const std::size_t i : order)
    if (front.empty() || choices[i].gain > choices[front.back()].gain) front.push_back(i);
  return front;
}

}  // namespace lockstep
