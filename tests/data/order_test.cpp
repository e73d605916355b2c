// Order: a permutation for every size, seed and epoch; uniform; and a function of the step alone.
// SPDX-License-Identifier: Apache-2.0
#include "data/order.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <map>
#include <vector>

#include "tests/data/test_support.h"

namespace lockstep {
namespace {

std::vector<std::int64_t> all(std::int64_t size, std::uint64_t seed, std::int64_t epoch) {
  const EpochOrder order(size, seed, epoch);
  std::vector<std::int64_t> out;
  for (std::int64_t p = 0; p < size; ++p) out.push_back(order[p]);
  return out;
}

TEST(EpochOrder, IsAPermutationOfEverySize) {
  std::vector<std::int64_t> sizes;
  for (std::int64_t n = 1; n <= 130; ++n) sizes.push_back(n);
  for (const std::int64_t n : {1000, 1023, 1024, 1025, 60000, 65536, 65537, 1281167}) sizes.push_back(n);
  for (const std::int64_t n : sizes) {
    std::vector<bool> seen(static_cast<std::size_t>(n));
    for (const std::int64_t id : all(n, 7, 3)) {
      ASSERT_TRUE(id >= 0 && id < n) << n;
      ASSERT_FALSE(seen[static_cast<std::size_t>(id)]) << n << " has " << id << " twice";
      seen[static_cast<std::size_t>(id)] = true;
    }
  }
}

TEST(EpochOrder, DiffersByEpochAndSeedAndFromTheIdentity) {
  const std::int64_t n = 5000;
  const auto base = all(n, 1, 0);
  EXPECT_EQ(base, all(n, 1, 0));
  std::vector<std::int64_t> identity;
  for (std::int64_t i = 0; i < n; ++i) identity.push_back(i);
  // Fixed points of a random permutation: Poisson with mean 1; more than 10 happens once in 10^8.
  for (const auto& other : {all(n, 1, 1), all(n, 2, 0), all(n, 1ull << 40, 0), identity}) {
    std::int64_t equal = 0;
    for (std::size_t i = 0; i < other.size(); ++i) equal += base[i] == other[i];
    EXPECT_LE(equal, 10);
  }
}

// The values here must never change: runs resumed by a later version would see other samples.
TEST(EpochOrder, KeepsItsValues) {
  EXPECT_EQ(all(10, 42, 0), (std::vector<std::int64_t>{3, 2, 4, 9, 7, 6, 1, 0, 8, 5}));
  EXPECT_EQ(all(10, 42, 1), (std::vector<std::int64_t>{7, 5, 4, 6, 9, 2, 8, 1, 0, 3}));
}

// Chi-square of (position, sample) counts over many epochs: mean d, standard deviation sqrt(2 d) for d degrees.
TEST(EpochOrder, PutsEverySampleEverywhereEquallyOften) {
  for (const std::int64_t n : {3, 5, 16, 37}) {
    const std::int64_t epochs = 4000;
    std::vector<std::int64_t> counts(static_cast<std::size_t>(n * n));
    for (std::int64_t e = 0; e < epochs; ++e) {
      const EpochOrder order(n, 11, e);
      for (std::int64_t p = 0; p < n; ++p) ++counts[static_cast<std::size_t>(p * n + order[p])];
    }
    const double want = static_cast<double>(epochs) / static_cast<double>(n);
    double chi = 0;
    for (const std::int64_t count : counts)
      chi += (static_cast<double>(count) - want) * (static_cast<double>(count) - want) / want;
    const double degrees = static_cast<double>((n - 1) * (n - 1));
    EXPECT_LT(chi, degrees + 5 * std::sqrt(2 * degrees)) << n;
  }
}

TEST(EpochOrder, ReachesAllPermutationsOfThreeEquallyOften) {
  std::map<std::vector<std::int64_t>, int> counts;
  for (int e = 0; e < 6000; ++e) ++counts[all(3, 5, e)];
  ASSERT_EQ(counts.size(), 6u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 5 * std::sqrt(1000 * 5 / 6.0));
}

// Neighbours in the order must not be neighbours in the set: a data set sorted by class would give one-class batches.
TEST(EpochOrder, BreaksUpNeighbours) {
  const std::int64_t n = 60000;
  const auto order = all(n, 3, 0);
  double distance = 0;
  for (std::size_t i = 1; i < order.size(); ++i) distance += std::abs(static_cast<double>(order[i] - order[i - 1]));
  // The mean distance of two random samples is n/3 with standard deviation n/sqrt(18).
  const double mean = distance / static_cast<double>(n - 1),
               deviation = static_cast<double>(n) / std::sqrt(18.0 * static_cast<double>(n));
  EXPECT_NEAR(mean, static_cast<double>(n) / 3, 5 * deviation);
}

TEST(StepsPerEpoch, FollowsThePolicy) {
  EXPECT_EQ(steps_per_epoch(100, 32, LastBatch::kDrop), 3);
  EXPECT_EQ(steps_per_epoch(100, 32, LastBatch::kWrap), 4);
  EXPECT_EQ(steps_per_epoch(96, 32, LastBatch::kDrop), 3);
  EXPECT_EQ(steps_per_epoch(96, 32, LastBatch::kWrap), 3);
  EXPECT_EQ(steps_per_epoch(5, 32, LastBatch::kWrap), 1);
  EXPECT_EQ(
      test::not_the_user_error([] { steps_per_epoch(5, 32, LastBatch::kDrop); }, ExitCode::kUsage, {"32", "5", "wrap"}),
      "");
  EXPECT_EQ(
      test::not_the_user_error([] { steps_per_epoch(5, 0, LastBatch::kDrop); }, ExitCode::kUsage, {"global_batch"}),
      "");
}

TEST(GlobalOrder, WrapsWithinTheEpoch) {
  const GlobalOrder order(10, 4, 9, LastBatch::kWrap);
  EXPECT_EQ(order.steps_per_epoch(), 3);
  EXPECT_EQ(order.epoch(2), 0);
  EXPECT_EQ(order.epoch(3), 1);
  EXPECT_EQ(order.position(2, 1), 9);
  EXPECT_EQ(order.position(2, 2), 0);
  EXPECT_EQ(order.position(3, 0), 0);
}

TEST(GlobalOrder, DropsTheRest) {
  const GlobalOrder order(10, 4, 9, LastBatch::kDrop);
  EXPECT_EQ(order.steps_per_epoch(), 2);
  EXPECT_EQ(order.epoch(2), 1);
  EXPECT_EQ(order.position(1, 3), 7);
  EXPECT_EQ(order.position(2, 0), 0);
}

}  // namespace
}  // namespace lockstep
