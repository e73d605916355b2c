// The simulator: small cases by hand, its books, its randomness, its size.
// SPDX-License-Identifier: Apache-2.0
#include "planning/simulation.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>

#include "core/error.h"

namespace lockstep {
namespace {

// n ranks, one per host, messages of no latency over 1 GB/s: a bucket of 1 MB takes 2 (n - 1) / n ms.
ClusterDescription ethernet(int per_host = 1) {
  ClusterDescription cluster{.name = "test", .ranks_per_host = per_host, .library = ReduceLibrary::kPlain};
  cluster.inside = {LinkKind::kPcie, 1e9, 0};
  cluster.between = Link{LinkKind::kNetwork, 1e9, 0};
  return cluster;
}

constexpr double kTiny = 1e-12;

TEST(Simulation, OneRankOnlyComputes) {
  const SimulatedStep step{.compute_s = 0.1, .update_s = 0.01, .buckets = {{1e6, 0.05}}};
  const SimulationResult result = simulate(step, {}, {.ranks = 1});
  EXPECT_NEAR(result.step_s, 0.11, kTiny);
  EXPECT_NEAR(result.exposed_s, 0, kTiny);
  EXPECT_EQ(result.communication_s, 0);
}

TEST(Simulation, BucketsQueueOnOneStream) {
  // Two ranks: 1 ms per MB. Computing 10 ms; buckets of 4 and 3 MB are ready at 6 and 7 ms: 6..10, 10..13: 3 ms show.
  const SimulatedStep step{.compute_s = 0.010, .update_s = 0.001, .buckets = {{4e6, 0.006}, {3e6, 0.007}}};
  const SimulationResult result = simulate(step, ethernet(), {.ranks = 2});
  EXPECT_NEAR(result.step_s, 0.014, kTiny);
  EXPECT_NEAR(result.exposed_s, 0.003, kTiny);
  EXPECT_NEAR(result.communication_s, 0.007, kTiny);
  EXPECT_NEAR(result.hidden_share(), 4.0 / 7, 1e-9);
  EXPECT_NEAR(result.efficiency(), 11.0 / 14, 1e-9);
  ASSERT_EQ(result.begin_s.size(), 2u);
  EXPECT_NEAR(result.begin_s[0], 0.006, kTiny);
  EXPECT_NEAR(result.begin_s[1], 0.010, kTiny);
  EXPECT_NEAR(result.end_s[1], 0.013, kTiny);
}

TEST(Simulation, LaterReadyBucketsWaitForTheirGradients) {
  // 1 MB at 2 ms: 2..3; 1 MB at 9 ms: 9..10; computing ends at 10: nothing shows.
  const SimulatedStep step{.compute_s = 0.010, .buckets = {{1e6, 0.002}, {1e6, 0.009}}};
  EXPECT_NEAR(simulate(step, ethernet(), {.ranks = 2}).exposed_s, 0, kTiny);
}

TEST(Simulation, WithoutOverlapEverythingShows) {
  SimulatedStep step{.compute_s = 0.010, .buckets = {{1e6, 0.002}, {2e6, 0.009}}, .overlap = false};
  const SimulationResult result = simulate(step, ethernet(), {.ranks = 2});
  EXPECT_NEAR(result.exposed_s, 0.003, kTiny);
  EXPECT_NEAR(result.hidden_share(), 0, 1e-9);
}

TEST(Simulation, ExchangesAddUpToTheFormula) {
  const SimulatedStep step{.compute_s = 0.001, .buckets = {{64e6, 0.001}}};
  for (const int ranks : {2, 8, 64, 1024}) {
    const SimulationResult result = simulate(step, ethernet(8), {.ranks = ranks, .order = ReduceOrder::kFixedTree, .steps = 2});
    EXPECT_EQ(result.algorithms[0], Algorithm::kHalving);
    EXPECT_NEAR(result.exposed_s, result.communication_s, 1e-9 * ranks) << ranks;
  }
}

TEST(Simulation, TheBooksBalance) {
  const SimulatedStep step{.compute_s = 0.050, .update_s = 0.002, .buckets = {{1e6, 0.02}, {30e6, 0.04}, {5e6, 0.05}}};
  for (const ReduceOrder order : {ReduceOrder::kFast, ReduceOrder::kFixedTree}) {
    const SimulationResult r = simulate(step, ethernet(4), {.ranks = 32, .order = order, .straggler_share = 0.05});
    EXPECT_NEAR(r.compute_s + r.straggler_s + r.exposed_s + r.update_s, r.step_s, 1e-9);
    EXPECT_GT(r.straggler_s, 0);
    EXPECT_GE(r.slowest_step_s, r.step_s);
  }
}

// The slowest of n ranks lies E[max of n standard normals] deviations above the mean: 3.241 for 1,000.
TEST(Simulation, StragglersCostWhatTheSlowestOfThemCosts) {
  const SimulatedStep step{.compute_s = 1, .buckets = {{8, 1}}};
  const int steps = 400;
  const double share = 0.02;
  const SimulationResult result = simulate(step, ethernet(), {.ranks = 1000, .steps = steps, .straggler_share = share});
  const double deviation = 0.35;  // of the maximum of 1,000 normals
  EXPECT_NEAR(result.straggler_s / share, 3.241, 4 * deviation / std::sqrt(steps));
  EXPECT_EQ(simulate(step, ethernet(), {.ranks = 1000, .steps = 4}).straggler_s, 0) << "control: without variation there are none";
}

TEST(Simulation, IsAFunctionOfItsSeed) {
  const SimulatedStep step{.compute_s = 0.05, .buckets = {{30e6, 0.04}}};
  const SimulationOptions options{.ranks = 64, .straggler_share = 0.02, .seed = 7};
  SimulationOptions other = options;
  other.seed = 8;
  EXPECT_EQ(simulate(step, ethernet(8), options).step_s, simulate(step, ethernet(8), options).step_s);
  EXPECT_NE(simulate(step, ethernet(8), options).step_s, simulate(step, ethernet(8), other).step_s);
}

TEST(Simulation, FourThousandRanksTakeSeconds) {
  SimulatedStep step{.compute_s = 0.05};
  for (int i = 0; i < 8; ++i) step.buckets.push_back({25e6, 0.02 + 0.004 * i});
  const auto begin = std::chrono::steady_clock::now();
  const SimulationResult result = simulate(step, ethernet(8), {.ranks = 4096, .order = ReduceOrder::kFixedTree, .straggler_share = 0.01});
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_GT(result.step_s, 0.05);
  EXPECT_LT(seconds, 60) << "a second or less without sanitizers";
  RecordProperty("seconds", std::to_string(seconds));
}

TEST(Simulation, TooManyRanksAreAnError) {
  EXPECT_THROW(simulate({.compute_s = 1}, ethernet(), {.ranks = kMostSimulatedRanks + 1}), UserError);
}

}  // namespace
}  // namespace lockstep
