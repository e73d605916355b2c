// Median and spread of repeated measurements.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

namespace lockstep {

// p10, p90: linear between the neighbours in rank (as numpy's default), so with few values close to min and max.
struct Spread {
  double median = 0, min = 0, p10 = 0, p90 = 0, max = 0;
};
Spread spread_of(std::vector<double> values);  // at least one

}  // namespace lockstep
