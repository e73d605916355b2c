// What `lockstep tune` shows: the plan, a line for each trial that comes to a rung, the final table.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "sweep/halving.h"
#include "sweep/sweep_plan.h"
#include "sweep/sweep_result.h"

namespace lockstep {

// Before it starts: batches, rates, rungs, trials, samples in all.
std::string plan_text(const SweepPlan& plan);
std::string plan_json(const SweepPlan& plan);

// "batch 512  lr 0.4  seed 1  rung 2/3  epoch 4.67  top-1 85.31 %  1,234 images/s  (12 to go)"
std::string progress_line(const SweepPlan& plan, const TrialTask& task, const TrialProgress& progress, int remaining);

// A row for each batch, then the verdict.
std::string result_text(const SweepResult& result);

}  // namespace lockstep
