// `lockstep tune` as a user runs it: small sweeps of real runs, killed and continued, compared with runs by hand.
//
// LOCKSTEP_TUNE_KILLS: how often the kill test kills (3; 20 for the full check).
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Args = std::vector<std::string>;

// Two batches, two rates each, two rungs, two seeds; some seconds.
Args tune_args(const std::string& folder, const Args& more = {}) {
  Args args{"tune", tiny(), "--run-dir", folder, "--batches", "8,32", "--factors", "0.5,2", "--rule", "linear", "--seeds", "2", "--rungs", "1/2,1",
            "--keep", "1", "--target", "0.6"};
  args.insert(args.end(), more.begin(), more.end());
  return lockstep(args);
}

// The table: everything that does not depend on clocks and meters.
json table(const std::string& folder) {
  json result = json::parse(read_file(folder + "/sweep.json"));
  const auto drop = [](json& object, std::initializer_list<const char*> keys) {
    for (const char* key : keys) object.erase(key);
  };
  for (json& trial : result["trials"]) {
    drop(trial, {"images_per_second", "seconds", "joules_per_image", "energy_source", "peak_memory_bytes"});
    if (trial["to_target"].is_object()) drop(trial["to_target"], {"seconds", "joules"});
  }
  for (json& batch : result["batches"]) drop(batch, {"seconds_to_target", "joules_to_target", "images_per_second", "milliseconds_per_step"});
  drop(result["verdict"], {"fastest", "text"});
  return result;
}

class Tune : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TempDir;
    whole_ = new CommandResult(run(tune_args(*folder_ / "whole")));
    ASSERT_EQ(whole_->exit_code, 0) << whole_->out << whole_->err;
  }
  static void TearDownTestSuite() {
    delete whole_;
    delete folder_;
  }
  static inline TempDir* folder_ = nullptr;
  static inline CommandResult* whole_ = nullptr;  // an uninterrupted sweep
};

TEST_F(Tune, TrialsMayStopAtTheTarget) {
  EXPECT_EQ(run(tune_args(*folder_ / "unclear", {"--stop-at-target"})).exit_code, 64) << "by which accuracy would rates be compared?";
  // Evaluated after each step, everything is there at the first one.
  Args args = tune_args(*folder_ / "there", {"--select", "target", "--stop-at-target", "--set", "evaluation.every_epochs=0.001"});
  std::replace(args.begin(), args.end(), std::string("0.6"), std::string("0.01"));
  const CommandResult result = run(args);
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("there at epoch"), HasSubstr("Largest batch that reached 1.00 % with all its seeds: 32.")));
  const json sweep = json::parse(read_file(*folder_ / "there/sweep.json"));
  int stopped = 0;
  for (const json& trial : sweep.at("trials")) {
    if (trial.at("to_target").is_null() || trial.at("steps") == trial.at("total_steps")) continue;  // the probe goes to the end
    EXPECT_EQ(trial.at("steps"), trial.at("to_target").at("steps"));
    const std::string folder = *folder_ / "there/" + trial.at("folder").get<std::string>();
    EXPECT_EQ(json::parse(read_file(folder + "/summary.json")).at("step"), trial.at("steps"));
    ++stopped;
  }
  EXPECT_GE(stopped, 4);
  EXPECT_THAT(read_file(*folder_ / "there/best.pbtxt"), HasSubstr("the largest batch that reached the target"));
}

TEST_F(Tune, EndsWithATableAVerdictAndAConfig) {
  EXPECT_THAT(whole_->out, AllOf(HasSubstr("batch     32"), HasSubstr("rung 2/2"), HasSubstr("Largest batch without loss"), HasSubstr("best.pbtxt")));
  const json result = json::parse(read_file(*folder_ / "whole/sweep.json"));
  EXPECT_EQ(result.at("complete"), true);
  EXPECT_EQ(result.at("batches").size(), 2u);
  EXPECT_EQ(result.at("trials").size(), 7u) << "two rates at two batches, a second seed for each best one, and the probe";
  for (const json& trial : result.at("trials"))
    EXPECT_TRUE(fs::exists(*folder_ / "whole" + "/" + trial.at("folder").get<std::string>() + "/config.effective.pbtxt"));
  const CommandResult best = run(lockstep({"config", *folder_ / "whole/best.pbtxt"}));
  EXPECT_EQ(best.exit_code, 0) << best.err;
  EXPECT_THAT(read_file(*folder_ / "whole/best.pbtxt"), HasSubstr("the largest batch without loss"));
}

