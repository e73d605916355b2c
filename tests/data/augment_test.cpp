// Augmentation: a function of (seed, epoch, sample); windows and mirrors in the right place; torchvision's rule for
// random windows.
// SPDX-License-Identifier: Apache-2.0
#include "data/augment.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/data/test_support.h"

namespace lockstep {
namespace {

test::Bytes apply(const AugmentOptions& options, const AugmentDraw& draw, const test::Bytes& pixels, int height,
                  int width, int channels) {
  ResizeScratch scratch;
  test::Bytes out(static_cast<std::size_t>(options.out_height) * options.out_width * channels, 77);
  apply_augment(options, draw, Image{pixels.data(), height, width, channels}, scratch, out.data());
  return out;
}

TEST(Augment, DrawsAreAFunctionOfSeedEpochAndSample) {
  const AugmentOptions options{.crop = Crop::kRandomResizedCrop, .flip = true, .out_height = 32, .out_width = 32};
  const AugmentDraw base = draw_augment(options, 375, 500, 1, 2, 3);
  EXPECT_EQ(draw_augment(options, 375, 500, 1, 2, 3), base);
  EXPECT_NE(draw_augment(options, 375, 500, 9, 2, 3), base);
  EXPECT_NE(draw_augment(options, 375, 500, 1, 9, 3), base);
  EXPECT_NE(draw_augment(options, 375, 500, 1, 2, 9), base);
}

// Against the definition, pixel by pixel, for all windows and sizes of row.
TEST(PadCrop, CopiesTheWindowWithZerosAround) {
  for (const int channels : {1, 2, 3})
    for (const int size : {5, 8, 19}) {
      const AugmentOptions options{
          .crop = Crop::kPadCrop, .flip = true, .out_height = size, .out_width = size, .pad = 4};
      const test::Bytes pixels = test::pattern(1, static_cast<std::size_t>(size) * size * channels);
      for (int top = -4; top <= 4; top += 2)
        for (int left = -4; left <= 4; ++left)
          for (const bool flip : {false, true}) {
            const test::Bytes out = apply(options, {top, left, size, size, flip}, pixels, size, size, channels);
            for (int y = 0; y < size; ++y)
              for (int x = 0; x < size; ++x)
                for (int c = 0; c < channels; ++c) {
                  const int from_y = top + y, from_x = left + (flip ? size - 1 - x : x);
                  const bool inside = from_y >= 0 && from_y < size && from_x >= 0 && from_x < size;
                  const int want =
                      inside ? pixels[static_cast<std::size_t>((from_y * size + from_x) * channels + c)] : 0;
                  ASSERT_EQ(out[static_cast<std::size_t>((y * size + x) * channels + c)], want)
                      << y << "," << x << " at " << top << "," << left << " flip " << flip;
                }
          }
    }
}

TEST(PadCrop, DrawsEveryPlaceAndBothMirrors) {
  const AugmentOptions options{.crop = Crop::kPadCrop, .flip = true, .out_height = 32, .out_width = 32, .pad = 4};
  std::set<std::tuple<int, int, bool>> seen;
  int flips = 0;
  const int draws = 4000;
  for (int i = 0; i < draws; ++i) {
    const AugmentDraw draw = draw_augment(options, 32, 32, 1, 0, i);
    ASSERT_TRUE(draw.top >= -4 && draw.top <= 4 && draw.left >= -4 && draw.left <= 4);
    seen.insert({draw.top, draw.left, draw.flip});
    flips += draw.flip;
  }
  EXPECT_EQ(seen.size(), 9u * 9 * 2);
  EXPECT_NEAR(flips, draws / 2, 5 * std::sqrt(draws) / 2);
}

TEST(PadCrop, AWindowThatMissesTheImageIsBlack) {
  const AugmentOptions options{.crop = Crop::kPadCrop, .out_height = 3, .out_width = 3, .pad = 9};
  const test::Bytes out = apply(options, {-9, -9, 3, 3, true}, test::pattern(1, 25), 5, 5, 1);
  EXPECT_EQ(out, test::Bytes(9, 0));
}

TEST(RandomResizedCrop, KeepsToAreaAndRatio) {
  const AugmentOptions options{.crop = Crop::kRandomResizedCrop, .out_height = 224, .out_width = 224};
  double area_sum = 0, log_ratio_sum = 0;
  const int draws = 20000;
  for (int i = 0; i < draws; ++i) {
    const AugmentDraw draw = draw_augment(options, 1000, 1000, 3, 0, i);
    ASSERT_TRUE(draw.top >= 0 && draw.left >= 0 && draw.top + draw.height <= 1000 && draw.left + draw.width <= 1000);
    const double area = draw.height * draw.width / 1e6, ratio = static_cast<double>(draw.width) / draw.height;
    ASSERT_GT(area, 0.078);
    ASSERT_GT(ratio, 0.74);
    ASSERT_LT(ratio, 1.35);
    area_sum += area, log_ratio_sum += std::log(ratio);
  }
  // An area a > 3/4 fits only when |log ratio| <= -log a: with probability -log(a) / log(4/3). Mean and deviation of
  // the areas that fit, by the midpoint rule.
  double weight = 0, mean = 0, square = 0;
  for (int i = 0; i < 10000; ++i) {
    const double a = 0.08 + 0.92 * (i + 0.5) / 10000, p = std::min(1.0, -std::log(a) / std::log(4.0 / 3));
    weight += p, mean += p * a, square += p * a * a;
  }
  mean /= weight;
  EXPECT_NEAR(area_sum / draws, mean,
              5 * std::sqrt((square / weight - mean * mean) / draws) + 1e-4);  // 1e-4: sides are rounded
  EXPECT_NEAR(log_ratio_sum / draws, 0, 5 * 0.17 / std::sqrt(draws));
}

TEST(RandomResizedCrop, FallsBackToTheCentreOfExtremeShapes) {
  const AugmentOptions options{.crop = Crop::kRandomResizedCrop, .out_height = 8, .out_width = 8};
  const AugmentDraw wide = draw_augment(options, 3, 4000, 1, 0, 0), tall = draw_augment(options, 4000, 3, 1, 0, 0),
                    dot = draw_augment(options, 1, 1, 1, 0, 0);
  EXPECT_EQ(wide, (AugmentDraw{0, 1998, 3, 4}));
  EXPECT_EQ(tall, (AugmentDraw{1998, 0, 4, 3}));
  EXPECT_EQ(dot, (AugmentDraw{0, 0, 1, 1}));
  const test::Bytes pixels = test::pattern(1, 3 * 4000 * 3);
  EXPECT_EQ(apply(options, wide, pixels, 3, 4000, 3).size(), 8u * 8 * 3);
}

// The window is cut out and then resized: pixels outside it have no influence, as in torchvision.
TEST(RandomResizedCrop, IsTheResizeOfTheWindow) {
  const AugmentOptions options{.crop = Crop::kRandomResizedCrop, .out_height = 20, .out_width = 20};
  const int height = 50, width = 60, channels = 3;
  const test::Bytes pixels = test::pattern(2, static_cast<std::size_t>(height) * width * channels);
  const AugmentDraw draw{
      .top = 21, .left = 23, .height = 29, .width = 37, .flip = false};  // to the last row and column
  test::Bytes window;
  for (int y = 0; y < draw.height; ++y) {
    const auto row = pixels.begin() + ((draw.top + y) * width + draw.left) * channels;
    window.insert(window.end(), row, row + draw.width * channels);
  }
  EXPECT_EQ(apply(options, draw, pixels, height, width, channels),
            apply(options, {.height = 29, .width = 37}, window, 29, 37, channels));
}

// The whole image: Pillow's resize of it (tests/data/golden_test.cpp holds resize() to Pillow), mirrored by `flip`; the
// image itself, byte for byte, where it has the size already.
TEST(NoCrop, IsTheResizeOfTheWholeImage) {
  for (const auto& [height, width, to_height, to_width] :
       {std::array{28, 28, 28, 28}, {28, 28, 32, 32}, {64, 64, 32, 32}, {50, 61, 20, 33}, {1, 7, 5, 3}})
    for (const int channels : {1, 3})
      for (const bool flip : {false, true}) {
        const AugmentOptions options{.flip = flip, .out_height = to_height, .out_width = to_width};
        const test::Bytes pixels = test::pattern(4, static_cast<std::size_t>(height) * width * channels);
        ResizeScratch scratch;
        test::Bytes want(static_cast<std::size_t>(to_height) * to_width * channels);
        resize({.pixels = pixels.data(),
                .row_bytes = std::ptrdiff_t{1} * width * channels,
                .height = height,
                .width = width,
                .channels = channels,
                .to_height = to_height,
                .to_width = to_width,
                .out_height = to_height,
                .out_width = to_width,
                .flip = flip},
               scratch, want.data());
        AugmentDraw draw = draw_augment(options, height, width, 1, 0, 0);
        draw.flip = flip;
        EXPECT_EQ(apply(options, draw, pixels, height, width, channels), want)
            << height << "x" << width << " to " << to_height << "x" << to_width << " flip " << flip;
        if (height == to_height && width == to_width && !flip) {
          EXPECT_EQ(want, pixels);
        }
      }
}

TEST(ResizeCentreCrop, IsTheCentreOfTheWholeResize) {
  for (const auto& [height, width, to_height, to_width] :
       {std::array{375, 500, 32, 42}, {500, 375, 42, 32}, {64, 64, 32, 32}, {20, 31, 32, 49}}) {
    const test::Bytes pixels = test::pattern(3, static_cast<std::size_t>(height) * width * 3);
    ResizeScratch scratch;
    test::Bytes whole(static_cast<std::size_t>(to_height) * to_width * 3);
    resize({.pixels = pixels.data(),
            .row_bytes = width * 3,
            .height = height,
            .width = width,
            .channels = 3,
            .to_height = to_height,
            .to_width = to_width,
            .out_height = to_height,
            .out_width = to_width},
           scratch, whole.data());
    const AugmentOptions options{
        .crop = Crop::kResizeCentreCrop, .out_height = 28, .out_width = 28, .resize_short = 32};
    const test::Bytes out = apply(options, draw_augment(options, height, width, 1, 0, 0), pixels, height, width, 3);
    // torchvision: int(round((size - 28) / 2)), halves to even: (49 - 28) / 2 = 10.5 -> 10
    const int top = static_cast<int>(std::nearbyint((to_height - 28) / 2.0)),
              left = static_cast<int>(std::nearbyint((to_width - 28) / 2.0));
    for (int y = 0; y < 28; ++y)
      for (int i = 0; i < 28 * 3; ++i)
        ASSERT_EQ(out[static_cast<std::size_t>(y * 84 + i)],
                  whole[static_cast<std::size_t>(((top + y) * to_width + left) * 3 + i)]);
  }
}

// 16384 to one, at the limits: only the centre is computed, so neither memory nor time explode.
TEST(ResizeCentreCrop, CopesWithExtremeShapes) {
  const AugmentOptions options{
      .crop = Crop::kResizeCentreCrop, .out_height = 224, .out_width = 224, .resize_short = 256};
  const test::Bytes pixels = test::pattern(3, 16384 * 3);
  EXPECT_EQ(apply(options, {}, pixels, 1, 16384, 3).size(), 224u * 224 * 3);
  EXPECT_EQ(apply(options, {}, pixels, 16384, 1, 3).size(), 224u * 224 * 3);
}

TEST(Augment, WrongOptionsAreErrors) {
  const auto wrong = [](AugmentOptions options, std::initializer_list<std::string> parts) {
    return test::not_the_user_error([&] { checked_augment(options, 0, 0); }, ExitCode::kUsage, parts);
  };
  EXPECT_EQ(wrong({.crop = Crop::kRandomResizedCrop}, {"output size"}), "");
  EXPECT_EQ(wrong({.out_height = 8, .out_width = -1}, {"output width", "-1"}), "");
  EXPECT_EQ(wrong({.crop = Crop::kPadCrop, .out_height = 8, .out_width = 8, .pad = -1}, {"pad", "-1"}), "");
  EXPECT_EQ(wrong({.crop = Crop::kRandomResizedCrop, .out_height = 8, .out_width = 8, .scale_min = 0}, {"scale_min"}),
            "");
  EXPECT_EQ(wrong({.crop = Crop::kRandomResizedCrop, .out_height = 8, .out_width = 8, .scale_max = 1.5}, {"scale_max"}),
            "");
  EXPECT_EQ(wrong({.crop = Crop::kRandomResizedCrop, .out_height = 8, .out_width = 8, .ratio_min = 2}, {"ratio_min"}),
            "");
  EXPECT_EQ(wrong({.crop = Crop::kResizeCentreCrop, .out_height = 8, .out_width = 9, .resize_short = 8},
                  {"resize_short", "9"}),
            "");
  EXPECT_EQ(checked_augment({}, 28, 30).out_width, 30);
  EXPECT_EQ(augment_misfit({.out_height = 28, .out_width = 28}, 28, 28), "");
  EXPECT_EQ(augment_misfit({.out_height = 28, .out_width = 28}, 28, 29), "") << "is resized";
  EXPECT_EQ(augment_misfit({.crop = Crop::kPadCrop, .out_height = 32, .out_width = 32, .pad = 2}, 28, 28), "");
  EXPECT_NE(augment_misfit({.crop = Crop::kPadCrop, .out_height = 32, .out_width = 32, .pad = 1}, 28, 29).find("28x29"),
            std::string::npos);
}

}  // namespace
}  // namespace lockstep
