// TrainingPlan: what a run will be and take, before any data or GPU is touched: `lockstep plan`. train/dry_run.h with a step time, a time
// to the end, energy and cost, and what to mind.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "charts/chart.h"
#include "planning/cluster.h"
#include "planning/device_description.h"
#include "planning/kernel_table.h"
#include "planning/memory_estimate.h"
#include "planning/step_prediction.h"
#include "planning/warnings.h"
#include "train/dry_run.h"

namespace lockstep {

struct PlanOptions {
  int ranks = 1;
  int hosts = 0;                              // 0: as many as the cluster needs
  std::optional<DeviceDescription> device;    // of each rank
  std::optional<ClusterDescription> cluster;  // for more than one rank
  std::optional<KernelTable> kernels;         // instead of the device's roofline
  double price_per_hour = 0;                  // of one rank's device; 0: no cost
  double straggler_share = -1;                // below 0: the cluster's
  std::string currency = "USD";
};

struct PlanTotals {
  double training_s = 0;      // steps alone
  double evaluation_s = 0;
  double checkpoint_s = 0;    // what training waits for: nothing but copying with checkpoint.async
  double start_s = 0;
  double joules = 0;          // devices at their power limits while they compute, idle power else; 0: not known
  double cost = 0;            // 0: no price given
  double seconds() const { return training_s + evaluation_s + checkpoint_s + start_s; }
};

struct TrainingPlan {
  PlanOptions options;
  DryRun run;
  std::shared_ptr<const Model> model;
  MemoryEstimate memory;
  double device_bytes = 0;              // 0: not known
  std::int64_t largest_shard = 0;       // that fits it; 0: not known, or none
  std::optional<ComputeTime> compute;   // of a shard of full-size images
  std::optional<StepPrediction> step;   // absent: neither device nor kernels are given
  std::vector<double> phase_step_s;     // by run.sizes (progressive resizing)
  std::optional<PlanTotals> totals;
  std::vector<PlanWarning> warnings;
};

// Opens no data. Throws UserError: what plan_dry_run says; a device without the config's number format; more than one rank without a
// cluster; EXACT on ranks that can't share its tree.
TrainingPlan plan_training(const LoadedConfig& loaded, const PlanOptions& options);

// One step in seconds, without the rest of a plan: for budgets. As plan_training.
double predict_step_seconds(const LoadedConfig& loaded, const PlanOptions& options);

// The same step at other numbers of ranks that the config allows, up to plan.options.ranks and for the same global batch.
struct ScalingPoint {
  int ranks = 1;
  StepPrediction step;
};
std::vector<ScalingPoint> plan_scaling(const TrainingPlan& plan);

Chart rate_chart(const TrainingPlan& plan);       // learning rate against epochs
Chart timeline_chart(const TrainingPlan& plan);   // passes and all-reduces of one step against time. REQUIRES: plan.step
Chart scaling_chart(const TrainingPlan& plan, const std::vector<ScalingPoint>& points);

std::string plan_text(const TrainingPlan& plan);
std::string plan_json(const TrainingPlan& plan);  // one object, indented
std::string plan_html(const TrainingPlan& plan);  // one self-contained page

}  // namespace lockstep
