// Loading: what is accepted, and the message for everything that is not.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "core/suggest.h"
#include "tests/config/config_test_util.h"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(ConfigLoad, GivesValuesAndDefaults) {
  const LoadedConfig loaded = with({});
  EXPECT_EQ(loaded.config().model().name(), "resnet14");
  EXPECT_EQ(loaded.config().batch().shard_batch(), 32);
  EXPECT_EQ(loaded.config().optimizer().momentum(), 0.9);
  EXPECT_EQ(loaded.config().distributed().deadline_s(), 300);
  EXPECT_EQ(loaded.config().name(), "test");
  EXPECT_EQ(loaded.config().run_dir(), "runs/test");
  EXPECT_EQ(loaded.file(), "test.pbtxt");
}

TEST(ConfigLoad, KeepsTheOriginOfEachValue) {
  const LoadedConfig loaded = with({"batch.shard_batch=16", "data.mean=[0.5]"});
  EXPECT_EQ(loaded.origin("epochs"), "test.pbtxt:2");
  EXPECT_EQ(loaded.origin("model.classes"), "test.pbtxt:3");
  EXPECT_EQ(loaded.origin("batch.global_batch"), "test.pbtxt:5");
  EXPECT_EQ(loaded.origin("batch.shard_batch"), "--set");
  EXPECT_EQ(loaded.origin("data.mean"), "--set");
  EXPECT_EQ(loaded.origin("optimizer.momentum"), "default");
  EXPECT_EQ(loaded.origin("run_dir"), "from name");
}

TEST(ConfigLoad, UnknownFieldNamesPlaceSuggestionAndLegalFields) {
  const std::string error = parse_error("epochs: 3\nmodel {\n  clases: 10\n}\n");
  EXPECT_THAT(
      error, AllOf(HasSubstr("test.pbtxt:3:3: unknown field \"clases\" in model"),
                   HasSubstr("did you mean \"classes\"?"), HasSubstr("fields of model: name, classes, variant, stem")));
}

TEST(ConfigLoad, UnknownFieldThatBelongsElsewhereIsPointedThere) {
  EXPECT_THAT(parse_error("weight_decay: 1"),
              HasSubstr("did you mean optimizer.weight_decay or optimizer.group.weight_decay?"));
  EXPECT_THAT(parse_error("schedule { epochs: 3 }"), HasSubstr("did you mean epochs?"));
  EXPECT_THAT(parse_error("batch_size: 3"), HasSubstr("did you mean batch.global_batch?"));
  EXPECT_THAT(parse_error("zzzzzzzz: 3"), Not(HasSubstr("did you mean")));
}

TEST(ConfigLoad, UnknownFieldBehindAClosedGroupIsNotPlacedInIt) {
  EXPECT_THAT(parse_error("data { augment { pad: 1 } }\nzzzz: 1"),
              HasSubstr("test.pbtxt:2:1: unknown field \"zzzz\"\n"));
}

TEST(ConfigLoad, UnknownFieldInASecondListElementIsPlacedInTheList) {
  EXPECT_THAT(parse_error("optimizer { group: [{ kind: BIAS }, { kinds: BIAS }] }"),
              HasSubstr("unknown field \"kinds\" in optimizer.group"));
}

TEST(ConfigLoad, UnknownEnumValueListsTheValuesOfThatField) {
  const std::string error = parse_error("data {\n augment { crop: PAD_CORP }\n}");
  EXPECT_THAT(error, AllOf(HasSubstr("test.pbtxt:2:"), HasSubstr("unknown value PAD_CORP for crop in data.augment"),
                           HasSubstr("did you mean PAD_CROP?"), HasSubstr("NONE, PAD_CROP, RANDOM_RESIZED_CROP")));
}

TEST(ConfigLoad, WrongTypesAndSyntaxNameLineAndField) {
  EXPECT_THAT(parse_error("epochs: 1\nseed: 1.5"), AllOf(HasSubstr("test.pbtxt:2:7"), HasSubstr("seed")));
  EXPECT_THAT(parse_error("model { classes: 99999999999 }"),
              AllOf(HasSubstr("test.pbtxt:1:"), HasSubstr("classes in model")));
  EXPECT_THAT(parse_error("model { name: 5 }"), HasSubstr("name in model"));
  EXPECT_THAT(parse_error("model { name: \"a\" "), HasSubstr("test.pbtxt:1:"));
  EXPECT_THAT(parse_error("model { name: \"a }"), HasSubstr("test.pbtxt:1:"));
  EXPECT_THAT(parse_error("\x01\x02\xff"), HasSubstr("test.pbtxt:1:"));
}

TEST(ConfigLoad, DuplicateFieldsAreErrors) {
  EXPECT_THAT(parse_error("epochs: 1\nepochs: 2"), HasSubstr("test.pbtxt:2:1: epochs is given twice"));
  EXPECT_THAT(parse_error("model { classes: 2\nclasses: 2 }"), HasSubstr("classes in model is given twice"));
  EXPECT_THAT(parse_error("model { }\nmodel { }"), HasSubstr("model is given twice"));
  EXPECT_THAT(parse_error("schedule { lr: 1 lr_per_256: 1 }"), HasSubstr("lr_per_256 in schedule"));
}

TEST(ConfigLoad, HostileNestingIsRefusedNotFollowed) {
  std::string text;
  for (int i = 0; i < 40000; ++i) text += "model { ";
  EXPECT_THAT(parse_error(text), HasSubstr("unknown field \"model\" in model"));
  std::string lists = "data { mean: ";
  for (int i = 0; i < 40000; ++i) lists += "[";
  EXPECT_THAT(parse_error(lists), HasSubstr("mean in data"));
}

TEST(ConfigLoad, FilesThatAreNoConfigsAreErrors) {
  namespace fs = std::filesystem;
  EXPECT_THAT(user_error([] { load_config("/nonexistent/a.pbtxt"); }, ExitCode::kNoInput),
              HasSubstr("/nonexistent/a.pbtxt"));
  EXPECT_THAT(user_error([] { load_config("/"); }), HasSubstr("is not a file"));
  const fs::path big = fs::temp_directory_path() / "lockstep_config_big.pbtxt";
  std::ofstream(big) << std::string((size_t{1} << 20) + 1, '#');
  EXPECT_THAT(user_error([&] { load_config(big.string()); }), HasSubstr("larger than 1 MiB"));
  std::ofstream(big) << kValid;
  EXPECT_EQ(load_config(big.string()).config().name(), "lockstep_config_big");
  fs::remove(big);
}

TEST(Suggest, CountsTypingErrors) {
  EXPECT_EQ(typing_errors("momentum", "momentum"), 0);
  EXPECT_EQ(typing_errors("momentun", "momentum"), 1);
  EXPECT_EQ(typing_errors("momnetum", "momentum"), 1);
  EXPECT_EQ(typing_errors("", "abc"), 3);
  EXPECT_EQ(typing_errors("abc", ""), 3);
  EXPECT_EQ(typing_errors("Max-Steps", "max_steps"), 0);
  EXPECT_EQ(nearest("resumee", {"run_dir", "resume"}), "resume");
  EXPECT_EQ(nearest("xyz", {"run_dir", "resume"}), "");
}

}  // namespace
}  // namespace lockstep
