// One job per run folder; takeover after death; fencing.
// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/run_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "tests/checkpoint/fault_fs.h"
#include "tests/checkpoint/memory_fs.h"
#include "tests/checkpoint/sample_state.h"

namespace lockstep::test {
namespace {

using ::testing::HasSubstr;

std::string refusal(Fs& fs, const std::string& folder, const RunLockOptions& options = {}) {
  try {
    RunLock::acquire(fs, folder, options);
  } catch (const UserError& error) {
    EXPECT_EQ(error.code(), ExitCode::kCantCreate);
    return error.what();
  }
  return "taken";
}

RunLockOptions as(const std::string& host, std::int64_t pid) {
  RunLockOptions options;
  options.identity.host = host;
  options.identity.pid = pid;
  return options;
}

struct Folder {
  MemoryFs fs;
  Folder() { fs.make_directory("/run"); }
};

TEST(RunLock, SecondJobIsRefusedAndTheHolderNamed) {
  Folder f;
  const RunLock lock = RunLock::acquire(f.fs, "/run");
  EXPECT_EQ(lock.generation(), 1u);
  const std::string message = refusal(f.fs, "/run");
  EXPECT_THAT(message, HasSubstr("held by process " + std::to_string(::getpid()) + " on " + this_process().host));
  EXPECT_THAT(message, HasSubstr("/run/run.lock.1"));
}

TEST(RunLock, GenerationGrowsWithEveryStartAndWithTheCheckpoints) {
  Folder f;
  { const RunLock lock = RunLock::acquire(f.fs, "/run"); }
  EXPECT_TRUE(f.fs.list("/run").empty());
  RunLockOptions options;
  options.minimum_generation = 7;  // newest checkpoint's
  RunLock lock = RunLock::acquire(f.fs, "/run", options);
  EXPECT_EQ(lock.generation(), 8u);
  lock.release();
  lock.release();
  EXPECT_TRUE(f.fs.list("/run").empty());
}

TEST(RunLock, ADeadHolderOnThisHostIsReplaced) {
  Folder f;
  RunLockOptions dead;
  dead.identity.pid = ::fork();
  if (dead.identity.pid == 0) ::_exit(0);
  dead.identity.start_ticks = 1;
  RunLock old = RunLock::acquire(f.fs, "/run", dead);
  ::waitpid(static_cast<pid_t>(dead.identity.pid), nullptr, 0);
  const RunLock lock = RunLock::acquire(f.fs, "/run");
  EXPECT_EQ(lock.generation(), 2u);
  EXPECT_EQ(f.fs.list("/run").size(), 1u);
  EXPECT_THROW(old.heartbeat(), FsError);
}

TEST(RunLock, AReusedPidIsNotTheHolder) {
  Folder f;
  RunLockOptions reused;
  reused.identity.start_ticks += 1;  // our pid, started at another time
  RunLock old = RunLock::acquire(f.fs, "/run", reused);
  EXPECT_EQ(refusal(f.fs, "/run"), "taken");
}

TEST(RunLock, ARebootedHostHoldsNothing) {
  Folder f;
  RunLockOptions before;
  before.identity.boot_id = "another-boot";
  RunLock old = RunLock::acquire(f.fs, "/run", before);
  EXPECT_EQ(refusal(f.fs, "/run"), "taken");
}

TEST(RunLock, AnotherHostIsDeadWhenItsHeartbeatIsOldOrByForce) {
  Folder f;
  RunLock remote = RunLock::acquire(f.fs, "/run", as("far-away", 4121));
  f.fs.now_s += 59;
  EXPECT_THAT(refusal(f.fs, "/run"), HasSubstr("process 4121 on far-away"));
  remote.heartbeat();
  f.fs.now_s += 59;
  EXPECT_THAT(refusal(f.fs, "/run"), HasSubstr("last sign of life 59 s ago"));
  f.fs.now_s += 2;
  EXPECT_EQ(refusal(f.fs, "/run"), "taken");
  RunLock again = RunLock::acquire(f.fs, "/run", as("far-away", 4121));
  RunLockOptions force;
  force.force = true;
  EXPECT_EQ(refusal(f.fs, "/run", force), "taken");
}

TEST(RunLock, AnUnreadableLockIsAJobThatIsStarting) {
  Folder f;
  f.fs.close(f.fs.open_new("/run/run.lock.1"));
  EXPECT_THAT(refusal(f.fs, "/run"), HasSubstr("another job is starting"));
  f.fs.now_s += 11;
  EXPECT_EQ(refusal(f.fs, "/run"), "taken");
}

TEST(RunLock, TheFenceHoldsBackWhoWasReplaced) {
  Folder f;
  RunLock old = RunLock::acquire(f.fs, "/run", as("far-away", 4121));
  check_fence(f.fs, "/run", old.generation());
  f.fs.now_s += 100;
  RunLock lock = RunLock::acquire(f.fs, "/run");
  check_fence(f.fs, "/run", lock.generation());
  try {
    check_fence(f.fs, "/run", old.generation());
    FAIL();
  } catch (const EnvironmentError& error) {
    EXPECT_EQ(error.code(), ExitCode::kCantCreate);
    EXPECT_THAT(error.what(), HasSubstr("another job has taken over this run folder (generation 2, this one is 1)"));
  }
  lock.release();
  EXPECT_THROW(check_fence(f.fs, "/run", 2), EnvironmentError);
}

TEST(RunLock, AnUnwritableFolderIsCantCreate) {
  MemoryFs fs;
  try {
    RunLock::acquire(fs, "/missing");
    FAIL();
  } catch (const EnvironmentError& error) {
    EXPECT_EQ(error.code(), ExitCode::kCantCreate);
    EXPECT_THAT(error.what(), HasSubstr("/missing"));
  }
}

// The rival's claim falls between our look and our claim.
TEST(RunLock, ARivalThatWasFasterByAMomentIsRespected) {
  for (const std::uint64_t rivals_generation : {1, 2}) {
    MemoryFs disk;
    disk.make_directory("/run");
    FaultFs fs(disk);
    RunLockOptions rival = as("far-away", 4121);
    rival.minimum_generation = rivals_generation - 1;
    std::optional<RunLock> theirs;
    fs.before_create = [&] { theirs.emplace(RunLock::acquire(disk, "/run", rival)); };
    EXPECT_THAT(refusal(fs, "/run"), HasSubstr("process 4121 on far-away"));
    ASSERT_EQ(disk.list("/run").size(), 1u);
    EXPECT_EQ(disk.list("/run")[0].name, "run.lock." + std::to_string(rivals_generation));
  }
}

// Claimants in processes of their own, all at once: exactly one gets the folder, each round.
TEST(RunLock, ExactlyOneOfManyWins) {
  for (int round = 0; round < 10; ++round) {
    TemporaryFolder folder;
    int ready[2], go[2];
    ASSERT_EQ(::pipe(ready) + ::pipe(go), 0);
    std::vector<pid_t> children;
    for (int i = 0; i < 8; ++i) {
      children.push_back(::fork());
      if (children.back() != 0) continue;
      char byte = 0;
      ::close(go[1]);
      if (::read(go[0], &byte, 1) != 0) ::_exit(9);  // all at once, when the parent closes it
      int result = 0;
      try {
        const RunLock lock = RunLock::acquire(posix_fs(), folder.path());
        result = 1;
        ::close(ready[1]);
        if (::read(ready[0], &byte, 1) < 0) result = 9;  // holds it until all have tried
        ::_exit(result);
      } catch (const Error&) {
        ::_exit(result);
      }
    }
    ::close(go[0]);
    ::close(go[1]);
    ::close(ready[0]);
    int winners = 0, losers = 0;
    for (int ended = 0; ended < 7; ++ended) {
      int status = 0;
      ASSERT_GT(::wait(&status), 0);
      losers += WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : 0;
    }
    ::close(ready[1]);
    int status = 0;
    ASSERT_GT(::wait(&status), 0);
    winners += WIFEXITED(status) && WEXITSTATUS(status) == 1 ? 1 : 0;
    EXPECT_EQ(losers, 7);
    EXPECT_EQ(winners, 1);
  }
}

TEST(RunLock, TakesOverFromAKilledProcess) {
  for (int round = 0; round < 20; ++round) {
    TemporaryFolder folder;
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      RunLock lock = RunLock::acquire(posix_fs(), folder.path());
      if (::write(ready[1], "x", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    EXPECT_THAT(refusal(posix_fs(), folder.path()), HasSubstr("held by process " + std::to_string(child)));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    EXPECT_EQ(RunLock::acquire(posix_fs(), folder.path()).generation(), 2u);
    ::close(ready[0]);
    ::close(ready[1]);
  }
}

}  // namespace
}  // namespace lockstep::test
