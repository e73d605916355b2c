// Who waits for whom, from clock readings.
// SPDX-License-Identifier: Apache-2.0
#include "train/input_verdict.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

StageTimes stages_of(double read_s, double decode_s, double augment_s) {
  const auto ns = [](double seconds) { return static_cast<std::int64_t>(seconds * 1e9); };
  StageTimes stages;
  stages.read_ns = ns(read_s);
  stages.decode_ns = ns(decode_s);
  stages.augment_ns = ns(augment_s);
  return stages;
}

LoaderStats stats_of(const StageTimes& stages, int threads) {
  LoaderStats stats;
  stats.stages = stages;
  stats.threads = threads;
  return stats;
}

TEST(InputVerdict, SaysHowBusyTheLoaderIsAndWith) {
  const InputVerdict verdict =
      judge_input({.seconds = 10, .wait_seconds = 6.1, .stages = stages_of(0.57, 15.2, 3.23), .threads = 2});
  EXPECT_TRUE(verdict.bound);
  EXPECT_EQ(verdict.text(),
            "INPUT-BOUND 61 %: 1.9 of 2 loader threads busy (read 3 %, decode 80 %, augment 17 %); more data.loader_threads, or "
            "`lockstep data pack --resize`");
}

TEST(InputVerdict, TheAdviceFollowsTheSlowestStage) {
  const auto text = [](const StageTimes& stages) { return judge_input({.seconds = 1, .wait_seconds = 1, .stages = stages, .threads = 1}).text(); };
  EXPECT_NE(text(stages_of(0.8, 0.1, 0.1)).find("storage"), std::string::npos);
  EXPECT_NE(text(stages_of(0.1, 0.8, 0.1)).find("--resize"), std::string::npos);
  EXPECT_NE(text(stages_of(0.1, 0.1, 0.8)).find("less augmentation"), std::string::npos);
}

TEST(InputVerdict, IdleThreadsAndLateInputMeanThatTheProcessorsAreBusyElsewhere) {
  const InputVerdict verdict = judge_input({.seconds = 10, .wait_seconds = 4, .stages = stages_of(0, 3, 0), .threads = 2});
  EXPECT_NE(verdict.text().find("wait for a processor"), std::string::npos) << verdict.text();
}

TEST(InputVerdict, ComputeBound) {
  const InputVerdict verdict = judge_input({.seconds = 10, .wait_seconds = 0.04, .stages = stages_of(1, 4, 1), .threads = 1});
  EXPECT_FALSE(verdict.bound);
  EXPECT_EQ(verdict.text(), "compute-bound: input waits 0.4 %; loader busy 0.6 of 1 thread");
}

TEST(InputVerdict, TenPercentIsTheLimit) {
  EXPECT_FALSE(judge_input({.seconds = 100, .wait_seconds = 9.9, .threads = 1}).bound);
  EXPECT_TRUE(judge_input({.seconds = 100, .wait_seconds = 10.1, .threads = 1}).bound);
}

TEST(InputVerdict, NothingMeasuredIsNoVerdictOfNumbers) {
  const InputVerdict verdict = judge_input({});
  EXPECT_FALSE(verdict.bound);
  EXPECT_EQ(verdict.wait, 0);
  EXPECT_EQ(verdict.busy, 0);
}

TEST(InputVerdict, MoreWorkThanTimeIsAllThreads) {  // the ring was filled while training paused
  EXPECT_EQ(judge_input({.seconds = 1, .stages = stages_of(0, 3, 0), .threads = 2}).busy, 2);
}

TEST(InputWatch, EachReadingIsOverTheTimeSinceTheLast) {
  InputWatch watch;
  watch.skip(5, 5, stats_of(stages_of(5, 0, 0), 1));  // the cold start
  const InputVerdict first = watch.judge(15, 5, stats_of(stages_of(5, 2, 0), 1));
  EXPECT_EQ(first.wait, 0);
  EXPECT_DOUBLE_EQ(first.busy, 0.2);
  EXPECT_DOUBLE_EQ(first.decode, 1);
  const InputVerdict second = watch.judge(25, 10, stats_of(stages_of(5, 2, 10), 1));
  EXPECT_DOUBLE_EQ(second.wait, 0.5);
  EXPECT_DOUBLE_EQ(second.augment, 1);
}

TEST(InputWatch, AReadingMaySpanTwoLoaders) {
  InputWatch watch;
  watch.skip(0, 0, stats_of(stages_of(1, 1, 1), 1));
  watch.loader_ends(stats_of(stages_of(1, 3, 1), 1));  // 2 s of decoding
  const InputVerdict verdict = watch.judge(10, 0, stats_of(stages_of(0, 4, 2), 1));
  EXPECT_DOUBLE_EQ(verdict.busy, 0.8);
  EXPECT_DOUBLE_EQ(verdict.decode, 0.75);
}

}  // namespace
}  // namespace lockstep
