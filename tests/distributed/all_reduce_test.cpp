// All-reduce over ranks that are threads: bits of the fixed tree, exact sums, the error of bf16 on the wire; by messages,
// in shared memory, and both at once.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "distributed/local_group.h"
#include "distributed_test_util.h"

namespace lockstep {
namespace {

using testing::shard_values;
using testing::tensor_of;

// Sizes around everything that the algorithms cut at: one element, fewer than ranks, odd, small/large, several chunks.
const std::vector<std::int64_t> kSizes = {1, 3, 17, 1000, 2048, 2049, 65537, 300001};

// How ranks reach each other.
struct Placement {
  bool share_memory = true;
  int ranks_per_host = 0;
};
const std::vector<Placement> kPlacements = {{.share_memory = false}, {}, {.ranks_per_host = 2}, {.ranks_per_host = 3}, {.ranks_per_host = 4}};

template <class T>
std::vector<std::vector<T>> reduce(int ranks, std::int64_t n, const ReduceOptions& options,
                                   const std::function<std::vector<T>(int)>& input, const Placement& placement = {}) {
  // Small chunks: many in flight.
  LocalGroup group(ranks, {.chunk_bytes = 16 << 10, .share_memory = placement.share_memory}, placement.ranks_per_host);
  std::vector<std::vector<T>> results(static_cast<std::size_t>(ranks));
  group.run([&](Communicator& comm) {
    Tensor buffer = tensor_of(input(comm.rank()));
    EXPECT_EQ(buffer.numel(), n);
    if (n % 2 == 1) {  // where peers see it; other sizes are copied there
      Tensor seen = comm.make_buffer(Shape{n}, buffer.dtype());
      std::memcpy(seen.ptr(), buffer.ptr(), buffer.nbytes());
      buffer = seen;
    }
    comm.wait(comm.all_reduce_async(buffer, options, "test"));
    const auto values = buffer.host<T>();
    results[static_cast<std::size_t>(comm.rank())].assign(values.begin(), values.end());
  });
  return results;
}

template <class T>
void expect_tree_bits(int ranks, const Placement& placement) {
  for (const std::int64_t n : kSizes) {
    const auto results = reduce<T>(ranks, n, {}, [&](int rank) { return shard_values<T>(rank, 0, n); }, placement);
    const auto want = testing::tree_sum<T>(0, ranks, [&](std::int64_t r) { return shard_values<T>(r, 0, n); });
    for (int r = 0; r < ranks; ++r)
      EXPECT_TRUE(testing::same_bits<T>(results[static_cast<std::size_t>(r)], want)) << ranks << " ranks, rank " << r << ", n " << n;
  }
}

TEST(AllReduce, FixedTreeHasTheDocumentedBitsF32) {
  for (const Placement& placement : kPlacements)
    for (const int ranks : {1, 2, 4, 8}) expect_tree_bits<float>(ranks, placement);
}

TEST(AllReduce, FixedTreeHasTheDocumentedBitsF64) {
  for (const Placement& placement : kPlacements)
    for (const int ranks : {2, 4}) expect_tree_bits<double>(ranks, placement);
}

TEST(AllReduce, EveryOrderAndWireHasTheBitsOfMessagesInSharedMemoryToo) {
  for (const int ranks : {2, 3, 4, 8})
    for (const ReduceOrder order : {ReduceOrder::kFixedTree, ReduceOrder::kFast})
      for (const WireFormat wire : {WireFormat::kNative, WireFormat::kBF16}) {
        if (order == ReduceOrder::kFixedTree && ranks == 3) continue;
        for (const std::int64_t n : {1, 16, 2049, 100003}) {
          const ReduceOptions options{.order = order, .wire = wire, .divisor = 12};
          const auto reduce_at = [&](const Placement& placement) {
            return reduce<float>(ranks, n, options, [&](int rank) { return shard_values<float>(rank, 3, n); }, placement);
          };
          const auto messages = reduce_at(kPlacements[0]);
          for (const Placement& placement : kPlacements)
            EXPECT_EQ(reduce_at(placement), messages) << ranks << " ranks, " << placement.ranks_per_host << " a host, n " << n;
        }
      }
}

TEST(AllReduce, FastIsTheSameOnAllRanksButNotTheTree) {
  for (const int ranks : {3, 4, 5, 8}) {
    const std::int64_t n = 100003;
    const ReduceOptions fast{.order = ReduceOrder::kFast};
    const auto results = reduce<float>(ranks, n, fast, [&](int rank) { return shard_values<float>(rank, 0, n); });
    for (const auto& result : results) EXPECT_TRUE(testing::same_bits<float>(result, results[0]));
    const auto tree = testing::tree_sum<float>(0, ranks, [&](std::int64_t r) { return shard_values<float>(r, 0, n); });
    // Negative control: another order must be visible in many elements, or the test above proves nothing.
    EXPECT_GT(testing::count_different<float>(results[0], tree), n / 100) << ranks << " ranks";
  }
}

TEST(AllReduce, ExactSumsAreExactInEveryOrder) {
  for (const int ranks : {2, 3, 4, 5, 6, 8})
    for (const ReduceOrder order : {ReduceOrder::kFixedTree, ReduceOrder::kFast})
      for (const WireFormat wire : {WireFormat::kNative, WireFormat::kBF16}) {
        if (order == ReduceOrder::kFixedTree && (ranks & (ranks - 1)) != 0) continue;
        const std::int64_t n = 40001;
        // Sums up to 8 * 31: at most 8 significant bits, exact in bf16 too.
        const auto value = [](int rank, std::int64_t i) { return static_cast<float>((i * 7 + rank * 3) % 32); };
        const auto results = reduce<float>(ranks, n, {.order = order, .wire = wire}, [&](int rank) {
          std::vector<float> values(static_cast<std::size_t>(n));
          for (std::int64_t i = 0; i < n; ++i) values[static_cast<std::size_t>(i)] = value(rank, i);
          return values;
        });
        std::int64_t wrong = 0;
        for (const auto& result : results)
          for (std::int64_t i = 0; i < n; ++i) {
            float sum = 0;
            for (int rank = 0; rank < ranks; ++rank) sum += value(rank, i);
            wrong += result[static_cast<std::size_t>(i)] != sum;
          }
        EXPECT_EQ(wrong, 0) << ranks << " ranks";
      }
}

TEST(AllReduce, BF16WireStaysWithinItsBoundAndIsTheSameEverywhere) {
  for (const int ranks : {2, 3, 4, 8})
    for (const ReduceOrder order : {ReduceOrder::kFixedTree, ReduceOrder::kFast}) {
      if (order == ReduceOrder::kFixedTree && ranks == 3) continue;
      const std::int64_t n = 70001;
      const auto results = reduce<float>(ranks, n, {.order = order, .wire = WireFormat::kBF16},
                                         [&](int rank) { return shard_values<float>(rank, 1, n); });
      std::vector<std::vector<float>> inputs;
      for (int r = 0; r < ranks; ++r) inputs.push_back(shard_values<float>(r, 1, n));
      const int hops = order == ReduceOrder::kFast ? ranks - 1 : static_cast<int>(std::log2(ranks));
      double worst = 0;  // error / bound
      for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
        double sum = 0, magnitude = 0;
        for (const auto& input : inputs) {
          sum += input[i];
          magnitude += std::abs(input[i]);
        }
        // The documented bound, and the f32 additions' own error.
        const double bound = ((hops + 1) * dtype_epsilon(DType::kBF16) + ranks * dtype_epsilon(DType::kF32)) * magnitude;
        worst = std::max(worst, std::abs(results[0][i] - sum) / bound);
        EXPECT_EQ(static_cast<float>(bf16(results[0][i])), results[0][i]);
      }
      EXPECT_LE(worst, 1.0);
      EXPECT_GT(worst, 0.1) << "the bound is so wide that it tests nothing";
      for (const auto& result : results) EXPECT_TRUE(testing::same_bits<float>(result, results[0]));
    }
}

TEST(AllReduce, DividesOnceAfterTheSum) {
  for (const int ranks : {1, 2, 4})
    for (const std::int64_t divisor : {8, 12}) {
      const auto results = reduce<float>(ranks, 5000, {.divisor = divisor}, [&](int r) { return shard_values<float>(r, 2, 5000); });
      auto want = testing::tree_sum<float>(0, ranks, [&](std::int64_t r) { return shard_values<float>(r, 2, 5000); });
      for (float& value : want) value /= static_cast<float>(divisor);
      for (const auto& result : results) EXPECT_TRUE(testing::same_bits<float>(result, want));
    }
}

TEST(AllReduce, ManyOperationsInFlightKeepTheirOrder) {
  LocalGroup group(4);
  group.run([](Communicator& comm) {
    std::vector<Tensor> buffers;
    std::vector<Ticket> tickets;
    for (int i = 0; i < 600; ++i) {  // more than the queue holds
      buffers.push_back(tensor_of(std::vector<float>(static_cast<std::size_t>(1 + i % 50), static_cast<float>(comm.rank() + i))));
      tickets.push_back(comm.all_reduce_async(buffers.back(), {}, "many"));
      if (i % 100 == 99) comm.barrier();
    }
    comm.wait(tickets.back());
    for (int i = 0; i < 600; ++i) EXPECT_EQ(buffers[static_cast<std::size_t>(i)].host<float>()[0], static_cast<float>(6 + 4 * i));
  });
}

TEST(AllReduce, RefusesATreeOverThreeRanks) {
  LocalGroup group(3);
  const std::string message = testing::message_of<UserError>([&] {
    group.run([](Communicator& comm) { comm.all_reduce_async(Tensor::zeros(Shape{4}, DType::kF32), {}, "three"); });
  });
  EXPECT_NE(message.find("3 ranks"), std::string::npos) << message;
  EXPECT_NE(message.find("FAST"), std::string::npos) << message;
}

TEST(SmallOperations, GatherBroadcastAndStringsAtAnyNumberOfRanks) {
  for (const int ranks : {1, 2, 3, 4, 7, 8}) {
    LocalGroup group(ranks);
    group.run([&](Communicator& comm) {
      const auto values = comm.all_gather_values(std::int64_t{100} + comm.rank());
      for (int r = 0; r < ranks; ++r) EXPECT_EQ(values[static_cast<std::size_t>(r)], 100 + r);
      const auto strings = comm.all_gather_strings(std::string(static_cast<std::size_t>(comm.rank()) * 3, 'x') + "end");
      for (int r = 0; r < ranks; ++r) EXPECT_EQ(strings[static_cast<std::size_t>(r)].size(), static_cast<std::size_t>(3 * r + 3));
      for (int root = 0; root < ranks; ++root) {
        EXPECT_EQ(comm.broadcast_value(comm.rank() == root ? 41 + root : -1, root), 41 + root);
        EXPECT_EQ(comm.broadcast_string(comm.rank() == root ? "weights" : "", root), "weights");
      }
      comm.barrier();
      EXPECT_EQ(comm.local_rank(), comm.rank());
      comm.finalize();
    });
  }
}

TEST(Abort, EndsPeersThatWaitWithTheAbortingRanksCode) {
  LocalGroup group(4);
  std::atomic<int> stopped{0};
  const std::string message = testing::message_of<UserError>([&] {
    group.run([&](Communicator& comm) {
      if (comm.rank() == 2) throw UserError("label 17 out of range", ExitCode::kData);
      try {
        comm.barrier();
      } catch (const EnvironmentError& error) {
        EXPECT_EQ(error.code(), ExitCode::kData);
        EXPECT_NE(std::string(error.what()).find("rank 2 failed: label 17"), std::string::npos) << error.what();
        ++stopped;
      }
    });
  });
  EXPECT_EQ(message, "label 17 out of range");
  EXPECT_EQ(stopped, 3);
}

}  // namespace
}  // namespace lockstep
