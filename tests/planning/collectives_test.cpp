// The alpha-beta model: against the published table, its closed forms and its limits.
// SPDX-License-Identifier: Apache-2.0
#include "planning/collectives.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lockstep {
namespace {

constexpr double kResNet50 = 25'557'032 * 2.0;  // bytes of FP16 gradients

ClusterDescription dgx(bool sharp = false) { return load_cluster(sharp ? "dgx_h100_sharp" : "dgx_h100"); }

ClusterDescription plain(double inside, double between, int per_host, double alpha_inside = 0, double alpha_between = 0) {
  ClusterDescription cluster{.name = "test", .ranks_per_host = per_host, .library = ReduceLibrary::kPlain};
  cluster.inside = {LinkKind::kPcie, inside, alpha_inside};
  cluster.between = Link{LinkKind::kNetwork, between, alpha_between};
  return cluster;
}

// What NCCL's formulas give for 51.1 MB on DGX H100 hosts, worked out by hand with the Simple protocol's latencies, in ms.
struct Expected {
  int ranks;
  double ring, tree, switched, in_network;  // 0: can't
};

TEST(Collectives, NcclOnDgxH100) {
  for (const Expected& expected : {Expected{8, 0.30, 0, 0.21, 0}, {64, 0.86, 0.43, 0.43, 0.21}, {512, 5.1, 0.51, 0.55, 0.21},
                                   {1024, 9.9, 0.54, 0.60, 0.21}, {3584, 34, 0.57, 0.64, 0.21}}) {
    SCOPED_TRACE(expected.ranks);
    const auto ms = [&](const ClusterDescription& cluster, Algorithm algorithm) {
      return all_reduce_seconds(cluster, algorithm, expected.ranks, kResNet50) * 1e3;
    };
    // LL128, which the model may choose, is a little faster than Simple: up to 15 % where latency counts.
    const auto near = [](double got, double want) { return got <= 1.08 * want && got >= 0.80 * want; };
    EXPECT_PRED2(near, ms(dgx(), Algorithm::kTree) == INFINITY ? 0 : ms(dgx(), Algorithm::kTree), expected.tree);
    EXPECT_PRED2(near, ms(dgx(), expected.ranks == 8 ? Algorithm::kSwitch : Algorithm::kSwitchTree), expected.switched);
    if (expected.in_network > 0) {
      EXPECT_PRED2(near, ms(dgx(true), Algorithm::kInNetwork), expected.in_network);
    }
    EXPECT_LE(ms(dgx(), Algorithm::kRing), 1.02 * expected.ring);
    EXPECT_GE(ms(dgx(), Algorithm::kRing), 0.17 * expected.ring);  // LL's hops take 0.6 and 2.7 us where Simple's take 3.4 and 14
  }
}

TEST(Collectives, FastTakesTheFastestThatThereIs) {
  EXPECT_EQ(plan_all_reduce(dgx(), ReduceOrder::kFast, 8, kResNet50).algorithm, Algorithm::kSwitch);
  EXPECT_EQ(plan_all_reduce(dgx(true), ReduceOrder::kFast, 3584, kResNet50).algorithm, Algorithm::kInNetwork);
  const AllReduce many = plan_all_reduce(dgx(), ReduceOrder::kFast, 3584, kResNet50);
  EXPECT_TRUE(many.algorithm == Algorithm::kTree || many.algorithm == Algorithm::kSwitchTree);
  EXPECT_EQ(plan_all_reduce(dgx(), ReduceOrder::kFast, 1, kResNet50).seconds, 0);
}

TEST(Collectives, NothingIsFasterThanItsBytes) {
  for (const int ranks : {2, 4, 8, 16, 64, 512})
    for (const double bytes : {1e3, 1e6, 1e9}) {
      const ClusterDescription cluster = plain(10e9, 10e9, 4, 1e-6, 5e-6);
      const double bound = 2.0 * (ranks - 1) / ranks * bytes / 10e9;
      EXPECT_GE(all_reduce_seconds(cluster, Algorithm::kRing, ranks, bytes), bound * (1 - 1e-12));
    }
}

TEST(Collectives, HalvingIsItsClosedForm) {
  // 8 ranks on 2 hosts of 4: halves and quarters inside, an eighth between hosts, where 4 ranks share 2 GB/s.
  const double bytes = 64e6, alpha_in = 3e-6, alpha_net = 20e-6;
  const ClusterDescription cluster = plain(10e9, 2e9, 4, alpha_in, alpha_net);
  const double expected = 2 * (2 * alpha_in + alpha_net + (bytes / 2 + bytes / 4) / 10e9 + bytes / 8 / (2e9 / 4));
  EXPECT_NEAR(all_reduce_seconds(cluster, Algorithm::kHalving, 8, bytes), expected, 1e-12);
  // Small buffers: every level once, whole.
  EXPECT_NEAR(all_reduce_seconds(cluster, Algorithm::kHalving, 8, 4096), 2 * (alpha_in + 4096 / 10e9) + alpha_net + 4096 / 0.5e9, 1e-15);
  EXPECT_EQ(exchange_levels(cluster, 8, bytes).size(), 6u);
  EXPECT_EQ(exchange_levels(cluster, 8, 4096).size(), 3u);
  EXPECT_TRUE(exchange_levels(cluster, 8, bytes)[2].between_hosts);
  EXPECT_FALSE(exchange_levels(cluster, 8, bytes)[1].between_hosts);
}

TEST(Collectives, HalvingNeedsAPowerOfTwo) {
  EXPECT_EQ(all_reduce_seconds(plain(1e9, 1e9, 1), Algorithm::kHalving, 6, 1e6), std::numeric_limits<double>::infinity());
  EXPECT_EQ(plan_all_reduce(plain(1e9, 1e9, 1), ReduceOrder::kFast, 6, 1e6).algorithm, Algorithm::kRing);
}

TEST(Collectives, SharedMemoryIsOnePassOverEverybodysBuffers) {
  const ClusterDescription cluster = load_cluster("shared_memory");
  const double latency = 2 * cluster.inside.latency_s;
  EXPECT_NEAR(all_reduce_seconds(cluster, Algorithm::kMemory, 2, 100e6), latency + 4 * 100e6 / cluster.inside.bytes_per_second, 1e-12);
  for (const ReduceOrder order : {ReduceOrder::kFixedTree, ReduceOrder::kFast})
    EXPECT_EQ(plan_all_reduce(cluster, order, 4, 1e6).algorithm, Algorithm::kMemory);
}

// Hosts of CPU ranks: what happens in memory and what between hosts adds up, for both orders and any number of ranks.
TEST(Collectives, HostsOfRanksThatShareMemoryHaveATime) {
  ClusterDescription cluster = load_cluster("shared_memory");
  cluster.ranks_per_host = 4;
  cluster.between = Link{LinkKind::kNetwork, 1e9, 50e-6};
  const double exact = plan_all_reduce(cluster, ReduceOrder::kFixedTree, 8, 10e6).seconds,
               fast = plan_all_reduce(cluster, ReduceOrder::kFast, 12, 10e6).seconds;
  EXPECT_GT(exact, all_reduce_seconds(cluster, Algorithm::kMemory, 4, 10e6));
  EXPECT_TRUE(std::isfinite(exact));
  EXPECT_TRUE(std::isfinite(fast));
}

TEST(Collectives, MoreBytesTakeLonger) {
  for (const Algorithm algorithm : {Algorithm::kRing, Algorithm::kTree, Algorithm::kSwitchTree, Algorithm::kInNetwork, Algorithm::kHalving}) {
    double last = 0;
    for (double bytes = 2e6; bytes < 1e9; bytes *= 2) {
      const double seconds = all_reduce_seconds(dgx(true), algorithm, 64, bytes);
      EXPECT_GT(seconds, last) << algorithm_name(algorithm);
      last = seconds;
    }
  }
}

}  // namespace
}  // namespace lockstep
