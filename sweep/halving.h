// Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943), batch by batch: which trials go on, as a pure function of what
// trials have reached. So the table is the same whatever finished first, and after any interruption.
//
// All learning rates of a batch train to the first rung's end. When all are there, a third of them, at least `keep`, goes on to the next,
// and so on; trials are prefixes of one schedule, nothing is trained twice. The best at the schedule's end is the batch's rate,
// and the remaining seeds train it from the start to the end. A trial that diverges is out, and makes room for the next best.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sweep/sweep_plan.h"
#include "sweep/trial_store.h"

namespace lockstep {

// Train this trial to the end of this rung.
struct TrialTask {
  TrialKey key;
  int rung = 0;
  bool operator==(const TrialTask&) const = default;
};

// The sweep's trials stop at its target, and this one has reached it.
bool is_there(const SweepPlan& plan, const TrialProgress& progress);

struct BatchDecision {
  std::optional<double> chosen;     // the batch's learning rate; absent: undecided, or all diverged
  bool complete = false;            // nothing is left to do
  std::vector<std::vector<double>> entered;  // rates that entered each rung that has begun, ascending
  std::vector<TrialTask> tasks;     // what can be done now
};
BatchDecision decide(const SweepPlan& plan, const BatchPlan& batch, const SweepProgress& progress);

// What can be done now, in the order of importance: the probe, then the batches by their distance from the config's. Empty: the sweep
// is complete.
std::vector<TrialTask> next_tasks(const SweepPlan& plan, const SweepProgress& progress);

// How many more tasks there will be at most, those of next_tasks included; for the display.
int remaining_tasks(const SweepPlan& plan, const SweepProgress& progress);

// True when `a` at the end of this rung is better than `b`.
bool better(const SweepPlan& plan, const BatchPlan& batch, int rung, const TrialProgress& a, double lr_a, const TrialProgress& b, double lr_b);

// Accuracy at the end of a rung that was reached; absent without that evaluation.
std::optional<double> top1_at(const BatchPlan& batch, int rung, const TrialProgress& progress);

}  // namespace lockstep
