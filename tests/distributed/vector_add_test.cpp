// The reducer's loops: special values, rounding, division.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "distributed/vector_add.h"
#include "distributed_test_util.h"

namespace lockstep {
namespace {

TEST(VectorAdd, MayWriteOverEitherOperandAndKeepsSpecialValues) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  for (const std::int64_t n : {1, 3, 16, 37}) {
    const std::vector<float> left = testing::shard_values<float>(0, 0, n), right = testing::shard_values<float>(1, 0, n);
    std::vector<float> a = left, b = right;
    add_arrays(DType::kF32, a.data(), a.data(), right.data(), n);
    add_arrays(DType::kF32, b.data(), left.data(), b.data(), n);
    EXPECT_EQ(a, b);
    EXPECT_EQ(a, testing::add(left, right));
  }
  std::vector<float> values = {inf, inf, -0.0f};
  const std::vector<float> others = {1, -inf, -0.0f};
  add_arrays(DType::kF32, values.data(), values.data(), others.data(), 3);
  EXPECT_EQ(values[0], inf);
  EXPECT_TRUE(std::isnan(values[1]));
  EXPECT_TRUE(std::signbit(values[2]));
  EXPECT_THROW(add_arrays(DType::kBF16, values.data(), values.data(), values.data(), 1), InternalError);
}

TEST(VectorAdd, BF16RoundsToNearestEvenAndKeepsNanAndInfinity) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  // 1 + 2^-8 is halfway between 1 and 1 + 2^-7: to even (1). 1 + 3 * 2^-8 is halfway too: to even (1 + 2^-6).
  std::vector<float> values = {1 + 0x1p-8f, 1 + 3 * 0x1p-8f, -(1 + 0x1p-8f + 0x1p-20f), inf, nan, 0x1.fffffep127f, 0};
  std::vector<bf16> encoded(values.size());
  std::vector<float> decoded(values.size());
  encode_bf16(encoded.data(), values.data(), 7);
  decode_bf16(decoded.data(), encoded.data(), 7);
  round_to_bf16(values.data(), 7);
  for (const auto& got : {decoded, values}) {
    EXPECT_EQ(got[0], 1);
    EXPECT_EQ(got[1], 1 + 0x1p-6f);
    EXPECT_EQ(got[2], -(1 + 0x1p-7f));
    EXPECT_EQ(got[3], inf);
    EXPECT_TRUE(std::isnan(got[4]));
    EXPECT_EQ(got[5], inf);  // beyond the largest bf16
    EXPECT_EQ(got[6], 0);
  }
}

TEST(VectorAdd, DivisionIsCorrectlyRoundedForEveryDivisor) {
  for (const std::int64_t divisor : {1, 2, 3, 8, 12, 64, 100}) {
    std::vector<double> values = testing::shard_values<double>(2, 0, 100);
    const std::vector<double> before = values;
    divide_array(DType::kF64, values.data(), 100, divisor);
    for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(values[i], before[i] / static_cast<double>(divisor));
  }
}

}  // namespace
}  // namespace lockstep
