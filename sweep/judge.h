// From what trials have found to what a user wants to know. Pure: a function of plan and progress.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sweep/sweep_plan.h"
#include "sweep/sweep_result.h"
#include "sweep/trial_store.h"

namespace lockstep {

// All trials and batches, and the verdict over the batches that are complete.
SweepResult judge_sweep(const SweepPlan& plan, const SweepProgress& progress);

// The critical batch that the probe's gradient noise predicts, from as far as it has come: over its way to the target, if it reached it.
std::optional<double> predict_critical_batch(const SweepPlan& plan, const SweepProgress& progress);

// Verdict, in numbers and words, from trials and summaries; fills in differences, without_loss and SweepResult::verdict.
void give_verdict(SweepResult& result);

}  // namespace lockstep
