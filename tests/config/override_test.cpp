// --set path=value: every kind of field, and the message for everything that does not fit.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "tests/config/config_test_util.h"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(ConfigSet, SetsPlainFieldsOfEveryType) {
  const proto::Config config = with({"epochs=2.5", "seed=18446744073709551615", "max_steps=7", "model.zero_gamma=true",
                                     "schedule.kind=POLY", "model.name=resnet20", "data.path=/a b/c", "run_dir=\"q\""})
                                   .config();
  EXPECT_EQ(config.epochs(), 2.5);
  EXPECT_EQ(config.seed(), 18446744073709551615u);
  EXPECT_EQ(config.max_steps(), 7);
  EXPECT_TRUE(config.model().zero_gamma());
  EXPECT_EQ(config.schedule().kind(), proto::Schedule::POLY);
  EXPECT_EQ(config.model().name(), "resnet20");
  EXPECT_EQ(config.data().path(), "/a b/c");
  EXPECT_EQ(config.run_dir(), "q");
}

TEST(ConfigSet, LastOneWins) { EXPECT_EQ(with({"epochs=4", "epochs=5"}).config().epochs(), 5); }

TEST(ConfigSet, SetsAppendsAndReplacesListElements) {
  const auto mean = [](const std::vector<std::string>& assignments) {
    const LoadedConfig loaded = with(assignments);
    const auto& list = loaded.config().data().mean();
    return std::vector<double>(list.begin(), list.end());
  };
  EXPECT_EQ(mean({"data.mean=[0.1, 0.2,0.3]"}), (std::vector<double>{0.1, 0.2, 0.3}));
  EXPECT_EQ(mean({"data.mean=[0.1, 0.2]", "data.mean[0]=0.5"}), (std::vector<double>{0.5, 0.2}));
  EXPECT_EQ(mean({"data.mean=0.1", "data.mean+=0.4", "data.mean+=[0.5, 0.6]"}),
            (std::vector<double>{0.1, 0.4, 0.5, 0.6}));
  EXPECT_EQ(mean({"data.mean=[0.1, 0.2]", "data.mean=[]"}), std::vector<double>{});
}

TEST(ConfigSet, SetsGroupsAndFieldsOfListedGroups) {
  const LoadedConfig loaded =
      with({"optimizer.group+={ kind: BIAS weight_decay: 0 }", "optimizer.group+={ name: \"fc.*\" }",
            "optimizer.group[1].lr_multiplier=2", "data.synthetic={ size: 12 }"});
  ASSERT_EQ(loaded.config().optimizer().group_size(), 2);
  EXPECT_EQ(loaded.config().optimizer().group(0).kind(0), proto::ParameterGroup::BIAS);
  EXPECT_EQ(loaded.config().optimizer().group(1).lr_multiplier(), 2);
  EXPECT_EQ(loaded.config().data().synthetic().size(), 12);
  EXPECT_EQ(loaded.origin("optimizer.group[0].weight_decay"), "--set");
  EXPECT_EQ(loaded.origin("optimizer.group[1].lr_multiplier"), "--set");
  EXPECT_EQ(loaded.origin("optimizer.group[0].lr_multiplier"), "default");
  EXPECT_EQ(loaded.origin("data.synthetic.size"), "--set");
}

TEST(ConfigSet, ReplacingAGroupForgetsItsOldOrigins) {
  const LoadedConfig loaded = with({"model={ name: \"resnet8\" }"});
  EXPECT_EQ(loaded.origin("model.name"), "--set");
  EXPECT_EQ(loaded.origin("model.classes"), "default");
  EXPECT_EQ(loaded.config().model().classes(), 0);
}

TEST(ConfigSet, OneBaseRateReplacesTheOther) {
  const proto::Config config = with({"schedule.lr=0.3"}).config();
  EXPECT_TRUE(config.schedule().has_lr());
  EXPECT_FALSE(config.schedule().has_lr_per_256());
}

TEST(ConfigSet, FlagsTakeStringsLiterallyAndShowTheirName) {
  const LoadedConfig loaded =
      parse_config(kValid, "test.pbtxt",
                   {flag_override("data.path", "\"odd\"", "--data"), flag_override("max_steps", "3", "--max-steps")});
  EXPECT_EQ(loaded.config().data().path(), "\"odd\"");
  EXPECT_EQ(loaded.origin("data.path"), "--data");
  EXPECT_EQ(loaded.origin("max_steps"), "--max-steps");
  EXPECT_THAT(user_error([] { parse_config(kValid, "t", {flag_override("max_steps", "3x", "--max-steps")}); }),
              HasSubstr("--max-steps max_steps=3x"));
}

TEST(ConfigSet, UnknownPathsSuggest) {
  EXPECT_THAT(set_error("optimiser.momentum=1"),
              AllOf(HasSubstr("--set optimiser.momentum: unknown field \"optimiser\""),
                    HasSubstr("did you mean \"optimizer\"?")));
  EXPECT_THAT(set_error("optimizer.momentun=1"),
              AllOf(HasSubstr("\"momentun\" in optimizer"), HasSubstr("did you mean \"momentum\"?"),
                    HasSubstr("fields of optimizer: type, momentum")));
  EXPECT_THAT(set_error("epochs.x=1"), HasSubstr("epochs is no group"));
  EXPECT_THAT(set_error("optimizer.group.name=x"), HasSubstr("name one of them: optimizer.group[0].name"));
  EXPECT_THAT(set_error("model.=3"), HasSubstr("unknown field \"\" in model"));
}

TEST(ConfigSet, ValuesThatDoNotFitAreErrors) {
  EXPECT_THAT(set_error("schedule.kind=COSIN"),
              AllOf(HasSubstr("unknown value COSIN for kind in schedule"), HasSubstr("did you mean COSINE?")));
  EXPECT_THAT(set_error("epochs=many"), HasSubstr("--set epochs=many"));
  EXPECT_THAT(set_error("epochs="), HasSubstr("--set epochs="));
  EXPECT_THAT(set_error("epochs=3 seed: 4"), HasSubstr("want one value"));
  EXPECT_THAT(set_error("model.zero_gamma=yes"), HasSubstr("zero_gamma"));
  EXPECT_THAT(set_error("epochs=[1, 2]"), HasSubstr("epochs"));
  EXPECT_THAT(set_error("data.mean[0]=1"), HasSubstr("has 0 elements"));
  EXPECT_THAT(set_error("data.mean[x]=1"), HasSubstr("is no index"));
  EXPECT_THAT(set_error("data.mean[=1"), HasSubstr("is no index"));
  EXPECT_THAT(set_error("epochs[0]=1"), HasSubstr("is no list"));
  EXPECT_THAT(set_error("epochs+=1"), HasSubstr("is no list"));
  EXPECT_THAT(set_error("data.synthetic={ sizes: 1 }"), HasSubstr("unknown field \"sizes\" in data.synthetic"));
  EXPECT_THAT(user_error([] { parse_override("epochs"); }), HasSubstr("want path.to.field=value"));
}

}  // namespace
}  // namespace lockstep
