// CheckpointSaver: saving beside the training, back-pressure, failures, and what the helper process holds and survives.
// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/saver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "tests/checkpoint/fault_fs.h"
#include "tests/checkpoint/sample_state.h"
#include "train/checkpoint/run_lock.h"

namespace lockstep::test {
namespace {

using ::testing::HasSubstr;

struct Fixture {
  TemporaryFolder folder;
  FaultFs fs{posix_fs()};
  CheckpointOptions options;
  SaverOptions saver_options;
  std::vector<std::string> warnings;
  std::vector<SaveReport> reports;

  Fixture() {
    saver_options.warn = [this](const std::string& text) { warnings.push_back(text); };
    saver_options.on_saved = [this](const SaveReport& report) { reports.push_back(report); };
  }
  CheckpointSaver saver() { return {folder / "ckpt", fs, options, saver_options}; }
  std::optional<CheckpointInfo> newest() { return CheckpointStore(folder / "ckpt", posix_fs()).find(Resume::kAuto); }
};

template <class Function>
std::pair<ExitCode, std::string> error_of(Function function) {
  try {
    function();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {ExitCode::kOk, ""};
}

TEST(CheckpointSaver, SavesTheStateAsItWasAtTheRequest) {
  Fixture f;
  CheckpointSaver saver = f.saver();
  TrainingState state = sample_state(1);
  EXPECT_TRUE(saver.request(state, true));
  for (NamedTensor& tensor : state.model) std::memset(tensor.tensor.ptr(), 0, tensor.tensor.nbytes());  // training goes on
  saver.wait();
  EXPECT_FALSE(saver.busy());
  ASSERT_EQ(f.reports.size(), 1u);
  EXPECT_EQ(f.reports[0].digest, state_digest(sample_state(1)));
  EXPECT_GT(f.reports[0].nbytes, 1000u);
  EXPECT_GT(f.reports[0].seconds, 0);
  EXPECT_TRUE(f.newest()->manifest.is_best);
  EXPECT_TRUE(same_state(load(posix_fs(), f.newest()->path), sample_state(1)));
}

TEST(CheckpointSaver, ARequestWhileBusyIsSkippedAndCounted) {
  Fixture f;
  f.fs.sync_takes_s = 0.1;
  CheckpointSaver saver = f.saver();
  EXPECT_TRUE(saver.request(sample_state(1), false));
  EXPECT_FALSE(saver.request(sample_state(2), false));
  EXPECT_FALSE(saver.request(sample_state(3), false));
  EXPECT_EQ(saver.stats().skipped, 2);
  const SaveReport last = saver.save_now(sample_state(4), false);
  EXPECT_EQ(last.step, 4u);
  EXPECT_EQ(saver.stats().saved, 2);
  EXPECT_EQ(f.newest()->manifest.facts.step, 4u);
}

TEST(CheckpointSaver, StateMayGrowBetweenSaves) {
  Fixture f;
  CheckpointSaver saver = f.saver();
  saver.save_now(sample_state(1), false);
  TrainingState big = sample_state(2);
  big.model.push_back({"big", random_tensor({3, 5, 100, 100}, DType::kF64, 5)});
  saver.save_now(big, false);
  EXPECT_TRUE(same_state(load(posix_fs(), f.newest()->path), big));
  saver.save_now(sample_state(3), false);
  EXPECT_TRUE(same_state(load(posix_fs(), f.newest()->path), sample_state(3)));
}

TEST(CheckpointSaver, WarnsOfFailuresAndStopsAfterThreeInARow) {
  Fixture f;
  f.fs.only = "fallocate";
  f.fs.fail_at = 1;
  f.fs.sticky = true;
  f.fs.error_number = ENOSPC;
  CheckpointSaver saver = f.saver();
  const auto attempt = [&](std::uint64_t step) {
    saver.request(sample_state(step), false);
    saver.wait();
  };
  attempt(1);
  attempt(2);
  EXPECT_EQ(saver.stats().failed_in_row, 2);
  ASSERT_EQ(f.warnings.size(), 2u);
  EXPECT_THAT(f.warnings[0], HasSubstr("checkpoint of step 1 was not saved: fallocate"));
  EXPECT_THAT(f.warnings[0], HasSubstr("No space left on device"));
  const auto [code, message] = error_of([&] { attempt(3); });
  EXPECT_EQ(code, ExitCode::kIo);
  EXPECT_THAT(message, HasSubstr("3 checkpoints in a row failed"));
  EXPECT_EQ(error_of([&] { saver.save_now(sample_state(4), false); }).first, ExitCode::kIo);
}

TEST(CheckpointSaver, OneSuccessForgivesEarlierFailures) {
  Fixture f;
  f.fs.only = "fallocate";
  f.fs.fail_at = 1;
  CheckpointSaver saver = f.saver();
  saver.request(sample_state(1), false);
  saver.wait();
  EXPECT_EQ(saver.stats().failed_in_row, 1);
  saver.save_now(sample_state(2), false);
  EXPECT_EQ(saver.stats().failed_in_row, 0);
  EXPECT_EQ(saver.stats().failed, 1);
}

TEST(CheckpointSaver, AKilledHelperIsAFailureAndIsReplaced) {
  Fixture f;
  f.fs.sync_takes_s = 0.2;
  CheckpointSaver saver = f.saver();
  saver.request(sample_state(1), false);
  ::kill(saver.helper_pid(), SIGKILL);
  saver.wait();
  ASSERT_EQ(f.warnings.size(), 1u);
  EXPECT_THAT(f.warnings[0], HasSubstr("ended unexpectedly (killed by signal 9)"));
  saver.save_now(sample_state(2), false);
  EXPECT_EQ(f.newest()->manifest.facts.step, 2u);
  EXPECT_EQ(posix_fs().list(f.folder / "ckpt").size(), 1u);  // the next save of this run cleans up after the killed one
}

TEST(CheckpointSaver, AnotherJobsTakeoverStopsAtOnce) {
  Fixture f;
  RunLock lock = RunLock::acquire(posix_fs(), f.folder.path());
  const std::string folder = f.folder.path();
  f.options.fence = [folder] { check_fence(posix_fs(), folder, 1); };
  CheckpointSaver saver = f.saver();
  saver.save_now(sample_state(1), false);
  RunLockOptions force;
  force.force = true;
  RunLock thief = RunLock::acquire(posix_fs(), f.folder.path(), force);
  saver.request(sample_state(2), false);
  const auto [code, message] = error_of([&] { saver.wait(); });
  EXPECT_EQ(code, ExitCode::kCantCreate);
  EXPECT_THAT(message, HasSubstr("another job has taken over"));
  EXPECT_EQ(f.newest()->manifest.facts.step, 1u);
}

TEST(CheckpointSaver, HangingStorageIsReportedAndDoesNotHoldTheProcess) {
  Fixture f;
  f.fs.sync_takes_s = 30;
  f.saver_options.deadline_s = 0.1;
  const auto start = std::chrono::steady_clock::now();
  int helper = 0;
  {
    CheckpointSaver saver = f.saver();
    helper = saver.helper_pid();
    EXPECT_TRUE(saver.request(sample_state(1), false));
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    EXPECT_FALSE(saver.request(sample_state(2), false));
    EXPECT_FALSE(saver.request(sample_state(3), false));
    ASSERT_EQ(f.warnings.size(), 2u);
    EXPECT_THAT(f.warnings[0], HasSubstr("checkpoint of step 1 is not finished after"));
    const auto [code, message] = error_of([&] { saver.save_now(sample_state(4), false); });
    EXPECT_EQ(code, ExitCode::kIo);
    EXPECT_THAT(message, HasSubstr("is the storage hanging?"));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8));
  ::kill(helper, SIGKILL);
  ::waitpid(helper, nullptr, 0);
}

TEST(CheckpointSaver, TheHelperHoldsNothingOfItsParentAndIgnoresItsSignals) {
  Fixture f;
  int sockets[2];
  ASSERT_EQ(::pipe(sockets), 0);  // stands for a connection to a peer
  CheckpointSaver saver = f.saver();
  saver.save_now(sample_state(1), false);
  std::set<std::string> held;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(saver.helper_pid()) + "/fd"))
    held.insert(std::filesystem::read_symlink(entry).string().substr(0, 12));
  EXPECT_EQ(held.size(), 3u);  // /dev/null, a socket, the shared memory
  EXPECT_TRUE(held.contains("/dev/null"));
  for (const std::string& name : held) EXPECT_FALSE(name.starts_with("pipe:"));
  for (const int number : {SIGTERM, SIGINT, SIGUSR1, SIGHUP}) ::kill(saver.helper_pid(), number);
  saver.save_now(sample_state(2), false);
  EXPECT_EQ(saver.stats().failed, 0);
  ::close(sockets[0]);
  ::close(sockets[1]);
}

