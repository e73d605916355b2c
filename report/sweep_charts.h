// The charts of a sweep, as data: pure functions of its result. Absent: there is nothing to draw yet.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "charts/chart.h"
#include "sweep/sweep_result.h"

namespace lockstep {

std::optional<Chart> accuracy_chart(const SweepResult& sweep);        // final accuracy against batch: seeds, mean, spread
std::optional<Heatmap> rate_heatmap(const SweepResult& sweep);        // accuracy by learning rate and batch
std::optional<Heatmap> progress_heatmap(const SweepResult& sweep);    // accuracy by epochs trained and batch
std::optional<Chart> accuracy_time_chart(const SweepResult& sweep);   // accuracy against training time, a line for each batch
std::optional<Chart> samples_chart(const SweepResult& sweep);         // samples to the target, with the fitted law
std::optional<Chart> steps_chart(const SweepResult& sweep);           // steps to the target, the same
std::optional<Chart> seconds_chart(const SweepResult& sweep);         // time to the target
std::optional<Chart> rates_chart(const SweepResult& sweep);           // best learning rate, with both rules
std::vector<Chart> pareto_charts(const SweepResult& sweep);           // accuracy against speed, latency, energy; samples against steps

// The finished trials at a batch's best learning rate.
std::vector<const TrialRecord*> finalists(const SweepResult& sweep, const BatchSummary& batch);
// Mean over the finalists, where all of them know it.
std::optional<double> joules_per_image(const SweepResult& sweep, const BatchSummary& batch);

}  // namespace lockstep
