// Stops and deaths: a requested stop saves and exits with 75 at the same step on all ranks; a rank's death ends the job
// within 3 s; either way the next start goes on to the very same bits.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Args = std::vector<std::string>;

constexpr const char* kSteps = "2000";  // some seconds: time to hit it in the middle

Args train_args(const std::string& run_dir, const std::string& steps = kSteps, const std::string& save_every = "10") {
  return {"train", (source_dir() / "tests/tools/tiny.pbtxt").string(), "--run-dir", run_dir, "--set", "epochs=1000", "--max-steps", steps,
          "--set", "checkpoint.every_steps=" + save_every, "--set", "checkpoint.async=true", "--set", "logging.every_steps=10", "--resume", "auto"};
}

// Only the newest ones are kept, so none can be waited for by its name.
bool has_checkpoint(const std::string& run_dir) {
  std::error_code none_yet;
  for (const auto& entry : fs::directory_iterator(run_dir + "/ckpt", none_yet))
    if (entry.path().filename().string().size() == std::string("step_00000010").size()) return true;
  return false;
}

std::string digest(const std::string& run_dir) { return run(lockstep({"inspect", run_dir, "--digest"})).out; }

// Of the newest line of metrics.jsonl; 0 when there is none.
int step_in_metrics(const std::string& run_dir) {
  const std::string text = read_file(run_dir + "/metrics.jsonl"), key = "\"step\":";
  const std::size_t at = text.rfind(key);
  return at == std::string::npos ? 0 : std::atoi(text.c_str() + at + key.size());
}

// Of the newest checkpoint.
int saved_step(const std::string& run_dir) {
  const CommandResult result = run(lockstep({"inspect", run_dir, "--json"}));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return nlohmann::json::parse(result.out).at("step");
}

// Process ids of the ranks: the children of mpirun that run lockstep with this run folder.
std::vector<int> rank_pids(const std::string& run_dir) {
  std::vector<int> pids;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string command = read_file(entry.path() / "cmdline");
    const std::string environment = read_file(entry.path() / "environ");
    if (command.rfind(lockstep_binary(), 0) == 0 && command.find(run_dir) != std::string::npos && environment.find("OMPI_COMM_WORLD_RANK=") != std::string::npos)
      pids.push_back(std::stoi(name));
  }
  return pids;
}

class Signals : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const CommandResult result = run(lockstep(train_args(*folder_ / "golden")));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    golden_ = new std::string(digest(*folder_ / "golden"));
  }
  static void TearDownTestSuite() {
    delete golden_;
    delete folder_;
  }
  void resume_and_compare(const std::string& run_dir, int ranks) {
    const CommandResult result = run(mpi(ranks, train_args(run_dir)));
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("resumes"));
    EXPECT_EQ(digest(run_dir), *golden_);
  }
  static inline TempDir* folder_ = new TempDir;
  static inline std::string* golden_ = nullptr;
};

TEST_F(Signals, Sigusr1ToMpirunStopsAllRanksSavesAndExitsWith75) {
  const std::string run_dir = *folder_ / "usr1";
  Command job(mpi(2, train_args(run_dir)));
  ASSERT_TRUE(wait_for([&] { return has_checkpoint(run_dir); }, 30));
  job.send(SIGUSR1);
  const CommandResult result = job.wait(30);
  EXPECT_EQ(result.exit_code, 75) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("stopped"));
  EXPECT_THAT(result.out, HasSubstr("--resume auto"));
  resume_and_compare(run_dir, 4);
}

TEST_F(Signals, SigtermToTheStartScriptIsACleanStop) {
  const std::string run_dir = *folder_ / "term";
  Command job(mpi(2, train_args(run_dir)));
  ASSERT_TRUE(wait_for([&] { return has_checkpoint(run_dir); }, 30));
  job.send(SIGTERM);
  const CommandResult result = job.wait(30);
  EXPECT_EQ(result.exit_code, 75) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr("stopped"));
  resume_and_compare(run_dir, 1);
}

// mpirun itself leaves its ranks one second between SIGTERM and SIGKILL, and returns a code of its own. Nothing but the
// signal makes this run save: the only checkpoint before is that of step 10, and the next period is far away.
TEST_F(Signals, SigtermToMpirunItselfSavesWithinTheSecondThatIsLeft) {
  const std::string run_dir = *folder_ / "mpirun";
  ASSERT_EQ(run(lockstep(train_args(run_dir, "10"))).exit_code, 0);
  ASSERT_EQ(saved_step(run_dir), 10);
  std::vector<std::string> argv{"mpirun", "-n", "2", "--oversubscribe", "--bind-to", "none", lockstep_binary()};
  const Args args = train_args(run_dir, kSteps, "1000000");
  argv.insert(argv.end(), args.begin(), args.end());
  Command job(argv, {"OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"});
  ASSERT_TRUE(wait_for([&] { return step_in_metrics(run_dir) >= 20; }, 30));
  EXPECT_FALSE(fs::exists(run_dir + "/ckpt/step_00000020"));
  job.send(SIGTERM);
  const CommandResult result = job.wait(30);
  EXPECT_NE(result.exit_code, 0);
  EXPECT_GE(saved_step(run_dir), 20) << "saved on the signal: " << result.out << result.err;
  EXPECT_LT(saved_step(run_dir), std::stoi(kSteps)) << "the run was over before the signal: this shows nothing";
  resume_and_compare(run_dir, 2);
}

