// What is printed and compared: effective config, digest, difference, banner, help, and docs/config.md.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "tests/config/config_test_util.h"
#include "train/config/comments.h"
#include "train/config/reflect.h"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::Each;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string digest(const std::vector<std::string>& assignments) { return config_digest(with(assignments).config()); }

std::vector<std::string> leaf_paths() {
  std::vector<std::string> paths;
  config_detail::for_each_leaf(with({"optimizer.group+={}"}).config(), "",
                               [&](const config_detail::Leaf& leaf) { paths.push_back(leaf.path); });
  return paths;
}

TEST(ConfigEffective, HasEveryFieldAndParsesBack) {
  const LoadedConfig loaded = with({"data.path=/a \"b\"\n#c", "data.mean=[0.1, 0.25]",
                                    "optimizer.group+={ kind: [BIAS, NORM_SCALE] weight_decay: 0 }",
                                    "optimizer.weight_decay=1.2345678901234567e-5", "optimizer.group+={}"});
  const std::string text = effective_config_text(loaded);
  EXPECT_THAT(text, AllOf(HasSubstr("# test.pbtxt:2"), HasSubstr("# --set"), HasSubstr("# default"),
                          HasSubstr("  # lr: not given")));
  const LoadedConfig again = parse_config(text, "effective");
  const ConfigDiff diff = config_diff(loaded.config(), again.config());
  EXPECT_THAT(diff.may_change, IsEmpty());
  EXPECT_THAT(diff.must_not_change, IsEmpty());
  EXPECT_EQ(config_digest(loaded.config()), config_digest(again.config()));
  for (const std::string& path : leaf_paths()) {
    EXPECT_THAT(text, HasSubstr(path.substr(path.rfind('.') + 1) + ":")) << path;
  }
}

TEST(ConfigEffective, ALineBreakInTheFilesNameDoesNotEndTheComment) {
  const LoadedConfig loaded = parse_config(kValid, "odd\nseed: 7\n.pbtxt");
  EXPECT_EQ(parse_config(effective_config_text(loaded), "effective").config().seed(), 1u);
}

TEST(ConfigDigest, FollowsWhatDeterminesTheTrainingAndNothingElse) {
  const std::string base = digest({});
  EXPECT_EQ(base.size(), 32u);
  for (const char* same : {"run_dir=x", "name=x", "data.loader_threads=3", "logging.every_steps=1",
                           "distributed.deadline_s=5", "data.path=/x", "checkpoint.keep_last=9", "max_steps=3",
                           "evaluation.batch=7", "distributed.bucket_mb=3", "optimizer.momentum=0.9", "seed=1"}) {
    EXPECT_EQ(digest({same}), base) << same;
  }
  std::set<std::string> digests{base};
  const std::vector<std::string> changes = {"seed=2",
                                            "epochs=4",
                                            "batch.shard_batch=64",
                                            "model.classes=11",
                                            "optimizer.momentum=0.8",
                                            "schedule.lr=0.1",
                                            "data.mean=[0.4]",
                                            "data.mean=[0.4, 0.4, 0.4]",
                                            "optimizer.group+={}",
                                            "distributed.reduction=FAST",
                                            "threads_per_rank=2",
                                            "loss.label_smoothing=0.1"};
  for (const std::string& change : changes) digests.insert(digest({change}));
  EXPECT_EQ(digests.size(), changes.size() + 1);
}

TEST(ConfigDigest, BucketsCountOnlyWhereTheyChangeSums) {
  EXPECT_NE(digest({"distributed.reduction=FAST", "distributed.bucket_mb=3"}), digest({"distributed.reduction=FAST"}));
}

// A changed digest makes old checkpoints refuse to resume: if this fails, the canonical form has changed by accident.
TEST(ConfigDigest, OfAKnownConfigStaysTheSame) { EXPECT_EQ(digest({}), "0f6e795fca8c2273c7b18052510b91d6"); }

TEST(ConfigDiffTest, SplitsChangesByTheResumeRule) {
  const ConfigDiff diff =
      config_diff(with({}).config(),
                  with({"run_dir=x", "epochs=4", "optimizer.group+={ kind: BIAS }", "logging.csv=false"}).config());
  ASSERT_EQ(diff.may_change.size(), 2u);
  EXPECT_EQ(diff.may_change[0].path, "run_dir");
  EXPECT_EQ(diff.may_change[1].path, "logging.csv");
  EXPECT_EQ(diff.may_change[1].from, "true");
  EXPECT_EQ(diff.may_change[1].to, "false");
  EXPECT_EQ(diff.must_not_change.front().path, "epochs");
  EXPECT_THAT(diff.must_not_change, testing::Contains(Field(&ConfigChange::path, "optimizer.group[0].kind")));
}

