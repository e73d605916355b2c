// Bad input: one clear error, the documented exit code, nothing lost.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/tools/command.h"

namespace lockstep::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Args = std::vector<std::string>;

class BadInput : public ::testing::Test {
 protected:
  CommandResult train(Args more, int ranks = 1) {
    Args args{"train", tiny(), "--run-dir", folder_ / "run"};
    args.insert(args.end(), more.begin(), more.end());
    return run(ranks == 1 ? lockstep(args) : mpi(ranks, args));
  }
  // One error, this exit code, these words.
  static void expect_error(const CommandResult& result, int exit_code, const std::vector<std::string>& words) {
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    for (const std::string& word : words) EXPECT_THAT(result.err, HasSubstr(word));
    std::size_t errors = 0;
    for (std::size_t at = result.err.find("lockstep: "); at != std::string::npos; at = result.err.find("lockstep: ", at + 1)) ++errors;
    EXPECT_EQ(errors, 1u) << result.err;
  }
  std::string digest() { return run(lockstep({"inspect", folder_ / "run", "--digest"})).out; }
  TempDir folder_;
};

TEST_F(BadInput, UnknownCommandOrOption) {
  EXPECT_EQ(run(lockstep({"trian"})).exit_code, 64);
  EXPECT_EQ(run(lockstep({"train"})).exit_code, 64);
  EXPECT_EQ(run(lockstep({"train", tiny(), "--max-steps", "many"})).exit_code, 64);
}

TEST_F(BadInput, MisspeltFieldIsSuggested) {
  write_file(folder_ / "bad.pbtxt", "optimizer {\n  momentun: 0.9\n}\n");
  expect_error(run(lockstep({"train", folder_ / "bad.pbtxt"})), 64, {"bad.pbtxt:2", "momentun", "momentum"});
  expect_error(train({"--set", "optimiser.momentum=0.9"}), 64, {"optimiser", "optimizer"});
}

TEST_F(BadInput, ValueOutOfRange) {
  expect_error(train({"--set", "batch.shard_batch=0"}), 64, {"batch.shard_batch", "0", "--set"});
  expect_error(train({"--set", "optimizer.momentum=1.5"}), 64, {"optimizer.momentum", "1.5"});
}

TEST_F(BadInput, RanksThatDoNotDivideTheShards) {
  expect_error(train({}, 3), 64, {"3", "4", "shards"});
  EXPECT_FALSE(fs::exists(folder_ / "run/ckpt"));
}

TEST_F(BadInput, MissingConfigFile) { expect_error(run(lockstep({"train", folder_ / "none.pbtxt"})), 66, {"none.pbtxt"}); }

TEST_F(BadInput, MissingDataNamesTheFilesAndThePackage) {
  fs::create_directories(folder_ / "empty");
  expect_error(train({"--set", "data.source=IDX", "--data", folder_ / "empty"}), 66, {"train-images", "dataset-fashion-mnist"});
}

// A data set of `count` 4x4 images; its labels run through 0..9.
void write_idx(const fs::path& folder, int count, std::size_t cut = 0, int bad_label = -1) {
  const auto be = [](int value) { return std::string{char(value >> 24), char(value >> 16), char(value >> 8), char(value)}; };
  for (const std::string split : {"train", "t10k"}) {
    std::string images = be(0x803) + be(count) + be(4) + be(4);
    std::string labels = be(0x801) + be(count);
    for (int i = 0; i < count; ++i) {
      images += std::string(16, static_cast<char>(i));
      labels += static_cast<char>(i == 5 && bad_label >= 0 ? bad_label : i % 10);
    }
    images.resize(images.size() - cut);
    write_file(folder / (split + "-images-idx3-ubyte"), images);
    write_file(folder / (split + "-labels-idx1-ubyte"), labels);
  }
}