TEST_F(Tune, ATrialIsTheSameRunAsByHand) {
  const json result = json::parse(read_file(*folder_ / "whole/sweep.json"));
  for (const json& trial : result.at("trials")) {
    if (trial.at("status") != "finished") continue;
    const std::string folder = trial.at("folder"), by_hand = *folder_ / ("hand-" + fs::path(folder).filename().string());
    expect_ok(run(lockstep({"train", *folder_ / "whole/" + folder + "/trial.pbtxt", "--run-dir", by_hand})));
    const std::string digest = run(lockstep({"inspect", by_hand, "--digest"})).out;
    EXPECT_EQ(digest, run(lockstep({"inspect", *folder_ / "whole/" + folder, "--digest"})).out) << folder;
    EXPECT_THAT(digest, HasSubstr(trial.at("digest").get<std::string>()));
  }
}

TEST_F(Tune, TrialsBesideEachOtherGiveTheSameTable) {
  expect_ok(run(tune_args(*folder_ / "jobs", {"--jobs", "3"})));
  EXPECT_EQ(table(*folder_ / "jobs"), table(*folder_ / "whole"));
}

TEST_F(Tune, TwoProcessesThatShareTheFolderGiveTheSameTable) {
  Command first(tune_args(*folder_ / "shared", {"--shard", "0/2"})), second(tune_args(*folder_ / "shared", {"--shard", "1/2"}));
  EXPECT_EQ(expect_ok(first.wait()).exit_code, 0);
  expect_ok(second.wait());
  EXPECT_EQ(table(*folder_ / "shared"), table(*folder_ / "whole"));
}

TEST_F(Tune, TrialsOfTwoRanksGiveTheSameTable) {
  expect_ok(run(tune_args(*folder_ / "ranks", {"--ranks", "2"})));
  EXPECT_EQ(table(*folder_ / "ranks"), table(*folder_ / "whole"));
}

// The sweep alone, or it and all that it has started (they are in process groups of their own: found by the run folder).
void kill_sweep(Command& sweep, const std::string& folder, bool whole_tree) {
  sweep.send(SIGKILL);
  sweep.wait();
  if (!whole_tree) return;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (read_file(entry.path() / "cmdline").find(folder + "/trials/") != std::string::npos) kill(std::stoi(name), SIGKILL);
  }
}

TEST_F(Tune, KilledAtRandomMomentsAndContinuedTheTableIsTheSame) {
  const char* wanted = std::getenv("LOCKSTEP_TUNE_KILLS");
  const int kills = wanted != nullptr ? std::atoi(wanted) : 3;
  const std::string folder = *folder_ / "killed";
  std::mt19937 random(7);
  std::uniform_real_distribution<double> moment(0.05, 0.9 * whole_->seconds / std::min(kills, 4));
  int killed = 0;
  for (; killed < kills; ++killed) {
    Command sweep(tune_args(folder, {"--jobs", killed % 2 == 0 ? "1" : "2"}));
    std::this_thread::sleep_for(std::chrono::duration<double>(moment(random)));
    kill_sweep(sweep, folder, killed % 2 == 0);
    if (fs::exists(folder + "/sweep.json") && table(folder).at("complete") == true) fs::remove_all(folder);  // too late: begin again
  }
  expect_ok(run(tune_args(folder)));
  EXPECT_EQ(table(folder), table(*folder_ / "whole"));
}

