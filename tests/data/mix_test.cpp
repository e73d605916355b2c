// Mix: the draws have Beta's moments, boxes and weights are timm's (tests/golden/augment), rows are a function of the place.
// SPDX-License-Identifier: Apache-2.0
#include "data/mix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/error.h"
#include "tests/data/augment_golden.h"

namespace lockstep {
namespace {

RandomStream stream(std::uint64_t b) { return RandomStream({5, RandomPurpose::kTest, 0, b}); }

// Central moments of Beta(a, a): variance 1 / (4 (2a + 1)), fourth 3 / (16 (2a + 1) (2a + 3)).
TEST(Mix, DrawsHaveTheMeanAndTheVarianceOfBeta) {
  constexpr int kDraws = 40000;
  for (const double alpha : {0.1, 0.2, 0.4, 1.0, 2.5, 32.0}) {
    double sum = 0, squares = 0;
    for (int i = 0; i < kDraws; ++i) {
      RandomStream random = stream(static_cast<std::uint64_t>(i));
      const double x = draw_beta(alpha, random);
      ASSERT_TRUE(x >= 0 && x <= 1) << x;
      sum += x;
      squares += (x - 0.5) * (x - 0.5);
    }
    const double variance = 1 / (4 * (2 * alpha + 1)), fourth = 3 / (16 * (2 * alpha + 1) * (2 * alpha + 3));
    // Five standard deviations of either estimate.
    EXPECT_NEAR(sum / kDraws, 0.5, 5 * std::sqrt(variance / kDraws)) << alpha;
    EXPECT_NEAR(squares / kDraws, variance, 5 * std::sqrt((fourth - variance * variance) / kDraws)) << alpha;
  }
}

// Beta(1, 1) is uniform and Beta(1/2, 1/2) the arcsine law: their distribution functions are known. Kolmogorov's statistic
// exceeds 2.2 / sqrt(n) once in 8,000 times (2 exp(-2 * 2.2^2)), and the seed is fixed.
TEST(Mix, DrawsHaveTheDistributionOfBeta) {
  constexpr int kDraws = 20000;
  for (const double alpha : {1.0, 0.5}) {
    std::vector<double> values;
    for (int i = 0; i < kDraws; ++i) {
      RandomStream random = stream(static_cast<std::uint64_t>(i));
      const double x = draw_beta(alpha, random);
      values.push_back(alpha == 1 ? x : 2 / std::numbers::pi * std::asin(std::sqrt(x)));
    }
    std::ranges::sort(values);
    double worst = 0;
    for (std::size_t i = 0; i < values.size(); ++i)
      worst = std::max({worst, std::abs(values[i] - double(i) / kDraws), std::abs(values[i] - double(i + 1) / kDraws)});
    EXPECT_LT(worst, 2.2 / std::sqrt(kDraws)) << alpha;
  }
}

TEST(Mix, NoAlphaIsTooSmallOrTooLarge) {
  for (std::uint64_t i = 0; i < 200; ++i) {
    RandomStream random = stream(i);
    for (const double alpha : {kMinMixAlpha, 1e-8}) {
      const double x = draw_beta(alpha, random);
      EXPECT_TRUE(x == 0 || x == 1 || std::min(x, 1 - x) < 1e-3) << x;
    }
    EXPECT_NEAR(draw_beta(1e12, random), 0.5, 1e-5);  // standard deviation 3.5e-7
    EXPECT_NEAR(draw_beta(kMaxMixAlpha, random), 0.5, 1e-5);
    EXPECT_THROW(draw_beta(0, random), InternalError);
  }
}

TEST(Mix, BoxesAreTimms) {
  const auto lines = test::golden_lines("box");
  ASSERT_EQ(lines.size(), 128u);
  for (const auto& line : lines) {  // height, width, lambda, centre y, centre x, top, left, height, width, weight
    std::vector<int> n;
    for (const auto& word : line) n.push_back(static_cast<int>(test::number(word)));
    const MixBox box = cutmix_box(n[0], n[1], test::number(line[2]), n[3], n[4]);
    EXPECT_EQ(box, (MixBox{n[5], n[6], n[7], n[8]})) << line[0] << "x" << line[1] << " " << line[2];
    EXPECT_EQ(1.0 - double(box.height * box.width) / (n[0] * n[1]), test::number(line[9]));
  }
}

std::vector<MixRow> rows_of(const MixOptions& options, std::int64_t step, int shard, std::size_t count = 5) {
  std::vector<std::int32_t> labels(count);
  for (std::size_t i = 0; i < count; ++i) labels[i] = static_cast<std::int32_t>(100 + i);
  std::vector<MixRow> rows(count);
  draw_mix(options, 20, 30, 9, step, shard, labels, rows);
  return rows;
}

void expect_unmixed(const std::vector<MixRow>& rows) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].partner, static_cast<int>(i));
    EXPECT_EQ(rows[i].label, 100 + static_cast<int>(i));
    EXPECT_EQ(rows[i].weight, 1);
    EXPECT_EQ(rows[i].height, 0);
  }
}

