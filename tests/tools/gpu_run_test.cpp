// Runs on a GPU, end to end: the product's command over the emulated device. The same bits with and without recorded steps, for
// any number of ranks, and across a resume; errors that a user meets.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

using Args = std::vector<std::string>;
using ::testing::HasSubstr;

const Args kGpu{"--set", "backend=CUDA"};

Args joined(Args args, const Args& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

CommandResult train(int ranks, const std::string& run_dir, const Args& more) {
  const Args args = joined(joined({"train", tiny(), "--run-dir", run_dir}, kGpu), more);
  return run(ranks == 1 ? lockstep(args) : mpi(ranks, args));
}

std::string digest_of(const std::string& run_dir) { return expect_ok(run(lockstep({"inspect", run_dir, "--digest"}))).out; }

std::string digest_after(int ranks, const std::string& run_dir, const Args& more = {}) {
  expect_ok(train(ranks, run_dir, more));
  return digest_of(run_dir);
}

// All ranks on one GPU: gradients go through the host.
const Args kShareGpu{"--set", "distributed.communicator=MPI", "--set", "cuda.device=0"};

TEST(GpuRun, TwoAndFourRanksOnOneGpuGiveTheBitsOfOne) {
  TempDir folder;
  for (const std::string precision : {"FP32", "FP16"}) {
    const Args more = joined(kShareGpu, {"--set", "precision=" + precision});
    const std::string one = digest_after(1, folder / ("one" + precision), {"--set", "precision=" + precision});
    EXPECT_EQ(digest_after(2, folder / ("two" + precision), more), one) << precision;
    EXPECT_EQ(digest_after(4, folder / ("four" + precision), more), one) << precision;
  }
}

TEST(GpuRun, RecordedStepsGiveTheBitsOfLaunchedOnes) {
  TempDir folder;
  EXPECT_EQ(digest_after(1, folder / "recorded"), digest_after(1, folder / "launched", {"--set", "cuda.graphs=false"}));
}

TEST(GpuRun, AnotherSeedIsAnotherRun) {
  TempDir folder;
  EXPECT_NE(digest_after(1, folder / "one"), digest_after(1, folder / "two", {"--set", "seed=2"}));
}

TEST(GpuRun, AResumedRunHasTheBitsOfOneThatWasNot) {
  TempDir folder;
  const Args fp16{"--set", "precision=FP16", "--set", "loss_scaling.growth_steps=4"};
  const std::string whole = digest_after(1, folder / "whole", fp16);
  expect_ok(train(1, folder / "parts", joined(fp16, {"--set", "max_steps=9"})));
  const CommandResult second = expect_ok(train(2, folder / "parts", joined(joined(fp16, kShareGpu), {"--resume", "auto"})));
  EXPECT_EQ(digest_of(folder / "parts"), whole);
  EXPECT_THAT(second.out + second.err, HasSubstr("resumes"));
}

TEST(GpuRun, BannerAndMetricsShowGpuAndLossScale) {
  TempDir folder;
  const CommandResult result = expect_ok(train(1, folder / "run", {"--set", "precision=FP16"}));
  EXPECT_THAT(result.out, HasSubstr("gpu"));
  EXPECT_THAT(result.out, HasSubstr("loss scale"));
  EXPECT_THAT(result.out, HasSubstr("MB of GPU memory per rank at the peak"));
  const std::string metrics = read_file(folder / "run/metrics.jsonl");
  EXPECT_THAT(metrics, HasSubstr("\"loss_scale\":"));
  EXPECT_THAT(metrics, HasSubstr("\"gpu_ms\":"));
}

TEST(GpuRun, AProfileShowsTheCallsOfTracedSteps) {
  TempDir folder;
  expect_ok(train(1, folder / "run", {"--profile", folder / "trace.json"}));
  const std::string trace = read_file(folder / "trace.json");
  EXPECT_THAT(trace, HasSubstr("norm_conv2d_backward_data"));
  EXPECT_THAT(trace, HasSubstr("finish_step"));
}

TEST(GpuRun, ACpuEvaluatesWhatAGpuTrained) {
  TempDir folder;
  expect_ok(train(1, folder / "run", {"--set", "precision=FP16"}));
  const CommandResult eval = expect_ok(run(lockstep({"eval", folder / "run", "--set", "backend=AUTO", "--set", "precision=FP32"})));
  EXPECT_THAT(eval.out, HasSubstr("accuracy"));
}

TEST(GpuRun, EvaluatesACheckpointAsTheRunDid) {
  TempDir folder;
  const CommandResult trained = expect_ok(train(1, folder / "run", {"--json"}));
  const CommandResult eval = expect_ok(run(lockstep({"eval", folder / "run", "--json"})));
  const auto value = [](const std::string& text, const std::string& name) {
    const std::size_t at = text.rfind("\"" + name + "\":");
    return at == std::string::npos ? std::string("none") : text.substr(at + name.size() + 3, text.find_first_of(",\n", at) - at - name.size() - 3);
  };
  EXPECT_EQ(std::stod(value(eval.out, "top1")), std::stod(value(trained.out, "top1")));
  EXPECT_EQ(std::stod(value(eval.out, "loss")), std::stod(value(trained.out, "eval_loss")));
}

// A new size has new recordings in the device's memory; what the old ones held is free again.
TEST(GpuRun, ProgressiveResizingIsTheSameRunThroughResumes) {
  TempDir folder;
  const Args growing{"--set", "data.augment={crop: RANDOM_RESIZED_CROP}", "--set", "data.size_phase+={from_epoch: 0 size: 8}",
                     "--set", "data.size_phase+={from_epoch: 1 size: 16}"};
  const std::string whole = digest_after(1, folder / "whole", growing);
  digest_after(1, folder / "parts", joined(growing, {"--max-steps", "7"}));
  EXPECT_EQ(digest_after(1, folder / "parts", joined(growing, {"--resume", "auto", "--max-steps", "8"})).size(), whole.size());
  EXPECT_EQ(digest_after(1, folder / "parts", joined(growing, {"--resume", "auto"})), whole);
  EXPECT_EQ(digest_after(2, folder / "two", joined(growing, kShareGpu)), whole);
}

TEST(GpuRun, ABadStepEndsTheRunAndNamesTheParameter) {
  TempDir folder;
  const CommandResult result = train(1, folder / "run", {"--set", "schedule.lr=1e30", "--set", "schedule.warmup_epochs=0"});
  EXPECT_EQ(result.exit_code, 76) << result.out << result.err;
  EXPECT_THAT(result.err, HasSubstr("non-finite gradient is"));
}

TEST(GpuRun, SeveralRanksWithoutNcclAreToldWhatToDo) {  // what they are told on one GPU: tests/distributed
  TempDir folder;
  const CommandResult result = train(2, folder / "run", {"--set", "cuda.device=0"});
  EXPECT_EQ(result.exit_code, 71);
  EXPECT_THAT(result.err, HasSubstr("no NCCL"));
  EXPECT_THAT(result.err, HasSubstr("distributed.communicator: MPI"));
}

TEST(GpuRun, AGpuThatIsNotThereIsNamed) {
  TempDir folder;
  const CommandResult result = train(1, folder / "run", {"--set", "cuda.device=17"});
  EXPECT_EQ(result.exit_code, 71);
  EXPECT_THAT(result.err, HasSubstr("17"));
}

}  // namespace
}  // namespace lockstep::testing
