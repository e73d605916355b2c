// PartObserver: each part's gradients are seen once, whole and apart from the others', whatever order shards come in.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "distributed/gradient_reducer.h"
#include "distributed/shard_tree.h"
#include "distributed_test_util.h"

namespace lockstep {
namespace {

using testing::message_of;
using testing::shard_values;
using testing::tree_sum;

static_assert(is_tree_node(8, 1) && is_tree_node(8, 2) && is_tree_node(8, 4) && is_tree_node(8, 8));
static_assert(!is_tree_node(8, 3) && !is_tree_node(8, 16) && !is_tree_node(8, 0) && !is_tree_node(4, 8));
static_assert(is_tree_node(12, 1) && is_tree_node(12, 3) && is_tree_node(12, 6) && is_tree_node(12, 12));
static_assert(!is_tree_node(12, 2) && !is_tree_node(12, 4) && !is_tree_node(20, 4));
static_assert(is_tree_node(5, 5) && is_tree_node(5, 1));

std::vector<ReduceEntry> entries() {
  return {{"a", Shape{50}}, {"b", Shape{7, 3}}, {"c", Shape{200}}, {"mean", Shape{7}, DType::kF32, EntryKind::kObservation},
          {"late", Shape{2}, DType::kF64, EntryKind::kLateTotal}};
}

// One step of all shards on one rank; what the observer saw, by (entry, first shard).
std::map<std::pair<int, int>, std::vector<float>> seen_parts(int shards, int part, bool interleaved) {
  const auto comm = make_solo_communicator();
  GradientReducer reducer(*comm, entries(), {.shards = shards, .first_bucket_bytes = 64, .bucket_bytes = 1024});
  std::map<std::pair<int, int>, std::vector<float>> seen;
  reducer.observe({.shards = part, .seen = [&](int bucket, int first) {
                     for (const BucketSlice& slice : reducer.plan().buckets[static_cast<std::size_t>(bucket)].slices) {
                       const Tensor gradient = reducer.part_gradient(first, slice.entry);
                       const auto values = std::as_const(gradient).host<float>();
                       EXPECT_TRUE(seen.try_emplace({slice.entry, first}, values.begin(), values.end()).second) << "seen twice";
                     }
                   }});
  const int count = static_cast<int>(entries().size());
  for (int step = 0; step < 2; ++step) {
    seen.clear();
    reducer.begin_step(step);
    for (int i = 0; i < count * shards; ++i) {
      const int shard = interleaved ? (i % shards * 5 + i / shards) % shards : i / count;
      const int id = count - 1 - (interleaved ? i / shards : i % count);
      Tensor gradient = reducer.gradient(shard, id);
      if (gradient.dtype() == DType::kF32) std::ranges::copy(shard_values<float>(shard, id, gradient.numel()), gradient.host<float>().begin());
      if (gradient.dtype() == DType::kF64) gradient.host<double>()[0] = gradient.host<double>()[1] = shard;
      reducer.mark_ready(shard, id);
    }
    EXPECT_EQ(reducer.finish().buckets.size(), reducer.plan().buckets.size());
    EXPECT_EQ(reducer.result(4).host<double>()[0], shards * (shards - 1) / 2) << "late totals are sums";
  }
  return seen;
}

TEST(PartObserver, SeesEachPartsSumOnce) {
  for (const auto& [shards, part] : std::vector<std::pair<int, int>>{{1, 1}, {8, 1}, {8, 2}, {8, 8}, {12, 1}, {12, 3}, {12, 6}})
    for (const bool interleaved : {false, true}) {
      const auto seen = seen_parts(shards, part, interleaved);
      EXPECT_EQ(seen.size(), static_cast<std::size_t>(3 * shards / part)) << "gradients only";
      for (const auto& [key, values] : seen) {
        const auto numel = static_cast<std::int64_t>(values.size());
        const auto want = tree_sum<float>(key.second, part, [&](std::int64_t s) { return shard_values<float>(s, key.first, numel); });
        EXPECT_EQ(testing::count_different<float>(values, want), 0) << shards << " shards, parts of " << part << ", entry " << key.first;
      }
    }
}

TEST(PartObserver, RefusesPartsThatAreNeverSummedAndLateRegistration) {
  const auto comm = make_solo_communicator();
  GradientReducer reducer(*comm, entries(), {.shards = 12});
  EXPECT_NE(message_of<InternalError>([&] { reducer.observe({.shards = 4, .seen = [](int, int) {}}); }).find("parts of 4 of 12"), std::string::npos);
  reducer.observe({.shards = 3, .seen = [](int, int) {}});
  EXPECT_NE(message_of<InternalError>([&] { reducer.observe({.shards = 3, .seen = [](int, int) {}}); }).find("a second time"), std::string::npos);
  EXPECT_NE(message_of<InternalError>([&] { reducer.part_gradient(0, 0); }).find("is not there"), std::string::npos);
}

}  // namespace
}  // namespace lockstep
