// SPDX-License-Identifier: Apache-2.0
#include "train/bench_stats.h"

#include <algorithm>
#include <cstddef>

#include "core/error.h"

namespace lockstep {
namespace {

double quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  LS_CHECK(!values.empty(), "spread of no values");
  std::sort(values.begin(), values.end());
  return {quantile(values, 0.5), values.front(), quantile(values, 0.1), quantile(values, 0.9), values.back()};
}

}  // namespace lockstep
