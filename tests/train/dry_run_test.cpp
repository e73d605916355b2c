// A plan from the config alone, for every recipe that is shipped.
// SPDX-License-Identifier: Apache-2.0
#include "train/dry_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "proto/config.pb.h"
#include "tests/train/recipe.h"

namespace lockstep {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

LoadedConfig small(const Sets& sets = {}) {
  return parse_config("epochs: 4 model { name: \"resnet8\" base_width: 4 } batch { global_batch: 16 shard_batch: 4 } schedule { lr: 1 kind: LINEAR } "
                      "data { source: SYNTHETIC height: 16 width: 16 synthetic { size: 160 eval_size: 32 classes: 4 } }",
                      "small", overrides_of(sets));
}

TEST(DryRun, EveryRecipeHasAPlan) {
  int recipes_found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(recipes())) {
    if (!entry.is_regular_file()) continue;  // devices, clusters
    SCOPED_TRACE(entry.path().string());
    ++recipes_found;
    const std::string name = entry.path().stem().string();
    // Narrow networks and small shards, so that rehearsing takes no seconds; what the memory is made of is tested elsewhere.
    const std::string text = dry_run_text(plan_dry_run(recipe(name, {"batch.shard_batch=4", "model.base_width=8"}), 2));
    for (const char* word : {"steps", "ranks allowed", "learning rate", "memory", "checkpoints", "on resume", "last step"})
      EXPECT_THAT(text, HasSubstr(word));
  }
  EXPECT_GE(recipes_found, 9);
}

TEST(DryRun, ImagenetRecipesKnowTheirDataAndWhatToExpect) {
  for (const char* name :
       {"resnet50_goyal_256", "resnet50_goyal_8k", "resnet50_cosine90", "resnet50_lars35_3k", "resnet50_quick16", "resnet18_imagenet"}) {
    SCOPED_TRACE(name);
    const LoadedConfig loaded = recipe(name);
    const proto::Config& config = loaded.config();
    EXPECT_EQ(config.data().train_images(), 1281167);
    EXPECT_EQ(config.data().eval_images(), 50000);
    EXPECT_EQ(config.model().classes(), 1000);
    ASSERT_GE(config.evaluation().expected_size(), 3);
    EXPECT_DOUBLE_EQ(config.evaluation().expected(config.evaluation().expected_size() - 1).epoch(), config.epochs()) << "the end must be judged";
  }
}

TEST(DryRun, Goyal8kIsThePapersRecipe) {
  const DryRun run = plan_dry_run(recipe("resnet50_goyal_8k"), 8);
  EXPECT_EQ(run.plan.steps_per_epoch, 1281167 / 8192);
  EXPECT_EQ(run.plan.shards, 256);
  EXPECT_EQ(run.plan.shards_per_rank, 32);
  EXPECT_DOUBLE_EQ(run.peak_lr, 3.2);
  EXPECT_NEAR(run.rates.front().lr, 0.1, 1e-12);
  EXPECT_EQ(run.parameters, 25557032);
  EXPECT_THAT(run.ranks_allowed, ElementsAre(1, 2, 4, 8, 16, 32, 64, 128, 256));
  ASSERT_EQ(run.groups.size(), 2u);
  EXPECT_EQ(run.groups[0].tensors + run.groups[1].tensors, 161);
  EXPECT_EQ(run.groups[0].elements + run.groups[1].elements, run.parameters);
  for (const RatePoint& point : run.rates) {
    if (point.why != "falls") continue;
    EXPECT_THAT((std::vector<double>{30, 60, 80}), Contains(point.epoch));
  }
  // Weights and momentum in f32 and the running statistics.
  EXPECT_GT(run.checkpoint_bytes, 8 * run.parameters);
  EXPECT_LT(run.checkpoint_bytes, 8 * run.parameters + 1'000'000);
}

