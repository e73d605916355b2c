// The learning rate as a function of the step, against closed forms.
// SPDX-License-Identifier: Apache-2.0
#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "proto/config.pb.h"

namespace lockstep {
namespace {

constexpr int kStepsPerEpoch = 10;

proto::Config config_of(proto::Schedule::Kind kind, double epochs) {
  proto::Config config;
  config.set_epochs(epochs);
  config.mutable_batch()->set_global_batch(512);
  config.mutable_schedule()->set_kind(kind);
  config.mutable_schedule()->set_lr(0.4);
  return config;
}

TEST(Schedule, LrPer256ScalesWithTheGlobalBatch) {
  proto::Config config = config_of(proto::Schedule::CONSTANT, 10);
  config.mutable_schedule()->clear_lr();
  config.mutable_schedule()->set_lr_per_256(0.1);
  EXPECT_DOUBLE_EQ(Schedule(config, kStepsPerEpoch).lr(0), 0.2);
}

TEST(Schedule, WarmUpIsLinearAndEndsAtThePeak) {
  proto::Config config = config_of(proto::Schedule::CONSTANT, 10);
  config.mutable_schedule()->set_warmup_epochs(2);
  config.mutable_schedule()->set_warmup_start_factor(0.25);
  const Schedule schedule(config, kStepsPerEpoch);
  EXPECT_DOUBLE_EQ(schedule.lr(0), 0.1);
  EXPECT_DOUBLE_EQ(schedule.lr(10), 0.4 * (0.25 + 0.75 * 0.5));
  EXPECT_DOUBLE_EQ(schedule.lr(20), 0.4);
}

TEST(Schedule, StepsDropExactlyAtTheMilestone) {
  proto::Config config = config_of(proto::Schedule::STEP, 90);
  config.mutable_schedule()->set_step_epochs(30);
  const Schedule schedule(config, kStepsPerEpoch);
  EXPECT_DOUBLE_EQ(schedule.lr(299), 0.4);
  EXPECT_DOUBLE_EQ(schedule.lr(300), 0.4 * 0.1);
  EXPECT_DOUBLE_EQ(schedule.lr(600), 0.4 * 0.1 * 0.1);
}

TEST(Schedule, MultistepDropsAtAwkwardEpochSizes) {
  proto::Config config = config_of(proto::Schedule::MULTISTEP, 3);
  config.mutable_schedule()->add_milestones_epochs(1);
  config.mutable_schedule()->add_milestones_epochs(2);
  const Schedule schedule(config, 7);  // 7 / 7.0 etc. must count as passed
  EXPECT_DOUBLE_EQ(schedule.lr(6), 0.4);
  EXPECT_DOUBLE_EQ(schedule.lr(7), 0.04);
  EXPECT_DOUBLE_EQ(schedule.lr(14), 0.4 * 0.1 * 0.1);
}

TEST(Schedule, CosinePolyAndLinearMeetTheirClosedForms) {
  const double p = 37.0 / 100.0;
  EXPECT_DOUBLE_EQ(Schedule(config_of(proto::Schedule::COSINE, 10), kStepsPerEpoch).lr(37),
                   0.4 * 0.5 * (1 + std::cos(std::numbers::pi * p)));
  EXPECT_DOUBLE_EQ(Schedule(config_of(proto::Schedule::POLY, 10), kStepsPerEpoch).lr(37), 0.4 * std::pow(1 - p, 2));
  EXPECT_DOUBLE_EQ(Schedule(config_of(proto::Schedule::LINEAR, 10), kStepsPerEpoch).lr(37), 0.4 * (1 - p));
}

TEST(Schedule, DecayBeginsAfterTheWarmUpAndEndsAtTheEndFactor) {
  proto::Config config = config_of(proto::Schedule::LINEAR, 10);
  config.mutable_schedule()->set_warmup_epochs(2);
  config.mutable_schedule()->set_end_factor(0.1);
  const Schedule schedule(config, kStepsPerEpoch);
  EXPECT_DOUBLE_EQ(schedule.lr(20), 0.4);
  EXPECT_DOUBLE_EQ(schedule.lr(60), 0.4 * (0.1 + 0.9 * 0.5));
  EXPECT_DOUBLE_EQ(schedule.lr(100), 0.4 * 0.1);
  EXPECT_DOUBLE_EQ(schedule.lr(5000), 0.4 * 0.1);
}

TEST(Schedule, OneCycleRisesToThePeakAndFallsToItsEnd) {
  proto::Config config = config_of(proto::Schedule::ONE_CYCLE, 10);
  config.mutable_schedule()->mutable_one_cycle()->set_peak_fraction(0.3);
  config.mutable_schedule()->mutable_one_cycle()->set_start_factor(0.04);
  const Schedule schedule(config, kStepsPerEpoch);
  EXPECT_DOUBLE_EQ(schedule.lr(0), 0.4 * 0.04);
  EXPECT_DOUBLE_EQ(schedule.lr(30), 0.4);
  EXPECT_LT(schedule.lr(29), schedule.lr(30));
  EXPECT_LT(schedule.lr(31), schedule.lr(30));
  EXPECT_NEAR(schedule.lr(100), 0, 1e-16);
}

}  // namespace
}  // namespace lockstep
