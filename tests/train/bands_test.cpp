// Is an evaluation within what the recipe is known to reach?
// SPDX-License-Identifier: Apache-2.0
#include "train/bands.h"

#include <gtest/gtest.h>

#include "proto/config.pb.h"

namespace lockstep {
namespace {

proto::Evaluation two_bands() {
  proto::Evaluation evaluation;
  for (const auto& [epoch, low, high] : {std::tuple{10.0, 40.0, 50.0}, std::tuple{20.0, 60.0, 64.0}}) {
    proto::Band* band = evaluation.add_expected();
    band->set_epoch(epoch);
    band->set_top1_min(low);
    band->set_top1_max(high);
  }
  return evaluation;
}

TEST(Bands, AreInterpolated) {
  const proto::Evaluation evaluation = two_bands();
  const auto at = [&](double epoch) { return expected_top1(evaluation, epoch).value(); };
  EXPECT_DOUBLE_EQ(at(10).min, 40);
  EXPECT_DOUBLE_EQ(at(10).max, 50);
  EXPECT_DOUBLE_EQ(at(15).min, 50);
  EXPECT_DOUBLE_EQ(at(15).max, 57);
  EXPECT_DOUBLE_EQ(at(20).min, 60);
  EXPECT_DOUBLE_EQ(at(20).max, 64);
}

TEST(Bands, SayNothingOutside) {
  EXPECT_FALSE(expected_top1(two_bands(), 9.9));
  EXPECT_FALSE(expected_top1(two_bands(), 20.1));
  EXPECT_FALSE(expected_top1(proto::Evaluation(), 5));
}

TEST(Bands, AStepBoundaryBesideAnEpochIsAtIt) {
  EXPECT_DOUBLE_EQ(expected_top1(two_bands(), 20.01, 0.05).value().min, 60);
  EXPECT_DOUBLE_EQ(expected_top1(two_bands(), 9.99, 0.05).value().max, 50);
  RunPlan plan;
  plan.steps_per_epoch = 7;
  EXPECT_TRUE(expected_at(two_bands(), plan, 140));
  EXPECT_FALSE(expected_at(two_bands(), plan, 141));
}

TEST(Bands, OneBandIsForItsEpochAlone) {
  proto::Evaluation evaluation;
  evaluation.add_expected()->set_epoch(5);
  evaluation.mutable_expected(0)->set_top1_min(70);
  EXPECT_DOUBLE_EQ(expected_top1(evaluation, 5).value().min, 70);
  EXPECT_DOUBLE_EQ(expected_top1(evaluation, 5).value().max, 100);
  EXPECT_FALSE(expected_top1(evaluation, 6));
}

TEST(Bands, VerdictsIncludeTheLimits) {
  const ExpectedRange range{57.4, 58.9};
  EXPECT_EQ(band_verdict(range, 57.4), "on track");
  EXPECT_EQ(band_verdict(range, 58.9), "on track");
  EXPECT_EQ(band_verdict(range, 57.3), "below band");
  EXPECT_EQ(band_verdict(range, 59.0), "above band");
  EXPECT_EQ(describe_band(12, range, 58.1), "epoch 12: 58.10 %, expected 57.4 to 58.9: on track");
}

}  // namespace
}  // namespace lockstep