TEST_F(Tune, SigtermSavesExitsWith75AndTheSameCommandGoesOn) {
  const std::string folder = *folder_ / "stopped";
  Command sweep(tune_args(folder));
  ASSERT_TRUE(wait_for([&] { return fs::exists(folder + "/sweep.json"); }, 30));
  sweep.send(SIGTERM);
  const CommandResult stopped = sweep.wait();
  EXPECT_EQ(stopped.exit_code, 75) << stopped.out << stopped.err;
  EXPECT_THAT(stopped.out, AllOf(HasSubstr("the same command goes on"), HasSubstr("missing")));
  EXPECT_EQ(table(folder).at("complete"), false);
  expect_ok(run(tune_args(folder)));
  EXPECT_EQ(table(folder), table(*folder_ / "whole"));
}

TEST_F(Tune, ABudgetEndsItWith75) {
  const CommandResult result = run(tune_args(*folder_ / "budget", {"--budget", "0.3s"}));
  EXPECT_EQ(result.exit_code, 75) << result.out << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("budget"), HasSubstr("missing")));
}

TEST_F(Tune, ADivergingRateIsCountedAndATargetOutOfReachIsSaid) {
  const CommandResult result = run(lockstep({"tune", tiny(), "--run-dir", *folder_ / "diverging", "--batches", "16", "--lrs", "0.1,1e30", "--seeds",
                                             "1", "--rungs", "1", "--target", "100%", "--json"}));
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  const json found = json::parse(result.out);
  EXPECT_EQ(found.at("batches")[0].at("diverged"), 1);
  EXPECT_EQ(found.at("batches")[0].at("best_lr"), 0.1);
  EXPECT_THAT(found.at("verdict").at("text").dump(),
              AllOf(HasSubstr("1 trial diverged"), HasSubstr("No batch reached the target of 100.00 %"), HasSubstr("the best seen is")));
  EXPECT_THAT(result.err, HasSubstr("diverged: step"));
}

TEST_F(Tune, AnotherSweepInTheFolderIsRefusedAndADryRunWritesNothing) {
  Args other = tune_args(*folder_ / "whole", {"--set", "optimizer.momentum=0.8"});
  const CommandResult refused = run(other);
  EXPECT_EQ(refused.exit_code, 73);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("holds another sweep"), HasSubstr("optimizer.momentum: there 0.9, here 0.8")));
  const CommandResult dry = run(tune_args(*folder_ / "dry", {"--dry-run"}));
  EXPECT_EQ(dry.exit_code, 0);
  EXPECT_THAT(dry.out, AllOf(HasSubstr("learning rates"), HasSubstr("0.025 0.1")));
  EXPECT_FALSE(fs::exists(*folder_ / "dry"));
}

TEST_F(Tune, BadRequestsAreExplained) {
  const auto error = [&](const Args& args, int code) {
    Args all{"tune", tiny(), "--run-dir", *folder_ / "bad"};
    all.insert(all.end(), args.begin(), args.end());
    const CommandResult result = run(lockstep(all));
    EXPECT_EQ(result.exit_code, code) << result.out << result.err;
    EXPECT_FALSE(fs::exists(*folder_ / "bad"));
    return result.err;
  };
  EXPECT_THAT(error({"--batches", "18"}, 64), HasSubstr("18 is not a multiple of batch.shard_batch = 4\n  The nearest ones: 16 and 20"));
  EXPECT_THAT(error({"--batches", "16", "--ranks", "3"}, 64), HasSubstr("3 ranks can't share the 4 shards"));
  EXPECT_THAT(error({"--batches", "16", "--target", "2"}, 64), HasSubstr("--target: got '2'"));
  EXPECT_THAT(error({"--batches", "16", "--select", "target"}, 64), HasSubstr("needs --target"));
  EXPECT_THAT(error({"--batches", "16", "--max-steps", "5"}, 64), HasSubstr("the rungs of the sweep set it"));
  EXPECT_THAT(error({}, 64), HasSubstr("--batches"));
  EXPECT_THAT(error({"--batches", "16", "--set", "data.synthetic.eval_size=0"}, 64), HasSubstr("no evaluation part"));
}

}  // namespace
}  // namespace lockstep::testing