TEST(Mix, RowsPairImagesFromBothEndsOfTheShard) {
  const MixOptions options{.mixup_alpha = 0.2, .cutmix_alpha = 1};
  int mixups = 0, cutmixes = 0;
  for (int step = 0; step < 1000; ++step) {
    const auto rows = rows_of(options, step, 3);
    if (rows[0].weight == 1) {  // a draw too near to 1, or an empty box
      expect_unmixed(rows);
      continue;
    }
    const bool cutmix = rows[0].height > 0;
    ++(cutmix ? cutmixes : mixups);
    for (int i = 0; i < 5; ++i) {
      const MixRow& row = rows[static_cast<std::size_t>(i)];
      EXPECT_EQ(row.partner, 4 - i);
      EXPECT_EQ(row.label, 104 - i);
      EXPECT_EQ(row.weight, rows[0].weight);
      EXPECT_TRUE(row.top >= 0 && row.left >= 0 && row.top + row.height <= 20 && row.left + row.width <= 30);
      if (cutmix) {
        EXPECT_EQ(row.weight, static_cast<float>(1.0 - double(row.height * row.width) / 600));
      }
      EXPECT_TRUE(row.weight >= 0 && row.weight < 1);
    }
  }
  // About 500 each, less the 1.6 % of Beta(0.2, 0.2) within 2^-25 of 1; five standard deviations of a binomial count.
  EXPECT_GT(mixups, 490 - 5 * 16);
  EXPECT_GT(cutmixes, 490 - 5 * 16);
}

TEST(Mix, AnEmptyBoxIsNoCutmix) {
  const std::vector<std::int32_t> labels = {100, 101, 102};
  for (int step = 0; step < 50; ++step) {
    std::vector<MixRow> rows(3);
    draw_mix({.cutmix_alpha = 1}, 300, 1, 9, step, 0, labels, rows);  // a part of a width of 1 is 0
    expect_unmixed(rows);
  }
}

TEST(Mix, SharesOfShardsAreKept) {
  const auto count = [](const MixOptions& options, auto&& is) {
    int n = 0;
    for (int step = 0; step < 4000; ++step) n += is(rows_of(options, step, 0)[0]) ? 1 : 0;
    return n;
  };
  const auto mixed = [](const MixRow& row) { return row.weight < 1; };
  const auto cutmix = [](const MixRow& row) { return row.height > 0; };
  // alpha 8: every draw mixes. Binomial counts to five standard deviations.
  EXPECT_NEAR(count({.mixup_alpha = 8, .probability = 0.3}, mixed), 1200, 5 * std::sqrt(4000 * 0.3 * 0.7));
  EXPECT_EQ(count({.mixup_alpha = 8}, mixed), 4000);
  EXPECT_EQ(count({.mixup_alpha = 8}, cutmix), 0);
  EXPECT_EQ(count({.cutmix_alpha = 8}, cutmix), 4000);
  EXPECT_EQ(count({.mixup_alpha = 8, .cutmix_alpha = 8, .probability = 0}, mixed), 0);
  EXPECT_NEAR(count({.mixup_alpha = 8, .cutmix_alpha = 8, .switch_probability = 0.8}, cutmix), 3200, 5 * std::sqrt(4000 * 0.2 * 0.8));
  for (const MixOptions& options : {MixOptions{}, MixOptions{.mixup_alpha = 1, .probability = 0}})
    for (int step = 0; step < 20; ++step) expect_unmixed(rows_of(options, step, 1));
}

TEST(Mix, EachShardOfEachStepHasItsOwnDrawAndTheLabelsDoNotChangeIt) {
  const MixOptions options{.mixup_alpha = 8};
  EXPECT_EQ(rows_of(options, 7, 2)[0].weight, rows_of(options, 7, 2, 64)[0].weight);
  EXPECT_NE(rows_of(options, 7, 2)[0].weight, rows_of(options, 7, 3)[0].weight);
  EXPECT_NE(rows_of(options, 7, 2)[0].weight, rows_of(options, 8, 2)[0].weight);
}

}  // namespace
}  // namespace lockstep