TEST_F(BadInput, TruncatedDataFile) {
  write_idx(folder_ / "data", 64, 7);
  expect_error(train({"--set", "data.source=IDX", "--data", folder_ / "data"}), 65, {"train-images-idx3-ubyte"});
}

TEST_F(BadInput, LabelOutOfRange) {
  write_idx(folder_ / "data", 64, 0, 77);
  expect_error(train({"--set", "data.source=IDX", "--data", folder_ / "data", "--set", "model.classes=10"}), 65, {"77", "train-labels-idx1-ubyte"});
}

TEST_F(BadInput, ResumeToNothing) {
  expect_error(train({"--resume", "latest"}), 66, {"--resume latest", "--resume auto"});
  expect_error(train({"--resume", folder_ / "nowhere"}), 66, {"nowhere"});
  EXPECT_FALSE(fs::exists(folder_ / "run")) << "a failed resume must not leave a run behind";
}

TEST_F(BadInput, ARunIsNotOverwritten) {
  ASSERT_EQ(train({}).exit_code, 0);
  const std::string before = digest();
  expect_error(train({"--seed", "3"}), 73, {"holds a run already", "--resume auto"});
  EXPECT_EQ(digest(), before);
}

TEST_F(BadInput, AnotherConfigOnResume) {
  ASSERT_EQ(train({"--max-steps", "7"}).exit_code, 0);
  expect_error(train({"--resume", "auto", "--set", "optimizer.momentum=0.5"}), 64, {"optimizer.momentum", "0.9", "0.5", "--allow-changes"});
  EXPECT_EQ(train({"--resume", "auto", "--set", "optimizer.momentum=0.5", "--allow-changes"}).exit_code, 0);
}

TEST_F(BadInput, DamagedCheckpointFallsBackToThePreviousOne) {
  ASSERT_EQ(train({}).exit_code, 0);
  const std::string good = digest();
  const std::string newest = folder_ / "run/ckpt/step_00000020/model.safetensors";
  std::fstream file(newest, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-3, std::ios::end);
  file.put('\x5a');
  file.close();
  const CommandResult resumed = train({"--resume", "auto"});
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_THAT(resumed.out + resumed.err, HasSubstr("model.safetensors"));
  EXPECT_THAT(resumed.out, HasSubstr("step_00000014"));
  EXPECT_EQ(digest(), good) << "trained again from step 14, the run ends at the same bits";
}

TEST_F(BadInput, ADamagedCheckpointThatIsNamedIsRefused) {
  ASSERT_EQ(train({}).exit_code, 0);
  fs::resize_file(folder_ / "run/ckpt/step_00000020/optim.safetensors", 100);
  expect_error(train({"--resume", folder_ / "run/ckpt/step_00000020"}), 65, {"optim.safetensors", "step_00000014"});
}

TEST_F(BadInput, UnwritableRunFolder) {
  write_file(folder_ / "file", "not a folder");
  expect_error(run(lockstep({"train", tiny(), "--run-dir", folder_ / "file/run"})), 73, {"file/run", "--run-dir"});
}

