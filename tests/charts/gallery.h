// One chart of each kind and each difficulty: for tests, and to be looked at in a browser.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "charts/chart.h"

namespace lockstep::testing {

struct NamedChart {
  std::string name;
  Chart chart;
};
std::vector<NamedChart> chart_gallery();

struct NamedHeatmap {
  std::string name;
  Heatmap map;
};
std::vector<NamedHeatmap> heatmap_gallery();

// `count` points of a curve that falls with noise; the same each time.
Series noisy_curve(const std::string& name, int count, double level);

}  // namespace lockstep::testing
