// Warnings: each by a config that earns it and one beside it that doesn't; the shipped recipes.
// SPDX-License-Identifier: Apache-2.0
#include "planning/warnings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "tests/train/recipe.h"

namespace lockstep {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

DryRun dry(const std::string& name, const Sets& sets = {}, int ranks = 1) {
  Sets all = sets;
  if (name.starts_with("resnet50")) all.insert(all.begin(), "model.base_width=8");  // narrow networks are made in no time
  return plan_dry_run(recipe(name, all), ranks, false);
}

std::vector<std::string> ids(const std::string& name, const Sets& sets = {}) {
  std::vector<std::string> result;
  for (const PlanWarning& warning : plan_warnings(dry(name, sets))) result.push_back(warning.id);
  return result;
}

TEST(Warnings, ThePapersRecipesHaveNone) {
  for (const char* name : {"resnet50_goyal_256", "resnet50_goyal_8k", "resnet50_lars35_3k", "resnet50_cosine90"}) {
    SCOPED_TRACE(name);
    EXPECT_THAT(ids(name), IsEmpty());
  }
}

TEST(Warnings, LearningRateFarFromTheLinearRule) {
  EXPECT_THAT(ids("resnet50_goyal_8k", {"schedule.lr_per_256=0.3"}), Contains("lr-above-linear"));
  EXPECT_THAT(ids("resnet50_goyal_8k", {"schedule.lr_per_256=0.05"}), Contains("lr-below-linear"));
  EXPECT_THAT(ids("resnet50_goyal_8k", {"schedule.lr=0.1"}), Contains("lr-below-linear"));
  EXPECT_THAT(ids("resnet50_goyal_8k", {"schedule.lr_per_256=0.15"}), IsEmpty());
  // Four times the rate at three quarters of the momentum's reach: no more than the rule.
  EXPECT_THAT(ids("resnet50_goyal_8k", {"schedule.lr_per_256=0.4", "optimizer.momentum=0.6"}), IsEmpty());
  EXPECT_THAT(ids("resnet50_lars35_3k", {"schedule.lr=30"}), Not(Contains("lr-above-linear"))) << "LARS has another rule";
}

TEST(Warnings, BatchesBeyondThePublishedOnes) {
  const std::vector<PlanWarning> warnings = plan_warnings(dry("resnet50_goyal_8k", {"batch.global_batch=32768"}));
  ASSERT_EQ(warnings.size(), 1u) << "its left-out images are few";
  EXPECT_EQ(warnings[0].id, "batch-beyond-published");
  EXPECT_THAT(warnings[0].text, HasSubstr("72.5 %"));
  EXPECT_THAT(ids("resnet50_goyal_8k", {"batch.global_batch=131072"}), Contains("batch-beyond-published"));
  EXPECT_THAT(ids("resnet50_lars35_3k", {"batch.global_batch=102400", "epochs=120"}), Contains("batch-beyond-published"));
}

TEST(Warnings, LargeBatchesWithoutWarmUp) {
  EXPECT_THAT(ids("resnet50_goyal_8k", {"schedule.warmup_epochs=0"}), Contains("no-warmup"));
  EXPECT_THAT(ids("resnet50_goyal_256", {"schedule.warmup_epochs=0"}), Not(Contains("no-warmup")));
}

TEST(Warnings, TooFewEpochsForTheBatch) {
  EXPECT_THAT(ids("resnet50_lars35_3k", {"epochs=20"}), Contains("epochs-too-few"));
  EXPECT_THAT(ids("resnet50_lars35_3k", {"batch.global_batch=25600"}), Contains("epochs-too-few")) << "37 epochs where 53 are needed";
  EXPECT_THAT(ids("resnet50_lars35_3k", {"batch.global_batch=25600", "epochs=53"}), Not(Contains("epochs-too-few")));
}

TEST(Warnings, BatchNormOverFewImages) {
  EXPECT_THAT(ids("fashion_mnist", {"batch.shard_batch=8"}), Contains("norm-too-small"));
  EXPECT_THAT(ids("fashion_mnist", {"batch.shard_batch=16"}), Not(Contains("norm-too-small")));
  EXPECT_THAT(ids("fashion_mnist", {"batch.shard_batch=8", "model.batch_norm.scope=GROUP", "model.batch_norm.group_shards=2"}),
              Not(Contains("norm-too-small")));
}

TEST(Warnings, ManyImagesLeftOut) {
  EXPECT_THAT(ids("fashion_mnist", {"batch.global_batch=8192"}), Contains("left-out")) << "7 batches of 60,000 images leave 2,656";
  EXPECT_THAT(ids("fashion_mnist"), Not(Contains("left-out")));
}

TEST(Warnings, ShardsThatFewRanksCanShare) {
  EXPECT_THAT(ids("fashion_mnist", {"batch.global_batch=96"}), Contains("few-ranks")) << "3 shards";
  EXPECT_THAT(ids("fashion_mnist", {"batch.global_batch=96", "distributed.reduction=FAST"}), Not(Contains("few-ranks")));
}

}  // namespace
}  // namespace lockstep
