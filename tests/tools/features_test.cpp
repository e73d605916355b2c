// What recipes ask of a training run: progressive resizing, bands, the verdict on the input, unreadable samples, dry runs.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using Args = std::vector<std::string>;
using ::testing::HasSubstr;
using ::testing::Not;

Args joined(Args args, const Args& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

CommandResult train(int ranks, const std::string& run_dir, const Args& more) {
  const Args args = joined({"train", tiny(), "--run-dir", run_dir}, more);
  return run(ranks == 1 ? lockstep(args) : mpi(ranks, args));
}

std::string digest_after(int ranks, const std::string& run_dir, const Args& more) {
  expect_ok(train(ranks, run_dir, more));
  return expect_ok(run(lockstep({"inspect", run_dir, "--digest"}))).out;
}

// Records of one kind in metrics.jsonl.
std::vector<nlohmann::json> records(const std::string& run_dir, const std::string& kind) {
  std::vector<nlohmann::json> found;
  std::istringstream file(read_file(run_dir + "/metrics.jsonl"));
  for (std::string line; std::getline(file, line);) {
    const auto record = nlohmann::json::parse(line);
    if (record.value("kind", "") == kind) found.push_back(record);
  }
  return found;
}

// --- progressive resizing: tiny.pbtxt has 8 steps an epoch, 20 in all; sizes change at steps 8 and 16

const Args kGrowing{"--set", "data.augment={crop: RANDOM_RESIZED_CROP flip: true}", "--set", "data.size_phase+={from_epoch: 0 size: 8}",
                    "--set", "data.size_phase+={from_epoch: 1 size: 12}", "--set", "data.size_phase+={from_epoch: 2 size: 16}"};

TEST(ProgressiveResizing, IsTheSameRunAtAnyNumberOfRanks) {
  TempDir folder;
  const std::string one = digest_after(1, folder / "one", kGrowing);
  EXPECT_EQ(digest_after(2, folder / "two", kGrowing), one);
  EXPECT_EQ(digest_after(4, folder / "four", joined(kGrowing, {"--set", "data.loader_threads=3"})), one);
  const Args full{"--set", "data.augment={crop: RANDOM_RESIZED_CROP flip: true}"};
  digest_after(1, folder / "full", full);
  EXPECT_NE(read_file(folder / "full/ckpt/step_00000020/model.safetensors"), read_file(folder / "one/ckpt/step_00000020/model.safetensors"));
}

TEST(ProgressiveResizing, IsTheSameRunWhereverItIsInterrupted) {
  TempDir folder;
  const std::string whole = digest_after(1, folder / "whole", kGrowing);
  // Before, at and after a boundary; inside a phase; in a chain of world sizes.
  for (const int stop : {7, 8, 9, 16}) {
    const std::string run_dir = folder / ("stop" + std::to_string(stop));
    digest_after(stop % 2 == 0 ? 1 : 2, run_dir, joined(kGrowing, {"--max-steps", std::to_string(stop)}));
    EXPECT_EQ(digest_after(stop % 2 == 0 ? 2 : 1, run_dir, joined(kGrowing, {"--resume", "auto"})), whole) << "stopped after step " << stop;
  }
}

TEST(ProgressiveResizing, TheBannerListsTheSizesAndAResumeMayNotChangeThem) {
  TempDir folder;
  const CommandResult result = expect_ok(train(1, folder / "run", joined(kGrowing, {"--max-steps", "9"})));
  EXPECT_THAT(result.out, HasSubstr("8 x 8 from epoch 0, 12 x 12 from epoch 1"));
  const CommandResult changed = train(1, folder / "run", joined(kGrowing, {"--resume", "auto", "--set", "data.size_phase[1].size=14"}));
  EXPECT_EQ(changed.exit_code, 64);
  EXPECT_THAT(changed.err, HasSubstr("data.size_phase[1].size"));
}

TEST(ProgressiveResizing, ASizeThatTheNetworkCannotTakeIsSaidAtOnce) {
  TempDir folder;
  const Args tiny_images{"--set", "data.size_phase[2].size=1", "--set", "batch={global_batch: 4 shard_batch: 1}"};
  const CommandResult result = train(1, folder / "run", joined(kGrowing, tiny_images));
  EXPECT_EQ(result.exit_code, 64) << result.out << result.err;
  EXPECT_THAT(result.err, HasSubstr("1x1"));
  EXPECT_FALSE(fs::exists(folder / "run/ckpt"));
}

// --- bands

TEST(Bands, EachEvaluationSaysWhetherTheRunIsOnTrack) {
  TempDir folder;
  const Args bands{"--set", "evaluation.expected+={epoch: 1 top1_min: 0 top1_max: 100}", "--set",
                   "evaluation.expected+={epoch: 2.5 top1_min: 99.9 top1_max: 100}", "--set", "epochs=2.5"};
  const CommandResult result = expect_ok(train(1, folder / "run", bands));
  EXPECT_THAT(result.out, HasSubstr("expected 0.0 to 100.0: on track"));
  EXPECT_THAT(result.out, HasSubstr("epoch 2.5:"));
  EXPECT_THAT(result.out, HasSubstr("99.9 to 100.0 %: below band")) << "the summary";
  const auto evaluations = records(folder / "run", "val");
  ASSERT_GE(evaluations.size(), 2u);
  EXPECT_DOUBLE_EQ(evaluations.front()["expected_max"], 1.0);
  EXPECT_EQ(evaluations.front()["band"], "on track");
  EXPECT_NEAR(evaluations.back()["expected_min"], 0.999, 1e-12);
  const CommandResult again = expect_ok(train(1, folder / "run", joined(bands, {"--resume", "auto", "--json"})));
  EXPECT_EQ(nlohmann::json::parse(again.out)["band"], "below band");
}

// --- the verdict on the input

TEST(InputVerdict, ASlowSourceIsTold) {
  TempDir folder;
  const Args slow{"--set", "epochs=10", "--set", "data.augment.rand_augment={ops: 100}", "--set", "model.base_width=1"};
  const CommandResult result = expect_ok(train(1, folder / "run", slow));
  EXPECT_THAT(result.out, HasSubstr("INPUT-BOUND"));
  EXPECT_THAT(result.out, HasSubstr("of 1 loader thread busy"));
  const auto verdicts = records(folder / "run", "input");
  ASSERT_GE(verdicts.size(), 2u) << "after 50 steps and at the end of the epochs that follow";
  EXPECT_EQ(verdicts.front()["step"], 50);
  EXPECT_GT(verdicts.front()["wait_frac"], 0.1);
  EXPECT_GT(verdicts.front()["augment_frac"], 0.5);
}

TEST(InputVerdict, AFastSourceIsToldOnce) {
  TempDir folder;
  const CommandResult result = expect_ok(train(1, folder / "run", {"--set", "epochs=10", "--set", "model.base_width=32"}));
  EXPECT_THAT(result.out, HasSubstr("compute-bound: input waits"));
  EXPECT_EQ(records(folder / "run", "input").size(), 1u);
}

// --- unreadable samples: real JPEGs, some cut short

class BadSamples : public ::testing::Test {
 protected:
  // 2 classes of 16 images each for training, of 4 for evaluation; `bad` training images are cut short.
  void make_data(int bad, int bad_eval = 0) {
    const fs::path images = source_dir() / "tests/golden/images";
    const std::vector<std::string> names{"jpeg_420.jpg", "jpeg_422.jpg", "jpeg_444.jpg", "jpeg_restart.jpg"};
    for (int i = 0; i < 40; ++i) {
      const bool eval = i >= 32;
      std::string bytes = read_file(images / names[static_cast<std::size_t>(i) % names.size()]);
      ASSERT_FALSE(bytes.empty());
      const int nth = eval ? i - 32 : i;
      if (nth < (eval ? bad_eval : bad)) bytes.resize(bytes.size() / 4);
      write_file(folder_.path() / "data" / (eval ? "val" : "train") / (i % 2 == 0 ? "a" : "b") / ("image" + std::to_string(i) + ".jpg"), bytes);
    }
  }
  Args args(const Args& more = {}) const {
    const Args data{"--data", (folder_.path() / "data").string(), "--set", "data.source=FOLDER", "--set", "data.augment={crop: RANDOM_RESIZED_CROP}"};
    return joined(data, more);
  }
  // Lines of bad_samples.tsv without its head.
  static std::vector<std::string> listed(const std::string& run_dir) {
    std::vector<std::string> lines;
    std::istringstream file(read_file(run_dir + "/bad_samples.tsv"));
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    if (!lines.empty()) lines.erase(lines.begin());
    return lines;
  }
  TempDir folder_;
};

TEST_F(BadSamples, AreReplacedListedAndGiveTheSameRunAtAnyNumberOfRanks) {
  make_data(3);
  const Args enough = args({"--set", "data.max_bad_samples=3"});
  const std::string one = digest_after(1, folder_ / "one", enough);
  EXPECT_EQ(digest_after(2, folder_ / "two", joined(enough, {"--set", "data.loader_threads=2"})), one);
  EXPECT_EQ(digest_after(4, folder_ / "four", enough), one);
  for (const std::string& run_dir : {folder_ / "one", folder_ / "four"}) {
    const std::vector<std::string> lines = listed(run_dir);
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_THAT(lines[0], HasSubstr("image0.jpg"));
    EXPECT_THAT(lines[0], HasSubstr("\t"));
  }
}

TEST_F(BadSamples, MoreThanTheBudgetEndTheRunAndWhatWasTrainedIsSaved) {
  make_data(3);
  for (const int ranks : {1, 2}) {
    const std::string run_dir = folder_ / ("run" + std::to_string(ranks));
    const CommandResult result = train(ranks, run_dir, args({"--set", "data.max_bad_samples=1"}));
    EXPECT_EQ(result.exit_code, 65) << result.out << result.err;
    EXPECT_THAT(result.err, HasSubstr("data.max_bad_samples allows 1"));
    EXPECT_THAT(result.err, HasSubstr("is saved"));
    EXPECT_THAT(result.err, HasSubstr("image"));
    EXPECT_GE(listed(run_dir).size(), 2u);
    // The count goes on: the same budget is refused at once, and nothing is trained.
    const std::string before = expect_ok(run(lockstep({"inspect", run_dir, "--digest"}))).out;
    const CommandResult again = train(1, run_dir, args({"--set", "data.max_bad_samples=1", "--resume", "auto"}));
    EXPECT_EQ(again.exit_code, 65) << again.out << again.err;
    EXPECT_EQ(expect_ok(run(lockstep({"inspect", run_dir, "--digest"}))).out, before);
    EXPECT_THAT(again.err, HasSubstr("--allow-changes"));
    // With a larger one it is the run that never stopped.
    const std::string whole = digest_after(1, folder_ / ("whole" + std::to_string(ranks)), args({"--set", "data.max_bad_samples=3"}));
    EXPECT_EQ(digest_after(ranks, run_dir, args({"--set", "data.max_bad_samples=3", "--resume", "auto"})), whole);
  }
}

TEST_F(BadSamples, ARepairedSetGoesOn) {
  make_data(3);
  const std::string run_dir = folder_ / "run";
  EXPECT_EQ(train(1, run_dir, args({"--set", "data.max_bad_samples=1"})).exit_code, 65);
  fs::remove_all(folder_ / "data");
  make_data(0);
  const CommandResult resumed = train(1, run_dir, args({"--set", "data.max_bad_samples=1", "--resume", "auto", "--allow-changes"}));
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.out + resumed.err, HasSubstr("counted anew"));
}

