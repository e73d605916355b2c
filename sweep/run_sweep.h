// run_sweep: works through a sweep's trials, some beside each other, together with other processes that share its folder.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "sweep/halving.h"
#include "sweep/sweep_plan.h"
#include "sweep/trial_runner.h"
#include "sweep/trial_store.h"

namespace lockstep {

struct RunSweepOptions {
  int jobs = 1;                              // trials beside each other
  std::optional<double> budget_s;            // wall time from now; a trial that would not end within is not begun
  std::function<bool()> stop_wanted;         // asked often; true: stop what runs, and return
  std::function<void(const std::string&)> say;  // a line for the user
  std::function<void(const SweepProgress&)> changed = [](const SweepProgress&) {};  // a trial came to a rung
  double poll_s = 0.05;                      // of children
  double look_s = 1;                         // between two looks at what other processes have done
  int most_losses = 3;                       // a trial that is lost so often in a row ends the sweep
};

enum class SweepEnd : std::uint8_t {
  kComplete,
  kStopped,  // stop_wanted
  kBudget,   // the budget is used up, or too small for any trial that is left
};

// Blocks. Everything that was reached is in the store, whatever happens. Throws what ends a sweep before its time, after the other
// trials were stopped and saved: UserError (a trial's config or data are bad), EnvironmentError (disk full, a trial lost too often).
SweepEnd run_sweep(const SweepPlan& plan, const TrialStore& store, TrialRunner& runner, const RunSweepOptions& options);

// Seconds that a task will take, judged by trials of the same batch, else of any; absent when nothing is known yet.
std::optional<double> estimate_seconds(const SweepPlan& plan, const TrialTask& task, const SweepProgress& progress);

}  // namespace lockstep
