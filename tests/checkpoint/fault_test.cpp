// Every file-system call of a save fails in turn: whatever happens, the newest checkpoint is at least the last one that was
// reported saved, and loads bit for bit.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include "tests/checkpoint/fault_fs.h"
#include "tests/checkpoint/memory_fs.h"
#include "tests/checkpoint/sample_state.h"
#include "train/checkpoint/run_lock.h"

namespace lockstep::test {
namespace {

struct Fault {
  int error_number;
  bool sticky;
};

constexpr Fault kFaults[] = {{ENOSPC, false}, {ENOSPC, true}, {EIO, false}, {EIO, true}, {EDQUOT, true}};

// Saves steps 30 and 40 over a disk that fails somewhere; returns the last step that save() reported.
std::uint64_t save_two(Fs& fs, const std::string& directory, std::uint64_t reported) {
  CheckpointOptions options;
  options.keep_last = 2;
  options.generation = 2;
  options.run_id = "second";
  CheckpointStore store(directory, fs, options);
  for (const std::uint64_t step : {30, 40}) {
    try {
      store.save(sample_state(step), step == 40);
      reported = step;
    } catch (const EnvironmentError& error) {
      EXPECT_EQ(error.code(), ExitCode::kIo) << error.what();
    }
  }
  return reported;
}

void check_recovery(Fs& fs, const std::string& directory, std::uint64_t reported, const std::string& what) {
  CheckpointStore store(directory, fs);
  store.remove_stale();
  const auto found = store.find(Resume::kAuto);
  ASSERT_TRUE(found.has_value()) << what;
  EXPECT_GE(found->manifest.facts.step, reported) << what;
  EXPECT_TRUE(same_state(load(fs, found->path), sample_state(found->manifest.facts.step))) << what;
  for (const DirectoryEntry& entry : fs.list(directory))
    EXPECT_TRUE(entry.name == "best" || step_of_name(entry.name)) << what << ": stray " << entry.name;
}

TEST(CheckpointFaults, EveryCallFailsInTurnOnceAndForGood) {
  MemoryFs base;
  base.make_directory("/run");
  CheckpointStore("/run/ckpt", base).save(sample_state(10), false);
  CheckpointStore("/run/ckpt", base).save(sample_state(20), true);
  int cases = 0, calls = 0;
  for (const Fault& fault : kFaults) {
    for (int n = 1;; ++n) {
      const auto disk = base.copy();
      FaultFs fs(*disk);
      fs.fail_at = n;
      fs.error_number = fault.error_number;
      fs.sticky = fault.sticky;
      const std::string what = "call " + std::to_string(n) + ", errno " + std::to_string(fault.error_number);
      const std::uint64_t reported = save_two(fs, "/run/ckpt", 20);
      EXPECT_EQ(disk->open_files(), 0u) << what;
      check_recovery(*disk, "/run/ckpt", reported, what);
      if (!fault.sticky) {
        EXPECT_GE(reported, 30u) << what << ": one fault may cost one save";
      }
      if (::testing::Test::HasFailure() || fs.failures == 0) {
        calls = std::max(calls, n - 1);
        break;
      }
      ++cases;
    }
  }
  std::printf("  %d calls on the path of two saves, %d faults injected, 0 violations wanted\n", calls, cases);
  EXPECT_GT(calls, 100);
}

TEST(CheckpointFaults, EveryCallFailsInTurnOnTheRealFileSystem) {
  for (int n = 1; !::testing::Test::HasFailure(); n += 13) {  // a sample: real fsyncs take their time
    TemporaryFolder folder;
    CheckpointStore(folder / "ckpt", posix_fs()).save(sample_state(10), false);
    FaultFs fs(posix_fs());
    fs.fail_at = n;
    fs.error_number = ENOSPC;
    const std::uint64_t reported = save_two(fs, folder / "ckpt", 10);
    check_recovery(posix_fs(), folder / "ckpt", reported, "call " + std::to_string(n));
    if (fs.failures == 0) break;
  }
}

TEST(CheckpointFaults, TheFirstSaveOfARunFailsInTurn) {
  for (int n = 1;; ++n) {
    MemoryFs disk;
    disk.make_directory("/run");
    FaultFs fs(disk);
    fs.fail_at = n;
    const std::uint64_t reported = save_two(fs, "/run/ckpt", 0);
    check_recovery(disk, "/run/ckpt", reported, "call " + std::to_string(n));
    if (fs.failures == 0 || ::testing::Test::HasFailure()) break;
  }
}

TEST(CheckpointFaults, LoadingNeverInventsValuesWhenReadsFail) {
  MemoryFs disk;
  disk.make_directory("/run");
  for (const std::uint64_t step : {10, 20}) CheckpointStore("/run/ckpt", disk).save(sample_state(step), false);
  for (int n = 1;; ++n) {
    FaultFs fs(disk);
    fs.fail_at = n;
    try {
      const auto found = CheckpointStore("/run/ckpt", fs).find(Resume::kAuto);
      ASSERT_TRUE(found.has_value()) << n;
      EXPECT_TRUE(same_state(load(fs, found->path), sample_state(found->manifest.facts.step))) << n;
    } catch (const Error&) {
      EXPECT_GT(fs.failures, 0);
    }
    EXPECT_EQ(disk.open_files(), 0u);
    if (fs.failures == 0) break;
  }
}

TEST(CheckpointFaults, AFailedFsyncDiscardsTheFileAndIsNotRepeated) {
  MemoryFs disk;
  disk.make_directory("/run");
  FaultFs fs(disk);
  fs.only = "fsync";
  fs.fail_at = 1;
  EXPECT_THROW(CheckpointStore("/run/ckpt", fs).save(sample_state(1), false), EnvironmentError);
  EXPECT_EQ(fs.calls, 1);
  EXPECT_TRUE(disk.list("/run/ckpt").empty());
}

// After a failed fsync of the folder the checkpoint is there, but may vanish: the same state must be written again.
TEST(CheckpointFaults, APublicationThatWasNotSyncedIsNotTakenForSaved) {
  MemoryFs disk;
  disk.make_directory("/run");
  FaultFs fs(disk);
  CheckpointStore store("/run/ckpt", fs);
  store.save(sample_state(1), false);
  fs.only = "fsync_dir";
  fs.calls = 0;
  fs.fail_at = 2;  // the temporary folder, then the folder of checkpoints
  EXPECT_THROW(store.save(sample_state(2), false), EnvironmentError);
  EXPECT_FALSE(store.save(sample_state(2), false).already_there);
}

// Memory or disk that silently stores something else is found by the read-back, before the checkpoint gets its name.
TEST(CheckpointFaults, AWriteThatStoresAWrongBitIsNotPublished) {
  int refused = 0;
  for (int n = 1;; ++n) {
    MemoryFs disk;
    disk.make_directory("/run");
    CheckpointStore("/run/ckpt", disk).save(sample_state(1), false);
    FaultFs fs(disk);
    fs.flip_in_write = n;
    try {
      CheckpointStore("/run/ckpt", fs).save(sample_state(2), false);
    } catch (const EnvironmentError& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr("what was written does not read back"));
      ++refused;
    }
    check_recovery(disk, "/run/ckpt", 1, "write " + std::to_string(n));
    if (fs.flip_in_write > 0) break;
  }
  EXPECT_EQ(refused, 3);  // the two tensor files and the manifest; the readable copy counts for nothing
}

TEST(CheckpointFaults, TheMessageNamesCallFileAndReason) {
  MemoryFs disk;
  disk.make_directory("/run");
  FaultFs fs(disk);
  fs.only = "create";
  fs.fail_at = 2;
  fs.error_number = ENOSPC;
  try {
    CheckpointStore("/run/ckpt", fs).save(sample_state(7), false);
    FAIL();
  } catch (const EnvironmentError& error) {
    EXPECT_STREQ(error.what(), "checkpoint of step 7 was not saved: create /run/ckpt/step_00000007.tmp.0/optim.safetensors: No space "
                               "left on device; earlier checkpoints in /run/ckpt are intact");
  }
}

TEST(CheckpointFaults, FullDiskIsReportedCleanedUpAndSurvived) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to mount a small tmpfs: real full disk not tested (FaultFs was)";
  TemporaryFolder folder;
  const std::string disk = folder / "disk";
  posix_fs().make_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=300k") != 0) GTEST_SKIP() << "no right to mount: real full disk not tested";
  TrainingState big = sample_state(1);
  big.model.push_back({"big", random_tensor({30000}, DType::kF32, 1)});
  CheckpointStore store(disk + "/ckpt", posix_fs());
  store.save(big, false);
  for (std::uint64_t step = 2; step < 52; ++step) {
    big.step = step;
    if (step > 2) {
      EXPECT_THROW(store.save(big, false), EnvironmentError);
    } else {
      store.save(big, false);  // two fit
    }
    EXPECT_EQ(posix_fs().list(disk + "/ckpt").size(), 2u);
  }
  EXPECT_EQ(store.find(Resume::kAuto)->manifest.facts.step, 2u);
  ::umount2(disk.c_str(), MNT_DETACH);
}

TEST(CheckpointFaults, LockingFailsInTurnWithoutLosingTheFolder) {
  for (int n = 1;; ++n) {
    MemoryFs disk;
    disk.make_directory("/run");
    FaultFs fs(disk);
    fs.fail_at = n;
    try {
      RunLock lock = RunLock::acquire(fs, "/run");
    } catch (const EnvironmentError& error) {
      EXPECT_EQ(error.code(), ExitCode::kCantCreate) << error.what();
    }
    EXPECT_EQ(disk.open_files(), 0u);
    disk.now_s += 60;
    RunLockOptions later;
    later.identity.pid = -1;
    later.force = true;
    EXPECT_GE(RunLock::acquire(disk, "/run", later).generation(), 1u);
    if (fs.failures == 0) break;
  }
}

}  // namespace
}  // namespace lockstep::test
