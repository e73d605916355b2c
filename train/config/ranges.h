// The ranges of single values, by path.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

namespace lockstep::config_detail {

// low <= value <= high; an open end excludes the bound itself.
struct Range {
  const char* path;  // without indices
  double low, high;
  bool low_open = false, high_open = false;
};

std::span<const Range> value_ranges();

}  // namespace lockstep::config_detail
