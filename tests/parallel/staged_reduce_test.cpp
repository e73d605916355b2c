// Tensors on a device, through real MPI processes that reduce in the host's memory: the bits of one rank.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "cuda/cuda_backend.h"
#include "distributed/device_choice.h"
#include "parallel_main.h"
#include "tests/distributed/reducer_steps.h"

namespace lockstep {
namespace {

using testing::eager_steps;
using testing::small_buckets;
using testing::world;

TEST(MpiDevice, RanksMayShareOneDeviceAndHaveTheBitsOfOneRank) {
  Accelerator& accelerator = start_accelerator(pick_device(world(), 1));
  world().use_device(accelerator.device(), "the only one");
  EXPECT_FALSE(world().on_device());
  const auto alone = make_solo_communicator();
  for (const std::int64_t shards : {4, 12})
    EXPECT_EQ(eager_steps(world(), &accelerator, small_buckets(shards), 3), eager_steps(*alone, nullptr, small_buckets(shards), 3)) << shards;
}

TEST(MpiDevice, EveryOrderAndWireHasTheBitsOfTensorsOnTheHost) {
  Accelerator& accelerator = start_accelerator(0);
  for (const ReduceOrder order : {ReduceOrder::kFixedTree, ReduceOrder::kFast})
    for (const WireFormat wire : {WireFormat::kNative, WireFormat::kBF16}) {
      const ReducerOptions options = small_buckets(8, {.order = order, .wire = wire});
      EXPECT_EQ(eager_steps(world(), &accelerator, options, 2), eager_steps(world(), nullptr, options, 2));
    }
}

}  // namespace
}  // namespace lockstep