// Permissions bind everybody but root: as root, the run is started as nobody.
TEST_F(BadInput, AFolderThatMayNotBeWritten) {
  Args command = lockstep({"train", tiny(), "--run-dir", folder_ / "locked/run"});
  if (geteuid() == 0) {
    const Args as_nobody{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"};
    command.insert(command.begin(), as_nobody.begin(), as_nobody.end());
    Args probe(as_nobody);
    const Args harmless = lockstep({"config", tiny(), "--digest"});
    probe.insert(probe.end(), harmless.begin(), harmless.end());
    if (run(probe).exit_code != 0) GTEST_SKIP() << "root can't become nobody here, or nobody can't read this build";
    fs::permissions(folder_.path(), fs::perms(0755));
  }
  fs::create_directories(folder_ / "locked");
  fs::permissions(folder_ / "locked", fs::perms(0555));
  expect_error(run(command), 73, {"locked/run", "Permission denied", "--run-dir"});
  EXPECT_TRUE(fs::is_empty(folder_ / "locked"));
  fs::permissions(folder_ / "locked", fs::perms(0777));
  EXPECT_EQ(run(command).exit_code, 0) << "the permission was what stopped it";
}

TEST_F(BadInput, AFullDiskLosesNothingThatWasSaved) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to mount a small tmpfs";
  fs::create_directories(folder_ / "small");
  if (mount("tmpfs", (folder_ / "small").c_str(), "tmpfs", 0, "size=2m") != 0) GTEST_SKIP() << "mounting tmpfs is not allowed here";
  struct Unmount {
    std::string path;
    ~Unmount() { umount2(path.c_str(), MNT_DETACH); }
  } unmount{folder_ / "small"};
  const auto train_there = [&](Args more) {
    Args args{"train", tiny(), "--run-dir", folder_ / "small/run", "--set", "checkpoint.every_steps=5"};
    args.insert(args.end(), more.begin(), more.end());
    return run(lockstep(args));
  };
  ASSERT_EQ(train_there({"--max-steps", "5"}).exit_code, 0);
  const std::string before = run(lockstep({"inspect", folder_ / "small/run", "--digest"})).out;
  {
    std::ofstream filler(folder_ / "small/filler", std::ios::binary);
    const std::string block(1 << 16, 'x');
    while (filler.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {}
  }
  // Room for the lock and the logs, not for a checkpoint.
  fs::resize_file(folder_ / "small/filler", fs::file_size(folder_ / "small/filler") - (48 << 10));
  const CommandResult full = train_there({"--resume", "auto"});
  EXPECT_EQ(full.exit_code, 74) << full.out << full.err;
  EXPECT_THAT(full.err, HasSubstr("No space left"));
  EXPECT_EQ(run(lockstep({"inspect", folder_ / "small/run", "--digest"})).out, before);
  fs::remove(folder_ / "small/filler");
  EXPECT_EQ(train_there({"--resume", "auto"}).exit_code, 0) << "with room again the run goes on";
}

TEST_F(BadInput, ANonFiniteLossStopsTheRunAndIsNotSaved) {
  const CommandResult result = train({"--set", "schedule.lr=1e30", "--set", "schedule.warmup_epochs=0", "--set", "checkpoint.every_steps=1"});
  expect_error(result, 76, {"step", "not applied", "schedule.lr", "--resume auto --allow-changes"});
  const CommandResult inspect = run(lockstep({"inspect", folder_ / "run", "--digest"}));
  EXPECT_EQ(inspect.exit_code, 0) << "what was saved before is whole: " << inspect.err;
}

TEST_F(BadInput, AfterANonFiniteLossTheRunGoesOnAsTheMessageSays) {
  ASSERT_EQ(train({"--max-steps", "5"}).exit_code, 0);
  const std::string before = digest();
  const CommandResult result = train({"--resume", "auto", "--allow-changes", "--set", "schedule.lr=1e30"});
  expect_error(result, 76, {"Lower schedule.lr", "--resume auto --allow-changes"});
  EXPECT_EQ(digest(), before);
  const CommandResult lower = train({"--resume", "auto", "--allow-changes", "--set", "schedule.lr=0.05"});
  EXPECT_EQ(lower.exit_code, 0) << lower.err;
  EXPECT_THAT(lower.out, HasSubstr("step_00000005"));
  EXPECT_THAT(run(lockstep({"inspect", folder_ / "run"})).out, HasSubstr("step        20 "));
}

TEST_F(BadInput, TwoJobsInOneFolder) {
  Command first(lockstep({"train", tiny(), "--run-dir", folder_ / "run", "--set", "epochs=100000"}));
  ASSERT_TRUE(wait_for([&] { return fs::exists(folder_ / "run/metrics.jsonl"); }, 20));
  expect_error(train({"--resume", "auto"}), 73, {"run"});
}

}  // namespace
}  // namespace lockstep::testing
