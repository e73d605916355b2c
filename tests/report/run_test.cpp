// Reading runs: the numbers that come out, and what damage costs.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <filesystem>
#include <random>

#include "report/figures.h"
#include "report/run_data.h"
#include "tests/report/fixtures.h"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(EffectiveConfig, LeavesHavePathValueAndOrigin) {
  const auto leaves = parse_effective_config(
      "# head\nname: \"a # b\"   # the file's name\ngroup {\n  x: [1, 2]  # f:3\n  inner {\n    y: A # default\n  }\n}\ngroup {\n  x: 5\n}\n  # z: "
      "not given\n}\n}\nlast: 1");
  ASSERT_EQ(leaves.size(), 5U);
  EXPECT_EQ(leaves[0].path + "|" + leaves[0].value + "|" + leaves[0].origin, "name|\"a # b\"|the file's name");
  EXPECT_EQ(leaves[1].path + "|" + leaves[1].value + "|" + leaves[1].origin, "group.x|[1, 2]|f:3");
  EXPECT_EQ(leaves[2].path, "group.inner.y");
  EXPECT_EQ(leaves[3].path + leaves[3].origin, "group[1].x");
  EXPECT_EQ(leaves[4].path, "last");
}

TEST(EffectiveConfig, BytesWithAColonAreNoSetting) {
  EXPECT_THAT(parse_effective_config("\x93\xf1 k: 5\n: 6\nb/c: 7\n"), IsEmpty());
}

TEST(Run, FiguresFollowFromTheRecords) {
  TestFolder folder;
  make_run(folder / "run");
  const RunData run = read_run(folder / "run");
  EXPECT_THAT(run.problems, IsEmpty());
  const RunFigures figures = figures_of(run);
  EXPECT_EQ(figures.steps, 1000);
  EXPECT_EQ(figures.total_steps, 1000);
  EXPECT_EQ(figures.state, "finished");
  EXPECT_EQ(figures.global_batch, 128);
  EXPECT_NEAR(*figures.final_top1, 0.93, 1e-9);
  EXPECT_NEAR(*figures.images_per_second, 1000, 1e-6);
  EXPECT_NEAR(*figures.train_seconds, 128, 1e-6);  // 1,000 steps of 128 images
  EXPECT_NEAR(figures.phases->whole, 128, 1e-6);
  EXPECT_NEAR(figures.phases->input, 0.05 * 128, 1e-6);
  EXPECT_NEAR(figures.phases->rest(), 128 - 0.05 * 128 - 2, 1e-6);
  EXPECT_EQ(*figures.joules, 36000);
  EXPECT_NEAR(*figures.noise_scale, 100 * std::exp(3), 1e-6);
  EXPECT_EQ(figures.band, "on track");
  EXPECT_EQ(run.config_value("data.path"), "/data/with # a hash");
  EXPECT_EQ(run.memory_plan, "116 MB of tensors per rank at the peak");
  ASSERT_EQ(run.bad_samples.size(), 1U);
  EXPECT_EQ(run.bad_samples[0].name, "n01/a\tb.jpg");
  ASSERT_EQ(run.log.size(), 5U);
  EXPECT_EQ(run.log[3].level + run.log[3].when, "start2026-11-29 23:38:00");
}

TEST(Run, StoppedRunSaysWhere) {
  TestFolder folder;
  make_run(folder / "run");
  const std::string text = read_text(folder / "run/metrics.jsonl");
  write_text(folder / "run/metrics.jsonl", text.substr(0, text.find("\"step\":420") - 1));
  const RunData run = read_run(folder / "run");
  EXPECT_EQ(figures_of(run).state, "at step 400 of 1,000");
  EXPECT_THAT(run.problems, ElementsAre(HasSubstr("ends within a line")));
}

TEST(Run, RunThatStoppedAtItsTargetSaysSo) {
  TestFolder folder;
  make_run(folder / "run");
  const std::string text = read_text(folder / "run/metrics.jsonl"), config = read_text(folder / "run/config.effective.pbtxt");
  write_text(folder / "run/metrics.jsonl", text.substr(0, text.find("\"step\":420") - 1));
  const auto state_with = [&](int target) {
    write_text(folder / "run/config.effective.pbtxt", config + "evaluation {\n  stop_at_top1: " + std::to_string(target) + "  # --set\n}\n");
    return figures_of(read_run(folder / "run")).state;
  };
  EXPECT_EQ(state_with(1), "reached 1.00 % at step 400");
  EXPECT_EQ(state_with(100), "at step 400 of 1,000") << "it did not come so far";
}

