// `lockstep plan` as a user runs it.
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
using nlohmann::json;
using ::testing::HasSubstr;

std::string recipe(const std::string& name) { return (source_dir() / "configs" / (name + ".pbtxt")).string(); }

std::string content(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The command at the top of docs/plan.md.
TEST(PlanCommand, PlansAPublishedRecipeWithoutItsDataOrItsGpus) {
  const TempDir folder;
  const std::string curve = (folder.path() / "lr.svg").string(), page = (folder.path() / "plan.html").string();
  const CommandResult result =
      expect_ok(run(lockstep({"plan", recipe("resnet50_goyal_8k"), "--set", "backend=CUDA", "--set", "precision=FP16", "--ranks", "64", "--device",
                              "h100", "--network", "dgx_h100", "--price", "3", "--svg", curve, "--html", page})));
  for (const char* word : {"14040 in all", "peak 3.2", "largest shard", "efficiency", "to the end", "energy", "cost", "warnings"})
    EXPECT_THAT(result.out, HasSubstr(word));
  EXPECT_THAT(content(curve), HasSubstr("<svg"));
  EXPECT_THAT(content(page), HasSubstr("<!DOCTYPE html>"));
}

TEST(PlanCommand, PrintsOneJsonObject) {
  const CommandResult result = expect_ok(run(lockstep({"plan", tiny(), "--device", "h100", "--network", "dgx_h100", "--ranks", "2", "--json"})));
  const json object = json::parse(result.out);
  EXPECT_GT(object["step"]["images_per_second"].get<double>(), 0);
  EXPECT_EQ(object["batch"]["ranks"], 2);
  EXPECT_TRUE(object["totals"]["cost"].is_null());
}

// A table made here predicts this machine's own step: within a factor of two even beside other work.
TEST(PlanCommand, MeasuredKernelsPredictTheMachineTheyWereMeasuredOn) {
  const TempDir folder;
  const std::string table = (folder.path() / "step.json").string();
  std::ofstream(table) << expect_ok(run(lockstep({"bench", "step", "--config", tiny(), "--json"}))).out;
  const json bench = json::parse(content(table));
  const json plan = json::parse(expect_ok(run(lockstep({"plan", tiny(), "--kernels", table, "--json"}))).out);
  const double shards = plan["batch"]["shards_per_rank"].get<double>(), measured = bench["step_ms"].get<double>() * 1e-3;
  EXPECT_GT(shards, 0);
  EXPECT_LT(plan["step"]["seconds"].get<double>(), 2 * measured);
  EXPECT_GT(plan["step"]["seconds"].get<double>(), measured / 2);
}

TEST(PlanCommand, WhatIsWrongIsSaidAndExits) {
  struct Case {
    std::vector<std::string> args;
    int exit_code;
    std::string says;
  };
  for (const Case& each : std::vector<Case>{{{"--device", "h10"}, 64, "did you mean \"h100\""},
                                            {{"--device", "h100", "--network", "dgx_h10"}, 64, "did you mean \"dgx_h100\""},
                                            {{"--device", "/nowhere.pbtxt"}, 66, "no such file"},
                                            {{"--kernels", "/nowhere.json"}, 66, "no such file"},
                                            {{"--device", "h100", "--ranks", "2"}, 64, "--network"},
                                            {{"--device", "h100", "--network", "dgx_h100", "--ranks", "3"}, 64, "3 ranks"},
                                            {{"--device", "h100", "--network", "dgx_h100", "--ranks", "2", "--nodes", "5"}, 64, "5 hosts"},
                                            {{"--device", "h100", "--stragglers", "70"}, 64, "stragglers"},
                                            {{"--device", "h100", "--html", "/nowhere/plan.html"}, 73, "/nowhere"}}) {
    std::vector<std::string> args{"plan", tiny()};
    args.insert(args.end(), each.args.begin(), each.args.end());
    const CommandResult result = run(lockstep(args));
    EXPECT_EQ(result.exit_code, each.exit_code) << each.says << "\n" << result.err;
    EXPECT_THAT(result.err, HasSubstr(each.says));
  }
}

}  // namespace
}  // namespace lockstep::testing
