// The verdict: what is known of the world is found, and what is not known is not said.
// SPDX-License-Identifier: Apache-2.0
#include "sweep/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "charts/number_text.h"
#include "core/error.h"
#include "sweep/verdict_text.h"
#include "tests/sweep/world.h"

namespace lockstep::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

class Judge : public ::testing::Test {
 protected:
  SweepResult sweep(const SweepOptions& options, const std::vector<ConfigOverride>& overrides = {}) {
    const SweepPlan plan = plan_sweep(world_config(overrides), options, kWorldData, folder_ / std::to_string(++sweeps_), 1);
    const TrialStore store(plan);
    WorldRunner runner(world_, plan);
    EXPECT_EQ(run_sweep(plan, store, runner, quiet(4)), SweepEnd::kComplete);
    return judge_sweep(plan, store.load());
  }
  World world_;
  TempFolder folder_;
  int sweeps_ = 0;
};

// Twenty epochs bring batches up to about B_crit to the plateau; larger ones need more and fall.
const SweepOptions kWide{.batches = parse_batches("64..4096"), .factors = {0.25, 0.5, 1, 2, 4}, .target = 0.9};

TEST_F(Judge, TheCriticalBatchOfTheWorldIsFound) {
  const SweepResult result = sweep(kWide, {parse_override("evaluation.every_epochs=0.25")});
  const BatchLaw& fit = result.verdict.fit;
  ASSERT_TRUE(fit.valid());
  EXPECT_TRUE(result.complete);
  // Rates are tried in steps of 2, the way to the target is seen in quarters of an epoch: at worst half a step off costs a factor of
  // 1 + 0.5^2 in samples, whichever batches it hits.
  EXPECT_GT(fit.critical_batch, world_.critical_batch / 1.25 / 1.25);
  EXPECT_LT(fit.critical_batch, world_.critical_batch * 1.25 * 1.25);
  EXPECT_DOUBLE_EQ(*result.verdict.predicted_critical, world_.noise_scale);
  EXPECT_DOUBLE_EQ(*result.verdict.predicted_over_fitted, *result.verdict.predicted_critical / fit.critical_batch);
  EXPECT_THAT(result.verdict.text, Contains(AllOf(HasSubstr("Critical batch by fit"), HasSubstr("within a factor of 2"))));
}

TEST_F(Judge, ThePlateauEndsWhereAccuracyFalls) {
  const SweepResult result = sweep(kWide);
  const SweepVerdict& verdict = result.verdict;
  ASSERT_TRUE(verdict.largest_without_loss);
  const std::int64_t largest = *verdict.largest_without_loss;
  EXPECT_LT(largest, 4096) << "the world needs more samples there than twenty epochs have";
  for (const BatchSummary& batch : result.batches) {
    ASSERT_TRUE(batch.mean_top1);
    EXPECT_EQ(batch.without_loss, *batch.difference >= -verdict.tolerance) << batch.batch;
    if (batch.batch > largest) {
      EXPECT_FALSE(batch.without_loss);
    }
    EXPECT_EQ(batch.seeds, 3);
    EXPECT_LE(*batch.min_top1, *batch.mean_top1);
    EXPECT_LE(batch.difference_low.value_or(-1), *batch.difference);
  }
  EXPECT_DOUBLE_EQ(verdict.tolerance, 2 * verdict.spread);
  EXPECT_FALSE(result.batches.back().without_loss);
  EXPECT_LT(*result.batches.back().difference_high, 0) << "and surely so";
  EXPECT_THAT(verdict.text.front(), HasSubstr("Largest batch without loss: " + number_text(static_cast<double>(largest))));
}

TEST_F(Judge, TheScalingRuleOfTheWorldIsNamed) {
  world_.critical_batch = 1e7;  // lr* = 0.8 B / 256: linear
  world_.min_samples = 150000;  // twenty epochs just do: half a step of the rate costs ten times the scatter
  SweepOptions options{.batches = parse_batches("64..1024"), .target = 0.9};
  const SweepResult linear = sweep(options);
  EXPECT_EQ(linear.verdict.lr_rule, "linear");
  EXPECT_NEAR(*linear.verdict.lr_exponent, 1, 0.05);
  EXPECT_NEAR(*linear.verdict.linear_error, 0, 1e-9);
  EXPECT_THAT(linear.verdict.text, Contains(HasSubstr("the linear rule held")));
  for (const BatchSummary& batch : linear.batches) EXPECT_NEAR(*batch.best_lr, batch.linear_lr, 1e-12) << batch.batch;
}

TEST_F(Judge, ATargetOutOfReachIsSaidWithTheBestSeen) {
  SweepOptions options{.batches = {64, 128, 256}, .target = 0.99};
  const SweepResult result = sweep(options);
  EXPECT_FALSE(result.verdict.fewest_samples);
  EXPECT_FALSE(result.verdict.fit.valid());
  double best = 0;
  for (const TrialRecord& trial : result.trials) best = std::max(best, trial.best_top1.value_or(0));
  EXPECT_THAT(result.verdict.text,
              Contains(AllOf(HasSubstr("No batch reached the target of 99.00 %"), HasSubstr("the best seen is " + percent_text(best)))));
}

