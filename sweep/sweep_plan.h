// SweepPlan: which trials a sweep may have, and the config of each. A pure function of config, options and data sizes: never of
// results, time or the number of jobs.
//
// Rules, for a batch B beside the config's batch B0 with peak rate R0:
// - shard_batch: the config's, or B itself where that is smaller; gradients of the shards are accumulated.
// - Rates: R0 * (B / B0) (linear) and R0 * sqrt(B / B0), each times every factor; merged where they lie closer than 5 %.
// - Epochs are the config's. Its warm-up, if it has one, is sqrt(B / B0) times as many epochs for B > B0, at most a quarter of all.
// - Moving averages (average.decay, the momentum of running statistics) look back over as many samples as in the config: what one keeps
//   of its past in a step is raised to the power B / B0.
// - Rung r ends at round(share * steps), at least step 1, where every trial is evaluated.
// - With stop_at_target a trial ends, whatever its rung, at the first evaluation that reaches the target.
// - Seeds: the config's and those that follow.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sweep/sweep_options.h"
#include "train/config/config.h"

namespace lockstep {

struct TrialKey {
  std::int64_t batch = 0;
  double lr = 0;
  std::uint64_t seed = 0;
  auto operator<=>(const TrialKey&) const = default;
  std::string name() const;  // "512-0.4-1": its folder below trials/
};

struct BatchPlan {
  std::int64_t batch = 0, shard_batch = 0;
  double linear_lr = 0, sqrt_lr = 0;  // what either rule says
  std::vector<double> lrs;            // to be tried; ascending
  double warmup_epochs = 0;
  std::int64_t steps_per_epoch = 0, total_steps = 0;
  std::vector<std::int64_t> rung_steps;  // ends of the rungs; the last is total_steps
};

struct DataSizes {
  std::int64_t train = 0, eval = 0;
};

struct SweepPlan {
  LoadedConfig base;
  SweepOptions options;
  DataSizes data;
  std::string folder;                // the sweep's
  std::int64_t base_batch = 0;
  double base_lr = 0;                // six digits of the config's peak rate
  std::vector<BatchPlan> batches;    // ascending
  BatchPlan base_plan;               // of the config as given
  std::vector<std::uint64_t> seeds;
  std::optional<TrialKey> probe;     // absent: no gradient noise can be measured; probe_note says why
  std::string probe_note;
  std::vector<std::string> notes;    // what a user should know before it starts

  const BatchPlan& of(std::int64_t batch) const;  // InternalError when there is none
  int rungs() const { return static_cast<int>(options.rungs.size()); }
  // What a trial of its own stops at, besides its rung's end; the probe goes the whole way.
  std::optional<double> stops_at(const TrialKey& key) const { return options.stop_at_target && key != probe ? options.target : std::nullopt; }
  std::string folder_of(const TrialKey& key) const { return folder + "/trials/" + key.name(); }
};

// Throws UserError for batches that are no multiples of shard_batch (naming the nearest that are), exceed the data, can't be shared by
// `ranks`, or give a config that does not validate.
SweepPlan plan_sweep(const LoadedConfig& base, const SweepOptions& options, DataSizes data, const std::string& folder, int ranks);

// What `lockstep train` takes for the trial: the base config with the trial's batch, rate, seed and folder.
std::string trial_config_text(const SweepPlan& plan, const TrialKey& key);
// The same as a recipe: without the trial's folder and seed.
std::string recipe_text(const SweepPlan& plan, std::int64_t batch, double lr, const std::string& comment);

// The sweep's settings as the text that tells sweeps apart: one "name: value" a line, then the base config. What does not touch the
// trials is left out: target, budget, jobs, ranks, where things lie.
std::string sweep_identity(const SweepPlan& plan);
// Why the folder's identity is another one: a line for each setting that differs; empty when none does.
std::vector<std::string> identity_differences(const std::string& theirs, const std::string& ours);

}  // namespace lockstep
