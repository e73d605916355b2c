// kill -9 at every named step of the protocol, in a process of its own on the real file system; then recovery.
// SPDX-License-Identifier: Apache-2.0
#include "train/checkpoint/killpoint.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/checkpoint/sample_state.h"
#include "train/checkpoint/saver.h"

namespace lockstep::test {
namespace {

const char* const kPoints[] = {"ckpt.begin", "ckpt.after_mkdir", "ckpt.after_model", "ckpt.after_optim", "ckpt.before_manifest",
                               "ckpt.after_manifest", "ckpt.after_verify", "ckpt.after_rename", "ckpt.after_dir_sync",
                               "ckpt.after_best", "ckpt.after_trash", "ckpt.after_retention", "ckpt.done"};

CheckpointOptions two_kept(std::uint64_t generation = 1) {
  CheckpointOptions options;
  options.keep_last = 2;
  options.generation = generation;
  return options;
}

// Runs `body` in a child with the kill point set; true when it died of SIGKILL.
bool dies_at(const std::string& point, const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("LOCKSTEP_KILLPOINT", point.c_str(), 1);
    reload_kill_point();
    body();
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

void check_recovery(const std::string& directory, std::uint64_t at_least, const std::string& what) {
  CheckpointStore store(directory, posix_fs(), two_kept());
  store.remove_stale();
  const auto found = store.find(Resume::kAuto);
  ASSERT_TRUE(found.has_value()) << what;
  EXPECT_GE(found->manifest.facts.step, at_least) << what;
  EXPECT_TRUE(same_state(load(posix_fs(), found->path), sample_state(found->manifest.facts.step))) << what;
  for (const DirectoryEntry& entry : posix_fs().list(directory))
    EXPECT_TRUE(entry.name == "best" || step_of_name(entry.name)) << what << ": stray " << entry.name;
}

TEST(KillPoints, EveryStepOfASaveSurvivesKill9) {
  for (const std::string point : kPoints) {
    TemporaryFolder folder;
    CheckpointStore store(folder / "ckpt", posix_fs(), two_kept());
    for (const std::uint64_t step : {1, 2}) store.save(sample_state(step), false);
    EXPECT_TRUE(dies_at(point, [&] { store.save(sample_state(3), true); })) << point << " is not on the way of a save";
    const bool durable = point == "ckpt.after_dir_sync" || point == "ckpt.after_best" || point == "ckpt.after_trash" ||
                         point == "ckpt.after_retention" || point == "ckpt.done";
    check_recovery(folder / "ckpt", durable ? 3 : 2, point);
  }
}

TEST(KillPoints, MarkingTheBestSurvivesKill9) {
  for (const std::string point : {"ckpt.before_mark:1", "ckpt.before_mark:2", "ckpt.after_mark", "ckpt.after_best"}) {
    TemporaryFolder folder;
    CheckpointStore store(folder / "ckpt", posix_fs(), two_kept());
    for (const std::uint64_t step : {1, 2}) store.save(sample_state(step), false);
    EXPECT_TRUE(dies_at(point, [&] { store.save(sample_state(2), true); })) << point << " is not on the way of a mark";
    check_recovery(folder / "ckpt", 2, point);
    EXPECT_EQ(store.find(Resume::kAuto)->manifest.is_best, point.starts_with("ckpt.after")) << point;
  }
}

TEST(KillPoints, CountPicksThePassage) {
  TemporaryFolder folder;
  CheckpointStore store(folder / "ckpt", posix_fs(), two_kept());
  EXPECT_TRUE(dies_at("ckpt.after_rename:3", [&] {
    for (const std::uint64_t step : {1, 2, 3, 4}) store.save(sample_state(step), false);
  }));
  EXPECT_EQ(store.find(Resume::kAuto)->manifest.facts.step, 3u);
  EXPECT_FALSE(dies_at("ckpt.no_such_point", [&] { store.save(sample_state(5), false); }));
}

TEST(KillPoints, TheHelperTakesItsParentAlong) {
  TemporaryFolder folder;
  CheckpointStore(folder / "ckpt", posix_fs(), two_kept()).save(sample_state(1), false);
  EXPECT_TRUE(dies_at("ckpt.after_model", [&] {
    CheckpointSaver saver(folder / "ckpt", posix_fs(), two_kept());
    saver.request(sample_state(2), false);
    saver.wait();
  }));
  check_recovery(folder / "ckpt", 1, "helper");
}

}  // namespace
}  // namespace lockstep::test
