// The index at ImageNet's size: its memory, the start from a kept one, and three epochs that leave nothing behind.
//
// A tar of few images and an index of many entries that share them. By default 60,000 entries; the real figures:
// LOCKSTEP_INDEX_ENTRIES=1281167 data_tests --gtest_filter='IndexScale.*'
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "data/index_cache.h"
#include "data/loader.h"
#include "tests/data/archives.h"

namespace lockstep {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // sanitizers keep what was released
#else
constexpr bool kSanitized = false;
#endif

constexpr int kClasses = 1000;

std::int64_t entries() {
  const char* given = std::getenv("LOCKSTEP_INDEX_ENTRIES");
  return given != nullptr ? std::atoll(given) : 60000;
}

std::int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

// Keeps an index of `count` samples in `cache` for <data>/train.tar, which holds one small image per class.
void keep_index(const test::TempDir& dir, std::int64_t count) {
  test::TarBuilder tar;
  std::vector<std::uint64_t> offsets;
  std::vector<std::size_t> sizes;
  for (int c = 0; c < kClasses; ++c) {
    const test::Bytes image = test::make_jpeg(test::JpegKind::kYcc, 8, 8, static_cast<std::uint32_t>(c));
    offsets.push_back(tar.size() + 512);
    sizes.push_back(image.size());
    tar.add(fmt::format("n{:08}/x.JPEG", c), image);
  }
  dir.write("data/train.tar", tar.finish());
  IndexBuilder builder;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto c = static_cast<std::size_t>(i % kClasses);
    builder.add(builder.class_id(fmt::format("n{:08}", c)), 0, offsets[c], sizes[c], fmt::format("n{:08}_{}.JPEG", c, i / kClasses));
  }
  const SampleIndex index = builder.finish({}, false, {{.path = "train.tar", .archive = true}}, "made up", "");
  const std::string root = dir / "data";
  ASSERT_TRUE(save_index(index_cache_file(dir / "cache", root, Split::kTrain, "tar"), {stamp_of(root, "train.tar")}, index));
  const std::size_t bytes = index.entries.capacity() * sizeof(IndexEntry) + index.names.capacity();
  EXPECT_LT(static_cast<double>(bytes) / static_cast<double>(count), 80e6 / 1281167) << "bytes per sample";
}

TEST(IndexScale, StartsFromTheKeptIndexAndKeepsItsMemory) {
  const std::int64_t count = entries();
  const test::TempDir dir;
  keep_index(dir, count);
  const std::int64_t before = resident_bytes();
  const auto start = std::chrono::steady_clock::now();
  const auto source = open_source({.path = dir / "data", .index_cache = dir / "cache"});
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  ASSERT_EQ(source->size(), count);
  EXPECT_LT(seconds, 1.0);
  const std::int64_t opened = resident_bytes();
  LoaderOptions options{.shard_batch = 100,
                        .global_batch = 200,
                        .first_shard = 0,
                        .last_shard = 2,
                        .augment = {.crop = Crop::kRandomResizedCrop, .flip = true, .out_height = 8, .out_width = 8},
                        .threads = 2};
  Loader loader(*source, options);
  std::int64_t after_first = 0;
  for (int epoch = 0; epoch < 3; ++epoch) {
    for (std::int64_t i = 0; i < 2 * loader.steps_per_epoch(); ++i) loader.next();
    if (epoch == 0) after_first = resident_bytes();
    fmt::print("epoch {}: {:.1f} MB resident\n", epoch + 1, static_cast<double>(resident_bytes()) / 1e6);
  }
  // Less than a pointer for each sample that was read in the epochs 2 and 3.
  if (!kSanitized) {
    EXPECT_LT(resident_bytes() - after_first, 2 * count * std::int64_t{sizeof(void*)});
  }
  fmt::print("{} entries: opened in {:.3f} s, {:.1f} MB for the index\n", count, seconds, static_cast<double>(opened - before) / 1e6);
}

}  // namespace
}  // namespace lockstep
