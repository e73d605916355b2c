// SPDX-License-Identifier: Apache-2.0
#include "core/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace lockstep {
namespace {

// The known-answer vectors published with Random123 (philox4x32, 10 rounds).
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t f = 0xffffffff;
  EXPECT_EQ(philox4x32({f, f, f, f}, {f, f}), (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomKey, EveryFieldMakesAnotherStream) {
  const RandomKey base{.seed = 1, .purpose = RandomPurpose::kInit, .a = 2, .b = 3};
  std::set<PhiloxBlock> blocks{base.block(0), base.block(1)};
  RandomKey key = base;
  key.seed = 2;
  blocks.insert(key.block(0));
  key = base, key.seed = 1 + (std::uint64_t{1} << 32);
  blocks.insert(key.block(0));
  key = base, key.purpose = RandomPurpose::kOrder;
  blocks.insert(key.block(0));
  key = base, key.a = 3;
  blocks.insert(key.block(0));
  key = base, key.b = 4;
  blocks.insert(key.block(0));
  key = base, key.b = 3 + (std::uint64_t{1} << 32);
  blocks.insert(key.block(0));
  EXPECT_EQ(blocks.size(), 8u);
}

TEST(RandomStream, IsTheKeysBlocksInOrder) {
  const RandomKey key{.seed = 9, .a = 1};
  RandomStream stream(key);
  for (std::uint32_t block = 0; block < 3; ++block)
    for (const std::uint32_t word : key.block(block)) EXPECT_EQ(stream.bits(), word);
}

TEST(RandomStream, UniformStaysBelowOne) {
  EXPECT_EQ(uniform_from_bits(0), 0.0f);
  EXPECT_EQ(uniform_from_bits(0xffffffff), 1.0f - 0x1p-24f);
  RandomStream stream({.seed = 1});
  const int n = 100000;
  double sum = 0;
  for (int i = 0; i < n; ++i) {
    const double u = stream.uniform64();
    ASSERT_TRUE(u >= 0 && u < 1);
    sum += u;
  }
  EXPECT_NEAR(sum / n, 0.5, 5 * std::sqrt(1.0 / 12 / n)) << "five standard deviations";
}

TEST(RandomStream, BelowIsUniformAndInRange) {
  RandomStream stream({.seed = 2});
  std::vector<int> counts(7);
  const int n = 70000;
  for (int i = 0; i < n; ++i) ++counts.at(stream.below(7));
  for (const int count : counts) EXPECT_NEAR(count, n / 7.0, 5 * std::sqrt(n / 7.0));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(stream.below(1), 0u);
  const std::uint64_t most = ~std::uint64_t{0};
  EXPECT_LT(stream.below(most), most);
}

TEST(RandomStream, NormalHasMeanZeroAndVarianceOne) {
  RandomStream stream({.seed = 3});
  const int n = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < n; ++i) {
    const auto value = static_cast<double>(stream.normal());
    ASSERT_TRUE(std::isfinite(value));
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 5 * std::sqrt(2.0 / n));
}

}  // namespace
}  // namespace lockstep
