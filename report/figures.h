// RunFigures: the numbers of a run that a reader asks for first, from its records.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "report/run_data.h"

namespace lockstep {

// Where a step's time goes, in milliseconds, as a mean over the run.
struct StepPhases {
  double whole = 0;
  double input = 0;                // waiting for the loader
  double reduce = 0;               // waiting for gradients of other ranks, not hidden behind the backward pass
  std::optional<double> device;    // the GPU's own time
  double rest() const;             // forward, backward, update; never below 0
};

struct RunFigures {
  std::int64_t global_batch = 0;                // 0: not known
  std::int64_t steps = 0, total_steps = 0;      // done (0: none recorded); planned (0: not known)
  double epochs = 0, planned_epochs = 0;
  std::optional<double> best_top1, final_top1, final_top5, best_epoch;  // shares
  std::string band;                             // of the last evaluation: "on track", ...
  std::optional<double> train_loss;
  std::optional<double> train_seconds;          // of training alone
  std::optional<double> wall_seconds;           // from the first step to the last record, stops included
  std::optional<double> images_per_second;      // over train_seconds
  std::optional<StepPhases> phases;
  std::optional<double> noise_scale;            // the last one measured
  std::optional<double> host_peak_bytes;
  std::optional<double> joules;                 // of all starts that could read it
  std::string energy_source;                    // what was read, or why nothing could be
  std::int64_t skipped_steps = 0;
  std::string state;                            // "finished", "stopped at step 120 of 400", ...
};

RunFigures figures_of(const RunData& run);

}  // namespace lockstep
