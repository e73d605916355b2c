// Sizes of training images are a function of the step.
// SPDX-License-Identifier: Apache-2.0
#include "train/size_phases.h"

#include <gtest/gtest.h>

#include <limits>

#include "proto/config.pb.h"
#include "train/config/config.h"

namespace lockstep {
namespace {

constexpr ImageSize kFull{64, 48, 3};

LoadedConfig config_with(const std::string& phases) {
  return parse_config("epochs: 4 batch { global_batch: 16 shard_batch: 4 } schedule { lr: 1 } data { source: SYNTHETIC " + phases + " }", "test");
}

SizePhases phases_of(const std::string& phases) {
  const LoadedConfig loaded = config_with(phases);
  return SizePhases(loaded.config(), kFull, make_plan(loaded.config(), 160, 0, 1));  // 10 steps an epoch, 40 in all
}

TEST(SizePhases, WithoutAnyTrainingSeesTheFullSize) {
  const SizePhases phases = phases_of("");
  EXPECT_EQ(phases.at(0).height, 64);
  EXPECT_EQ(phases.at(39).width, 48);
  EXPECT_EQ(phases.next_change(0), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(phases.describe(), "64 x 48");
}

TEST(SizePhases, ChangeAtTheFirstStepOfTheirEpoch) {
  const SizePhases phases =
      phases_of("size_phase { from_epoch: 0 size: 16 } size_phase { from_epoch: 2 size: 32 } size_phase { from_epoch: 3 size: 64 }");
  EXPECT_EQ(phases.at(0).height, 16);
  EXPECT_EQ(phases.at(19).height, 16);
  EXPECT_EQ(phases.at(20).height, 32);
  EXPECT_EQ(phases.at(29).width, 32);
  EXPECT_EQ(phases.at(30).height, 64);
  EXPECT_EQ(phases.at(1000).height, 64);
  EXPECT_EQ(phases.next_change(0), 20);
  EXPECT_EQ(phases.next_change(19), 20);
  EXPECT_EQ(phases.next_change(20), 30);
  EXPECT_EQ(phases.next_change(30), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(phases.largest().height, 64);
  EXPECT_EQ(phases.at(0).channels, 3);
  EXPECT_EQ(phases.describe(), "16 x 16 from epoch 0, 32 x 32 from epoch 2, 64 x 64 from epoch 3");
}

TEST(SizePhases, BeforeTheFirstPhaseTrainingSeesTheFullSize) {
  const SizePhases phases = phases_of("size_phase { from_epoch: 1 size: 32 }");
  EXPECT_EQ(phases.at(9).width, 48);
  EXPECT_EQ(phases.at(10).width, 32);
  EXPECT_EQ(phases.largest().height, 64) << "the first epoch's";
}

TEST(SizePhases, PhasesOfOneSizeAreOne) {
  const SizePhases phases = phases_of("size_phase { from_epoch: 0 size: 32 } size_phase { from_epoch: 2 size: 32 }");
  EXPECT_EQ(phases.phases().size(), 1u);
}

TEST(SizePhases, WhatTheRunEndsBeforeDoesNotCount) {
  const SizePhases phases = phases_of("size_phase { from_epoch: 0 size: 16 } size_phase { from_epoch: 4 size: 1024 }");
  EXPECT_EQ(phases.largest().height, 16);
}

}  // namespace
}  // namespace lockstep
