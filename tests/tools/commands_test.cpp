// Every sub-command as the README and the help describe it.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using nlohmann::json;

TEST(Commands, VersionNamesTheLibraries) {
  const CommandResult result = expect_ok(run(lockstep({"version"})));
  for (const char* word : {"lockstep", "oneDNN", "MPI", "protobuf", "CUDA"}) EXPECT_THAT(result.out, HasSubstr(word));
  EXPECT_TRUE(json::parse(expect_ok(run(lockstep({"version", "--json"}))).out).contains("oneDNN"));
}

TEST(Commands, TheVersionFlagPrintsTheFirstLineOfVersion) {
  const std::string version = expect_ok(run(lockstep({"version"}))).out;
  EXPECT_EQ(expect_ok(run(lockstep({"--version"}))).out, version.substr(0, version.find('\n') + 1));
}

TEST(Commands, AnUnknownCommandGetsASuggestionAndTheList) {
  const CommandResult near = run(lockstep({"trian", tiny()}));
  EXPECT_EQ(near.exit_code, 64);
  EXPECT_THAT(near.err, HasSubstr("unknown command 'trian'; did you mean 'train'?"));
  const CommandResult far = run(lockstep({"xyzzy"}));
  EXPECT_EQ(far.exit_code, 64);
  EXPECT_THAT(far.err, Not(HasSubstr("did you mean")));
  for (const CommandResult& result : {near, far, run(lockstep({}))}) {
    EXPECT_EQ(result.exit_code, 64);
    EXPECT_THAT(result.err, HasSubstr("The commands: train, eval, infer, export, bench, analyze, plan, tune, report, inspect, data, config, version, help."));
  }
  const CommandResult option = run(lockstep({"train", tiny(), "--max-step", "3"}));
  EXPECT_EQ(option.exit_code, 64);
  EXPECT_THAT(option.err, HasSubstr("--max-step"));
  EXPECT_THAT(option.err, Not(HasSubstr("unknown command")));
}

TEST(Commands, HelpExplainsAFieldOfTheConfig) {
  EXPECT_THAT(expect_ok(run(lockstep({"help", "config"}))).out, HasSubstr("schedule"));
  EXPECT_THAT(expect_ok(run(lockstep({"help", "config", "optimizer.momentum"}))).out, HasSubstr("0.9"));
  EXPECT_EQ(run(lockstep({"help", "config", "optimizer.momentun"})).exit_code, 64);
}

