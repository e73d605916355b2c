// Tensors, their layout, and the pool that they come from.
// SPDX-License-Identifier: Apache-2.0
#include "core/tensor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <thread>
#include <vector>

#include "core/error.h"

namespace lockstep {
namespace {

TEST(Tensor, CopiesShareAndClonesDoNot) {
  Tensor a = Tensor::zeros({2, 3}, DType::kF32);
  EXPECT_FALSE(a.shares_storage());
  Tensor b = a;
  EXPECT_TRUE(a.shares_storage() && b.shares_storage());
  b.host<float>()[0] = 5;
  EXPECT_EQ(a.host<float>()[0], 5);
  const Tensor c = a.clone();
  EXPECT_FALSE(c.shares_storage());
  a.host<float>()[0] = 6;
  EXPECT_EQ(c.host<float>()[0], 5);
  b = Tensor();
  EXPECT_FALSE(a.shares_storage());
}

TEST(Tensor, MovingLeavesNothingBehind) {
  Tensor a = Tensor::zeros({4}, DType::kI64);
  const Tensor b = std::move(a);
  EXPECT_FALSE(a);  // NOLINT: what a moved-from tensor holds is promised
  EXPECT_TRUE(b);
  EXPECT_FALSE(b.shares_storage());
}

TEST(Tensor, ViewsStartWhereAskedAndAreChecked) {
  Tensor a = Tensor::zeros({16}, DType::kF64);
  std::iota(a.host<double>().begin(), a.host<double>().end(), 0.0);
  const Tensor b = a.view({2, 2}, DType::kF64, 3 * sizeof(double));
  EXPECT_EQ(b.host<double>()[0], 3);
  EXPECT_EQ(b.view({2}, DType::kF64, 2 * sizeof(double)).host<double>()[0], 5) << "offsets add up";
  EXPECT_THROW(a.view({17}, DType::kF64), InternalError);
  EXPECT_THROW(a.view({1}, DType::kF64, 16 * sizeof(double)), InternalError);
}

TEST(Tensor, TheWrongElementTypeIsCaught) {
  Tensor a = Tensor::zeros({2}, DType::kF32);
  EXPECT_THROW((void)a.host<double>(), InternalError);
  const View view = a;
  EXPECT_THROW((void)view.data<std::int32_t>(), InternalError);
  EXPECT_NO_THROW((void)view.data<float>());
}

TEST(Layout, ChannelsLastAndBack) {
  const Shape shape{2, 3, 2, 2};
  std::vector<int> row_major(24), channels_last(24), back(24);
  std::iota(row_major.begin(), row_major.end(), 0);
  row_major_to_channels_last(row_major.data(), channels_last.data(), shape, sizeof(int));
  for (int n = 0; n < 2; ++n)
    for (int c = 0; c < 3; ++c)
      for (int pixel = 0; pixel < 4; ++pixel)
        EXPECT_EQ(channels_last[static_cast<std::size_t>((n * 4 + pixel) * 3 + c)], (n * 3 + c) * 4 + pixel);
  channels_last_to_row_major(channels_last.data(), back.data(), shape, sizeof(int));
  EXPECT_EQ(back, row_major);
}

TEST(Layout, ElementsOfAnyWidthMoveWhole) {
  const Shape shape{1, 2, 1, 3};
  const std::vector<std::uint8_t> bytes{0, 1, 2, 3, 4, 5};
  std::vector<std::uint8_t> moved(6);
  row_major_to_channels_last(bytes.data(), moved.data(), shape, 1);
  EXPECT_EQ(moved, (std::vector<std::uint8_t>{0, 3, 1, 4, 2, 5}));
  const std::vector<double> wide{0, 1, 2, 3, 4, 5};
  std::vector<double> wide_moved(6);
  row_major_to_channels_last(wide.data(), wide_moved.data(), shape, 8);
  EXPECT_EQ(wide_moved, (std::vector<double>{0, 3, 1, 4, 2, 5}));
}

TEST(Layout, OtherRanksAreCopiedAsTheyAre) {
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  std::vector<float> copy(6);
  row_major_to_channels_last(values.data(), copy.data(), {2, 3}, sizeof(float));
  EXPECT_EQ(copy, values);
}

TEST(Pool, AWarmLoopAsksTheSystemForNothing) {
  const auto loop = [] {
    std::vector<Tensor> tensors;
    for (std::int64_t i = 0; i < 50; ++i) tensors.push_back(Tensor::empty({i * 37000 + 1}, DType::kF64));
  };
  const std::uint64_t cold = cpu_pool().stats().system_allocations;
  loop();
  const PoolStats warm = cpu_pool().stats();
  EXPECT_GT(warm.system_allocations, cold) << "the control: a cold loop does ask";
  for (int i = 0; i < 10; ++i) loop();
  const PoolStats after = cpu_pool().stats();
  EXPECT_EQ(after.system_allocations, warm.system_allocations);
  EXPECT_EQ(after.reserved_bytes, warm.reserved_bytes);
  EXPECT_EQ(after.in_use_bytes, warm.in_use_bytes);
}

TEST(Pool, BlocksAreAlignedDisjointAndAsLargeAsWanted) {
  std::vector<Storage*> blocks;
  for (std::size_t nbytes = 0; nbytes < 70000; nbytes = nbytes * 9 / 8 + 13) {
    Storage* block = cpu_pool().allocate(nbytes);
    blocks.push_back(block);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block->data) % 64, 0u);
    EXPECT_EQ(block->nbytes, nbytes);
    std::fill_n(block->data, block->nbytes, static_cast<std::byte>(blocks.size()));
  }
  for (std::size_t i = 0; i < blocks.size(); ++i)
    EXPECT_TRUE(std::all_of(blocks[i]->data, blocks[i]->data + blocks[i]->nbytes,
                            [&](std::byte b) { return b == static_cast<std::byte>(i + 1); }));
  for (Storage* block : blocks) cpu_pool().release(block);
}

TEST(Pool, PeakIsTheHighestUseSinceItsReset) {
  cpu_pool().reset_peak();
  const std::size_t before = cpu_pool().stats().in_use_bytes;
  { const Tensor big = Tensor::empty({1 << 16}, DType::kU8); }
  EXPECT_EQ(cpu_pool().stats().peak_bytes, before + (1 << 16));
  EXPECT_EQ(cpu_pool().stats().in_use_bytes, before);
  cpu_pool().reset_peak();
  EXPECT_EQ(cpu_pool().stats().peak_bytes, before);
}

TEST(Pool, IsSafeFromManyThreads) {
  const std::size_t before = cpu_pool().stats().in_use_bytes;
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t, &wrong] {
      for (int i = 0; i < 2000; ++i) {
        Tensor tensor = Tensor::empty({1 + i % 7 * 20}, DType::kI32);
        for (auto& value : tensor.host<std::int32_t>()) value = t;
        for (const auto value : tensor.host<std::int32_t>()) wrong[static_cast<std::size_t>(t)] += value != t;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
  EXPECT_EQ(cpu_pool().stats().in_use_bytes, before);
}

}  // namespace
}  // namespace lockstep
