// A run is the same run whatever happens to it: one digest for any number of ranks, any resume, any loader threads; and
// another digest for what is another run.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using Args = std::vector<std::string>;

// Trains on `ranks` ranks and returns the digest that `inspect --digest` prints.
std::string digest_after(int ranks, const std::string& run_dir, Args more = {}) {
  Args args{"train", tiny(), "--run-dir", run_dir};
  args.insert(args.end(), more.begin(), more.end());
  const CommandResult result = run(ranks == 1 ? lockstep(args) : mpi(ranks, args));
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  const CommandResult inspect = run(lockstep({"inspect", run_dir, "--digest"}));
  EXPECT_EQ(inspect.exit_code, 0) << inspect.err;
  EXPECT_EQ(inspect.out.size(), 33u) << "want nothing but 32 hex digits and a line end: " << inspect.out;
  return inspect.out;
}

// Training and evaluation as metrics.jsonl tells them, without clocks and paths.
std::string lines(const std::string& run_dir) {
  std::istringstream file(read_file(run_dir + "/metrics.jsonl"));
  std::string line, kept;
  while (std::getline(file, line))
    if (line.find("\"train\"") != std::string::npos || line.find("\"val\"") != std::string::npos) kept += line.substr(line.find("\"step\"")) + "\n";
  return kept;
}

// The digest covers the seed and the config, too: that it differs says little. Here what was computed must differ.
void expect_other_run(const std::string& run_dir, const std::string& other) {
  const std::string weights = "/ckpt/step_00000020/model.safetensors";
  ASSERT_FALSE(read_file(run_dir + weights).empty());
  EXPECT_NE(read_file(run_dir + weights), read_file(other + weights));
  const std::string mine = lines(run_dir);
  EXPECT_GE(std::count(mine.begin(), mine.end(), '\n'), 6);
  EXPECT_NE(mine, lines(other));
}

class Exact : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { golden_ = new std::string(digest_after(1, *folder_ / "golden", {"--set", "checkpoint.every_steps=1", "--set", "checkpoint.keep_last=100"})); }
  static void TearDownTestSuite() {
    delete golden_;
    delete folder_;
  }
  static const std::string& golden() { return *golden_; }
  static TempDir& folder() { return *folder_; }

 private:
  static inline TempDir* folder_ = new TempDir;
  static inline std::string* golden_ = nullptr;
};

TEST_F(Exact, TwoAndFourRanksGiveTheBitsOfOne) {
  EXPECT_EQ(digest_after(2, folder() / "two"), golden());
  EXPECT_EQ(digest_after(4, folder() / "four"), golden());
}

TEST_F(Exact, GlobalBatchNormIsExactToo) {
  const Args global{"--set", "model.batch_norm.scope=GLOBAL"};
  const std::string one = digest_after(1, folder() / "global1", global);
  EXPECT_EQ(digest_after(2, folder() / "global2", global), one);
  EXPECT_EQ(digest_after(4, folder() / "global4", global), one);
  expect_other_run(folder() / "global1", folder() / "golden");
}

TEST_F(Exact, BatchNormOverGroupsOfShardsIsExactToo) {
  const Args groups{"--set", "model.batch_norm={scope: GROUP group_shards: 2}"};
  const std::string one = digest_after(1, folder() / "group1", groups);
  EXPECT_EQ(digest_after(2, folder() / "group2", groups), one);
  EXPECT_EQ(digest_after(4, folder() / "group4", groups), one);
  expect_other_run(folder() / "group1", folder() / "golden");
}

// The 16-bit copies of the weights are not saved: a resume makes them anew.
TEST_F(Exact, BF16IsExactAtAnyNumberOfRanksAndThroughResumes) {
  const Args bf16{"--set", "precision=BF16"};
  const std::string one = digest_after(1, folder() / "half1", bf16);
  EXPECT_EQ(digest_after(2, folder() / "half2", bf16), one);
  EXPECT_EQ(digest_after(4, folder() / "half4", bf16), one);
  digest_after(2, folder() / "half_chain", {"--set", "precision=BF16", "--max-steps", "9"});
  EXPECT_EQ(digest_after(1, folder() / "half_chain", {"--set", "precision=BF16", "--resume", "auto"}), one);
  expect_other_run(folder() / "half1", folder() / "golden");
}

