// The parts of a report's page. Each adds its headings, tables and charts, or nothing when there is nothing to show.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "charts/page.h"
#include "report/figures.h"
#include "report/run_data.h"
#include "sweep/sweep_result.h"

namespace lockstep {

inline constexpr int kChartWidth = 560, kChartHeight = 370;  // two stand side by side on a wide screen

struct RunView {
  RunData data;
  RunFigures figures;
};

// What ran, where, and what came of it.
void add_run_summary(Page& page, const std::vector<RunView>& runs);
// Losses, accuracies with the recipe's expectation, learning rate, speed, gradient noise; all runs in one chart each.
void add_curves(Page& page, const std::vector<RunView>& runs);
// The settings that differ between runs, and all of them folded away.
void add_settings(Page& page, const std::vector<RunView>& runs);
// Phases of a step, input pipeline, memory, energy.
void add_resources(Page& page, const std::vector<RunView>& runs);
// Resumes, skipped steps, bad samples, warnings.
void add_incidents(Page& page, const std::vector<RunView>& runs);

// A sweep's verdict, charts and tables. `name`: of its folder. `alone`: the page is about nothing else.
void add_sweep(Page& page, const SweepResult& sweep, const std::string& name, bool alone);

// A table with headings in its first column, one column for each run; turned when there are many runs.
class FactTable {
 public:
  explicit FactTable(const std::vector<RunView>& runs);
  // `value` of each run; a row that is empty for all is left out.
  template <class Value>
  void row(const std::string& name, const Value& value) {
    std::vector<TableCell> cells;
    for (const RunView& run : runs_) cells.push_back({.text = value(run)});
    add(name, std::move(cells));
  }
  Table table(const std::string& caption) const;

 private:
  void add(const std::string& name, std::vector<TableCell> cells);
  const std::vector<RunView>& runs_;
  std::vector<std::string> names_;
  std::vector<std::vector<TableCell>> rows_;
};

}  // namespace lockstep
