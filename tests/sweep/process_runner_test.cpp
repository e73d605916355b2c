// Trials as processes: what an exit means, what a trial inherits, and that nothing of it outlives its sweep unseen.
// SPDX-License-Identifier: Apache-2.0
#include "sweep/process_runner.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "tests/sweep/world.h"

namespace lockstep {
namespace {

using testing::TempFolder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = TrialEnd::Kind;

TEST(ProcessRunner, ExitsMeanWhatTheExitCodesSay) {
  const auto kind = [](int code, std::string_view error = "", bool stopped = false) { return meaning_of_exit(code, error, stopped).kind; };
  EXPECT_EQ(kind(0), Kind::kReached);
  EXPECT_EQ(kind(0, "", true), Kind::kReached);
  EXPECT_EQ(kind(76, "step 3: the loss is nan"), Kind::kDiverged);
  EXPECT_EQ(kind(76, "replicas disagree after step 3"), Kind::kLost) << "a sick machine is no learning rate's fault";
  EXPECT_EQ(kind(75, "", true), Kind::kStopped);
  EXPECT_EQ(kind(75), Kind::kLost) << "nobody asked for it";
  EXPECT_EQ(kind(137), Kind::kLost);
  EXPECT_EQ(kind(71), Kind::kLost);
  for (const int code : {64, 65, 66, 70, 73, 74, 127}) EXPECT_EQ(kind(code), Kind::kFailed) << code;
  EXPECT_EQ(meaning_of_exit(74, "", false).code, ExitCode::kIo);
}

TEST(ProcessRunner, ATrialDoesNotTakeItselfForARankOfTheSweepsJob) {
  const std::vector<std::string> ours{"HOME=/root",        "SLURM_PROCID=3", "OMPI_COMM_WORLD_RANK=1",  "PMIX_RANK=1", "OMPI_MCA_btl=self",
                                      "OMPI_MCA_orte_x=1", "RANK=2",         "CUDA_VISIBLE_DEVICES=0,1"};
  EXPECT_THAT(trial_environment(ours, {}, 0), ElementsAre("HOME=/root", "OMPI_MCA_btl=self", "CUDA_VISIBLE_DEVICES=0,1"));
}

TEST(ProcessRunner, JobsShareTheGpus) {
  const ProcessRunnerOptions options{.ranks = 1, .gpus = {"4", "5", "6"}};
  EXPECT_THAT(trial_environment({"CUDA_VISIBLE_DEVICES=4,5,6"}, options, 1), ElementsAre("CUDA_VISIBLE_DEVICES=5"));
  EXPECT_THAT(trial_environment({}, options, 3), ElementsAre("CUDA_VISIBLE_DEVICES=4"));
  const auto two_ranks = trial_environment({}, {.ranks = 2, .gpus = {"0", "1", "2", "3"}}, 1);
  EXPECT_EQ(two_ranks.front(), "CUDA_VISIBLE_DEVICES=2,3");
}

// A program in the place of lockstep.
class Script : public ::testing::Test {
 protected:
  ProcessRunner runner(const std::string& body, double held_s = 0) {
    const std::string path = folder_ / "lockstep";
    std::ofstream(path) << "#!/bin/sh\n" << body << "\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    std::filesystem::create_directories(folder_ / "trial");
    return ProcessRunner({.binary = path, .held_s = held_s});
  }
  TrialRequest request(int lock = -1) { return {.key = {128, 0.4, 1}, .folder = folder_ / "trial", .until_step = 7, .lock_file = lock}; }

