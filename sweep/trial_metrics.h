// TrialMeasurement: what a trial's run folder says about it, read from metrics.jsonl, run.json and the summary of `lockstep train --json`.
//
// What depends on the training alone (evaluations, noise, digest) is the same however often the run was stopped and resumed;
// speeds, memory and energy are of this machine at that time.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sweep/sweep_result.h"

namespace lockstep {

// The gradient noise scale over the steps that end here (train/noise_scale.h, kind "noise"): the critical batch as it was then.
struct NoisePoint {
  std::int64_t step = 0;
  double noise_scale = 0;  // infinity: the gradient drowned in its noise
  double steps = 1;        // how many steps it was measured over: an epoch's, less where a rung ends within it
};

struct TrialMeasurement {
  std::vector<TrialEvaluation> evaluations;  // in order of steps, each step once
  std::vector<NoisePoint> noise;             // in order of steps
  std::optional<double> images_per_second, peak_memory_bytes, joules_per_image;
  std::string energy_source, digest;
};

// Reads RUN/metrics.jsonl, RUN/run.json and `summary` (the text of one JSON object; empty: there is none). Lines that are cut or no JSON,
// and files that are missing, are passed over.
TrialMeasurement read_measurement(const std::string& run_folder, const std::string& summary, std::int64_t global_batch);

// The first evaluation at or above the target.
std::optional<TrialEvaluation> first_reaching(std::span<const TrialEvaluation> evaluations, double target);

// The critical batch that the noise seen on the way to `until_step` predicts, for a run at batch B. By McCandlish et al. 2018, section 2,
// a step at noise scale N advances by 1 / (1 + N / B) of a step without noise; summed over the way, E_min / S_min is the mean of N
// in that measure. Of the epoch in which the way ends its share counts. Absent without a point.
std::optional<double> predicted_critical_batch(std::span<const NoisePoint> noise, std::int64_t batch, std::int64_t until_step);

}  // namespace lockstep