TEST_F(BadSamples, AnUnreadableEvaluationImageEndsTheRunOrCountsAsAMiss) {
  make_data(0, 2);
  const CommandResult error = train(1, folder_ / "error", args());
  EXPECT_EQ(error.exit_code, 65) << error.err;
  // Every readable image is a hit of top-5, as there are two classes: what is missing are the unreadable ones.
  const CommandResult miss = expect_ok(train(1, folder_ / "miss", args({"--set", "evaluation.bad_images=MISS", "--set", "evaluation.batch=3"})));
  EXPECT_THAT(miss.out + miss.err, HasSubstr("counted as a miss"));
  const auto evaluations = records(folder_ / "miss", "val");
  ASSERT_FALSE(evaluations.empty());
  for (const auto& record : evaluations) EXPECT_DOUBLE_EQ(record["top5"], 6.0 / 8);
  digest_after(2, folder_ / "two", args({"--set", "evaluation.bad_images=MISS", "--set", "evaluation.batch=3"}));
  EXPECT_EQ(records(folder_ / "two", "val").back()["loss"], evaluations.back()["loss"]);
}

// --- dry runs

TEST(DryRun, TouchesNothing) {
  TempDir folder;
  const std::string recipe = (source_dir() / "configs/resnet50_goyal_8k.pbtxt").string();
  const CommandResult result = expect_ok(run(lockstep(
      {"train", recipe, "--dry-run", "--ranks", "8", "--data", "/nowhere", "--run-dir", folder / "run", "--set", "batch.shard_batch=4"})));
  EXPECT_THAT(result.out, HasSubstr("156 an epoch"));
  EXPECT_THAT(result.out, HasSubstr("76.6 %"));
  EXPECT_FALSE(fs::exists(folder / "run"));
}

TEST(DryRun, JsonAndErrors) {
  const auto json = nlohmann::json::parse(expect_ok(run(lockstep({"train", tiny(), "--dry-run", "--json"}))).out);
  EXPECT_EQ(json["total_steps"], 20);
  const CommandResult unknown = run(lockstep({"train", tiny(), "--dry-run", "--set", "data.source=FOLDER"}));
  EXPECT_EQ(unknown.exit_code, 64);
  EXPECT_THAT(unknown.err, HasSubstr("data.train_images"));
  EXPECT_EQ(run(lockstep({"train", tiny(), "--ranks", "2"})).exit_code, 64) << "only for a dry run";
  EXPECT_EQ(run(lockstep({"train", tiny(), "--dry-run", "--ranks", "3"})).exit_code, 64);
}

}  // namespace
}  // namespace lockstep::testing