TEST_F(Signals, SigtermToASingleProcessExitsWith75) {
  const std::string run_dir = *folder_ / "single";
  Command job(lockstep(train_args(run_dir)));
  ASSERT_TRUE(wait_for([&] { return has_checkpoint(run_dir); }, 30));
  job.send(SIGTERM);
  EXPECT_EQ(job.wait(30).exit_code, 75);
  resume_and_compare(run_dir, 2);
}

TEST_F(Signals, ARankKilledEndsTheJobWithinThreeSecondsAndTheNextStartResumes) {
  for (const std::size_t victim : {0u, 1u}) {
    const std::string run_dir = *folder_ / ("kill" + std::to_string(victim));
    Command job(mpi(2, train_args(run_dir)));
    ASSERT_TRUE(wait_for([&] { return has_checkpoint(run_dir); }, 30));
    std::vector<int> pids = rank_pids(run_dir);
    ASSERT_GE(pids.size(), 2u);
    std::sort(pids.begin(), pids.end());
    kill(pids[victim], SIGKILL);
    const CommandResult result = job.wait(3);
    EXPECT_EQ(result.exit_code, 137) << "124 would mean that the job outlived 3 s";
    EXPECT_TRUE(wait_for([&] { return rank_pids(run_dir).empty(); }, 3)) << "no rank may survive";
    resume_and_compare(run_dir, 2);
  }
}

TEST_F(Signals, AStoppedRankIsNamedAndTheJobEndsAtTheDeadline) {
  const std::string run_dir = *folder_ / "stopped";
  Args args = train_args(run_dir);
  args.insert(args.end(), {"--set", "distributed.deadline_s=2"});
  Command job(mpi(2, args));
  ASSERT_TRUE(wait_for([&] { return has_checkpoint(run_dir); }, 30));
  std::vector<int> pids = rank_pids(run_dir);
  ASSERT_GE(pids.size(), 2u);
  std::sort(pids.begin(), pids.end());
  kill(pids[1], SIGSTOP);
  const CommandResult result = job.wait(20);
  EXPECT_EQ(result.exit_code, 75) << result.err;
  EXPECT_LT(result.seconds, 20);
  EXPECT_THAT(result.err, HasSubstr("rank 1")) << "the late rank is named";
  EXPECT_THAT(result.err, HasSubstr(", step ")) << "and what the others wait for, mostly a bucket (parallel_fault_tests look closer)";
  EXPECT_TRUE(wait_for([&] { return rank_pids(run_dir).empty(); }, 5)) << "no rank may survive";
  resume_and_compare(run_dir, 2);
}

// A stop inside a long evaluation does not wait for its end; the resumed run evaluates first.
TEST_F(Signals, AStopDuringEvaluationSavesAndTheResumedRunEvaluatesFirst) {
  const std::string run_dir = *folder_ / "evaluating";
  const Args base{"train", (source_dir() / "tests/tools/tiny.pbtxt").string(), "--run-dir", run_dir, "--set", "data.synthetic.eval_size=3000000",
                  "--set", "epochs=2"};
  Args args = base;
  args.insert(args.end(), {"--resume", "auto"});
  Command job(mpi(2, args));
  ASSERT_TRUE(wait_for([&] { return fs::exists(run_dir + "/ckpt/step_00000008"); }, 30)) << "what was trained is saved before the first evaluation";
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  job.send(SIGUSR1);
  const CommandResult result = job.wait(20);
  EXPECT_EQ(result.exit_code, 75) << result.out << result.err;
  EXPECT_EQ(result.out.find("evaluation at step"), std::string::npos) << "it did not wait for three million images";
  args.insert(args.end(), {"--set", "data.synthetic.eval_size=50"});
  const CommandResult resumed = run(lockstep(args));
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.out, HasSubstr("evaluation at step 8 "));
}

// A signal to one rank alone, not through mpirun, is a vote like any other.
TEST_F(Signals, SigtermToOneRankStopsAllRanksCleanly) {
  const std::string run_dir = *folder_ / "onerank";
  Command job(mpi(2, train_args(run_dir)));
  ASSERT_TRUE(wait_for([&] { return has_checkpoint(run_dir); }, 30));
  std::vector<int> pids = rank_pids(run_dir);
  ASSERT_GE(pids.size(), 2u);
  std::sort(pids.begin(), pids.end());
  kill(pids[1], SIGTERM);
  EXPECT_EQ(job.wait(20).exit_code, 75);
  resume_and_compare(run_dir, 1);
}

}  // namespace
}  // namespace lockstep::testing