TEST(DryRun, SmallRunsPlanIsExact) {
  const DryRun run = plan_dry_run(small({"checkpoint={every_epochs: 2 keep_last: 3}"}), 2);
  EXPECT_EQ(run.plan.total_steps, 40);
  EXPECT_EQ(run.plan.shards_per_rank, 2);
  EXPECT_THAT(run.ranks_allowed, ElementsAre(1, 2, 4));
  EXPECT_EQ(run.saves, 2);  // one after two epochs, one at the end
  EXPECT_EQ(run.checkpoints, 4) << "three and the best";
  EXPECT_EQ(run.evaluations, 4);
  EXPECT_EQ(run.curve.size(), 64u);
  EXPECT_DOUBLE_EQ(run.curve.front(), 1);
  EXPECT_NEAR(run.curve.back(), 1.0 / 40, 1e-12);
  ASSERT_TRUE(run.memory);
  EXPECT_GT(run.memory->pass_bytes, 0u);
  EXPECT_THAT(run.may_change, Contains("evaluation"));
  EXPECT_THAT(run.may_change, Contains("data.path"));
  EXPECT_THAT(run.may_change, Not(Contains("schedule.lr")));
  EXPECT_THAT(run.may_change, Not(Contains("data")));
}

TEST(DryRun, MemoryIsPlannedForTheLargestImages) {
  const DryRun constant = plan_dry_run(small(), 1);
  const DryRun growing = plan_dry_run(small({"data.size_phase+={from_epoch: 0 size: 8}", "data.size_phase+={from_epoch: 2 size: 32}"}), 1);
  ASSERT_EQ(growing.sizes.size(), 2u);
  EXPECT_EQ(growing.sizes[1].first_step, 20);
  EXPECT_GT(growing.memory->pass_bytes, constant.memory->pass_bytes);
  EXPECT_THAT(dry_run_text(growing), HasSubstr("8 x 8 from epoch 0, 32 x 32 from epoch 2; evaluation 16 x 16"));
}

TEST(DryRun, JsonHoldsTheSame) {
  const auto json = nlohmann::json::parse(dry_run_json(plan_dry_run(small({"evaluation.expected+={epoch: 4 top1_min: 50}"}), 4)));
  EXPECT_EQ(json["total_steps"], 40);
  EXPECT_EQ(json["batch"]["shards_per_rank"], 1);
  EXPECT_EQ(json["schedule"]["points"].back()["why"], "last step");
  EXPECT_EQ(json["expected_top1"][0]["top1_min"], 50);
  EXPECT_TRUE(json["memory_per_rank"]["known"]);
  EXPECT_GT(json["memory_per_rank"]["peak_bytes"], 0);
}

std::string error_of(const LoadedConfig& loaded, int ranks = 1) {
  try {
    plan_dry_run(loaded, ranks);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(DryRun, WhatIsNotKnownIsNamed) {
  EXPECT_THAT(error_of(recipe("resnet18_imagenet", {"data.train_images=0"})), HasSubstr("data.train_images"));
  EXPECT_THAT(error_of(recipe("resnet18_imagenet", {"model.classes=0"})), HasSubstr("model.classes"));
  EXPECT_THAT(error_of(small(), 3), HasSubstr("3 ranks"));
}

// More than this machine could hold is no reason not to plan: the run may be meant for another one.
TEST(DryRun, AStepThatDoesNotFitHereIsStillPlanned) {
  const DryRun run = plan_dry_run(small({"batch={global_batch: 100000000 shard_batch: 100000000}", "data.synthetic.size=100000000"}), 1);
  EXPECT_FALSE(run.memory);
  EXPECT_THAT(dry_run_text(run), HasSubstr("out of memory"));
}

// Without a GPU all but its memory is known.
TEST(DryRun, AGpuRunIsPlannedWithoutAGpu) {
  const DryRun run = plan_dry_run(small({"backend=CUDA", "precision=FP16"}), 1);
  EXPECT_EQ(run.plan.total_steps, 40);
  if (!run.memory) {
    EXPECT_THAT(dry_run_text(run), HasSubstr("no GPU"));
  }
}

}  // namespace
}  // namespace lockstep
