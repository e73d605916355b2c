// Checkpoints of every released version of the format keep loading, bit for bit.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/checkpoint/sample_state.h"

namespace lockstep::test {
namespace {

std::string golden_folder() {
  const char* source = std::getenv("LOCKSTEP_SOURCE_DIR");
  return source == nullptr ? "" : std::string(source) + "/tests/golden/checkpoint_v1";
}

TEST(GoldenCheckpoint, Version1LoadsBitForBit) {
  ASSERT_FALSE(golden_folder().empty()) << "run by ctest, or set LOCKSTEP_SOURCE_DIR";
  const auto found = CheckpointStore(golden_folder(), posix_fs()).find(Resume::kLatest);
  EXPECT_EQ(found->manifest.version, 1u);
  EXPECT_EQ(found->manifest.generation, 3u);
  EXPECT_TRUE(found->manifest.is_best);
  const TrainingState loaded = load(posix_fs(), found->path);
  EXPECT_TRUE(same_state(loaded, sample_state(12)));
  EXPECT_EQ(state_digest(loaded), "4a8facf30f901722139ef61326820b6a");
}

// Only for a new version of the format: writes the folder that the test above reads.
// checkpoint_tests --gtest_also_run_disabled_tests --gtest_filter='*WriteTheGoldenFiles'
TEST(GoldenCheckpoint, DISABLED_WriteTheGoldenFiles) {
  CheckpointOptions options;
  options.generation = 3;
  CheckpointStore(golden_folder(), posix_fs(), options).save(sample_state(12), true);
}

}  // namespace
}  // namespace lockstep::test
