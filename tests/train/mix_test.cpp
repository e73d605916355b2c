// Mixup and CutMix in training steps, and steps in another image size with the same network: functions of the state alone.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "core/mix_row.h"
#include "ops/mix_images.h"
#include "tests/train/step_job.h"
#include "train/memory_plan.h"

namespace lockstep {
namespace {

using namespace testing_job;

const Overrides kMixed{"data.augment.mix.mixup_alpha=0.4", "data.augment.mix.cutmix_alpha=1"};

TEST(MixStep, HasTheSameBitsAtAnyNumberOfRanksAndThreads) {
  const std::string one = digest_after(kMixed, 4);
  EXPECT_EQ(digest_after(kMixed, 4, 2), one);
  EXPECT_EQ(digest_after(kMixed, 4, 4), one);
  Overrides threads = kMixed;
  threads.push_back("data.loader_threads=3");
  EXPECT_EQ(digest_after(threads, 4), one);
  EXPECT_NE(digest_after({}, 4), one);
}

TEST(MixStep, BatchNormOverAllShardsMixesToo) {
  Overrides global = kMixed;
  global.push_back("model.batch_norm.scope=GLOBAL");
  EXPECT_EQ(digest_after(global, 2), digest_after(global, 2, 2));
  EXPECT_NE(digest_after(global, 2), digest_after({"model.batch_norm.scope=GLOBAL"}, 2));
}

TEST(MixStep, AResumedRunHasTheDigestOfOneThatWasNot) {
  const auto comm = make_solo_communicator();
  Session first = session_of(kMixed), second = session_of(kMixed);
  run_steps(first, *comm, 0, 3);
  restore_state(capture_state(first, 3), second);
  run_steps(second, *comm, 3, 5);
  EXPECT_EQ(digest_of(second, 5), digest_after(kMixed, 5));
}

TEST(MixStep, ThePlanKnowsTheRows) {
  Session plain = session_of({}), mixed = session_of(kMixed);
  EXPECT_FALSE(plain.plan.mixes);
  EXPECT_TRUE(mixed.plan.mixes);
  EXPECT_GE(plan_memory_of(mixed).pass_bytes, plan_memory_of(plain).pass_bytes);
}

// Progressive resizing: a new runner in another size goes on with the same network and optimizer as if it were a resumed run's.
TEST(MixStep, ANewRunnerMayHaveAnotherImageSize) {
  const auto comm = make_solo_communicator();
  for (const Overrides& set : {Overrides{}, kMixed, Overrides{"precision=BF16", "average.decay=0.9"}}) {
    Session one = session_of(set);
    run_steps(one, *comm, 0, 2, 8);
    const TrainingState saved = capture_state(one, 2);
    Session other = session_of(set);
    restore_state(saved, other);
    other.network.renew_compute_copies();
    run_steps(one, *comm, 2, 4, 12);
    run_steps(other, *comm, 2, 4, 12);
    EXPECT_EQ(digest_of(one, 4), digest_of(other, 4));
    EXPECT_NE(digest_of(one, 4), digest_after(set, 4)) << "the smaller images changed nothing";
  }
}

}  // namespace
}  // namespace lockstep
