// Which elements of a channels-last matrix (rows = N*H*W, channels) which thread of which block visits: the geometry of batch
// norm and of sums over rows. Plain functions: tests/cuda/channel_tiles_test.cpp counts every element.
//
// A thread stays on `width` neighbouring channels (8: one 16-byte load of 16-bit values; 1: any shape) and goes through rows.
// A block's threads lie along the channels first, so that a warp reads whole sectors; `rows_at_once` rows are a group.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/error.h"
#include "cuda/launch.h"

namespace lockstep::cuda {

constexpr int kReductionThreads = 256;  // more rows per block: fewer partial sums
constexpr int kApplyThreads = 128;      // with 70 to 90 registers a thread, small blocks fill a multiprocessor better

// A thread's elements: units of `width` elements at offset, offset + stride, ... (count of them).
struct ThreadUnits {
  std::int64_t offset, stride;
  int count;
};

// Calls batch(std::integral_constant<int, n>, offset of the first of n units) for all of a thread's units: n = kInFlight as long
// as there are so many, then 2 and 1. Without a condition inside a batch the compiler keeps its loads together, so that they are
// in flight at the same time; behind one it moves each load to its use.
template <int kInFlight, class Batch>
LS_DEVICE void for_batches(const ThreadUnits& units, Batch batch) {
  static_assert(kInFlight == 1 || kInFlight == 2 || kInFlight == 4);
  std::int64_t offset = units.offset;
  int left = units.count;
  for (; left >= kInFlight; left -= kInFlight, offset += kInFlight * units.stride) batch(std::integral_constant<int, kInFlight>{}, offset);
  if constexpr (kInFlight > 2) {
    if (left >= 2) {
      batch(std::integral_constant<int, 2>{}, offset);
      left -= 2;
      offset += 2 * units.stride;
    }
  }
  if constexpr (kInFlight > 1) {
    if (left == 1) batch(std::integral_constant<int, 1>{}, offset);
  }
}

struct ChannelTiles {
  std::int64_t rows, channels;
  int width;             // channels of a thread
  int lanes;             // threads along the channels
  int rows_at_once;      // of a block; threads from lanes * rows_at_once on have nothing to do
  std::int64_t tiles;    // blocks along the channels: Grid::x
  int row_blocks;        // blocks along the rows: Grid::y
  int groups;            // of rows_at_once rows, the last one may be shorter
  int block_step;        // groups from a block's first to the next block's first
  int group_step;        // groups from one of a block's to its next
  bool from_the_end;     // the first row is the last in memory

  Grid grid() const { return {tiles, row_blocks}; }
  LS_DEVICE int tile_channels() const { return lanes * width; }
  LS_DEVICE std::int64_t first_channel(std::int64_t tile, int thread) const { return (tile * lanes + thread % lanes) * width; }

  LS_DEVICE int groups_of_block(int block) const {  // block_step is 1 or group_step is
    const int left = groups - block * block_step;
    if (left <= 0) return 0;
    return block_step > left ? left : block_step > 1 ? block_step : 1 + (left - 1) / group_step;
  }
  LS_DEVICE std::int64_t rows_of_block(int block) const {
    const std::int64_t n = groups_of_block(block);
    if (n == 0) return 0;
    const std::int64_t last = block * block_step + (n - 1) * group_step, missing = static_cast<std::int64_t>(groups) * rows_at_once - rows;
    return n * rows_at_once - (last == groups - 1 ? missing : 0);
  }
  LS_DEVICE ThreadUnits units_of(const Block& block, int thread) const {
    const int in_group = thread / lanes;
    const std::int64_t channel = first_channel(block.x, thread);
    if (in_group >= rows_at_once || channel >= channels) return {0, 0, 0};
    const std::int64_t first = static_cast<std::int64_t>(block.y) * block_step * rows_at_once + in_group;
    const std::int64_t step = static_cast<std::int64_t>(group_step) * rows_at_once;
    int count = groups_of_block(block.y);
    if (count > 0 && first + (count - 1) * step >= rows) --count;  // the last group is shorter
    const std::int64_t row = from_the_end ? rows - 1 - first : first;
    return {row * channels + channel, (from_the_end ? -step : step) * channels, count};
  }
};

namespace detail {

// Lanes: as narrow as whole memory transactions allow (256 bytes of 16-bit values), since a wide tile means few rows per block
// and as many more partial sums.
inline ChannelTiles tiles_of(std::int64_t rows, std::int64_t channels, int width, int threads) {
  const std::int64_t units = channels / width, max_lanes = width == 1 ? 64 : 16;
  ChannelTiles t{};
  t.rows = rows;
  t.channels = channels;
  t.width = width;
  t.tiles = blocks_for(units, max_lanes);
  t.lanes = t.tiles == 0 ? 1 : static_cast<int>(blocks_for(units, t.tiles));
  t.rows_at_once = threads / t.lanes;
  LS_CHECK(rows / t.rows_at_once < std::numeric_limits<int>::max(), "too many rows");
  t.groups = static_cast<int>(blocks_for(rows, t.rows_at_once));
  return t;
}

}  // namespace detail

// Designed for the 132 multiprocessors of an H100 or H200; others compute the same with another balance.
constexpr int kMultiprocessors = 132;

// For sums over rows: as many blocks as run at the same time (`blocks_per_sm` of them on a multiprocessor), of at least 4 groups,
// which is what a thread has in flight; at least one row of blocks. Blocks take groups in turn, so that all of them sweep through
// memory together: from its end, where the kernel before has just been writing (the level-2 cache still holds that).
inline ChannelTiles reduction_tiles(std::int64_t rows, std::int64_t channels, int width, int blocks_per_sm) {
  constexpr std::int64_t kMinGroups = 4;
  ChannelTiles t = detail::tiles_of(rows, channels, width, kReductionThreads);
  const std::int64_t at_once = kMultiprocessors * blocks_per_sm / std::max<std::int64_t>(1, t.tiles);
  t.row_blocks = static_cast<int>(std::max<std::int64_t>(1, std::min(at_once, blocks_for(t.groups, kMinGroups))));
  t.block_step = 1;
  t.group_step = t.row_blocks;
  t.from_the_end = true;
  return t;
}

// For passes that write: blocks of 2, 4, ... 16 neighbouring groups (a thread has up to 4 in flight; 16 pay for reading the
// channels' vectors), from the beginning, where the sums have ended.
inline ChannelTiles apply_tiles(std::int64_t rows, std::int64_t channels, int width) {
  constexpr std::int64_t kWanted = 24 * kMultiprocessors, kMaxRowBlocks = 65535;
  ChannelTiles t = detail::tiles_of(rows, channels, width, kApplyThreads);
  const std::int64_t share = t.groups * t.tiles / kWanted, fours = std::min<std::int64_t>(16, blocks_for(share, 4) * 4);
  const std::int64_t each = std::max(share <= 2 ? 2 : fours, blocks_for(t.groups, kMaxRowBlocks));
  t.row_blocks = static_cast<int>(blocks_for(t.groups, each));
  t.block_step = static_cast<int>(each);
  t.group_step = 1;
  t.from_the_end = false;
  return t;
}

}  // namespace lockstep::cuda