TEST(Run, DamagedLinesAreCountedAndTheOthersCount) {
  TestFolder folder;
  make_run(folder / "run");
  const std::string text = read_text(folder / "run/metrics.jsonl");
  const std::string too_long = R"({"t":1,"step":9999,"epoch":99,"kind":"train","loss":1,"text":")" + std::string(2'000'000, 'x') + "\"}\n";
  const std::string future = R"({"t":1,"step":1,"epoch":0.1,"kind":"future","new":{"a":[1]},"n":3})";  // of another version
  std::string far;
  for (const char* step : {"-1", "1.5", "18446744073709551615", "9223372036854775807"})
    far += std::string(R"({"t":1,"step":)") + step + R"(,"epoch":1,"kind":"perf","images_per_sec":1})" + "\n";
  write_text(folder / "run/metrics.jsonl", "{\"step\":\n[]\n{\"kind\":\"train\"}\n" + too_long + far + text + future + "\n");
  const RunData run = read_run(folder / "run");
  EXPECT_THAT(run.problems, ElementsAre(HasSubstr("8 of ")));
  EXPECT_EQ(figures_of(run).steps, 1000);
  EXPECT_EQ(run.samples("future.n").size(), 1U);
}

TEST(Run, EachFileMayBeMissing) {
  for (const char* name : {"run.json", "config.effective.pbtxt", "metrics.jsonl", "logs/rank0000.log"}) {
    TestFolder folder;
    make_run(folder / "run");
    fs::remove(folder / (std::string("run/") + name));
    const RunData run = read_run(folder / "run");
    EXPECT_THAT(run.problems, ElementsAre(HasSubstr(fs::path(name).filename().string()))) << name;
    EXPECT_TRUE(run.readable());
    figures_of(run);
  }
}

TEST(Run, FilesThatAreNoneDoNotBlock) {
  TestFolder folder;
  make_run(folder / "run");
  for (const char* name : {"metrics.jsonl", "run.json", "config.effective.pbtxt", "bad_samples.tsv"}) {
    fs::remove(folder / (std::string("run/") + name));
    ASSERT_EQ(mkfifo((folder / (std::string("run/") + name)).c_str(), 0600), 0);
  }
  fs::remove(folder / "run/logs/rank0000.log");
  fs::create_directory(folder / "run/logs/rank0000.log");
  write_text(folder / "run/ckpt", "a file");
  EXPECT_FALSE(read_run(folder / "run").readable());
}

TEST(Run, NotFiniteLossIsKeptAsSuch) {
  TestFolder folder;
  write_text(folder / "run/metrics.jsonl",
             "{\"t\":1,\"step\":5,\"epoch\":0.5,\"kind\":\"train\",\"loss\":null}\n{\"t\":1,\"step\":7,\"epoch\":0.7,\"kind\":\"train\",\"loss\":"
             "1e999}\n{\"t\":2,\"step\":10,\"epoch\":1,\"kind\":\"train\",\"loss\":2.5}\n");
  const RunData run = read_run(folder / "run");
  ASSERT_EQ(run.samples("train.loss").size(), 2U);
  EXPECT_TRUE(std::isnan(run.samples("train.loss")[0].value));
  EXPECT_EQ(*figures_of(run).train_loss, 2.5);
}

// Bytes flipped, cut off, doubled: whatever is there, reading ends and nothing is thrown.
TEST(Run, SurvivesAnyDamage) {
  TestFolder folder;
  make_run(folder / "run", {.steps_per_epoch = 20, .epochs = 3});
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    for (const char* name : {"run.json", "config.effective.pbtxt", "metrics.jsonl", "logs/rank0000.log", "bad_samples.tsv"}) {
      const std::string path = folder / (std::string("run/") + name);
      const std::string whole = read_text(path);
      std::string text = whole;
      for (int i = 0; i < 5; ++i) text[random() % text.size()] = static_cast<char>(random());
      if (round % 3 == 0) text.resize(random() % text.size());
      if (round % 7 == 0) text += text;
      write_text(path, text);
      EXPECT_NO_THROW(figures_of(read_run(folder / "run"))) << name << " in round " << round;
      write_text(path, whole);
    }
  }
}

}  // namespace
}  // namespace lockstep::testing
