// Ranges never overlap, neighbours merge, and a step's worth of tensors needs little more than its peak.
// SPDX-License-Identifier: Apache-2.0
#include "core/range_allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "core/error.h"

namespace lockstep {
namespace {

struct Range {
  std::size_t offset, nbytes;
};

// The live ranges by address: the plainest judge of overlaps.
class Judge {
 public:
  bool add(const Range& range) {
    const std::size_t end = range.offset + range.nbytes;
    const auto next = live_.lower_bound(range.offset);
    if (next != live_.end() && next->first < end) return false;
    if (next != live_.begin() && std::prev(next)->second > range.offset) return false;
    live_[range.offset] = end;
    bytes_ += range.nbytes;
    peak_ = std::max(peak_, bytes_);
    return true;
  }
  void remove(const Range& range) {
    bytes_ -= range.nbytes;
    live_.erase(range.offset);
  }
  std::size_t peak() const { return peak_; }

 private:
  std::map<std::size_t, std::size_t> live_;  // begin -> end
  std::size_t bytes_ = 0, peak_ = 0;
};

TEST(RangeAllocator, RandomTracesNeverOverlapAndLeaveNothing) {
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    constexpr std::size_t kLimit = std::size_t{1} << 19;
    RangeAllocator ranges(kLimit);
    Judge judge;
    std::vector<Range> live;
    int refused = 0;
    for (int i = 0; i < 5000; ++i) {
      if (live.empty() || random() % 9 < 5) {
        const std::size_t nbytes = random() % (std::size_t{1} << (4 + random() % 14));
        const auto offset = ranges.allocate(nbytes);
        refused += !offset;
        if (!offset) continue;
        live.push_back({*offset, RangeAllocator::rounded(nbytes)});
        ASSERT_EQ(*offset % RangeAllocator::kAlignment, 0u);
        ASSERT_LE(live.back().offset + live.back().nbytes, kLimit);
        ASSERT_TRUE(judge.add(live.back())) << "seed " << seed << ", event " << i;
      } else {
        std::swap(live[random() % live.size()], live.back());
        judge.remove(live.back());
        ranges.release(live.back().offset, live.back().nbytes);
        live.pop_back();
      }
    }
    EXPECT_GT(refused, 0) << "the limit was not reached: the trace tests less than it should";
    std::shuffle(live.begin(), live.end(), random);
    for (const Range& range : live) ranges.release(range.offset, range.nbytes);
    EXPECT_EQ(ranges.gaps(), 1u) << "all gaps merge";
    EXPECT_EQ(ranges.allocate(kLimit), 0u) << "and everything can be had at once";
  }
}

TEST(RangeAllocator, TheJudgeSeesAnOverlap) {  // the control
  Judge judge;
  EXPECT_TRUE(judge.add({128, 128}));
  EXPECT_FALSE(judge.add({192, 64}));
  EXPECT_FALSE(judge.add({64, 128}));
  EXPECT_FALSE(judge.add({0, 512}));
  EXPECT_TRUE(judge.add({256, 64}));
}

TEST(RangeAllocator, WhatIsNotInUseCanNotBeReleased) {
  RangeAllocator ranges(1024);
  ASSERT_EQ(ranges.allocate(256), 0u);
  ASSERT_EQ(ranges.allocate(256), 256u);
  ranges.release(0, 256);
  EXPECT_THROW(ranges.release(0, 256), InternalError) << "twice";
  EXPECT_THROW(ranges.release(192, 128), InternalError) << "partly";
  EXPECT_THROW(ranges.release(448, 128), InternalError) << "beyond its end";
  EXPECT_THROW(ranges.release(960, 128), InternalError) << "beyond the limit";
  ranges.release(256, 256);
  EXPECT_EQ(ranges.gaps(), 1u);
}

TEST(RangeAllocator, TheLowestPlaceThatFitsIsTaken) {
  RangeAllocator ranges(4096);
  for (int i = 0; i < 4; ++i) ranges.allocate(512);
  ranges.release(512, 512);
  EXPECT_EQ(ranges.allocate(1024), 2048u);
  EXPECT_EQ(ranges.allocate(100), 512u);
  EXPECT_EQ(ranges.allocate(0), 640u) << "nothing takes a place too";
  EXPECT_EQ(ranges.allocate(5000), std::nullopt);
  EXPECT_EQ(ranges.allocate(~std::size_t{0}), std::nullopt);
  EXPECT_EQ(ranges.top(), 3072u);
}

// The lifetimes of a training step: forward keeps, and takes scratch; backward goes back through what was kept, with two
// gradients and scratch alive. Sizes shrink from stage to stage as a ResNet's, with small vectors in between.
TEST(RangeAllocator, AStepNeedsLittleMoreThanItsPeak) {
  RangeAllocator ranges(std::size_t{1} << 40);
  Judge judge;
  const auto take = [&](std::size_t nbytes) {
    const Range range{*ranges.allocate(nbytes), RangeAllocator::rounded(nbytes)};
    EXPECT_TRUE(judge.add(range));
    return range;
  };
  const auto give = [&](const Range& range) {
    judge.remove(range);
    ranges.release(range.offset, range.nbytes);
  };
  const auto layer_bytes = [](std::size_t i) { return std::size_t{51'380'224} >> (i / 12); };
  constexpr std::size_t kLayers = 48;
  for (int step = 0; step < 3; ++step) {
    std::vector<Range> kept;
    for (std::size_t i = 0; i < kLayers; ++i) {
      const Range scratch = take(layer_bytes(i) / 7 * (i % 3));
      kept.push_back(take(layer_bytes(i)));
      kept.push_back(take(256 << (i / 12)));
      give(scratch);
    }
    Range gradient = take(layer_bytes(kLayers - 1));
    for (std::size_t i = kLayers; i-- > 0;) {
      const Range scratch = take(layer_bytes(i) / 5 * (i % 4)), next = take(layer_bytes(i > 0 ? i - 1 : 0));
      give(gradient);
      give(scratch);
      for (int k = 0; k < 2; ++k) {
        give(kept.back());
        kept.pop_back();
      }
      gradient = next;
    }
    give(gradient);
  }
  EXPECT_LE(static_cast<double>(ranges.top()), 1.03 * static_cast<double>(judge.peak()));
  EXPECT_EQ(ranges.gaps(), 1u);
}

}  // namespace
}  // namespace lockstep
