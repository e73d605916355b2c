// Whole plans: their sums, memory against the run's own plan, what they are called with wrongly, and their three forms.
// SPDX-License-Identifier: Apache-2.0
#include "planning/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "proto/config.pb.h"
#include "tests/train/recipe.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using nlohmann::json;

LoadedConfig small(const Sets& sets = {}) {
  LoadedConfig loaded = parse_config(
      "epochs: 4 model { name: \"resnet8\" base_width: 8 } batch { global_batch: 64 shard_batch: 16 } schedule { lr: 1 kind: LINEAR } "
      "data { source: SYNTHETIC height: 16 width: 16 synthetic { size: 640 eval_size: 320 classes: 4 } }",
      "small", overrides_of(sets));
  validate(loaded, false);
  return loaded;
}

PlanOptions on(const std::string& device, const std::string& cluster = "", int ranks = 1) {
  PlanOptions options{.ranks = ranks, .device = load_device(device), .cluster = {}, .kernels = {}};
  if (!cluster.empty()) options.cluster = load_cluster(cluster);
  return options;
}

std::string message_of(const LoadedConfig& loaded, const PlanOptions& options) {
  try {
    plan_training(loaded, options);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Plan, WithoutAMachineSaysEverythingButTimes) {
  const TrainingPlan plan = plan_training(small(), {});
  EXPECT_FALSE(plan.step);
  EXPECT_FALSE(plan.totals);
  const std::string text = plan_text(plan);
  for (const char* word : {"global batch", "batch norm sees", "steps", "learning rate", "memory per rank", "not predicted", "--device"})
    EXPECT_THAT(text, HasSubstr(word));
  const json object = json::parse(plan_json(plan));
  EXPECT_TRUE(object["step"].is_null());
  EXPECT_EQ(object["total_steps"], 40);
}

TEST(Plan, TotalsAreTheSumOfTheirParts) {
  PlanOptions options = on("h100", "dgx_h100", 4);
  options.price_per_hour = 2;
  const TrainingPlan plan = plan_training(small({"backend=CUDA", "precision=FP16"}), options);
  ASSERT_TRUE(plan.totals && plan.step);
  const PlanTotals& totals = *plan.totals;
  EXPECT_NEAR(totals.training_s, 40 * plan.step->step_s(), 1e-12);
  EXPECT_NEAR(totals.evaluation_s, 4 * 80 * plan.compute->forward_s() / 16, 1e-12);
  EXPECT_NEAR(totals.seconds(), totals.training_s + totals.evaluation_s + totals.checkpoint_s + totals.start_s, 1e-12);
  EXPECT_NEAR(totals.cost, 2 * 4 * totals.seconds() / 3600, 1e-12);
  EXPECT_NEAR(totals.joules, 4 * 700 * totals.seconds(), 1e-6 * totals.joules) << "idle power isn't known: always at the limit";
}

TEST(Plan, ProgressiveResizingIsTimedPhaseByPhase) {
  const LoadedConfig loaded = small({"data.size_phase+={ from_epoch: 0 size: 8 }", "data.size_phase+={ from_epoch: 2 size: 16 }"});
  const TrainingPlan plan = plan_training(loaded, on("h100"));
  ASSERT_EQ(plan.phase_step_s.size(), 2u);
  EXPECT_LE(plan.phase_step_s[0], plan.phase_step_s[1]);
  EXPECT_NEAR(plan.totals->training_s, 20 * plan.phase_step_s[0] + 20 * plan.phase_step_s[1], 1e-12);
}

// The estimate by kinds must be what the run itself plans (train/memory_plan.h), where both can be had: on a CPU.
TEST(Plan, MemoryIsTheRunsOwnPlan) {
  for (const Sets& sets : {Sets{}, {"precision=BF16"}, {"batch.shard_batch=8"}, {"model.batch_norm.scope=GLOBAL"}, {"batch.shard_batch=128", "batch.global_batch=512"}}) {
    SCOPED_TRACE(sets.empty() ? "" : sets[0]);
    const DryRun run = plan_dry_run(small(sets), 1);
    ASSERT_TRUE(run.memory);
    const MemoryEstimate estimate = estimate_memory(run, false);
    EXPECT_NEAR(estimate.total(), static_cast<double>(run.memory->peak_bytes()), 0.02 * estimate.total()) << "tensors are padded to cache lines";
    EXPECT_EQ(estimate.gradients, static_cast<double>(run.memory->gradient_bytes));
  }
}

TEST(Plan, TheLargestShardFitsAndALittleMoreDoesNot) {
  const LoadedConfig loaded = small();
  const MemoryEstimate estimate = estimate_memory(plan_dry_run(loaded, 1, false), false);
  const double room = 4 * estimate.total();
  const std::int64_t largest = estimate.largest_shard(room);
  ASSERT_GT(largest, 16);
  const auto total_of = [&](std::int64_t shard) {
    return estimate_memory(plan_dry_run(small({"batch.global_batch=" + std::to_string(4 * shard), "batch.shard_batch=" + std::to_string(shard),
                                               "data.synthetic.size=100000"}), 1, false), false).total();
  };
  EXPECT_LE(total_of(largest), 1.02 * room);
  EXPECT_GT(total_of(largest + largest / 10), room);
  EXPECT_EQ(estimate.largest_shard(1000), 0);
}

// 400 images of 224 x 224 in FP32 take 37 GB: planned on machines that have less.
TEST(Plan, AShardForALargerMachineIsPlannedOnASmallOne) {
  const MemoryEstimate estimate = estimate_memory(plan_dry_run(recipe("resnet50_lars35_3k"), 8, false), true);
  EXPECT_GT(estimate.activations, 20e9);
  EXPECT_LT(estimate.activations, 60e9);
}

TEST(Plan, WhatDoesNotFitIsAWarning) {
  PlanOptions options = on("h100");
  options.device->memory_bytes = 1e6;
  const TrainingPlan plan = plan_training(small({"backend=CUDA"}), options);
  ASSERT_FALSE(plan.warnings.empty());
  EXPECT_EQ(plan.warnings.back().id, "does-not-fit");
}

TEST(Plan, ASlowNetworkIsAWarning) {
  const TrainingPlan slow =
      plan_training(recipe("resnet50_goyal_8k", {"backend=CUDA", "precision=FP16", "batch.shard_batch=256"}), on("h100", "ethernet_10g", 32));
  EXPECT_EQ(slow.warnings.back().id, "network-bound");
  EXPECT_LT(slow.step->simulation.efficiency(), 0.8);
}

TEST(Plan, GoyalsRecipeIsHisRun) {
  const TrainingPlan plan = plan_training(recipe("resnet50_goyal_8k", {"backend=CUDA"}), on("p100", "goyal_p100", 256));
  EXPECT_EQ(plan.run.plan.steps_per_epoch, 156);
  EXPECT_EQ(plan.run.plan.total_steps, 90 * 156);
  EXPECT_DOUBLE_EQ(plan.run.peak_lr, 3.2);
  EXPECT_EQ(plan.run.plan.norm_shards * plan.run.plan.shard_batch, 32);
  EXPECT_TRUE(plan.warnings.empty());
}

TEST(Plan, FourThousandRanksTakeSeconds) {
  const TrainingPlan plan =
      plan_training(recipe("resnet50_goyal_8k", {"backend=CUDA", "precision=FP16", "batch.global_batch=131072", "model.base_width=16"}),
                    on("h100", "dgx_h100", 4096));
  EXPECT_EQ(plan.step->job.ranks, 4096);
  EXPECT_EQ(plan.step->simulation.algorithms.back(), Algorithm::kHalving) << "EXACT";
  const std::vector<ScalingPoint> points = plan_scaling(plan);
  EXPECT_EQ(points.size(), 13u);
  for (std::size_t i = 1; i < points.size(); ++i) EXPECT_LT(points[i].step.simulation.efficiency(), 1.0);
}

TEST(Plan, MeasuredKernelsReplaceTheRoofline) {
  PlanOptions options;
  options.kernels = parse_kernel_table(
      R"({"model": "resnet8", "height": 16, "width": 16, "batch": 16, "dtype": "f32", "ranks": 1, "threads_per_rank": 1,
          "step_ms": 10, "data_ms": 0, "reduce_ms": 0, "forward_ms": 3, "backward_ms": 6, "update_ms": 1})", "t.json");
  const TrainingPlan plan = plan_training(small(), options);
  EXPECT_NEAR(plan.step->step_s(), 4 * 0.009 + 0.001 + 3 * 0.0006, 1e-9) << "four shards, one update, three additions";
  EXPECT_THAT(plan.compute->basis, HasSubstr("t.json"));
  EXPECT_NEAR(predict_step_seconds(small(), options), plan.step->step_s(), 1e-15);
}

