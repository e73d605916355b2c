// Power cuts: after every micro-operation of a run that saves, replaces and removes checkpoints, in every (or many a)
// combination of what the disk may have kept of the unsynced rest.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/checkpoint/memory_fs.h"
#include "tests/checkpoint/sample_state.h"

namespace lockstep::test {
namespace {

struct Saved {
  std::size_t log_size;  // when save() returned
  std::uint64_t step;
};

std::uint64_t reported_at(const std::vector<Saved>& saves, std::size_t operations) {
  std::uint64_t step = 0;
  for (const Saved& saved : saves)
    if (saved.log_size <= operations) step = saved.step;
  return step;
}

struct Tally {
  int images = 0;
  int bad = 0;
  std::string first;
};

// One crash image: recovery must find at least `reported`, bit for bit.
void check(MemoryFs& image, std::uint64_t reported, std::size_t at, Tally& tally) {
  ++tally.images;
  std::string problem;
  try {
    CheckpointStore store("/run/ckpt", image);
    store.remove_stale();
    const auto found = store.find(Resume::kAuto);
    if (!found && reported > 0) problem = "no checkpoint";
    if (found && found->manifest.facts.step < reported) problem = "rolled back to step " + std::to_string(found->manifest.facts.step);
    if (found && !same_state(load(image, found->path), sample_state(found->manifest.facts.step))) problem = "other values";
    if (image.status("/run/ckpt"))
      for (const DirectoryEntry& entry : image.list("/run/ckpt"))
        if (!entry.name.starts_with("best") && !step_of_name(entry.name)) problem = "stray " + entry.name;
  } catch (const Error& error) {
    problem = error.what();
  }
  if (problem.empty()) return;
  if (tally.bad++ == 0) tally.first = "after operation " + std::to_string(at) + ", reported " + std::to_string(reported) + ": " + problem;
}

// All fates of few uncertain operations; all, none, each alone, all but each and random ones of many.
Tally enumerate(const MemoryFs& disk, const std::vector<Saved>& saves, std::size_t stride = 1) {
  constexpr std::size_t kExhaustive = 5, kRandom = 24;
  Tally tally;
  RandomStream random({.seed = 11});
  for (std::size_t at = 0; at <= disk.log_size(); at += stride) {
    const std::uint64_t reported = reported_at(saves, at);
    std::size_t pending = 0;
    disk.after_power_cut(at, [](std::size_t) { return MemoryFs::kLost; }, &pending);
    const auto run = [&](const std::function<int(std::size_t)>& fate) {
      check(*disk.after_power_cut(at, fate), reported, at, tally);
    };
    if (pending <= kExhaustive) {
      std::size_t combinations = 1;
      for (std::size_t i = 0; i < pending; ++i) combinations *= 3;
      for (std::size_t c = 0; c < combinations; ++c)
        run([&](std::size_t i) {
          std::size_t rest = c;
          for (std::size_t k = 0; k < i; ++k) rest /= 3;
          return static_cast<int>(rest % 3);
        });
      continue;
    }
    run([](std::size_t) { return MemoryFs::kLost; });
    run([](std::size_t) { return MemoryFs::kDone; });
    for (std::size_t k = 0; k < pending; ++k) {
      run([&](std::size_t i) { return i == k ? MemoryFs::kDone : MemoryFs::kLost; });
      run([&](std::size_t i) { return i == k ? MemoryFs::kLost : MemoryFs::kDone; });
    }
    for (std::size_t k = 0; k < kRandom; ++k) run([&](std::size_t) { return static_cast<int>(random.below(3)); });
  }
  return tally;
}

// Four saves with keep_last 2, so that checkpoints are removed, a best one, and one that replaces an older run's.
std::vector<Saved> scenario(MemoryFs& disk) {
  disk.make_directory("/run");
  disk.sync_directory("/");
  CheckpointOptions options;
  options.keep_last = 2;
  CheckpointStore store("/run/ckpt", disk, options);
  std::vector<Saved> saves;
  for (const std::uint64_t step : {1, 2, 3, 4}) {
    store.save(sample_state(step), step == 2);
    saves.push_back({disk.log_size(), step});
  }
  return saves;
}

TEST(PowerCut, NoStateOfTheDiskLosesAReportedCheckpoint) {
  MemoryFs disk;
  const std::vector<Saved> saves = scenario(disk);
  const Tally tally = enumerate(disk, saves);
  EXPECT_EQ(tally.bad, 0) << tally.first;
  std::printf("  %zu micro-operations, %d crash images, %d bad\n", disk.log_size(), tally.images, tally.bad);
  EXPECT_GT(tally.images, 2000);
}

TEST(PowerCut, ReplacingAnOlderRunsCheckpointLosesNothing) {
  for (const bool can_exchange : {true, false}) {
    MemoryFs disk;
    disk.make_directory("/run");
    disk.sync_directory("/");
    disk.can_exchange = can_exchange;
    CheckpointStore("/run/ckpt", disk).save(sample_state(1), false);
    CheckpointStore("/run/ckpt", disk).save(sample_state(2), false);
    std::vector<Saved> saves = {{disk.log_size(), 2}};
    disk.contents("/run/ckpt/step_00000002/optim.safetensors")[8] ^= 1;  // the next save of step 2 has a damaged one to replace
    const auto damaged = disk.copy();
    CheckpointOptions second;
    second.generation = 2;
    second.run_id = "second";
    CheckpointStore("/run/ckpt", *damaged, second).save(sample_state(2), false);
    saves = {{0, 1}, {damaged->log_size(), 2}};
    const Tally tally = enumerate(*damaged, saves);
    EXPECT_EQ(tally.bad, 0) << tally.first;
  }
}

TEST(PowerCut, MarkingTheBestLosesNothing) {
  for (const bool can_exchange : {true, false}) {
    MemoryFs disk;
    disk.make_directory("/run");
    disk.sync_directory("/");
    disk.can_exchange = can_exchange;
    CheckpointStore store("/run/ckpt", disk);
    store.save(sample_state(1), false);
    store.save(sample_state(2), false);
    const std::vector<Saved> saves = {{disk.log_size(), 2}};
    store.save(sample_state(2), true);
    const Tally tally = enumerate(disk, saves);
    EXPECT_EQ(tally.bad, 0) << tally.first;
    EXPECT_TRUE(store.find(Resume::kBest).has_value());
  }
}

// Negative controls: without either fsync the same search finds losses.
TEST(PowerCut, TheSearchFindsAMissingFsync) {
  MemoryFs disk;
  disk.lies_about_sync = true;
  EXPECT_GT(enumerate(disk, scenario(disk), 7).bad, 0);
}

TEST(PowerCut, TheSearchFindsAMissingFolderFsync) {
  MemoryFs disk;
  disk.lies_about_sync_directory = true;
  EXPECT_GT(enumerate(disk, scenario(disk), 7).bad, 0);
}

}  // namespace
}  // namespace lockstep::test
