// Colour jitter: the pixels are torchvision's on Pillow images (tests/golden/augment), the draws have its distribution.
// SPDX-License-Identifier: Apache-2.0
#include "data/colour_jitter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "data/enhance.h"
#include "tests/data/augment_golden.h"

namespace lockstep {
namespace {

TEST(ColourJitter, MakesTorchvisionsPixels) {
  const auto lines = test::golden_lines("jitter");
  ASSERT_EQ(lines.size(), 35u);
  for (const auto& line : lines) {  // order, four factors, kind, height, width, digest
    ColourJitterOptions options;
    ColourJitterDraw draw;
    const std::string names = "bcsh";
    double* const enabled[4] = {&options.brightness, &options.contrast, &options.saturation, &options.hue};
    double* const factors[4] = {&draw.brightness, &draw.contrast, &draw.saturation, &draw.hue};
    for (std::size_t i = 0; i < 4; ++i) {
      draw.order[i] = static_cast<ColourChange>(names.find(line[0][i]));
      if (line[1 + i] == "-") continue;
      *enabled[i] = 1;
      *factors[i] = test::number(line[1 + i]);
    }
    const int height = std::stoi(line[6]), width = std::stoi(line[7]);
    test::Bytes pixels = test::test_image(line[5], height, width);
    apply_colour_jitter(options, draw, pixels.data(), height, width);
    EXPECT_EQ(test::fnv(pixels.data(), pixels.size()), line[8]) << line[0] << " " << line[5] << " " << height << "x" << width;
  }
}

TEST(ColourJitter, MakesTorchvisionsColourOfEveryColour) {
  const auto lines = test::golden_lines("colours");
  ASSERT_EQ(lines.size(), 5u);
  const test::Bytes colours = test::every_colour();
  for (const auto& line : lines) {
    test::Bytes pixels = colours;
    if (line[0] == "h")
      adjust_hue(pixels, test::number(line[1]));
    else
      adjust_saturation(pixels, test::number(line[1]));
    EXPECT_EQ(test::digest_of_rows(pixels), line[2]) << line[0] << " " << line[1];
  }
}

// The vector code and its plain twin, at lengths that leave remainders.
TEST(ColourJitter, KernelsOfBothKindsGiveTheSameBits) {
  const auto& plain = detail::portable_enhance_kernels();
  const auto& best = detail::best_enhance_kernels();
  for (const std::size_t pixels : {1u, 2u, 63u, 64u, 65u, 1000u}) {
    const std::size_t bytes = 3 * pixels;
    const test::Bytes a = test::pattern(1, bytes + 6), b = test::pattern(2, bytes + 6), c = test::pattern(3, bytes + 6);
    const auto both = [&](auto&& run) {
      test::Bytes of_plain = a, of_best = a;
      run(plain, of_plain);
      run(best, of_best);
      return of_plain == of_best;
    };
    for (const float alpha : {-0.5f, 0.1f, 0.9f, 1.0f, 1.7f}) {
      EXPECT_TRUE(both([&](const auto& k, test::Bytes& out) { k.blend(b.data(), out.data(), bytes, alpha); }));
      EXPECT_TRUE(both([&](const auto& k, test::Bytes& out) { k.blend_constant(99, out.data(), bytes, alpha); }));
    }
    EXPECT_TRUE(both([&](const auto& k, test::Bytes& out) { k.luma(b.data(), out.data(), pixels); }));
    EXPECT_TRUE(both([&](const auto& k, test::Bytes& out) { k.luma_rgb(b.data(), out.data(), pixels); }));
    EXPECT_TRUE(both([&](const auto& k, test::Bytes& out) { k.turn_hue(out.data(), pixels, 77); }));
    EXPECT_TRUE(both([&](const auto& k, test::Bytes& out) {
      k.smooth(a.data() + 3, b.data() + 3, c.data() + 3, out.data(), bytes);
    }));
  }
}

RandomStream stream(std::uint64_t sample) { return RandomStream({1, RandomPurpose::kTest, 0, sample}); }

// The mean of n uniform variates on [low, high] has a standard deviation of (high - low) / sqrt(12 n): five of them.
void expect_uniform(const std::vector<double>& values, double low, double high) {
  double sum = 0;
  for (const double value : values) {
    ASSERT_GE(value, low);
    ASSERT_LE(value, high);
    sum += value;
  }
  const auto n = static_cast<double>(values.size());
  EXPECT_NEAR(sum / n, (low + high) / 2, 5 * (high - low) / std::sqrt(12 * n));
}

TEST(ColourJitter, FactorsAreUniformAndOrdersEquallyLikely) {
  const ColourJitterOptions options{.brightness = 0.4, .contrast = 1.5, .saturation = 0.2, .hue = 0.1};
  constexpr int kDraws = 24000;
  std::vector<double> brightness, contrast, saturation, hue;
  std::map<std::array<ColourChange, 4>, int> orders;
  for (int i = 0; i < kDraws; ++i) {
    RandomStream random = stream(static_cast<std::uint64_t>(i));
    const ColourJitterDraw draw = draw_colour_jitter(options, random);
    brightness.push_back(draw.brightness), contrast.push_back(draw.contrast);
    saturation.push_back(draw.saturation), hue.push_back(draw.hue);
    ++orders[draw.order];
  }
  expect_uniform(brightness, 0.6, 1.4);
  expect_uniform(contrast, 0, 2.5);  // 1 - 1.5 is below zero
  expect_uniform(saturation, 0.8, 1.2);
  expect_uniform(hue, -0.1, 0.1);
  ASSERT_EQ(orders.size(), 24u);
  // Each order's count is binomial: mean 1000, standard deviation sqrt(1000 * 23 / 24); five of them.
  for (const auto& [order, count] : orders) {
    EXPECT_EQ(std::set<ColourChange>(order.begin(), order.end()).size(), 4u);
    EXPECT_NEAR(count, 1000, 5 * std::sqrt(1000 * 23.0 / 24));
  }
}

TEST(ColourJitter, TakesTheSameDrawsWhateverIsEnabled) {
  test::Bytes pixels = test::test_image("noise", 4, 4);
  RandomStream off = stream(1), on = stream(1);
  apply_colour_jitter({}, off, pixels.data(), 4, 4);
  EXPECT_EQ(pixels, test::test_image("noise", 4, 4));
  apply_colour_jitter({.brightness = 0.4, .hue = 0.5}, on, pixels.data(), 4, 4);
  EXPECT_NE(pixels, test::test_image("noise", 4, 4));
  EXPECT_EQ(off.bits64(), on.bits64());
}

}  // namespace
}  // namespace lockstep