TEST_F(Judge, WithoutATargetNothingIsSaidAboutTheWay) {
  const SweepResult result = sweep({.batches = {64, 128}});
  EXPECT_THAT(result.verdict.text, Contains(HasSubstr("No target was given")));
  EXPECT_FALSE(result.verdict.fastest);
}

TEST_F(Judge, OneSeedShowsNoSpreadSoTheEvaluationSetsIsTaken) {
  const SweepResult result = sweep({.batches = {64, 128}, .seeds = 1, .target = 0.9});
  EXPECT_TRUE(result.verdict.spread_is_sampling);
  const double p = std::max(*result.batches[0].mean_top1, *result.batches[1].mean_top1);
  EXPECT_DOUBLE_EQ(result.verdict.spread, std::sqrt(p * (1 - p) / 2000));
  EXPECT_FALSE(result.batches[0].difference_low);
}

TEST_F(Judge, RatesAtTheEdgeOfWhatWasTriedAreTold) {
  const SweepResult result = sweep({.batches = {64, 128}, .lrs = {0.01, 0.02}, .target = 0.9});
  EXPECT_TRUE(result.batches[0].at_edge);
  EXPECT_THAT(result.verdict.text, Contains(HasSubstr("lowest or highest tried at batch 64 and 128")));
}

TEST_F(Judge, JumpingEvaluationsAreTold) {
  SweepResult result = sweep(kWide);
  const auto told = [&] { return ::testing::Value(verdict_text(result), Contains(HasSubstr("Evaluations jumped"))); };
  EXPECT_FALSE(told());
  for (TrialRecord& trial : result.trials)  // every third evaluation finds the statistics behind the weights
    for (std::size_t i = 2; i < trial.evaluations.size(); i += 3) trial.evaluations[i].top1 -= 0.3;
  EXPECT_TRUE(told());
  result.rungs = {1};
  EXPECT_FALSE(told()) << "nothing was dropped by them";
}

TEST_F(Judge, AnUnfinishedSweepSaysWhatIsMissing) {
  const SweepPlan plan = plan_sweep(world_config(), {.batches = {64, 128}, .target = 0.9}, kWorldData, folder_ / "none", 1);
  const SweepResult result = judge_sweep(plan, {});
  EXPECT_FALSE(result.complete);
  EXPECT_THAT(result.missing,
              ElementsAre(HasSubstr("the probe, 128-0.4-1"), HasSubstr("batch 64: rung 1 of 3"), HasSubstr("batch 128: rung 1 of 3")));
  EXPECT_THAT(result.verdict.text, Contains(HasSubstr("no verdict")));
  for (const TrialRecord& trial : result.trials) EXPECT_EQ(trial.status, TrialStatus::kWaiting);
}

TEST_F(Judge, TheResultSurvivesJson) {
  const SweepResult result = sweep(kWide);
  const std::string text = sweep_json(result);
  EXPECT_EQ(sweep_json(parse_sweep_json(text, "sweep.json")), text);
  EXPECT_THAT(sweep_json(result, false), Not(HasSubstr("images_per_second")));
}

TEST_F(Judge, DamagedJsonIsAUserErrorThatNamesTheField) {
  const std::string text = sweep_json(sweep({.batches = {64}, .seeds = 1, .target = 0.9}));
  for (std::size_t length = 0; length + 2 < text.size(); length += 7) EXPECT_THROW(parse_sweep_json(text.substr(0, length), "sweep.json"), UserError);
  const auto error_of = [&](const std::string& from, const std::string& to) -> std::string {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    try {
      parse_sweep_json(changed, "sweep.json");
    } catch (const UserError& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(error_of("\"base_batch\": 128", "\"base_batch\": \"many\""), HasSubstr("sweep.json.base_batch: got \"many\""));
  for (const char* no_integer : {"1.5", "1e300", "true", "9223372036854775808"})
    EXPECT_THAT(error_of("\"base_batch\": 128", std::string("\"base_batch\": ") + no_integer), HasSubstr("sweep.json.base_batch: got "));
  const std::string deep = std::string(1000000, '[') + std::string(1000000, ']');  // to print it would need a stack as deep
  EXPECT_THAT(error_of("\"base_batch\": 128", "\"base_batch\": " + deep), EndsWith("sweep.json.base_batch: got an array"));
  EXPECT_THAT(error_of("\"role\": \"search\"", "\"role\": " + deep), EndsWith("unknown word an array"));
  EXPECT_THAT(error_of("\"base_batch\"", "\"other\""), HasSubstr("sweep.json.base_batch: missing"));
  EXPECT_THAT(error_of("\"role\": \"search\"", "\"role\": \"king\""), HasSubstr(".role: unknown word \"king\""));
  EXPECT_THAT(error_of("lockstep sweep 1", "lockstep sweep 9"), HasSubstr("format is 'lockstep sweep 9'"));
}

}  // namespace
}  // namespace lockstep::testing