TEST(Commands, HelpListsTheNetworks) {
  const std::string text = expect_ok(run(lockstep({"help", "networks"}))).out;
  EXPECT_THAT(text, ::testing::ContainsRegex("resnet50 +25557032 +224x224 .*variant stem zero_gamma base_width\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("inception_v3 +23834568 +299x299 .*base_width dropout\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("resnet20 +272474 +32x32"));
  EXPECT_EQ(run(lockstep({"help", "network"})).exit_code, 64);
}

TEST(Commands, ConfigPrintsEveryValueWithItsOrigin) {
  const CommandResult result = expect_ok(run(lockstep({"config", tiny(), "--seed", "7", "--set", "optimizer.momentum=0.8"})));
  EXPECT_THAT(result.out, HasSubstr("momentum: 0.8"));
  EXPECT_THAT(result.out, HasSubstr("--set"));
  EXPECT_THAT(result.out, HasSubstr("--seed"));
  EXPECT_THAT(result.out, HasSubstr("default"));
  // What it prints is a config with the same digest.
  TempDir folder;
  write_file(folder / "again.pbtxt", result.out);
  const auto digest = [](const std::string& file, std::vector<std::string> more) {
    std::vector<std::string> args{"config", file, "--digest"};
    args.insert(args.end(), more.begin(), more.end());
    return expect_ok(run(lockstep(args))).out;
  };
  EXPECT_EQ(digest(folder / "again.pbtxt", {}), digest(tiny(), {"--seed", "7", "--set", "optimizer.momentum=0.8"}));
  EXPECT_NE(digest(folder / "again.pbtxt", {}), digest(tiny(), {}));
}

TEST(Commands, EveryConfigThatWeShipIsValid) {
  for (const auto& entry : fs::directory_iterator(source_dir() / "configs"))
    if (entry.is_regular_file()) expect_ok(run(lockstep({"config", entry.path().string(), "--data", "/somewhere"})));
}

TEST(Commands, TrainThenEvalThenInspect) {
  TempDir folder;
  const std::string run_dir = folder / "run";
  const CommandResult trained = expect_ok(run(mpi(2, {"train", tiny(), "--run-dir", run_dir})));
  for (const char* word : {"global batch", "4 shards x 4", "batch norm sees", "learning rate", "run folder", "accuracy", "lockstep eval "})
    EXPECT_THAT(trained.out, HasSubstr(word));
  EXPECT_THAT(trained.out, Not(HasSubstr("\x1b["))) << "no terminal, no escape sequences";
  for (const char* name : {"config.pbtxt", "config.effective.pbtxt", "run.json", "metrics.jsonl", "metrics.csv", "logs/rank0000.log"})
    EXPECT_TRUE(fs::exists(fs::path(run_dir) / name)) << name;

  // The same accuracy, counted image by image, at any number of ranks and any batch.
  const json one = json::parse(expect_ok(run(lockstep({"eval", run_dir, "--json"}))).out);
  EXPECT_EQ(one["images"], 50);
  for (const int ranks : {2, 3}) {
    json other = json::parse(expect_ok(run(mpi(ranks, {"eval", run_dir, "--json"}))).out);
    for (const char* key : {"images", "top1_count", "top5_count", "loss"}) EXPECT_EQ(other[key], one[key]) << key << " at " << ranks << " ranks";
  }
  const json batch7 = json::parse(expect_ok(run(lockstep({"eval", run_dir, "--json", "--set", "evaluation.batch=7"}))).out);
  EXPECT_EQ(batch7["images"], 50);
  EXPECT_EQ(batch7["top1_count"], one["top1_count"]);

  EXPECT_THAT(expect_ok(run(lockstep({"inspect", run_dir, "--tensors"}))).out, HasSubstr("layer1.0.conv1.weight"));
  EXPECT_TRUE(json::accept(expect_ok(run(lockstep({"inspect", run_dir, "--json"}))).out));
}

TEST(Commands, TrainPrintsNothingButAJsonObjectWhenAsked) {
  TempDir folder;
  const CommandResult result = expect_ok(run(lockstep({"train", tiny(), "--run-dir", folder / "run", "--max-steps", "5", "--json"})));
  const json object = json::parse(result.out);
  EXPECT_EQ(object["step"], 5);
  EXPECT_EQ(object["eval_images"], 50);
}

TEST(Commands, TheBestCheckpointIsTheOneWithTheBestAccuracy) {
  TempDir folder;
  // No save is due but at the end: the best evaluation must be kept all the same. A high rate makes the accuracy jump about.
  const std::vector<std::string> args{"train", tiny(), "--run-dir", folder / "run", "--set", "checkpoint.every_steps=0", "--set", "epochs=6",
                                      "--set", "schedule={kind: CONSTANT lr: 0.2}", "--json"};
  const json trained = json::parse(expect_ok(run(lockstep(args))).out);
  const json best = json::parse(expect_ok(run(lockstep({"eval", folder / "run", "--best", "--json"}))).out);
  EXPECT_DOUBLE_EQ(best["top1"].get<double>(), trained["best_top1"].get<double>());
  std::vector<std::string> again = args;
  again.pop_back();
  again.insert(again.end(), {"--resume", "best"});
  EXPECT_THAT(expect_ok(run(lockstep(again))).out, HasSubstr("at step " + std::to_string(best["step"].get<int>()) + " of"));
}

// It is the run of the whole schedule, cut at the first evaluation that is good enough; and may go on from there.
TEST(Commands, ARunMayStopAtATargetAccuracy) {
  TempDir folder;
  const auto train = [&](const std::string& name, const std::vector<std::string>& more, int ranks = 1) {
    std::vector<std::string> args{"train", tiny(), "--run-dir", folder / name, "--set", "evaluation.every_epochs=0.5", "--json"};
    args.insert(args.end(), more.begin(), more.end());
    return json::parse(expect_ok(run(ranks > 1 ? mpi(ranks, args) : lockstep(args))).out);
  };
  const json whole = train("whole", {});
  double target = 0;
  std::vector<std::pair<int, double>> seen;  // step, percent
  std::istringstream lines(read_file(folder / "whole/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const json object = json::parse(line);
    if (object["kind"] == "val") seen.emplace_back(object["step"], 100 * object["top1"].get<double>());
  }
  ASSERT_GE(seen.size(), 4u);
  for (const auto& [step, percent] : seen)
    if (step < whole["total_steps"]) target = std::max(target, percent);
  const auto first = std::find_if(seen.begin(), seen.end(), [&](const auto& each) { return each.second >= target; });
  const std::string stop = "evaluation.stop_at_top1=" + std::to_string(target - 0.01);
  const json cut = train("cut", {"--set", stop}, 2);
  EXPECT_EQ(cut["step"], first->first);
  EXPECT_EQ(cut["reached"], true);
  EXPECT_EQ(whole["reached"], false);
  EXPECT_EQ(cut["digest"], train("prefix", {"--max-steps", std::to_string(first->first)})["digest"]);
  EXPECT_EQ(train("cut", {"--set", stop, "--resume", "auto"})["step"], first->first) << "it is there";
  EXPECT_EQ(train("cut", {"--resume", "auto"})["digest"], whole["digest"]) << "and may go on";
}

TEST(Commands, AFinishedRunSaysSoWhenResumed) {
  TempDir folder;
  expect_ok(run(lockstep({"train", tiny(), "--run-dir", folder / "run"})));
  const CommandResult again = expect_ok(run(lockstep({"train", tiny(), "--run-dir", folder / "run", "--resume", "auto"})));
  EXPECT_THAT(again.out, HasSubstr("step 20 of 20"));
}

TEST(Commands, BenchStepReportsAllPhases) {
  const std::vector<std::string> args{"bench", "step", "--model", "resnet8", "--batch", "4", "--size", "16", "--classes", "4", "--steps", "3", "--json"};
  const json one = json::parse(expect_ok(run(lockstep(args))).out);
  for (const char* key : {"images_per_second", "step_ms", "forward_ms", "backward_ms", "update_ms", "peak_bytes"}) EXPECT_GT(one[key].get<double>(), 0) << key;
  for (const char* key : {"data_ms", "reduce_ms"}) EXPECT_GE(one[key].get<double>(), 0) << key;
  EXPECT_EQ(one["warm_system_allocations"], 0) << "a warm step asks the system for no memory";
  const json two = json::parse(expect_ok(run(mpi(2, args))).out);
  EXPECT_EQ(two["ranks"], 2);
  EXPECT_EQ(two["warm_system_allocations"], 0);
}

TEST(Commands, Resnet50TrainsAtFullSizeOnTwoRanks) {
  TempDir folder;
  const CommandResult result = expect_ok(run(mpi(2, {"train", (source_dir() / "configs/resnet50_synthetic.pbtxt").string(), "--run-dir", folder / "run",
                                                      "--max-steps", "1", "--set", "batch.global_batch=4", "--set", "batch.shard_batch=2"}), {}, 300));
  EXPECT_THAT(result.out, HasSubstr("25557032 parameters"));
}

}  // namespace
}  // namespace lockstep::testing
