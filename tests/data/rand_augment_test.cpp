// RandAugment: operations and magnitudes are torchvision's on Pillow images (tests/golden/augment).
// SPDX-License-Identifier: Apache-2.0
#include "data/rand_augment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "core/error.h"
#include "tests/data/augment_golden.h"

namespace lockstep {
namespace {

RandAugmentOp op_named(const std::string& name) {  // torchvision's name
  constexpr std::array kNames = {"Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness",
                                 "Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"};
  static_assert(kNames.size() == kRandAugmentOps);
  return static_cast<RandAugmentOp>(std::ranges::find(kNames, name) - kNames.begin());
}

TEST(RandAugment, MakesTorchvisionsPixels) {
  const auto lines = test::golden_lines("op");
  std::set<std::string> ops;
  std::vector<std::uint8_t> scratch;
  for (const auto& line : lines) {  // op, magnitude, kind, height, width, digest
    ops.insert(line[0]);
    const int height = std::stoi(line[3]), width = std::stoi(line[4]);
    test::Bytes pixels = test::test_image(line[2], height, width);
    apply_rand_augment_op(op_named(line[0]), test::number(line[1]), pixels.data(), height, width, scratch);
    EXPECT_EQ(test::fnv(pixels.data(), pixels.size()), line[5])
        << line[0] << " " << test::number(line[1]) << " " << line[2] << " " << height << "x" << width;
  }
  EXPECT_EQ(ops.size(), std::size_t{kRandAugmentOps});
}

// torch.linspace rounds differently from processor to processor (it depends on the vector's length): one unit in the last
// place of f32, at the size of the table's largest value, is allowed.
TEST(RandAugment, HasTorchvisionsMagnitudes) {
  const auto lines = test::golden_lines("magnitude");
  ASSERT_EQ(lines.size(), std::size_t{3 * kRandAugmentOps});
  for (const auto& line : lines) {  // op, height, width, 31 values
    ASSERT_EQ(line.size(), std::size_t{3 + kRandAugmentBins});
    double largest = 0;
    for (std::size_t bin = 0; bin < kRandAugmentBins; ++bin) largest = std::max(largest, test::number(line[3 + bin]));
    const double unit = largest * std::numeric_limits<float>::epsilon();
    for (int bin = 0; bin < kRandAugmentBins; ++bin)
      EXPECT_NEAR(rand_augment_magnitude(op_named(line[0]), bin, std::stoi(line[1]), std::stoi(line[2])),
                  test::number(line[static_cast<std::size_t>(3 + bin)]), unit)
          << line[0] << " " << bin;
  }
}

TEST(RandAugment, KnowsItsBinsOnly) {
  for (const int bin : {-1, kRandAugmentBins}) EXPECT_THROW(rand_augment_magnitude(RandAugmentOp::kRotate, bin, 9, 9), InternalError);
}

TEST(RandAugment, DrawsEachOperationAndSignEquallyOften) {
  constexpr int kDraws = 28000;
  std::array<std::array<int, 2>, kRandAugmentOps> counts{};
  for (int i = 0; i < kDraws; ++i) {
    RandomStream random({1, RandomPurpose::kTest, 0, static_cast<std::uint64_t>(i)});
    const RandAugmentDraw draw = draw_rand_augment(random);
    ++counts.at(static_cast<std::size_t>(draw.op))[draw.negative ? 1 : 0];
  }
  // Binomial: mean 1000, standard deviation sqrt(1000 * 27 / 28); five of them.
  for (const auto& of_op : counts)
    for (const int count : of_op) EXPECT_NEAR(count, 1000, 5 * std::sqrt(1000 * 27.0 / 28));
}

TEST(RandAugment, AppliesAsManyDrawnOperationsAsAskedFor) {
  const RandAugmentOptions options{.ops = 3, .magnitude = 20};
  for (std::uint64_t sample = 0; sample < 40; ++sample) {
    test::Bytes whole = test::test_image("noise", 20, 30), one_by_one = whole;
    std::vector<std::uint8_t> scratch;
    RandomStream random({1, RandomPurpose::kTest, 0, sample}), again = random;
    apply_rand_augment(options, random, whole.data(), 20, 30, scratch);
    for (int i = 0; i < 3; ++i) {
      const RandAugmentDraw draw = draw_rand_augment(again);
      const bool has_sign = draw.op != RandAugmentOp::kPosterize && draw.op != RandAugmentOp::kSolarize;
      const double magnitude = rand_augment_magnitude(draw.op, 20, 20, 30);
      apply_rand_augment_op(draw.op, has_sign && draw.negative ? -magnitude : magnitude, one_by_one.data(), 20, 30, scratch);
    }
    EXPECT_EQ(whole, one_by_one);
    EXPECT_EQ(random.bits64(), again.bits64());
  }
  test::Bytes pixels = test::test_image("noise", 20, 30);
  std::vector<std::uint8_t> scratch;
  RandomStream random({1, RandomPurpose::kTest, 0, 0}), untouched = random;
  apply_rand_augment({}, random, pixels.data(), 20, 30, scratch);
  EXPECT_EQ(pixels, test::test_image("noise", 20, 30));
  EXPECT_EQ(random.bits64(), untouched.bits64());
}

}  // namespace
}  // namespace lockstep