TEST(Plan, WhatIsWrongIsSaid) {
  EXPECT_THAT(message_of(small({"precision=BF16", "backend=CUDA"}), on("v100")), HasSubstr("precision: BF16, and V100"));
  EXPECT_THAT(message_of(small(), on("h100", "", 2)), HasSubstr("name a cluster"));
  EXPECT_THAT(message_of(small(), on("h100", "dgx_h100", 3)), HasSubstr("3"));
  EXPECT_THAT(message_of(small({"batch.global_batch=192"}), on("h100", "dgx_h100", 12)), HasSubstr("12"));
  EXPECT_THROW(predict_step_seconds(small(), {}), UserError);
}

TEST(Plan, ItsFormsAgree) {
  const TrainingPlan plan = plan_training(small({"backend=CUDA"}), on("h100", "dgx_h100", 4));
  const json object = json::parse(plan_json(plan));
  EXPECT_DOUBLE_EQ(object["step"]["seconds"], plan.step->step_s());
  EXPECT_DOUBLE_EQ(object["totals"]["seconds"], plan.totals->seconds());
  EXPECT_EQ(object["scaling"].size(), 3u);
  EXPECT_EQ(object["buckets"].size(), plan.step->step.buckets.size());
  const std::string text = plan_text(plan), page = plan_html(plan);
  for (const char* word : {"efficiency", "all-reduce", "to the end", "energy"}) EXPECT_THAT(text, HasSubstr(word));
  EXPECT_THAT(page, HasSubstr("<svg"));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_EQ(plan_text(plan), text);
}

}  // namespace
}  // namespace lockstep
