// The gradient noise scale's arithmetic: formulas, averages, groups, and when it is measured.
// SPDX-License-Identifier: Apache-2.0
#include "train/noise_scale.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "models/model.h"
#include "tests/train/step_job.h"

namespace lockstep {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using testing_job::run_steps;
using testing_job::session_of;

NoisePlan plan_of(double part_batch, double batch) {
  return {.why_not = {}, .part_shards = 1, .parts = static_cast<int>(batch / part_batch), .part_batch = part_batch, .batch = batch};
}

TEST(NoiseScale, FormulasInvertTheExpectations) {
  const double norm2 = 0.25, variance = 48;
  for (const auto& [b, batch] : std::map<double, double>{{4, 8}, {32, 512}, {256, 1024}}) {
    const NoiseEstimate estimate = estimate_noise(norm2 + variance / b, norm2 + variance / batch, b, batch);
    const double rounding = 1e-15 * (norm2 + variance / b) * batch / (batch - b) * 8;
    EXPECT_NEAR(estimate.norm2, norm2, rounding);
    EXPECT_NEAR(estimate.variance, variance, rounding * b * 4);
    EXPECT_NEAR(estimate.critical_batch(), 192, 192 * 1e-12);
  }
  EXPECT_TRUE(std::isnan(NoiseEstimate{-1, 2}.critical_batch()));
  EXPECT_TRUE(std::isnan(NoiseEstimate{1, -2}.critical_batch()));
}

TEST(NoiseScale, AveragesApartAndDividesLast) {
  NoiseScale noise(plan_of(4, 8), {"a", "b"});
  EXPECT_FALSE(noise.measured());
  // Steps of which each alone gives another ratio: |G|^2 of 1 and 3, tr(Sigma) of 8 and 16.
  for (int i = 0; i < 2000; ++i) {
    const double norm2 = i % 2 == 0 ? 1 : 3, variance = i % 2 == 0 ? 8 : 16;
    noise.add({.measured = true, .part = {norm2 + variance / 4, 1}, .mean = {norm2 + variance / 8, 1}});
  }
  const double last = 1 / 1.99;  // weight of the newer of each two, with decay 0.99
  EXPECT_NEAR(noise.smoothed(0).norm2, 1 + 2 * last, 1e-6);
  EXPECT_NEAR(noise.smoothed(0).variance, 8 + 8 * last, 1e-6);
  EXPECT_EQ(noise.epoch_mean(0).norm2, 2);
  EXPECT_EQ(noise.epoch_mean(0).critical_batch(), 6);
  EXPECT_NEAR(noise.epoch_mean().norm2, 3, 1e-9) << "over all groups";
  EXPECT_EQ(noise.epoch_mean(1).variance, 0);
  EXPECT_EQ(noise.epoch_steps(), 2000);
  noise.begin_epoch();
  EXPECT_EQ(noise.epoch_steps(), 0);
  EXPECT_NEAR(noise.smoothed(0).norm2, 1 + 2 * last, 1e-6) << "the smoothed values go on";
}

TEST(NoiseScale, TheFirstStepsAreNotDrawnToZero) {
  NoiseScale noise(plan_of(4, 8), {"a"});
  noise.add({.measured = true, .part = {3}, .mean = {2}});
  EXPECT_NEAR(noise.smoothed().norm2, 1, 1e-12);
  EXPECT_NEAR(noise.smoothed().variance, 8, 1e-12);
  EXPECT_EQ(noise.describe(), "critical batch now ~ 8 (you use 8)");
}

TEST(NoiseScale, WhatIsNotMeasuredOrNotFiniteChangesNothing) {
  NoiseScale noise(plan_of(4, 8), {"a"});
  noise.add({.measured = false, .part = {3}, .mean = {2}});
  noise.add({.measured = true, .part = {std::numeric_limits<double>::infinity()}, .mean = {2}});
  noise.add({.measured = true, .part = {3}, .mean = {std::nan("")}});
  EXPECT_FALSE(noise.measured());
  noise.add({.measured = true, .part = {3}, .mean = {4}});
  EXPECT_THAT(noise.describe(), HasSubstr("not measurable"));
}

TEST(NoiseScale, GoesOnFromSavedSumsToTheBit) {
  const auto step = [](int i) {
    return GradientSquares{.measured = true, .part = {3 + std::sin(i), 2}, .mean = {2 + std::cos(3 * i) / 7, 1}};
  };
  NoiseScale whole(plan_of(4, 8), {"a", "b"}), first(plan_of(4, 8), {"a", "b"}), second(plan_of(4, 8), {"a", "b"});
  for (int i = 0; i < 9; ++i) whole.add(step(i));
  for (int i = 0; i < 5; ++i) first.add(step(i));
  std::map<std::string, double> saved{{"loss", 1}};
  first.save(saved);
  second.restore(saved);
  for (int i = 5; i < 9; ++i) second.add(step(i));
  std::map<std::string, double> want, got;
  whole.save(want);
  second.save(got);
  EXPECT_EQ(got, want);
  const auto reported = [](const NoiseScale& noise) {
    std::vector<double> all;
    for (const NoiseEstimate& each : {noise.smoothed(), noise.smoothed(1), noise.epoch_mean(), noise.epoch_mean(0), noise.epoch_mean(1)})
      all.insert(all.end(), {each.norm2, each.variance});
    return all;
  };
  EXPECT_EQ(reported(second), reported(whole));

  NoiseScale other(plan_of(4, 8), {"a", "c"});
  other.restore(saved);
  EXPECT_FALSE(other.measured()) << "other layers: begins anew";
}

TEST(NoiseScale, RoundsForPeople) {
  EXPECT_EQ(round_batch(1934.2), "1,900");
  EXPECT_EQ(round_batch(1234567), "1,200,000");
  EXPECT_EQ(round_batch(96.4), "96");
  EXPECT_EQ(round_batch(3.2), "3");
  EXPECT_EQ(round_batch(0.2), "1");
}

// ---- groups

struct Layer {
  std::string name;
  std::int64_t numel;
  ParameterKind kind = ParameterKind::kWeight;
};

// "a a b": the group of each parameter.
std::string picture(const std::vector<Layer>& layers) {
  std::vector<Parameter> parameters;
  for (const Layer& layer : layers)
    parameters.push_back({static_cast<int>(parameters.size()), layer.name, layer.kind, Tensor::zeros({layer.numel}, DType::kF32), {}});
  std::vector<Parameter*> pointers;
  for (Parameter& each : parameters) pointers.push_back(&each);
  const NoiseGroups groups = noise_groups(pointers);
  std::string text;
  for (const int group : groups.of_parameter) text += (text.empty() ? "" : " ") + groups.names[static_cast<std::size_t>(group)];
  return text;
}

TEST(NoiseGroups, AreTheFirstWordsAndNormsGoWithTheLayerBefore) {
  EXPECT_EQ(picture({{"conv1.weight", 9}, {"bn1.weight", 3, ParameterKind::kNormScale}, {"bn1.bias", 3, ParameterKind::kNormBias},
                     {"layer1.0.conv1.weight", 9}, {"layer1.1.conv1.weight", 9}, {"fc.weight", 2}, {"fc.bias", 2, ParameterKind::kBias}}),
            "conv1 conv1 conv1 layer1 layer1 fc fc");
}

TEST(NoiseGroups, OfFewFirstWordsTheSecondCountsToo) {
  EXPECT_EQ(picture({{"features.0.weight", 9}, {"features.3.0.weight", 9}, {"features.3.1.weight", 9}, {"classifier.weight", 2}}),
            "features.0 features.3 features.3 classifier");
}

TEST(NoiseGroups, AreAtMostEightAndTheSmallestNeighboursJoin) {
  std::vector<Layer> layers;
  for (int i = 0; i < 10; ++i) layers.push_back({"block" + std::to_string(i) + ".weight", i == 3 || i == 4 ? 10 : 100 + i});
  layers.push_back({"fc.weight", 1});
  EXPECT_EQ(picture(layers), "block0..block1 block0..block1 block2..block4 block2..block4 block2..block4 block5 block6 block7 block8 block9 fc");
  EXPECT_EQ(picture({{"weight", 3}}), "weight");
}

// ---- plans

NoisePlan plan_with(const testing_job::Overrides& set, int ranks = 1) {
  const Session session = session_of(set, ranks);
  return plan_noise(session.config(), session.plan, *session.network.model);
}

TEST(NoisePlan, SaysWhatItMeasuresOrWhyNot) {
  EXPECT_THAT(plan_with({}).describe(), MatchesRegex("measured every [0-9]+ steps from 4 gradients of 4 images"));
  EXPECT_EQ(plan_with({"batch.shard_batch=32", "batch.global_batch=64", "data.height=32", "data.width=32", "model.base_width=16"}).describe(),
            "measured each step from 2 gradients of 32 images");
  EXPECT_THAT(plan_with({"logging.noise_scale=false"}).describe(), HasSubstr("logging.noise_scale is false"));
  EXPECT_THAT(plan_with({"batch.shard_batch=16"}).describe(), HasSubstr("smaller batch.shard_batch"));
  EXPECT_THAT(plan_with({"model.batch_norm.scope=GLOBAL"}).describe(), HasSubstr("whole global batch"));
  const testing_job::Overrides pairs{"model.batch_norm.scope=GROUP", "model.batch_norm.group_shards=2"};
  EXPECT_THAT(plan_with(pairs, 2).describe(), HasSubstr("from 2 gradients of 8 images"));
  EXPECT_THAT(plan_with(pairs, 4).describe(), HasSubstr("on several ranks"));
  EXPECT_THAT(plan_with({"model.batch_norm.scope=GROUP", "model.batch_norm.group_shards=2", "batch.global_batch=24"}).describe(),
              HasSubstr("never added by themselves"));
}

TEST(NoisePlan, WithoutBatchNormItsScopeDoesNotMatter) {
  const auto with_scope = [](const char* scope) {
    return plan_with({"model.name=squeezenet1_1", "data.height=24", "data.width=24", std::string("model.batch_norm.scope=") + scope}).describe();
  };
  EXPECT_THAT(with_scope("GLOBAL"), HasSubstr("from 4 gradients of 4 images"));
  EXPECT_EQ(with_scope("GLOBAL"), with_scope("SHARD"));
}

// Few operations for many parameters: one image of eight by eight pixels.
const testing_job::Overrides kCostly{"batch.shard_batch=1", "batch.global_batch=4", "data.height=8", "data.width=8", "model.base_width=24"};

TEST(NoisePlan, MeasuresSeldomWhereReadingGradientsWouldCost) {
  const std::int64_t every = plan_with(kCostly).every_steps;
  EXPECT_GT(every, 1);
  testing_job::Overrides more = kCostly;
  more.back() = "model.base_width=40";  // beyond the cache
  EXPECT_GT(plan_with(more).every_steps, 2 * every);
  more.insert(more.end(), {"batch.shard_batch=64", "batch.global_batch=128", "data.synthetic.size=128"});
  EXPECT_LT(plan_with(more).every_steps, 8) << "more images, more arithmetic for the same gradient";
  EXPECT_EQ(plan_with(kCostly, 4).every_steps, every) << "not a matter of ranks";
}

TEST(NoisePlan, StepsInBetweenAreNotMeasured) {
  const std::int64_t every = plan_with(kCostly).every_steps;
  ASSERT_GT(every, 1);
  Session session = session_of(kCostly);
  const auto comm = make_solo_communicator();
  for (const StepResult& result : run_steps(session, *comm, every - 1, every + 2)) {
    EXPECT_EQ(result.squares.measured, result.step == every);
    EXPECT_EQ(result.squares.part[0] > 0, result.step == every);
  }
}

}  // namespace
}  // namespace lockstep
