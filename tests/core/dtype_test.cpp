// SPDX-License-Identifier: Apache-2.0
#include "core/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"

namespace lockstep {
namespace {

// The formats written down a second time: value of a bit pattern by ldexp.
double half_value(std::uint32_t bits) {
  const int exponent = static_cast<int>((bits >> 10) & 31);
  const auto mantissa = static_cast<double>(bits & 1023);
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 31) return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

double bfloat_value(std::uint32_t bits) {
  const int exponent = static_cast<int>((bits >> 7) & 255);
  const auto mantissa = static_cast<double>(bits & 127);
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 255) return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  return sign * (exponent == 0 ? std::ldexp(mantissa, -133) : std::ldexp(128 + mantissa, exponent - 134));
}

template <class T>
struct Format;
template <>
struct Format<f16> {
  static double value(std::uint32_t bits) { return half_value(bits); }
  static constexpr std::uint32_t infinity = 0x7c00;
};
template <>
struct Format<bf16> {
  static double value(std::uint32_t bits) { return bfloat_value(bits); }
  static constexpr std::uint32_t infinity = 0x7f80;
};

template <class T>
T from_bits(std::uint32_t bits) {
  T result;
  result.bits = static_cast<std::uint16_t>(bits);
  return result;
}

template <class T>
class SixteenBits : public ::testing::Test {};
using Formats = ::testing::Types<f16, bf16>;
TYPED_TEST_SUITE(SixteenBits, Formats);

TYPED_TEST(SixteenBits, AllPatternsHaveTheirValueAndSurviveTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto value = static_cast<float>(from_bits<TypeParam>(bits));
    const double want = Format<TypeParam>::value(bits);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      ASSERT_TRUE(std::isnan(static_cast<float>(TypeParam(value)))) << bits;
    } else {
      ASSERT_EQ(static_cast<double>(value), want) << bits;
      ASSERT_EQ(TypeParam(value).bits, bits);
    }
  }
}

// For each pair of neighbours: just below the middle, the middle, just above. Includes subnormals and the step to infinity.
TYPED_TEST(SixteenBits, ConversionRoundsToNearestEven) {
  for (std::uint32_t bits = 0; bits < Format<TypeParam>::infinity; ++bits) {
    const double low = Format<TypeParam>::value(bits);
    double high = Format<TypeParam>::value(bits + 1);
    if (std::isinf(high)) high = 2 * low - Format<TypeParam>::value(bits - 1);  // where the next value would be
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(static_cast<double>(middle), (low + high) / 2) << "a float holds every middle";
    const float below = std::nextafter(middle, 0.0f);
    const float above = std::nextafter(middle, std::numeric_limits<float>::infinity());
    const std::uint32_t even = bits % 2 == 0 ? bits : bits + 1;
    ASSERT_EQ(TypeParam(below).bits, bits) << bits;
    ASSERT_EQ(TypeParam(middle).bits, even) << bits;
    ASSERT_EQ(TypeParam(above).bits, bits + 1) << bits;
    ASSERT_EQ(TypeParam(-middle).bits, even | 0x8000u) << bits;
  }
}

TYPED_TEST(SixteenBits, EpsilonIsHalfTheStepAfterOne) {
  const std::uint32_t one = TypeParam(1.0f).bits;
  const double step = Format<TypeParam>::value(one + 1) - 1;
  EXPECT_EQ(dtype_epsilon(DTypeOf<TypeParam>::value), step / 2);
}

TEST(DType, NamesSizesAndEpsilons) {
  EXPECT_EQ(dtype_epsilon(DType::kF32), static_cast<double>(std::numeric_limits<float>::epsilon()) / 2);
  EXPECT_EQ(dtype_epsilon(DType::kF64), std::numeric_limits<double>::epsilon() / 2);
  const struct {
    DType dtype;
    std::string_view name;
    std::size_t size;
    bool floating;
  } table[] = {{DType::kF64, "f64", 8, true},  {DType::kF32, "f32", 4, true}, {DType::kBF16, "bf16", 2, true}, {DType::kF16, "f16", 2, true},
               {DType::kU8, "u8", 1, false},   {DType::kI32, "i32", 4, false}, {DType::kI64, "i64", 8, false}};
  for (const auto& row : table) {
    EXPECT_EQ(dtype_name(row.dtype), row.name);
    EXPECT_EQ(dtype_from_name(row.name), row.dtype);
    EXPECT_EQ(dtype_size(row.dtype), row.size);
    EXPECT_EQ(is_floating(row.dtype), row.floating);
  }
}

TEST(DType, AnUnknownNameListsTheKnownOnes) {
  try {
    dtype_from_name("fp32");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), "dtype: got 'fp32', want one of f64, f32, bf16, f16, u8, i32, i64");
  }
}

}  // namespace
}  // namespace lockstep
