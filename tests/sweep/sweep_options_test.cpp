// What may stand on tune's command line.
// SPDX-License-Identifier: Apache-2.0
#include "sweep/sweep_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace lockstep {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(SweepOptions, BatchesAreARangeOrAList) {
  EXPECT_THAT(parse_batches("64..512"), ElementsAre(64, 128, 256, 512));
  EXPECT_THAT(parse_batches("64..500"), ElementsAre(64, 128, 256));
  EXPECT_THAT(parse_batches("64..4096x4"), ElementsAre(64, 256, 1024, 4096));
  EXPECT_THAT(parse_batches("96,128"), ElementsAre(96, 128));
  EXPECT_THAT(parse_batches("1099511627776..1099511627776"), ElementsAre(std::int64_t{1} << 40));
  for (const char* bad :
       {"", "0", "64..", "..64", "64..32", "a", "64,64", "128,64", "-1", "64..128x1", "1.5", "64,", "99999999999999999999", "64..128y2"})
    EXPECT_THAT(error_of([&] { parse_batches(bad); }), HasSubstr("--batches: got '")) << bad;
}

TEST(SweepOptions, RungsAscendToOne) {
  EXPECT_THAT(parse_rungs("1/9,1/3,1"), ElementsAre(1.0 / 9, 1.0 / 3, 1.0));
  EXPECT_THAT(parse_rungs("1"), ElementsAre(1.0));
  for (const char* bad : {"", "0.5", "1,0.5", "1/0,1", "0,1", "0.5,0.5,1", "2", "1/3/3,1"})
    EXPECT_THAT(error_of([&] { parse_rungs(bad); }), HasSubstr("--rungs")) << bad;
}

TEST(SweepOptions, TargetsAreSharesOrPercent) {
  EXPECT_DOUBLE_EQ(parse_target("0.93"), 0.93);
  EXPECT_DOUBLE_EQ(parse_target("93%"), 0.93);
  EXPECT_DOUBLE_EQ(parse_target("1"), 1);
  for (const char* bad : {"", "0", "93", "-0.5", "101%", "nan", "%"}) EXPECT_THAT(error_of([&] { parse_target(bad); }), HasSubstr("--target")) << bad;
}

TEST(SweepOptions, TimesHaveAUnit) {
  EXPECT_DOUBLE_EQ(parse_seconds("90m", "--budget"), 5400);
  EXPECT_DOUBLE_EQ(parse_seconds("1.5d", "--budget"), 129600);
  for (const char* bad : {"", "2", "h", "2 h", "-1h", "1e99d", "inf s"})
    EXPECT_THAT(error_of([&] { parse_seconds(bad, "--budget"); }), HasSubstr("--budget")) << bad;
}

TEST(SweepOptions, ShardsLieBelowTheirNumber) {
  EXPECT_EQ(parse_shard("2/8").index, 2);
  EXPECT_EQ(parse_shard("2/8").count, 8);
  for (const char* bad : {"", "1", "1/1", "-1/2", "a/b", "1/2/3"}) EXPECT_THAT(error_of([&] { parse_shard(bad); }), HasSubstr("--shard")) << bad;
}

TEST(SweepOptions, RatesAreWhatTheirNamesSay) {
  EXPECT_EQ(lr_text(0.4), "0.4");
  EXPECT_EQ(lr_text(round_lr(0.1 * 3)), "0.3");
  EXPECT_EQ(round_lr(0.1 * 3), 0.3);
  EXPECT_THAT(parse_positive("0.5,1,2", "--factors"), ElementsAre(0.5, 1, 2));
  for (const char* bad : {"", "0", "1,,2", "nan", "inf", "2,1", "1e999"})
    EXPECT_THAT(error_of([&] { parse_positive(bad, "--lrs"); }), HasSubstr("--lrs")) << bad;
}

TEST(SweepOptions, RulesAndSelections) {
  EXPECT_EQ(parse_rule("sqrt"), ScalingRule::kSqrt);
  EXPECT_EQ(parse_select("target"), Select::kTarget);
  EXPECT_THAT(error_of([] { parse_rule("cube"); }), HasSubstr("linear, sqrt or both"));
  EXPECT_THAT(error_of([] { parse_select("luck"); }), HasSubstr("accuracy or target"));
}

}  // namespace
}  // namespace lockstep
