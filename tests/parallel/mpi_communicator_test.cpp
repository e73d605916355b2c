// The claims of tests/distributed through real MPI processes: N ranks have the bits of one rank.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>

#include "distributed/gradient_reducer.h"
#include "distributed/norm_sync_group.h"
#include "distributed/replica_check.h"
#include "distributed_test_util.h"
#include "parallel_main.h"

namespace lockstep {
namespace {

using testing::shard_values;
using testing::shares_memory;
using testing::tensor_of;
using testing::world;

std::uint64_t hash_of(const Tensor& tensor) {
  std::uint64_t hash = 1;
  for (const auto* byte = static_cast<const unsigned char*>(tensor.ptr()); byte != static_cast<const unsigned char*>(tensor.ptr()) + tensor.nbytes(); ++byte)
    hash = (hash ^ *byte) * 0x100000001b3u;
  return hash;
}

TEST(Mpi, KnowsItsRanks) {
  EXPECT_EQ(world().transport(), shares_memory() ? "mpi, shared memory" : "mpi");
  EXPECT_GE(world().size(), 2) << "run this under mpirun with 2 or 4 ranks";
  EXPECT_EQ(world().local_rank(), world().rank());  // all on this host
  for (int r = 0; r < world().size(); ++r) EXPECT_EQ(world().host_of(r), world().host_of(0));
}

TEST(Mpi, SmallOperations) {
  const auto values = world().all_gather_values(world().rank() * 10);
  for (int r = 0; r < world().size(); ++r) EXPECT_EQ(values[static_cast<std::size_t>(r)], r * 10);
  for (int root = 0; root < world().size(); ++root)
    EXPECT_EQ(world().broadcast_string(world().rank() == root ? std::string(100000, 'w') : "", root), std::string(100000, 'w'));
  const auto strings = world().all_gather_strings("rank " + std::to_string(world().rank()));
  EXPECT_EQ(strings.back(), "rank " + std::to_string(world().size() - 1));
}

TEST(Mpi, FixedTreeHasTheDocumentedBits) {
  for (const std::int64_t n : {1, 3, 1000, 2049, 65537, 1000003}) {
    const auto want = testing::tree_sum<float>(0, world().size(), [&](std::int64_t r) { return shard_values<float>(r, 0, n); });
    for (Tensor buffer : {world().make_buffer(Shape{n}, DType::kF32), Tensor::empty(Shape{n}, DType::kF32)}) {
      std::ranges::copy(shard_values<float>(world().rank(), 0, n), buffer.host<float>().begin());
      world().wait(world().all_reduce_async(buffer, {}, "tree"));
      EXPECT_TRUE(testing::same_bits<float>(buffer.host<float>(), want)) << n;
    }
  }
}

TEST(Mpi, FastAndBF16AreTheSameOnAllRanksAndExactWhereSumsAreExact) {
  for (const ReduceOrder order : {ReduceOrder::kFixedTree, ReduceOrder::kFast})
    for (const WireFormat wire : {WireFormat::kNative, WireFormat::kBF16}) {
      const ReduceOptions options{.order = order, .wire = wire};
      Tensor rough = tensor_of(shard_values<float>(world().rank(), 1, 300001));
      world().wait(world().all_reduce_async(rough, options, "rough"));
      for (const std::uint64_t hash : world().all_gather_values(hash_of(rough))) EXPECT_EQ(hash, hash_of(rough));
      Tensor exact = tensor_of(std::vector<float>(300001, static_cast<float>(world().rank() + 1)));
      world().wait(world().all_reduce_async(exact, options, "exact"));
      const float sum = static_cast<float>(world().size() * (world().size() + 1) / 2);
      EXPECT_EQ(std::ranges::count(exact.host<float>(), sum), 300001);
    }
}

// One step of `shards` over `comm`; returns the hashes of all results.
std::vector<std::uint64_t> reduce_step(Communicator& comm, const ReducerOptions& options) {
  const std::vector<ReduceEntry> entries = {{"conv", Shape{64, 3, 7, 7}}, {"fc", Shape{100, 300}}, {"bias", Shape{10}},
                                            {"mean", Shape{64}, DType::kF64, EntryKind::kObservation}};
  GradientReducer reducer(comm, entries, options);
  std::vector<std::uint64_t> hashes;
  for (int step = 0; step < 3; ++step) {
    reducer.begin_step(step);
    for (int shard = 0; shard < reducer.local_shards(); ++shard)
      for (int id = 3; id >= 0; --id) {
        Tensor gradient = reducer.gradient(shard, id);
        const std::int64_t global = comm.rank() * reducer.local_shards() + shard + 100 * step;
        if (gradient.dtype() == DType::kF64)
          std::ranges::copy(shard_values<double>(global, id, gradient.numel()), gradient.host<double>().begin());
        else
          std::ranges::copy(shard_values<float>(global, id, gradient.numel()), gradient.host<float>().begin());
        reducer.mark_ready(shard, id);
      }
    const ReduceReport report = reducer.finish();
    EXPECT_EQ(report.buckets.size(), reducer.plan().buckets.size());
    for (int id = 0; id < 4; ++id) hashes.push_back(hash_of(reducer.result(id)));
  }
  return hashes;
}

TEST(Mpi, ReducerHasTheBitsOfOneRank) {
  for (const std::int64_t shards : {4, 8, 12}) {
    ReducerOptions options{.shards = shards, .first_bucket_bytes = 4096, .bucket_bytes = 1 << 16};
    const auto alone = make_solo_communicator();
    EXPECT_EQ(reduce_step(world(), options), reduce_step(*alone, options)) << shards;
    options.order = ReduceOrder::kFast;  // negative control
    const bool differs = reduce_step(world(), options) != reduce_step(*alone, options);
    EXPECT_TRUE(differs || world().size() == 2) << shards;  // a ring of two adds the same two values
  }
}

TEST(Mpi, NormSyncHasTheBitsOfOneRank) {
  const int shards = 8;
  const auto meet = [&](Communicator& comm) {
    ShardCrew crew(shards / comm.size());
    NormSyncGroup groups(comm, crew, shards, shards);
    std::uint64_t hash = 0;
    crew.run([&](int shard) {
      const std::int64_t global = comm.rank() * crew.shards() + shard;
      for (int layer = 0; layer < 10; ++layer) {
        Tensor mean = tensor_of(shard_values<float>(global, layer, 33)), m2 = tensor_of(shard_values<float>(global, layer + 50, 33));
        const double count = groups.shard(shard).merge_moments(static_cast<double>(5 + global), mean, m2);
        EXPECT_EQ(count, 5 * shards + shards * (shards - 1) / 2);
        groups.shard(shard).sum(m2);
        if (shard == 0) hash = hash * 31 + hash_of(mean) + 7 * hash_of(m2);
      }
    });
    return hash;
  };
  const auto alone = make_solo_communicator();
  EXPECT_EQ(meet(world()), meet(*alone));
}

TEST(Mpi, ReplicaCheckNamesTheRank) {
  std::vector<NamedHash> hashes = {{"conv1.weight", 1}, {"fc.bias", 2}};
  check_replicas(world(), hashes, 1);
  if (world().rank() == 1) hashes[1].hash = 3;
  const std::string message = testing::message_of<UserError>([&] { check_replicas(world(), hashes, 2); });
  EXPECT_NE(message.find("'fc.bias' differs on rank"), std::string::npos) << message;
}

TEST(Mpi, ManyOperationsOfAllKindsKeepTheirOrder) {
  std::vector<Tensor> buffers;
  Ticket last = 0;
  for (int i = 0; i < 400; ++i) {
    buffers.push_back(tensor_of(std::vector<float>(static_cast<std::size_t>(1 + i * 97 % 5000), static_cast<float>(i))));
    last = world().all_reduce_async(buffers.back(), {.order = i % 3 == 0 ? ReduceOrder::kFast : ReduceOrder::kFixedTree}, "many");
    if (i % 50 == 0) world().barrier();
  }
  world().wait(last);
  for (int i = 0; i < 400; ++i)
    EXPECT_EQ(buffers[static_cast<std::size_t>(i)].host<float>()[0], static_cast<float>(i * world().size()));
}

}  // namespace
}  // namespace lockstep