TEST(ConfigDiffTest, RemovedGroupsAreSeenToo) {
  const ConfigDiff diff = config_diff(with({"optimizer.group+={ kind: BIAS }"}).config(), with({}).config());
  EXPECT_THAT(diff.must_not_change, testing::Contains(AllOf(Field(&ConfigChange::path, "optimizer.group[0].kind"),
                                                            Field(&ConfigChange::to, "(not given)"))));
}

TEST(ConfigDiffTest, EveryFreePathExists) {
  int free = 0;
  for (const std::string& path : leaf_paths()) free += may_change_on_resume(path) ? 1 : 0;
  EXPECT_EQ(free, 38);  // by hand, from the list in digest.cpp
  EXPECT_FALSE(may_change_on_resume("optimizer.momentum"));
  EXPECT_FALSE(may_change_on_resume("name_of_nothing"));
}

TEST(ConfigBanner, ShowsDerivedGivenAndDefaultsOnOneScreen) {
  const std::string text =
      banner(with({"optimizer.momentum=0.8"}), {{"steps per epoch", "468"}, {"shards per rank", "2"}});
  EXPECT_THAT(text, AllOf(HasSubstr("steps per epoch 468"), HasSubstr("given in test.pbtxt and by flags"),
                          HasSubstr("momentum=0.8 (--set)"), HasSubstr("name=resnet14 classes=10"),
                          HasSubstr("weight_decay=0.0001")));
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 40);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 110u) << line;
}

TEST(ConfigHelp, OverviewGroupsAndFields) {
  EXPECT_THAT(help_text(), AllOf(HasSubstr("epochs "), HasSubstr("model { }"), HasSubstr("batch_norm")));
  EXPECT_THAT(help_text("model"), AllOf(HasSubstr("model.variant"), HasSubstr("V1_5"), HasSubstr("torchvision")));
  EXPECT_THAT(help_text("optimizer.momentum"), AllOf(HasSubstr("default 0.9"), HasSubstr("buffer = momentum")));
  EXPECT_THAT(help_text("optimizer.group[0].kind"), HasSubstr("NORM_SCALE"));
  EXPECT_THAT(user_error([] { help_text("optimizer.momentun"); }), HasSubstr("did you mean \"momentum\"?"));
  EXPECT_THAT(user_error([] { help_text("optimiser.momentum"); }), HasSubstr("did you mean \"optimizer\"?"));
}

void expect_comments(const google::protobuf::Descriptor& type) {
  EXPECT_THAT(config_detail::comment_of(type.full_name()), Not(IsEmpty())) << type.full_name();
  for (int i = 0; i < type.field_count(); ++i) {
    const auto& field = *type.field(i);
    EXPECT_THAT(config_detail::comment_of(field.full_name()), Not(IsEmpty())) << field.full_name();
    if (field.message_type() != nullptr) expect_comments(*field.message_type());
    for (int k = 0; field.enum_type() != nullptr && k < field.enum_type()->value_count(); ++k) {
      EXPECT_THAT(config_detail::comment_of(field.enum_type()->value(k)->full_name()), Not(IsEmpty()))
          << field.full_name();
    }
  }
}

TEST(ConfigHelp, EveryFieldAndValueHasAComment) { expect_comments(*proto::Config::descriptor()); }

std::string source_file(const std::string& path) {
  const char* root = std::getenv("LOCKSTEP_SOURCE_DIR");
  std::ifstream file((root == nullptr ? std::string(".") : std::string(root)) + "/" + path);
  EXPECT_TRUE(file) << path << ": set LOCKSTEP_SOURCE_DIR";
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(ConfigDocs, CommittedReferenceIsTheGeneratedOne) {
  EXPECT_EQ(source_file("docs/config.md"), markdown_reference())
      << "config.proto has changed: run `lockstep help markdown > docs/config.md`";
}

TEST(ConfigRecipes, AllAreValid) {
  for (const char* name : {"fashion_mnist", "cifar10", "cifar10_resnet20", "resnet50_synthetic", "resnet50_goyal_256"}) {
    const std::string path = std::string("configs/") + name + ".pbtxt";
    EXPECT_NO_THROW(validate(parse_config(source_file(path), path, {flag_override("data.path", "/data", "--data")})))
        << path;
  }
}

}  // namespace
}  // namespace lockstep