// The rank dies of kill -9 in the middle of a save: the snapshot was complete, so the helper finishes it, and ends.
TEST(CheckpointSaver, TheHelperFinishesAfterItsParentsDeath) {
  Fixture f;
  f.fs.sync_takes_s = 0.05;
  int channel[2];
  ASSERT_EQ(::pipe(channel), 0);
  const pid_t rank = ::fork();
  if (rank == 0) {
    CheckpointSaver saver = f.saver();
    saver.request(sample_state(1), false);
    const int helper = saver.helper_pid();
    if (::write(channel[1], &helper, sizeof helper) < 0) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  }
  int helper = 0;
  ASSERT_EQ(::read(channel[0], &helper, sizeof helper), static_cast<ssize_t>(sizeof helper));
  ::waitpid(rank, nullptr, 0);
  // It is nobody's child here: watch it disappear (a zombie without a reaper counts as gone).
  const auto gone = [&] {
    std::ifstream stat("/proc/" + std::to_string(helper) + "/stat");
    std::string text((std::istreambuf_iterator<char>(stat)), {});
    return text.empty() || text.find(") Z ") != std::string::npos;
  };
  for (int i = 0; i < 500 && !gone(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(gone());
  EXPECT_TRUE(same_state(load(posix_fs(), f.newest()->path), sample_state(1)));
  EXPECT_EQ(posix_fs().list(f.folder / "ckpt").size(), 1u);
  ::close(channel[0]);
  ::close(channel[1]);
}

}  // namespace
}  // namespace lockstep::test
