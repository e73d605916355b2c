// Random erasing: the box has torchvision's distribution; exactly the box is overwritten.
// SPDX-License-Identifier: Apache-2.0
#include "data/random_erasing.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/data/test_support.h"

namespace lockstep {
namespace {

RandomStream stream(std::uint64_t sample) { return RandomStream({1, RandomPurpose::kTest, 0, sample}); }

TEST(RandomErasing, BoxesHaveTheGivenAreasAndRatios) {
  const RandomErasingOptions options{.probability = 0.25, .area_min = 0.02, .area_max = 0.2, .ratio_min = 0.5, .ratio_max = 2};
  constexpr int kDraws = 20000, kHeight = 224, kWidth = 200;
  int erased = 0;
  double area_sum = 0, log_ratio_sum = 0, top_sum = 0, left_sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    RandomStream random = stream(static_cast<std::uint64_t>(i));
    const ErasedBox box = draw_erased_box(options, random, kHeight, kWidth);
    if (box.height == 0) continue;
    ++erased;
    ASSERT_TRUE(box.top >= 0 && box.left >= 0);
    ASSERT_TRUE(box.top + box.height <= kHeight && box.left + box.width <= kWidth);
    const double area = double(box.height) * box.width / (kHeight * kWidth);
    // Sides are rounded to whole pixels: by half a pixel each.
    const double slack = (0.5 * (box.height + box.width) + 0.25) / (kHeight * kWidth);
    EXPECT_TRUE(area > 0.02 - slack && area < 0.2 + slack) << area;
    area_sum += area;
    log_ratio_sum += std::log(double(box.height) / box.width);
    top_sum += double(box.top) / (kHeight - box.height), left_sum += double(box.left) / (kWidth - box.width);
  }
  // Five standard deviations: of a binomial count, and of means of uniform variates (range / sqrt(12 n)).
  EXPECT_NEAR(erased, 0.25 * kDraws, 5 * std::sqrt(kDraws * 0.25 * 0.75));
  const double n = erased, uniform = 5 / std::sqrt(12 * n);
  EXPECT_NEAR(area_sum / n, 0.11, 0.18 * uniform + 1e-4);  // 1e-4: rounding of sides
  EXPECT_NEAR(log_ratio_sum / n, 0, 2 * std::log(2) * uniform + 1e-3);
  EXPECT_NEAR(top_sum / n, 0.5, uniform);
  EXPECT_NEAR(left_sum / n, 0.5, uniform);
}

TEST(RandomErasing, ABoxAsLargeAsTheImageIsNeverDrawn) {
  for (std::uint64_t i = 0; i < 1000; ++i) {
    RandomStream random = stream(i);
    EXPECT_EQ(draw_erased_box({.probability = 1, .area_min = 1, .area_max = 1, .ratio_min = 1, .ratio_max = 1}, random, 30, 30), ErasedBox{});
    EXPECT_EQ(draw_erased_box({.probability = 1}, random, 1, 1).width, 0);  // a side of 0 is all that is smaller
  }
}

TEST(RandomErasing, OverwritesTheBoxAndNothingElse) {
  for (const int channels : {1, 3})
    for (const bool noise : {false, true})
      for (std::uint64_t i = 0; i < 50; ++i) {
        const RandomErasingOptions options{.probability = 1, .noise = noise, .mean = {11, 22, 33}};
        constexpr int kHeight = 19, kWidth = 23;
        const test::Bytes before(static_cast<std::size_t>(kHeight * kWidth * channels), 7);
        test::Bytes after = before;
        RandomStream random = stream(i), again = random;
        const ErasedBox box = draw_erased_box(options, again, kHeight, kWidth);
        apply_random_erasing(options, random, after.data(), kHeight, kWidth, channels);
        int changed = 0;
        for (int y = 0; y < kHeight; ++y)
          for (int x = 0; x < kWidth; ++x)
            for (int c = 0; c < channels; ++c) {
              const bool inside = y >= box.top && y < box.top + box.height && x >= box.left && x < box.left + box.width;
              const int got = after[static_cast<std::size_t>((y * kWidth + x) * channels + c)];
              if (!inside || !noise) {
                EXPECT_EQ(got, inside ? 11 * (c + 1) : 7);
              }
              changed += got != 7 ? 1 : 0;
            }
        // Of n random bytes n / 256 are 7 by chance.
        const int area = box.height * box.width * channels;
        if (noise) {
          EXPECT_GE(changed, area - 3 - area / 10);
        }
      }
}

TEST(RandomErasing, ZeroProbabilityErasesNothing) {
  test::Bytes pixels(100, 7);
  RandomStream random = stream(1);
  apply_random_erasing({}, random, pixels.data(), 10, 10, 1);
  EXPECT_EQ(pixels, test::Bytes(100, 7));
}

}  // namespace
}  // namespace lockstep
