// The device's memory pools: addresses, reuse, statistics, running out, page-locked blocks, and pools for recorded work.
// SPDX-License-Identifier: Apache-2.0
#include "cuda/device_pool.h"

#include <cstdint>
#include <set>

#include "core/error.h"
#include "tests/cuda/device_test_util.h"

namespace lockstep {
namespace {

using cuda::DevicePool;

class DevicePoolTest : public ::testing::Test {
 protected:
  DevicePoolTest() { test_accelerator(); }
};

TEST_F(DevicePoolTest, BlocksAreAlignedAndDoNotOverlap) {
  DevicePool pool(0);
  const Tensor a = Tensor::empty_in(pool, {1}, DType::kU8), b = Tensor::empty_in(pool, {257}, DType::kU8), c = Tensor::empty_in(pool, {0}, DType::kF32);
  const auto address = [](const Tensor& t) { return reinterpret_cast<std::uintptr_t>(t.ptr()); };
  for (const Tensor* tensor : {&a, &b, &c}) EXPECT_EQ(address(*tensor) % 256, 0u);
  EXPECT_EQ(address(b) - address(a), 256u);
  EXPECT_EQ(address(c) - address(b), 512u);
  EXPECT_EQ(pool.stats().in_use_bytes, 4 * 256u);
  EXPECT_EQ(a.device(), gpu());
}

TEST_F(DevicePoolTest, TheLowestPlaceIsUsedAgainAndAWarmRunTakesNothingFromTheSystem) {
  DevicePool pool(0);
  const auto run = [&] {
    Tensor a = Tensor::empty_in(pool, {1000}, DType::kF32), b = Tensor::empty_in(pool, {5000}, DType::kF32);
    const void* at = a.ptr();
    a = Tensor();
    a = Tensor::empty_in(pool, {900}, DType::kF32);
    EXPECT_EQ(a.ptr(), at);
  };
  run();
  const PoolStats cold = pool.stats();
  run();
  EXPECT_EQ(pool.stats().system_allocations, cold.system_allocations);
  EXPECT_EQ(pool.stats().reserved_bytes, cold.reserved_bytes);
  EXPECT_EQ(pool.stats().in_use_bytes, 0u);
  EXPECT_GE(cold.peak_bytes, 24000u);
  pool.reset_peak();
  EXPECT_EQ(pool.stats().peak_bytes, 0u);
}

TEST_F(DevicePoolTest, MoreThanTheGpuHasIsAnErrorThatSaysHowMuchThereIs) {
  DevicePool pool(0);
  const Tensor kept = Tensor::empty_in(pool, {1024}, DType::kU8);
  const auto too_many = static_cast<std::int64_t>(cuda_report().gpus[0].memory_bytes);
  for (const std::int64_t nbytes : {too_many, 16 * too_many}) {
    try {
      Tensor::empty_in(pool, {nbytes}, DType::kU8);
      FAIL() << nbytes << " bytes were given";
    } catch (const EnvironmentError& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("cuda:0: out of GPU memory: wanted"), std::string::npos) << text;
      EXPECT_NE(text.find("1024 bytes in use"), std::string::npos) << text;
      EXPECT_NE(text.find("lower shard_batch"), std::string::npos) << text;
    }
  }
  const Tensor after = Tensor::empty_in(pool, {1024}, DType::kU8);  // nothing was lost
  EXPECT_EQ(pool.stats().in_use_bytes, 2048u);
}

TEST_F(DevicePoolTest, PageLockedBlocksAreKeptBySize) {
  MemoryPool& pool = test_accelerator().pinned_pool();
  const void* first = nullptr;
  {
    const Tensor a = Tensor::empty_in(pool, {12345}, DType::kF32);
    first = a.ptr();
  }
  const std::uint64_t allocations = pool.stats().system_allocations;
  const Tensor a = Tensor::empty_in(pool, {12345}, DType::kF32);
  EXPECT_EQ(a.ptr(), first);
  EXPECT_EQ(pool.stats().system_allocations, allocations);
  const Tensor other = Tensor::empty_in(pool, {54321}, DType::kF32);
  EXPECT_NE(other.ptr(), first);
  EXPECT_EQ(pool.stats().system_allocations, allocations + 1);
}

TEST_F(DevicePoolTest, AScopeTakesThisThreadsMemoryFromItsPool) {
  const std::unique_ptr<MemoryPool> pool = test_accelerator().make_pool();
  const std::size_t before = pool_of(gpu()).stats().in_use_bytes;
  {
    const PoolScope scope(*pool);
    const Tensor tensor = empty_on_gpu({64}, DType::kF32);
    EXPECT_EQ(pool->stats().in_use_bytes, 256u);
    EXPECT_EQ(pool_of(gpu()).stats().in_use_bytes, pool->stats().in_use_bytes);
    const Tensor host = Tensor::empty({64}, DType::kF32);  // other devices' memory as always
    EXPECT_EQ(host.device(), Device{});
  }
  EXPECT_EQ(pool->stats().in_use_bytes, 0u);
  EXPECT_EQ(pool_of(gpu()).stats().in_use_bytes, before);
}

}  // namespace
}  // namespace lockstep
