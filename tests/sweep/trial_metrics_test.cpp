// What a run folder says about a trial.
// SPDX-License-Identifier: Apache-2.0
#include "sweep/trial_metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "tests/sweep/world.h"

namespace lockstep {
namespace {

using testing::TempFolder;

TEST(TrialMetrics, ReadsEvaluationsNoiseSpeedAndEnergy) {
  const TempFolder folder;
  std::filesystem::create_directories(folder / "run");
  std::ofstream(folder / "run/metrics.jsonl") << R"({"t":1,"step":10,"epoch":1,"kind":"perf","images_per_sec":100,"host_peak_gb":0.5}
{"t":1,"step":10,"epoch":1,"kind":"train","loss":1,"top1":0.9,"noise_scale":7}
{"t":1,"step":10,"epoch":1,"kind":"noise","steps":10,"noise_scale":20,"gradient_norm2":1}
{"t":1,"step":10,"epoch":1,"kind":"val","loss":1,"top1":0.25,"top5":0.5}
not json
{"t":1,"step":40,"epoch":4,"kind":"perf","images_per_sec":200,"host_peak_gb":0.25}
{"t":1,"step":40,"epoch":4,"kind":"noise","gradient_norm2":-1,"gradient_variance":3}
{"t":1,"step":40,"epoch":4,"kind":"val","loss":1,"top1":0.5}
{"t":2,"step":40,"epoch":4,"kind":"val","loss":1,"top1":0.5}
{"t":2,"step":50,"epoch":5,"kind":"val","loss":null,"top1":nu)";
  std::ofstream(folder / "run/run.json") << R"({"start_step": 10})";
  const TrialMeasurement measured =
      read_measurement(folder / "run", R"({"step": 40, "digest": "abc", "energy_joules": 600, "energy_source": "RAPL"})", 8);
  ASSERT_EQ(measured.evaluations.size(), 2u) << "each step once, cut lines passed over";
  EXPECT_EQ(measured.evaluations[1].step, 40);
  EXPECT_EQ(measured.evaluations[1].top1, 0.5);
  ASSERT_EQ(measured.noise.size(), 2u);
  EXPECT_EQ(measured.noise[0].noise_scale, 20);
  EXPECT_EQ(measured.noise[0].steps, 10);
  EXPECT_TRUE(std::isinf(measured.noise[1].noise_scale));
  EXPECT_DOUBLE_EQ(*measured.images_per_second, 40 / (10.0 / 100 + 30.0 / 200));
  EXPECT_DOUBLE_EQ(*measured.peak_memory_bytes, 0.5e9);
  EXPECT_DOUBLE_EQ(*measured.joules_per_image, 600.0 / (30 * 8));
  EXPECT_EQ(measured.energy_source, "RAPL");
  EXPECT_EQ(measured.digest, "abc");
}

TEST(TrialMetrics, MissingFilesGiveNothing) {
  const TrialMeasurement measured = read_measurement("/nowhere", "", 8);
  EXPECT_TRUE(measured.evaluations.empty());
  EXPECT_FALSE(measured.images_per_second);
  EXPECT_FALSE(measured.joules_per_image);
}

// A run at constant noise scale N predicts N, at any batch; where N grows, late steps count less: they advance less.
TEST(TrialMetrics, ThePredictionIsTheNoiseOnTheWay) {
  const std::vector<NoisePoint> constant{{1, 300}, {2, 300}, {3, 300}};
  for (const std::int64_t batch : {1, 64, 100000}) EXPECT_NEAR(*predicted_critical_batch(constant, batch, 3), 300, 1e-9);
  const std::vector<NoisePoint> growing{{1, 100}, {2, 1000}};
  const double w1 = 1 / (1 + 100.0 / 64), w2 = 1 / (1 + 1000.0 / 64);
  EXPECT_DOUBLE_EQ(*predicted_critical_batch(growing, 64, 2), (100 * w1 + 1000 * w2) / (w1 + w2));
  EXPECT_DOUBLE_EQ(*predicted_critical_batch(growing, 64, 1), 100) << "only the way to the target";
  EXPECT_FALSE(predicted_critical_batch(growing, 64, 0));
  const std::vector<NoisePoint> uneven{{1, 100, 1}, {4, 1000, 3}};
  EXPECT_DOUBLE_EQ(*predicted_critical_batch(uneven, 64, 4), (100 * w1 + 3 * 1000 * w2) / (w1 + 3 * w2)) << "each step counts";
  EXPECT_DOUBLE_EQ(*predicted_critical_batch(uneven, 64, 2), (100 * w1 + 1000 * w2) / (w1 + w2)) << "the way ends within an epoch";
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_NEAR(*predicted_critical_batch(std::vector<NoisePoint>{{1, 100}, {2, inf}}, 64, 2),
              *predicted_critical_batch(std::vector<NoisePoint>{{1, 100}, {2, 1e15}}, 64, 2), 1e-6);
}

TEST(TrialMetrics, TheTargetIsReachedAtItsFirstEvaluationAtOrAbove) {
  const std::vector<TrialEvaluation> evaluations{{1, 1, 0.5}, {2, 2, 0.7}, {3, 3, 0.6}};
  EXPECT_EQ(first_reaching(evaluations, 0.7)->step, 2);
  EXPECT_EQ(first_reaching(evaluations, 0.4)->step, 1);
  EXPECT_FALSE(first_reaching(evaluations, 0.71));
}

}  // namespace
}  // namespace lockstep
