// The geometry of batch norm's kernels: every element is visited once, and ResNet-50's layers fill the device.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/channel_tiles.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace lockstep::cuda {
namespace {

struct Matrix {
  std::int64_t rows, channels;
};

// Calls visit(block, thread) for every thread of the launch.
template <class Visit>
void for_threads(const ChannelTiles& tiles, int threads, Visit visit) {
  for (int y = 0; y < tiles.row_blocks; ++y)
    for (std::int64_t x = 0; x < tiles.tiles; ++x)
      for (int thread = 0; thread < threads; ++thread) visit(Block{x, y, tiles.tiles, tiles.row_blocks}, thread);
}

void expect_each_element_once(const ChannelTiles& tiles, int threads, const std::string& what) {
  std::vector<int> visits(static_cast<std::size_t>(tiles.rows * tiles.channels), 0);
  std::vector<std::int64_t> rows(static_cast<std::size_t>(tiles.row_blocks), 0);
  bool inside = true;
  for_threads(tiles, threads, [&](const Block& block, int thread) {
    const ThreadUnits mine = tiles.units_of(block, thread);
    if (block.x == 0 && thread % tiles.lanes == 0) rows[static_cast<std::size_t>(block.y)] += mine.count;
    for (int i = 0; i < mine.count; ++i)
      for (int k = 0; k < tiles.width; ++k) {
        const std::int64_t at = mine.offset + i * mine.stride + k;
        inside = inside && at >= 0 && at < tiles.rows * tiles.channels && at % tiles.channels == tiles.first_channel(block.x, thread) + k;
        if (inside) ++visits[static_cast<std::size_t>(at)];
      }
  });
  ASSERT_TRUE(inside) << what;
  for (const int count : visits) ASSERT_EQ(count, 1) << what;
  for (int y = 0; y < tiles.row_blocks; ++y) ASSERT_EQ(tiles.rows_of_block(y), rows[static_cast<std::size_t>(y)]) << what << " block " << y;
}

TEST(ChannelTiles, VisitEachElementOnce) {
  std::vector<Matrix> shapes;
  for (const std::int64_t rows : {1, 2, 3, 31, 32, 33, 98, 127, 128, 129, 1000, 2049})
    for (const std::int64_t channels : {1, 2, 3, 5, 8, 13, 16, 17, 24, 63, 64, 65, 100, 120, 128, 136, 200, 1000}) shapes.push_back({rows, channels});
  for (const auto& [rows, channels] : shapes)
    for (const int width : {1, 8}) {
      if (channels % width != 0) continue;
      const std::string what = std::to_string(rows) + "x" + std::to_string(channels) + "/" + std::to_string(width);
      for (const int blocks_per_sm : {0, 3, 4})
        expect_each_element_once(reduction_tiles(rows, channels, width, blocks_per_sm), kReductionThreads, "reduction " + what);
      expect_each_element_once(apply_tiles(rows, channels, width), kApplyThreads, "apply " + what);
    }
}

// As many rows of blocks as a grid has, and more rows than those could hold at 16 groups each: only the sums are checked.
TEST(ChannelTiles, LargestMatrices) {
  for (const auto& [rows, channels] : {Matrix{40'000'000, 2048}, Matrix{std::int64_t{1} << 33, 8}, Matrix{(std::int64_t{1} << 32) + 77, 64}})
    for (const ChannelTiles& tiles : {apply_tiles(rows, channels, 8), reduction_tiles(rows, channels, 8, 4)}) {
      ASSERT_GT(tiles.row_blocks, 0);
      ASSERT_LE(tiles.row_blocks, 65535);
      std::int64_t total = 0;
      for (int y = 0; y < tiles.row_blocks; ++y) total += tiles.rows_of_block(y);
      EXPECT_EQ(total, rows);
      const Block last{tiles.tiles - 1, tiles.row_blocks - 1, tiles.tiles, tiles.row_blocks};
      const ThreadUnits units = tiles.units_of(last, tiles.lanes - 1);
      const std::int64_t end = units.offset + (units.count - 1) * units.stride;
      EXPECT_GE(std::min(units.offset, end), 0);
      EXPECT_LT(std::max(units.offset, end), rows * channels);
    }
}

TEST(ChannelTiles, NoRowsAreOneBlockOfNothing) {
  const ChannelTiles tiles = reduction_tiles(0, 16, 8, 4);
  EXPECT_EQ(tiles.row_blocks, 1);
  EXPECT_EQ(tiles.rows_of_block(0), 0);
  for_threads(tiles, kReductionThreads, [&](const Block& block, int thread) { ASSERT_EQ(tiles.units_of(block, thread).count, 0); });
  EXPECT_EQ(apply_tiles(0, 16, 8).row_blocks, 0);
}

// A control for the counting above: a geometry that leaves rows out is noticed.
TEST(ChannelTiles, MissingRowsAreNoticed) {
  ChannelTiles tiles = apply_tiles(1000, 64, 8);
  --tiles.groups;
  std::int64_t visited = 0;
  for_threads(tiles, kApplyThreads, [&](const Block& block, int thread) { visited += tiles.units_of(block, thread).count; });
  EXPECT_LT(visited * 8, 1000 * 64);
}

struct Launch {
  std::int64_t rows, channels;  // of a layer of ResNet-50
  std::int64_t tiles;
  int sums, apply;  // rows of blocks
};

// At 256 images a sum's blocks are all at work at once (528 = 4 on each of 132 multiprocessors) unless that left a thread too
// few rows; at 32 still most multiprocessors have one.
TEST(ChannelTiles, LaunchesOfResNet50) {
  const Launch layers[] = {{256 * 112 * 112, 64, 1, 528, 12544}, {256 * 56 * 56, 64, 1, 528, 3136}, {256 * 56 * 56, 256, 2, 264, 6272},
                           {256 * 28 * 28, 128, 1, 528, 3136},   {256 * 28 * 28, 512, 4, 132, 1568}, {256 * 14 * 14, 256, 2, 264, 1568},
                           {256 * 14 * 14, 1024, 8, 66, 392},    {256 * 7 * 7, 512, 4, 132, 784},    {256 * 7 * 7, 2048, 16, 33, 196},
                           {32 * 56 * 56, 64, 1, 528, 3136},     {32 * 56 * 56, 256, 2, 264, 1568},  {32 * 14 * 14, 1024, 8, 66, 392},
                           {32 * 7 * 7, 512, 4, 25, 98},         {32 * 7 * 7, 2048, 16, 25, 98},     {2 * 7 * 7, 2048, 16, 2, 7}};
  for (const Launch& layer : layers) {
    const std::string what = std::to_string(layer.rows) + "x" + std::to_string(layer.channels);
    const ChannelTiles sums = reduction_tiles(layer.rows, layer.channels, 8, 4), apply = apply_tiles(layer.rows, layer.channels, 8);
    EXPECT_EQ(sums.tiles, layer.tiles) << what;
    EXPECT_EQ(sums.row_blocks, layer.sums) << what;
    EXPECT_EQ(apply.row_blocks, layer.apply) << what;
    EXPECT_EQ(sums.lanes * sums.rows_at_once, kReductionThreads) << what << ": threads without work";
    int most = 0, least = sums.groups;
    for (int y = 0; y < sums.row_blocks; ++y) {
      most = std::max(most, sums.groups_of_block(y));
      least = std::min(least, sums.groups_of_block(y));
    }
    EXPECT_LE(most - least, 1) << what;
  }
}

}  // namespace
}  // namespace lockstep::cuda
