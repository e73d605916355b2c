// The gradient noise scale as a user meets it: banner, display, metrics, summary; and after a resume.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <vector>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using nlohmann::json;

std::vector<json> records(const std::string& run_dir, const std::string& kind) {
  std::ifstream file(run_dir + "/metrics.jsonl");
  std::vector<json> list;
  for (std::string line; std::getline(file, line);) {
    json record = json::parse(line);
    record.erase("t");  // the clock
    if (record["kind"] == kind) list.push_back(std::move(record));
  }
  return list;
}

// From the banner: "measured every 4 steps from 4 gradients of 4 images"; 0: it is not there.
int every_steps(const std::string& text) {
  std::smatch found;
  if (!std::regex_search(text, found, std::regex("measured (each step|every ([0-9]+) steps) from 4 gradients of 4 images"))) return 0;
  return found[2].matched ? std::stoi(found[2]) : 1;
}

TEST(NoiseScaleRun, IsInBannerDisplayMetricsAndSummary) {
  TempDir folder;
  const std::string run_dir = folder / "run";
  const CommandResult result = expect_ok(run(lockstep({"train", tiny(), "--run-dir", run_dir, "--json"})));
  const int every = every_steps(result.err);
  ASSERT_GT(every, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("critical batch"));
  const json summary = json::parse(result.out);
  for (const char* key : {"gradient_norm2", "gradient_variance"}) EXPECT_TRUE(summary[key].is_number()) << key;
  EXPECT_THAT(summary["noise_scale_text"].get<std::string>(), HasSubstr("(you use 16)"));
  EXPECT_TRUE(summary["energy_source"].is_string());

  const std::vector<json> epochs = records(run_dir, "noise");  // two whole epochs of 8 steps, and the half one
  ASSERT_EQ(epochs.size(), 3u);
  const auto measured = [every](int begin, int end) { return (end + every - 1) / every - (begin + every - 1) / every; };
  EXPECT_EQ(epochs[0]["step"], 8);
  EXPECT_EQ(epochs[0]["steps"], measured(0, 8));
  EXPECT_EQ(epochs[2]["step"], 20);
  EXPECT_EQ(epochs[2]["steps"], measured(16, 20));
  double by_group = 0;
  for (const char* group : {"conv1", "layer1", "layer2", "layer3", "fc"})
    by_group += epochs[1]["gradient_variance." + std::string(group)].get<double>();
  EXPECT_NEAR(by_group, epochs[1]["gradient_variance"].get<double>(), 1e-12 * by_group) << "the groups are all there is";
  const std::vector<json> steps = records(run_dir, "train");
  ASSERT_EQ(steps.size(), 4u);
  for (const json& step : steps) EXPECT_TRUE(step["gradient_variance"].is_number());
  EXPECT_EQ(records(run_dir, "energy").size(), 1u);
}

TEST(NoiseScaleRun, AResumedRunReportsTheSameBits) {
  TempDir folder;
  const std::string run_dir = folder / "run";
  expect_ok(run(lockstep({"train", tiny(), "--run-dir", run_dir})));
  const std::vector<json> noise = records(run_dir, "noise"), train = records(run_dir, "train");
  expect_ok(run(mpi(2, {"train", tiny(), "--run-dir", run_dir, "--resume", run_dir + "/ckpt/step_00000014"})));  // in the second epoch
  EXPECT_EQ(records(run_dir, "noise"), noise);
  EXPECT_EQ(records(run_dir, "train"), train);
}

TEST(NoiseScaleRun, CanBeTurnedOffAndChangesNothing) {
  TempDir folder;
  const std::string off_dir = folder / "off";
  const json on = json::parse(expect_ok(run(lockstep({"train", tiny(), "--run-dir", folder / "on", "--json"}))).out);
  const CommandResult result = expect_ok(run(lockstep({"train", tiny(), "--run-dir", off_dir, "--json", "--set", "logging.noise_scale=false"})));
  const json off = json::parse(result.out);
  EXPECT_EQ(off["digest"], on["digest"]);
  EXPECT_FALSE(off.contains("noise_scale"));
  EXPECT_THAT(off["noise_scale_text"].get<std::string>(), HasSubstr("logging.noise_scale is false"));
  EXPECT_THAT(result.err, Not(HasSubstr("critical batch now")));
  EXPECT_TRUE(records(off_dir, "noise").empty());
}

}  // namespace
}  // namespace lockstep::testing