TEST_F(Exact, DirectConvolutionsAreExactToo) {
  const Args direct{"--set", "convolution=DIRECT"};
  EXPECT_EQ(digest_after(2, folder() / "direct2", direct), digest_after(1, folder() / "direct1", direct));
}

TEST_F(Exact, GradientsRoundedOnTheWireGiveOtherBits) {
  digest_after(2, folder() / "bf16", {"--set", "distributed.wire=BF16"});
  expect_other_run(folder() / "bf16", folder() / "golden");
}

TEST_F(Exact, AResumeAtEveryStepGivesTheSameBits) {
  for (int step = 1; step < 20; ++step) {
    char name[32];
    std::snprintf(name, sizeof name, "/ckpt/step_%08d", step);
    const std::string digest = digest_after(1, folder() / ("resume" + std::to_string(step)), {"--resume", folder() / "golden" + name});
    EXPECT_EQ(digest, golden()) << "resumed after step " << step;
  }
}

TEST_F(Exact, AChainOfWorldSizesGivesTheSameBits) {
  const std::string run_dir = folder() / "chain";
  const std::vector<std::pair<int, int>> chain{{4, 4}, {2, 9}, {1, 13}, {4, 20}};
  std::string digest;
  for (const auto& [ranks, until] : chain)
    digest = digest_after(ranks, run_dir, {"--resume", "auto", "--max-steps", std::to_string(until)});
  EXPECT_EQ(digest, golden());
}

TEST_F(Exact, LoaderThreadsDoNotMatter) {
  for (const std::string threads : {"2", "5"})
    EXPECT_EQ(digest_after(1, folder() / ("threads" + threads), {"--set", "data.loader_threads=" + threads}), golden());
}

// The negative control of expect_other_run: a second run of the same has the same weights and losses.
TEST_F(Exact, TheSameRunAgainHasTheSameWeightsAndLosses) {
  const std::string run_dir = folder() / "again", weights = "/ckpt/step_00000020/model.safetensors";
  EXPECT_EQ(digest_after(1, run_dir), golden());
  EXPECT_EQ(read_file(run_dir + weights), read_file(folder() / "golden" + weights));
  EXPECT_EQ(lines(run_dir), lines(folder() / "golden"));
}

TEST_F(Exact, AnotherSeedIsAnotherRun) {
  digest_after(1, folder() / "seed", {"--seed", "2"});
  expect_other_run(folder() / "seed", folder() / "golden");
}

TEST_F(Exact, AnotherShardSizeIsAnotherRun) {
  digest_after(1, folder() / "shard", {"--set", "batch.shard_batch=8"});
  expect_other_run(folder() / "shard", folder() / "golden");
}

TEST_F(Exact, FastReductionAtFourRanksGivesOtherBits) {
  digest_after(4, folder() / "fast", {"--set", "distributed.reduction=FAST"});
  expect_other_run(folder() / "fast", folder() / "golden");
}

TEST_F(Exact, MetricsOfAResumedRunAreThoseOfAnUnbrokenOne) {
  const std::string run_dir = folder() / "lines";
  digest_after(1, run_dir, {"--set", "checkpoint.keep_last=100"});
  const std::string whole = lines(run_dir);
  EXPECT_GE(std::count(whole.begin(), whole.end(), '\n'), 6);
  // From step 7 again, in the middle of an interval of 5 steps: what was written after step 7 is replaced by the same.
  EXPECT_EQ(digest_after(2, run_dir, {"--resume", run_dir + "/ckpt/step_00000007"}), golden());
  EXPECT_EQ(lines(run_dir), whole);
}

}  // namespace
}  // namespace lockstep::testing
