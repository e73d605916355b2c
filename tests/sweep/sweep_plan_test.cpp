// Which trials a sweep has, and their configs.
// SPDX-License-Identifier: Apache-2.0
#include "sweep/sweep_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <utility>

#include "core/error.h"
#include "proto/config.pb.h"
#include "tests/sweep/world.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kWorldData;
using testing::world_config;

SweepPlan plan(SweepOptions options, const std::vector<ConfigOverride>& overrides = {}, int ranks = 1) {
  return plan_sweep(world_config(overrides), options, kWorldData, "folder", ranks);
}

std::string error_of(SweepOptions options, const std::vector<ConfigOverride>& overrides = {}, int ranks = 1) {
  try {
    plan(options, overrides, ranks);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(SweepPlan, RatesLieAroundBothRules) {
  const SweepPlan sweep = plan({.batches = {32, 128, 512, 2048}});
  EXPECT_THAT(sweep.batches[1].lrs, ElementsAre(0.2, 0.4, 0.8));
  EXPECT_THAT(sweep.batches[0].lrs, ElementsAre(0.05, 0.1, 0.2, 0.4));   // 0.1 and 0.2, halved and doubled
  EXPECT_THAT(sweep.batches[2].lrs, ElementsAre(0.4, 0.8, 1.6, 3.2));    // 1.6 and 0.8
  EXPECT_THAT(sweep.batches[3].lrs, ElementsAre(0.8, 1.6, 3.2, 6.4, 12.8));
  EXPECT_THAT(plan({.batches = {512}, .rule = ScalingRule::kLinear}).batches[0].lrs, ElementsAre(0.8, 1.6, 3.2));
  EXPECT_THAT(plan({.batches = {512}, .factors = {1}, .rule = ScalingRule::kSqrt}).batches[0].lrs, ElementsAre(0.8));
  EXPECT_THAT(plan({.batches = {512}, .lrs = {0.1, 0.101}}).batches[0].lrs, ElementsAre(0.1, 0.101));  // as told
  EXPECT_THAT(plan({.batches = {512}}, {parse_override("schedule.lr_per_256=0.8")}).batches[0].lrs, ElementsAre(0.4, 0.8, 1.6, 3.2));
}

TEST(SweepPlan, SmallBatchesAreOneShardAndLargeOnesSeveral) {
  const SweepPlan sweep = plan({.batches = {16, 32, 256}});
  EXPECT_EQ(sweep.batches[0].shard_batch, 16);
  EXPECT_EQ(sweep.batches[2].shard_batch, 32);
  EXPECT_EQ(sweep.batches[2].steps_per_epoch, 50);
  EXPECT_EQ(sweep.batches[2].total_steps, 1000);
  EXPECT_THAT(sweep.batches[2].rung_steps, ElementsAre(111, 333, 1000));
}

TEST(SweepPlan, WarmUpGrowsWithTheRootOfTheBatchUpToAQuarter) {
  const std::vector<ConfigOverride> warm{parse_override("schedule.warmup_epochs=2")};
  const SweepPlan sweep = plan({.batches = {32, 128, 512, 4096}}, warm);
  EXPECT_EQ(sweep.batches[0].warmup_epochs, 2);
  EXPECT_EQ(sweep.batches[1].warmup_epochs, 2);
  EXPECT_EQ(sweep.batches[2].warmup_epochs, 4);
  EXPECT_EQ(sweep.batches[3].warmup_epochs, 5);  // of 20
  EXPECT_THAT(sweep.notes, IsEmpty());
  EXPECT_THAT(plan({.batches = {512}}).notes, ElementsAre(HasSubstr("no warm-up")));
}

TEST(SweepPlan, MovingAveragesLookBackOverAsManySamples) {
  const SweepPlan sweep = plan({.batches = {64, 128, 512}}, {parse_override("average.decay=0.98"), parse_override("model.batch_norm.momentum=0.2")});
  const auto averages = [&](std::int64_t batch) {
    const proto::Config config = parse_config(trial_config_text(sweep, {batch, 0.1, 1}), "trial.pbtxt").config();
    return std::pair(config.average().decay(), config.model().batch_norm().momentum());
  };
  EXPECT_EQ(averages(128), std::pair(0.98, 0.2));
  const double rounding = 4 * std::numeric_limits<double>::epsilon();
  EXPECT_NEAR(averages(512).first, 0.98 * 0.98 * 0.98 * 0.98, rounding);  // one step of 512 forgets what four of 128 do
  EXPECT_NEAR(averages(512).second, 1 - 0.8 * 0.8 * 0.8 * 0.8, rounding);
  EXPECT_NEAR(averages(64).first * averages(64).first, 0.98, rounding);
  EXPECT_NEAR((1 - averages(64).second) * (1 - averages(64).second), 0.8, rounding);
}

TEST(SweepPlan, BadBatchesAreNamedWithTheNearestGoodOnes) {
  EXPECT_THAT(error_of({.batches = {100}}), HasSubstr("100 is not a multiple of batch.shard_batch = 32\n  The nearest ones: 96 and 128"));
  EXPECT_THAT(error_of({.batches = {25600}}), HasSubstr("25600 is more than the 12800 training samples"));
  EXPECT_THAT(error_of({.batches = {64}}, {}, 4), HasSubstr("64 with --ranks 4: 4 ranks can't share the 2 shards"));
  EXPECT_THAT(error_of({.batches = {64}}, {parse_override("max_steps=5")}), HasSubstr("max_steps = 5 (--set)"));
  EXPECT_THAT(error_of({.batches = {64}}, {parse_override("evaluation.stop_at_top1=90")}), HasSubstr("evaluation.stop_at_top1 = 90 (--set)"));
  EXPECT_THAT(error_of({.batches = {64}, .lrs = {1e300}}), "no error");
}

TEST(SweepPlan, ATrialsConfigIsTheBaseWithItsOwnSizes) {
  const SweepPlan sweep = plan({.batches = {512}}, {parse_override("schedule.lr_per_256=0.8"), parse_override("evaluation.every_epochs=0")});
  const TrialKey key{512, 1.6, 7};
  EXPECT_EQ(key.name(), "512-1.6-7");
  const LoadedConfig trial = parse_config(trial_config_text(sweep, key), "trial.pbtxt");
  EXPECT_NO_THROW(validate(trial));
  proto::Config want = sweep.base.config();
  want.set_name("world-512-1.6-7");
  want.set_seed(7);
  want.set_run_dir("folder/trials/512-1.6-7");
  want.mutable_batch()->set_global_batch(512);
  want.mutable_schedule()->set_lr(1.6);
  want.mutable_model()->mutable_batch_norm()->set_momentum(1 - std::pow(1 - 0.1, 4));
  EXPECT_EQ(config_digest(trial.config()), config_digest(want));
  EXPECT_EQ(trial.config().run_dir(), want.run_dir());
  EXPECT_EQ(trial.config().evaluation().every_epochs(), 1);
  EXPECT_EQ(trial.config().logging().every_steps(), 25) << "an epoch";
}

TEST(SweepPlan, TheProbeNeedsSeveralShards) {
  EXPECT_EQ(plan({.batches = {64}}).probe->name(), "128-0.4-1");
  const SweepPlan one = plan({.batches = {64}}, {parse_override("batch.shard_batch=128")});
  EXPECT_FALSE(one.probe);
  EXPECT_THAT(one.probe_note, HasSubstr("single shard"));
  EXPECT_FALSE(plan({.batches = {64}}, {parse_override("logging.noise_scale=false")}).probe);
  EXPECT_FALSE(plan({.batches = {64}}, {parse_override("model.batch_norm.scope=GLOBAL")}).probe);
}

TEST(SweepPlan, IdentityHoldsWhatChangesTrialsAndNothingElse) {
  const std::string ours = sweep_identity(plan({.batches = {64, 128}}));
  const auto differences = [&](SweepOptions options, const std::vector<ConfigOverride>& overrides = {}) {
    return identity_differences(ours, sweep_identity(plan(options, overrides)));
  };
  EXPECT_THAT(differences({.batches = {64, 128}, .target = 0.5}), IsEmpty());
  EXPECT_THAT(differences({.batches = {64, 128}}, {parse_override("checkpoint.keep_last=5"), parse_override("data.loader_threads=2")}), IsEmpty());
  EXPECT_THAT(differences({.batches = {64, 256}}), ElementsAre(HasSubstr("batch 128: there"), HasSubstr("batch 256: there (none), here")));
  EXPECT_THAT(differences({.batches = {64, 128}, .seeds = 5}), ElementsAre("seeds: there 3, here 5"));
  EXPECT_THAT(differences({.batches = {64, 128}, .keep = 3}), ElementsAre(HasSubstr("kept at least")));
  EXPECT_THAT(differences({.batches = {64, 128}, .rungs = {1}}), ElementsAre(HasSubstr("rungs")));
  EXPECT_THAT(differences({.batches = {64, 128}}, {parse_override("optimizer.momentum=0.8")}), ElementsAre(HasSubstr("optimizer.momentum: there")));
  EXPECT_THAT(differences({.batches = {64, 128}}, {parse_override("evaluation.every_epochs=2")}), ElementsAre(HasSubstr("evaluation.every_epochs")));
  EXPECT_THAT(differences({.batches = {64, 128}, .select = Select::kTarget, .target = 0.5}), ElementsAre(HasSubstr("selected by target")));
}

}  // namespace
}  // namespace lockstep
