// Ranges and rules: each bad value is named with its origin and the wish; all of them at once.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <ostream>

#include "tests/config/config_test_util.h"

namespace lockstep {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string problems(const std::vector<std::string>& assignments, const std::string& text = kValid) {
  return user_error([&] { validate(with(assignments, text)); });
}

TEST(ConfigValidate, AcceptsAValidConfig) { EXPECT_NO_THROW(validate(with({}))); }

TEST(ConfigValidate, NamesAllProblemsInOneError) {
  const std::string error =
      problems({"epochs=0", "batch.global_batch=100", "optimizer.momentum=1", "schedule.kind=MULTISTEP"});
  EXPECT_THAT(error, AllOf(HasSubstr("test.pbtxt: 4 problems"), HasSubstr("epochs = 0 (--set): want above 0"),
                           HasSubstr("batch.global_batch = 100 (--set): want a multiple of shard_batch = 32, e.g. 96"),
                           HasSubstr("optimizer.momentum = 1 (--set): want at least 0 and below 1"),
                           HasSubstr("schedule.milestones_epochs (not given): MULTISTEP wants a list")));
}

TEST(ConfigValidate, WantsABaseRate) {
  EXPECT_THAT(problems({}, "data { source: SYNTHETIC }"), HasSubstr("want schedule.lr, or schedule.lr_per_256"));
}

TEST(ConfigValidate, WantsDataUnlessSynthetic) {
  EXPECT_THAT(problems({"data.source=AUTO"}),
              HasSubstr("data.path (not given): want the folder of the data: --data DIR"));
  EXPECT_NO_THROW(validate(with({"data.source=AUTO", "data.path=/x"})));
}

struct BadValue {
  std::vector<std::string> assignments;
  const char* expected;
};
void PrintTo(const BadValue& value, std::ostream* out) { *out << testing::PrintToString(value.assignments); }
class ConfigValidateEach : public testing::TestWithParam<BadValue> {};

TEST_P(ConfigValidateEach, IsReported) {
  EXPECT_THAT(problems(GetParam().assignments), HasSubstr(GetParam().expected));
}

INSTANTIATE_TEST_SUITE_P(
    All, ConfigValidateEach,
    testing::Values(
        BadValue{{"epochs=nan"}, "epochs = nan"}, BadValue{{"epochs=inf"}, "epochs = inf"},
        BadValue{{"schedule.lr=inf"}, "schedule.lr = inf"}, BadValue{{"schedule.lr=-1"}, "schedule.lr = -1"},
        BadValue{{"max_steps=-1"}, "max_steps = -1"}, BadValue{{"threads_per_rank=0"}, "threads_per_rank = 0"},
        BadValue{{"batch.shard_batch=0"}, "batch.shard_batch = 0"},
        BadValue{{"batch.global_batch=-5"}, "batch.global_batch = -5"},
        BadValue{{"model.classes=1"}, "model.classes = 1"}, BadValue{{"precision=FP16"}, "FP16 needs backend: CUDA"},
        BadValue{{"precision=FP64", "backend=CUDA"}, "FP64 needs backend: REFERENCE"},
        BadValue{{"backend=CUDA", "model.batch_norm.scope=GLOBAL"}, "normalises each shard by itself"},
        BadValue{{"distributed.communicator=NCCL"}, "NCCL needs backend: CUDA"},
        BadValue{{"loss_scaling.initial=1000"}, "want a power of two"}, BadValue{{"loss_scaling.floor=0.5"}, "loss_scaling.floor = 0.5"},
        BadValue{{"precision=BF16", "backend=REFERENCE"}, "BF16 needs FAST or AUTO"},
        BadValue{{"precision=FP64", "backend=FAST"}, "FP64 needs REFERENCE or AUTO"},
        BadValue{{"model.batch_norm.scope=GROUP"}, "wants the number of shards"},
        BadValue{{"model.batch_norm.scope=GROUP", "model.batch_norm.group_shards=3"}, "want a divisor of the 4 shards"},
        BadValue{{"model.batch_norm.group_shards=2"}, "has no effect without"},
        BadValue{{"model.batch_norm.eps=0"}, "eps = 0"}, BadValue{{"data.channels=2"}, "want 1, 3"},
        BadValue{{"data.mean=[1, 2]"}, "data.mean = [1, 2]"}, BadValue{{"data.std=[0]"}, "data.std = [0]"},
        BadValue{{"data.height=32"}, "data.width = 0"},
        BadValue{{"data.augment.scale_min=0.9", "data.augment.scale_max=0.5"}, "want at most scale_max = 0.5"},
        BadValue{{"data.augment.ratio_min=2"}, "want at most ratio_max"},
        BadValue{{"data.ring_slots=1"}, "ring_slots = 1"},
        BadValue{{"evaluation.stop_at_top1=101"}, "stop_at_top1 = 101"},
        BadValue{{"evaluation.stop_at_top1=90", "evaluation.every_epochs=0"}, "wants evaluation.every_epochs above 0"},
        BadValue{{"optimizer.nesterov=true", "optimizer.momentum=0"}, "wants optimizer.momentum above 0"},
        BadValue{{"optimizer.group+={ lr_multiplier: -1 }"}, "optimizer.group[0].lr_multiplier = -1"},
        BadValue{{"schedule.warmup_epochs=3"}, "want less than epochs = 3"},
        BadValue{{"schedule.kind=ONE_CYCLE", "schedule.warmup_epochs=1"}, "ONE_CYCLE has its own warm-up"},
        BadValue{{"schedule.kind=MULTISTEP", "schedule.milestones_epochs=[2, 1]"}, "want increasing epochs"},
        BadValue{{"schedule.one_cycle.peak_fraction=1"}, "peak_fraction = 1"},
        BadValue{{"checkpoint.keep_last=0"}, "keep_last = 0"},
        BadValue{{"logging.every_steps=0"}, "logging.every_steps = 0"},
        BadValue{{"name=a/b"}, "want a plain file name"}, BadValue{{"name=.."}, "want a plain file name"},
        BadValue{{"run_dir="}, "run_dir = \"\""}));

}  // namespace
}  // namespace lockstep