  void wait_until_ready() {
    for (int i = 0; i < 4000 && !std::filesystem::exists(folder_ / "ready"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ASSERT_TRUE(std::filesystem::exists(folder_ / "ready"));
  }

  static TrialEnd wait(ProcessRunner& runner) {
    for (int i = 0; i < 1000; ++i)
      if (auto end = runner.poll(0.02)) return *end;
    ADD_FAILURE() << "it never ended";
    return {};
  }
  TempFolder folder_;
};

TEST_F(Script, ATrialIsWhatAUserWouldType) {
  ProcessRunner trials = runner(R"sh(cd "$(dirname "$2")"; echo "$*" > args
echo '{"step":7,"epoch":1,"kind":"val","top1":0.5}' > metrics.jsonl; echo '{"step": 7, "digest": "abc"}'; echo noise >&2)sh");
  trials.start(request());
  const TrialEnd end = wait(trials);
  EXPECT_EQ(end.kind, Kind::kReached) << end.message;
  EXPECT_EQ(end.measured.digest, "abc");
  EXPECT_EQ(end.measured.evaluations.back().top1, 0.5);
  std::ifstream args(folder_ / "trial/args");
  std::string line;
  std::getline(args, line);
  EXPECT_EQ(line, "train " + folder_ / "trial" + "/trial.pbtxt --resume auto --max-steps 7 --json");
}

TEST_F(Script, ATrialMayStopAtTheTarget) {
  const auto end_at = [&](double top1) {
    ProcessRunner trials = runner(fmt::format(R"sh(cd "$(dirname "$2")"; echo "$*" > args
echo '{{"step":5,"epoch":1,"kind":"val","top1":{}}}' > metrics.jsonl; echo '{{"step": 5}}')sh", top1));
    TrialRequest there = request();
    there.stop_at_top1 = 0.86;
    trials.start(there);
    return wait(trials).kind;
  };
  EXPECT_EQ(end_at(0.86), Kind::kReached);
  EXPECT_EQ(end_at(0.8599), Kind::kLost) << "neither at the target nor at step 7";
  std::ifstream args(folder_ / "trial/args");
  std::string line;
  std::getline(args, line);
  EXPECT_THAT(line, HasSubstr("--max-steps 7 --json --set evaluation.stop_at_top1=86"));
}

TEST_F(Script, WithoutTheLastEvaluationItIsTriedAgain) {
  ProcessRunner trials = runner("exit 0");
  trials.start(request());
  const TrialEnd end = wait(trials);
  EXPECT_EQ(end.kind, Kind::kLost);
  EXPECT_THAT(end.message, HasSubstr("lacks the last evaluation"));
}

TEST_F(Script, TheLogsLastErrorIsTheMessage) {
  ProcessRunner trials = runner("echo 'lockstep: environment error: old' >&2; echo 'lockstep: error: step 3: the loss is nan\n  more' >&2; exit 76");
  trials.start(request());
  const TrialEnd end = wait(trials);
  EXPECT_EQ(end.kind, Kind::kDiverged);
  EXPECT_EQ(end.message, "step 3: the loss is nan");
}

TEST_F(Script, AnEarlierTrysErrorIsNotThisOnes) {
  ProcessRunner trials = runner(R"sh(cd "$(dirname "$2")"; test -e second && kill -9 $$
touch second; echo 'lockstep: environment error: write: No space left on device' >&2; exit 74)sh");
  trials.start(request());
  EXPECT_EQ(wait(trials).message, "write: No space left on device");
  trials.start(request());
  EXPECT_EQ(wait(trials).message, "exit code 137 (killed; out of memory?)");
}

// A parent that ignores SIGCHLD, or blocks signals, hands that down.
TEST_F(Script, InheritedSignalsDoNotHideATrialsEnd) {
  signal(SIGCHLD, SIG_IGN);
  ProcessRunner trials = runner("touch " + folder_ / "ready" + "; while :; do sleep 0.01; done");
  sigset_t stop, before;
  sigemptyset(&stop);
  sigaddset(&stop, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &stop, &before);
  trials.start(request());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  wait_until_ready();
  trials.stop_all();
  EXPECT_EQ(wait(trials).kind, Kind::kStopped);
}

TEST_F(Script, AFolderStillHeldByAnEarlierProcessIsWaitedFor) {
  ProcessRunner trials = runner(R"sh(cd "$(dirname "$2")"; test -e second || { touch second; exit 73; }
echo '{"step":7,"epoch":1,"kind":"val","top1":0.5}' > metrics.jsonl)sh",
                                30);
  trials.start(request());
  EXPECT_EQ(wait(trials).kind, Kind::kReached);
}

TEST_F(Script, StopAsksTheTrialToEnd) {
  ProcessRunner trials = runner("trap 'exit 75' USR1; touch " + folder_ / "ready" + "; while :; do sleep 0.01; done");
  trials.start(request());
  wait_until_ready();
  trials.stop_all();
  EXPECT_EQ(wait(trials).kind, Kind::kStopped);
}

// The lock passes to the training process: while it lives, nobody else takes the trial, even if the sweep is gone.
TEST_F(Script, TheTrialHoldsItsLock) {
  const std::string path = folder_ / "trial.lock";
  ProcessRunner trials = runner("touch " + folder_ / "ready" + "; while test ! -e " + folder_ / "go" + "; do sleep 0.01; done; exit 64");
  const int lock = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  ASSERT_EQ(flock(lock, LOCK_EX | LOCK_NB), 0);
  trials.start(request(lock));
  close(lock);
  wait_until_ready();
  const int second = open(path.c_str(), O_RDWR | O_CLOEXEC);
  EXPECT_NE(flock(second, LOCK_EX | LOCK_NB), 0) << "held by the child";
  std::ofstream(folder_ / "go") << "";
  EXPECT_EQ(wait(trials).kind, Kind::kFailed);
  EXPECT_EQ(flock(second, LOCK_EX | LOCK_NB), 0);
  close(second);
}

}  // namespace
}  // namespace lockstep
