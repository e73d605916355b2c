// Jobs that break: how fast they end, with which exit code, and what they say. Each test starts mpirun itself.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace {

struct Outcome {
  int exit_code = -1;
  double seconds = 0;              // from start to end
  double seconds_after_fault = 0;  // from the fault to the end
  std::string output;
};

Outcome run(const std::string& command, const std::string& time_file = {}) {
  const auto start = std::chrono::steady_clock::now();
  Outcome outcome;
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::array<char, 4096> block{};
  for (std::size_t n; (n = std::fread(block.data(), 1, block.size(), pipe)) > 0;) outcome.output.append(block.data(), n);
  const int status = ::pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::int64_t fault_ns = 0;
  if (std::ifstream(time_file) >> fault_ns)
    outcome.seconds_after_fault = static_cast<double>(std::chrono::system_clock::now().time_since_epoch().count() - fault_ns) * 1e-9;
  return outcome;
}

Outcome run_job(int ranks, const std::string& mode, const std::string& transport = {}) {
  const std::string file = fmt::format("{}/lockstep_fault_{}", std::filesystem::temp_directory_path().string(), ::getpid());
  const Outcome outcome = run(fmt::format("'{}' {} '{}' {} '{}' {}", MPI_RUN, ranks, PARALLEL_RANK, mode, file, transport), file);
  std::filesystem::remove(file);
  std::printf("%s, %d ranks: exit %d, %.2f s after the fault\n", mode.c_str(), ranks, outcome.exit_code, outcome.seconds_after_fault);
  return outcome;
}

bool says(const Outcome& outcome, const std::string& part) { return outcome.output.find(part) != std::string::npos; }

constexpr double kDeadline = 2;  // parallel_rank's

TEST(Fault, AnUndisturbedJobEndsWithZero) {
  const Outcome outcome = run_job(4, "finish");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
}

// In shared memory, and by messages.
constexpr std::array<const char*, 2> kTransports = {"", "messages"};

TEST(Fault, KilledRankEndsTheJobWithinThreeSeconds) {
  for (const std::string transport : kTransports)
    for (const std::string mode : {"kill", "kill_inside"})
      for (const int ranks : {2, 4}) {
        const Outcome outcome = run_job(ranks, mode, transport);
        EXPECT_EQ(outcome.exit_code, 137) << outcome.output;
        EXPECT_LT(outcome.seconds_after_fault, 3);
      }
}

TEST(Fault, ARankStoppedInTheMiddleOfAnOperationIsNamedToo) {
  for (const std::string transport : kTransports) {
    const Outcome outcome = run_job(2, "stop_inside", transport);
    EXPECT_EQ(outcome.exit_code, 75) << outcome.output;
    EXPECT_TRUE(says(outcome, "rank 1")) << outcome.output;
    EXPECT_TRUE(says(outcome, "step 2")) << outcome.output;
    EXPECT_LT(outcome.seconds_after_fault, kDeadline + 3);
  }
}

TEST(Fault, StoppedRankIsNamedAndTheJobEndsWith75) {
  for (const int ranks : {2, 4}) {
    const Outcome outcome = run_job(ranks, "stop");
    EXPECT_EQ(outcome.exit_code, 75) << outcome.output;
    EXPECT_TRUE(says(outcome, "silent (stopped, dead or unreachable): rank 1")) << outcome.output;
    EXPECT_TRUE(says(outcome, "bucket 1 of 1 (conv1.weight), step 20")) << outcome.output;
    EXPECT_GE(outcome.seconds_after_fault, kDeadline);
    EXPECT_LT(outcome.seconds_after_fault, kDeadline + 2);
  }
}

TEST(Fault, SlowRankIsNamedOnceAndTheJobEndsWith75) {
  const Outcome outcome = run_job(4, "slow");
  EXPECT_EQ(outcome.exit_code, 75) << outcome.output;
  EXPECT_TRUE(says(outcome, "late: rank 1 (")) << outcome.output;
  EXPECT_TRUE(says(outcome, "now in forward of step 20")) << outcome.output;
  EXPECT_TRUE(says(outcome, "waiting: rank 0, 2, 3")) << outcome.output;
  EXPECT_EQ(outcome.output.find("late: rank"), outcome.output.rfind("late: rank")) << "said more than once:\n" << outcome.output;
  EXPECT_LT(outcome.seconds_after_fault, kDeadline + 2);
}

TEST(Fault, MainThreadsThatAreStuckTooAreEndedByTheCommunicationThread) {
  const Outcome outcome = run_job(2, "stop_and_stuck");
  EXPECT_EQ(outcome.exit_code, 75) << outcome.output;
  EXPECT_TRUE(says(outcome, "rank 1")) << outcome.output;
  EXPECT_LT(outcome.seconds_after_fault, kDeadline + 4);
}

TEST(Fault, AbortGivesTheJobItsExitCode) {
  EXPECT_EQ(run_job(2, "abort").exit_code, 76);
  const Outcome outcome = run_job(4, "throw");  // the error leaves the communicator's scope: abort_job
  EXPECT_EQ(outcome.exit_code, 65) << outcome.output;
  EXPECT_TRUE(says(outcome, "error: label 17 out of range")) << outcome.output;
  EXPECT_LT(outcome.seconds_after_fault, 3);
}

TEST(Fault, ARankThatLeavesWithoutAWordEndsTheJob) {
  const Outcome outcome = run_job(2, "leave");
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_LT(outcome.seconds_after_fault, 3);
}

TEST(Launch, WithoutALauncherMpiIsNotStarted) {
  const Outcome outcome = run(fmt::format("exec '{}' where", PARALLEL_RANK));
  EXPECT_EQ(outcome.output, "local 0 of 1\n");
  EXPECT_LT(outcome.seconds, 1);
}

TEST(Launch, UnderMpirunRanksFindEachOther) {
  const Outcome outcome = run(fmt::format("exec '{}' 2 '{}' where", MPI_RUN, PARALLEL_RANK));
  EXPECT_TRUE(says(outcome, "mpi, shared memory 0 of 2")) << outcome.output;
  EXPECT_TRUE(says(outcome, "mpi, shared memory 1 of 2")) << outcome.output;
  EXPECT_EQ(outcome.exit_code, 0);
}

TEST(Launch, WithoutSharedMemoryRanksSendMessagesAndSaySo) {
  const Outcome outcome = run(fmt::format("ulimit -f 100000; exec '{}' 2 '{}' where", MPI_RUN, PARALLEL_RANK));
  EXPECT_TRUE(says(outcome, "mpi, no shared memory: rank 0, file sizes are limited (ulimit -f) 0 of 2")) << outcome.output;
  EXPECT_EQ(outcome.exit_code, 0);
}

TEST(Launch, TheLauncherOfAnotherMpiIsAUserError) {
  const Outcome outcome = run(fmt::format("PMI_RANK=1 PMI_SIZE=2 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 '{}' where", PARALLEL_RANK));
  EXPECT_EQ(outcome.exit_code, 64) << outcome.output;
  EXPECT_TRUE(says(outcome, "PMI_RANK=1 PMI_SIZE=2, MPI says rank 0 of 1")) << outcome.output;
  EXPECT_TRUE(says(outcome, "built with Open MPI")) << outcome.output;
}

}  // namespace
